"""A plain network at any preference, made from the files of a front."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.conditioned.bounds import write_out
from paretomtl.conditioned.front_model import FrontModel
from paretomtl.conditioned.kinds import from_options
from paretomtl.problem import Problem
from paretomtl.training.calibration import calibrate, running_layers
from paretomtl.training.seeds import OPENING, reproducible, reseed, seed_of
from paretomtl.training.weights import build_model, describe_layout_difference, layout_of


def serve(
    study: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    r: Float[np.ndarray, " m"],
    build: Callable[[], nn.Module],
    seed: int,
    problem: Problem | None,
) -> nn.Module:
    """Return the plain network of a study at a preference.

    Args:
        study: the study as it is stored.
        weights: the weights of the conditioned network.
        r: the preference, on the simplex.
        build: makes the plain network.
        seed: the number of the study's seed that the weights belong to.
        problem: needed for running statistics, where the network has some, and for bounds of the weights.

    Raises:
        ValueError: the weights belong to another network, or the problem is missing.
    """
    if study.get("front_model") is None:
        raise ValueError("the study of this front has no front_model")
    front_model, plain = from_options(study["front_model"]), build_model(build)
    _check_layout(weights, plain, _layout_of(front_model, plain, len(r)))
    with reproducible():  # its initial weights are drawn, and then replaced
        network = front_model.attach(plain, len(r))
    network.load_state_dict(weights)
    model = network.at(r) if problem is None else write_out(network, problem, r)
    if study.get("bounded") and problem is None:
        raise ValueError("the problem bounds its weights by project=; give problem=, which has it")
    if running_layers(model):
        _calibrate(study, model, seed, problem)
    return model


def _layout_of(front_model: FrontModel, plain: nn.Module, m: int) -> dict[str, str]:
    """Return the layout of the conditioned network without allocating it: a foreign study may name any size."""
    shadow = copy.deepcopy(plain).to("meta")
    with torch.device("meta"):
        return layout_of(front_model.attach(shadow, m).state_dict())


def _check_layout(weights: Mapping[str, Tensor], plain: nn.Module, expected: dict[str, str]) -> None:
    stored, prefix = layout_of(weights), "plain."
    stored_plain = {key.removeprefix(prefix): text for key, text in stored.items() if key.startswith(prefix)}
    if stored_plain != layout_of(plain.state_dict()):  # the rest follows from the plain network
        stored, expected = stored_plain, layout_of(plain.state_dict())
    if stored != expected:
        raise ValueError(
            f"the network is not of the model that build() makes: {describe_layout_difference(stored, expected)}"
        )


def _calibrate(study: Mapping[str, Any], model: nn.Module, seed: int, problem: Problem | None) -> None:
    """Calibrate the running statistics as the training did for the points of the front."""
    names = tuple(o["name"] for o in study["objectives"])
    if problem is None:
        raise ValueError(
            "the model has BatchNorm, whose running statistics were estimated at many preferences; give problem=, "
            "on whose training data they are estimated anew at this one"
        )
    if problem.names != names:
        raise ValueError(f"problem= has the objectives {problem.names}, the front {names}; give the front's problem")
    study_seed = study.get("seed", 0)
    with reproducible():
        reseed(seed_of(study_seed, 0, OPENING))
        calibrate(problem, model, problem.open().get("train"), "cpu", study_seed, seed)

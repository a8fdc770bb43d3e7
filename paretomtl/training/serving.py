"""A plain network at any preference, out of the files of a front."""

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
from paretomtl.training.weights import describe_layout_difference, layout_of


def serve(
    study: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    r: Float[np.ndarray, " m"],
    build: Callable[[], nn.Module],
    seed: int,
    problem: Problem | None,
) -> nn.Module:
    """The network of a study at a preference.

    Args:
        study: as it is stored.
        weights: of the conditioned network.
        r: on the simplex.
        build: makes the plain network.
        seed: which of the study's repetitions the weights are of.
        problem: for running statistics, where the network has some, and for the bounds of weights.

    Raises:
        ValueError: the weights belong to another network, or the problem is missing.
    """
    if study.get("front_model") is None:
        raise ValueError("the study of this front has no front_model")
    front_model, plain = from_options(study["front_model"]), build()
    _check_layout(weights, plain, _layout_of(front_model, plain, len(r)))
    with reproducible():  # what it starts from is drawn, and then replaced
        network = front_model.attach(plain, len(r))
    network.load_state_dict(weights)
    model = network.at(r) if problem is None else write_out(network, problem, r)
    if study.get("bounded") and problem is None:
        raise ValueError("the problem bounds its weights by project=; give problem=, which has it")
    if running_layers(model):
        _calibrate(study, model, seed, problem)
    return model


def _layout_of(front_model: FrontModel, plain: nn.Module, m: int) -> dict[str, str]:
    """What the conditioned network has, found without memory for it: a study from elsewhere may ask for any size."""
    shadow = copy.deepcopy(plain).to("meta")
    with torch.device("meta"):
        return layout_of(front_model.attach(shadow, m).state_dict())


def _check_layout(weights: Mapping[str, Tensor], plain: nn.Module, expected: dict[str, str]) -> None:
    stored, before = layout_of(weights), "plain."
    mine = {key.removeprefix(before): text for key, text in stored.items() if key.startswith(before)}
    if mine != layout_of(plain.state_dict()):  # of which the rest follows
        stored, expected = mine, layout_of(plain.state_dict())
    if stored != expected:
        raise ValueError(
            f"the network is not of the model that build() makes: {describe_layout_difference(stored, expected)}"
        )


def _calibrate(study: Mapping[str, Any], model: nn.Module, seed: int, problem: Problem | None) -> None:
    """As it was done for the points that are stored."""
    names = tuple(o["name"] for o in study["objectives"])
    if problem is None:
        raise ValueError(
            "the model has BatchNorm, whose running statistics were estimated at many preferences; give problem=, "
            "on whose training data they are estimated anew at this one"
        )
    if problem.names != names:
        raise ValueError(f"problem= has the objectives {problem.names}, the front {names}; give the front's problem")
    of_study = study.get("seed", 0)
    with reproducible():
        reseed(seed_of(of_study, 0, OPENING))
        calibrate(problem, model, problem.open().get("train"), "cpu", of_study, seed)

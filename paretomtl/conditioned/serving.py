"""A plain network at any preference, out of the files of a front."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.conditioned.kinds import restored
from paretomtl.conditioned.statistics import calibrate, running
from paretomtl.problem import Problem


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
        problem: for running statistics, where the network has some.

    Raises:
        ValueError: the weights belong to another network, or the problem is missing.
    """
    network = restored(study["front_model"]).attach(build(), len(r))
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the front was not trained with the model that build() makes: {error}") from error
    model = network.at(r)
    if running(model):
        if problem is None:
            raise ValueError(
                "the model has BatchNorm, whose running statistics were estimated at many preferences; give problem=, "
                "on whose training data they are estimated anew at this one"
            )
        calibrate(problem, model, problem.open().get("train"), "cpu", study.get("seed", 0), seed)
    return model

"""The first phase of methods that have two: a share of the steps, counted down for each point."""

import torch
from jaxtyping import Int
from torch import Tensor

from paretomtl.solver import Sweep


def check_share(phase_one: float) -> None:
    """Raise if `phase_one` is not a share of the steps, or leaves none to the second phase."""
    if not 0 <= phase_one < 1:
        raise ValueError(f"phase_one={phase_one!r}: give a share of the steps, at least 0 and below 1")


def steps_of_phase_one(phase_one: float, sweep: Sweep) -> Int[Tensor, "*points"]:
    """Return each point's number of steps in the first phase."""
    return torch.full(sweep.points.shape, round(phase_one * sweep.steps), dtype=torch.int64)

"""The first phase of methods that have two: a share of the steps, counted down for each point."""

import torch
from jaxtyping import Int
from torch import Tensor

from paretomtl.solver import Sweep


def check_part(phase_one: float) -> None:
    """An error where it leaves nothing to the second phase, or is no share."""
    if not 0 <= phase_one < 1:
        raise ValueError(f"phase_one={phase_one!r}: give a share of the steps, at least 0 and below 1")


def steps_of_phase_one(phase_one: float, sweep: Sweep) -> Int[Tensor, "*points"]:
    """How many steps of the first phase each point has left, at the start."""
    return torch.full(sweep.points.shape, round(phase_one * sweep.steps), dtype=torch.int64)

"""Adam for the few numbers that a method trains for itself (Kingma and Ba, ICLR 2015), as a value."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

DECAY, SQUARED_DECAY, TINY = 0.9, 0.999, 1e-8  # of torch.optim.Adam


class Adam(NamedTuple):
    """The numbers, (*points, k), and their moments."""

    values: Float[Tensor, "*points k"]
    mean: Float[Tensor, "*points k"]
    square: Float[Tensor, "*points k"]
    steps: Int[Tensor, "*points 1"]


def start(values: Float[Tensor, "*points k"]) -> Adam:
    """Return the state before the first step."""
    zeros = torch.zeros_like(values)
    return Adam(values, zeros, zeros, torch.zeros_like(values[..., :1], dtype=torch.int64))


def step(state: Adam, gradient: Float[Tensor, "*points k"], learning_rate: float, weight_decay: float = 0.0) -> Adam:
    """Return the state after a step, the same as that of torch.optim.Adam."""
    gradient, steps = gradient + weight_decay * state.values, state.steps + 1
    count = steps.to(state.values)  # powers of whole numbers are of single precision
    mean = DECAY * state.mean + (1 - DECAY) * gradient
    square = SQUARED_DECAY * state.square + (1 - SQUARED_DECAY) * gradient.square()
    size = (square / (1 - SQUARED_DECAY**count)).sqrt() + TINY
    return Adam(state.values - learning_rate * mean / (1 - DECAY**count) / size, mean, square, steps)

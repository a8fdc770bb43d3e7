"""What methods share whose numbers the optimizer trains along with the model: one number s_i for each loss."""

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Sweep


def start(sweep: Sweep) -> Float[Tensor, "*points m"]:
    """Return s before the first step, 0."""
    return torch.zeros(*sweep.points.shape, sweep.preferences.shape[-1], dtype=torch.float64)


def read(state: Float[Tensor, "*points m"] | None, losses: Float[Tensor, "*points m"]) -> Float[Tensor, "*points m"]:
    """Return s beside the losses, without its gradient; 0 where there is no state."""
    return torch.zeros_like(losses) if state is None else state.detach().to(losses)


def set_gradient(state: Float[Tensor, "*points m"] | None, gradient: Float[Tensor, "*points m"]) -> None:
    """Set the gradient with which the optimizer moves s, where it does."""
    if state is not None and state.requires_grad:
        state.grad = gradient.to(state)

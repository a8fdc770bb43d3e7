"""What steppers share that take several steps of their own on a copy of the parameters, and return where these led.

The direction is theta - phi, from the parameters theta to the copy's end phi, so that `torch.optim.SGD(lr=1.0)` sets
the parameters to phi, and lr = eta goes a share eta of the way.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Closure, Status, status_of


def step(closure: Closure, phi: Float[Tensor, " n"], weights: Float[Tensor, " m"], rate: float) -> Float[Tensor, " n"]:
    """Return phi after a gradient step on the weighted sum of the losses, within the model's bounds."""
    return closure.within(phi - rate * closure.gradient(weights, phi))


def lead_to(closure: Closure, phi: Float[Tensor, " n"]) -> tuple[Float[Tensor, " n"], Status]:
    """Return the direction that leads to phi, and the status: "stationary" where all gradients vanish."""
    direction = closure.parameters - phi
    is_stationary = not direction.any() and not closure.gradients().jacobian.any()
    return direction, status_of(Code.STATIONARY if is_stationary else Code.SOLVED)


def even_draws() -> Tensor:
    """Return the draws of a call outside a study."""
    return torch.zeros(2, dtype=torch.int64)

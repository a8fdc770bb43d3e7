"""What the methods share that weigh the losses' gradients at a representation, the output of a module."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Closure, Status, status_of

# from the losses (m,) and their gradients at the representation (m, *shape) to the weights (m,) and a code
Weigh = Callable[[Tensor, Tensor], tuple[Tensor, int]]


def check_at(at: str) -> None:
    """Raise unless `at` can be a module's name."""
    if not isinstance(at, str) or not at:
        raise ValueError(f"at={at!r}: give the name of a module, as model.named_modules() has it, such as 'trunk'")


def weigh_at(closure: Closure, at: str, weigh: Weigh) -> tuple[Float[Tensor, " n"], Status]:
    """Return the direction of the gradients' weighted sum at a module's output, and its status.

    Parameters behind the module have their plain gradients. The status is "stationary" where they vanish, too.
    """
    codes = []

    def combine(losses: Tensor, output: Tensor, gradients: Tensor) -> Tensor:
        weights, code = weigh(losses, gradients)
        codes.append(Code.SOLVED if code == Code.STATIONARY else code)
        return output.new_zeros(output.shape) if code == Code.STATIONARY else combined(weights, gradients)

    direction = closure.gradient_through(at, combine)
    return direction, status_of(codes[0] if direction.any() else Code.STATIONARY)


def combined(weights: Float[Tensor, " m"], gradients: Tensor) -> Tensor:
    """Return the weighted sum (*shape) of the gradients (m, *shape)."""
    return torch.tensordot(weights.to(gradients), gradients, dims=1)

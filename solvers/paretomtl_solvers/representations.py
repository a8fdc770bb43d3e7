"""What the methods share that weigh the losses' gradients at a representation, or name the modules that begin heads."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Closure, Location, Status, status_of

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


def check_heads(heads: tuple[str, ...]) -> None:
    """Raise unless `heads` can be modules' names, one a loss."""
    names = isinstance(heads, tuple) and all(isinstance(name, str) and name for name in heads)
    if not names or len(heads) < 2 or len(set(heads)) < len(heads):
        raise ValueError(
            f"heads={heads!r}: give a tuple with the name of the linear module that begins each loss's head, such as "
            "('left', 'right')"
        )


def locate_kernels(closure: Closure, heads: tuple[str, ...], m: int) -> list[Location]:
    """Return where the heads' first weights stand, in the losses' order.

    Raises:
        ValueError: there are not m heads, or one has no trained matrix `weight`.
    """
    if len(heads) != m:
        raise ValueError(
            f"heads={heads}: these are {len(heads)} for {m} losses; name one module a loss, in their order"
        )
    kernels = [closure.locate(f"{name}.weight") for name in heads]
    for name, kernel in zip(heads, kernels, strict=True):
        if len(kernel.shape) != 2:
            raise ValueError(
                f"heads={heads}: {name!r} has a weight of shape {tuple(kernel.shape)}; name a linear module"
            )
    return kernels

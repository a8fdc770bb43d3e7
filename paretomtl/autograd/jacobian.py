"""The Jacobian of several losses: its rows, laid out from their gradients, and the products of these."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 2**18  # numbers of a gradient from which on a part of the Jacobian is closed


def jacobian_by_sample(losses: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Any]:
    """Turn `losses(parameters, sample)` into its Jacobian on the parameters, for each sample of a batch."""
    return torch.vmap(torch.func.jacrev(losses), in_dims=(None, 0), randomness="different")


def jacobian_by_point(losses: Float[Tensor, "p k"], rows: Sequence[Tensor]) -> Float[Tensor, "p k n"]:
    """Jacobian of each point's losses with respect to its own row of each tensor in `rows`, (p, *shape) each.

    No loss depends on another point's row, so the gradient of the sum keeps the points apart.
    """
    by_loss = []
    for j in range(losses.shape[1]):
        gradients = torch.autograd.grad(losses[:, j].sum(), rows, retain_graph=True, allow_unused=True)
        pieces = [torch.zeros_like(row) if g is None else g for row, g in zip(rows, gradients, strict=True)]
        by_loss.append(torch.cat([piece.reshape(len(losses), -1) for piece in pieces], dim=1))
    return torch.stack(by_loss, dim=1)


def stack_gradients(
    losses: Sequence[Float[Tensor, "*points"]],
    parameters: Sequence[Tensor],
    columns: Sequence[Sequence[Tensor | None]],
) -> Float[Tensor, "*points m n"]:
    """Lay the parameters' columns side by side; zero where a loss does not depend on a parameter."""
    points = losses[0].shape
    # float16 gradients would underflow in their products
    dtype = torch.promote_types(losses[0].dtype, torch.float32)
    sizes = [p.numel() // points.numel() for p in parameters]
    jacobian = losses[0].new_empty((*points, len(losses), sum(sizes)), dtype=dtype)
    for i, row in enumerate(zip(*columns, strict=True)):
        pieces = [
            jacobian.new_zeros((*points, size)) if gradient is None else gradient.reshape(*points, size)
            for size, gradient in zip(sizes, row, strict=True)
        ]
        torch.cat(pieces, dim=-1, out=jacobian[..., i, :])
    return jacobian


def cut_blocks(
    parameters: Sequence[Tensor], columns: Sequence[Sequence[Tensor | None]]
) -> list[tuple[list[Tensor], list[Sequence[Tensor | None]]]]:
    """Return the parameters and their columns in blocks, each closed once it has `BLOCK` numbers of a loss."""
    blocks, size = [([], [])], 0
    for parameter, column in zip(parameters, columns, strict=True):
        if size >= BLOCK:
            blocks.append(([], []))
            size = 0
        blocks[-1][0].append(parameter)
        blocks[-1][1].append(column)
        size += parameter.numel()
    return blocks


def gramian_of(jacobian: Float[Tensor, "*points m n"]) -> Float[Tensor, "*points m m"]:
    """Compute J J' in float64, from products in the Jacobian's own precision.

    Where that precision is too narrow for the products, each row is first divided by its largest entry.
    """
    gramian = (jacobian @ jacobian.mT).double()
    squares, limits = torch.diagonal(gramian, dim1=-2, dim2=-1), torch.finfo(jacobian.dtype)
    if squares.numel():
        least, largest = squares.aminmax()
        if float(least) > limits.tiny / limits.eps and float(largest) < math.inf:
            return gramian
    sizes = jacobian.abs().amax(dim=-1)
    rows = jacobian / torch.where((sizes > 0) & sizes.isfinite(), sizes, 1)[..., None]
    sizes = sizes.double()
    return (rows @ rows.mT).double() * sizes[..., None] * sizes[..., None, :]


def clip_rows(
    jacobian: Float[Tensor, "*points m n"],
    gramian: Float[Tensor, "*points m m"],
    norms: Float[Tensor, "*points m"],
    clip: float,
) -> tuple[Float[Tensor, "*points m n"], Float[Tensor, "*points m m"]]:
    """Return both with the rows of norm above `clip` shortened to `clip`."""
    shorter = (clip / norms.clamp(min=clip)).to(jacobian)
    return jacobian * shorter[..., None], gramian * (shorter[..., None] * shorter[..., None, :]).double()

"""Bounds on parameters, as the problem's `project` keeps them: which gradients they undo.

A step that leads out of the bounds is undone in part. What they undo counts as no gradient, in every step of a method
and in every verdict, so that a model at a bound is judged by where it can go.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Within = Callable[[Sequence[Tensor], Float[Tensor, "*points n"]], Float[Tensor, "*points n"]]


@torch.no_grad()
def within_bounds(
    project: Callable[[], None], tensors: Sequence[Tensor], parameters: Sequence[Tensor], values: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Return values of some parameters, brought within their bounds; `tensors`, all that may change, are as before."""
    before = [x.clone() for x in tensors]
    for p, piece in zip(parameters, values.split([p.numel() for p in parameters]), strict=True):
        p.copy_(piece.view_as(p))
    project()
    bounded = torch.cat([p.reshape(-1) for p in parameters])
    for x, value in zip(tensors, before, strict=True):
        x.copy_(value)
    return bounded


def within_model(
    project: Callable[[nn.Module], None], model: nn.Module, parameters: Sequence[Tensor], values: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Return values of some of a model's parameters, brought within its bounds; the model is as before."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return within_bounds(partial(project, model), [*trained, *model.buffers()], parameters, values)


def take_out_held(
    within: Within, parameters: Sequence[Tensor], jacobian: Float[Tensor, "*points m n"]
) -> Float[Tensor, "*points m n"]:
    """Return the Jacobian without the parameters that are held at bounds, whose columns are 0."""
    points = jacobian.shape[:-2]
    flat = torch.cat([p.detach().reshape(*points, -1) for p in parameters], dim=-1)
    return jacobian * ~held_at_bounds(partial(within, parameters), flat, jacobian)[..., None, :]


def held_at_bounds(
    within: Callable[[Tensor], Tensor], parameters: Float[Tensor, "*points n"], jacobian: Float[Tensor, "*points m n"]
) -> Bool[Tensor, "*points n"]:
    """Return where bounds undo a step down every gradient that is not 0 there."""
    undone = undone_by_bounds(within, parameters, jacobian)
    return undone.any(dim=-2) & (undone | (jacobian == 0)).all(dim=-2)


def undone_by_bounds(
    within: Callable[[Tensor], Tensor], parameters: Float[Tensor, "*points n"], rows: Float[Tensor, "*points k n"]
) -> Bool[Tensor, "*points k n"]:
    """Return where bounds undo a step down each row."""
    lower = parameters[..., None, :] - rows
    bounded = torch.stack([within(row) for row in lower.unbind(dim=-2)], dim=-2)
    return (bounded != lower) & (bounded == parameters[..., None, :])

"""From losses to gradients, as a method wants them.

`descend` fills the parameters' `.grad`. A scalarization costs one backward pass. A weighting costs one vector-Jacobian
product a loss; the direction w'J becomes the shared parameters' gradient with no second pass. A parameter that only one
loss depends on belongs to that loss's head and keeps its plain gradient, unless the method weighs heads. `follow` does
the same for a `Stepper`.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.autograd.bounds import Within, take_out_held
from paretomtl.autograd.jacobian import clip_rows, cut_blocks, gramian_of, stack_gradients
from paretomtl.errors import NegativeLossError, NonFiniteError
from paretomtl.point import Code
from paretomtl.solver import Aggregation, Closure, Scalarization, Solver, Status, Stepper, Weighting, solved_status

ROUNDING = 1e-6  # a loss that is less below zero, as a share of the point's largest loss, counts as zero


class StepResult(NamedTuple):
    """A solver's answer, once the gradients are set.

    weights: one a loss; None from methods that return a direction.
    norms: the norm of each loss's gradient on the shared parameters, before clipping; None where no loss needed its own
        gradient.
    """

    weights: Float[Tensor, "*points m"] | None
    state: Any
    status: Status
    norms: Float[Tensor, "*points m"] | None = None


def descend(
    solver: Solver,
    state: Any,
    losses: Sequence[Float[Tensor, "*points"]],
    preference: Float[Tensor, "*points m"],
    parameters: Sequence[Tensor],
    names: Sequence[str],
    clip: float | None = None,
    scale: float = 1.0,
    within: Within | None = None,
) -> StepResult:
    """Add the solver's direction to the parameters' `.grad`. With several points, each has its own rows.

    Args:
        solver: a `Scalarization`, a `Weighting` or an `Aggregation`.
        state: the solver's state.
        losses: m losses that require gradients. Each is a scalar, or holds one entry a point; the parameters then lead
            with the points.
        preference: in the shape that the solver takes.
        parameters: the trained parameters.
        names: the losses' names, for messages.
        clip: the largest norm of each loss's gradient on the shared parameters; longer ones are shortened to it. A
            single loss shares nothing and is not clipped.
        scale: factor of the losses in the backward passes, so that half precision does not underflow. `.grad` keeps
            the factor; the solver does not see it.
        within: brings values of parameters within the problem's bounds; the solver does not see the gradients of
            parameters that are held there. None for a problem without bounds.

    Raises:
        NonFiniteError: a loss, or a loss's gradient on the shared parameters, is NaN or infinite.
        NegativeLossError: a loss is below zero, and the method needs losses of at least 0.
        TypeError: the solver is a `Stepper`; use `follow`.
    """
    values = torch.stack([loss.detach() for loss in losses], dim=-1)
    check_finite(values, names)
    values = clear_rounding(solver, values, names)
    if isinstance(solver, Scalarization):
        weights, state, status = solver.update(state, values, preference)
        if solver.learned and scale != 1:  # the scaler divides its gradient, too
            state.grad *= scale
        # in the losses' own dtype; one pass for all
        shares = weights.to(values) if scale == 1 else weights.to(values) * scale
        trained = [(loss, share) for loss, share in zip(losses, shares.unbind(-1), strict=True) if loss.requires_grad]
        torch.autograd.backward([loss for loss, _ in trained], [share for _, share in trained])
        return StepResult(weights, state, status)
    if not isinstance(solver, (Weighting, Aggregation)):
        raise TypeError(f"{type(solver).__name__} is neither a Scalarization, a Weighting nor an Aggregation")
    gradients = gradients_of(losses if scale == 1 else [loss * scale for loss in losses], parameters)
    return _set_shared_gradients(solver, state, values, gradients, preference, parameters, names, clip, scale, within)


def descend_collected(
    solver: Solver,
    state: Any,
    losses: Sequence[Tensor],
    gradients: Sequence[Sequence[Tensor | None]],
    preference: Float[Tensor, " m"],
    parameters: Sequence[Tensor],
    names: Sequence[str],
    clip: float | None = None,
    within: Within | None = None,
) -> StepResult:
    """Add the solver's direction, as `descend` does, where the losses' gradients are known already.

    `gradients` has an entry for each loss and parameter; None where the loss does not depend on it.
    """
    values = clear_rounding(solver, torch.stack(list(losses)), names)
    if not isinstance(solver, Scalarization):
        return _set_shared_gradients(solver, state, values, gradients, preference, parameters, names, clip, 1.0, within)
    weights, state, status = solver.update(state, values, preference)
    for parameter, column in zip(parameters, zip(*gradients, strict=True), strict=True):
        for weight, gradient in zip(weights, column, strict=True):
            if gradient is not None:
                _add_gradient(parameter, gradient * weight.to(gradient))
    return StepResult(weights, state, status)


def _set_shared_gradients(
    solver, state, values, gradients, preference, parameters, names, clip, scale, within
) -> StepResult:
    """Give the heads their plain gradients, and the shared parameters the solver's direction."""
    columns, shared, heads = _split_gradients(gradients, parameters, solver.weighs_heads)
    has_shared_gradient = [any(column[i] is not None for column in columns) for i in range(len(gradients))]
    if solver.stateful and not all(has_shared_gradient):
        missing = [name for name, has_one in zip(names, has_shared_gradient, strict=True) if not has_one]
        raise ValueError(f"{type(solver).__name__} carries its state from step to step and needs every loss to reach "
                         f"the shared parameters; {missing} do not")  # fmt: skip
    if not shared:  # nothing in common: nothing to weigh
        return StepResult(torch.ones_like(values, dtype=torch.float64), state, solved_status(values))
    # a loss that does not depend on the shared parameters takes no part in their direction
    rows = [i for i, has_one in enumerate(has_shared_gradient) if has_one]
    r, seen = renormalise(preference, rows), _pick(values, rows)
    # weights need no more than a part of the Jacobian at a time, and a small one finds its memory at once
    blocks = cut_blocks(shared, columns) if isinstance(solver, Weighting) and within is None else [(shared, columns)]
    parts = [stack_gradients(seen.unbind(-1), held, [[c[i] for i in rows] for c in some]) for held, some in blocks]
    if within is not None:
        parts = [take_out_held(within, shared, parts[0])]
    gramian = reduce(torch.add, map(gramian_of, parts))
    gramian = gramian if scale == 1 else gramian / scale**2
    norms = torch.diagonal(gramian, dim1=-2, dim2=-1).sqrt()
    check_finite(norms, [names[i] for i in rows], before="the gradient of ")
    if clip is not None:
        clipped = [clip_rows(part, gramian, norms, clip) for part in parts]
        parts, gramian = [part for part, _ in clipped], clipped[0][1]
    weights = None
    if isinstance(solver, Weighting):
        shares, state, status = solver.update(state, seen, gramian, r)
        directions = [(shares.to(part)[..., None, :] @ part)[..., 0, :] for part in parts]
        weights = _spread(shares, rows, values.shape)
    elif scale == 1:
        direction, state, status = solver.update(state, seen, parts[0], r)
        directions = [direction]
    else:
        direction, state, status = solver.update(state, seen, parts[0] / scale, r)
        directions = [direction * scale]
    stationary = status.code == Code.STATIONARY
    if heads and stationary.any():  # but their parameters move on
        heads_move = torch.stack([g.reshape(*values.shape[:-1], -1).any(dim=-1) for g in heads]).any(dim=0)
        unfinished = stationary & heads_move.to(stationary.device)
        status = status._replace(code=torch.where(unfinished, int(Code.SOLVED), status.code))
    for direction, (held, _) in zip(directions, blocks, strict=True):
        # a product of ours is nobody else's; a method may hold on to its direction
        _add_direction(direction, held, copied=isinstance(solver, Weighting))
    return StepResult(weights, state, status, _spread(norms, rows, values.shape))


def _pick(values: Float[Tensor, "*points m"], rows: Sequence[int]) -> Float[Tensor, "*points k"]:
    """Return the values of these losses."""
    return values if len(rows) == values.shape[-1] else values[..., rows]


def _spread(
    values: Float[Tensor, "*points k"], rows: Sequence[int], shape: Sequence[int]
) -> Float[Tensor, "*points m"]:
    """Return the values of these losses among all, with 0 for the others."""
    if len(rows) == shape[-1]:
        return values
    among_all = values.new_zeros(shape)
    among_all[..., rows] = values
    return among_all


def renormalise(preference: Float[Tensor, "*points m"], present: Sequence[int]) -> Float[Tensor, "*points k"]:
    """Restrict a preference to the present objectives and rescale it to sum 1; evenly where none of them matters."""
    if len(present) == preference.shape[-1]:
        return preference
    r = preference[..., list(present)]
    total = r.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, r / total.clamp(min=torch.finfo(r.dtype).tiny), 1 / len(present))


def follow(
    solver: Stepper,
    state: Any,
    closure: Closure,
    losses: Sequence[Tensor],
    preference: Float[Tensor, " m"],
    parameters: Sequence[Tensor],
    names: Sequence[str],
) -> StepResult:
    """Add a stepper's direction to the parameters' `.grad`.

    `losses` are the step's losses, used only to check that they are finite.

    Raises:
        NonFiniteError: a loss, or an entry of the direction, is NaN or infinite.
        NegativeLossError: a loss is below zero, and the method needs losses of at least 0.
    """
    values = torch.stack([loss.detach() for loss in losses])
    check_finite(values, names)
    clear_rounding(solver, values, names)
    direction, state, status = solver.update(state, closure, preference)
    if not direction.isfinite().all():
        raise NonFiniteError(f"the direction of {type(solver).__name__} is not finite")
    _add_direction(direction, parameters)
    return StepResult(None, state, status)


def check_finite(values: Float[Tensor, "*points m"], names: Sequence[str], before: str = "", after: str = "") -> None:
    """Raise `NonFiniteError` and name the first value that is NaN or infinite."""
    if math.isfinite(values.sum()):  # so is every one; a sum may overflow where no value is infinite
        return
    finite = torch.isfinite(values)
    if not finite.all():
        *point, i = finite.logical_not().nonzero()[0].tolist()
        value = values[(*point, i)]
        kind = "nan" if value.isnan() else "inf"
        raise NonFiniteError(f"{kind} in {before}{names[i]!r}{after}", point[0] if point else None)


def clear_rounding(
    solver: Solver, values: Float[Tensor, "*points m"], names: Sequence[str]
) -> Float[Tensor, "*points m"]:
    """Return the losses as a method gets them: where it needs losses of at least 0, rounding below 0 counts as 0.

    Rounding is less than `ROUNDING` of the largest absolute loss of the point at this step.

    Raises:
        NegativeLossError: a loss is further below 0; it names the loss, and has the index of the point.
    """
    if not solver.nonnegative or not (values < 0).any():
        return values
    negative = values < -ROUNDING * values.abs().amax(dim=-1, keepdim=True)
    if negative.any():
        *point, i = negative.nonzero()[0].tolist()
        raise NegativeLossError(
            f"loss {names[i]!r} is {float(values[(*point, i)]):.4g}, and {type(solver).__name__} needs losses of at "
            "least 0 (shift it, or use Linear)",
            point[0] if point else None,
        )
    return values.clamp(min=0)


def check_clip(solver: Solver, clip: float | None) -> None:
    """Raise if `clip` is not a positive number, or the method takes no gradient of each loss."""
    if clip is None:
        return
    if isinstance(clip, bool) or not isinstance(clip, (int, float)) or not 0 < clip < float("inf"):
        raise ValueError(f"clip={clip!r}: give a positive number, or None")
    if not isinstance(solver, (Weighting, Aggregation)):
        raise ValueError(
            f"clip={clip!r}: {type(solver).__name__} takes no gradient of each loss that could be clipped; leave it out"
        )


def depends_on(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[list[bool]]:
    """Return, for each loss, which of the parameters it depends on."""
    rows = []
    for loss in losses:
        gradients: Sequence[Tensor | None] = [None] * len(parameters)
        if loss.requires_grad:
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        rows.append([gradient is not None for gradient in gradients])
    return rows


def leaf_parameters(losses: Sequence[Tensor]) -> list[Tensor]:
    """Return the parameters that the losses depend on, in the order of the graph."""
    leaves = {id(loss): loss for loss in losses if loss.is_leaf and loss.requires_grad}
    seen: set[Any] = {None}
    pending: list[Any] = [loss.grad_fn for loss in losses]
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        parents = node.next_functions
        if parents:
            pending += [parent for parent, _ in parents]
        elif hasattr(node, "variable"):
            leaves[id(node.variable)] = node.variable
    return list(leaves.values())


def gradient_of(loss: Tensor, parameters: Sequence[Tensor], again: bool = False) -> tuple[Tensor | None, ...]:
    """Gradient of one loss with respect to each parameter; None where the loss does not depend on it.

    With `again`, the result can be differentiated.
    """
    return torch.autograd.grad(loss, parameters, create_graph=again, allow_unused=True)


def gradients_of(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[tuple[Tensor | None, ...]]:
    """Gradient of each loss with respect to each parameter; None where the loss does not depend on it.

    With several points, a point's losses depend on its own rows alone, so the gradient of their sum keeps them apart.
    """
    last = len(losses) - 1
    return [
        torch.autograd.grad(loss.sum() if loss.ndim else loss, parameters, retain_graph=i < last, allow_unused=True)
        for i, loss in enumerate(losses)
    ]


def _split_gradients(
    gradients: Sequence[Sequence[Tensor | None]], parameters: Sequence[Tensor], weigh_heads: bool
) -> tuple[list[Sequence[Tensor | None]], list[Tensor], list[Tensor]]:
    """Give the heads their gradients.

    Where autograd returns None, a loss does not depend on a parameter; so each step shows which parameters are shared.
    Where the method weighs heads, these count as shared.

    Returns:
        The losses' gradients of each shared parameter; the shared parameters; the heads' gradients.
    """
    columns, shared, heads = [], [], []
    for parameter, column in zip(parameters, zip(*gradients, strict=True), strict=True):
        present = [g for g in column if g is not None]
        if len(present) == 1 and not weigh_heads:
            heads.append(present[0])
            _add_gradient(parameter, present[0])
        elif present:
            shared.append(parameter)
            columns.append(column)
    return columns, shared, heads


def pull_back(tensors: Sequence[Tensor], directions: Sequence[Tensor]) -> None:
    """Pass the directions of computed tensors back to the parameters' `.grad`, by one backward pass."""
    torch.autograd.backward(tensors, [d.reshape(t.shape).to(t) for t, d in zip(tensors, directions, strict=True)])


def _add_direction(direction: Float[Tensor, "*points n"], parameters: Sequence[Tensor], copied: bool = False) -> None:
    """Cut a direction into pieces and add them to the parameters' gradients.

    One that is `copied` already belongs to the gradients from now on.
    """
    sizes = [p.numel() // direction.shape[:-1].numel() for p in parameters]
    for parameter, piece in zip(parameters, direction.split(sizes, dim=-1), strict=True):
        gradient = piece.view_as(parameter).to(parameter.dtype)
        if copied and parameter.grad is None and direction.ndim == 1:  # of points, pieces have gaps between them
            parameter.grad = gradient
        else:
            _add_gradient(parameter, gradient)


def _add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    # autograd may return one tensor for several parameters, or an expanded one; clipping writes into gradients in place
    parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad + gradient

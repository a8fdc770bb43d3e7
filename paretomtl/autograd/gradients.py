"""From losses to gradients: the only file that knows autograd.

`descend` fills the parameters' `.grad`. A scalarization costs one backward pass. A weighting costs one vector-Jacobian
product a loss; the direction w'J becomes the shared parameters' gradient with no second pass. A parameter that only one
loss depends on belongs to that loss's head and keeps its plain gradient, unless the method weighs heads. `follow` does
the same for a `Stepper`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from paretomtl.autograd.bounds import Within, take_out_held
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
        # backward sums in the losses' own dtype
        torch.stack(list(losses), dim=-1).mul(weights.to(values) * scale).sum().backward()
        return StepResult(weights, state, status)
    if not isinstance(solver, (Weighting, Aggregation)):
        raise TypeError(f"{type(solver).__name__} is neither a Scalarization, a Weighting nor an Aggregation")
    gradients = gradients_of([loss * scale for loss in losses], parameters)
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
    jacobian, shared, heads_move, has_shared_gradient = _split_gradients(
        values.unbind(-1), gradients, parameters, solver.weighs_heads
    )
    if solver.stateful and not all(has_shared_gradient):
        missing = [name for name, has_one in zip(names, has_shared_gradient, strict=True) if not has_one]
        raise ValueError(f"{type(solver).__name__} carries its state from step to step and needs every loss to reach "
                         f"the shared parameters; {missing} do not")  # fmt: skip
    if not shared:  # nothing in common: nothing to weigh
        return StepResult(torch.ones_like(values, dtype=torch.float64), state, solved_status(values))
    # a loss that does not depend on the shared parameters takes no part in their direction
    rows = [i for i, has_one in enumerate(has_shared_gradient) if has_one]
    r = renormalise(preference, rows)
    if within is not None:
        jacobian = take_out_held(within, shared, jacobian)
    gramian = gramian_of(jacobian) / scale**2
    norms = torch.diagonal(gramian, dim1=-2, dim2=-1).sqrt()
    check_finite(norms, [names[i] for i in rows], before="the gradient of ")
    if clip is not None:
        jacobian, gramian = clip_rows(jacobian, gramian, norms, clip)
    weights = None
    if isinstance(solver, Weighting):
        shares, state, status = solver.update(state, values[..., rows], gramian, r)
        direction = (shares.to(jacobian)[..., None, :] @ jacobian)[..., 0, :]
        weights = shares.new_zeros(values.shape)
        weights[..., rows] = shares
    else:
        direction, state, status = solver.update(state, values[..., rows], jacobian / scale, r)
        direction = direction * scale
    heads_unfinished = (status.code == Code.STATIONARY) & heads_move.to(status.code.device)
    status = status._replace(code=torch.where(heads_unfinished, int(Code.SOLVED), status.code))
    _add_direction(direction, shared)
    all_norms = norms.new_zeros(values.shape)
    all_norms[..., rows] = norms
    return StepResult(weights, state, status, all_norms)


def clip_rows(
    jacobian: Float[Tensor, "*points m n"],
    gramian: Float[Tensor, "*points m m"],
    norms: Float[Tensor, "*points m"],
    clip: float,
) -> tuple[Float[Tensor, "*points m n"], Float[Tensor, "*points m m"]]:
    """Return both with the rows of norm above `clip` shortened to `clip`."""
    shorter = (clip / norms.clamp(min=clip)).to(jacobian)
    return jacobian * shorter[..., None], gramian * (shorter[..., None] * shorter[..., None, :]).double()


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
    seen, pending = set(), [loss.grad_fn for loss in losses]
    while pending:
        node: Any = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves[id(node.variable)] = node.variable
        pending += [parent for parent, _ in node.next_functions]
    return list(leaves.values())


def gradient_of(loss: Tensor, parameters: Sequence[Tensor], again: bool = False) -> tuple[Tensor | None, ...]:
    """Gradient of one loss with respect to each parameter; None where the loss does not depend on it.

    With `again`, the result can be differentiated.
    """
    return torch.autograd.grad(loss, parameters, create_graph=again, allow_unused=True)


def jacobian_by_sample(losses: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Any]:
    """Turn `losses(parameters, sample)` into its Jacobian on the parameters, for each sample of a batch."""
    return torch.vmap(torch.func.jacrev(losses), in_dims=(None, 0), randomness="different")


def gradients_of(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[tuple[Tensor | None, ...]]:
    """Gradient of each loss with respect to each parameter; None where the loss does not depend on it.

    With several points, a point's losses depend on its own rows alone, so the gradient of their sum keeps them apart.
    """
    last = len(losses) - 1
    return [
        torch.autograd.grad(loss.sum(), parameters, retain_graph=i < last, allow_unused=True)
        for i, loss in enumerate(losses)
    ]


def _split_gradients(
    losses: Sequence[Float[Tensor, "*points"]],
    gradients: Sequence[Sequence[Tensor | None]],
    parameters: Sequence[Tensor],
    weigh_heads: bool,
) -> tuple[Float[Tensor, "*points k n"], list[Tensor], Bool[Tensor, "*points"], list[bool]]:
    """Lay out the Jacobian on the shared parameters, and give the heads their gradients.

    Where autograd returns None, a loss does not depend on a parameter; so each step shows which parameters are shared.
    Where the method weighs heads, these count as shared.

    Returns:
        The Jacobian, with a row for each loss that depends on shared parameters; the shared parameters; whether a head
        has a gradient other than 0; which losses depend on shared parameters.
    """
    columns, shared = [], []
    heads_move = torch.zeros_like(losses[0], dtype=torch.bool)
    for parameter, column in zip(parameters, zip(*gradients, strict=True), strict=True):
        present = [g for g in column if g is not None]
        if len(present) == 1 and not weigh_heads:
            heads_move = heads_move | present[0].reshape(*losses[0].shape, -1).any(dim=-1)
            _add_gradient(parameter, present[0])
        elif present:
            shared.append(parameter)
            columns.append(column)
    has_shared_gradient = [any(column[i] is not None for column in columns) for i in range(len(losses))]
    rows = [i for i, has_one in enumerate(has_shared_gradient) if has_one]
    columns = [[column[i] for i in rows] for column in columns]
    empty = losses[0].new_zeros(*losses[0].shape, 0, 0)
    jacobian = stack_gradients([losses[i] for i in rows], shared, columns) if shared else empty
    return jacobian, shared, heads_move, has_shared_gradient


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
    jacobian = losses[0].new_zeros((*points, len(losses), sum(sizes)), dtype=dtype)
    at = 0
    for size, column in zip(sizes, columns, strict=True):
        for i, gradient in enumerate(column):
            if gradient is not None:
                jacobian[..., i, at : at + size] = gradient.reshape(*points, -1)
        at += size
    return jacobian


def gramian_of(jacobian: Float[Tensor, "*points m n"]) -> Float[Tensor, "*points m m"]:
    """Compute J J' in float64, from products in the Jacobian's own precision.

    Where that precision is too narrow for the products, each row is first divided by its largest entry.
    """
    gramian = (jacobian @ jacobian.mT).double()
    squares = torch.diagonal(gramian, dim1=-2, dim2=-1)
    tiny = torch.finfo(jacobian.dtype).tiny
    if squares.isfinite().all() and (squares > tiny / torch.finfo(jacobian.dtype).eps).all():
        return gramian
    sizes = jacobian.abs().amax(dim=-1)
    rows = jacobian / torch.where((sizes > 0) & sizes.isfinite(), sizes, 1)[..., None]
    sizes = sizes.double()
    return (rows @ rows.mT).double() * sizes[..., None] * sizes[..., None, :]


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


def pull_back(tensors: Sequence[Tensor], directions: Sequence[Tensor]) -> None:
    """Pass the directions of computed tensors back to the parameters' `.grad`, by one backward pass."""
    torch.autograd.backward(tensors, [d.reshape(t.shape).to(t) for t, d in zip(tensors, directions, strict=True)])


def _add_direction(direction: Float[Tensor, "*points n"], parameters: Sequence[Tensor]) -> None:
    """Cut a direction into pieces and add them to the parameters' gradients."""
    sizes = [p.numel() // direction.shape[:-1].numel() for p in parameters]
    for parameter, piece in zip(parameters, direction.split(sizes, dim=-1), strict=True):
        _add_gradient(parameter, piece.view_as(parameter).to(parameter.dtype))


def _add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    # autograd may return one tensor for several parameters, or an expanded one; clipping writes into gradients in place
    parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad + gradient

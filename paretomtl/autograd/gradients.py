"""From losses to gradients: the only file that knows autograd.

`descend` fills the parameters' `.grad`. A scalarization costs one backward pass. A weighting costs one vector-Jacobian
product a loss; the direction w'J becomes the shared parameters' gradient with no second pass. A parameter that one loss
alone reaches is that loss's head and keeps its plain gradient. `follow` does the same for methods that ask a `Closure`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from paretomtl.errors import NonFiniteError
from paretomtl.point import Code
from paretomtl.solver import Aggregation, Closure, Scalarization, Solver, Status, Stepper, Weighting, solved_status


class StepResult(NamedTuple):
    """What a solver answered, after the gradients were set.

    weights: of the losses; None from methods that answer with a direction.
    norms: of each loss's gradient on the shared parameters, before clipping; None where it was not asked for.
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
) -> StepResult:
    """Add the solver's direction to the parameters' `.grad`; of several points at once, each one's to its own rows.

    Args:
        solver: a `Scalarization`, a `Weighting` or an `Aggregation`.
        state: its state.
        losses: m losses that require gradients: scalars; or one row of points each, the parameters leading with them.
        preference: as the solver takes it.
        parameters: what is trained.
        names: of the losses, for messages.
        clip: the largest norm of each loss's gradient on the shared parameters; longer ones are shortened to it. A loss
            that comes alone shares nothing and is not clipped.
        scale: what the losses are multiplied by for the backward passes, so that half precision does not underflow;
            `.grad` keeps it, the solver does not see it.

    Raises:
        NonFinite: a loss, or a loss's gradient on the shared parameters, is NaN or infinite.
        TypeError: a `Stepper`, which `follow` is for.
    """
    values = torch.stack([loss.detach() for loss in losses], dim=-1)
    check_finite(values, names)
    if len(losses) == 1:  # the other labels are missing: nothing to weigh
        (losses[0].sum() * scale).backward()
        return StepResult(torch.ones_like(values, dtype=torch.float64), state, solved_status(values))
    if isinstance(solver, Scalarization):
        weights, state, status = solver.update(state, values, preference)
        # backward sums in the losses' own dtype
        torch.stack(list(losses), dim=-1).mul(weights.to(values) * scale).sum().backward()
        return StepResult(weights, state, status)
    if not isinstance(solver, (Weighting, Aggregation)):
        raise TypeError(f"{type(solver).__name__} is neither a Scalarization, a Weighting nor an Aggregation")
    return _on_shared(solver, state, losses, values, preference, parameters, names, clip, scale)


def _on_shared(solver, state, losses, values, preference, parameters, names, clip, scale) -> StepResult:
    """A weighting or an aggregation: heads keep their gradient, the shared parameters get the direction."""
    jacobian, shared, heads_move, reach = _jacobian([loss * scale for loss in losses], parameters)
    if solver.stateful and not all(reach):
        out = [name for name, reaches_shared in zip(names, reach, strict=True) if not reaches_shared]
        raise ValueError(f"{type(solver).__name__} carries its state from step to step and needs every loss to reach "
                         f"the shared parameters; {out} do not")  # fmt: skip
    if not shared:  # nothing in common: nothing to weigh
        return StepResult(torch.ones_like(values, dtype=torch.float64), state, solved_status(values))
    # a loss that does not reach the shared parameters has no say in their direction
    kept = [i for i, reaches_shared in enumerate(reach) if reaches_shared]
    r = renormalise(preference, kept)
    gramian = gramian_of(jacobian) / scale**2
    norms = torch.diagonal(gramian, dim1=-2, dim2=-1).sqrt()
    check_finite(norms, [names[i] for i in kept], before="the gradient of ")
    if clip is not None:
        jacobian, gramian = clip_rows(jacobian, gramian, norms, clip)
    weights = None
    if isinstance(solver, Weighting):
        found, state, status = solver.update(state, values[..., kept], gramian, r)
        direction = (found.to(jacobian)[..., None, :] @ jacobian)[..., 0, :]
        weights = found.new_zeros(values.shape)
        weights[..., kept] = found
    else:
        direction, state, status = solver.update(state, values[..., kept], jacobian / scale, r)
        direction = direction * scale
    going_on = (status.code == Code.STATIONARY) & heads_move.to(status.code.device)
    status = status._replace(code=torch.where(going_on, int(Code.SOLVED), status.code))
    _add(direction, shared)
    told = norms.new_zeros(values.shape)
    told[..., kept] = norms
    return StepResult(weights, state, status, told)


def clip_rows(
    jacobian: Float[Tensor, "*points m n"],
    gramian: Float[Tensor, "*points m m"],
    norms: Float[Tensor, "*points m"],
    clip: float,
) -> tuple[Float[Tensor, "*points m n"], Float[Tensor, "*points m m"]]:
    """Both, with rows whose norms are above `clip` shortened to it."""
    shorter = (clip / norms.clamp(min=clip)).to(jacobian)
    return jacobian * shorter[..., None], gramian * (shorter[..., None] * shorter[..., None, :]).double()


def renormalise(preference: Float[Tensor, "*points m"], there: Sequence[int]) -> Float[Tensor, "*points k"]:
    """Shared among the objectives that are there; evenly, where none of them matters."""
    if len(there) == preference.shape[-1]:
        return preference
    r = preference[..., list(there)]
    total = r.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, r / total.clamp(min=torch.finfo(r.dtype).tiny), 1 / len(there))


def follow(
    solver: Stepper,
    state: Any,
    closure: Closure,
    losses: Sequence[Tensor],
    preference: Float[Tensor, " m"],
    parameters: Sequence[Tensor],
    names: Sequence[str],
) -> StepResult:
    """Add a stepper's direction to the parameters' `.grad`; the losses are those of the step, for a look at them.

    Raises:
        NonFinite: a loss, or an entry of the direction, is NaN or infinite.
    """
    check_finite(torch.stack([loss.detach() for loss in losses]), names)
    direction, state, status = solver.update(state, closure, preference)
    if not direction.isfinite().all():
        raise NonFiniteError(f"the direction of {type(solver).__name__} is not finite")
    _add(direction, parameters)
    return StepResult(None, state, status)


def check_finite(values: Float[Tensor, "*points m"], names: Sequence[str], before: str = "", after: str = "") -> None:
    """Raise `NonFinite` and name the first value that is NaN or infinite."""
    finite = torch.isfinite(values)
    if not finite.all():
        *point, i = finite.logical_not().nonzero()[0].tolist()
        value = values[(*point, i)]
        kind = "nan" if value.isnan() else "inf"
        raise NonFiniteError(f"{kind} in {before}{names[i]!r}{after}", point[0] if point else None)


def check_clip(solver: Solver, clip: float | None) -> None:
    """Raise where a clip is no positive number, or the method has no gradients of its own to clip."""
    if clip is None:
        return
    if isinstance(clip, bool) or not isinstance(clip, (int, float)) or not 0 < clip < float("inf"):
        raise ValueError(f"clip={clip!r}: give a positive number, or None")
    if not isinstance(solver, (Weighting, Aggregation)):
        raise ValueError(
            f"clip={clip!r}: {type(solver).__name__} takes no gradient of each loss that could be clipped; leave it out"
        )


def depends_on(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[list[bool]]:
    """For each loss, which of the parameters it depends on."""
    found = []
    for loss in losses:
        gradients: Sequence[Tensor | None] = [None] * len(parameters)
        if loss.requires_grad:
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        found.append([gradient is not None for gradient in gradients])
    return found


def leaf_parameters(losses: Sequence[Tensor]) -> list[Tensor]:
    """The parameters that the losses depend on, in the order in which the graph is walked."""
    found = {id(loss): loss for loss in losses if loss.is_leaf and loss.requires_grad}
    seen, todo = set(), [loss.grad_fn for loss in losses]
    while todo:
        node: Any = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found[id(node.variable)] = node.variable
        todo += [before for before, _ in node.next_functions]
    return list(found.values())


def gradient_of(loss: Tensor, parameters: Sequence[Tensor], again: bool = False) -> tuple[Tensor | None, ...]:
    """Of one loss on each parameter, None where it does not reach; one that has a gradient itself, if it is `again`."""
    return torch.autograd.grad(loss, parameters, create_graph=again, allow_unused=True)


def jacobian_by_sample(losses: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Any]:
    """`losses(parameters, sample)` as its Jacobian on the parameters, sample by sample of a batch."""
    return torch.vmap(torch.func.jacrev(losses), in_dims=(None, 0), randomness="different")


def gradients_of(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[tuple[Tensor | None, ...]]:
    """One vector-Jacobian product a loss: its gradient on each parameter, None where it does not reach.

    Of several points each loss depends on its own rows alone, so that the gradient of the sum parts them.
    """
    last = len(losses) - 1
    return [
        torch.autograd.grad(loss.sum(), parameters, retain_graph=i < last, allow_unused=True)
        for i, loss in enumerate(losses)
    ]


def _jacobian(
    losses: Sequence[Float[Tensor, "*points"]], parameters: Sequence[Tensor]
) -> tuple[Float[Tensor, "*points k n"], list[Tensor], Bool[Tensor, "*points"], list[bool]]:
    """The Jacobian on the shared parameters; these; whether a head moves; which losses reach shared parameters.

    Rows are those of the losses that reach. Which parameters are shared is read off each step, by where autograd
    answers None; heads get their gradient on the way.
    """
    columns, shared = [], []
    heads_move = torch.zeros_like(losses[0], dtype=torch.bool)
    for parameter, column in zip(parameters, zip(*gradients_of(losses, parameters), strict=True), strict=True):
        present = [g for g in column if g is not None]
        if len(present) == 1:
            heads_move = heads_move | present[0].reshape(*losses[0].shape, -1).any(dim=-1)
            _accumulate(parameter, present[0])
        elif present:
            shared.append(parameter)
            columns.append(column)
    reach = [any(column[i] is not None for column in columns) for i in range(len(losses))]
    kept = [[g for g, here in zip(column, reach, strict=True) if here] for column in columns]
    rows = [loss for loss, here in zip(losses, reach, strict=True) if here]
    jacobian = stack_gradients(rows, shared, kept) if shared else losses[0].new_zeros(*losses[0].shape, 0, 0)
    return jacobian, shared, heads_move, reach


def stack_gradients(
    losses: Sequence[Float[Tensor, "*points"]],
    parameters: Sequence[Tensor],
    columns: Sequence[Sequence[Tensor | None]],
) -> Float[Tensor, "*points m n"]:
    """The parameters' columns side by side, zero where a loss does not reach."""
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
    """J J' in float64. Products are in the Jacobian's own precision, of rows brought to 1 where that is too narrow."""
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
    """The Jacobian of each point's losses with respect to its own row of weights, (p, *shape) each.

    No loss depends on another point's row, so the gradient of their sum parts them.
    """
    found = []
    for j in range(losses.shape[1]):
        gradients = torch.autograd.grad(losses[:, j].sum(), rows, retain_graph=True, allow_unused=True)
        pieces = [torch.zeros_like(row) if g is None else g for row, g in zip(rows, gradients, strict=True)]
        found.append(torch.cat([piece.reshape(len(losses), -1) for piece in pieces], dim=1))
    return torch.stack(found, dim=1)


def pull_back(tensors: Sequence[Tensor], directions: Sequence[Tensor]) -> None:
    """Add to the parameters' `.grad` what moves tensors computed from them along directions, by one backward pass."""
    torch.autograd.backward(tensors, [d.reshape(t.shape).to(t) for t, d in zip(tensors, directions, strict=True)])


def _add(direction: Float[Tensor, "*points n"], parameters: Sequence[Tensor]) -> None:
    """Add a direction, cut into pieces, to the parameters' gradients."""
    sizes = [p.numel() // direction.shape[:-1].numel() for p in parameters]
    for parameter, piece in zip(parameters, direction.split(sizes, dim=-1), strict=True):
        _accumulate(parameter, piece.view_as(parameter).to(parameter.dtype))


def _accumulate(parameter: Tensor, gradient: Tensor) -> None:
    # autograd may answer one tensor for several parameters, or an expanded one; what clips gradients writes into them
    parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad + gradient

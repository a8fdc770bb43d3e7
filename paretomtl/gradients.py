"""From losses to gradients: the only file that knows autograd.

`descend` fills the parameters' `.grad`. A scalarization costs one backward pass. A weighting costs one vector-Jacobian
product a loss; the direction w'J becomes the shared parameters' gradient with no second pass. A parameter that one loss
alone reaches is that loss's head and keeps its plain gradient. `follow` does the same for methods that ask a `Closure`.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from paretomtl.problem import Problem
from paretomtl.solver import (
    Aggregation,
    Closure,
    Code,
    Gradients,
    Scalarization,
    Solver,
    Status,
    Stepper,
    Weighting,
    solved,
)

SAMPLES_AT_ONCE = 32  # whose gradients are held in memory together


class NonFinite(ArithmeticError):
    """A loss or a gradient is NaN or infinite.

    Args:
        message: which, and of what.
        point: of which point, where there are several.
    """

    def __init__(self, message: str, point: int | None = None):
        super().__init__(message)
        self.point = point


class Taken(NamedTuple):
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
) -> Taken:
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
        return Taken(torch.ones_like(values, dtype=torch.float64), state, solved(values))
    if isinstance(solver, Scalarization):
        weights, state, status = solver.update(state, values, preference)
        # backward sums in the losses' own dtype
        torch.stack(list(losses), dim=-1).mul(weights.to(values) * scale).sum().backward()
        return Taken(weights, state, status)
    if not isinstance(solver, (Weighting, Aggregation)):
        raise TypeError(f"{type(solver).__name__} is neither a Scalarization, a Weighting nor an Aggregation")
    return _on_shared(solver, state, losses, values, preference, parameters, names, clip, scale)


def _on_shared(solver, state, losses, values, preference, parameters, names, clip, scale) -> Taken:
    """A weighting or an aggregation: heads keep their gradient, the shared parameters get the direction."""
    jacobian, shared, heads_move, reach = _jacobian([loss * scale for loss in losses], parameters)
    if solver.stateful and not all(reach):
        out = [name for name, reaches_shared in zip(names, reach, strict=True) if not reaches_shared]
        raise ValueError(f"{type(solver).__name__} carries its state from step to step and needs every loss to reach "
                         f"the shared parameters; {out} do not")  # fmt: skip
    if not shared:  # nothing in common: nothing to weigh
        return Taken(torch.ones_like(values, dtype=torch.float64), state, solved(values))
    # a loss that does not reach the shared parameters has no say in their direction
    kept = [i for i, reaches_shared in enumerate(reach) if reaches_shared]
    r = among(preference, kept)
    gramian = gramian_of(jacobian) / scale**2
    norms = torch.diagonal(gramian, dim1=-2, dim2=-1).sqrt()
    check_finite(norms, [names[i] for i in kept], before="the gradient of ")
    if clip is not None:
        shorter = (clip / norms.clamp(min=clip)).to(jacobian)
        jacobian = jacobian * shorter[..., None]
        gramian = gramian * (shorter[..., None] * shorter[..., None, :]).double()
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
    return Taken(weights, state, status, told)


def among(preference: Float[Tensor, "*points m"], there: Sequence[int]) -> Float[Tensor, "*points k"]:
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
) -> Taken:
    """Add a stepper's direction to the parameters' `.grad`; the losses are those of the step, for a look at them.

    Raises:
        NonFinite: a loss, or an entry of the direction, is NaN or infinite.
    """
    check_finite(torch.stack([loss.detach() for loss in losses]), names)
    direction, state, status = solver.update(state, closure, preference)
    if not direction.isfinite().all():
        raise NonFinite(f"the direction of {type(solver).__name__} is not finite")
    _add(direction, parameters)
    return Taken(None, state, status)


class NoLabel(Exception):
    """A batch has no label at all, and takes no part."""


def check_finite(values: Float[Tensor, "*points m"], names: Sequence[str], before: str = "", after: str = "") -> None:
    """Raise `NonFinite` and name the first value that is NaN or infinite."""
    finite = torch.isfinite(values)
    if not finite.all():
        *point, i = finite.logical_not().nonzero()[0].tolist()
        value = values[(*point, i)]
        kind = "nan" if value.isnan() else "inf"
        raise NonFinite(f"{kind} in {before}{names[i]!r}{after}", point[0] if point else None)


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


def reached(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[list[bool]]:
    """For each loss, which of the parameters it depends on."""
    found = []
    for loss in losses:
        gradients: Sequence[Tensor | None] = [None] * len(parameters)
        if loss.requires_grad:
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        found.append([gradient is not None for gradient in gradients])
    return found


def leaves(losses: Sequence[Tensor]) -> list[Tensor]:
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


def closure(problem: Problem, model: nn.Module, batch: Any = None) -> "Losses":
    """The losses of a batch as a function of the model's parameters, as a `Stepper` sees them; for diagnosis too.

    Args:
        problem: whose losses.
        model: is put elsewhere and back.
        batch: None for a deterministic problem.
    """

    def present() -> list[Tensor]:
        return [loss for loss in problem.loss_list(model, batch) if loss is not None]

    trained = [p for p in model.parameters() if p.requires_grad]
    project = problem.project
    return Losses(
        present,
        trained,
        squared=None if batch is None else lambda: _squared_gradients(problem, model, batch),
        project=None if project is None else lambda: project(model),
        buffers=list(model.buffers()),
        noisy=batch is not None,
    )


class Losses(Closure):
    """The losses of one batch as a function of all parameters, laid end to end."""

    def __init__(
        self,
        evaluate: Callable[[], list[Tensor]],
        parameters: Sequence[Tensor],
        squared: Callable[[], Tensor] | None = None,
        project: Callable[[], None] | None = None,
        buffers: Sequence[Tensor] = (),
        noisy: bool = True,
    ):
        self._evaluate, self._trained, self._buffers = evaluate, parameters, buffers
        self._squared, self._project = squared, project
        # dropout must be the same wherever the losses are asked for, and another one at the next step
        self._seed = int(torch.randint(2**62, ())) if noisy else None
        self.moves = 0

    @property
    def parameters(self) -> Float[Tensor, " n"]:
        """Where the model stands."""
        return torch.cat([p.detach().reshape(-1) for p in self._trained])

    def __call__(self, parameters: Float[Tensor, " n"] | None = None) -> Float[Tensor, " m"]:
        """The losses there, without gradients; at None, where the model stands."""
        with self._at(parameters), torch.no_grad():
            return torch.stack(self._evaluate())

    def gradients(self) -> Gradients:
        """The losses and their Jacobian where the model stands."""
        with self._at():
            losses = self._evaluate()
            columns = list(zip(*_gradients(losses, self._trained), strict=True))
        reach = torch.tensor([sum(g is not None for g in column) for column in columns])
        sizes = torch.tensor([p.numel() for p in self._trained])
        shared = (reach > 1).repeat_interleave(sizes).to(losses[0].device)
        values = torch.stack([loss.detach() for loss in losses])
        return Gradients(values, _stack(losses, self._trained, columns), shared)

    def gradient(self, weights: Float[Tensor, " m"], parameters: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The gradient of the weighted sum of the losses there, by one backward pass."""
        with self._at(parameters):
            return self._flat(torch.autograd.grad(self._sum(weights), self._trained, allow_unused=True))

    def hessian_product(self, weights: Float[Tensor, " m"], vector: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The Hessian of the weighted sum of the losses, where the model stands, times a vector."""
        with self._at():
            gradients = torch.autograd.grad(self._sum(weights), self._trained, create_graph=True, allow_unused=True)
            pieces = vector.split([p.numel() for p in self._trained])
            # where a gradient depends on no parameter, the losses are linear and the Hessian is zero
            products = [
                (g * piece.view_as(g)).sum()
                for g, piece in zip(gradients, pieces, strict=True)
                if g is not None and g.requires_grad
            ]
            if not products:
                return torch.zeros_like(vector)
            return self._flat(torch.autograd.grad(torch.stack(products).sum(), self._trained, allow_unused=True))

    def squared_gradients(self) -> Float[Tensor, "m n"]:
        """The mean over the samples of each one's squared gradient; without a batch, the losses are the one sample."""
        if self._squared is None:
            return self.gradients().jacobian.square()
        with self._at():
            return self._squared()

    def move(self, parameters: Float[Tensor, " n"]) -> None:
        """Put the model there, within its bounds."""
        self._put(parameters)
        if self._project is not None:
            self._project()
        self.moves += 1

    def _sum(self, weights: Tensor) -> Tensor:
        losses = torch.stack(self._evaluate())
        return (weights.to(losses) * losses).sum()

    def _flat(self, gradients: Sequence[Tensor | None]) -> Tensor:
        there = zip(gradients, self._trained, strict=True)
        return torch.cat([torch.zeros_like(p).reshape(-1) if g is None else g.detach().reshape(-1) for g, p in there])

    @contextlib.contextmanager
    def _at(self, parameters: Tensor | None = None) -> Iterator[None]:
        """Within it the model stands there and noise is the closure's own; after it all is as it was."""
        here = None if parameters is None else self.parameters
        buffers = [buffer.clone() for buffer in self._buffers]
        devices = sorted({p.device.index for p in self._trained if p.is_cuda})
        with torch.random.fork_rng(devices=devices, enabled=self._seed is not None):
            if self._seed is not None:
                torch.manual_seed(self._seed)
            if parameters is not None:
                self._put(parameters)
            try:
                yield
            finally:
                if here is not None:
                    self._put(here)
                for buffer, before in zip(self._buffers, buffers, strict=True):
                    buffer.copy_(before)  # running statistics, for one

    def _put(self, parameters: Tensor) -> None:
        with torch.no_grad():
            for p, piece in zip(self._trained, parameters.split([p.numel() for p in self._trained]), strict=True):
                p.copy_(piece.view_as(p))


class LossModule(nn.Module):
    """The losses of the labels that are there, as a module's output, so that torch can call them at other parameters.

    Args:
        problem: whose losses.
        model: at which.
        there: is filled with the objectives that have a label in the batch.
    """

    def __init__(self, problem: Problem, model: nn.Module, there: list[int] | None = None):
        super().__init__()
        self.problem, self.model = problem, model
        self.there: list[int] = [] if there is None else there

    def forward(self, batch: Any) -> Float[Tensor, " k"]:
        """The losses (k,), of k <= m objectives."""
        return torch.stack(self.present(batch))

    def present(self, batch: Any) -> list[Tensor]:
        """The losses one by one.

        Raises:
            NoLabel: the batch has none at all.
            ValueError: it has others than one that was seen before, such as another part of the same batch.
        """
        losses = self.problem.loss_list(self.model, batch)
        there = [i for i, loss in enumerate(losses) if loss is not None]
        if self.there and there != self.there:
            raise ValueError(
                "the parts of a batch do not have labels of the same objectives; give sampling=pm.Sampling('batch')"
            )
        if not there:
            raise NoLabel("a batch has no label of any objective")
        self.there[:] = there
        return [loss for loss in losses if loss is not None]


class Apart(LossModule):
    """The same losses, each apart, so that autograd sees which parameters each of them reaches."""

    def forward(self, batch: Any) -> tuple[Tensor, ...]:  # type: ignore[override]
        """The losses."""
        return tuple(self.present(batch))


def _squared_gradients(problem: Problem, model: nn.Module, batch: Any) -> Float[Tensor, "m n"]:
    """The mean over samples of each sample's squared gradient on each loss; a sample is a batch of one."""
    evaluate = LossModule(problem, model)
    trained = {name: p.detach() for name, p in evaluate.named_parameters() if p.requires_grad}

    def losses(parameters: dict[str, Tensor], sample: Any) -> Tensor:
        one = tree_map(lambda x: x.unsqueeze(0), sample)
        return torch.func.functional_call(evaluate, parameters, (one,))

    each = torch.vmap(torch.func.jacrev(losses), in_dims=(None, 0), randomness="different")
    total: Any = 0
    try:
        n = len(tree_leaves(batch)[0])
        for some in (slice(at, at + SAMPLES_AT_ONCE) for at in range(0, n, SAMPLES_AT_ONCE)):
            found = each(trained, tree_map(lambda x, some=some: x[some], batch)).values()
            total += torch.cat([g.reshape(*g.shape[:2], -1).square().sum(dim=0) for g in found], dim=1)
    except (RuntimeError, ValueError, AttributeError, TypeError, LookupError) as error:
        raise ValueError(
            "the losses cannot be taken sample by sample (every tensor of a batch must lead with the samples, and the "
            f"model must not mix them, as BatchNorm does): {(str(error).splitlines() or [''])[0]}"
        ) from error
    return total / n


def _gradients(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[tuple[Tensor | None, ...]]:
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
    for parameter, column in zip(parameters, zip(*_gradients(losses, parameters), strict=True), strict=True):
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
    jacobian = _stack(rows, shared, kept) if shared else losses[0].new_zeros(*losses[0].shape, 0, 0)
    return jacobian, shared, heads_move, reach


def _stack(
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

"""From losses to gradients: the only file that knows autograd.

`descend` fills the parameters' `.grad`. A scalarization costs one backward pass. A weighting costs one vector-Jacobian
product a loss; the direction w'J becomes the shared parameters' gradient with no second pass. A parameter that one loss
alone reaches is that loss's head and keeps its plain gradient. `follow` does the same for methods that ask a `Closure`.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
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
    """A loss or a gradient is NaN or infinite."""


class Taken(NamedTuple):
    """What a solver answered, after the gradients were set.

    weights: of the losses; None from methods that answer with a direction.
    norms: of each loss's gradient on the shared parameters, before clipping; None where it was not asked for.
    """

    weights: Float[Tensor, " m"] | None
    state: Any
    status: Status
    norms: Float[Tensor, " m"] | None = None


def descend(
    solver: Solver,
    state: Any,
    losses: Sequence[Tensor],
    preference: Float[Tensor, " m"],
    parameters: Sequence[Tensor],
    names: Sequence[str],
    clip: float | None = None,
    scale: float = 1.0,
) -> Taken:
    """Add the solver's direction to the parameters' `.grad`.

    Args:
        solver: a `Scalarization`, a `Weighting` or an `Aggregation`.
        state: its state.
        losses: m scalars that require gradients.
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
    values = torch.stack([loss.detach() for loss in losses])
    check_finite(values, names)
    if len(losses) == 1:  # the other labels are missing: nothing to weigh
        (losses[0] * scale).backward()
        return Taken(values.new_ones(1, dtype=torch.float64), state, solved(values))
    if isinstance(solver, Scalarization):
        weights, state, status = solver.update(state, values, preference)
        # backward sums in the losses' own dtype
        torch.stack(list(losses)).mul(weights.to(values) * scale).sum().backward()
        return Taken(weights, state, status)
    if not isinstance(solver, (Weighting, Aggregation)):
        raise TypeError(f"{type(solver).__name__} is neither a Scalarization, a Weighting nor an Aggregation")
    return _on_shared(solver, state, losses, values, preference, parameters, names, clip, scale)


def _on_shared(solver, state, losses, values, preference, parameters, names, clip, scale) -> Taken:
    """A weighting or an aggregation: heads keep their gradient, the shared parameters get the direction."""
    jacobian, shared, heads_move, reach = _jacobian([loss * scale for loss in losses], parameters)
    if solver.stateful and not reach.all():
        out = [name for name, reaches_shared in zip(names, reach.tolist(), strict=True) if not reaches_shared]
        raise ValueError(f"{type(solver).__name__} carries its state from step to step and needs every loss to reach "
                         f"the shared parameters; {out} do not")  # fmt: skip
    if not shared:  # nothing in common: nothing to weigh
        return Taken(values.new_ones(len(losses), dtype=torch.float64), state, solved(values))
    # a loss that does not reach the shared parameters has no say in their direction
    kept = [name for name, reaches_shared in zip(names, reach.tolist(), strict=True) if reaches_shared]
    r = preference[reach]
    if not reach.all():
        r = r / r.sum() if r.any() else torch.full_like(r, 1 / len(r))
    gramian = gramian_of(jacobian) / scale**2
    check_finite(torch.diagonal(gramian), kept, before="the gradient of ")
    norms = torch.diagonal(gramian).sqrt()
    if clip is not None:
        shorter = (clip / norms.clamp(min=clip)).to(jacobian)
        jacobian = jacobian * shorter[:, None]
        gramian = gramian * torch.outer(shorter, shorter).double()
    weights = None
    if isinstance(solver, Weighting):
        found, state, status = solver.update(state, values[reach], gramian, r)
        direction = found.to(jacobian) @ jacobian
        weights = found.new_zeros(len(losses))
        weights[reach] = found
    else:
        direction, state, status = solver.update(state, values[reach], jacobian / scale, r)
        direction = direction * scale
    if status.code == Code.STATIONARY and heads_move:
        status = status._replace(code=torch.tensor(int(Code.SOLVED)))
    _add(direction, shared)
    told = norms.new_zeros(len(losses))
    told[reach] = norms
    return Taken(weights, state, status, told)


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


def check_finite(values: Float[Tensor, " m"], names: Sequence[str], before: str = "", after: str = "") -> None:
    """Raise `NonFinite` and name the first value that is NaN or infinite."""
    finite = torch.isfinite(values)
    if not finite.all():
        i = int(finite.logical_not().nonzero()[0])
        raise NonFinite(f"{'nan' if values[i].isnan() else 'inf'} in {before}{names[i]!r}{after}")


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
        self.problem, self.model, self._there = problem, model, [] if there is None else there

    def forward(self, batch: Any) -> Float[Tensor, " k"]:
        """The losses (k,), of k <= m objectives.

        Raises:
            NoLabel: the batch has none at all.
            ValueError: it has others than one that was seen before, such as another part of the same batch.
        """
        losses = self.problem.loss_list(self.model, batch)
        there = [i for i, loss in enumerate(losses) if loss is not None]
        if self._there and there != self._there:
            raise ValueError(
                "the parts of a batch do not have labels of the same objectives; give sampling=pm.Sampling('batch')"
            )
        if not there:
            raise NoLabel("a batch has no label of any objective")
        self._there[:] = there
        return torch.stack([loss for loss in losses if loss is not None])


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
    """One vector-Jacobian product a loss: its gradient on each parameter, None where it does not reach."""
    last = len(losses) - 1
    return [
        torch.autograd.grad(loss, parameters, retain_graph=i < last, allow_unused=True) for i, loss in enumerate(losses)
    ]


def _jacobian(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], bool, Tensor]:
    """The Jacobian on the shared parameters; these; whether a head moves; which losses reach shared parameters.

    Rows are those of the losses that reach. Which parameters are shared is read off each step, by where autograd
    answers None; heads get their gradient on the way.
    """
    columns, shared, heads_move = [], [], False
    for parameter, column in zip(parameters, zip(*_gradients(losses, parameters), strict=True), strict=True):
        present = [g for g in column if g is not None]
        if len(present) == 1:
            heads_move = heads_move or bool(present[0].any())
            _accumulate(parameter, present[0])
        elif present:
            shared.append(parameter)
            columns.append(column)
    reach = [any(column[i] is not None for column in columns) for i in range(len(losses))]
    kept = [[g for g, here in zip(column, reach, strict=True) if here] for column in columns]
    rows = [loss for loss, here in zip(losses, reach, strict=True) if here]
    jacobian = _stack(rows, shared, kept) if shared else losses[0].new_zeros(0, 0)
    return jacobian, shared, heads_move, torch.tensor(reach)


def _stack(
    losses: Sequence[Tensor], parameters: Sequence[Tensor], columns: Sequence[Sequence[Tensor | None]]
) -> Float[Tensor, "m n"]:
    """The parameters' columns side by side, zero where a loss does not reach."""
    # float16 gradients would underflow in their products
    dtype = torch.promote_types(losses[0].dtype, torch.float32)
    jacobian = losses[0].new_zeros((len(losses), sum(p.numel() for p in parameters)), dtype=dtype)
    at = 0
    for parameter, column in zip(parameters, columns, strict=True):
        for row, gradient in zip(jacobian, column, strict=True):
            if gradient is not None:
                row[at : at + parameter.numel()] = gradient.reshape(-1)
        at += parameter.numel()
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


def _add(direction: Float[Tensor, " n"], parameters: Sequence[Tensor]) -> None:
    """Add a direction, cut into pieces, to the parameters' gradients."""
    for parameter, piece in zip(parameters, direction.split([p.numel() for p in parameters]), strict=True):
        _accumulate(parameter, piece.view_as(parameter).to(parameter.dtype))


def _accumulate(parameter: Tensor, gradient: Tensor) -> None:
    # autograd may answer one tensor for several parameters, or an expanded one; what clips gradients writes into them
    parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad + gradient

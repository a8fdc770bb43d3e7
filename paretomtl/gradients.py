"""From losses to gradients: the only file that knows autograd.

`descend` fills the parameters' `.grad`. A scalarization costs one backward pass. A weighting costs one vector-Jacobian
product a loss; the direction w'J becomes the shared parameters' gradient with no second pass. A parameter that one loss
alone reaches is that loss's head and keeps its plain gradient.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.problem import Problem
from paretomtl.solver import Closure, Code, Scalarization, Solver, Status, Weighting, solved


class NonFinite(ArithmeticError):
    """A loss or a gradient is NaN or infinite."""


def descend(
    solver: Solver,
    state: Any,
    losses: Sequence[Tensor],
    preference: Float[Tensor, " m"],
    parameters: Sequence[nn.Parameter],
    names: Sequence[str],
) -> tuple[Float[Tensor, " m"], Any, Status]:
    """Set `.grad` of the parameters to the solver's direction; the weights, the next state and the status.

    Args:
        solver: a `Scalarization` or a `Weighting`.
        state: its state.
        losses: m scalars that require gradients.
        preference: as the solver takes it.
        parameters: what is trained.
        names: of the losses, for messages.

    Raises:
        NonFinite: a loss, or a weighting's gradient on the shared parameters, is NaN or infinite.
        TypeError: a solver of a class that the training loop does not drive.
    """
    values = torch.stack([loss.detach() for loss in losses])
    check_finite(values, names)
    if len(losses) == 1:  # the other labels are missing: nothing to weigh
        losses[0].backward()
        return values.new_ones(1, dtype=torch.float64), state, solved(values)
    if isinstance(solver, Scalarization):
        weights, state, status = solver.update(state, values, preference)
        # backward sums in the losses' own dtype
        torch.stack(list(losses)).mul(weights.to(values)).sum().backward()
        return weights, state, status
    if not isinstance(solver, Weighting):
        raise TypeError(f"{type(solver).__name__} is neither a Scalarization nor a Weighting")
    jacobian, shared = _jacobian(losses, parameters)
    gramian = (jacobian @ jacobian.T).double()
    check_finite(torch.diagonal(gramian), names, before="the gradient of ")
    weights, state, status = solver.update(state, values, gramian, preference)
    if status.code == Code.STATIONARY and any(p.grad is not None and p.grad.any() for p in parameters):
        status = status._replace(code=torch.tensor(int(Code.SOLVED)))  # the heads, which alone have a .grad yet, go on
    direction = weights.to(jacobian) @ jacobian
    for parameter, piece in zip(shared, direction.split([p.numel() for p in shared]), strict=True):
        parameter.grad = piece.view_as(parameter).to(parameter.dtype)
    return weights, state, status


def check_finite(values: Float[Tensor, " m"], names: Sequence[str], before: str = "", after: str = "") -> None:
    """Raise `NonFinite` and name the first value that is NaN or infinite."""
    finite = torch.isfinite(values)
    if not finite.all():
        i = int(finite.logical_not().nonzero()[0])
        raise NonFinite(f"{'nan' if values[i].isnan() else 'inf'} in {before}{names[i]!r}{after}")


def reaches(loss: Tensor, parameters: Sequence[nn.Parameter]) -> bool:
    """Whether a loss depends on any of the parameters."""
    if not loss.requires_grad:
        return False
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return any(gradient is not None for gradient in gradients)


class Losses(Closure):
    """The losses of a deterministic problem as a function of all parameters, laid end to end."""

    def __init__(self, problem: Problem, model: nn.Module):
        self._problem, self._model = problem, model
        self._trained = [p for p in model.parameters() if p.requires_grad]
        self.moves = 0

    @property
    def parameters(self) -> Float[Tensor, " n"]:
        """Where the model stands."""
        return torch.cat([p.detach().reshape(-1) for p in self._trained])

    def __call__(self, parameters: Float[Tensor, " n"] | None = None, batch: Any = None) -> Float[Tensor, " m"]:
        """The losses there, without gradients; the model stays where it is."""
        here = None if parameters is None else self.parameters
        if parameters is not None:
            self._put(parameters)
        with torch.no_grad():
            losses = torch.stack(self._present(batch))
        if here is not None:
            self._put(here)
        return losses

    def jacobian(self) -> tuple[Float[Tensor, " m"], Float[Tensor, "m n"]]:
        """The losses and their Jacobian where the model stands."""
        losses = self._present(None)
        columns = list(zip(*_gradients(losses, self._trained), strict=True))
        return torch.stack([loss.detach() for loss in losses]), _stack(losses, self._trained, columns)

    def move(self, parameters: Float[Tensor, " n"]) -> None:
        """Put the model there, within its bounds."""
        self._put(parameters)
        if self._problem.project is not None:
            self._problem.project(self._model)
        self.moves += 1

    def _put(self, parameters: Tensor) -> None:
        with torch.no_grad():
            for p, piece in zip(self._trained, parameters.split([p.numel() for p in self._trained]), strict=True):
                p.copy_(piece.view_as(p))

    def _present(self, batch: Any) -> list[Tensor]:
        losses = self._problem.loss_list(self._model, batch)
        return [loss for loss in losses if loss is not None]


def _gradients(losses: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> list[tuple[Tensor | None, ...]]:
    """One vector-Jacobian product a loss: its gradient on each parameter, None where it does not reach."""
    last = len(losses) - 1
    return [
        torch.autograd.grad(loss, parameters, retain_graph=i < last, allow_unused=True) for i, loss in enumerate(losses)
    ]


def _jacobian(
    losses: Sequence[Tensor], parameters: Sequence[nn.Parameter]
) -> tuple[Float[Tensor, "m n"], list[nn.Parameter]]:
    """The Jacobian on the shared parameters, and these; heads get their gradient on the way.

    Which parameters are shared is read off each step, by where autograd answers None.
    """
    columns, shared = [], []
    for parameter, column in zip(parameters, zip(*_gradients(losses, parameters), strict=True), strict=True):
        present = [g for g in column if g is not None]
        if len(present) == 1:
            parameter.grad = present[0]
        elif present:
            shared.append(parameter)
            columns.append(column)
    return _stack(losses, shared, columns), shared


def _stack(
    losses: Sequence[Tensor], parameters: Sequence[nn.Parameter], columns: Sequence[tuple[Tensor | None, ...]]
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

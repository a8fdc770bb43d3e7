"""The losses of a batch as a function of the parameters: for a `Stepper`, and in a form that torch can vectorise."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from paretomtl.autograd.bounds import within_bounds
from paretomtl.autograd.gradients import gradient_of, gradients_of
from paretomtl.autograd.jacobian import jacobian_by_sample, stack_gradients
from paretomtl.autograd.representation import gradient_through
from paretomtl.autograd.units import Units, convert
from paretomtl.errors import NoLabelError
from paretomtl.problem import Problem
from paretomtl.solver import Closure, Combine, Gradients, Location

SAMPLES_AT_ONCE = 32  # samples whose gradients are in memory together


def closure(
    problem: Problem, model: nn.Module, batch: Any = None, noisy: bool = True, units: Units | None = None
) -> "BatchLosses":
    """Return a batch's losses as a function of the model's parameters, as a `Stepper` sees them; for diagnosis too.

    Args:
        problem: the problem that defines the losses.
        model: the model; its parameters are changed for each call, and put back.
        batch: a batch of the problem's data; None for a deterministic problem.
        noisy: whether to repeat the same noise, such as dropout's, at each call.
        units: the units of the losses; None for their own.
    """

    def present() -> list[Tensor]:
        losses = problem.loss_list(model, batch)
        return convert({i: loss for i, loss in enumerate(losses) if loss is not None}, units)

    trained = [p for p in model.parameters() if p.requires_grad]
    project = problem.project
    return BatchLosses(
        present,
        trained,
        squared=None if batch is None else lambda: _squared_gradients(problem, model, batch, units),
        project=None if project is None else lambda: project(model),
        buffers=list(model.buffers()),
        noisy=noisy and batch is not None,
        model=model,
    )


class BatchLosses(Closure):
    """The losses of one batch as a function of all trained parameters, laid end to end."""

    def __init__(
        self,
        evaluate: Callable[[], list[Tensor]],
        parameters: Sequence[Tensor],
        squared: Callable[[], Tensor] | None = None,
        project: Callable[[], None] | None = None,
        buffers: Sequence[Tensor] = (),
        noisy: bool = True,
        model: nn.Module | None = None,
    ):
        self._model = model
        self._evaluate, self._trained, self._buffers = evaluate, parameters, buffers
        self._squared, self._project = squared, project
        # within a step dropout must be the same at all parameters; the next step draws it anew
        self._seed = int(torch.randint(2**62, ())) if noisy else None
        self.moves, self.most_moves = 0, math.inf

    @property
    def parameters(self) -> Float[Tensor, " n"]:
        """The model's current parameters."""
        return torch.cat([p.detach().reshape(-1) for p in self._trained])

    def __call__(self, parameters: Float[Tensor, " n"] | None = None) -> Float[Tensor, " m"]:
        """Return the losses at the given parameters, or at the current ones, without gradients."""
        with self._standing_at(parameters), torch.no_grad():
            return torch.stack(self._evaluate())

    def gradients(self) -> Gradients:
        """Return the losses and their Jacobian at the current parameters."""
        with self._standing_at():
            losses = self._evaluate()
            columns = list(zip(*gradients_of(losses, self._trained), strict=True))
        users = torch.tensor([sum(g is not None for g in column) for column in columns])
        sizes = torch.tensor([p.numel() for p in self._trained])
        shared = (users > 1).repeat_interleave(sizes).to(losses[0].device)
        values = torch.stack([loss.detach() for loss in losses])
        return Gradients(values, stack_gradients(losses, self._trained, columns), shared)

    def gradient(self, weights: Float[Tensor, " m"], parameters: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the gradient of the weighted sum of the losses at the given parameters, by one backward pass."""
        with self._standing_at(parameters):
            return self._flatten(gradient_of(self._weighted_sum(weights), self._trained))

    def hessian_product(self, weights: Float[Tensor, " m"], vector: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Multiply a vector by the Hessian of the weighted sum of the losses at the current parameters."""
        with self._standing_at():
            gradients = gradient_of(self._weighted_sum(weights), self._trained, again=True)
            pieces = vector.split([p.numel() for p in self._trained])
            # where a gradient depends on no parameter, the losses are linear and the Hessian is zero
            products = [
                (g * piece.view_as(g)).sum()
                for g, piece in zip(gradients, pieces, strict=True)
                if g is not None and g.requires_grad
            ]
            if not products:
                return torch.zeros_like(vector)
            return self._flatten(gradient_of(torch.stack(products).sum(), self._trained))

    def squared_gradients(self) -> Float[Tensor, "m n"]:
        """Return the mean of the samples' squared gradients; without a batch, the losses are the only sample."""
        if self._squared is None:
            return self.gradients().jacobian.square()
        with self._standing_at():
            return self._squared()

    def locate(self, name: str) -> Location:
        """Return where a parameter stands in the parameters that are laid end to end."""
        if self._model is None:
            return super().locate(name)
        own = dict(self._model.named_parameters()).get(name)
        at = 0
        for p in self._trained:
            if p is own:
                return Location(slice(at, at + p.numel()), p.shape)
            at += p.numel()
        trained = {id(p) for p in self._trained}
        names = ", ".join(key for key, p in self._model.named_parameters() if id(p) in trained)
        raise ValueError(f"{name!r} is no trained parameter of the model; it has {names}")

    def gradient_through(self, at: str, combine: Combine) -> Float[Tensor, " n"]:
        """Return a direction that is chosen at the output of the module `at`."""
        if self._model is None:
            return super().gradient_through(at, combine)
        with self._standing_at():
            return gradient_through(self._model, at, self._evaluate, self._trained, combine)

    def within(self, parameters: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the parameters that `move` would set: the given ones, brought within the model's bounds."""
        if self._project is None:
            return parameters
        return within_bounds(self._project, [*self._trained, *self._buffers], self._trained, parameters)

    @property
    def is_spent(self) -> bool:
        """Whether the model has been moved `most_moves` times."""
        return self.moves >= self.most_moves

    def move(self, parameters: Float[Tensor, " n"]) -> None:
        """Set the model's parameters, within its bounds."""
        self._write(parameters)
        if self._project is not None:
            self._project()
        self.moves += 1

    def _weighted_sum(self, weights: Tensor) -> Tensor:
        losses = torch.stack(self._evaluate())
        return (weights.to(losses) * losses).sum()

    def _flatten(self, gradients: Sequence[Tensor | None]) -> Tensor:
        pairs = zip(gradients, self._trained, strict=True)
        return torch.cat([torch.zeros_like(p).reshape(-1) if g is None else g.detach().reshape(-1) for g, p in pairs])

    @contextlib.contextmanager
    def _standing_at(self, parameters: Tensor | None = None) -> Iterator[None]:
        """Within this context the model has the given parameters and the closure's own noise; then all is restored."""
        origin = None if parameters is None else self.parameters
        buffers = [buffer.clone() for buffer in self._buffers]
        devices = sorted({p.device.index for p in self._trained if p.is_cuda})
        with torch.random.fork_rng(devices=devices, enabled=self._seed is not None):
            if self._seed is not None:
                torch.manual_seed(self._seed)
            if parameters is not None:
                self._write(parameters)
            try:
                yield
            finally:
                if origin is not None:
                    self._write(origin)
                for buffer, value in zip(self._buffers, buffers, strict=True):
                    buffer.copy_(value)  # running statistics, for one

    def _write(self, parameters: Tensor) -> None:
        with torch.no_grad():
            for p, piece in zip(self._trained, parameters.split([p.numel() for p in self._trained]), strict=True):
                p.copy_(piece.view_as(p))


class LossModule(nn.Module):
    """The losses of the present labels as a module's output, so that torch can call them at other parameters.

    Args:
        problem: the problem that defines the losses.
        model: the model that they are computed at.
        labels: a list that each call fills with the objectives that have a label in the batch.
    """

    def __init__(self, problem: Problem, model: nn.Module, labels: list[int] | None = None):
        super().__init__()
        self.problem, self.model = problem, model
        self.labels: list[int] = [] if labels is None else labels

    def forward(self, batch: Any) -> Float[Tensor, " k"]:
        """Return the losses of k <= m objectives."""
        return torch.stack(self.present(batch))

    def present(self, batch: Any) -> list[Tensor]:
        """Return the losses of the present labels, one by one.

        Raises:
            NoLabelError: the batch has no label.
            ValueError: its labels differ from those of an earlier batch, such as another part of the same batch.
        """
        losses = self._evaluate(batch)
        labels = [i for i, loss in enumerate(losses) if loss is not None]
        if self.labels and labels != self.labels:
            raise ValueError(
                "the parts of a batch do not have labels of the same objectives; give sampling=pm.Sampling('batch')"
            )
        if not labels:
            raise NoLabelError("a batch has no label of any objective")
        self.labels[:] = labels
        return [loss for loss in losses if loss is not None]

    def _evaluate(self, batch: Any) -> list[Tensor | None]:
        return self.problem.loss_list(self.model, batch)


class SeparateLosses(LossModule):
    """The same losses as separate outputs, so that autograd sees which parameters each one depends on.

    Attributes:
        counts: the last batch's number of labels of each objective.
    """

    counts: Sequence[float] = ()

    def forward(self, batch: Any) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Return the losses."""
        return tuple(self.present(batch))

    def _evaluate(self, batch: Any) -> list[Tensor | None]:
        losses, self.counts, _ = self.problem.counted_losses(self.model, batch)
        return losses


def _squared_gradients(problem: Problem, model: nn.Module, batch: Any, units: Units | None) -> Float[Tensor, "m n"]:
    """Return each loss's mean over the samples of the squared gradient; a sample is a batch of one."""
    evaluate = LossModule(problem, model)
    trained = {name: p.detach() for name, p in evaluate.named_parameters() if p.requires_grad}

    def losses(parameters: dict[str, Tensor], sample: Any) -> Tensor:
        batch_of_one = tree_map(lambda x: x.unsqueeze(0), sample)
        return torch.func.functional_call(evaluate, parameters, (batch_of_one,))

    sample_gradients = jacobian_by_sample(losses)
    total: Any = 0
    try:
        n = len(tree_leaves(batch)[0])
        for part in (slice(start, start + SAMPLES_AT_ONCE) for start in range(0, n, SAMPLES_AT_ONCE)):
            gradients = sample_gradients(trained, tree_map(lambda x, part=part: x[part], batch)).values()
            total += torch.cat([g.reshape(*g.shape[:2], -1).square().sum(dim=0) for g in gradients], dim=1)
    except (RuntimeError, ValueError, AttributeError, TypeError, LookupError) as error:
        raise ValueError(
            "the losses cannot be taken sample by sample (every tensor of a batch must lead with the samples, and the "
            f"model must not mix them, as BatchNorm does): {(str(error).splitlines() or [''])[0]}"
        ) from error
    return total / n if units is None else total / n / total.new_tensor(units.span).square()[:, None]

"""The losses of a batch as a function of the parameters: as a `Stepper` asks for them, and as torch can vectorise."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from paretomtl.autograd.gradients import gradient_of, gradients_of, jacobian_by_sample, stack_gradients
from paretomtl.errors import NoLabelError
from paretomtl.problem import Problem
from paretomtl.solver import Closure, Gradients

SAMPLES_AT_ONCE = 32  # whose gradients are held in memory together


def closure(problem: Problem, model: nn.Module, batch: Any = None, noisy: bool = True) -> "BatchLosses":
    """The losses of a batch as a function of the model's parameters, as a `Stepper` sees them; for diagnosis too.

    Args:
        problem: whose losses.
        model: is put elsewhere and back.
        batch: None for a deterministic problem.
        noisy: whether dropout and its like, if there is any, are to be the same at each look.
    """

    def present() -> list[Tensor]:
        return [loss for loss in problem.loss_list(model, batch) if loss is not None]

    trained = [p for p in model.parameters() if p.requires_grad]
    project = problem.project
    return BatchLosses(
        present,
        trained,
        squared=None if batch is None else lambda: _squared_gradients(problem, model, batch),
        project=None if project is None else lambda: project(model),
        buffers=list(model.buffers()),
        noisy=noisy and batch is not None,
    )


class BatchLosses(Closure):
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
            columns = list(zip(*gradients_of(losses, self._trained), strict=True))
        reach = torch.tensor([sum(g is not None for g in column) for column in columns])
        sizes = torch.tensor([p.numel() for p in self._trained])
        shared = (reach > 1).repeat_interleave(sizes).to(losses[0].device)
        values = torch.stack([loss.detach() for loss in losses])
        return Gradients(values, stack_gradients(losses, self._trained, columns), shared)

    def gradient(self, weights: Float[Tensor, " m"], parameters: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The gradient of the weighted sum of the losses there, by one backward pass."""
        with self._at(parameters):
            return self._flat(gradient_of(self._sum(weights), self._trained))

    def hessian_product(self, weights: Float[Tensor, " m"], vector: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The Hessian of the weighted sum of the losses, where the model stands, times a vector."""
        with self._at():
            gradients = gradient_of(self._sum(weights), self._trained, again=True)
            pieces = vector.split([p.numel() for p in self._trained])
            # where a gradient depends on no parameter, the losses are linear and the Hessian is zero
            products = [
                (g * piece.view_as(g)).sum()
                for g, piece in zip(gradients, pieces, strict=True)
                if g is not None and g.requires_grad
            ]
            if not products:
                return torch.zeros_like(vector)
            return self._flat(gradient_of(torch.stack(products).sum(), self._trained))

    def squared_gradients(self) -> Float[Tensor, "m n"]:
        """The mean over the samples of each one's squared gradient; without a batch, the losses are the one sample."""
        if self._squared is None:
            return self.gradients().jacobian.square()
        with self._at():
            return self._squared()

    def within(self, parameters: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The place within the model's bounds at which `move` would put it; the same where there are none."""
        if self._project is None:
            return parameters
        with self._at(parameters):
            self._project()
            return self.parameters

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
            raise NoLabelError("a batch has no label of any objective")
        self.there[:] = there
        return [loss for loss in losses if loss is not None]


class SeparateLosses(LossModule):
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

    each = jacobian_by_sample(losses)
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

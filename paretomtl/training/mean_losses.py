"""The mean losses over all of train as a function of the parameters; unlike a batch's losses, they have no noise."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.autograd.loss_function import BatchLosses, closure
from paretomtl.problem import Problem
from paretomtl.solver import Closure, Gradients
from paretomtl.training.measuring import to_device
from paretomtl.training.seeds import reseed, reseed_loader, seed_of


class MeanLosses(Closure):
    """The mean losses over all batches of train, weighed as `measure` does; one batch at a time is in memory.

    Every pass over the data starts from the same seed, so that order and augmentation repeat. The model stays in its
    mode, train or eval. For a deterministic problem the mean losses are its losses.

    Args:
        problem: defines the losses.
        model: holds the parameters.
        train: the problem's batches; None for a deterministic problem.
        device: the device for the batches.
        hessian_batches: the number of batches for Hessian-vector products; None for all.

    Attributes:
        moves: how often the model was moved.
        products: the number of Hessian-vector products so far.

    Raises:
        ValueError: an objective has no label in any batch.
    """

    def __init__(
        self,
        problem: Problem,
        model: nn.Module,
        train: Iterable[Any] | None,
        device: str = "cpu",
        hessian_batches: int | None = None,
    ):
        self._problem, self._model, self._device = problem, model, device
        self._train = [None] if train is None else train
        self._place = closure(problem, model)
        self._few = hessian_batches
        self._counts: list[Tensor] = []  # of a batch: the number of labels of each objective
        with torch.no_grad():
            for batch in self._batches():
                counts = problem.counted_losses(model, batch).counts
                self._counts.append(torch.tensor(counts, dtype=torch.float64))
        for name, total in zip(problem.names, self._totals(None).tolist(), strict=True):
            if not total:
                raise ValueError(f"no batch of train has a label for {name!r}; there is no way to lower it")
        self._gradients: Gradients | None = None
        self.products = 0

    @property
    def parameters(self) -> Float[Tensor, " n"]:
        """The parameters of the model, flattened."""
        return self._place.parameters

    @property
    def moves(self) -> int:
        """How often the model was moved."""
        return self._place.moves

    def __call__(self, parameters: Float[Tensor, " n"] | None = None) -> Float[Tensor, " m"]:
        """Return the losses at the parameters, without gradients; by default at those of the model."""
        return self._by_loss(lambda part: part(parameters))

    def gradients(self) -> Gradients:
        """Return the losses and their Jacobian at the model's parameters; they are cached until it moves."""
        if self._gradients is None:
            shared = torch.zeros_like(self.parameters, dtype=torch.bool)

            def both(part: BatchLosses) -> Tensor:
                gradients = part.gradients()
                shared.logical_or_(gradients.shared)
                return torch.cat([gradients.losses.double()[:, None], gradients.jacobian.double()], dim=1)

            rows = self._by_loss(both)
            self._gradients = Gradients(rows[:, 0], rows[:, 1:].to(self.parameters), shared)
        return self._gradients

    def gradient(self, weights: Float[Tensor, " m"], parameters: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the gradient of the weighted sum of the losses at the parameters; one backward pass a batch."""
        return self._sum(lambda part, shares: part.gradient(shares, parameters), weights)

    def hessian_product(self, weights: Float[Tensor, " m"], vector: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the Hessian of the weighted sum of the losses, at the model's parameters, times a vector."""
        self.products += 1
        return self._sum(lambda part, shares: part.hessian_product(shares, vector), weights, self._few)

    def squared_gradients(self) -> Float[Tensor, "m n"]:
        """Return the mean over all samples of each sample's squared gradient, at the model's parameters."""
        return self._by_loss(lambda part: part.squared_gradients())

    def within(self, parameters: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the parameters as `move` would bound them; unchanged where the problem has no bounds."""
        return self._place.within(parameters)

    def move(self, parameters: Float[Tensor, " n"]) -> None:
        """Move the model to the parameters, within its bounds."""
        self._place.move(parameters)
        self._gradients = None

    def _by_loss(self, of: Callable[[BatchLosses], Tensor]) -> Tensor:
        """Return the mean over batches of a quantity that each batch has a row of for each loss, in float64."""
        total: Any = 0
        for part, present, shares in self._parts(None):
            values = of(part).double()
            rows = values.new_zeros((len(self._problem.names), *values.shape[1:]))
            rows[present] = values * shares.reshape(-1, *[1] * (values.ndim - 1)).to(values)
            total = total + rows
        return total

    def _sum(self, of: Callable[[BatchLosses, Tensor], Tensor], weights: Tensor, few: int | None = None) -> Tensor:
        """Return the sum over batches of a quantity of their weighted losses."""
        total = torch.zeros_like(self.parameters)
        for part, present, shares in self._parts(few):
            total += of(part, weights[present] * shares.to(weights))
        return total

    def _parts(self, few: int | None) -> Iterator[tuple[BatchLosses, list[int], Tensor]]:
        """Yield each batch's losses as a function, the objectives they belong to, and its share in the mean of each."""
        totals = self._totals(few)
        for batch, counts in zip(self._batches(few), self._counts[:few], strict=True):
            present = counts.nonzero()[:, 0].tolist()
            if present:
                # the seed of the pass is enough
                part = closure(self._problem, self._model, batch, noisy=False)
                yield part, present, counts[present] / totals[present]

    def _batches(self, few: int | None = None) -> Iterator[Any]:
        if not self._problem.deterministic:
            seed = seed_of(0, 0, 0)
            reseed(seed)
            reseed_loader(self._train, seed)
        for batch in islice(self._train, few):
            yield to_device(batch, self._device)

    def _totals(self, few: int | None) -> Float[Tensor, " m"]:
        """Return the number of labels of each objective."""
        return sum(self._counts[:few], torch.zeros(len(self._problem.names), dtype=torch.float64))

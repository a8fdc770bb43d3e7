"""The mean losses over all of train as a function of the parameters: exact, where those of a batch are noisy."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.autograd.loss_function import BatchLosses, closure
from paretomtl.problem import Problem
from paretomtl.solver import Closure, Gradients
from paretomtl.training.measuring import batch_length, to_device
from paretomtl.training.seeds import reseed, reseed_loader, seed_of


class MeanLosses(Closure):
    """The mean losses over all batches of train, as `measure` weighs them; a batch at a time is in memory.

    Every reading of the data starts from one seed, so that order and augmentation are the same in all. The model stays
    in the mode that it is in. Of a deterministic problem these are its losses.

    Args:
        problem: whose losses.
        model: at which.
        train: the problem's batches; None for a deterministic problem.
        device: where batches go.
        hessian_batches: how many batches Hessian-vector products are taken on; None for all.

    Attributes:
        moves: how often the model was moved.
        products: how many Hessian-vector products were taken.

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
        self._labels: list[tuple[int, list[int]]] = []  # of each batch: its length, and the objectives with a label
        with torch.no_grad():
            for batch in self._batches():
                losses = problem.loss_list(model, batch)
                self._labels.append((batch_length(batch), [i for i, loss in enumerate(losses) if loss is not None]))
        for name, total in zip(problem.names, self._totals(None).tolist(), strict=True):
            if not total:
                raise ValueError(f"no batch of train has a label for {name!r}; there is no way to lower it")
        self._found: Gradients | None = None
        self.products = 0

    @property
    def parameters(self) -> Float[Tensor, " n"]:
        """Where the model stands."""
        return self._place.parameters

    @property
    def moves(self) -> int:
        """How often the model was moved."""
        return self._place.moves

    def __call__(self, parameters: Float[Tensor, " n"] | None = None) -> Float[Tensor, " m"]:
        """The losses there, without gradients; at None, where the model stands."""
        return self._by_loss(lambda part: part(parameters))

    def gradients(self) -> Gradients:
        """The losses and their Jacobian where the model stands; asked for again, they are at hand."""
        if self._found is None:
            shared = torch.zeros_like(self.parameters, dtype=torch.bool)

            def both(part: BatchLosses) -> Tensor:
                found = part.gradients()
                shared.logical_or_(found.shared)
                return torch.cat([found.losses.double()[:, None], found.jacobian.double()], dim=1)

            found = self._by_loss(both)
            self._found = Gradients(found[:, 0], found[:, 1:].to(self.parameters), shared)
        return self._found

    def gradient(self, weights: Float[Tensor, " m"], parameters: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The gradient of the weighted sum of the losses there, by one backward pass a batch."""
        return self._sum(lambda part, shares: part.gradient(shares, parameters), weights)

    def hessian_product(self, weights: Float[Tensor, " m"], vector: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The Hessian of the weighted sum of the losses, where the model stands, times a vector."""
        self.products += 1
        return self._sum(lambda part, shares: part.hessian_product(shares, vector), weights, self._few)

    def squared_gradients(self) -> Float[Tensor, "m n"]:
        """The mean over all samples of each sample's squared gradient, where the model stands."""
        return self._by_loss(lambda part: part.squared_gradients())

    def within(self, parameters: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The place within the model's bounds at which `move` would put it; the same where there are none."""
        return self._place.within(parameters)

    def move(self, parameters: Float[Tensor, " n"]) -> None:
        """Put the model there, within its bounds."""
        self._place.move(parameters)
        self._found = None

    def _by_loss(self, of: Callable[[BatchLosses], Tensor]) -> Tensor:
        """The mean over batches of what each has for each loss, in float64."""
        total: Any = 0
        for part, there, shares in self._parts(None):
            found = of(part).double()
            rows = found.new_zeros((len(self._problem.names), *found.shape[1:]))
            rows[there] = found * shares.reshape(-1, *[1] * (found.ndim - 1)).to(found)
            total = total + rows
        return total

    def _sum(self, of: Callable[[BatchLosses, Tensor], Tensor], weights: Tensor, few: int | None = None) -> Tensor:
        """The sum over batches of what each has for its weighted losses."""
        total = torch.zeros_like(self.parameters)
        for part, there, shares in self._parts(few):
            total += of(part, weights[there] * shares.to(weights))
        return total

    def _parts(self, few: int | None) -> Iterator[tuple[BatchLosses, list[int], Tensor]]:
        """Of each batch: its losses as a function, which objectives these are, and its share in the mean of each."""
        totals = self._totals(few)
        for batch, (size, there) in zip(self._batches(few), self._labels[:few], strict=True):
            if there:
                # the seed of the reading is enough
                yield closure(self._problem, self._model, batch, noisy=False), there, size / totals[there]

    def _batches(self, few: int | None = None) -> Iterator[Any]:
        if not self._problem.deterministic:
            seed = seed_of(0, 0, 0)
            reseed(seed)
            reseed_loader(self._train, seed)
        for batch in islice(self._train, few):
            yield to_device(batch, self._device)

    def _totals(self, few: int | None) -> Float[Tensor, " m"]:
        """How many samples have a label of each objective."""
        totals = torch.zeros(len(self._problem.names), dtype=torch.float64)
        for size, there in self._labels[:few]:
            totals[there] += size
        return totals

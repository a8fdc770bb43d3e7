"""A problem: a model, its named losses, the data, and the measure of a trained model.

Losses are always minimised. People read and choose by the measure, which has a `goal` and a unit of its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.objective import Objective, check_reference

Batches = Iterable[Any] | Callable[[], Iterable[Any]]
Loss = Tensor | tuple[Tensor, float | Tensor] | None  # plain, with its number of labels, or without a label


class Truth(NamedTuple):
    """A front that is known: N points of it, its ideal, its nadir and its hypervolume."""

    front: Float[np.ndarray, "N m"]
    ideal: Float[np.ndarray, " m"]
    nadir: Float[np.ndarray, " m"]
    hypervolume: float


class CountedLosses(NamedTuple):
    """The losses of a batch, in the order of the objectives, and how many labels each is a mean of.

    counts: 0 where the label is missing.
    is_stated: whether `losses` returned a count with every loss; else the length of the batch stands in.
    """

    losses: list[Tensor | None]
    counts: list[float]
    is_stated: bool


@dataclass(frozen=True)
class Problem:
    """A model with several losses, and everything needed to train and measure it.

    Args:
        objectives: two or more, as `Objective` or as plain names.
        model: `() -> nn.Module`, a new one at each call; called under the study's seed.
        losses: `(model, batch) -> {name: scalar}`. The value None says that the batch has no label for that objective;
            NaN does not. A pair (mean, count) says how many labels the loss is a mean of; else the length of the
            batch's first tensor counts.
        ref_point: the hypervolume reference, one number an objective; fixed here, before any front is seen. None: fixed
            once, from the corners' losses: 10 % of their range beyond the worst of them.
        train, validate, test: a DataLoader, another re-iterable of batches, or a factory `() -> such`. Factories travel
            to workers; prefer them for large data. Fronts are drawn on `validate`; `test` is measured as well.
        measure: `(model, batches) -> {name: float}`; by default the mean losses. For all objectives it may return pairs
            of a value and its standard error on these batches (0 where exact), which rules with a margin need.
        project: `(model) -> None`, called after each step; keeps parameters within bounds.
        deterministic: True for analytic problems: there are no data, `batch` is None, and the budget is in `steps`.
        truth: the front, where it is known.
    """

    objectives: Sequence[str | Objective]
    model: Callable[[], nn.Module]
    losses: Callable[[Any, Any], Mapping[str, Loss]]
    ref_point: Sequence[float] | None
    train: Batches | None = None
    validate: Batches | None = None
    test: Batches | None = None
    measure: Callable[[Any, Iterable[Any]], Mapping[str, float | tuple[float, float]]] | None = None
    project: Callable[[Any], None] | None = None
    deterministic: bool = False
    truth: Truth | None = None
    names: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self):
        if isinstance(self.objectives, str):
            raise TypeError(f"objectives={self.objectives!r} is one text; give a list of names")
        objectives = tuple(o if isinstance(o, Objective) else Objective(o) for o in self.objectives)
        object.__setattr__(self, "objectives", objectives)
        object.__setattr__(self, "names", tuple(o.name for o in objectives))
        if len(objectives) < 2:
            raise ValueError(f"objectives={list(self.names)}: with fewer than two there is nothing to trade off")
        if len(set(self.names)) < len(objectives):
            raise ValueError(f"objectives={list(self.names)}: names must differ")
        if self.ref_point is not None:
            object.__setattr__(self, "ref_point", tuple(check_reference(self.ref_point, len(objectives)).tolist()))
        for name in ("model", "losses", "measure", "project"):
            value = getattr(self, name)
            if not callable(value) and (value is not None or name in ("model", "losses")):
                raise TypeError(f"{name}={value!r} cannot be called; give a function")
        if isinstance(self.model, nn.Module):
            raise TypeError("model is a module; give a factory `() -> module`, so that each point starts with its own")
        self._check_measure()
        self._check_data()

    def _check_measure(self):
        maximised = [o.name for o in self.described if o.goal == "max"]
        if maximised and self.measure is None:
            raise ValueError(
                f"objective {maximised[0]!r} has goal='max', but there is no measure: losses are minimised. "
                "Give measure=, or leave goal out"
            )

    def _check_data(self):
        present = [name for name in ("train", "validate", "test") if getattr(self, name) is not None]
        if self.deterministic:
            if present:
                raise ValueError(f"deterministic=True, but {present[0]}= is given; leave one of the two out")
            return
        for name in ("train", "validate"):
            if name not in present:
                raise ValueError(f"{name}= is missing; give batches, or deterministic=True for a problem without data")

    @property
    def described(self) -> tuple[Objective, ...]:
        """The objectives, each an `Objective`."""
        return tuple(o for o in self.objectives if isinstance(o, Objective))

    @property
    def reference(self) -> Sequence[float]:
        """The hypervolume reference.

        Raises:
            ValueError: it is not fixed yet.
        """
        if self.ref_point is None:
            raise ValueError("ref_point=None: it is not fixed yet; give one number an objective")
        return self.ref_point

    def loss_list(self, model: nn.Module, batch: Any) -> list[Tensor | None]:
        """Return the losses of a batch in the order of the objectives, checked; None for a missing label."""
        return [loss for loss, _ in self._pairs(model, batch)]

    def counted_losses(self, model: nn.Module, batch: Any) -> CountedLosses:
        """Return the losses of a batch with their numbers of labels; it fails within `torch.vmap` over samples."""
        pairs = self._pairs(model, batch)
        counts = [_to_count(name, count) for name, (_, count) in zip(self.names, pairs, strict=True)]
        is_stated = all(count is not None for (loss, _), count in zip(pairs, counts, strict=True) if loss is not None)
        length = float(batch_length(batch))
        filled = [0.0 if loss is None else count or length for (loss, _), count in zip(pairs, counts, strict=True)]
        return CountedLosses([loss for loss, _ in pairs], filled, is_stated)

    def mean_losses(self, model: nn.Module, batches: Iterable[Any]) -> list[float | None]:
        """Return the mean of each loss over the batches that have its label, each weighed by its number of such labels.

        None where no batch has a label.
        """
        totals, weights = [0.0] * len(self.names), [0.0] * len(self.names)
        for batch in batches:
            losses, counts, _ = self.counted_losses(model, batch)
            for i, (loss, count) in enumerate(zip(losses, counts, strict=True)):
                if loss is not None:
                    totals[i] += count * float(loss.detach())
                    weights[i] += count
        return [total / weight if weight else None for total, weight in zip(totals, weights, strict=True)]

    def _pairs(self, model: nn.Module, batch: Any) -> list[tuple[Tensor | None, float | Tensor | None]]:
        """Return each loss of a batch and the count that came with it, or None, in the order of the objectives."""
        losses = self.losses(model, batch)
        if not isinstance(losses, Mapping):
            raise TypeError(f"losses returned {type(losses).__name__}; give a dict with the keys {list(self.names)}")
        if set(losses) != set(self.names):
            raise ValueError(
                f"losses returned the keys {sorted(map(str, losses))}, the objectives are {list(self.names)}; "
                "give one value for each (None where a batch has no label)"
            )
        pairs = []
        for name, scale in ((o.name, o.scale) for o in self.described):
            loss, count = _split_pair(name, losses[name])
            if loss is not None and not (isinstance(loss, Tensor) and loss.ndim == 0):
                kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
                raise ValueError(f"loss {name!r} is {kind}; give a 0-dimensional tensor, such as its mean")
            pairs.append((loss if loss is None or scale == 1 else loss / scale, count))
        return pairs

    def open(self) -> dict[str, Iterable[Any]]:
        """Open the data by split, calling factories. A deterministic problem has one batch, None, on "validate"."""
        if self.deterministic:
            return {"validate": [None]}
        splits = {"train": self.train, "validate": self.validate, "test": self.test}
        return {name: _open_split(name, source) for name, source in splits.items() if source is not None}


def batch_length(batch: Any) -> int:
    """Return the length of the first tensor or array in a batch; 1 where there is none."""
    if getattr(batch, "shape", None):
        return int(batch.shape[0])
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (tuple, list)) else ()
    return next((batch_length(part) for part in parts if getattr(part, "shape", None)), 1)


def _split_pair(name: str, loss: Any) -> tuple[Any, Any]:
    """Return a loss and its count; None for a count that was not given."""
    if not isinstance(loss, tuple):
        return loss, None
    if len(loss) != 2 or not isinstance(loss[0], Tensor):
        raise ValueError(f"loss {name!r} is {loss!r}; give its mean, or (mean, count), or None for a missing label")
    return loss


def _to_count(name: str, count: Any) -> float | None:
    if count is None:
        return None
    is_number = isinstance(count, (int, float, np.number)) or (isinstance(count, Tensor) and count.ndim == 0)
    if isinstance(count, bool) or not is_number or not 0 < float(count) < float("inf"):
        raise ValueError(
            f"loss {name!r} has the count {count!r}; give the number of its labels, or None in place of the pair where "
            "a batch has none"
        )
    return float(count)


def _open_split(name: str, source: Batches) -> Iterable[Any]:
    batches = source() if callable(source) and (isinstance(source, type) or not hasattr(source, "__iter__")) else source
    if not hasattr(batches, "__iter__"):
        raise TypeError(f"{name} gave {type(batches).__name__}, which cannot be iterated over; give batches")
    if hasattr(batches, "__next__"):
        raise TypeError(
            f"{name} can be read only once (an iterator); give a list, a DataLoader, or a factory that returns one"
        )
    return batches  # type: ignore[return-value]

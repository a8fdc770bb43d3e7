"""The measures of a trained model: its mean losses, and the problem's own measures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from paretomtl.autograd.gradients import check_finite
from paretomtl.problem import Problem


class SplitMeasures(NamedTuple):
    """Mean losses and measures on one split, in the order of the objectives.

    errors: standard errors of the measures; None where the problem's measure gives none.
    """

    losses: tuple[float, ...]
    values: tuple[float, ...]
    errors: tuple[float, ...] | None = None


def evaluate(problem: Problem, model: nn.Module, split: str = "validate") -> dict[str, float]:
    """Return the mean losses of a model on a split, by objective, measured as the points of a front are.

    Args:
        problem: the problem that the model was trained for.
        model: the model; it is in eval mode while it is measured.
        split: "train", "validate" or "test".
    """
    batches = problem.open()
    if split not in batches:
        raise ValueError(f"split={split!r}: this problem has {', '.join(map(repr, batches))}")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return dict(zip(problem.names, measure(problem, model, batches[split], device, split).losses, strict=True))


class MeasuresBySplit(NamedTuple):
    """Losses, measures and their standard errors by split, as a Point has them."""

    losses: dict[str, tuple[float, ...]]
    values: dict[str, tuple[float, ...]]
    errors: dict[str, tuple[float, ...]]


def measure_splits(
    problem: Problem, model: nn.Module, splits: Mapping[str, Iterable[Any]], device: Any
) -> MeasuresBySplit:
    """Measure a model on each split but train; see `measure`."""
    measures = {
        split: measure(problem, model, batches, device, split) for split, batches in splits.items() if split != "train"
    }
    return MeasuresBySplit(
        {split: m.losses for split, m in measures.items()},
        {split: m.values for split, m in measures.items()},
        {split: m.errors for split, m in measures.items() if m.errors is not None},
    )


def measure(problem: Problem, model: nn.Module, batches: Iterable[Any], device: Any, split: str) -> SplitMeasures:
    """Measure mean losses and the problem's own measures on a split.

    The mean of a loss is over the batches that have its label, each weighed by its number of such labels.

    Raises:
        NonFiniteError: a mean or a measure is NaN or infinite; such a number never gets onto a front.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            batches = DeviceBatches(batches, device)
            losses = _mean_losses(problem, model, batches, split)
            values, errors = (
                (losses, None)
                if problem.measure is None
                else read_measures(problem.names, problem.measure(model, batches))
            )
    finally:
        model.train(training)
    for kind, row in (("loss", losses), ("measure", values)):
        check_finite(torch.tensor(row), problem.names, before=f"the {kind} ", after=f" on {split}")
    if errors is not None:
        check_finite(torch.tensor(errors), problem.names, before="the standard error of ", after=f" on {split}")
    return SplitMeasures(losses, values, errors)


class DeviceBatches:
    """Batches that are moved to a device as they are read; they can be read any number of times."""

    def __init__(self, batches: Iterable[Any], device: Any):
        self._batches, self._device = batches, device

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            yield to_device(batch, self._device)

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]


def to_device(batch: Any, device: Any) -> Any:
    """Move the tensors of a batch to a device; it is a tensor, a mapping, or a (named) tuple or list of such."""
    if isinstance(batch, (Tensor, nn.Module)) or hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        parts = [to_device(part, device) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def _mean_losses(problem: Problem, model: nn.Module, batches: Iterable[Any], split: str) -> tuple[float, ...]:
    means = []
    for name, mean in zip(problem.names, problem.mean_losses(model, batches), strict=True):
        if mean is None:
            raise ValueError(f"no batch of {split} has a label for {name!r}; its loss cannot be measured")
        means.append(mean)
    return tuple(means)


def read_measures(names: Sequence[str], measures: Any) -> tuple[tuple[float, ...], tuple[float, ...] | None]:
    """Return the values that a problem's measure returned, and their standard errors if it gave them."""
    if not isinstance(measures, Mapping):
        raise TypeError(f"measure returned a {type(measures).__name__}; give a dict with the keys {list(names)}")
    if set(measures) != set(names):
        raise ValueError(f"measure returned the keys {sorted(map(str, measures))}; give {list(names)}")
    pairs = [measures[name] for name in names]
    is_pair = [isinstance(pair, (tuple, list)) for pair in pairs]
    if not any(is_pair):
        return tuple(_to_number(name, value) for name, value in zip(names, pairs, strict=True)), None
    for name, pair, has_error in zip(names, pairs, is_pair, strict=True):
        if not has_error or len(pair) != 2:
            raise ValueError(
                f"measure returned {pair!r} for {name!r}; give (value, standard error) for every objective, with 0 for "
                "what is exact, or plain values for all"
            )
    values, errors = (
        tuple(_to_number(name, pair[k]) for name, pair in zip(names, pairs, strict=True)) for k in range(2)
    )
    if min(errors) < 0:
        raise ValueError(f"measure returned a negative standard error: {dict(zip(names, errors, strict=True))}")
    return values, errors


def _to_number(name: str, value: Any) -> float:
    try:
        if not isinstance(value, (str, bytes)):  # float() would read a number in a text
            return float(value)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise TypeError(f"measure returned {value!r} for {name!r}; give a number")

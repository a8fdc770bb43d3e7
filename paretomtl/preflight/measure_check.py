"""Whether a model can be measured, tried on a few batches before its training.

Measuring is what a point does last: a typo in it would show only after the whole training.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paretomtl.problem import Problem
from paretomtl.training.measuring import read_measures, to_device

BATCHES = 2  # enough for means, and for what a measure must keep from batch to batch


def first_batches(batches: Iterable[Any], split: str, device: Any) -> list[Any]:
    """Return the first few batches of a split, on a device; of train the first, for a step takes one."""
    few = list(itertools.islice(batches, 1 if split == "train" else BATCHES))
    if not few:
        raise ValueError(f"{split} is empty: it gave no batch; check its data, its batch size and drop_last")
    return [to_device(batch, device) for batch in few]


def check_measuring(
    problem: Problem, model: nn.Module, batches: Sequence[Any], split: str
) -> tuple[list[list[Tensor | None]], list[str]]:
    """Measure an untrained model on a few batches, in eval mode and without gradients, as after the training.

    Returns:
        The losses of each batch, and a note for each number that is not finite: for the whole split it may be.

    Raises:
        ValueError: the losses or the measure need gradients; the measure raises, or returns something else than it
            should.
    """
    training = model.training
    model.eval()
    place = f"the first {len(batches)} batches of {split}" if len(batches) > 1 else f"the first batch of {split}"
    try:
        losses = [_evaluate_losses(problem, model, batch, split) for batch in batches]
        numbers = [
            (f"loss {name!r}", float(loss.detach()))
            for row in losses
            for name, loss in zip(problem.names, row, strict=True)
            if loss is not None
        ]
        if problem.measure is not None:
            values, errors = read_measures(problem.names, _call_measure(problem, model, batches, place))
            numbers += [(f"measure {name!r}", value) for name, value in zip(problem.names, values, strict=True)]
            numbers += [
                (f"the standard error of {name!r}", error)
                for name, error in zip(problem.names, errors or (), strict=False)
            ]
    finally:
        model.train(training)
    bad = {what: number for what, number in numbers if not math.isfinite(number)}
    return losses, [
        f"{what} of the untrained model is {number} on {place}; a point fails if it is not finite on the whole split"
        for what, number in bad.items()
    ]


def _evaluate_losses(problem: Problem, model: nn.Module, batch: Any, split: str) -> list[Tensor | None]:
    def evaluate() -> list[Tensor | None]:
        return problem.loss_list(model, batch)

    try:
        with torch.no_grad():
            return evaluate()
    except Exception as error:
        if _succeeds_with_gradients(evaluate):
            raise _gradients_needed("losses", f"on {split}", error) from error
        raise


def _call_measure(problem: Problem, model: nn.Module, batches: Sequence[Any], place: str) -> Any:
    measure = problem.measure
    assert measure is not None
    try:
        with torch.no_grad():
            return measure(model, list(batches))
    except Exception as error:
        if _succeeds_with_gradients(lambda: measure(model, list(batches))):
            raise _gradients_needed("measure", f"on {place}", error) from error
        raise ValueError(
            f"measure raised {type(error).__name__} on {place}, with an untrained model: {_first_line(error)}; mend "
            "it, for it would end every point after its training. Where so few samples have no value, return nan"
        ) from error


def _succeeds_with_gradients(call: Callable[[], Any]) -> bool:
    try:
        with torch.enable_grad():
            call()
    except Exception:
        return False
    return True


def _gradients_needed(what: str, where: str, error: Exception) -> ValueError:
    return ValueError(
        f"{what}: a gradient is taken inside, and models are measured without gradients {where}: {_first_line(error)}; "
        "put that part into `with torch.enable_grad():`"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]

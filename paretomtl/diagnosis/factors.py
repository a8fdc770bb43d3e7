"""Factors of a training at equal training loss: sharpness, Fisher trace, coherence and noise scale, together and alone.

As the gap, a factor is compared where two trainings have one training loss, and never at equal steps. The first record
is left out: after one step all networks of a seed are nearly equal, so that it tells nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from paretomtl.diagnosis.matched_loss import gap_at_matched_loss

FACTORS = {  # by name: the recorder, and its value
    "sharpness": ("curvature", "sharpness"),
    "Fisher trace": ("fisher", "trace"),
    "coherence": ("noise", "debiased_coherence"),
}
NOISE = "noise scale"
NAN = float("nan")


class FactorPair(NamedTuple):
    """A factor's mean over the training losses that both trainings have; NaN where there are none."""

    together: float
    alone: float


def factors_at_matched_loss(
    together: Mapping[str, Sequence[Mapping[str, Any]]], alone: Mapping[str, Sequence[Mapping[str, Any]]], task: int
) -> dict[str, FactorPair]:
    """Return the factors that both trainings recorded, beside a `LossRecorder`, by name.

    The noise scale is a ratio of means, for a single squared norm is too noisy to divide by; NaN where that mean is not
    positive.

    Args:
        together, alone: the records of the joint training and of the task's own, of one seed.
        task: the index of the task.
    """

    def pair(recorder: str, value: str) -> FactorPair:
        return matched_means(*(factor_curve(records, task, recorder, value) for records in (together, alone)))

    result = {name: pair(*source) for name, source in FACTORS.items() if all(source[0] in r for r in (together, alone))}
    if all("noise" in records for records in (together, alone)):
        traces, norms = pair("noise", "trace"), pair("noise", "squared_norm")
        result[NOISE] = FactorPair(*(a / b if b > 0 else NAN for a, b in zip(traces, norms, strict=True)))
    return result


Curve = tuple[list[float], list[float]]  # training losses, and values at the same steps


def factor_curve(records: Mapping[str, Sequence[Mapping[str, Any]]], task: int, recorder: str, value: str) -> Curve:
    """Return the training losses of a task and a recorded value, at the steps after the first that have both."""
    losses = {entry["step"]: entry["train"][task] for entry in records["loss"]}
    rows = []
    for entry in records[recorder]:
        seen = entry[value]
        number = [*seen.values()][task] if isinstance(seen, Mapping) else seen[task]
        loss = losses.get(entry["step"])
        if entry["step"] > 0 and number is not None and loss is not None:
            rows.append((loss, number))
    return [loss for loss, _ in rows], [number for _, number in rows]


def matched_means(first: Curve, second: Curve) -> FactorPair:
    """Return the means of two curves over the training losses that both have."""
    if not (first[0] and second[0]):
        return FactorPair(NAN, NAN)
    zeros = [[0.0] * len(train) for train, _ in (first, second)]
    return FactorPair(
        gap_at_matched_loss(first, (second[0], zeros[1])).mean,
        -gap_at_matched_loss((first[0], zeros[0]), second).mean,
    )

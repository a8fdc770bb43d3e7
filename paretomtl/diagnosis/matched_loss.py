"""The generalization gap at equal training loss (Mueller, Dredze and Andrews, 2024).

Two trainings of a task, one with other tasks and one alone, differ in how fast they are, so their validation losses are
compared where their training losses are equal, and never at equal steps. Along the running minimum of the training
loss, the validation loss is interpolated on a range that both have; outside it the gap is not defined.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

LEVELS = 50


class GapCurve(NamedTuple):
    """The gap at each level of the training loss; no levels where the trainings have no range in common.

    Attributes:
        train: the levels, from large to small, as trainings go.
        gap: the validation loss of the first training less that of the second, at each level.
    """

    train: Float[np.ndarray, " k"]
    gap: Float[np.ndarray, " k"]

    @property
    def mean(self) -> float:
        """The mean gap over the levels; NaN without any."""
        return float(self.gap.mean()) if len(self.gap) else float("nan")


def gap_at_matched_loss(
    first: tuple[Sequence[float], Sequence[float]],
    second: tuple[Sequence[float], Sequence[float]],
    levels: int = LEVELS,
) -> GapCurve:
    """Return the gap between two trainings of one task.

    Args:
        first, second: the training losses and the validation losses at the same steps, in the order of the steps; the
            first is that of the joint training.
        levels: the number of levels of the common range.

    Raises:
        ValueError: the losses are not of this kind.
    """
    curves = [_fall(*pair) for pair in (first, second)]
    top = min(train[0] for train, _ in curves)
    bottom = max(train[-1] for train, _ in curves)
    if not bottom <= top:
        return GapCurve(np.zeros(0), np.zeros(0))
    grid = np.linspace(top, bottom, levels if top > bottom else 1)
    values = [np.interp(grid, train[::-1], validate[::-1]) for train, validate in curves]
    return GapCurve(grid, values[0] - values[1])


def _fall(train: Sequence[float], validate: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps at which the training loss is lower than ever before."""
    a, b = np.asarray(train, dtype=float), np.asarray(validate, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(
            f"a training has {a.shape} training losses and {b.shape} validation losses; give one each a step"
        )
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        raise ValueError("a training has a loss that is not finite; leave its steps out from there")
    best = np.minimum.accumulate(a)
    new = np.concatenate([[True], best[1:] < best[:-1]])
    return a[new], b[new]

"""Learning curves a + b n^-c: the error of a task by the number of its samples, alone or with others."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class LearningCurve(NamedTuple):
    """The curve a + b n^-c, with b and c of at least 0.

    Attributes:
        a: the error that more samples do not lower.
        b, c: the error beyond it with one sample, and how fast it falls.
        residual: the root of the mean squared residual.
    """

    a: float
    b: float
    c: float
    residual: float

    def __call__(self, n: float) -> float:
        """Return the error with n samples."""
        return self.a + self.b * n**-self.c


def fit_learning_curve(sizes: Sequence[float], errors: Sequence[float]) -> LearningCurve:
    """Fit a curve to the errors that trainings with so many samples ended with, by least squares.

    Of a and b there is a closed form for each c; the best c is searched for, so no start has to be guessed.

    Args:
        sizes: numbers of samples, of three different values at least.
        errors: the errors, one a training; several of one size are welcome.

    Raises:
        ValueError: there are too few, or they are not finite.
    """
    n, y = np.asarray(sizes, dtype=float), np.asarray(errors, dtype=float)
    if n.shape != y.shape or n.ndim != 1:
        raise ValueError(f"sizes has the shape {n.shape}, errors {y.shape}; give one error a size")
    if not (n > 0).all() or not np.isfinite(n).all() or not np.isfinite(y).all():
        raise ValueError("give positive sizes and finite errors")
    if (different := len(np.unique(n))) < 3:
        raise ValueError(f"sizes has {different} different values; three numbers are fitted, so give three or more")
    from scipy.optimize import minimize_scalar

    def fit(c: float) -> tuple[float, float, float]:
        x = (n / n.min()) ** -c  # from 1 down: b is scaled back in the end
        slope = float(((x - x.mean()) * (y - y.mean())).sum() / max(((x - x.mean()) ** 2).sum(), 1e-300))
        slope = max(slope, 0.0)
        offset = float((y - slope * x).mean())
        return offset, slope, float(np.sqrt(((offset + slope * x - y) ** 2).mean()))

    grid = np.geomspace(1e-2, 10, 61)
    k = int(np.argmin([fit(c)[2] for c in grid]))
    ends = (grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)])
    best = minimize_scalar(lambda c: fit(c)[2], bounds=ends, method="bounded", options={"xatol": 1e-8})
    c = float(best.x)
    a, slope, residual = fit(c)
    return LearningCurve(a, slope * float(n.min()) ** c, c, residual)

"""The losses of a front as a function of the preferences, and how well they are known between two preferences."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from paretomtl.points.score import check_losses

MOST_MAPPED, MOST_OBJECTIVES, MOST_LEFT_OUT = 1000, 5, 100  # beyond these, triangulations would take minutes


class PreferenceMap(NamedTuple):
    """A table of preferences and losses, in the order of the points.

    names: names of the objectives.
    preferences, losses: (n, m) arrays.
    error: the largest distance of each loss from the straight line (or plane) through its neighbours, in the loss's
        unit. Leaving a point out doubles the gap between its neighbours, so between two rows of a smooth map the error
        is about a quarter of this. None with too few points, or with more than can be triangulated.
    monotone: Spearman's correlation of each preference with its own loss; -1 where a larger preference always gave a
        smaller loss. None where one of the two is constant.
    """

    names: tuple[str, ...]
    preferences: Float[np.ndarray, "n m"]
    losses: Float[np.ndarray, "n m"]
    error: Float[np.ndarray, " m"] | None
    monotone: tuple[float | None, ...]

    def __str__(self) -> str:
        head = [*(f"r {name}" for name in self.names), *self.names]
        rows = [
            [f"{x:.3f}" for x in r] + [f"{x:.4f}" for x in row]
            for r, row in zip(self.preferences, self.losses, strict=True)
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)) for row in (head, *rows)]
        return "\n".join([*lines, self.summarise()])

    def summarise(self) -> str:
        """Format the two figures, a line each."""
        error = "not available" if self.error is None else _label_values(self.names, [f"{x:.2g}" for x in self.error])
        ranks = _label_values(self.names, ["undefined" if x is None else f"{x:.3f}" for x in self.monotone])
        return f"interpolation error, each point left out: {error}\nSpearman of preference and loss: {ranks}"


def _label_values(names: Sequence[str], texts: Sequence[str]) -> str:
    return ", ".join(map(" ".join, zip(names, texts, strict=True)))


def map_preferences(
    names: Sequence[str], r: Float[np.ndarray, "n m"], losses: Float[np.ndarray, "n m"]
) -> PreferenceMap:
    """Map preferences to losses.

    Raises:
        EmptyFrontError, ValueError: there are no points, or a loss is not finite.
    """
    losses = check_losses(losses)
    return PreferenceMap(tuple(names), r, losses, leave_one_out_error(r, losses), rank_correlations(r, losses))


def leave_one_out_error(
    r: Float[np.ndarray, "n m"], losses: Float[np.ndarray, "n m"]
) -> Float[np.ndarray, " m"] | None:
    """Return the largest distance between a point's losses and their interpolation from its neighbours.

    Points at the border, which no neighbours surround, are skipped. Of very many points an even share is tested.
    """
    n, m = r.shape
    if m == 2:
        return _line_error(r[:, 0], losses)
    if n < m or n > MOST_MAPPED or m > MOST_OBJECTIVES:
        return None
    from scipy.interpolate import LinearNDInterpolator
    from scipy.spatial import QhullError

    errors = []
    for k in range(0, n, -(-n // MOST_LEFT_OUT)):
        others = np.arange(n) != k
        try:
            guess = LinearNDInterpolator(r[others, :-1], losses[others])(r[k, :-1])[0]
        except QhullError:  # too few other points, or all on one line
            continue
        if np.isfinite(guess).all():
            errors.append(np.abs(guess - losses[k]))
    return np.max(errors, axis=0) if errors else None


def triangulate(r: Float[np.ndarray, "n m"]) -> Int[np.ndarray, "k m"] | None:
    """Triangulate the preferences: indices of the points that span each piece; None if that fails."""
    n, m = r.shape
    if m == 2:
        order = np.argsort(r[:, 0], kind="stable")
        return np.stack([order[:-1], order[1:]], axis=1)
    if n < m or n > MOST_MAPPED or m > MOST_OBJECTIVES:
        return None
    from scipy.spatial import Delaunay, QhullError

    try:
        return Delaunay(r[:, :-1]).simplices.astype(np.int64)
    except QhullError:
        return None


def _line_error(x: Float[np.ndarray, " n"], losses: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " m"] | None:
    if len(x) < 3:
        return None
    order = np.argsort(x, kind="stable")
    x, y = x[order], losses[order]
    width = x[2:] - x[:-2]
    share = np.where(width > 0, (x[1:-1] - x[:-2]) / np.where(width > 0, width, 1), 0.5)[:, None]
    return np.abs(y[1:-1] - (1 - share) * y[:-2] - share * y[2:]).max(axis=0)


def rank_correlations(r: Float[np.ndarray, "n m"], losses: Float[np.ndarray, "n m"]) -> tuple[float | None, ...]:
    """Return Spearman's rank correlation of each preference with its own loss."""
    from scipy.stats import spearmanr

    correlations = []
    for i in range(r.shape[1]):
        flat = np.ptp(r[:, i]) == 0 or np.ptp(losses[:, i]) == 0
        correlations.append(None if flat else float(spearmanr(r[:, i], losses[:, i])[0]))  # type: ignore[arg-type]
    return tuple(correlations)

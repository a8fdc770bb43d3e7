"""How the losses of a front follow from the preferences, and how well they are known between two of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from paretomtl.points.score import check_losses

MOST_POINTS, MOST_OBJECTIVES, MOST_LEFT_OUT = 1000, 5, 100  # beyond which triangulations would take minutes


class PreferenceMap(NamedTuple):
    """A table of preferences and losses, in the order of the points.

    names: of the objectives.
    preferences, losses: (n, m).
    error: how far each loss was from the straight line (or plane) through its neighbours, at worst, in its unit; as the
        neighbours are left further apart for it than they are, between two rows of a smooth map it is about a quarter
        of that. None where there are too few points to say, or more than can be looked at.
    monotone: Spearman's correlation of each preference with its own loss; -1 where a larger preference always gave a
        smaller loss. None where one of the two does not change.
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
        return "\n".join([*lines, self.told()])

    def told(self) -> str:
        """The two figures, a line each."""
        error = "not available" if self.error is None else _by_name(self.names, [f"{x:.2g}" for x in self.error])
        ranks = _by_name(self.names, ["undefined" if x is None else f"{x:.3f}" for x in self.monotone])
        return f"interpolation error, each point left out: {error}\nSpearman of preference and loss: {ranks}"


def _by_name(names: Sequence[str], texts: Sequence[str]) -> str:
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
    """The largest distance of a point's losses from those that its neighbours alone would suggest.

    Points at the border, which have no neighbours around them, are not looked at; of very many, an even share is.
    """
    n, m = r.shape
    if m == 2:
        return _line_error(r[:, 0], losses)
    if n < m or n > MOST_POINTS or m > MOST_OBJECTIVES:
        return None
    from scipy.interpolate import LinearNDInterpolator
    from scipy.spatial import QhullError

    found = []
    for k in range(0, n, -(-n // MOST_LEFT_OUT)):
        others = np.arange(n) != k
        try:
            guess = LinearNDInterpolator(r[others, :-1], losses[others])(r[k, :-1])[0]
        except QhullError:  # the others are too few, or lie on one line
            continue
        if np.isfinite(guess).all():
            found.append(np.abs(guess - losses[k]))
    return np.max(found, axis=0) if found else None


def triangulate(r: Float[np.ndarray, "n m"]) -> Int[np.ndarray, "k m"] | None:
    """The points between whose losses a straight line (or a plane) is laid, by place; None where none are found."""
    n, m = r.shape
    if m == 2:
        order = np.argsort(r[:, 0], kind="stable")
        return np.stack([order[:-1], order[1:]], axis=1)
    if n < m or n > MOST_POINTS or m > MOST_OBJECTIVES:
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
    """Spearman's rank correlation of each preference with its own loss."""
    from scipy.stats import spearmanr

    found = []
    for i in range(r.shape[1]):
        flat = np.ptp(r[:, i]) == 0 or np.ptp(losses[:, i]) == 0
        found.append(None if flat else float(spearmanr(r[:, i], losses[:, i])[0]))  # type: ignore[arg-type]
    return tuple(found)

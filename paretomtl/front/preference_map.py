"""How the losses of a front follow from the preferences, and how well they are known between two of them."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from paretomtl.front.front import Front


class PreferenceMap(NamedTuple):
    """A table of preferences and losses, in the order of the points.

    names: of the objectives.
    preferences, losses: (n, m).
    error: how far each loss was from the straight line (or plane) through its neighbours, at worst, in its unit; as the
        neighbours are left further apart for it than they are, between two rows of a smooth map it is about a quarter
        of that. None where there are too few points to say.
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
        error = "not available: too few points" if self.error is None else _named(self.names, self.error)
        told = ["undefined" if x is None else f"{x:.3f}" for x in self.monotone]
        return "\n".join(
            [
                *lines,
                f"interpolation error, each point left out: {error}",
                f"Spearman of preference and loss: {', '.join(map(' '.join, zip(self.names, told, strict=True)))}",
            ]
        )


def _named(names, numbers) -> str:
    return ", ".join(f"{name} {x:.2g}" for name, x in zip(names, numbers, strict=True))


def preference_map(front: "Front") -> PreferenceMap:
    """The map of a front's validation losses.

    Raises:
        EmptyFrontError, ValueError: it has no points, or no preferences.
    """
    r, losses = front.preferences, front.losses
    return PreferenceMap(front.names, r, losses, left_out(r, losses), monotone(r, losses))


def left_out(r: Float[np.ndarray, "n m"], losses: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " m"] | None:
    """The largest distance of a point's losses from those that its neighbours alone would suggest."""
    from scipy.interpolate import LinearNDInterpolator

    n, m = r.shape
    if m == 2:
        order = np.argsort(r[:, 0], kind="stable")
        x, y = r[order, 0], losses[order]
        if n < 3:
            return None
        share = ((x[1:-1] - x[:-2]) / (x[2:] - x[:-2]))[:, None]
        return np.abs(y[1:-1] - (1 - share) * y[:-2] - share * y[2:]).max(axis=0)
    found = []
    for k in range(n):
        others = np.arange(n) != k
        if others.sum() <= m:
            return None
        guess = LinearNDInterpolator(r[others, :-1], losses[others])(r[k, :-1])[0]
        if np.isfinite(guess).all():
            found.append(np.abs(guess - losses[k]))
    return np.max(found, axis=0) if found else None


def monotone(r: Float[np.ndarray, "n m"], losses: Float[np.ndarray, "n m"]) -> tuple[float | None, ...]:
    """Spearman's rank correlation of each preference with its own loss."""
    from scipy.stats import spearmanr

    found = []
    for i in range(r.shape[1]):
        flat = np.ptp(r[:, i]) == 0 or np.ptp(losses[:, i]) == 0
        found.append(None if flat else float(spearmanr(r[:, i], losses[:, i])[0]))  # type: ignore[arg-type]
    return tuple(found)

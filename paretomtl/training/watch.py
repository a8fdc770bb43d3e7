"""What the training loop keeps an eye on: means over an epoch, a stall, a gradient that explodes in one loss alone.

Each keeps an array that leads with the points axes: () for a point that is trained alone, (P,) in a fleet.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from paretomtl.solver import EpochMeans

STALL = 100  # steps of a deterministic problem without a smaller residual, after which more of the same is no use
EXPLODED = 1e3  # times the mean of a loss's gradient norm so far
LONG_ENOUGH = 10  # steps, before a mean is a measure


class Means:
    """Running means of losses and weights over an epoch, per objective, over the batches that have its label."""

    def __init__(self, m: int, points: tuple[int, ...] = ()):
        self._shape = (*points, m)
        self._clear()

    def _clear(self):
        self.losses, self.weights = np.zeros(self._shape), np.zeros(self._shape)
        self.seen = np.zeros(self._shape[-1], int)

    def checkpoint(self) -> tuple[np.ndarray, ...]:
        """The sums so far."""
        return self.losses, self.weights, self.seen

    def restore(self, found: tuple[np.ndarray, ...]) -> None:
        """Go on with them."""
        self.losses, self.weights, self.seen = found

    def add(
        self,
        there: Sequence[int],
        losses: Float[np.ndarray, "*points k"],
        weights: Float[np.ndarray, "*points k"] | None = None,
    ) -> None:
        """Take a step's losses and weights, of the objectives that were there."""
        there = list(there)
        self.losses[..., there] += losses
        if weights is not None:
            self.weights[..., there] += weights
        self.seen[there] += 1

    def close(self) -> EpochMeans:
        """The means so far, (*points, m) each; the next epoch starts anew."""
        means = EpochMeans(torch.from_numpy(self.losses / self.seen), torch.from_numpy(self.weights / self.seen))
        self._clear()
        return means


class Stall:
    """True, point by point, once the residual has not fallen for `STALL` steps and is not 0."""

    def __init__(self, points: tuple[int, ...] = ()):
        self._best, self._since = np.full(points, np.inf), np.zeros(points, int)

    def checkpoint(self) -> tuple[np.ndarray, ...]:
        """The smallest residuals, and since how many steps they are."""
        return np.asarray(self._best), np.asarray(self._since)

    def restore(self, found: tuple[np.ndarray, ...]) -> None:
        """Go on with them."""
        self._best, self._since = found

    def __call__(self, residual: Float[np.ndarray, "*points"]) -> Bool[np.ndarray, "*points"]:
        """Take the residuals of a step; whether it is one too many."""
        self._since = np.where((residual < self._best) | (residual == 0), 0, self._since + 1)
        self._best = np.minimum(self._best, residual)
        return np.asarray(self._since >= STALL)


class Norms:
    """Running means of the gradient norm of each loss, and the first jump above them: what follows may come of it."""

    def __init__(self, m: int, points: tuple[int, ...] = ()):
        self._sums, self._seen = np.zeros((*points, m)), np.zeros(m, int)
        self._first: dict[tuple[int, ...], tuple[float, int, int]] = {}  # by point: times its mean, objective, step

    def checkpoint(self) -> tuple[Any, ...]:
        """The sums so far, and the jumps."""
        return self._sums, self._seen, self._first

    def restore(self, found: tuple[Any, ...]) -> None:
        """Go on with them."""
        self._sums, self._seen, self._first = found

    def add(self, step: int, there: Sequence[int], norms: Float[np.ndarray, "*points k"]) -> None:
        """Take the norms of a step, of the objectives that were there."""
        there = list(there)
        mean = self._sums[..., there] / np.maximum(self._seen[there], 1)
        jumped = (self._seen[there] >= LONG_ENOUGH) & (mean > 0) & (norms > EXPLODED * mean)
        if jumped.any():
            for *point, i in np.argwhere(jumped).tolist():
                at = (*point, i)
                self._first.setdefault(tuple(point), (float(norms[at] / mean[at]), there[i], step))
        self._sums[..., there] += norms
        self._seen[there] += 1

    def told(self, names: Sequence[str], point: tuple[int, ...] = ()) -> list[str]:
        """A warning, if a gradient of that point exploded."""
        if point not in self._first:
            return []
        times, i, step = self._first[point]
        return [f"the gradient of {names[i]!r} jumped to {times:.2g} times its mean at step {step}; "
                "clip= bounds the gradient of each loss"]  # fmt: skip

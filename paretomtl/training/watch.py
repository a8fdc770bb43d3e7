"""What a training loop tracks: means over an epoch, a stall, and a gradient that explodes in one loss alone.

Arrays lead with the points axes: () for a point that is trained alone, (P,) in a fleet.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from paretomtl.problem import Problem
from paretomtl.solver import EpochMeans

TRACKERS = ("means", "norms", "stalled", "labels")  # attributes of a run that its checkpoint includes
STALL = 100  # steps of a deterministic problem without a smaller residual, after which it is stopped
EXPLODED = 1e3  # times the mean of a loss's gradient norm so far: a norm above this is a jump
NOISE, FALL = 2.0, 1e-3  # the fall of an epoch's mean that counts: in standard errors, and relative to the mean
LONG_ENOUGH = 10  # steps that a mean needs before norms are compared with it


class Means:
    """Means over an epoch: of each loss over its labels, and of its weights over the steps that gave it one."""

    def __init__(self, m: int, points: tuple[int, ...] = ()):
        self._shape = (*points, m)
        self._unit = 0.0  # the labels of the first batch; a batch of so many weighs 1, so that sums of equals are exact
        self._clear()

    def _clear(self):
        self.losses, self.weights, self.squares = (np.zeros(self._shape) for _ in range(3))
        self.seen, self.batches, self.steps = (np.zeros(self._shape[-1], kind) for kind in (float, int, int))

    def checkpoint(self) -> tuple[Any, ...]:
        """Return the sums so far."""
        return self.losses, self.weights, self.squares, self.seen, self.batches, self.steps, self._unit

    def restore(self, checkpoint: tuple[Any, ...]) -> None:
        """Restore the sums that `checkpoint` returned."""
        self.losses, self.weights, self.squares, self.seen, self.batches, self.steps, self._unit = checkpoint

    def add(
        self, present: Sequence[int], losses: Float[np.ndarray, "*points k"], counts: Float[np.ndarray, " k"]
    ) -> None:
        """Add a batch's losses; `present` are the objectives that have a label in it, `counts` how many each has."""
        present = list(present)
        self._unit = self._unit or float(counts[0])
        shares = counts / (self._unit or 1.0)
        self.losses[..., present] += losses * shares
        self.squares[..., present] += losses**2 * shares
        self.seen[present] += shares
        self.batches[present] += 1

    def add_weights(self, present: Sequence[int], weights: Float[np.ndarray, "*points k"]) -> None:
        """Add the weights of a step for the losses of some objectives."""
        present = list(present)
        self.weights[..., present] += weights
        self.steps[present] += 1

    def close(self) -> EpochMeans:
        """Return the means so far, (*points, m) each, and start the next epoch."""
        losses = self.losses / self.seen
        weights = self.weights / np.maximum(self.steps, 1)  # 0 from methods that return a direction
        variances = (self.squares / self.seen - losses**2).clip(0)
        errors = np.sqrt(variances / np.maximum(self.batches - 1, 1))
        self._clear()
        return EpochMeans(*map(torch.from_numpy, (losses, weights, errors)))


def upgrade_means(stored: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the checkpoint of `Means`, also from one of 0.2, where all batches weighed alike and had no squares."""
    if len(stored) == 3:
        losses, weights, seen = stored
        return losses, weights, np.full_like(losses, np.inf), seen.astype(float), seen.copy(), seen, 0.0
    return stored


class Stall:
    """A detector of stalls: a point stalls once its residual has not fallen for `STALL` steps and is not 0."""

    def __init__(self, points: tuple[int, ...] = ()):
        self._best, self._since = np.full(points, np.inf), np.zeros(points, int)

    def checkpoint(self) -> tuple[np.ndarray, ...]:
        """Return the smallest residuals, and the number of steps since each."""
        return np.asarray(self._best), np.asarray(self._since)

    def restore(self, checkpoint: tuple[np.ndarray, ...]) -> None:
        """Restore the residuals that `checkpoint` returned."""
        self._best, self._since = checkpoint

    def __call__(self, residual: Float[np.ndarray, "*points"]) -> Bool[np.ndarray, "*points"]:
        """Add the residuals of a step; return which points have stalled."""
        self._since = np.where((residual < self._best) | (residual == 0), 0, self._since + 1)
        self._best = np.minimum(self._best, residual)
        return np.asarray(self._since >= STALL)


class Norms:
    """Running means of each loss's gradient norm, and the first jump above them, which may explain a later failure."""

    def __init__(self, m: int, points: tuple[int, ...] = ()):
        self._sums, self._seen = np.zeros((*points, m)), np.zeros(m, int)
        self._first: dict[tuple[int, ...], tuple[float, int, int]] = {}  # by point: times its mean, objective, step

    def checkpoint(self) -> tuple[Any, ...]:
        """Return the sums so far, and the jumps."""
        return self._sums, self._seen, self._first

    def restore(self, checkpoint: tuple[Any, ...]) -> None:
        """Restore the sums and jumps that `checkpoint` returned."""
        self._sums, self._seen, self._first = checkpoint

    def add(self, step: int, present: Sequence[int], norms: Float[np.ndarray, "*points k"]) -> None:
        """Add the norms of a step; `present` are the objectives that have a label in it."""
        present = list(present)
        mean = self._sums[..., present] / np.maximum(self._seen[present], 1)
        jumped = (self._seen[present] >= LONG_ENOUGH) & (mean > 0) & (norms > EXPLODED * mean)
        if jumped.any():
            for *point, i in np.argwhere(jumped).tolist():
                at = (*point, i)
                self._first.setdefault(tuple(point), (float(norms[at] / mean[at]), present[i], step))
        self._sums[..., present] += norms
        self._seen[present] += 1

    def warnings_of(self, names: Sequence[str], point: tuple[int, ...] = ()) -> list[str]:
        """Return a warning if a gradient of the point exploded."""
        if point not in self._first:
            return []
        times, i, step = self._first[point]
        return [f"the gradient of {names[i]!r} jumped to {times:.2g} times its mean at step {step}; "
                "clip= bounds the gradient of each loss"]  # fmt: skip


def end_epoch(problem: Problem, means: Means, epochs: list[EpochMeans], partial: bool = False) -> None:
    """Add the means of an epoch to the epochs.

    Args:
        problem: a deterministic one has no epochs.
        means: those of the epoch.
        epochs: the epochs so far.
        partial: whether the epoch was cut short; then it counts only if every objective had a label, or as the first.

    Raises:
        ValueError: an objective had no label in the epoch.
    """
    if problem.deterministic or (partial and epochs and not means.seen.all()):
        return
    check_seen(problem.names, means.seen.tolist(), len(epochs))
    epochs.append(means.close())


def is_moving(epochs: Sequence[EpochMeans]) -> bool:
    """Return whether a loss fell from the last epoch but one to the last, by more than noise and more than .1 %."""
    if len(epochs) < 2:
        return False
    before, last = epochs[-2:]
    noise = NOISE * torch.hypot(before.errors, last.errors)
    return bool((before.losses - last.losses > torch.maximum(noise, FALL * before.losses.abs())).any())


def check_seen(names: Sequence[str], seen: Sequence[int | float], epoch: int) -> None:
    """Raise where an objective had no label in an epoch."""
    for name, count in zip(names, seen, strict=True):
        if not count:
            raise ValueError(f"no batch of train had a label for {name!r} in epoch {epoch}")

"""What the training loop keeps an eye on: means over an epoch, a stall, a gradient that explodes in one loss alone."""

import torch
from torch import Tensor

from paretomtl.solver import EpochMeans, Status

STALL = 100  # steps of a deterministic problem without a smaller residual, after which more of the same is no use
EXPLODED = 1e3  # times the mean of a loss's gradient norm so far
LONG_ENOUGH = 10  # steps, before a mean is a measure


class Means:
    """Running means of losses and weights over an epoch, per objective, over the batches that have its label."""

    def __init__(self, m: int):
        self.m = m
        self._clear()

    def _clear(self):
        self.losses = torch.zeros(self.m, dtype=torch.float64)
        self.weights, self.seen = self.losses.clone(), [0] * self.m

    def add(self, losses: dict[int, Tensor], weights: dict[int, float]) -> None:
        """Take a step's losses and weights, by objective."""
        for i, loss in losses.items():
            self.losses[i] += float(loss.detach())
            self.weights[i] += weights.get(i, 0.0)
            self.seen[i] += 1

    def close(self) -> EpochMeans:
        """The means so far; the next epoch starts anew."""
        seen = torch.tensor(self.seen, dtype=torch.float64)
        means = EpochMeans(self.losses / seen, self.weights / seen)
        self._clear()
        return means


class Stall:
    """True once the residual has not fallen for `STALL` steps and is not 0."""

    def __init__(self):
        self.best, self.since = float("inf"), 0

    def __call__(self, status: Status) -> bool:
        """Take a step's status; whether it is one too many."""
        residual = float(status.residual)
        self.since = 0 if residual < self.best or residual == 0 else self.since + 1
        self.best = min(self.best, residual)
        return self.since >= STALL


class Norms:
    """Running means of the gradient norm of each loss, and the first jump above them: what follows may come of it."""

    def __init__(self, m: int):
        self.sums, self.seen = [0.0] * m, [0] * m
        self.first: tuple[float, int, int] | None = None  # times its mean, objective, step

    def add(self, step: int, norms: dict[int, float]) -> None:
        """Take the norms of a step, by objective."""
        for i, norm in norms.items():
            mean = self.sums[i] / max(self.seen[i], 1)
            if self.first is None and self.seen[i] >= LONG_ENOUGH and norm > EXPLODED * mean > 0:
                self.first = (norm / mean, i, step)
            self.sums[i] += norm
            self.seen[i] += 1

    def told(self, names: tuple[str, ...]) -> list[str]:
        """A warning, if a gradient exploded."""
        if self.first is None:
            return []
        times, i, step = self.first
        return [f"the gradient of {names[i]!r} jumped to {times:.2g} times its mean at step {step}; "
                "clip= bounds the gradient of each loss"]  # fmt: skip

"""Which preferences a conditioned network sees while it is trained."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

SEVERAL = 8  # preferences to which a batch is dealt out
EDGE = 1e-6  # how far from 0 and 1 the quantiles stay, where some of Beta's are not finite


@dataclass(frozen=True)
class Sampling:
    """Preferences by Dirichlet's distribution, stratified: evenly spread within a step, and from step to step.

    Args:
        each: "batch": the whole batch is seen at each of `n` preferences, at the cost of n steps of the plain network.
            "part": it is dealt out to them, so that a step costs about what a step of the plain network does.
            "sample": each sample has a preference of its own, at that cost as well; it takes a conditioning that acts
            on the layers' outputs (`FiLM`, `Inputs`) and a solver whose weights are the preference (`Linear`).
        n: preferences a step; with each="sample" it is left out. A deterministic problem has no batch to deal out:
            each of them sees its losses.
        concentration: of the Dirichlet distribution, for every objective: 1 is uniform on the simplex, less favours its
            ends.
        ends: the share of preferences, from 0 to 1, that are drawn at a corner of the simplex, where one objective is
            all that matters; those ends of the front are hardly seen otherwise.
    """

    each: Literal["batch", "part", "sample"] = "part"
    n: int | None = None
    concentration: float = 1.0
    ends: float = 0.3

    def __post_init__(self):
        if self.each not in ("batch", "part", "sample"):
            raise ValueError(f"each={self.each!r} is not one of 'batch', 'part', 'sample'")
        if self.each == "sample" and self.n is not None:
            raise ValueError(f"n={self.n!r}: with each='sample' every sample has one preference; leave n out")
        if self.n is not None and (not isinstance(self.n, int) or isinstance(self.n, bool) or self.n < 1):
            raise ValueError(f"n={self.n!r}: give a whole number of at least 1")
        if not _is_number(self.concentration) or not 0 < self.concentration < float("inf"):
            raise ValueError(f"concentration={self.concentration!r}: give a positive number")
        if not _is_number(self.ends) or not 0 <= self.ends <= 1:
            raise ValueError(f"ends={self.ends!r}: give a share between 0 and 1")

    def in_step(self, samples: int | None) -> int:
        """How many preferences a step on a batch of so many samples sees; None for a deterministic problem."""
        if self.each == "sample" and samples is not None:
            return samples
        n = self.n or (SEVERAL if self.each == "part" else 1)
        return n if samples is None or self.each == "batch" else min(n, samples)


def _is_number(value: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class Preferences:
    """Draws preferences for one training run, the same ones for the same seed.

    Args:
        sampling: how.
        m: objectives.
        seed: of the draws.
    """

    def __init__(self, sampling: Sampling, m: int, seed: int):
        self._sampling, self._m = sampling, m
        self._sobol = torch.quasirandom.SobolEngine(m, scramble=True, seed=seed)  # m - 1 for the simplex, 1 for ends

    @property
    def drawn(self) -> int:
        """How many there were so far."""
        return self._sobol.num_generated

    def skip(self, n: int) -> None:
        """Leave out the next n."""
        if n:
            self._sobol.fast_forward(n)

    def draw(self, n: int) -> Float[Tensor, "n m"]:
        """The next n preferences, in float64."""
        u = self._sobol.draw(n, dtype=torch.float64).numpy()
        r = _on_simplex(u[:, 1:], self._sampling.concentration)
        at_end = u[:, 0] < self._sampling.ends
        if at_end.any():
            corner = (u[at_end, 0] / self._sampling.ends * self._m).astype(np.int64)
            r[at_end] = np.eye(self._m)[corner]
        return torch.from_numpy(r)


def _on_simplex(u: Float[np.ndarray, "n k"], concentration: float) -> Float[np.ndarray, "n m"]:
    """Even points of the cube as points of a Dirichlet distribution, by breaking a stick at quantiles of Beta's."""
    from scipy.special import betaincinv

    n, k = u.shape
    r, left = np.empty((n, k + 1)), np.ones(n)
    for i in range(k):
        share = betaincinv(concentration, concentration * (k - i), u[:, i].clip(EDGE, 1 - EDGE))
        r[:, i] = left * share
        left = left * (1 - share)
    r[:, k] = left
    return r

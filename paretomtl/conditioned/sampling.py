"""The preferences that a conditioned network is trained on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

SEVERAL = 8  # preferences that a batch is dealt out to
EDGE = 1e-6  # distance of the quantiles from 0 and 1, where some of Beta's are not finite


@dataclass(frozen=True)
class Sampling:
    """Preferences from a Dirichlet distribution, spread evenly within a step and from step to step.

    Args:
        each: "batch": each of `n` preferences sees the whole batch; a step costs n steps of the plain network.
            "part": the batch is dealt out to `n` preferences; a step costs about one step of the plain network.
            "sample": each sample has a preference of its own, at the same cost. This needs a front model that acts on
            the layers' outputs (`FiLM`, `Inputs`) and a solver whose weights are the preference (`Linear`).
        n: preferences a step; leave it out with each="sample". A deterministic problem has no batch to deal out: all n
            preferences see its losses.
        concentration: the Dirichlet distribution's parameter, the same for all objectives: 1 is uniform on the simplex,
            less favours its ends.
        ends: the share of preferences, from 0 to 1, drawn at a corner of the simplex, where one objective alone
            matters; training hardly sees these ends of the front otherwise.
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
        """Return the number of preferences in a step on a batch of `samples`, which is None without batches."""
        if self.each == "sample" and samples is not None:
            return samples
        n = self.n or (SEVERAL if self.each == "part" else 1)
        return n if samples is None or self.each == "batch" else min(n, samples)


def _is_number(value: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class Preferences:
    """Draws preferences for one training run, the same ones for the same seed.

    Args:
        sampling: their distribution.
        m: the number of objectives.
        seed: the seed of the draws.
    """

    def __init__(self, sampling: Sampling, m: int, seed: int):
        self._sampling, self._m = sampling, m
        self._sobol = torch.quasirandom.SobolEngine(m, scramble=True, seed=seed)  # m - 1 for the simplex, 1 for ends

    @property
    def drawn(self) -> int:
        """The number of preferences drawn so far."""
        return self._sobol.num_generated

    def skip(self, n: int) -> None:
        """Skip the next n preferences."""
        if n:
            self._sobol.fast_forward(n)

    def draw(self, n: int) -> Float[Tensor, "n m"]:
        """Return the next n preferences, in float64."""
        u = self._sobol.draw(n, dtype=torch.float64).numpy()
        r = _on_simplex(u[:, 1:], self._sampling.concentration)
        at_end = u[:, 0] < self._sampling.ends
        if at_end.any():
            corner = (u[at_end, 0] / self._sampling.ends * self._m).astype(np.int64)
            r[at_end] = np.eye(self._m)[corner]
        return torch.from_numpy(r)


def _on_simplex(u: Float[np.ndarray, "n k"], concentration: float) -> Float[np.ndarray, "n m"]:
    """Map even points of the cube to points of a Dirichlet distribution, by breaking a stick at quantiles of Beta's."""
    from scipy.special import betaincinv

    n, k = u.shape
    r, left = np.empty((n, k + 1)), np.ones(n)
    for i in range(k):
        share = betaincinv(concentration, concentration * (k - i), u[:, i].clip(EDGE, 1 - EDGE))
        r[:, i] = left * share
        left = left * (1 - share)
    r[:, k] = left
    return r

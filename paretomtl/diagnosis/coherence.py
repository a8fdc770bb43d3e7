"""Coherence of the gradients of single samples: |mean|^2 over the mean of |g|^2 (Chatterjee, 2020)."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Coherence(NamedTuple):
    """Coherence of N gradients.

    Attributes:
        value: from 1 / N, where they are orthogonal, to 1, where they are equal; NaN where all are zero.
        debiased: (N value - 1) / (N - 1): 0 on average where there is nothing but noise; NaN for one gradient.
    """

    value: float
    debiased: float


def coherence(gradients: Float[Tensor, "N n"]) -> Coherence:
    """Return the coherence of gradients, a row a sample or a batch."""
    rows = gradients.detach().double()
    squares = float(rows.square().sum(1).mean())
    if not squares > 0:
        return Coherence(float("nan"), float("nan"))
    value, n = float(rows.mean(0).square().sum()) / squares, len(rows)
    return Coherence(value, (n * value - 1) / (n - 1) if n > 1 else float("nan"))

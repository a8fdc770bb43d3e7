"""The noise scale of gradients, from two batch sizes (McCandlish et al., 2018)."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class NoiseScale(NamedTuple):
    """How noisy the gradient of a batch is.

    Attributes:
        trace: the trace of the covariance of a single sample's gradient, without bias.
        squared_norm: the squared norm of the true gradient, without bias; so it can be negative.
        scale: their ratio, the batch size at which noise and signal are as large; infinite where no signal is seen.
    """

    trace: float
    squared_norm: float
    scale: float


def noise_scale(small: Float[Tensor, "k n"], large: Float[Tensor, " n"], b: int, B: int) -> NoiseScale:
    """Return the noise scale from gradients of small batches and of a large one.

    Args:
        small: gradients of k batches of b samples each.
        large: the gradient of a batch of B samples, such as their mean.
        b, B: the sizes of the batches, b < B.

    Raises:
        ValueError: the sizes are not of this kind.
    """
    if not 0 < b < B:
        raise ValueError(f"b={b!r}, B={B!r}: give two sizes of batches, the smaller one first")
    of_small = float(small.detach().double().square().sum(1).mean())
    of_large = float(large.detach().double().square().sum())
    trace = (of_small - of_large) / (1 / b - 1 / B)
    squared_norm = (B * of_large - b * of_small) / (B - b)
    return NoiseScale(trace, squared_norm, trace / squared_norm if squared_norm > 0 else float("inf"))

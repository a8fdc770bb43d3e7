"""Conflict between the gradients of several tasks, from their Gramian."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Conflict(NamedTuple):
    """How the gradients of m tasks agree on the shared parameters, at one step.

    Attributes:
        cosines: the cosine of each pair, NaN where a gradient is zero.
        negative: the share of pairs with a negative cosine; NaN without a pair.
        magnitude_ratio: the mean over pairs of the smaller norm over the larger one; 1 where all are equal.
        direction: the length of the mean of the unit gradients: 1 where all point one way, 0 where they cancel.
        magnitude_variance: the variance of the norms over the tasks.
    """

    cosines: Float[Tensor, "m m"]
    negative: float
    magnitude_ratio: float
    direction: float
    magnitude_variance: float


def conflict(gramian: Float[Tensor, "m m"]) -> Conflict:
    """Return the conflict between gradients; those that are zero have no direction and are left out of it.

    Args:
        gramian: the products of the gradients, in any unit; between tasks, or between batches of one task for
            comparison (Elich et al., 2023).

    Raises:
        ValueError: a product is not finite.
    """
    products = gramian.detach().double()
    if not bool(products.isfinite().all()):
        raise ValueError(f"gramian={products.tolist()}: give finite products of gradients")
    norms = products.diagonal().clamp(min=0).sqrt()
    cosines = (products / norms[:, None] / norms[None]).clamp(-1, 1)
    cosines = torch.where((norms[:, None] > 0) & (norms[None] > 0), cosines, torch.nan)
    moving = norms > 0
    pairs = torch.combinations(norms[moving], 2)
    upper = cosines[moving][:, moving]
    first, second = torch.triu_indices(len(upper), len(upper), 1)
    between = upper[first, second]
    return Conflict(
        cosines=cosines,
        negative=float((between < 0).double().mean()),
        magnitude_ratio=float((pairs.amin(1) / pairs.amax(1)).mean()),
        direction=float(upper.mean().clamp(min=0).sqrt()),
        magnitude_variance=float(norms.var(correction=0)),
    )

"""Scaling of losses by their gradients' norms (Guo et al., "Revisit the Imbalance Optimization", arXiv 2025).

    e_i <- beta e_i + (1 - beta) |g_i|      from the first step's norms
    w_i =  m (1 / e_i) / sum_j (1 / e_j)

so that the weighted gradients have one norm, but for what the average is behind by.

This is an interpretation: the paper reports that losses scaled by their gradients' norms do as well as weights from a
grid search; its exact formula and average were not seen. The norms are those on all shared parameters.

There is no preference: of two objectives the unit vectors cancel on all of the front, and with weights on them nowhere
but at an end. So the method ends on some point of the front.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Confidence, Status, Sweep, Weighting
from paretomtl_solvers.tracking import gradient_norms, scale_to_sum, status_where


class MeanNorms(NamedTuple):
    """State: the averages of the gradients' norms; None before the first step."""

    norms: Float[Tensor, "*points m"] | None


@dataclass(frozen=True)
class GradientNormScaling(Weighting):
    """Loss weights that go with the inverse of the averaged gradient norms.

    Args:
        beta: the share of the average that stays at each step; at least 0, below 1.

    The weights (*points, m) sum to m. A loss whose gradients have all vanished so far has weight 0. `Status`:
    "stationary" where all gradients vanish; the residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    beta: float = 0.9

    uses_preference: ClassVar[bool] = False
    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "interpretation"

    def __post_init__(self):
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta={self.beta!r}: give a number from 0 to below 1")

    def init(self, sweep: Sweep) -> MeanNorms:
        """Return no norms yet."""
        del sweep
        return MeanNorms(None)

    def update(
        self,
        state: MeanNorms | None,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], MeanNorms, Status]:
        """Return the weights, the state with the new norms in the averages, and the status."""
        norms = gradient_norms("GradientNormScaling", gramian)
        means = norms
        if state is not None and state.norms is not None:
            means = self.beta * state.norms.to(norms.device) + (1 - self.beta) * norms
        weights = scale_to_sum(torch.where(means > 0, 1 / means.where(means > 0, 1), 0))
        return weights, MeanNorms(means), status_where((norms == 0).all(dim=-1))

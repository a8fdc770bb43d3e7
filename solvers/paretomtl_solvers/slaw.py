"""SLAW: scaled loss approximate weighting, by the spread of each loss (Crawshaw and Kosecka, arXiv 2109.08218, 2021).

    w_i = m (1 / s_i) / sum_j (1 / s_j),  s_i the standard deviation of l_i over time, at least 1e-5

The standard deviation stands for the norm of the loss's gradient, so no gradient is computed for it. As in the author's
code, mean and variance are arithmetic over the first 1 / (1 - beta) steps, and decay by beta thereafter. The
preference is ours; it multiplies the weights by m r_i.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.solver import Confidence, Scalarization, Status, Sweep, solved_status
from paretomtl_solvers.losses import factors_of, read_losses

FLOOR = 1e-5  # of a standard deviation


class Spread(NamedTuple):
    """State: the losses' means and variances over the steps so far, and how many these were."""

    means: Float[Tensor, "*points m"]
    variances: Float[Tensor, "*points m"]
    steps: Int[Tensor, "*points 1"]


@dataclass(frozen=True)
class SLAW(Scalarization):
    """Losses divided by how much they vary from step to step.

    Args:
        beta: the weight of the past in the means, from 0 to below 1.

    The weights (*points, m) are m r_i w_i, even at the first step. At the even preference the method is as published:
    they sum to m. Losses that vary by less than 1e-5 count as varying by that; bring very small ones to a larger scale.

    Raises:
        ValueError: a loss is not finite.
    """

    beta: float = 0.99

    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"

    def __post_init__(self):
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta={self.beta!r}: give a number from 0 to below 1")

    def init(self, sweep: Sweep) -> Spread:
        """Return the state before the first step."""
        return _start(torch.zeros(*sweep.points.shape, sweep.preferences.shape[-1], dtype=torch.float64))

    def update(
        self,
        state: Spread | None,
        losses: Float[Tensor, "*points m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Spread, Status]:
        """Return the weights, the state with this step's losses, and "solved"."""
        l = read_losses("SLAW", losses)
        state = _start(torch.zeros_like(l)) if state is None else Spread(*(part.to(l.device) for part in state))
        steps = state.steps + 1
        newest = (1 / steps.to(l)).clamp(min=1 - self.beta)  # the weight of this step's losses
        away = l - state.means
        # the same as the mean of squares less the square of the mean, without its rounding
        variances = (1 - newest) * (state.variances + newest * away.square())
        shares = 1 / variances.sqrt().clamp(min=FLOOR)
        shares = shares * (l.shape[-1] / shares.sum(dim=-1, keepdim=True))
        return (
            factors_of(preference, l) * shares,
            Spread(state.means + newest * away, variances, steps),
            solved_status(losses),
        )


def _start(zeros: Tensor) -> Spread:
    return Spread(zeros, zeros, torch.zeros_like(zeros[..., :1], dtype=torch.int64))

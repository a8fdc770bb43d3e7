"""DB-MTL: dual-balancing multi-task learning (Lin et al., arXiv 2308.12029, 2023).

It balances the losses by their logarithms, whose gradients are g_i / l_i, and the gradients by their norms, in step
t = 1, 2, …

    h_i <- g_i / l_i + beta / t^sigma (h_i - g_i / l_i)      from h = 0
    d   =  max_j |h_j|  sum_i h_i / |h_i|

so that all contribute alike, each at the norm of the largest. At beta = 0 the losses' scales cancel, but for that norm.

There is no preference: of two objectives the unit vectors cancel on all of the front, and with weights on them nowhere
but at an end. So the method ends on some point of the front.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.solver import Aggregation, Confidence, Status, Sweep
from paretomtl_solvers.losses import read_losses
from paretomtl_solvers.tracking import check_jacobian, status_where


class Averages(NamedTuple):
    """State: the averaged gradients of the log losses, None before the first step, and the number of steps so far."""

    gradients: Float[Tensor, "*points m n"] | None
    steps: Int[Tensor, "*points"]


@dataclass(frozen=True)
class DBMTL(Aggregation):
    """The sum of the log losses' averaged gradients, all at the norm of the largest.

    Args:
        beta: the share of the average that stays, at the first step; at least 0, below 1. 0 keeps no average.
        sigma: the power of the number of steps that beta falls with, at least 0.

    The direction (*points, n) has the scale of m times the largest of the log losses' gradients. The released code
    gives heads the gradients of the log losses; here they keep their plain ones. `Status`: "stationary" where all
    averages vanish; the residual is 0.

    Raises:
        ValueError: a loss is not positive, or a gradient is not finite.
    """

    beta: float = 0.9
    sigma: float = 0.5

    uses_preference: ClassVar[bool] = False
    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"
    needs: ClassVar[str] = "positive losses"
    cost: ClassVar[str] = "m backward passes, memory 2 m n"

    def __post_init__(self):
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta={self.beta!r}: give a number from 0 to below 1")
        if not 0 <= self.sigma < float("inf"):
            raise ValueError(f"sigma={self.sigma!r}: give a number of at least 0")

    @property
    def nonnegative(self) -> bool:
        """True: losses have logarithms."""
        return True

    def init(self, sweep: Sweep) -> Averages:
        """Return no gradients yet."""
        return Averages(None, torch.zeros(sweep.points.shape, dtype=torch.int64))

    def update(
        self,
        state: Averages | None,
        losses: Float[Tensor, "*points m"],
        jacobian: Float[Tensor, "*points m n"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points n"], Averages, Status]:
        """Return the direction, the state with the new gradients, and the status."""
        values = read_losses("DBMTL", losses, "positive")
        check_jacobian("DBMTL", jacobian)
        if state is None:
            state = Averages(None, torch.zeros(losses.shape[:-1], dtype=torch.int64))
        steps, g = state.steps + 1, jacobian.detach() / values.to(jacobian)[..., None]
        beta = (self.beta / steps.double() ** self.sigma).to(g)[..., None, None]
        h = g - beta * g if state.gradients is None else g + beta * (state.gradients - g)
        norms = torch.linalg.vector_norm(h, dim=-1, dtype=torch.float64)
        factors = norms.max(dim=-1, keepdim=True).values / norms.where(norms > 0, 1)
        direction = (factors.to(h)[..., None] * h).sum(dim=-2)
        return direction, Averages(h, steps), status_where((norms == 0).all(dim=-1))

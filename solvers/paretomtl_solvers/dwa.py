"""DWA: dynamic weight average, by how fast each loss fell (Liu, Johns and Davison, CVPR 2019).

    w = m softmax(q / T),  q_i = (mean of l_i over the last epoch) / (its mean over the epoch before)

In the first two epochs all weights are 1. The preference is ours; it multiplies the weights by m r_i.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.solver import Confidence, Scalarization, Status, Sweep, solved_status
from paretomtl_solvers.losses import check_sign, factors_of, read_losses

LARGEST = 1e300  # of a ratio, so that a softmax is finite


class Epochs(NamedTuple):
    """State: the sum of the present epoch's losses, the means of the two before it, the steps so far, and an epoch's.

    The means are 0 where there was no such epoch yet.
    """

    sums: Float[Tensor, "*points m"]
    last: Float[Tensor, "*points m"]
    before: Float[Tensor, "*points m"]
    steps: Int[Tensor, "*points 1"]
    period: Int[Tensor, "*points 1"]


@dataclass(frozen=True)
class DWA(Scalarization):
    """More weight for the losses that fell less from one epoch to the next.

    Args:
        temperature: T; the larger it is, the closer the weights are to even.
        period: the steps of an epoch; by default the study's.

    The weights (*points, m) are m r_i w_i. At the even preference the method is as published: they sum to m. They
    change once an epoch, so the method needs three epochs to do anything.

    Raises:
        ValueError: the steps of an epoch are not known, a loss is negative or not finite, or it was 0 all epoch.
    """

    temperature: float = 2.0
    period: int | None = None

    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"
    needs: ClassVar[str] = "positive losses"

    def __post_init__(self):
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature!r}: give a positive number")
        if self.period is not None and (type(self.period) is not int or self.period < 1):
            raise ValueError(f"period={self.period!r}: give a whole number of at least 1, or None")

    @property
    def nonnegative(self) -> bool:
        """True: below 0 a ratio of losses does not tell which one fell."""
        return True

    def init(self, sweep: Sweep) -> Epochs:
        """Return the state before the first epoch."""
        period = self.period or sweep.epoch_steps
        if period is None:
            raise ValueError(
                "DWA compares the losses' means of one epoch and the next, and the steps of an epoch are not known "
                "here; give them: DWA(period=…)"
            )
        points = sweep.points.shape
        zeros = torch.zeros(*points, sweep.preferences.shape[-1], dtype=torch.float64)
        steps = torch.zeros(*points, 1, dtype=torch.int64)
        return Epochs(zeros, zeros, zeros, steps, torch.full_like(steps, period))

    def update(
        self,
        state: Epochs | None,
        losses: Float[Tensor, "*points m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Epochs | None, Status]:
        """Return the weights, the state with this step's losses, and "solved"; without a state all are in epoch one."""
        l = read_losses("DWA", losses, "nonnegative")
        weights = factors_of(preference, l)
        if state is None:
            return weights, None, solved_status(losses)
        state = Epochs(*(part.to(l.device) for part in state))
        balances = state.steps >= 2 * state.period
        check_sign("DWA", state.before.where(balances, 1), "positive", "the mean over an epoch of loss")
        ratios = (state.last / state.before.where(balances, 1)).clamp(max=LARGEST)
        shares = (ratios / self.temperature).softmax(dim=-1) * l.shape[-1]
        return weights * shares.where(balances, 1), _add(state, l), solved_status(losses)


def _add(state: Epochs, l: Tensor) -> Epochs:
    """Return the state with one step's losses, and a new epoch where this one ends."""
    sums, steps = state.sums + l, state.steps + 1
    ends = steps % state.period == 0
    return Epochs(
        sums.where(~ends, 0),
        (sums / state.period).where(ends, state.last),
        state.last.where(ends, state.before),
        steps,
        state.period,
    )

"""CR-MOGM: correlation-reduced gradient manipulation (Zhou et al., NeurIPS 2022), around any weighting.

The weights of a method that weighs by a batch's gradients depend on that batch's noise, and so does their product with
the gradients: it is biased. A moving average of the weights depends on it less, in step t = 1, 2, …

    w_t = alpha w_{t-1} + (1 - alpha) w^_t,      w_0 = w^_1,

with w^_t the weights of the method within. The paper lets alpha rise to 1 as the learning rate falls; here it stays.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Confidence, Status, Sweep, Weighting
from paretomtl_solvers import qp
from paretomtl_solvers.mgda import MGDA
from paretomtl_solvers.wrapper import Wrapper

FACTS = ("uses_preference", "from_ideal", "preference_means", "head_gradient", "cost")


class Smoothed(NamedTuple):
    """State: that of the method within, and the averaged weights, None before the first step."""

    base: Any
    weights: Float[Tensor, "*points m"] | None


@dataclass(frozen=True)
class CRMOGM(Wrapper, Weighting):
    """A weighting whose weights are averaged over the steps.

    Args:
        base: the weighting within, such as MGDA() or FairGrad(1.0).
        alpha: the share of the average that stays at each step; at least 0, below 1. 0 is the base itself.

    The weights (*points, m) are in the scale of the base. What a preference means, and what losses are measured from,
    is as with the base. `Status`: as the base, but "stationary" exactly where the direction of the averaged weights
    vanishes.

    Raises:
        ValueError: the Gramian is not finite; or whatever the base raises.
        TypeError: the base is no `Weighting`, its points act together, or it learns numbers with the optimizer.
    """

    base: Weighting = field(default_factory=MGDA)
    alpha: float = 0.9

    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"

    def __post_init__(self):
        if not isinstance(self.base, Weighting):
            raise TypeError(f"base={self.base!r}: give a Weighting, such as MGDA()")
        if self.base.joint or self.base.learned or self.base.observes:
            raise TypeError(f"base={self.base!r}: give a method of one point that sees each step once, such as MGDA()")
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha={self.alpha!r}: give a number from 0 to below 1")
        self.take_facts(FACTS)

    def init(self, sweep: Sweep) -> Smoothed:
        """Return the base's first state, and no weights yet."""
        return Smoothed(self.base.init(sweep), None)

    def update(
        self,
        state: Smoothed | None,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Smoothed, Status]:
        """Return the averaged weights, the next state and the status."""
        C = gramian.detach().cpu().double().numpy()
        qp.check_finite_gramian("CRMOGM", Gramian=C)
        state = Smoothed(None, None) if state is None else state
        fresh, base, status = self.base.update(state.base, losses, gramian, preference)
        weights = fresh
        if state.weights is not None:
            weights = self.alpha * state.weights.to(fresh.device) + (1 - self.alpha) * fresh
        vanish = torch.as_tensor(qp.vanishes(weights.cpu().double().numpy(), C)).to(status.code.device)
        moving = torch.where(status.code == Code.STATIONARY, int(Code.SOLVED), status.code)
        return weights, Smoothed(base, weights), status._replace(code=torch.where(vanish, int(Code.STATIONARY), moving))

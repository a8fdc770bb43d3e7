"""MultiBalance: multi-objective gradient balancing at a shared representation (He et al., arXiv 2411.11871, 2024).

With U_i the gradient of loss i at the representation z, averaged over the steps so far, the weights are the least norm
of sum_i w_i U_i on the simplex, and one backward pass takes the present sum_i w_i dL_i/dz through the encoder.

Only the abstract of the paper was at hand: that it balances gradients at the representation at neutral cost. What is
averaged is an interpretation. Batches differ in their samples, so each gradient (…, d) is summed over all but its last
dimension; of losses that are means over the batch, that is the mean of the samples' gradients. Their exponential
moving average starts at the first step's. With decay=0 nothing is summed or averaged, and MultiBalance is MGDA-UB.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor

from paretomtl.autograd.jacobian import gramian_of
from paretomtl.solver import Closure, Confidence, Status, Stepper, Sweep
from paretomtl_solvers import mgda
from paretomtl_solvers.representations import check_at, weigh_at


class Averages(NamedTuple):
    """The moving average of each loss's gradient at the representation; None before the first step."""

    gradients: Float[Tensor, "m d"] | None


@dataclass(frozen=True)
class MultiBalance(Stepper):
    """The min-norm weights of averaged gradients at a representation; an interpretation.

    Args:
        at: the name of the module whose output is the representation, such as "trunk"; it is the last module that
            losses share.
        decay: the share of the old average in the new one, in [0, 1); at 0 the method is MGDA-UB.

    The direction (n,) is sum_i w_i dL_i/dz through the encoder, w on the simplex, and each head's plain gradient.
    `Status`: "stationary" where it vanishes, or the averages' min-norm point and the heads' gradients do; "fell back"
    as MGDA's; the residual is 0.

    Raises:
        ValueError: the model has no such module, it does not run once, or behind it losses share a parameter; the size
            of the representation's last dimension changed; or a gradient is not finite.
    """

    at: str
    decay: float = 0.9

    uses_preference: ClassVar[bool] = False
    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "interpretation"
    cost: ClassVar[str] = "m backward passes through the heads, 1 through the encoder"

    def __post_init__(self):
        check_at(self.at)
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay={self.decay!r}: give a number in [0, 1)")

    def init(self, sweep: Sweep) -> Averages:
        """Return the state before the first step."""
        del sweep
        return Averages(None)

    def update(
        self, state: Averages | None, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Averages, Status]:
        """Return the direction, the next averages and the status."""
        averages = Averages(None) if state is None else state

        def weigh(losses: Tensor, gradients: Tensor) -> tuple[Tensor, int]:
            nonlocal averages
            rows = gradients.reshape(len(losses), -1)
            if self.decay > 0:
                averages = self._average(averages, gradients)
                rows = averages.gradients
            assert rows is not None
            weights, code = mgda.weigh("MultiBalance", losses, gramian_of(rows), "none", "auto")
            return weights, int(code)

        direction, status = weigh_at(closure, self.at, weigh)
        return direction, averages, status

    def _average(self, before: Averages, gradients: Tensor) -> Averages:
        sums = gradients.reshape(len(gradients), -1, gradients.shape[-1]).sum(dim=1)
        if before.gradients is None:
            return Averages(sums)
        if before.gradients.shape != sums.shape:
            raise ValueError(
                f"MultiBalance: at={self.at!r} had {before.gradients.shape[-1]} numbers a sample and now has "
                f"{sums.shape[-1]}; name a module whose output's last dimension stays the same"
            )
        return Averages(self.decay * before.gradients + (1 - self.decay) * sums)

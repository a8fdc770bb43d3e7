"""EMA loss weighting: each loss divided by its moving average (Lakkapragada et al., AAAI student abstracts 2023).

    a_i <- beta a_i + (1 - beta) l_i, starting at the first loss;  w_i = 1 / a_i

Every weighted loss is about 1, whatever the losses' scales. The preference is ours; it multiplies the weights by m r_i.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Confidence, Scalarization, Status, solved_status
from paretomtl_solvers.losses import check_sign, factors_of, read_losses


@dataclass(frozen=True)
class EMAWeighting(Scalarization):
    """Losses divided by their moving averages.

    Args:
        beta: the weight of the past in the averages, from 0 to below 1; at 0 the sum of the losses' logarithms falls.

    The state (*points, m) is the averages; None before the first step. The weights (*points, m) are m r_i / a_i. At the
    even preference the method is as published.

    Raises:
        ValueError: a loss is negative or not finite, or was 0 from the beginning.
    """

    beta: float = 0.9

    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"
    needs: ClassVar[str] = "positive losses"

    def __post_init__(self):
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta={self.beta!r}: give a number from 0 to below 1")

    @property
    def nonnegative(self) -> bool:
        """True: the averages divide."""
        return True

    def update(
        self,
        state: Float[Tensor, "*points m"] | None,
        losses: Float[Tensor, "*points m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Float[Tensor, "*points m"], Status]:
        """Return the weights, the averages and "solved"."""
        l = read_losses("EMAWeighting", losses, "nonnegative")
        averages = l if state is None else self.beta * state.to(l) + (1 - self.beta) * l
        check_sign("EMAWeighting", averages, "positive", "the average of loss")
        return factors_of(preference, l) / averages, averages, solved_status(losses)

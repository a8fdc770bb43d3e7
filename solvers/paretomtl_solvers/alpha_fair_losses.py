"""Alpha-fair losses: sum_i l_i^(1 - alpha) / (1 - alpha), or sum_i log l_i at alpha = 1 (Ban and Ji, ICML 2024).

The weights are l_i^(-alpha): with a larger alpha, the smaller losses weigh more. At alpha = 0 it is the plain sum, and
at 1 the losses' scales do not matter. The preference is ours; it multiplies the weights by m r_i.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Confidence, Scalarization, Status, solved_status
from paretomtl_solvers.losses import factors_of, read_losses


@dataclass(frozen=True)
class AlphaFairLosses(Scalarization):
    """The sum of the losses' powers 1 - alpha, over 1 - alpha; of their logarithms at alpha = 1.

    Args:
        alpha: at least 0.

    The weights (*points, m) are m r_i l_i^(-alpha). At the even preference the method is as published. Above alpha = 0
    the weight of a loss grows without bound as the loss goes to 0. Above 1 the objective can fall without bound there.

    Raises:
        ValueError: a loss is not positive, unless alpha = 0, or not finite.
    """

    alpha: float = 0.5

    confidence: ClassVar[Confidence] = "derived"
    needs: ClassVar[str] = "positive losses"

    def __post_init__(self):
        if not 0 <= self.alpha < float("inf"):
            raise ValueError(f"alpha={self.alpha!r}: give a number of at least 0")

    @property
    def nonnegative(self) -> bool:
        """True above alpha = 0: the losses must be positive."""
        return self.alpha > 0

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and "solved"."""
        l = read_losses("AlphaFairLosses", losses, "positive" if self.alpha > 0 else "any")
        return factors_of(preference, l) * l**-self.alpha, state, solved_status(losses)

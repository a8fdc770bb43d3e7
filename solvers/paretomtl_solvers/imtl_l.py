"""IMTL-L: impartial multi-task learning, its balance of losses (Liu et al., ICLR 2021).

    sum_i e^(s_i) l_i - s_i,    with its minimum in s where e^(s_i) l_i = 1

The numbers s_i are trained by the model's own optimizer. At that minimum all weighted losses are 1, whatever the
losses' scales. The preference is ours; it multiplies a loss's whole term by m r_i. The paper's other half, the balance
of gradients, is another method.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Confidence, Scalarization, Status, Sweep, solved_status
from paretomtl_solvers import learned
from paretomtl_solvers.losses import factors_of, read_losses


@dataclass(frozen=True)
class IMTLL(Scalarization):
    """Losses scaled to 1 each, by factors that the optimizer learns along with the model.

    The state s (*points, m) is 0 at first and belongs into the model's optimizer; in a loop of your own it is
    `Descent(…).learned`. Weight decay there draws s to 0. The weights (*points, m) are m r_i e^(s_i). At the even
    preference the method is as published.

    Raises:
        ValueError: a loss is negative, which lets s rise for ever, or not finite.
    """

    stateful: ClassVar[bool] = True
    learned: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"

    @property
    def nonnegative(self) -> bool:
        """True: e^(-s) follows the loss."""
        return True

    def init(self, sweep: Sweep) -> Float[Tensor, "*points m"]:
        """Return s = 0."""
        return learned.start(sweep)

    def update(
        self,
        state: Float[Tensor, "*points m"] | None,
        losses: Float[Tensor, "*points m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Float[Tensor, "*points m"] | None, Status]:
        """Return the weights, the state, whose gradient is set, and "solved"."""
        l = read_losses("IMTLL", losses, "nonnegative")
        scales, factors = learned.read(state, l).exp(), factors_of(preference, l)
        learned.set_gradient(state, factors * (scales * l - 1))
        return factors * scales, state, solved_status(losses)

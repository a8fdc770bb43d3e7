"""GLS: the geometric mean of the losses, as one loss (Chennupati et al., CVPR workshops 2019).

    L = prod_i l_i^(r_i),  dL/dl_i = r_i L / l_i

A factor of any loss is one of L, so the relative weights do not depend on the losses' scales. As published, the mean is
even; the preference as its exponents is ours.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Confidence, Scalarization, Status, solved_status
from paretomtl_solvers.losses import read_losses


@dataclass(frozen=True)
class GeometricMean(Scalarization):
    """The geometric mean of the losses: weights r_i L / l_i.

    The weights (*points, m), times the losses, sum to L. At the even preference the method is as published.

    Raises:
        ValueError: a loss is not positive, or not finite.
    """

    confidence: ClassVar[Confidence] = "derived"
    needs: ClassVar[str] = "positive losses"

    @property
    def nonnegative(self) -> bool:
        """True: the losses must be positive."""
        return True

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and "solved"."""
        logs = read_losses("GeometricMean", losses, "positive").log()
        r = preference.to(logs)
        return r * ((r * logs).sum(dim=-1, keepdim=True) - logs).exp(), state, solved_status(losses)

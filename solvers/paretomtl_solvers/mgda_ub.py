"""MGDA-UB: the upper bound of multiple-gradient descent at a representation (Sener and Koltun, NeurIPS 2018).

With z the shared representation, U_i the gradient of loss i at z over the whole batch and theta the encoder's
parameters, |sum_i w_i g_i| <= |dz / dtheta| |sum_i w_i U_i|. The weights of the least norm of sum_i w_i U_i on the
simplex stand for those of sum_i w_i g_i, and one backward pass takes sum_i w_i U_i through the encoder.

With a linear encoder and one sample the two are the same up to the encoder's metric; where z is the parameters
themselves, MGDA-UB is MGDA. The direction lowers every loss as far as (dz / dtheta)(dz / dtheta)' is near a multiple of
the identity; elsewhere one may rise. Where it vanishes, the parameters are Pareto-stationary; the reverse holds where
dz / dtheta has full rank.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from paretomtl.autograd.jacobian import gramian_of
from paretomtl.solver import Closure, Confidence, Status, Stepper, Sweep
from paretomtl_solvers import mgda, qp
from paretomtl_solvers.representations import check_at, weigh_at


@dataclass(frozen=True)
class MGDAUB(Stepper):
    """The min-norm point of the gradients' hull at a representation, taken through the encoder by one backward pass.

    Args:
        at: the name of the module whose output is the representation, such as "trunk"; it is the last module that
            losses share.
        normalisation: the divisor of each gradient: 1 ("none"), its norm at the representation ("l2"), its loss
            ("loss"), or both ("loss+"); the last two need positive losses.
        backend: "auto" is the closed form at m = 2 and non-negative least squares above; "cvxpy" forces cvxpy.

    The direction (n,) is sum_i w_i U_i through the encoder, with MGDA's weights of the U_i, and each head's plain
    gradient. `Status`: "stationary" where both vanish; "fell back" where the first solver's answer failed the check and
    the other solver's stands in; the residual is 0.

    Raises:
        ValueError: the model has no such module, it does not run once, or behind it losses share a parameter; a
            gradient is not finite; or a loss to divide by is not positive.
    """

    at: str
    normalisation: mgda.Normaliser = "none"
    backend: qp.Backend = "auto"

    uses_preference: ClassVar[bool] = False
    confidence: ClassVar[Confidence] = "released code"
    cost: ClassVar[str] = "m backward passes through the heads, 1 through the encoder"

    def __post_init__(self):
        check_at(self.at)
        mgda.check_normalisation(self.normalisation)
        qp.check_backend(self.backend)

    def init(self, sweep: Sweep) -> None:
        """Check that cvxpy finds a solver, if it is forced; there is no state."""
        if self.backend == "cvxpy":
            qp.check_installed()

    def update(
        self, state: Any, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """Return the direction, the unchanged state and the status."""

        def weigh(losses: Tensor, gradients: Tensor) -> tuple[Tensor, int]:
            gramian = gramian_of(gradients.reshape(len(losses), -1))
            weights, code = mgda.weigh("MGDAUB", losses, gramian, self.normalisation, self.backend)
            return weights, int(code)

        direction, status = weigh_at(closure, self.at, weigh)
        return direction, state, status

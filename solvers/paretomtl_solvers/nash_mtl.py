"""Nash-MTL: the gradients bargain for the step, as in Nash's game (Navon et al., ICML 2022).

The direction d maximises sum_i log g_i' d within a ball. There d = sum_i w_i g_i with C w = 1 / w, entry by entry. It
is FairGrad at alpha = 1, and its solver's; the released code linearises, and stops at 1e-3. A preference r gives the
objectives unequal bargaining power: d maximises sum_i r_i log g_i' d, and C w = m r / w. That is this library's; at the
even preference it is the published system.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from paretomtl.point import Code
from paretomtl.solver import Confidence
from paretomtl_solvers import fairgrad, qp
from paretomtl_solvers.gramians import GramianWeighting

SCALINGS = ("equations", "published")


@dataclass(frozen=True)
class NashMTL(GramianWeighting):
    """Progress shared by Nash's bargaining game; a larger preference is more bargaining power.

    Args:
        scaling: "equations" solves C w = m r / w, so that each direction has the same length, sqrt(m). "published" has
            length 1, to which the released code clips it.
        backend: "auto" is damped Newton; "cvxpy" forces cvxpy, which is exact to about 1e-4.

    The weights (*points, m) go with 1 / |g|. An objective with r_i = 0 has the
    weight 0, and its loss may rise. `Status`: "stationary" where no direction lowers all losses with r_i > 0; then the
    weights are min-norm ones, whose direction is zero. "fell back" where the solver did not converge and min-norm
    weights stand in. The residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    scaling: Literal["equations", "published"] = "equations"
    backend: qp.Backend = "auto"

    confidence: ClassVar[Confidence] = "released code"
    preference_means: ClassVar[str] = "bargaining power"
    power: ClassVar[float] = -1.0

    def __post_init__(self):
        if self.scaling not in SCALINGS:
            raise ValueError(f"scaling={self.scaling!r} is not one of {', '.join(SCALINGS)}")
        qp.check_backend(self.backend)

    def weigh(self, C: np.ndarray, preference: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a point's weights and code."""
        players = preference > 0
        weights = np.zeros(len(C))
        weights[players], code = self._bargain(C[players][:, players], len(C) * preference[players])
        if self.scaling == "published" and code != Code.STATIONARY:
            weights /= np.sqrt(len(C))
        return weights, code

    def _bargain(self, C: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, int]:
        """Return the weights of the objectives with some bargaining power, and a code."""
        (least,), (code,) = fairgrad.find_stationary(C[None])
        if code == Code.STATIONARY:
            return least, int(code)
        if self.backend == "cvxpy":
            (weights,), (residual,) = fairgrad.solve_with_cvxpy(C[None], 1.0, shares[None])
            accepted = residual <= fairgrad.ROUGH
        else:
            (weights,), (residual,) = fairgrad.newton(C[None], 1.0, shares[None])
            accepted = residual <= fairgrad.ACCEPTED
        if not accepted:
            return least * np.sqrt(shares.sum() / (least @ C @ least)), Code.FELL_BACK
        return weights, int(code)

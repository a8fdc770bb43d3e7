"""CAGrad: conflict-averse gradient descent (Liu et al., NeurIPS 2021).

The direction d has the largest worst rate, min_i g_i' d, within a ball about the mean gradient g_0 of radius c |g_0|:

    w = argmin over the simplex of w' C r + c |g_0| |g_w|,   g_w = sum_i w_i g_i,   d = g_0 + c |g_0| g_w / |g_w|.

c = 0 is the mean gradient; as c grows the direction becomes MGDA's. For c < 1 the mean loss falls at every step, and
the method ends only where g_0 vanishes: it moves along the front to the least mean.

In the paper g_0 is the mean; the preference, g_0 = sum_i r_i g_i, is this library's. Where g_w vanishes d is not
determined by w: then it is the optimum that is nearest to g_0. That, too, is this library's.
"""

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar, Literal

import numpy as np

from paretomtl.point import Code
from paretomtl.solver import Confidence
from paretomtl_solvers import qp
from paretomtl_solvers.gramians import GramianWeighting
from paretomtl_solvers.worst_rate import largest_worst_rate

RESCALES = ("none", "1/(1+c^2)", "1/(1+c)")


@dataclass(frozen=True)
class CAGrad(GramianWeighting):
    """The direction near the preferred mean gradient that lowers the worst-off loss most.

    Args:
        c: the ball's radius, in units of |g_0|; at least 0. The paper has c < 1.
        rescale: what the direction is multiplied by. The authors' release has "1/(1+c^2)" in its networks and "1/(1+c)"
            in its toy problem; "none" is the paper's.
        backend: "auto" is a closed form at m = 2 and where no weight is 0, and non-negative least squares elsewhere;
            "cvxpy" forces cvxpy.

    The weights (*points, m) are r + c |g_0| / |g_w| w, times the rescaling; at the even preference those of the paper.
    `Status`: "stationary" where g_0 vanishes, and from c = 1 on wherever no direction lowers all losses; "fell back"
    where the first solver's answer failed the check, and the other solver's, or at last g_0, stands in; the residual
    is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    c: float = 0.5
    rescale: Literal["none", "1/(1+c^2)", "1/(1+c)"] = "none"
    backend: qp.Backend = "auto"

    confidence: ClassVar[Confidence] = "released code"

    def __post_init__(self):
        if not 0 <= self.c < float("inf"):
            raise ValueError(f"c={self.c!r}: give a number of at least 0")
        if self.rescale not in RESCALES:
            raise ValueError(f"rescale={self.rescale!r} is not one of {', '.join(RESCALES)}")
        qp.check_backend(self.backend)

    def weigh(self, C: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a point's weights and code."""
        if qp.vanishes(r, C):
            return r, Code.STATIONARY
        b = C @ r
        radius = self.c * sqrt(r @ b)
        if not radius:
            return r, Code.SOLVED
        w, _, z, code = largest_worst_rate(C, b, radius, self.backend)
        if self.c >= 1 and code == Code.SOLVED and qp.vanishes(w, C):
            return w, Code.STATIONARY
        factors = {"none": 1.0, "1/(1+c^2)": 1 / (1 + self.c**2), "1/(1+c)": 1 / (1 + self.c)}
        return factors[self.rescale] * (r + z), code

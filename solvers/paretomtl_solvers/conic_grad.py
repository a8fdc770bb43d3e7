"""ConicGrad: descent within a cone about the mean gradient (Hassanpour et al., arXiv 2502.00217, 2025).

With c between 0 and 1 and g_0 the mean gradient, the paper's program is

    max over d of min_i g_i' d - |d|^2 / 2   subject to   g_0' d >= c |g_0| |d|,

and the step is d rescaled to the length of g_0. So only the direction of d matters: the unit vector e of the cone with
the largest worst rate min_i g_i' e. Where MGDA's direction is in the cone, it is that. Else e is on the cone's rim,
e = c g_0 / |g_0| + y with y across g_0 and |y|^2 = 1 - c^2: the largest worst rate in a ball, as in CAGrad, of the
gradients' parts across g_0. The optimality conditions are e parallel to g_w + mu g_0 with mu >= 0, and w, on the
simplex, at the gradients of the worst rate. c = 0 is MGDA's direction with the length of g_0; as c grows to 1, the
direction becomes g_0.

The program is solved exactly and anew at each step. The authors' form, [(1 + k c^2 |g_0|^2) I - k g_0 g_0']^-1 g_w with
fixed k and w by gradient steps, belongs to the squared constraint and agrees only while g_0' g_w > 0. The preference,
g_0 = sum_i r_i g_i, is this library's. So is what happens where no direction of the cone lowers all losses, though
one outside does: the program's answer is 0 there, and ours is the direction of the rim with the largest worst rate.
"""

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import numpy as np

from paretomtl.point import Code
from paretomtl.solver import Confidence
from paretomtl_solvers import qp
from paretomtl_solvers.gramians import GramianWeighting
from paretomtl_solvers.worst_rate import largest_worst_rate


@dataclass(frozen=True)
class ConicGrad(GramianWeighting):
    """The direction in a cone about the preferred mean gradient that lowers the worst-off loss most.

    Args:
        c: the cosine of the cone's half angle, from 0 to less than 1.
        backend: "auto" is closed forms at m = 2, and non-negative least squares above; "cvxpy" forces cvxpy.

    The weights (*points, m) are those of d at the length of g_0 = sum_i r_i g_i; they are not on the simplex. g_0' d is
    at least c |g_0|^2, so the preferred mean of the losses falls. `Status`: "stationary" where no direction lowers all
    losses; then the weights are the min-norm ones, whose direction is zero. "fell back" where the first solver's answer
    failed the check, and the other solver's, or at last g_0, stands in. The residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    c: float = 0.5
    backend: qp.Backend = "auto"

    confidence: ClassVar[Confidence] = "derived"

    def __post_init__(self):
        if not 0 <= self.c < 1:
            raise ValueError(f"c={self.c!r}: give a number from 0 to less than 1")
        qp.check_backend(self.backend)

    def weigh(self, C: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a point's weights and code."""
        least, code = qp.min_norm(C, self.backend)
        if qp.vanishes(least, C):
            return least, Code.STATIONARY
        along = C @ r
        length, shortest = sqrt(r @ along), sqrt(least @ C @ least)
        along = along / length  # of each gradient, along g_0
        if least @ along >= self.c * shortest:
            return least * (length / shortest), int(code)
        across = C - np.outer(along, along)
        parallel = across.diagonal() <= qp.VANISHED**2 * C.diagonal()  # to g_0; what is left is rounding
        across[parallel], across[:, parallel] = 0, 0
        radius = sqrt(1 - self.c**2)
        _, _, z, code = largest_worst_rate(across, self.c * along, radius, self.backend)
        e = z + r * ((self.c - along @ z) / length)
        return e * (length / sqrt(e @ C @ e)), code

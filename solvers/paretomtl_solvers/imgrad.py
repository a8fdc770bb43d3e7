"""IMGrad: CAGrad made sensitive to the imbalance of the gradients (Zhou et al., IJCAI 2025).

With g_0 the mean gradient and q the cosine between it and MGDA's direction,

    w = argmin over the simplex of (1.5 - q) w' C r + q c |g_0| |g_w|,   g_w = sum_i w_i g_i,
    d = (g_0 + c |g_0| g_w / |g_w|) / (1 + c^2).

Where the gradients are balanced q is near 1, and conflict decides as in CAGrad; where one dominates q is near 0, and w
leans to the gradient with the least progress. At q = .75 w is CAGrad's. The equations are those of the authors' code.
The paper is "Injecting Imbalance Sensitivity for Multi-Task Learning".

In the paper g_0 is the mean; the preference, g_0 = sum_i r_i g_i, is this library's. Where MGDA's direction vanishes q
is 0, and where g_w vanishes its term is; that, too, is this library's.
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
class IMGrad(GramianWeighting):
    """CAGrad with a trade-off between mean and worst-off loss that follows the gradients' imbalance.

    Args:
        c: the length of the pull away from g_0, in units of |g_0|; from 0 to less than 1. The authors' script for NYUv2
            has .8.
        backend: "auto" is closed forms at m = 2, and non-negative least squares above; "cvxpy" forces cvxpy.

    The weights (*points, m) are (r + c |g_0| / |g_w| w) / (1 + c^2); at the even preference those of the paper. The
    preferred mean of the losses falls at every step. `Status`: "stationary" where g_0 vanishes; "fell back" where a
    first solver's answer failed the check, and the other solver's, or at last g_0 / (1 + c^2), stands in; the residual
    is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    c: float = 0.8
    backend: qp.Backend = "auto"

    confidence: ClassVar[Confidence] = "released code"

    def __post_init__(self):
        if not 0 <= self.c < 1:
            raise ValueError(f"c={self.c!r}: give a number from 0 to less than 1")
        qp.check_backend(self.backend)

    def weigh(self, C: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a point's weights and code."""
        if qp.vanishes(r, C):
            return r, Code.STATIONARY
        b = C @ r
        length = sqrt(r @ b)
        least, least_code = qp.min_norm(C, self.backend)
        shortest = sqrt(max(least @ C @ least, 0))
        q = 0.0 if qp.vanishes(least, C) else float(least @ b) / (shortest * length)
        w, vanishes, _, code = largest_worst_rate(C, b, q * self.c * length / (1.5 - q), self.backend)
        if not vanishes:
            r = r + w * (self.c * length / sqrt(w @ C @ w))
        return r / (1 + self.c**2), max(int(least_code), code)

"""ConFIG: conflict-free inverse gradients (Liu, Chu and Thuerey, ICLR 2025).

With U the gradients of unit length, row by row, the direction is that of U^+ 1, whose projections on all gradients are
equal; its length is the sum of the gradients' projections on it. The weights of the gradients say the same: with
v = K^+ 1 over the norms, K = U U' the cosines and C the Gramian, they are v (1' C v) / (v' C v). A preference r puts
m r in place of 1: the projections g_i' d / |g_i| go with r_i.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paretomtl.point import Code
from paretomtl.solver import Confidence
from paretomtl_solvers import qp
from paretomtl_solvers.gramians import GramianWeighting, code_of
from paretomtl_solvers.imtl_g import weigh_projections


@dataclass(frozen=True)
class ConFIG(GramianWeighting):
    """The direction whose projections on the gradients go with the preference, as long as theirs on it together.

    The weights (*points, m) are in the scale of a sum of the gradients; some may be negative. `Status`: "stationary"
    where the direction vanishes. Where the gradients are linearly dependent the projections are the nearest ones
    possible, and a loss may rise. The residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    confidence: ClassVar[Confidence] = "derived"
    preference_means: ClassVar[str] = "shares of the progress"

    def weigh(self, C: np.ndarray, preference: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a point's weights and code."""
        v, length = weigh_projections(C, len(C) * preference)
        if length <= qp.VANISHED:
            return np.zeros(len(C)), Code.STATIONARY
        weights = v * ((C @ v).sum() / length**2)
        return weights, code_of(weights, C)

"""UPGrad: each gradient projected on the dual cone (Quinton and Rey, "Jacobian Descent", arXiv 2406.16232, 2024).

The dual cone holds the directions along which no loss rises, {d: g_i' d >= 0}. The projection of g_i on it is
sum_k v_ik g_k with the v_i >= e_i of least v_i' C v_i, and the direction is the mean of the projections; a preference
weighs them, w = sum_i r_i v_i. It is solved by non-negative least squares on the cosines, and checked by its conditions
of optimality.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paretomtl.solver import Confidence
from paretomtl_solvers import qp
from paretomtl_solvers.dualproj import combine, project_on_dual_cone
from paretomtl_solvers.gramians import GramianWeighting


@dataclass(frozen=True)
class UPGrad(GramianWeighting):
    """The preference's sum of the gradients, each projected to where no loss rises.

    Args:
        backend: "auto" is non-negative least squares, and a formula for two objectives; "cvxpy" forces cvxpy.

    The weights (*points, m) are at least the preference. `Status`: "stationary" where all projections vanish; "fell
    back" where the first solver's answer failed the check and the other solver's stands in. The residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    backend: qp.Backend = "auto"

    confidence: ClassVar[Confidence] = "released code"

    def __post_init__(self):
        qp.check_backend(self.backend)

    def weigh(self, C: np.ndarray, preference: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a point's weights and code."""
        projections, code = project_on_dual_cone(C, np.eye(len(C)), self.backend)
        return combine(C, preference @ projections, code)

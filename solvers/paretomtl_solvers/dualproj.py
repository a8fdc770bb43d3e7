"""DualProj: the mean gradient projected on the dual cone (after Lopez-Paz and Ranzato, NeurIPS 2017).

The dual cone holds the directions along which no loss rises, {d: g_i' d >= 0}. The nearest one to sum_i r_i g_i is
d = sum_i v_i g_i with the v >= r of least v' C v. At the even preference that is the mean gradient's projection.
It is solved by non-negative least squares on the cosines, and checked by its conditions of optimality.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from paretomtl.point import Code
from paretomtl.solver import Confidence
from paretomtl_solvers import qp
from paretomtl_solvers.gramians import GramianWeighting, code_of

LEAST_SIZE = 1e-300  # a divisor that is at least this


@dataclass(frozen=True)
class DualProj(GramianWeighting):
    """The preference's sum of the gradients, projected to where no loss rises.

    Args:
        backend: "auto" is non-negative least squares, and a formula for two objectives; "cvxpy" forces cvxpy.

    The weights (*points, m) are at least the preference. `Status`: "stationary" where the projection vanishes; "fell
    back" where the first solver's answer failed the check and the other solver's stands in. The residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    backend: qp.Backend = "auto"

    confidence: ClassVar[Confidence] = "derived"

    def __post_init__(self):
        qp.check_backend(self.backend)

    def weigh(self, C: np.ndarray, preference: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a point's weights and code."""
        weights, code = project_on_dual_cone(C, preference[None], self.backend)
        return combine(C, weights[0], code)


def project_on_dual_cone(
    C: Float[np.ndarray, "m m"], lower: Float[np.ndarray, "rows m"], backend: qp.Backend
) -> tuple[Float[np.ndarray, "rows m"], Code]:
    """Return, for each row b >= 0, the v >= b of least v' C v, and a `Code` for all rows."""
    squares = C.diagonal()
    norms = np.sqrt(np.where(squares > 0, squares, 1))
    cosines = C / norms / norms[:, None]
    cosines *= squares > 0
    bounds = lower * norms
    if backend == "auto":
        conflicting = (bounds @ cosines < 0).any(axis=1)
        if not conflicting.any():
            return lower, Code.SOLVED
        if len(C) == 2:
            return np.maximum(bounds, -min(cosines[0, 1], 0.0) * bounds[:, ::-1]) / norms, Code.SOLVED
    else:
        conflicting = np.ones(len(lower), dtype=bool)
    sizes = np.maximum(bounds.max(axis=1, keepdims=True), LEAST_SIZE)
    raised, code = qp.least_weights_above(cosines, (bounds / sizes)[conflicting], backend)
    bounds[conflicting] = raised * sizes[conflicting]
    return bounds / norms, code


def combine(C: Float[np.ndarray, "m m"], weights: Float[np.ndarray, " m"], code: Code) -> tuple[np.ndarray, int]:
    """Return the weights, equal ones for equal gradients, and the code; "stationary" where the direction vanishes."""
    if len(C) > 2:  # the solver gives all to one of them
        weights = qp.average_twins(C, weights)
    vanished = code_of(weights, C) == Code.STATIONARY
    return weights, Code.STATIONARY if vanished else code

"""IMTL-G: impartial multi-task learning, its gradient balance (Liu et al., ICLR 2021).

The direction has the same projection on every gradient: d = sum_i w_i g_i with sum_i w_i = 1 and g_i' d / |g_i| equal
over i. In the Gramian C: C v = sqrt(diag C), w = v / sum v. It is solved for the cosines K in place of C, K u = 1 and
v_i = u_i / |g_i|, so that the gradients' lengths do not matter. Where K is singular u is the least-squares answer of
least norm, and there the projections may differ.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from paretomtl.point import Code
from paretomtl.solver import Confidence
from paretomtl_solvers import qp
from paretomtl_solvers.gramians import RANK, GramianWeighting

NO_SUM = 1e-9  # a sum of weights relative to that of their sizes: below, it is zero


@dataclass(frozen=True)
class IMTLG(GramianWeighting):
    """The direction that projects equally on all gradients.

    The weights (*points, m) sum to 1, and some may be negative. With three objectives or more the sum of v may be
    negative too; then the published formula, kept here, turns the direction, and all losses rise. `Status`:
    "stationary" where no direction projects equally, nor nearly so; then the weights are 0. "fell back" where v sums to
    zero, and is divided by the sum of its entries' sizes instead. The residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    confidence: ClassVar[Confidence] = "derived"
    uses_preference: ClassVar[bool] = False

    def weigh(self, C: np.ndarray, preference: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a point's weights and code."""
        del preference
        v, length = weigh_projections(C, np.ones(len(C)))
        if length <= qp.VANISHED:
            return np.zeros(len(C)), Code.STATIONARY
        total, size = v.sum(), np.abs(v).sum()
        return (v / total, Code.SOLVED) if abs(total) > NO_SUM * size else (v / size, Code.FELL_BACK)


def weigh_projections(
    C: Float[np.ndarray, "m m"], projections: Float[np.ndarray, " m"]
) -> tuple[Float[np.ndarray, " m"], float]:
    """Return the weights of the direction with these projections on the gradients, or nearly so, and its length."""
    squares = C.diagonal()
    if squares.min() <= 0:
        projections, squares = projections * (squares > 0), np.where(squares > 0, squares, 1)
    norms = np.sqrt(squares)
    values, vectors = np.linalg.eigh(C / norms / norms[:, None])
    if values[0] <= RANK * values[-1]:
        kept = values > RANK * values[-1]
        values, vectors = values[kept], vectors[:, kept]
    along = projections @ vectors
    shares = along / values
    return vectors @ shares / norms, math.sqrt(along @ shares)

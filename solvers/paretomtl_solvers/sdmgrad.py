"""SDMGrad: stochastic direction-oriented multi-objective gradient descent (Xiao, Ban and Ji, NeurIPS 2023).

The min-norm point of the gradients' hull, pulled towards a preferred direction g_0 = sum_i p_i g_i:

    w = argmin over the simplex of |g_w + lambda g_0|^2,   d = (g_w + lambda g_0) / (1 + lambda),   g_w = sum_i w_i g_i.

lambda = 0 is MGDA; as lambda grows the direction becomes g_0. p is the mean, or the user's preference, as in the paper.

This is the biased one-batch variant: w solves the problem exactly for the gradients of the step's only batch. The
authors' algorithm takes three independent batches a step: 20 steps of projected SGD on w with the product of two
batches' Jacobians, which is unbiased, and d from the third.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paretomtl.solver import Confidence
from paretomtl_solvers import qp
from paretomtl_solvers.gramians import GramianWeighting, code_of


@dataclass(frozen=True)
class SDMGrad(GramianWeighting):
    """The min-norm point of the gradients' hull, pulled towards the preferred mean gradient; exact, on one batch.

    Args:
        pull: lambda, the weight of the preferred mean; at least 0, dimensionless.
        backend: "auto" is the closed form at m = 2 and non-negative least squares above; "cvxpy" forces cvxpy.

    The weights (*points, m) are (w + lambda r) / (1 + lambda), on the simplex. `Status`: "stationary" where the
    direction vanishes: the point is Pareto-stationary, and for lambda > 0 the preferred mean does not change along the
    hull. "fell back" where the first solver's answer failed the check and the other solver's stands in. The residual
    is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    pull: float = 0.3
    backend: qp.Backend = "auto"

    confidence: ClassVar[Confidence] = "derived"

    def __post_init__(self):
        if not 0 <= self.pull < float("inf"):
            raise ValueError(f"pull={self.pull!r}: give a number of at least 0")
        qp.check_backend(self.backend)

    def weigh(self, C: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a point's weights and code."""
        shift = self.pull * (C @ r)
        pulled = C + shift + shift[:, None] + self.pull * (r @ shift)
        w, code = qp.min_norm(pulled, self.backend)
        weights = (w + self.pull * r) / (1 + self.pull)
        return weights, int(code) or code_of(weights, C)

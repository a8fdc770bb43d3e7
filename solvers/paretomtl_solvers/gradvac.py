"""GradVac: gradient vaccine, usual cosines between the gradients (Wang et al., ICLR 2021).

As in PCGrad, h_i starts as g_i and meets each g_j, j != i, in random order. With p = cos(h_i, g_j), where p < rho_ij

    h_i <- h_i + |h_i| (rho sqrt(1 - p^2) - p sqrt(1 - rho^2)) / (|g_j| sqrt(1 - rho^2)) g_j,

after which the cosine is rho_ij; then rho_ij <- (1 - beta) rho_ij + beta p, with p from before. The direction is the
sum of the h_i. With rho = 0 and beta = 0 it is PCGrad. Here rho moves at every meeting; some implementations move it
only where p < rho. A preference weighs the h_i by m r_i; that is this library's, and the even one has the published
sum.
"""

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.solver import Confidence, Status, Sweep, Weighting
from paretomtl_solvers import qp
from paretomtl_solvers.draws import first_draws
from paretomtl_solvers.gramians import code_of, weigh_points
from paretomtl_solvers.pcgrad import draw_orders, to_lists

NEAREST = 1 - 1e-8  # the largest cosine to turn to; at 1 the turned gradient would be infinitely long


class GradVacState(NamedTuple):
    """The points' draws, and their moving means of the cosines."""

    draws: Int[Tensor, "*points 2"] | None
    rho: Float[Tensor, "*points m m"]


@dataclass(frozen=True)
class GradVac(Weighting):
    """The preference's sum of the gradients, each turned towards the others to their usual cosines.

    Args:
        rho: the cosines to begin with, in (-1, 1).
        beta: the weight of a step's cosines in their moving means, from 0 to 1; libraries also use 0.5.

    The weights (*points, m) are in the scale of a sum of the gradients. The order is drawn anew each step, by the
    point's generator; in a call without a state it is that of the objectives. A loss may rise. `Status`: "stationary"
    where the direction vanishes. The residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    rho: float = 0.0
    beta: float = 0.01

    confidence: ClassVar[Confidence] = "derived"
    stateful: ClassVar[bool] = True

    def __post_init__(self):
        if not -1 < self.rho < 1:
            raise ValueError(f"rho={self.rho!r}: give a cosine between -1 and 1")
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta={self.beta!r}: give a number from 0 to 1")

    def init(self, sweep: Sweep) -> GradVacState:
        """Return the points' draws, and the cosines to begin with."""
        m = sweep.preferences.shape[-1]
        return GradVacState(first_draws(sweep), self._first((*sweep.points.shape, m, m)))

    def update(
        self,
        state: GradVacState | None,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], GradVacState, Status]:
        """Return the weights, the next state and the status."""
        draws, rho = state or (None, self._first(gramian.shape))
        orders, draws = draw_orders(draws, gramian.shape)
        moved = rho.detach().cpu().double().clone()
        # the points' cosines come as views of the clone, where the next ones are written
        weights, status = weigh_points("GradVac", gramian, self._weigh, preference, moved, *orders)
        return weights, GradVacState(draws, moved), status

    def _weigh(
        self, C: np.ndarray, preference: np.ndarray, cosines: np.ndarray, *orders: np.ndarray
    ) -> tuple[np.ndarray, int]:
        turned, cosines[:] = turn(C.tolist(), to_lists(len(C), orders), cosines.tolist(), self.beta)
        weights = len(C) * preference @ np.array(turned)
        return weights, code_of(weights, C)

    def _first(self, shape: tuple[int, ...]) -> Tensor:
        return torch.full(shape, self.rho, dtype=torch.float64)


def turn(
    C: list[list[float]], orders: list[list[int]], rho: list[list[float]], beta: float
) -> tuple[list[list[float]], list[list[float]]]:
    """Return the weights of the turned gradients, and the next means of the cosines.

    A gradient that vanishes, or that has vanished to rounding, has no cosine: there nothing is turned or counted.
    """
    m, turned, means = len(C), [], [list(row) for row in rho]
    norms = [sqrt(max(C[j][j], 0.0)) for j in range(m)]
    for i, order in enumerate(orders):
        weights, slopes, norm = [0.0] * m, C[i], norms[i]
        weights[i] = 1.0
        for j in order:
            if j == i or norms[j] == 0 or norm <= qp.VANISHED * norms[i]:
                continue
            p, target = slopes[j] / (norm * norms[j]), min(means[i][j], NEAREST)
            p = max(-1.0, min(p, 1.0))
            means[i][j] += beta * (p - means[i][j])
            if p < target:
                share = norm / norms[j] * (target * sqrt((1 - p * p) / (1 - target * target)) - p)
                weights[j] += share
                slopes = [slope + share * c for slope, c in zip(slopes, C[j], strict=True)]
                norm = sqrt(max(sum(w * slope for w, slope in zip(weights, slopes, strict=True)), 0.0))
        turned.append(weights)
    return turned, means

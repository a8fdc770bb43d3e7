"""PCGrad: projecting conflicting gradients (Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020).

For each i, h_i starts as g_i; for each j != i, in random order, where h_i' g_j < 0 h_i loses its part along g_j,
h_i <- h_i - (h_i' g_j / |g_j|^2) g_j. The direction is the sum of the h_i. All of it can be said in weights: h_i is a
sum of gradients, and h_i' g_j an entry of these weights times the Gramian. A preference weighs the h_i by m r_i; that
is this library's, and the even one has the published sum.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.solver import Confidence, Status, Sweep, Weighting
from paretomtl_solvers.draws import first_draws, next_generators
from paretomtl_solvers.gramians import code_of, weigh_points


@dataclass(frozen=True)
class PCGrad(Weighting):
    """The preference's sum of the gradients, each without its parts against the others.

    The weights (*points, m) are at least 0, in the scale of a sum of the gradients. The order of the projections is
    drawn anew each step, by the point's generator; in a call without a state it is that of the objectives. With two
    objectives there is one order, and no loss rises; with more a loss may rise. `Status`: "stationary" where the
    direction vanishes. The residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    confidence: ClassVar[Confidence] = "derived"
    stateful: ClassVar[bool] = True

    def init(self, sweep: Sweep) -> Int[Tensor, "*points 2"]:
        """Return the points' draws."""
        return first_draws(sweep)

    def update(
        self,
        state: Int[Tensor, "*points 2"] | None,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the next state and the status."""
        orders, state = draw_orders(state, gramian.shape)
        weights, status = weigh_points("PCGrad", gramian, _weigh, preference, *orders)
        return weights, state, status


def _weigh(C: np.ndarray, preference: np.ndarray, *orders: np.ndarray) -> tuple[np.ndarray, int]:
    projected = project_conflicts(C.tolist(), to_lists(len(C), orders))
    weights = len(C) * preference @ np.array(projected)
    return weights, code_of(weights, C)


def project_conflicts(C: list[list[float]], orders: list[list[int]]) -> list[list[float]]:
    """Return the weights of the projected gradients; for each, the others' order, in which it itself is passed over."""
    m, projected = len(C), []
    for i, order in enumerate(orders):
        weights, slopes = [0.0] * m, C[i]
        weights[i] = 1.0
        for j in order:
            if j != i and slopes[j] < 0 < C[j][j]:
                share = slopes[j] / C[j][j]
                weights[j] -= share
                slopes = [slope - share * c for slope, c in zip(slopes, C[j], strict=True)]
        projected.append(weights)
    return projected


def draw_orders(
    draws: Int[Tensor, "*points 2"] | None, shape: torch.Size
) -> tuple[list[Int[Tensor, "*points m m"]], Int[Tensor, "*points 2"] | None]:
    """Return an order of the objectives for each one of each point, if it is drawn, in a list; and the next draws.

    Two objectives leave nothing to draw.
    """
    m = shape[-1]
    if draws is None or m == 2:
        return [], draws
    generators, draws = next_generators(draws)
    orders = [torch.rand(m, m, generator=generator).argsort() for generator in generators]
    return [torch.stack(orders).reshape(shape)], draws


def to_lists(m: int, orders: tuple[np.ndarray, ...]) -> list[list[int]]:
    """Return a point's orders; that of the objectives where none was drawn."""
    return orders[0].astype(int).tolist() if orders else [list(range(m))] * m

"""MoCo: multi-objective gradients with correction (Fernando et al., ICLR 2023).

MGDA's direction is biased where gradients come from batches. MoCo follows the gradients by moving averages y, and the
weights of their hull's min-norm point by projected gradient steps, in step t = 1, 2, …

    y_i <- y_i - beta / t^beta_sigma (y_i - g_i)                              from y = 0
    w   <- Proj_simplex(w - gamma / t^gamma_sigma (y y' + rho I) w)           from w = 1/m
    d   =  sum_i w_i y_i

Without noise w goes to MGDA's weights. A public implementation, after code that the authors shared, scales each g_i to
the norm l_i first, which is offered here, and takes a softmax for the projection, which is another method.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.solver import Aggregation, Confidence, Status, Sweep
from paretomtl_solvers.losses import read_losses
from paretomtl_solvers.tracking import check_jacobian, project_on_simplex, status_where


class Tracked(NamedTuple):
    """State: the tracked gradients, None before the first step, their weights, and the number of steps so far."""

    gradients: Float[Tensor, "*points m n"] | None
    weights: Float[Tensor, "*points m"]
    steps: Int[Tensor, "*points"]


@dataclass(frozen=True)
class MoCo(Aggregation):
    """MGDA on moving averages of the gradients, its weights followed by projected gradient steps.

    Args:
        beta: the share of a new gradient in the average, at the first step; above 0, at most 1.
        beta_sigma: the power of the number of steps that beta falls with, at least 0.
        gamma: the weights' step size at the first step, positive, in units of |g|^-2; dimensionless with losses from 0
            to 1 and `scale_to_loss`.
        gamma_sigma: the power of the number of steps that gamma falls with, at least 0.
        rho: the strength that pulls the weights to even ones, at least 0, in units of |g|^2.
        scale_to_loss: whether each gradient is first scaled to have its loss as its norm.

    The direction (*points, n) is in the scale of the gradients; its weights are on the simplex. It trails the gradients
    by about t^beta_sigma / beta steps. `Status`: "stationary" where all gradients and their averages vanish; the
    residual is 0.

    Raises:
        ValueError: a gradient is not finite; or, with `scale_to_loss`, a loss is negative.
    """

    beta: float = 0.5
    beta_sigma: float = 0.5
    gamma: float = 0.1
    gamma_sigma: float = 0.5
    rho: float = 0.0
    scale_to_loss: bool = False

    uses_preference: ClassVar[bool] = False
    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"
    cost: ClassVar[str] = "m backward passes, memory 2 m n"

    def __post_init__(self):
        if not 0 < self.beta <= 1:
            raise ValueError(f"beta={self.beta!r}: give a number above 0, at most 1")
        if not 0 < self.gamma < float("inf"):
            raise ValueError(f"gamma={self.gamma!r}: give a positive number")
        for name in ("beta_sigma", "gamma_sigma", "rho"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)!r}: give a number of at least 0")

    @property
    def nonnegative(self) -> bool:
        """True where gradients are scaled to their losses."""
        return self.scale_to_loss

    def init(self, sweep: Sweep) -> Tracked:
        """Return even weights, and no gradients yet."""
        return _start((*sweep.points.shape, sweep.preferences.shape[-1]))

    def update(
        self,
        state: Tracked | None,
        losses: Float[Tensor, "*points m"],
        jacobian: Float[Tensor, "*points m n"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points n"], Tracked, Status]:
        """Return the direction, the state with the new gradients and weights, and the status."""
        check_jacobian("MoCo", jacobian)
        state = _start(losses.shape) if state is None else state
        steps, g = state.steps + 1, self._scale(losses, jacobian)
        beta = (self.beta / steps.double() ** self.beta_sigma).to(g)[..., None, None]
        y = beta * g if state.gradients is None else state.gradients + beta * (g - state.gradients)
        gamma = (self.gamma / steps.double() ** self.gamma_sigma).to(g.device)[..., None]
        w = state.weights.to(g.device)
        w = project_on_simplex(w - gamma * (_products(y, w) + self.rho * w))
        direction = (w.to(y)[..., None] * y).sum(dim=-2)
        return direction, Tracked(y, w, steps), status_where(~(g.any(dim=-1) | y.any(dim=-1)).any(dim=-1))

    def _scale(self, losses: Tensor, jacobian: Tensor) -> Tensor:
        """Return the gradients, or with `scale_to_loss` those of the losses' norms; one that vanishes stays 0."""
        if not self.scale_to_loss:
            return jacobian.detach()
        values = read_losses("MoCo", losses, "nonnegative")
        norms = torch.linalg.vector_norm(jacobian.detach(), dim=-1, dtype=torch.float64)
        return jacobian.detach() * (values / norms.where(norms > 0, 1)).to(jacobian)[..., None]


def _start(shape: tuple[int, ...]) -> Tracked:
    return Tracked(
        None, torch.full(shape, 1 / shape[-1], dtype=torch.float64), torch.zeros(shape[:-1], dtype=torch.int64)
    )


def _products(y: Tensor, w: Tensor) -> Tensor:
    """Return y y' w, in float64; point by point, so that a point's numbers do not depend on the others."""
    products = torch.empty_like(w)
    for p in np.ndindex(w.shape[:-1]):
        products[p] = (y[p] @ (w[p].to(y) @ y[p])).double()
    return products

"""MoDo: multi-objective gradients with double sampling (Chen et al., NeurIPS 2023; JMLR 2024).

The weights follow those of the hull's min-norm point by projected gradient steps,

    w <- Proj_simplex(w - gamma (J_1 J_2' + rho I) w)      from w = 1/m,

and are used at once. In the paper J_1 and J_2 are of two batches, so that their product is not biased, and the step is
taken with a third, or with the mean of the two. A method here sees one batch a step: J_1 = J_2, which is the paper's
without noise, and a biased variant on batches; there `MoCo` averages first.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Confidence, Status, Sweep, Weighting
from paretomtl_solvers import qp
from paretomtl_solvers.tracking import project_on_simplex, status_where


class Weights(NamedTuple):
    """State: the weights."""

    weights: Float[Tensor, "*points m"]


@dataclass(frozen=True)
class MoDo(Weighting):
    """MGDA whose weights are followed by projected gradient steps, one a step of training.

    Args:
        gamma: the weights' step size, positive, in units of |g|^-2.
        rho: the strength that pulls the weights to even ones, at least 0, in units of |g|^2.

    The weights (*points, m) are on the simplex. `Status`: "stationary" where all gradients vanish; the residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    gamma: float = 0.1
    rho: float = 0.0

    uses_preference: ClassVar[bool] = False
    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "interpretation"

    def __post_init__(self):
        if not 0 < self.gamma < float("inf"):
            raise ValueError(f"gamma={self.gamma!r}: give a positive number")
        if not 0 <= self.rho < float("inf"):
            raise ValueError(f"rho={self.rho!r}: give a number of at least 0")

    def init(self, sweep: Sweep) -> Weights:
        """Return even weights."""
        return _start((*sweep.points.shape, sweep.preferences.shape[-1]))

    def update(
        self,
        state: Weights | None,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Weights, Status]:
        """Return the weights after their step, the state that holds them, and the status."""
        C = gramian.detach().double()
        qp.check_finite_gramian("MoDo", Gramian=C.cpu().numpy())
        w = (_start(losses.shape) if state is None else state).weights.to(C.device)
        slopes = (C * w[..., None, :]).sum(dim=-1) + self.rho * w
        w = project_on_simplex(w - self.gamma * slopes)
        vanished = (torch.diagonal(C, dim1=-2, dim2=-1) <= 0).all(dim=-1)
        return w, Weights(w), status_where(vanished)


def _start(shape: tuple[int, ...]) -> Weights:
    return Weights(torch.full(shape, 1 / shape[-1], dtype=torch.float64))

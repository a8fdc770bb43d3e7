"""Pareto MTL (Lin et al., NeurIPS 2019), for any number of objectives.

The preferences of a study cut the space of losses into sectors: that of preference k holds the losses l whose direction
is nearest to its ray u_k, so that G_j(l) = (u_j - u_k)' l <= 0 for all j. Phase 1 brings the losses into their sector:
min-norm descent on the constraints that are violated. Phase 2 is min-norm descent on the losses and these constraints.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.autograd.stationarity import is_stationary
from paretomtl.point import Code
from paretomtl.preference import ray
from paretomtl.solver import Closure, Confidence, Status, Sweep, Weighting, status_of
from paretomtl_solvers import qp
from paretomtl_solvers.heads import Heads, check_heads, format_method
from paretomtl_solvers.phase_one import steps_of_phase_one

COINCIDE = 1e-4  # rays closer than this share a sector; those of (0, .25, .75) and (0, .5, .5) are 2e-6 apart
INSIDE = 1e-3  # losses this far outside, relative to |l|, still count as in their sector once training ends


class Sectors(NamedTuple):
    """State: the rays u of all preferences, the index of the point's own, and the remaining steps of phase 1."""

    rays: Float[Tensor, "*points K m"]
    own: Int[Tensor, "*points"]
    left: Int[Tensor, "*points"]


@dataclass(frozen=True)
class ParetoMTL(Weighting):
    """Descent to a Pareto-stationary point in the preference's sector.

    Args:
        phase_one: the largest share of the steps for phase 1, which ends as soon as the losses are in their sector.
        backend: "auto" is the closed form for two vectors and non-negative least squares above; "cvxpy" forces cvxpy.
        heads: "plain" leaves a parameter that only one loss depends on to that loss's plain gradient. "weighted", as in
            the released code, counts it as shared.

    The method needs all preferences of the study: at least two, no two on one ray. The weights (*points, m) are
    lam + beta' (u_j - u_k), with lam and beta together on the simplex (phase 1: beta alone); they may be negative. The
    released code multiplies the weights of phase 2 by m over the sum of their absolute values. `Status`: "stationary"
    where the direction vanishes, "fell back" where a solver failed; the residual is the losses' distance outside their
    sector, max_j G_j / |l|, 0 inside.

    Raises:
        ValueError: two rays coincide, there is only one, or losses or Gramian are not finite.
    """

    phase_one: float = 0.2
    backend: qp.Backend = "auto"
    heads: Heads = "plain"

    stateful: ClassVar[bool] = True
    from_ideal: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"
    preference_means: ClassVar[str] = "its ray's sector"
    head_gradient: ClassVar[str] = "plain, or weighted (`heads`)"
    needs: ClassVar[str] = "two preferences or more"

    def __post_init__(self):
        if not 0 <= self.phase_one <= 1:
            raise ValueError(f"phase_one={self.phase_one!r}: give a share of the steps, from 0 to 1")
        check_heads(self.heads)
        qp.check_backend(self.backend)

    def __repr__(self) -> str:
        return format_method(self)

    @property
    def weighs_heads(self) -> bool:
        """Whether heads count as shared."""
        return self.heads == "weighted"

    def init(self, sweep: Sweep) -> Sectors:
        """Return the rays, each point's own ray, and the most steps of phase 1."""
        if self.backend == "cvxpy":
            qp.check_installed()
        rays = torch.from_numpy(unit_rays(sweep.preferences.double().numpy()))
        left = steps_of_phase_one(self.phase_one, sweep)
        return Sectors(rays.expand(*sweep.points.shape, *rays.shape), sweep.points.clone(), left)

    def update(
        self,
        state: Sectors | None,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Sectors, Status]:
        """Return the weights, the state with one step of phase 1 less, or none inside the sector, and the status."""
        if state is None:
            raise ValueError("ParetoMTL needs the study's other preferences: call init(sweep) first, or use explore")
        l, C = losses.detach().cpu().double().numpy(), gramian.detach().cpu().double().numpy()
        qp.check_finite_gramian("ParetoMTL", losses=l, Gramian=C)
        weights, code, residual = np.empty_like(l), np.empty(l.shape[:-1], dtype=np.int64), np.empty(l.shape[:-1])
        left = state.left.clone()
        for p in np.ndindex(l.shape[:-1]):
            rows, outside = _constraints(l[p], state.rays[p].numpy(), int(state.own[p]))
            active, residual[p] = rows[outside > 0], max(0.0, outside.max())
            left[p] = left[p] - 1 if len(active) and left[p] > 0 else 0
            in_phase_one = len(active) > 0 and state.left[p] > 0
            vectors = active if in_phase_one else np.vstack([np.eye(len(l[p])), active])
            products = vectors @ C[p] @ vectors.T
            shares, code[p] = qp.min_norm(products, self.backend)
            weights[p] = shares @ vectors
            if qp.vanishes(shares, products):
                code[p] = Code.STATIONARY
        status = Status(torch.as_tensor(code), torch.as_tensor(residual))
        return torch.from_numpy(weights).to(losses.device), state._replace(left=left), status

    def finish(self, closure: Closure, state: Sectors, preference: Float[Tensor, " m"]) -> Status:
        """Return "solved" where the losses are in their sector, to 1e-3 of their length, and on the front."""
        l = closure().cpu().double().numpy()
        outside = max(0.0, float(_constraints(l, state.rays.numpy(), int(state.own))[1].max()))
        code = Code.SOLVED if outside <= INSIDE and is_stationary(closure) else Code.NOT_CONVERGED
        return status_of(code, outside)


def unit_rays(preferences: Float[np.ndarray, "K m"]) -> Float[np.ndarray, "K m"]:
    """Return the preferences' rays, at length 1.

    Raises:
        ValueError: there are fewer than two rays, or two coincide.
    """
    if len(preferences) < 2:
        raise ValueError("ParetoMTL divides the front among preferences; give at least 2")
    rays = ray(preferences)
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    for k, one in enumerate(rays):
        near = np.flatnonzero(np.linalg.norm(rays[:k] - one, axis=1) < COINCIDE)
        if len(near):
            raise ValueError(
                f"preferences {preferences[near[0]].tolist()} and {preferences[k].tolist()} have the same ray, so no "
                "sector of their own; with zero entries this happens easily: give preferences without them"
            )
    return rays


def find_sectors(losses: Float[np.ndarray, "n m"], preferences: Float[np.ndarray, "K m"]) -> Int[np.ndarray, " n"]:
    """Return the index of the preference in whose sector each loss vector lies: the nearest ray by angle."""
    return np.asarray((losses @ unit_rays(preferences).T).argmax(axis=1))


def _constraints(l: np.ndarray, rays: np.ndarray, own: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows u_j - u_k, j != k, and the losses' distance outside each, relative to their length."""
    rows = np.delete(rays, own, axis=0) - rays[own]
    length = np.linalg.norm(l)
    return rows, rows @ l / (length if length > 0 else 1)

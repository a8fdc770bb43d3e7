"""FERERO: preference-guided descent that keeps the losses on a ray, corrected (Chen et al., NeurIPS 2024).

The rows of B_h are an orthonormal basis of what is across the ray's unit vector u. With J the gradients' rows, the
multipliers of FERERO's subproblem with the cone of all losses, lambda_f on the simplex and lambda_h free, minimise

    |J' (lambda_f + B_h' lambda_h)|^2 / 2 - lambda_h' B_h l,   and   d = J' (lambda_f + B_h' lambda_h).

There B_h J d = B_h l: each step takes the losses' distance from the ray down at the rate of the learning rate. So the
rates are J d = p + t u, with p = l - (u' l) u and one unknown, the rate t along the ray, which maximises

    min_i (p_i + t u_i) - |d|^2 / 2,   |d|^2 = (p + t u)' C^-1 (p + t u).

This is concave and piecewise quadratic, and its largest of few candidates is the solution. It does not depend on the
basis, and holds for any m.

Corrected: the released code lacks the 1/2, which makes the step across the ray half as long, and has m = 2 only. The
preference means a ray as everywhere in this library.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.preference import raise_to_floor, ray
from paretomtl.solver import Confidence, Status, Weighting
from paretomtl_solvers import qp

DEPENDENT = 1e-10  # an eigenvalue of the gradients' cosines: below, they are dependent, to a Gramian's rounding
MET = 1e-5  # relative: rates this close to those that a step can have are met


@dataclass(frozen=True)
class FERERO(Weighting):
    """Descent along the preference's ray, with a Newton step onto the ray.

    The ray starts at 0, where no preference entry is below 1e-6. The weights (*points, m) are lambda_f + B_h' lambda_h;
    they may be negative, so a loss that is too small for the ray may rise. The part of the direction across the ray is
    the losses over the gradients, and does not scale with the gradients: it is best with a learning rate below 1.

    Losses whose gradient vanishes take no part. `Status`: "relaxed" where the gradients are dependent and no step has
    the rates across the ray that are asked for: then they are met as closely as possible. "stationary" where the
    direction vanishes and the losses are on the ray: the point is Pareto-stationary, or all gradients are parallel, so
    that no descent keeps the ray. The residual is the sine of the angle between the losses and the ray.

    Raises:
        ValueError: the losses or the Gramian are not finite.
    """

    confidence: ClassVar[Confidence] = "derived"
    preference_means: ClassVar[str] = "ray"
    from_ideal: ClassVar[bool] = True

    @property
    def follows_ray(self) -> bool:
        """True: the losses are brought onto the ray."""
        return True

    def update(
        self,
        state: Any,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and the status."""
        l, C, r = (x.detach().cpu().double().numpy() for x in (losses, gramian, preference))
        qp.check_finite_gramian("FERERO", losses=l, Gramian=C)
        u = ray(raise_to_floor(r))
        u = u / np.linalg.norm(u, axis=-1, keepdims=True)
        weights, codes = np.zeros_like(l), np.zeros(l.shape[:-1], dtype=np.int64)
        for p in np.ndindex(l.shape[:-1]):
            weights[p], codes[p] = _weigh(C[p], l[p], u[p])
        status = Status(torch.as_tensor(codes), torch.as_tensor(sine_off_ray(l, u)))
        return torch.from_numpy(weights).to(losses.device), state, status


def sine_off_ray(l: Float[np.ndarray, "*points m"], u: Float[np.ndarray, "*points m"]) -> Float[np.ndarray, "*points"]:
    """Return the sine of the angle between the losses and the ray's unit vector; 0 where all losses are."""
    across = l - (l * u).sum(axis=-1, keepdims=True) * u
    sizes = np.linalg.norm(l, axis=-1)
    return np.asarray(np.linalg.norm(across, axis=-1) / np.where(sizes > 0, sizes, 1))


def _weigh(C: np.ndarray, l: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, int]:
    weights, present = np.zeros_like(l), C.diagonal() > 0
    if not present.any():
        return np.full_like(l, 1 / len(l)), Code.STATIONARY
    across = l - (l @ u) * u
    on_ray = np.linalg.norm(across) <= qp.VANISHED * np.linalg.norm(l)
    C, across, u = (C + C.T)[np.ix_(present, present)] / 2, across[present], u[present]
    # all in units of the gradients' lengths: a gradient's size does not matter to what depends on what
    sizes = np.sqrt(C.diagonal())
    values, vectors = np.linalg.eigh(C / np.outer(sizes, sizes))
    free = values > DEPENDENT
    root, gap = vectors[:, free].T / np.sqrt(values[free])[:, None] / sizes, vectors[:, ~free].T / sizes
    weights[present], off = _follow_ray(root, gap, across, u, sizes)
    if off > MET:
        return weights, Code.RELAXED
    return weights, Code.STATIONARY if on_ray and qp.vanishes(weights[present], C) else Code.SOLVED


def _follow_ray(
    root: np.ndarray, gap: np.ndarray, across: np.ndarray, u: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the weights, and the share of the rates across + t u that dependent gradients leave out.

    root' root is the inverse of the Gramian, and the rows of gap are orthogonal to all rates that a step can have.
    """
    onto, along = (root.T @ (root @ x) for x in (across, u))  # the weights that have these rates
    missed, slant = gap @ across, gap @ u
    scales = np.linalg.norm(np.stack([across, u]) / sizes, axis=1)
    if np.linalg.norm(slant) > MET * scales[1]:
        t = -float(slant @ missed) / float(slant @ slant)
        off = np.linalg.norm(missed + t * slant)
        return onto + t * along, float(off / max(scales[0] + abs(t) * scales[1], 1e-300))
    # from the least |d| on: each loss's own optimum, and where two losses' rates cross
    curvature = float(u @ along)
    start = -float(u @ onto) / curvature
    rates = across + start * u
    i, j = np.nonzero(u[:, None] > u)
    steps = np.concatenate([u / curvature, (rates[j] - rates[i]) / (u[i] - u[j])])
    worst = (rates + steps[:, None] * u).min(axis=1)
    step = steps[(worst - curvature * steps**2 / 2).argmax()]
    least = onto + start * along
    least = least - (u @ least) / curvature * along  # rounding of t, far larger in the weight of a small gradient
    return least + step * along, float(np.linalg.norm(missed) / max(scales[0], 1e-300))

"""The polish: descent on max_j r_j l_j from where a ray-following method stopped, and the test of an unreachable ray.

The minimiser of M(x) = max_j r_j l_j lies on the ray where the front meets it. Where it does not, some objectives are
slack at the minimiser: then no point of the front (locally, on a non-convex problem) is on the ray.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Closure
from paretomtl_solvers import qp

WIDEST, NARROWEST, SHRINK = 0.1, 1e-6, 0.98  # relative width of the active set, over the iterations
ACTIVE = 1e-3  # relative: the width at which the verdict is read
STATIONARY = 1e-4  # residual, relative to the largest r_j |g_j|: below, a KKT point
ARMIJO, HALVINGS, LONGEST = 1e-4, 40, 1e3


def polish(closure: Closure, r: Float[np.ndarray, " m"]) -> Code:
    """Move the model to a minimiser of max_j r_j l_j and judge it.

    Args:
        closure: exact losses of all parameters; the model is moved.
        r: the preference, without zeros.

    Returns:
        SOLVED where all r_j l_j are equal to 1e-3, UNREACHABLE where some are slack at a stationary point of the
        maximum, NOT_CONVERGED otherwise.
    """
    width, step = WIDEST, 1.0
    while width > NARROWEST:
        step = _armijo(closure, r, _steepest(closure, r, width), step)
        width *= SHRINK
    last = _steepest(closure, r, ACTIVE)
    if last.active.all():
        return Code.SOLVED
    return Code.UNREACHABLE if last.squared <= (STATIONARY * last.largest) ** 2 else Code.NOT_CONVERGED


class _Descent(NamedTuple):
    """At a place: the active set, the direction and its squared length, M, and the largest r_j |g_j|."""

    active: Bool[np.ndarray, " m"]
    direction: Float[Tensor, " n"]
    squared: float
    worst: float
    largest: float


def _steepest(closure: Closure, r: np.ndarray, width: float) -> _Descent:
    """Where the model stands: sum_j w_j r_j g_j, w the min-norm point of the objectives within a width of the worst."""
    losses, jacobian, _ = closure.gradients()
    rl = r * losses.cpu().double().numpy()
    active = rl >= (1 - width) * rl.max()
    rows = jacobian[active] * jacobian.new_tensor(r[active])[:, None]
    weights, _ = qp.min_norm((rows @ rows.T).cpu().double().numpy())
    direction = rows.new_tensor(weights) @ rows
    largest = (r * jacobian.norm(dim=1).cpu().double().numpy()).max()
    return _Descent(active, direction, float(direction @ direction), float(rl.max()), float(largest))


def _armijo(closure: Closure, r: np.ndarray, descent: _Descent, step: float) -> float:
    """Move down the direction as far as M falls enough; the length found, from which the next search starts doubled."""
    here = closure.parameters
    step = min(2 * step, LONGEST)
    for _ in range(HALVINGS):
        there = here - step * descent.direction
        if (r * closure(there).cpu().double().numpy()).max() <= descent.worst - ARMIJO * step * descent.squared:
            closure.move(there)
            return step
        step /= 2
    return 1.0

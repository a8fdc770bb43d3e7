"""The polish: descent on max_j r_j l_j from where a ray-following method stopped, and the test of an unreachable ray.

If the front meets the ray, the minimiser of M(x) = max_j r_j l_j lies on it. If not, some objectives are slack at the
minimiser: then no point of the front (locally, on a non-convex problem) is on the ray.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Closure
from paretomtl_solvers import qp

WIDEST, NARROWEST, SHRINK = 0.1, 1e-6, 0.98  # relative width of the active set, over the iterations
ACTIVE = 1e-3  # relative width of the active set for the verdict
STATIONARY = 1e-4  # residual, relative to the largest r_j |g_j|: below, a KKT point
ARMIJO, HALVINGS, LONGEST_STEP = 1e-4, 40, 1e3


def polish(closure: Closure, r: Float[np.ndarray, " m"]) -> Code:
    """Move the model to a minimiser of max_j r_j l_j and judge it.

    Args:
        closure: exact losses of all parameters; the polish moves its model.
        r: the preference, without zeros.

    Returns:
        SOLVED where all r_j l_j are equal to 1e-3, UNREACHABLE where some are slack at a stationary point of the
        maximum, NOT_CONVERGED otherwise.
    """
    width, step = WIDEST, 1.0
    while width > NARROWEST:
        step = _search_line(closure, r, _find_descent(closure, r, width), step)
        width *= SHRINK
    last = _find_descent(closure, r, ACTIVE)
    if last.active.all():
        return Code.SOLVED
    return Code.UNREACHABLE if last.squared <= (STATIONARY * last.largest) ** 2 else Code.NOT_CONVERGED


class _Descent(NamedTuple):
    """A descent direction: the active set, the direction, its squared length, M, and the largest r_j |g_j|."""

    active: Bool[np.ndarray, " m"]
    direction: Float[Tensor, " n"]
    squared: float
    worst: float
    largest: float


def _find_descent(closure: Closure, r: np.ndarray, width: float) -> _Descent:
    """Find the descent direction: the min-norm point of r_j g_j over the objectives within a width of the worst."""
    losses, jacobian, _ = closure.gradients()
    rl = r * losses.cpu().double().numpy()
    active = rl >= (1 - width) * rl.max()
    rows = jacobian[active] * jacobian.new_tensor(r[active])[:, None]
    weights, _ = qp.min_norm((rows @ rows.T).cpu().double().numpy())
    direction = rows.new_tensor(weights) @ rows
    largest = (r * jacobian.norm(dim=1).cpu().double().numpy()).max()
    return _Descent(active, direction, float(direction @ direction), float(rl.max()), float(largest))


def _search_line(closure: Closure, r: np.ndarray, descent: _Descent, step: float) -> float:
    """Move down the direction as far as M falls enough; return the step's length, where the next search starts."""
    start = closure.parameters
    step = min(2 * step, LONGEST_STEP)
    for _ in range(HALVINGS):
        target = start - step * descent.direction
        if (r * closure(target).cpu().double().numpy()).max() <= descent.worst - ARMIJO * step * descent.squared:
            closure.move(target)
            return step
        step /= 2
    return 1.0

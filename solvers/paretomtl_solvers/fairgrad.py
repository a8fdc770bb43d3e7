"""FairGrad: alpha-fair gradient descent (Ban and Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024).

The direction d shares the progress g_i' d of the m losses as an alpha-fair network shares its bandwidth: it maximises
sum_i (g_i' d)^(1-alpha) / (1-alpha) within a ball. There d = sum_i w_i g_i with (C w)_i = w_i^(-p), p = 1/alpha, which
is the condition of optimality of a strictly convex problem,

    min over w > 0 of  w' C w / 2 - sum_i w_i^(1-p) / (1-p)      (log w_i at p = 1),

and is solved by damped Newton. alpha = 0 is the plain sum of the losses, 1 proportional fairness (Nash-MTL's fixed
point), 2 minimum potential delay, infinity max-min (MGDA's direction).
"""

import contextlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Confidence, Status, Sweep, Weighting
from paretomtl_solvers import qp

MOST_STEPS = 100
LONGEST_STEP = 3.0  # the longest step, in logarithms
STEEP = 0.3  # p below which the limit p = 0 is the better start
CONVERGED, ACCEPTED = 1e-14, 1e-8  # relative residual at which Newton may stop; the largest of an accepted answer
ROUGH = 1e-3  # the largest residual of an accepted answer through cvxpy
NEAR_SUM = 0.1  # alpha below which the sum of the losses, alpha = 0, stands in for an answer that fails
LEAST_WEIGHT = 1e-300  # the least weight; smaller ones underflow


@dataclass(frozen=True)
class FairGrad(Weighting):
    """Alpha-fair sharing of the progress among the losses.

    Args:
        alpha: from 0 (only the sum matters) to infinity (only the worst-off loss matters); dimensionless. The authors'
            runs use 2.
        backend: "auto" is damped Newton; "cvxpy" forces cvxpy, which is exact to about 1e-4.

    The weights (*points, m) are those of the equations, in units of |g|^(-2 alpha / (1 + alpha)). The released code
    multiplies them by m and clips the norm of the direction; here that is left to the optimizer. At alpha = infinity
    they are the limit: MGDA's weights over the squared norm of its direction. `Status`: "stationary" where no direction
    lowers all losses; then the weights are the min-norm ones, whose direction is zero. "fell back" where the solver did
    not converge and a stand-in was taken: near alpha = 0 its limit, weights of 1; else min-norm weights, scaled to the
    same progress. The residual is 0.

    Raises:
        ValueError: the Gramian is not finite.
    """

    alpha: float = 2.0
    backend: qp.Backend = "auto"

    uses_preference: ClassVar[bool] = False
    confidence: ClassVar[Confidence] = "released code"

    def __post_init__(self):
        if not self.alpha >= 0:
            raise ValueError(f"alpha={self.alpha!r}: give a number from 0 to infinity")
        qp.check_backend(self.backend)

    def init(self, sweep: Sweep) -> None:
        """Check that cvxpy finds a solver, if it is forced; there is no state."""
        if self.backend == "cvxpy":
            qp.check_installed()

    def update(
        self,
        state: Any,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and the status."""
        points, m = gramian.shape[:-2], gramian.shape[-1]
        C = gramian.detach().cpu().double().numpy().reshape(-1, m, m)
        qp.check_finite_gramian("FairGrad", Gramian=C)
        weights, code = self._solve((C + C.swapaxes(-1, -2)) / 2)
        status = Status(torch.as_tensor(code.reshape(points)), torch.zeros(points, dtype=torch.float64))
        return torch.from_numpy(weights.reshape(*points, m)).to(losses.device), state, status

    def _solve(self, C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights and codes of several points."""
        squares = np.diagonal(C, axis1=-2, axis2=-1)
        if self.alpha == 0:
            code = np.where((squares <= 0).all(axis=-1), Code.STATIONARY, Code.SOLVED)
            return np.ones(squares.shape), code
        weights, code = find_stationary(C)
        stationary = code == Code.STATIONARY
        if not stationary.all():
            weights[~stationary], code[~stationary] = self._solve_fair(C[~stationary], code[~stationary])
        return weights, code

    def _solve_fair(self, C: np.ndarray, code: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights and codes of points that are not stationary, where the weights exist."""
        if np.isinf(self.alpha):
            least, code = qp.min_norm(C, self.backend)
            return least / _squared_norm(least, C), code
        scale = np.trace(C, axis1=-2, axis2=-1)[:, None] / C.shape[-1]
        scaled, p = C / scale[:, :, None], 1 / self.alpha
        if self.backend == "cvxpy":
            weights, residual = solve_with_cvxpy(scaled, p)
        else:
            weights, residual = newton(scaled, p)
        failed = ~(residual <= (ROUGH if self.backend == "cvxpy" else ACCEPTED))
        if failed.any():
            if self.alpha < NEAR_SUM:
                weights[failed] = 1
            else:
                least, _ = qp.min_norm(scaled[failed])
                weights[failed] = least / _squared_norm(least, scaled[failed]) ** (1 / (1 + p))
            code = np.where(failed, Code.FELL_BACK, code)
        return weights * scale ** (-1 / (1 + p)), code


def find_stationary(
    C: Float[np.ndarray, "points m m"],
) -> tuple[Float[np.ndarray, "points m"], Int[np.ndarray, " points"]]:
    """Return weights on the simplex and codes: "stationary" where the hull holds zero; the weights' direction is zero.

    Whether a hull holds zero does not depend on the gradients' lengths, so these are divided out first.
    """
    squares = np.diagonal(C, axis1=-2, axis2=-1)
    sizes = np.sqrt(np.where(squares > 0, squares, 1))
    cosines = C / (sizes[:, :, None] * sizes[:, None, :])
    hull, code = qp.min_norm(cosines)
    stationary = qp.vanishes(hull, cosines) | (squares <= 0).any(axis=-1)
    weights = hull / sizes / (hull / sizes).sum(axis=-1, keepdims=True)
    return weights, np.where(stationary, Code.STATIONARY, code)


def newton(
    C: Float[np.ndarray, "points m m"], p: float, shares: Float[np.ndarray, "points m"] | None = None
) -> tuple[Float[np.ndarray, "points m"], Float[np.ndarray, " points"]]:
    """Return the w > 0 with C w = b w^-p, and the residual |C w - b w^-p| relative to the terms that add up to C w.

    The shares b are 1, or given; with given ones p is at least 0.3. The method is damped Newton on the convex problem's
    condition of optimality. Its variables are the logarithms of w and of the slopes s = C w, with C w - s = 0 and
    log s + p log w = log b. So the slopes stay positive, a gradient's length does not matter, and the condition is
    linear in a weight too small to matter to the others.
    """
    b = 0.0 if shares is None else np.log(shares)
    y, z = _start_near_limit(C, p) if p < STEEP else _start_orthogonal(C, p, b)  # log w, log s
    sizes, diagonal = np.abs(C), np.arange(C.shape[-1])
    best, least = y, np.full(len(C), np.inf)
    for _ in range(MOST_STEPS):
        w, s = np.exp(y), np.exp(z)
        slopes, terms = (C @ w[..., None])[..., 0], (sizes @ w[..., None])[..., 0]
        residual = (np.abs(slopes - np.exp(b - p * y)) / terms * ~_is_negligible(y, slopes, p)).max(axis=-1)
        better = residual < least
        best, least = np.where(better[:, None], y, best), np.where(better, residual, least)
        if (least <= CONVERGED).all() or (not better.any() and (least <= ACCEPTED).all()):
            break
        off = (z + p * y - b) * ~_is_negligible(y, s, p)
        jacobian = C * w[:, None, :]
        jacobian[:, diagonal, diagonal] += p * s
        right = (slopes - s + s * off)[..., None]
        try:
            dy = -np.linalg.solve(jacobian, right)[..., 0]
        except np.linalg.LinAlgError:  # equal gradients, whose slopes vanish beside the terms that add up to them
            dy = -(np.linalg.pinv(jacobian) @ right)[..., 0]
        dz = -off - p * dy
        if max(dy.max(), dz.max(), -dz.min()) > LONGEST_STEP:
            # a weight may grow until its share of the slopes has grown by LONGEST; a slope may grow or fall so far
            room = LONGEST_STEP - np.log(
                np.maximum((sizes * w[:, None, :] / terms[:, :, None]).max(axis=1), LEAST_WEIGHT)
            )
            over = np.maximum((dy / room).max(axis=-1), np.abs(dz).max(axis=-1) / LONGEST_STEP)
            shorter = (1 / np.maximum(over, 1))[:, None]
            dy, dz = dy * shorter, dz * shorter
        y, z = np.maximum(y + dy, np.log(LEAST_WEIGHT)), z + dz
    # beside a far longer gradient only the sum of equal gradients' weights is determined
    w = qp.average_twins(C, np.exp(best))
    return w if shares is None else w * shares / qp.average_twins(C, shares), least


def solve_with_cvxpy(
    C: Float[np.ndarray, "points m m"], p: float, shares: Float[np.ndarray, "points m"] | None = None
) -> tuple[Float[np.ndarray, "points m"], Float[np.ndarray, " points"]]:
    """Solve the same problem through cvxpy; the residual is infinite where it returns no answer.

    It does not resolve weights too small to matter: these may be too large for their slopes, but none is too small.
    """
    weights, residual = np.ones(C.shape[:-1]), np.full(len(C), np.inf)
    shares = np.ones(C.shape[:-1]) if shares is None else shares
    for k, (one, b) in enumerate(zip(C, shares, strict=True)):
        with contextlib.suppress(qp.ProgramError):
            weights[k] = w = qp.alpha_fair(one, p, b)
            over = (one @ w - b * w**-p) / (np.abs(one) @ w)
            residual[k] = max(-over.min(), (w * over).max() / w.max())
    return weights, residual


def _is_negligible(y: np.ndarray, slopes: np.ndarray, p: float) -> np.ndarray:
    """Return which weights count as solved: they are at the least weight, and would have to be smaller."""
    return (
        np.zeros(1, dtype=bool)
        if p >= STEEP
        else (y <= np.log(LEAST_WEIGHT)) & (np.log(np.maximum(slopes, LEAST_WEIGHT)) > -p * y)
    )


def _start_orthogonal(C: np.ndarray, p: float, b: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return a start for Newton: the logarithms of orthogonal gradients' weights and slopes."""
    y = (b - np.log(np.diagonal(C, axis1=-2, axis2=-1))) / (1 + p)
    return y, b - p * y


def _start_near_limit(C: np.ndarray, p: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a start for small p: near the limit p = 0, the min-norm point, at which no slope is below 1."""
    least, _ = qp.min_norm(C)
    w = least / _squared_norm(least, C)
    slopes = np.maximum((C @ w[..., None])[..., 0], 1)
    free = least <= 1e-12  # these weights are 0 in the limit, and s^(-1/p) before it
    w = np.where(free, np.exp(np.maximum(-np.log(slopes) / p, np.log(LEAST_WEIGHT))).clip(max=0.01 * w.max()), w)
    return np.log(w), np.log(np.maximum((C @ w[..., None])[..., 0], 0.5))


def _squared_norm(w: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Return |sum_i w_i g_i|^2, (points, 1)."""
    return np.einsum("pi,pij,pj->p", w, C, w)[:, None]

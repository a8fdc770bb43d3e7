"""PMGDA: preference-based multiple-gradient descent (Zhang, Lin and Zhang, arXiv 2402.09492, 2024).

With u the unit vector of the preference's ray, h = |l - (u' l) u| is the losses' distance from it and g_h its gradient.
Near the ray, h < tolerance, a step is MGDA's. Elsewhere it corrects: of the mixtures d of the unit gradients and of
g_h / |g_h|, with shares on the simplex, it takes the one with the largest worst rate that nears the ray fast enough,

    max of t   subject to   g_i' d >= t for all i,   g_h' d >= sigma |g_h|.

The linear program is feasible for sigma <= 1, and a small simplex method solves it from d = g_h / |g_h|. t < 0 says
that some loss rises.

The constraint is the paper's exact preference, on its ray as the ray is meant everywhere in this library. What is
this library's: any m, and losses whose gradient vanishes take no part in the program.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.preference import ray
from paretomtl.solver import Confidence, Status, Sweep, Weighting
from paretomtl_solvers import qp
from paretomtl_solvers.ferero import sine_off_ray

MOST_PIVOTS = 200
STEEPEST = 50  # pivots by the largest coefficient; then by the first, which cannot cycle
FLAT = 1e-5  # |g_h| relative to the terms that add up to g_h: below, a Gramian does not resolve it
ROUNDING = 1e-15


@dataclass(frozen=True)
class PMGDA(Weighting):
    """MGDA near the preference's ray, and off it the step back to the ray that raises the losses least.

    Args:
        sigma: how fast the step must near the ray, in units of the fastest; above 0, at most 1.
        tolerance: the distance from the ray, in the losses' units, below which a step is MGDA's.
        backend: "auto" is a simplex method and, for MGDA's steps, as in `MGDA`; "cvxpy" forces cvxpy.

    The ray starts at 0; a zero preference entry counts as 1e-6. Near the ray, and where g_h vanishes to 1e-5 of what
    adds up to it, the weights (*points, m) are MGDA's, on the simplex. Else they are those of d, in units of 1 / |g|,
    as d mixes unit vectors: the optimizer's learning rate is the step's length. They may be negative. `Status`:
    "stationary" where a step of MGDA's vanishes; "fell back" where the first solver's answer failed the check and
    another's stands in, min-norm weights if none answers; the residual is the sine of the angle between the losses and
    the ray.

    Raises:
        ValueError: the losses or the Gramian are not finite.
    """

    sigma: float = 0.9
    tolerance: float = 1e-3
    backend: qp.Backend = "auto"

    confidence: ClassVar[Confidence] = "derived"
    preference_means: ClassVar[str] = "ray"
    from_ideal: ClassVar[bool] = True

    def __post_init__(self):
        if not 0 < self.sigma <= 1:
            raise ValueError(f"sigma={self.sigma!r}: give a number above 0, at most 1")
        if not 0 < self.tolerance < float("inf"):
            raise ValueError(f"tolerance={self.tolerance!r}: give a positive number")
        qp.check_backend(self.backend)

    @property
    def follows_ray(self) -> bool:
        """True: the losses are brought onto the ray."""
        return True

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
        l, C, r = (x.detach().cpu().double().numpy() for x in (losses, gramian, preference))
        qp.check_finite_gramian("PMGDA", losses=l, Gramian=C)
        u = ray(r)
        u = u / np.linalg.norm(u, axis=-1, keepdims=True)
        weights, codes = np.empty_like(l), np.zeros(l.shape[:-1], dtype=np.int64)
        for p in np.ndindex(l.shape[:-1]):
            weights[p], codes[p] = self._weigh((C[p] + C[p].T) / 2, l[p] - (l[p] @ u[p]) * u[p])
        status = Status(torch.as_tensor(codes), torch.as_tensor(sine_off_ray(l, u)))
        return torch.from_numpy(weights).to(losses.device), state, status

    def _weigh(self, C: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, int]:
        h = np.linalg.norm(across)
        if h >= self.tolerance:
            towards = across / h
            squared, terms = towards @ C @ towards, np.abs(towards) @ np.sqrt(C.diagonal().clip(0))
            if squared > (FLAT * terms) ** 2:
                return self._correct(C, towards / np.sqrt(squared))
        w, code = qp.min_norm(C, self.backend)
        return w, Code.STATIONARY if qp.vanishes(w, C) else int(code)

    def _correct(self, C: np.ndarray, towards: np.ndarray) -> tuple[np.ndarray, int]:
        """Return the weights of a correction; `towards` are those of g_h / |g_h|."""
        norms = np.sqrt(C.diagonal().clip(0))
        present = np.flatnonzero(norms > 0)
        units = np.vstack([np.eye(len(C))[present] / norms[present, None], towards])
        cosines = units @ C @ units.T
        rows, scales, near = cosines[:-1], norms[present].min() / norms[present], cosines[-1]
        solvers = [largest_rate, qp.largest_rate]
        for k, solve in enumerate(solvers if self.backend == "auto" else solvers[::-1]):
            shares = solve(rows, scales, near, self.sigma)
            if shares is not None:
                return shares @ units, Code.FELL_BACK if k else Code.SOLVED
        return qp.min_norm(C)[0], Code.FELL_BACK


def largest_rate(
    rows: Float[np.ndarray, "m k"], scales: Float[np.ndarray, " m"], near: Float[np.ndarray, " k"], least: float
) -> Float[np.ndarray, " k"] | None:
    """Return the shares mu on the simplex with the largest t; None where rounding leaves no answer.

    t is bound by rows mu >= scales t, near' mu >= least. The last share alone is feasible: its `near` is 1.

    The method is the simplex method on a dictionary: each row has a variable's value and its slopes in the k variables
    that are 0, which at first are the other shares and the slack of the row that binds t.
    """
    m, k = rows.shape
    binding = int((rows[:, -1] / scales).argmin())
    values = np.zeros((m, k + 1))  # of rows mu, in the other shares
    values[:, 0], values[:, 1:k] = rows[:, -1], rows[:, :-1] - rows[:, -1:]
    t = values[binding] / scales[binding]
    t[k] = -1 / scales[binding]
    slacks = np.delete(values - scales[:, None] * t, binding, axis=0)
    nearing, last = np.zeros(k + 1), np.zeros(k + 1)
    nearing[0], nearing[1:k] = near[-1] - least, near[:-1] - near[-1]
    last[0], last[1:k] = 1, -1
    table = np.vstack([t, slacks, nearing, last])
    basic, zero = np.append(np.full(m + 1, -1), k - 1), np.append(np.arange(k - 1), -1)  # shares; -1 for others
    for pivot in range(MOST_PIVOTS):
        slopes = table[0, 1:]
        raising = np.flatnonzero(slopes > ROUNDING * max(np.abs(slopes).max(), 1))
        if not len(raising):
            break
        c = int(raising[slopes[raising].argmax() if pivot < STEEPEST else 0]) + 1
        falling = 1 + np.flatnonzero(table[1:, c] < -ROUNDING)
        if not len(falling):
            return None
        r = int(falling[(np.maximum(table[falling, 0], 0) / -table[falling, c]).argmin()])
        entering = -table[r] / table[r, c]
        entering[c] = 1 / table[r, c]
        along = table[:, c].copy()
        table[:, c] = 0
        table += np.outer(along, entering)
        table[r] = entering
        basic[r], zero[c - 1] = zero[c - 1], basic[r]
    else:
        return None
    shares = np.zeros(k)
    shares[basic[basic >= 0]] = table[basic >= 0, 0].clip(0)
    shares = shares / shares.sum()
    return shares if near @ shares >= least - qp.EXACT else None

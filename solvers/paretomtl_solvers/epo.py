"""EPO: exact Pareto optimal search (Mahapatra and Rajan, ICML 2020), by the linear program of the authors' release.

Notation: m losses l, preference r (simplex), Gramian C of the gradients, lhat_j = r_j l_j / sum_i r_i l_i,
non-uniformity mu = KL(lhat || 1/m), anchor a_j = r_j (log(m lhat_j) - mu); J' a is the gradient of mu up to a positive
factor, and a' l = 0. While mu > eps a step balances: it lowers mu as fast as it can while the worst objective does not
rise. Else it descends: it lowers all losses as far as it can without undoing the balance.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.preference import raise_to_floor
from paretomtl.solver import Closure, Confidence, Status, Sweep, Weighting, status_of
from paretomtl_solvers import qp
from paretomtl_solvers.heads import Heads, check_heads, format_method
from paretomtl_solvers.polish import polish

EXACT_EPS, NOISY_EPS = 1e-8, 1e-4  # the default eps: for exact losses, for losses of a batch
TIE = 1e-9  # relative: objectives this close to the worst are all worst


@dataclass(frozen=True)
class EPO(Weighting):
    """Exact Pareto optimal search: reaches the front where r_i l_i is equal over i.

    Args:
        eps: the non-uniformity mu at which a step turns from balancing to descent; dimensionless. It sets how close the
            points come to the ray: mu is quadratic in the error, 4e-7 is .05 degrees at the diagonal. By default 1e-8
            on deterministic problems and 1e-4 (the published value) on noisy ones.
        backend: "auto" is the closed form at m = 2 and cvxpy above; "cvxpy" forces cvxpy.
        heads: "plain" leaves a parameter that only one loss depends on to that loss's plain gradient. "weighted", as in
            the released code, counts it as shared: its gradient takes the loss's weight, and the Gramian holds it.

    The weights (*points, m) are on the simplex, without the factor m that the released code multiplies by. `Status`:
    "relaxed" where the restricted descent is infeasible (m >= 3 only) and the relaxed one was solved; "fell back" where
    no solver answered and min-norm weights stand in; residual max(mu - eps, 0).

    Raises:
        ValueError: a loss is negative, or losses or Gramian are not finite.
    """

    eps: float | None = None
    backend: qp.Backend = "auto"
    heads: Heads = "plain"
    from_ideal: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"
    preference_means: ClassVar[str] = "ray"
    cost: ClassVar[str] = "m backward passes, memory m n; above m = 2 a linear program"
    head_gradient: ClassVar[str] = "plain, or weighted (`heads`)"

    def __post_init__(self):
        if self.eps is not None and not 0 < self.eps < 1:
            raise ValueError(f"eps={self.eps!r}: give a number between 0 and 1, or None")
        check_heads(self.heads)
        qp.check_backend(self.backend)

    def __repr__(self) -> str:
        return format_method(self)

    @property
    def follows_ray(self) -> bool:
        """True: EPO promises r_i l_i equal over i."""
        return True

    @property
    def nonnegative(self) -> bool:
        """True: the anchor takes logarithms of r_i l_i."""
        return True

    @property
    def weighs_heads(self) -> bool:
        """Whether heads count as shared."""
        return self.heads == "weighted"

    def init(self, sweep: Sweep) -> Float[Tensor, "*points"]:
        """Return each point's eps."""
        if sweep.preferences.shape[-1] > 2 or self.backend == "cvxpy":
            qp.check_installed()
        eps = self.eps or (EXACT_EPS if sweep.deterministic else NOISY_EPS)
        return torch.full(sweep.points.shape, eps, dtype=torch.float64)

    def update(
        self,
        state: Float[Tensor, "*points"] | None,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Float[Tensor, "*points"] | None, Status]:
        """Return the weights, the unchanged state and the status."""
        l, C, r = (_array(x) for x in (losses, gramian, preference))
        qp.check_finite_gramian("EPO", losses=l, Gramian=C)
        if (l < 0).any():
            raise ValueError(f"EPO needs losses of at least 0 and got {l.tolist()}; shift them, or use Linear")
        r = raise_to_floor(r)
        eps = np.broadcast_to((self.eps or EXACT_EPS) if state is None else _array(state), l.shape[:-1])
        mu, a = anchor(l, r)
        if l.shape[-1] == 2 and self.backend == "auto":
            alpha, code = _closed_form(l, C, r, a, mu > eps)
        else:
            alpha, code = np.empty_like(l), np.empty(l.shape[:-1], dtype=np.int64)
            for p in np.ndindex(l.shape[:-1]):
                alpha[p], code[p] = _programs(l[p], C[p], r[p], a[p], bool(mu[p] > eps[p]))
        code = np.where(qp.vanishes(alpha, C), Code.STATIONARY, code)
        status = Status(torch.as_tensor(code), torch.as_tensor(np.maximum(mu - eps, 0)))
        return torch.from_numpy(alpha).to(losses.device), state, status

    def finish(self, closure: Closure, state: Float[Tensor, "*points"], preference: Float[Tensor, " m"]) -> Status:
        """Polish a point, and return whether the ray meets the front."""
        eps, r = float(state), raise_to_floor(_array(preference))
        code = polish(closure, r) if closure.gradients().jacobian.any() else Code.STATIONARY
        mu = float(anchor(_array(closure()), r)[0])
        return status_of(code, max(mu - eps, 0.0))


def anchor(
    l: Float[np.ndarray, "*points m"], r: Float[np.ndarray, "*points m"]
) -> tuple[Float[np.ndarray, "*points"], Float[np.ndarray, "*points m"]]:
    """Return the non-uniformity mu and the anchor a; lhat = 0 has its logarithm clipped at log(m 1e-12)."""
    m = l.shape[-1]
    rl = r * l
    total = rl.sum(axis=-1, keepdims=True)
    lhat = np.where(total > 0, rl / np.where(total > 0, total, 1), 1 / m)  # all losses zero: nothing to balance
    logs = np.log(m * np.maximum(lhat, 1e-12))
    mu = np.asarray(np.maximum((lhat * logs).sum(axis=-1), 0))
    deviation = logs - mu[..., None]
    beyond_rounding = np.abs(deviation).max(axis=-1, keepdims=True) > 1e-13  # else it is no direction
    return mu, r * np.where(beyond_rounding, deviation, 0)


def _closed_form(l, C, r, a, balance):
    """Solve the linear programs at m = 2, for any number of points: an end of the segment, or a breakpoint, is optimal.

    Write i for the worse objective, k for the other, alpha = t e_i + (1 - t) e_k, q = C a; then a_i > 0 > a_k.
    """
    rl = r * l
    i = (rl[..., 1] > rl[..., 0]).astype(np.int64)
    q = np.einsum("...ij,...j->...i", C, a)
    first = np.arange(2) == i[..., None]  # the worse objective's place
    q_i, q_k = np.where(first, q, 0).sum(-1), np.where(first, 0, q).sum(-1)
    c_kk = np.where(i == 0, C[..., 1, 1], C[..., 0, 0])
    c_11, c_22, c_ik = C[..., 0, 0], C[..., 1, 1], C[..., 0, 1]

    # balance: the end with the larger q, unless objective k, already improving too fast, binds first
    gap = c_kk - c_ik
    bound = (c_kk - q_k) / np.where(gap > 0, gap, 1)
    t_i = np.where((q_i > 0) & (q_k <= 0), np.where(c_ik >= q_k, 1.0, bound), (q_i >= q_k).astype(np.float64))
    t_balance = np.where(i == 0, t_i, 1 - t_i)

    # descent: the end of [lo, hi], where no loss rises and mu does not either, with the larger sum of C alpha
    opposed = c_ik < 0
    lo = np.where(opposed, -c_ik / np.where(opposed, c_11 - c_ik, 1), 0.0)
    hi = np.where(opposed, c_22 / np.where(opposed, c_22 - c_ik, 1), 1.0)
    s = q[..., 0] - q[..., 1]
    cut = (np.minimum(0, q.max(axis=-1)) - q[..., 1]) / np.where(s == 0, 1, s)
    lo, hi = np.where(s > 0, np.maximum(lo, cut), lo), np.where(s < 0, np.minimum(hi, cut), hi)
    t_descent = np.where(c_11 > c_22, hi, np.where(c_11 < c_22, lo, (lo + hi) / 2))

    t = np.clip(np.where(balance, t_balance, t_descent), 0, 1)
    return np.stack([t, 1 - t], axis=-1), np.zeros(balance.shape, dtype=np.int64)


def _programs(l, C, r, a, balance: bool) -> tuple[np.ndarray, Code]:
    """Solve one point's linear program, for any m, through cvxpy."""
    scale = qp.scale_of(C)
    if scale == 0:
        return r, Code.STATIONARY
    C = C / scale
    q = C @ a
    try:
        if balance:
            rising = q > 0
            bounds = np.where(rising, -np.inf, q) if rising.any() else np.zeros_like(q)
            bounds[r * l >= (1 - TIE) * (r * l).max()] = 0  # the worst one never rises
            return qp.simplex_lp(q, C, bounds), Code.SOLVED
        bounds = np.zeros_like(q)
        try:
            restricted = np.append(bounds, min(0.0, q.max()))
            return qp.simplex_lp(C.sum(axis=0), np.vstack([C, q]), restricted), Code.SOLVED
        except qp.InfeasibleError:
            return qp.simplex_lp(C.sum(axis=0), C, bounds), Code.RELAXED
    except (qp.ProgramError, qp.InfeasibleError):
        return qp.min_norm(C)[0], Code.FELL_BACK


def _array(x: Tensor) -> np.ndarray:
    return x.detach().cpu().double().numpy()

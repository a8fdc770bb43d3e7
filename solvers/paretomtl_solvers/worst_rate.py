"""The largest worst rate within a ball: the program of CAGrad and IMGrad, and of ConicGrad across its axis.

With rates b_i at the ball's centre, a radius s and the Gramian C of the gradients g_i, the primal and its dual are

    max over |y| <= s of min_i (b_i + g_i' y)   =   min over w in the simplex of w' b + s |sum_i w_i g_i|.

y is s times the unit vector of sum_i w_i g_i. Where that sum vanishes w does not tell y; then it is the shortest y that
reaches the optimum. Either way y = sum_i z_i g_i with z >= 0.

On the plane of some gradients the dual has a closed form. At m = 2 it is the answer, clipped to the simplex. Else
gradients with negative weights are left out until there are none, which ends at the answer more often than not. Where
it does not, non-negative least squares finds the shortest y that reaches an upper bound of the optimum; its z, on the
simplex, is a w with a lower bound: Newton's method, whose bounds fall to the optimum.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.autograd.hull import least_distance, least_norm
from paretomtl.point import Code
from paretomtl_solvers import qp

MOST_STEPS = 50
INSIDE = 1e-10  # how far beyond the ball, relative to its radius, a vector is in it
UNMET = 1e-9  # the number beside the multipliers below which no y meets the rates, to rounding
TIE = 1e-12  # relative: rates this close to the least are all least


class WorstRate(NamedTuple):
    """The dual's weights on the simplex, whether their gradients' sum vanishes, the multipliers z >= 0 of y, a code."""

    weights: Float[np.ndarray, " m"]
    vanishes: bool
    multipliers: Float[np.ndarray, " m"]
    code: Code


def largest_worst_rate(
    C: Float[np.ndarray, "m m"], b: Float[np.ndarray, " m"], radius: float, backend: qp.Backend = "auto"
) -> WorstRate:
    """Solve the program; equal gradients get equal weights.

    C is symmetric and of order 1. "fell back" says that the first solver's answer failed the check, and the other's
    stands in; where that fails, too, the ball's centre does: y = 0.
    """
    if radius <= 0:
        w = _least_on_face(C, b)
        return WorstRate(w, _Dual(C, b, radius).vanishes(w), np.zeros(len(b)), Code.SOLVED)
    dual = _Dual(C, b, radius)
    if len(b) == 2 and backend == "auto":
        w = _of_two(C, b, radius)
        if not dual.vanishes(w):
            return WorstRate(w, False, w * (radius / _length(C, w)), Code.SOLVED)
    solvers = [(dual.solve, qp.EXACT), (lambda: qp.linear_plus_norm(C, b, radius), qp.CONVEX)]
    for k, (solve, allowed) in enumerate(solvers if backend == "auto" else solvers[::-1]):
        w = solve()
        if w is None:
            continue
        vanishes = dual.vanishes(w)
        if not vanishes:
            w = qp.average_twins(C, w)
            z, off = w * (radius / _length(C, w)), dual.residual(w)
        else:
            exact = allowed == qp.EXACT
            z, off = dual.shortest(
                float(b @ w), TIE * dual.sizes if exact else np.full(len(b), allowed * dual.sizes.max())
            )
            w, z = qp.average_twins(C, w), qp.average_twins(C, z)
        if off <= allowed:
            return WorstRate(w, vanishes, z, Code.FELL_BACK if k else Code.SOLVED)
    return WorstRate(np.full(len(b), 1 / len(b)), True, np.zeros(len(b)), Code.FELL_BACK)


class _Dual:
    """The dual, and what its solution is checked against."""

    def __init__(self, C: np.ndarray, b: np.ndarray, radius: float):
        self.C, self.b, self.radius = C, b, radius
        self.lengths = np.sqrt(C.diagonal().clip(0))
        self.sizes = np.abs(b) + radius * self.lengths  # the terms that add up to a rate

    def solve(self) -> np.ndarray | None:
        """Return the dual's weights."""
        if len(self.b) == 2:
            return _of_two(self.C, self.b, self.radius)
        support = np.arange(len(self.b))
        while len(support):
            on_plane = _on_plane(self.C[support[:, None], support], self.b[support], self.radius)
            if on_plane is None:
                break
            if on_plane.min() >= 0:
                w = self._spread(on_plane, support)
                if self.vanishes(w) or self.residual(w) > qp.EXACT / 10:
                    break
                return w
            support = support[on_plane > 0]
        return self._newton()

    def _newton(self) -> np.ndarray | None:
        """Return the dual's weights by Newton's method on the upper bound of the optimum."""
        ends = self.b + self.radius * self.lengths
        bound, w = float(ends.min()), np.eye(len(ends))[ends.argmin()]
        for _ in range(MOST_STEPS):
            answer = least_distance(self.C, (bound - self.b) / self.radius)
            if answer is None or not answer[0].any():
                return w
            x, t = answer
            lower = self._better(w, x / x.sum())
            if t > UNMET and _length(self.C, x) <= t * (1 + INSIDE):
                return lower
            support = np.flatnonzero(x > 0)
            on_plane = _on_plane(self.C[support[:, None], support], self.b[support], self.radius)
            if on_plane is not None and on_plane.min() >= 0:
                lower = self._better(lower, self._spread(on_plane, support))
            value = self.value(lower)
            if self.vanishes(lower):  # whatever rounding left of the sum is no part of the bound
                value = float(self.b @ lower) - TIE * float(ends.max() - ends.min())
            elif self.residual(lower) <= qp.EXACT / 10:
                return lower
            if not value < bound:
                return lower
            bound, w = value, lower
        return w

    def shortest(self, optimum: float, slack: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the multipliers of the shortest y that reaches the optimum, and how far it is beyond the ball."""
        answer = least_distance(self.C, (optimum - slack - self.b) / self.radius)
        if answer is None or answer[1] <= UNMET:
            return np.zeros_like(self.b), np.inf
        x, t = answer
        return x * (self.radius / t), max(_length(self.C, x) / t - 1 - qp.VANISHED, 0.0)

    def residual(self, w: np.ndarray) -> float:
        """Return how far a rate is below the weights' mean rate, relative to the terms that add up to either.

        It is for weights whose gradients' sum does not vanish.
        """
        rates = self.b + self.C @ w * (self.radius / _length(self.C, w))
        return float(((w @ rates - rates) / np.maximum(self.sizes + w @ self.sizes, 1e-300)).max())

    def value(self, w: np.ndarray) -> float:
        """Return the dual's value."""
        return float(self.b @ w) + self.radius * _length(self.C, w)

    def vanishes(self, w: np.ndarray) -> bool:
        """Return whether the gradients' sum is zero, to rounding, beside the terms that add up to it."""
        return _length(self.C, w) <= qp.VANISHED * float(w @ self.lengths)

    def _better(self, w: np.ndarray, other: np.ndarray) -> np.ndarray:
        return other if self.value(other) <= self.value(w) else w

    def _spread(self, weights: np.ndarray, support: np.ndarray) -> np.ndarray:
        w = np.zeros_like(self.b)
        w[support] = weights
        return w


def _of_two(C: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """Return the dual's weights at m = 2.

    Each weight has its own formula, so that rounding does not lose the small weight of a large gradient.
    """
    (c_11, c_12), (_, c_22) = C.tolist()
    first, second = c_22 - c_12, c_11 - c_12
    apart = first + second  # |g_1 - g_2|^2
    if apart <= qp.TWINS * max(c_11, c_22):
        return np.full(2, 0.5)
    slant = float(b[1] - b[0]) / radius / sqrt(apart)
    if abs(slant) >= 1:
        return np.array([1.0, 0.0] if slant > 0 else [0.0, 1.0])
    height = sqrt(max(c_11 * c_22 - c_12 * c_12, 0) / apart)  # of the plane through both over zero
    shift = height * slant / sqrt((1 - slant * slant) * apart)
    ends = [max(first / apart + shift, 0.0), max(second / apart - shift, 0.0)]
    total = sum(ends)
    return np.array([end / total for end in ends])


def _on_plane(C: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray | None:
    """Return the dual's minimiser over all w with sum 1, of any sign; None where there is none, or it is not unique.

    The plane is spanned from the shortest gradient, which keeps the accuracy of small weights of large gradients.
    """
    if len(b) == 1:
        return np.ones(1)
    squares = C.diagonal()
    base = int(squares.argmin())
    rest = np.flatnonzero(np.arange(len(b)) != base)
    row = C[base, rest]
    spans = C[rest[:, None], rest] - row[:, None] - row + squares[base]
    sizes = np.sqrt(spans.diagonal().clip(0))
    if sizes.min() <= sqrt(qp.TWINS * squares.max()):
        return None
    right = np.stack([(squares[base] - row) / sizes, (b[base] - b[rest]) / sizes], axis=1)
    try:
        solved = np.linalg.solve(spans / (sizes[:, None] * sizes), right)
    except np.linalg.LinAlgError:
        return None
    slant = float(solved[:, 1] @ right[:, 1])  # the squared share of the ball that evens the rates out
    if not 0 <= slant < radius**2:
        return None
    nearest, along = solved.T / sizes
    foot, way = np.empty_like(b), np.empty_like(b)
    foot[rest], way[rest] = nearest, along
    foot[base], way[base] = 1 - nearest.sum(), -along.sum()
    return foot + way * (_length(C, foot) / sqrt(radius**2 - slant))


def _least_on_face(C: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the weights in a ball of radius 0: of the least rates, the min-norm point of their gradients."""
    face = np.flatnonzero(b <= b.min() + TIE * np.abs(b).max())
    w = np.zeros_like(b)
    least = least_norm(C[np.ix_(face, face)]) if len(face) > 1 else np.ones(1)
    w[face] = 1 / len(face) if least is None else least
    return qp.average_twins(C, w)


def _length(C: np.ndarray, w: np.ndarray) -> float:
    return sqrt(max(float(w @ C @ w), 0.0))

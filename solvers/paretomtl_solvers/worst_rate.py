"""The largest worst rate within a ball: the program of CAGrad and IMGrad, and of ConicGrad across its axis.

With rates b_i at the ball's centre, a radius s and the Gramian C of the gradients g_i, the primal and its dual are

    max over |y| <= s of min_i (b_i + g_i' y)   =   min over w in the simplex of w' b + s |sum_i w_i g_i|.

y is s times the unit vector of sum_i w_i g_i. Where that sum vanishes w does not tell y; then it is the shortest y that
reaches the optimum. Either way y = sum_i z_i g_i with z >= 0.

On the plane of some gradients the dual has a closed form, which is all there is to do at m = 2 and where no weight is
zero. Else non-negative least squares finds the shortest y that reaches an upper bound of the optimum. Its z, on the
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
    """The dual's weights on the simplex, the multipliers z >= 0 of y, and a code."""

    weights: Float[np.ndarray, " m"]
    multipliers: Float[np.ndarray, " m"]
    code: Code


def largest_worst_rate(
    C: Float[np.ndarray, "m m"], b: Float[np.ndarray, " m"], radius: float, backend: qp.Backend = "auto"
) -> WorstRate:
    """Solve the program; equal gradients get equal weights.

    C is symmetric and of order 1. "fell back" says that the first solver's answer failed the check, and the other's
    stands in.

    Raises:
        ProgramError: no solver's answer passes the check.
    """
    if radius <= 0:
        return WorstRate(_least_on_face(C, b), np.zeros(len(b)), Code.SOLVED)
    solvers = [(_solve_exactly, qp.EXACT), (_solve_with_cvxpy, qp.CONVEX)]
    for k, (solve, allowed) in enumerate(solvers if backend == "auto" else solvers[::-1]):
        w = solve(C, b, radius)
        if w is None:
            continue
        length = _length(C, w)
        if length > qp.VANISHED * sqrt(C.diagonal().max()):
            z, off = w * (radius / length), kkt_residual(C, b, radius, w)
        else:
            z, off = _shortest(C, b, radius, float(b @ w))
        if off <= allowed:
            return WorstRate(qp.average_twins(C, w), qp.average_twins(C, z), Code.FELL_BACK if k else Code.SOLVED)
    raise qp.ProgramError(f"no solver found the largest worst rate of the Gramian {C.tolist()} and rates {b.tolist()}")


def kkt_residual(
    C: Float[np.ndarray, "m m"], b: Float[np.ndarray, " m"], radius: float, w: Float[np.ndarray, " m"]
) -> float:
    """Return how far a rate is below the weights' mean rate, relative to the terms that add up to either.

    It is for weights whose gradients' sum does not vanish.
    """
    rates = b + C @ w * (radius / _length(C, w))
    sizes = np.abs(b) + radius * np.sqrt(C.diagonal().clip(0))
    return float(((w @ rates - rates) / np.maximum(sizes + w @ sizes, 1e-300)).max())


def _solve_exactly(C: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray | None:
    if len(b) == 2:
        return _of_two(C, b, radius)
    w = _on_plane(C, b, radius)
    return w if w is not None and w.min() > 0 else _of_many(C, b, radius)


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


def _of_many(C: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray | None:
    """Return the dual's weights at any m, by Newton's method on the upper bound of the optimum."""
    ends = b + radius * np.sqrt(C.diagonal().clip(0))
    bound, w = float(ends.min()), np.eye(len(b))[ends.argmin()]
    vanished = qp.VANISHED * sqrt(C.diagonal().max())
    for _ in range(MOST_STEPS):
        answer = least_distance(C, (bound - b) / radius)
        if answer is None or not answer[0].any():
            return w
        x, t = answer
        lower = _better(C, b, radius, w, x / x.sum())
        if t > UNMET and _length(C, x) <= t * (1 + INSIDE):
            return lower
        support = np.flatnonzero(x > 0)
        on_plane = _on_plane(C[np.ix_(support, support)], b[support], radius)
        if on_plane is not None and on_plane.min() >= 0:
            spread = np.zeros_like(b)
            spread[support] = on_plane
            lower = _better(C, b, radius, lower, spread)
        value, vanishes = _value(C, b, radius, lower), _length(C, lower) <= vanished
        if vanishes:  # whatever rounding left of the sum is no part of the bound
            value = float(b @ lower) - TIE * float(ends.max() - ends.min())
        elif kkt_residual(C, b, radius, lower) <= qp.EXACT / 10:
            return lower
        if not value < bound:
            return lower
        bound, w = value, lower
    return w


def _on_plane(C: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray | None:
    """Return the dual's minimiser over all w with sum 1, of any sign; None where there is none, or it is not unique.

    The plane is spanned from the shortest gradient, which keeps the accuracy of small weights of large gradients.
    """
    if len(b) == 1:
        return np.ones(1)
    base = int(C.diagonal().argmin())
    rest = np.delete(np.arange(len(b)), base)
    row = C[base, rest]
    spans = C[np.ix_(rest, rest)] - row[:, None] - row + C[base, base]
    squares = spans.diagonal()
    if squares.min() <= qp.TWINS * C.diagonal().max():
        return None
    sizes = np.sqrt(squares)
    right = np.stack([(C[base, base] - row) / sizes, (b[base] - b[rest]) / sizes], axis=1)
    try:
        solved = np.linalg.solve(spans / np.outer(sizes, sizes), right)
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


def _shortest(C: np.ndarray, b: np.ndarray, radius: float, optimum: float) -> tuple[np.ndarray, float]:
    """Return the multipliers of the shortest y that reaches the optimum, and how far it is beyond the ball."""
    sizes = np.abs(b) + radius * np.sqrt(C.diagonal().clip(0))
    answer = least_distance(C, (optimum - TIE * sizes - b) / radius)
    if answer is None or answer[1] <= UNMET:
        return np.zeros_like(b), np.inf
    x, t = answer
    return x * (radius / t), max(_length(C, x) / t - 1 - qp.VANISHED, 0.0)


def _least_on_face(C: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the weights in a ball of radius 0: of the least rates, the min-norm point of their gradients."""
    face = np.flatnonzero(b <= b.min() + TIE * np.abs(b).max())
    w = np.zeros_like(b)
    least = least_norm(C[np.ix_(face, face)]) if len(face) > 1 else np.ones(1)
    w[face] = 1 / len(face) if least is None else least
    return qp.average_twins(C, w)


def _solve_with_cvxpy(C: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray | None:
    return qp.linear_plus_norm(C, b, radius)


def _better(C: np.ndarray, b: np.ndarray, radius: float, w: np.ndarray, other: np.ndarray) -> np.ndarray:
    return other if _value(C, b, radius, other) <= _value(C, b, radius, w) else w


def _value(C: np.ndarray, b: np.ndarray, radius: float, w: np.ndarray) -> float:
    return float(b @ w) + radius * _length(C, w)


def _length(C: np.ndarray, w: np.ndarray) -> float:
    return sqrt(max(float(w @ C @ w), 0.0))

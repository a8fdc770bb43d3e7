"""The quadratic and linear programs of the methods, each written once.

All take a Gramian C (m, m), or what belongs to it, in float64 numpy. They scale it by its largest diagonal entry,
because general solvers answer wrongly, with status "optimal", on Gramians far from 1; and they check the answer
afterwards, because a solver's own status is not to be trusted alone.
"""

import warnings
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

FEASIBLE = 1e-6  # how far a checked answer may be outside a scaled constraint
FREE = -2.0  # a bound that no row of a scaled program can reach; -inf in a parameter breaks solvers
TIME_LIMIT = 10.0  # seconds, for a program that takes a millisecond


class Failed(Exception):
    """No solver gave an answer that passes the check."""


class Infeasible(Exception):
    """The program has no solution."""


def scale_of(gramian: Float[np.ndarray, "m m"]) -> float:
    """The largest squared gradient norm; 0 where all gradients vanish.

    Raises:
        ValueError: an entry is not finite.
    """
    if not np.isfinite(gramian).all():
        raise ValueError(f"the Gramian is not finite: {gramian.tolist()}")
    return float(np.diagonal(gramian).max())


def min_norm(gramian: Float[np.ndarray, "m m"]) -> Float[np.ndarray, " m"]:
    """Argmin of w' C w over the simplex: the min-norm point of the gradients' convex hull.

    By non-negative least squares on a factor of C, an active-set method: exact, also where gradient norms differ by
    1e4, where interior-point methods are not. With A'A = C, min |A x|^2 + c^2 (1'x - 1)^2 over x >= 0 is x = s w, w the
    answer; c is the smallest norm, and the factor is taken of the cosines, so that small gradients are not lost beside
    large ones. All gradients zero: equal weights.
    """
    from scipy.optimize import nnls

    m = len(gramian)
    scale = scale_of(gramian)
    if scale == 0:
        return np.full(m, 1 / m)
    gramian = (gramian + gramian.T) / (2 * scale)
    norms = np.sqrt(np.diagonal(gramian).clip(0))
    sizes = np.where(norms > 0, norms, 1)
    values, vectors = np.linalg.eigh(gramian / np.outer(sizes, sizes))
    factor = np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T * norms
    one = norms[norms > 0].min()
    x, _ = nnls(np.vstack([factor, np.full((1, m), one)]), np.append(np.zeros(m), one), maxiter=100 * m)
    return x / x.sum()


class _Program(NamedTuple):
    problem: Any  # cvxpy is imported at first use, so its types are not named
    alpha: Any
    objective: Any
    rows: Any
    bounds: Any


@cache
def _program(m: int, k: int) -> _Program:
    """Max c' alpha over the simplex with A alpha >= b, A (k, m), as a parametrised (DPP) cvxpy problem."""
    import cvxpy as cp

    alpha = cp.Variable(m, nonneg=True)
    objective, rows, bounds = cp.Parameter(m), cp.Parameter((k, m)), cp.Parameter(k)
    constraints: Any = [cp.sum(alpha) == 1, rows @ alpha >= bounds]
    problem = cp.Problem(cp.Maximize(objective @ alpha), constraints)
    assert problem.is_dpp()
    return _Program(problem, alpha, objective, rows, bounds)


def simplex_lp(
    objective: Float[np.ndarray, " m"], rows: Float[np.ndarray, "k m"], bounds: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " m"]:
    """Argmax of c' alpha over the simplex, subject to A alpha >= b; rows with b = -inf are free.

    Raises:
        Infeasible: no point of the simplex satisfies the rows.
        Failed: neither Clarabel nor HiGHS gave an answer that passes the check.
    """
    import cvxpy as cp

    if not (np.isfinite(objective).all() and np.isfinite(rows).all() and (bounds < np.inf).all()):
        raise ValueError("the program's objective, rows or bounds are not finite")
    sizes = np.maximum(np.abs(rows).max(axis=1), 1e-300)
    scaled, limits = rows / sizes[:, None], np.maximum(bounds / sizes, FREE)
    program = _program(objective.size, bounds.size)
    program.objective.value = objective / max(np.abs(objective).max(), 1e-300)
    program.rows.value, program.bounds.value = scaled, limits
    # Clarabel first: a third of the time of HiGHS through cvxpy, and 1e-8 close to its exact vertices
    for solver in (cp.CLARABEL, cp.HIGHS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "inaccurate" is judged below, by the answer itself
                program.problem.solve(solver=solver, time_limit=TIME_LIMIT)
        except (cp.SolverError, ValueError):  # cvxpy raises the latter on an unknown status
            continue
        if program.problem.status == cp.INFEASIBLE:
            raise Infeasible
        if program.problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
            continue  # stopped by its time limit, a solver still has a point
        alpha = _on_simplex(program.alpha.value)
        if alpha is not None and (scaled @ alpha >= limits - FEASIBLE).all():
            return alpha
    raise Failed


def _on_simplex(alpha: np.ndarray | None) -> Float[np.ndarray, " m"] | None:
    """The answer with the solver's rounding projected away, or None where it is no such answer."""
    if alpha is None or not np.isfinite(alpha).all() or abs(alpha.sum() - 1) > FEASIBLE or alpha.min() < -FEASIBLE:
        return None
    alpha = np.clip(alpha, 0, None)
    return alpha / alpha.sum()

"""The quadratic and linear programs of the methods, each written once.

All take a Gramian C (m, m), or data that belong to it, in float64 numpy. They scale it by its largest diagonal entry:
on Gramians far from 1 general solvers return wrong answers with status "optimal". They check each answer: a solver's
own status is not to be trusted alone.
"""

import warnings
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from paretomtl.autograd.hull import factorise, least_above, least_norm
from paretomtl.errors import ParetomtlError
from paretomtl.point import Code

FEASIBLE = 1e-6  # how far an accepted answer may be outside a scaled constraint
FREE = -2.0  # a bound below all rows of a scaled program; -inf in a parameter breaks solvers
TIME_LIMIT = 10.0  # seconds, for a program that takes a millisecond
TIGHT = 1e-12  # Clarabel's tolerances where its own are too coarse
EXACT, CONVEX = 1e-9, 1e-6  # the largest KKT residual of an accepted active-set answer, and of an interior-point one
TWINS = 4e-15  # |g_i - g_j|^2 relative to |g_i|^2: below, it is rounding, and the gradients are equal
VANISHED = 1e-7  # a direction's norm relative to the largest gradient's: below, it is zero

Backend = Literal["auto", "cvxpy"]


class ProgramError(ParetomtlError):
    """No solver returned an answer that passes the check."""


class InfeasibleError(ParetomtlError):
    """The program has no solution."""


def check_backend(backend: str) -> None:
    """Raise unless the backend is "auto" or "cvxpy"."""
    if backend not in ("auto", "cvxpy"):
        raise ValueError(f"backend={backend!r} is not one of 'auto', 'cvxpy'")


def check_finite_gramian(method: str, **arrays: np.ndarray) -> None:
    """Raise if an array holds NaN or infinity; the message names the method and the array."""
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{method}: the {name} {values.tolist()} is not finite")


@cache  # cvxpy tries to import every solver that it knows
def check_installed() -> None:
    """Raise if cvxpy finds neither Clarabel nor HiGHS."""
    import cvxpy as cp

    if not {cp.CLARABEL, cp.HIGHS} & set(cp.installed_solvers()):
        raise RuntimeError("cvxpy finds neither Clarabel nor HiGHS; `pip install clarabel highspy` brings them")


def scale_of(gramian: Float[np.ndarray, "m m"]) -> float:
    """Return the largest squared gradient norm; 0 where all gradients vanish.

    Raises:
        ValueError: an entry is not finite.
    """
    if not np.isfinite(gramian).all():
        raise ValueError(f"the Gramian is not finite: {gramian.tolist()}")
    return float(np.diagonal(gramian).max())


def vanishes(weights: Float[np.ndarray, "*points m"], gramian: Float[np.ndarray, "*points m m"]) -> np.ndarray:
    """Return whether the direction of the weights is zero, to rounding, beside the largest gradient; (*points,)."""
    squared = np.einsum("...i,...ij,...j->...", weights, gramian, weights)
    return np.asarray(squared <= VANISHED**2 * np.diagonal(gramian, axis1=-2, axis2=-1).max(axis=-1))


def min_norm(
    gramian: Float[np.ndarray, "*points m m"], backend: Backend = "auto"
) -> tuple[Float[np.ndarray, "*points m"], Int[np.ndarray, "*points"]]:
    """Return the argmin of w' C w over the simplex, the min-norm point of the gradients' hull, and a `Code` per point.

    It is a closed form for two gradients, and non-negative least squares for more. Equal gradients get equal weights,
    and so do all gradients where all vanish. cvxpy solves it where `backend` says so, or where the first answer fails
    the check; then the code is "fell back".

    Raises:
        ValueError: the Gramian is not finite.
        ProgramError: no solver's answer passes the check.
    """
    if not np.isfinite(gramian).all():
        raise ValueError(f"the Gramian is not finite: {gramian.tolist()}")
    points, m = gramian.shape[:-2], gramian.shape[-1]
    if m == 2 and backend == "auto":
        return _min_norm_of_two(gramian), np.zeros(points, dtype=np.int64)
    weights, codes = np.empty((*points, m)), np.zeros(points, dtype=np.int64)
    for p in np.ndindex(points):
        weights[p], codes[p] = _min_norm(gramian[p], backend)
    return weights, codes


def _min_norm_of_two(C: np.ndarray) -> np.ndarray:
    """Return the min-norm point of two gradients, for any number of points.

    Each weight has its own formula, so that rounding does not lose the small weight of a large gradient.
    """
    first, second = C[..., 1, 1] - C[..., 0, 1], C[..., 0, 0] - C[..., 0, 1]
    distance = first + second  # |g_1 - g_2|^2
    both = np.maximum(C[..., 0, 0], C[..., 1, 1])
    ends = np.maximum(np.stack([first, second], axis=-1), 0)
    ends = np.where((distance <= TWINS * both)[..., None], 1.0, ends)
    return ends / ends.sum(axis=-1, keepdims=True)


def _min_norm(gramian: np.ndarray, backend: Backend) -> tuple[np.ndarray, Code]:
    m, scale = len(gramian), gramian.diagonal().max()
    if scale <= 0:
        return np.full(m, 1 / m), Code.SOLVED
    C = (gramian + gramian.T) / (2 * scale)
    solvers = ((least_norm, EXACT), (_solve_clarabel, CONVEX))
    for k, (solve, allowed) in enumerate(solvers if backend == "auto" else solvers[::-1]):
        w = solve(C)
        if w is not None and kkt_residual(C, w) <= allowed:
            return _share_among_twins(C, w), Code.SOLVED if k == 0 else Code.FELL_BACK
    raise ProgramError(f"no solver found the min-norm point of the Gramian {gramian.tolist()}")


def kkt_residual(gramian: Float[np.ndarray, "m m"], w: Float[np.ndarray, " m"]) -> float:
    """Return how far w, on the simplex, is from the minimiser of w' C w, where no slope (C w)_i is below w' C w.

    The residual is half a bound on the excess of w' C w, relative to the largest diagonal entry.
    """
    slopes = gramian @ w
    return float((w @ slopes - slopes.min()) / np.diagonal(gramian).max())


def _share_among_twins(C: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Make the min-norm weights of equal gradients equal; an active-set method gives all to one of them."""
    shared = average_twins(C, w)
    if shared is w:
        return w
    shared = shared / shared.sum()
    return shared if kkt_residual(C, shared) <= max(EXACT, kkt_residual(C, w)) else w


def average_twins(
    gramian: Float[np.ndarray, "*points m m"], w: Float[np.ndarray, "*points m"]
) -> Float[np.ndarray, "*points m"]:
    """Replace the weights of equal gradients by their mean, which leaves the direction unchanged."""
    squares = np.diagonal(gramian, axis1=-2, axis2=-1)
    distances = squares[..., :, None] + squares[..., None, :] - 2 * gramian
    twins = distances <= TWINS * np.maximum(squares[..., :, None], squares[..., None, :])
    twins = twins | np.eye(w.shape[-1], dtype=bool)  # where rounding made a square negative, too
    if np.count_nonzero(twins) == w.size:
        return w
    return (twins @ w[..., None])[..., 0] / twins.sum(axis=-1)


@cache
def _build_least_norm(m: int) -> tuple[Any, Any, Any]:
    """Build min |F w|^2 over the simplex as a parametrised (DPP) cvxpy problem; return the problem, w and F."""
    import cvxpy as cp

    w, factor = cp.Variable(m, nonneg=True), cp.Parameter((m, m))
    constraints: Any = [cp.sum(w) == 1]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(factor @ w)), constraints)
    assert problem.is_dpp()
    return problem, w, factor


def _solve_clarabel(C: np.ndarray) -> np.ndarray | None:
    """Solve with an interior-point solver, through cvxpy."""
    problem, w, factor = _build_least_norm(len(C))
    factor.value = factorise(C)
    return _on_simplex(w.value) if _run_clarabel(problem) else None


def _run_clarabel(problem: Any, **options: float | bool) -> bool:
    """Run Clarabel, and return whether it reports an answer."""
    import cvxpy as cp

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "inaccurate" is judged by the answer itself
            problem.solve(solver=cp.CLARABEL, time_limit=TIME_LIMIT, **options)
    except (cp.SolverError, ValueError):  # cvxpy raises the latter on an unknown status
        return False
    return problem.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)


def least_weights_above(
    cosines: Float[np.ndarray, "m m"], lower: Float[np.ndarray, "rows m"], backend: Backend = "auto"
) -> tuple[Float[np.ndarray, "rows m"], Code]:
    """Return, for each row b, the argmin of v' C v over v >= b, and a `Code` for all rows.

    Its direction is the projection of b's on the dual cone, where no loss rises. The method is non-negative least
    squares. cvxpy solves it where `backend` says so, or where the first answer fails the check; then the code is "fell
    back".

    Args:
        cosines: the Gramian C of gradients of norm 1 or 0.
        lower: at least 0; each row's largest entry is at most 1.

    Raises:
        ProgramError: no solver's answer passes the check.
    """
    solvers = ((least_above, EXACT), (_solve_clarabel_above, CONVEX))
    for k, (solve, allowed) in enumerate(solvers if backend == "auto" else solvers[::-1]):
        v = solve(cosines, lower)
        if v is None:
            continue
        above, slopes = v - lower, v @ cosines
        # NaN is first, so that it stays the largest
        if max(np.abs(above * slopes).sum(axis=1).max(), -above.min(), -slopes.min()) <= allowed:
            return v, Code.SOLVED if k == 0 else Code.FELL_BACK
    raise ProgramError(f"no solver found the projections on the dual cone of the cosines {cosines.tolist()}")


@cache
def _build_above(m: int) -> tuple[Any, Any, Any, Any]:
    """Build min |F v|^2 over v >= b as a parametrised (DPP) cvxpy problem; return the problem, v, F and b."""
    import cvxpy as cp

    v, factor, lower = cp.Variable(m), cp.Parameter((m, m)), cp.Parameter(m)
    constraints: Any = [v >= lower]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(factor @ v)), constraints)
    assert problem.is_dpp()
    return problem, v, factor, lower


def _solve_clarabel_above(C: np.ndarray, lower: np.ndarray) -> np.ndarray | None:
    """Solve with an interior-point solver, through cvxpy; None where one row has no answer."""
    problem, v, factor, bound = _build_above(len(C))
    factor.value, least = factorise(C), np.empty_like(lower)
    for k, row in enumerate(lower):
        bound.value = row
        if not _run_clarabel(problem) or v.value is None:
            return None
        least[k] = np.maximum(v.value, row)
    return least


@cache
def _build_fair(m: int, p: float) -> tuple[Any, Any, Any, Any]:
    """Build min |F w|^2 / 2 - sum_i b_i w_i^(1-p) / (1-p) over w > 0, log w_i at p = 1; return the problem, w, F, b."""
    import cvxpy as cp

    w, factor, shares = cp.Variable(m, pos=True), cp.Parameter((m, m)), cp.Parameter(m, nonneg=True)
    utility = cp.log(w) if p == 1 else cp.power(w, 1 - p) / (1 - p)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(factor @ w) / 2 - shares @ utility))
    assert problem.is_dpp()
    return problem, w, factor, shares


def alpha_fair(
    gramian: Float[np.ndarray, "m m"], p: float, shares: Float[np.ndarray, " m"] | None = None
) -> Float[np.ndarray, " m"]:
    """Return the w > 0 with C w = b w^-p, through cvxpy, to about 1e-4; C must be of order 1.

    The shares b are 1, or given.

    Raises:
        ProgramError: the solver returned no answer.
    """
    problem, w, factor, weighed = _build_fair(len(gramian), p)
    factor.value, weighed.value = factorise(gramian), np.ones(len(gramian)) if shares is None else shares
    if not _run_clarabel(problem) or w.value is None or not (w.value > 0).all():
        raise ProgramError(f"Clarabel found no alpha-fair weights of the Gramian {gramian.tolist()}")
    return w.value


@cache
def _build_linear_plus_norm(m: int) -> tuple[Any, Any, Any, Any]:
    """Build min b'w + |F w| over the simplex as a parametrised (DPP) cvxpy problem; return it, w, b and F."""
    import cvxpy as cp

    w, linear, factor = cp.Variable(m, nonneg=True), cp.Parameter(m), cp.Parameter((m, m))
    constraints: Any = [cp.sum(w) == 1]
    problem = cp.Problem(cp.Minimize(linear @ w + cp.norm(factor @ w, 2)), constraints)
    assert problem.is_dpp()
    return problem, w, linear, factor


def linear_plus_norm(
    gramian: Float[np.ndarray, "m m"], linear: Float[np.ndarray, " m"], radius: float
) -> Float[np.ndarray, " m"] | None:
    """Return the argmin of b'w + s sqrt(w'Cw) over the simplex, through cvxpy; None where it returns no answer."""
    size = max(np.abs(linear).max(), radius * np.sqrt(scale_of(gramian)))
    problem, w, b, factor = _build_linear_plus_norm(len(gramian))
    b.value, factor.value = linear / size, factorise(gramian) * (radius / size)
    # the weights are as good as the square root of the optimum, and those of an interior point are never 0
    # from anew: what an earlier program left would be in the last digits of this answer
    solved = _run_clarabel(problem, warm_start=False, tol_gap_abs=TIGHT, tol_gap_rel=TIGHT, tol_feas=TIGHT)
    weights = _on_simplex(w.value) if solved else None
    if weights is None:
        return None
    weights[weights < FEASIBLE] = 0
    return weights / weights.sum()


@cache
def _build_largest_rate(m: int, k: int) -> tuple[Any, Any, Any, Any]:
    """Build max t over the simplex with A mu >= a t, b' mu >= s as a parametrised (DPP) cvxpy problem.

    Return it, its variable (mu, t), and the parameters (A, -a) and (b, -s).
    """
    import cvxpy as cp

    x, rows, near = cp.Variable(k + 1), cp.Parameter((m, k + 1)), cp.Parameter(k + 1)
    constraints: Any = [x[:k] >= 0, cp.sum(x[:k]) == 1, rows @ x >= 0, near[:k] @ x[:k] + near[k] >= 0]
    problem = cp.Problem(cp.Maximize(x[k]), constraints)
    assert problem.is_dpp()
    return problem, x, rows, near


def largest_rate(
    rows: Float[np.ndarray, "m k"], scales: Float[np.ndarray, " m"], near: Float[np.ndarray, " k"], least: float
) -> Float[np.ndarray, " k"] | None:
    """Return the mu on the simplex with the largest t such that rows mu >= scales t and near' mu >= least.

    It is through cvxpy; None where it returns no answer that passes the check.
    """
    problem, x, parameter, bound = _build_largest_rate(*rows.shape)
    parameter.value, bound.value = np.column_stack([rows, -scales]), np.append(near, -least)
    shares = _on_simplex(None if x.value is None else x.value[:-1]) if _run_clarabel(problem) else None
    return shares if shares is not None and near @ shares >= least - FEASIBLE else None


class _Program(NamedTuple):
    problem: Any  # cvxpy is imported at first use, so its types are not named
    alpha: Any
    objective: Any
    rows: Any
    bounds: Any


@cache
def _build_program(m: int, k: int) -> _Program:
    """Build max c' alpha over the simplex with A alpha >= b, A (k, m), as a parametrised (DPP) cvxpy problem."""
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
    """Return the argmax of c' alpha over the simplex, subject to A alpha >= b; rows with b = -inf are free.

    Raises:
        InfeasibleError: no point of the simplex satisfies the rows.
        ProgramError: neither Clarabel nor HiGHS returned an answer that passes the check.
    """
    import cvxpy as cp

    if not (np.isfinite(objective).all() and np.isfinite(rows).all() and (bounds < np.inf).all()):
        raise ValueError("the program's objective, rows or bounds are not finite")
    sizes = np.maximum(np.abs(rows).max(axis=1), 1e-300)
    scaled, limits = rows / sizes[:, None], np.maximum(bounds / sizes, FREE)
    program = _build_program(objective.size, bounds.size)
    program.objective.value = objective / max(np.abs(objective).max(), 1e-300)
    program.rows.value, program.bounds.value = scaled, limits
    # Clarabel first: it takes a third of the time of HiGHS through cvxpy, and its answer is within 1e-8 of the vertex
    for solver in (cp.CLARABEL, cp.HIGHS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "inaccurate" is judged below, by the answer itself
                program.problem.solve(solver=solver, time_limit=TIME_LIMIT)
        except (cp.SolverError, ValueError):  # cvxpy raises the latter on an unknown status
            continue
        if program.problem.status == cp.INFEASIBLE:
            raise InfeasibleError
        if program.problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
            continue  # stopped by its time limit, a solver still has a point
        alpha = _on_simplex(program.alpha.value)
        if alpha is not None and (scaled @ alpha >= limits - FEASIBLE).all():
            return alpha
    raise ProgramError


def _on_simplex(alpha: np.ndarray | None) -> Float[np.ndarray, " m"] | None:
    """Project an answer's rounding away; return None where it is not on the simplex to rounding."""
    if alpha is None or not np.isfinite(alpha).all() or abs(alpha.sum() - 1) > FEASIBLE or alpha.min() < -FEASIBLE:
        return None
    alpha = np.clip(alpha, 0, None)
    return alpha / alpha.sum()

"""The shortest vector of the gradients' hull, within bounds: down it, all losses fall at once."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from paretomtl.autograd.bounds import undone_by_bounds
from paretomtl.autograd.jacobian import gramian_of

ROUNDING = 1e-9  # of the terms of a sum: below, the sum is 0
FARTHEST = 100.0  # how far off a rate may be that binds, in units of |y| and a gradient's norm
MOST_AT_BOUNDS = 256  # parameters at bounds whose losses disagree, that one program takes in


def factorise(gramian: Float[np.ndarray, "k k"]) -> Float[np.ndarray, "k k"]:
    """Return F with F'F = C; eigenvalues that rounding made negative count as zero."""
    values, vectors = np.linalg.eigh(gramian)
    return np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T


def least_norm(
    gramian: Float[np.ndarray, "k k"], in_hull: Bool[np.ndarray, " k"] | None = None
) -> Float[np.ndarray, " k"] | None:
    """Return the w >= 0 of least w' C w whose entries in the hull add up to 1; None if the solver stops early.

    Entries outside of the hull, if there are any, form a cone: nothing limits them from above. The method is
    non-negative least squares on a factor of C. It is an active-set method, exact even where gradient norms differ by
    1e4; interior-point methods go wrong there.

    With A'A = C and h = 1 in the hull, else 0, the x >= 0 of least |A x|² + c² (h'x - 1)² is x = s w, with w the answer
    and c the smallest norm. A comes from the cosines, so that small gradients are not lost beside large ones.
    """
    from scipy.optimize import nnls

    k = len(gramian)
    hull = np.ones(k) if in_hull is None else in_hull.astype(float)
    norms = np.sqrt(np.diagonal(gramian).clip(0))
    if not (norms > 0).any():
        return hull / hull.sum()
    sizes = np.where(norms > 0, norms, 1)
    factor = factorise(gramian / np.outer(sizes, sizes)) * norms
    one = norms[norms > 0].min()
    try:
        x, _ = nnls(np.vstack([factor, one * hull]), np.append(np.zeros(k), one), maxiter=100 * k)
    except RuntimeError:  # too many iterations
        return None
    return x / (hull @ x) if hull @ x > 0 else None


def least_above(
    gramian: Float[np.ndarray, "k k"], lower: Float[np.ndarray, "rows k"]
) -> Float[np.ndarray, "rows k"] | None:
    """Return, for each row b of lower bounds, the v >= b of least v' C v; None if the solver stops early.

    v = b + x, and x is the non-negative least squares answer to A x = -A b with A'A = C. Gradients of very different
    norms are best divided by them before.
    """
    from scipy.optimize import nnls

    factor = factorise(gramian)
    least = lower.copy()
    try:
        for row, right in zip(least, -lower @ factor.T, strict=True):
            row += nnls(factor, right, maxiter=100 * len(gramian))[0]
    except RuntimeError:  # too many iterations
        return None
    return least


def least_distance(
    gramian: Float[np.ndarray, "k k"], rates: Float[np.ndarray, " k"]
) -> tuple[Float[np.ndarray, " k"], float] | None:
    """Return the multipliers of the shortest y with g_i' y >= rates_i for all i, and whether there is one.

    With x the multipliers and t the number beside them, y = sum_i x_i g_i / t. Where t = 0 no y meets the rates: then
    sum_i x_i g_i = 0, while x' rates > 0. None if the solver stops early.

    The method is Lawson and Hanson's least-distance programming: non-negative least squares on a factor of the
    Gramian's cosines with the rates below. It is at its best where |y| is about 1.
    """
    from scipy.optimize import nnls

    k = len(gramian)
    norms = np.sqrt(np.diagonal(gramian).clip(0))
    sizes = np.where(norms > 0, norms, 1)
    factor = factorise(gramian / np.outer(sizes, sizes))
    # a rate far below all others' never binds; as it is, it would coarsen the solver's tolerance
    lowest = np.clip(rates / sizes, -FARTHEST, None)
    lowest[(norms <= 0) & (rates <= 0)] = -FARTHEST  # no y changes this rate, and it is met
    try:
        x, _ = nnls(np.vstack([factor, lowest]), np.append(np.zeros(k), 1.0), maxiter=100 * k)
    except RuntimeError:  # too many iterations
        return None
    return x / sizes, max(1 - float(lowest @ x), 0.0)


def common_descent(
    within: Callable[[Tensor], Tensor],
    parameters: Float[Tensor, " n"],
    rows: Float[Tensor, "k n"],
    kept: Float[Tensor, "a n"] | None = None,
) -> tuple[Float[np.ndarray, " k"], Float[Tensor, " n"]]:
    """Return the weights of the rows and the direction d, steepest where every row is to fall.

    d is the shortest vector of the rows' hull, plus the cone of the rows to keep, plus the normals of the bounds that
    the parameters are at. A short step -d lowers every row at the rate |d|², raises no kept one, and is undone by no
    bound. Where d = 0, no direction does.

    Args:
        within: brings parameters within bounds, as `Closure.within`.
        parameters: the current parameters.
        rows: gradients of what is to fall.
        kept: gradients of what must not rise.
    """
    k = len(rows)
    every = rows if kept is None or not len(kept) else torch.cat([rows, kept])
    undone = undone_by_bounds(within, parameters, every)
    at_bound = undone.any(dim=0)
    agreed = at_bound & (undone | (every == 0)).all(dim=0)
    every = every * ~agreed
    disputed = (at_bound & ~agreed).nonzero()[:, 0]
    generators = every
    if 0 < len(disputed) <= MOST_AT_BOUNDS:
        normals = every.new_zeros(len(disputed), every.shape[1])
        # a step down an undone row leads out of the bounds
        outward = -torch.where(undone, every, 0).sum(dim=0).sign()
        normals[torch.arange(len(disputed)), disputed] = outward[disputed] * every.norm(dim=1).max()
        generators = torch.cat([every, normals])
    in_hull = np.arange(len(generators)) < k
    w = least_norm(gramian_of(generators).cpu().numpy(), in_hull)
    w = in_hull / k if w is None else w
    terms = generators.new_tensor(w)[:, None] * generators
    direction = terms.sum(dim=0)
    # where terms cancel out, what is left is rounding, and would be a step where none is meant
    return w[:k], torch.where(direction.abs() > ROUNDING * terms.abs().sum(dim=0), direction, 0)

"""A front as a surface: its points joined to pieces, and the place of it that comes nearest to what one would like."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from paretomtl.points.preference_map import triangulate

ROUNDING = 1e-9  # relative error of the small systems of equations below
BEND_STEPS = 30  # of the secant method, which takes a handful
ON_LINE = 1e-6  # share of a direction by which a place on a line may be off it


class Meeting(NamedTuple):
    """Where a line from what one would like comes to a front.

    step: the least value of the achievement function, max_i (l_i - start_i) / direction_i, over the front.
    shares: the shares of the front's points that make up the place of that value; they sum to 1.
    is_on_line: whether the place is on the line; if not, the line passes beside the front.
    """

    step: float
    shares: Float[np.ndarray, " n"]
    is_on_line: bool


def achievement(
    losses: Float[np.ndarray, "n m"], start: Float[np.ndarray, " m"], direction: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """Return Wierzbicki's achievement function of losses: below 0 if they are better than `start` in all."""
    return ((losses - start) / direction).max(axis=1)


def join(losses: Float[np.ndarray, "n m"], missed: Float[np.ndarray, "j m"]) -> Int[np.ndarray, "k m"]:
    """Join points, of which none dominates another, to the pieces of a surface: rows of the indices of their ends.

    Seen from a place below all of them, each is in a direction of its own; neighbours are those in these directions.
    Points that cannot be joined (too few or too many, or all on one line) are pieces by themselves.

    Args:
        losses: the points.
        missed: directions of rays from 0 that are known to miss the front: no piece is there.
    """
    n, m = losses.shape
    span = np.ptp(losses, axis=0)
    seen = (losses - losses.min(axis=0)) / np.where(span > 0, span, 1.0)
    total = seen.sum(axis=1, keepdims=True)
    corners = triangulate(seen / total) if n > 1 and total.all() else None
    pieces = np.empty((0, m), dtype=np.int64) if corners is None else corners
    pieces = pieces[~_are_crossed(losses[pieces], missed)]
    alone = np.setdiff1d(np.arange(n), pieces)
    return np.concatenate([pieces, np.repeat(alone[:, None], m, axis=1)])


def _are_crossed(ends: Float[np.ndarray, "k v m"], directions: Float[np.ndarray, "j m"]) -> Bool[np.ndarray, " k"]:
    """Whether any ray from 0 passes through each piece."""
    size = np.abs(ends).max(axis=(1, 2), keepdims=True, initial=1e-300)
    regular = np.abs(np.linalg.det(ends / size)) > ROUNDING**2
    shares = np.linalg.solve(ends[regular].transpose(0, 2, 1), directions.T)
    crossed = np.zeros(len(ends), dtype=bool)
    crossed[regular] = np.any(shares.min(axis=1) > -ROUNDING, axis=1)
    return crossed


def meet(
    losses: Float[np.ndarray, "n m"],
    pieces: Int[np.ndarray, "k m"],
    start: Float[np.ndarray, " m"],
    direction: Float[np.ndarray, " m"],
) -> Meeting:
    """Find the place of a front, straight between its points, where the achievement function is least.

    Args:
        losses: points of the front.
        pieces: how they are joined; see `join`.
        start: what one would like.
        direction: what the misses are measured by, above 0; the line from `start` in it is where all are alike.
    """
    scaled = (losses - start) / direction  # so that the achievement is the largest entry
    ends = scaled[pieces]
    least = ends.min(axis=1).max(axis=1)
    ends, rows = (x[least <= scaled.max(axis=1).min() + ROUNDING] for x in (ends, pieces))
    steps, within = _solve_pieces(ends)
    places = np.einsum("kcv,kvm->kcm", within, ends)
    near = steps <= steps.min() + ROUNDING * (1 + abs(steps.min()))
    k, c = np.unravel_index(np.where(near, places.sum(axis=2), np.inf).argmin(), near.shape)
    shares = np.zeros(len(losses))
    shares[rows[k]] = within[k, c]
    step = float(steps[k, c])
    return Meeting(step, shares, bool((step - places[k, c] <= ON_LINE * (1 + abs(step))).all()))


def bend(
    losses: Float[np.ndarray, "n m"], start: Float[np.ndarray, " m"], direction: Float[np.ndarray, " m"], step: float
) -> float:
    """Return where a line meets a smooth surface through the points of a front, near a step where it meets the pieces.

    The distance from 0 is interpolated over the directions seen from there, by cubic radial functions and a plane.
    Between few points this is much nearer to a smooth front than the pieces are. Where no such place is known, the
    step stays.
    """
    n, m = losses.shape
    span = np.ptp(losses, axis=0)
    scale = np.where(span > 0, span, 1.0)
    distance = (losses / scale).sum(axis=1)
    if n <= m or (distance <= 0).any():
        return step
    seen = losses / scale / distance[:, None]
    system = np.zeros((n + m, n + m))
    system[:n, :n] = np.linalg.norm(seen[:, None] - seen[None], axis=2) ** 3
    system[:n, n:], system[n:, :n] = seen, seen.T  # entries of a direction sum to 1, so the plane has its constant
    weights = np.linalg.lstsq(system, np.concatenate([distance, np.zeros(m)]), rcond=None)[0]

    def excess(t: float) -> float:
        place = (start + t * direction) / scale
        at = place / place.sum()
        known = np.linalg.norm(at - seen, axis=1) ** 3 @ weights[:n] + at @ weights[n:]
        return float(place.sum() - known)

    last, t = step, step - excess(step) / float((direction / scale).sum())
    for _ in range(BEND_STEPS):
        slope = (excess(t) - excess(last)) / (t - last) if t != last else 0.0
        if abs(t - last) <= ROUNDING * (1 + abs(step)) or slope == 0:
            return t
        last, t = t, t - excess(t) / slope
    return step


def _solve_pieces(ends: Float[np.ndarray, "k v m"]) -> tuple[Float[np.ndarray, "k c"], Float[np.ndarray, "k c v"]]:
    """Return candidates for the least largest entry on each piece, and the shares of its ends; inf where there is none.

    It is a linear program in the shares and the step, and its solution is where v of the m + v bounds (an entry is at
    most the step, a share at least 0) hold with equality: there are few, so all are tried.
    """
    k, v, m = ends.shape
    bounds = np.zeros((k, m + v + 1, v + 1))
    bounds[:, :m, :v] = ends.transpose(0, 2, 1)
    bounds[:, :m, v] = -1.0
    bounds[:, m : m + v, :v] = np.eye(v)
    bounds[:, m + v, :v] = 1.0  # shares sum to 1
    choices = np.array([[*rows, m + v] for rows in combinations(range(m + v), v) if rows[0] < m])
    systems = bounds[:, choices]
    size = np.abs(systems).max(axis=(2, 3), keepdims=True)
    regular = np.abs(np.linalg.det(systems / size)) > ROUNDING**2
    goal = np.zeros(v + 1)
    goal[v] = 1.0
    solved = np.full((k, len(choices), v + 1), np.nan)
    solved[regular] = np.linalg.solve(systems[regular], goal[:, None])[..., 0]
    shares, steps = solved[..., :v], solved[..., v]
    with np.errstate(invalid="ignore"):
        places = np.einsum("kcv,kvm->kcm", shares, ends)
        excess = (places - steps[..., None]).max(axis=2)
        feasible = (shares.min(axis=2) >= -ROUNDING) & (excess <= ROUNDING * (1 + np.abs(steps)))
    shares = np.where(feasible[..., None], np.clip(shares, 0.0, 1.0), 0.0)
    return np.where(feasible, steps, np.inf), shares

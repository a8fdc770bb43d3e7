"""The hypervolume's gradient with respect to the losses, by facets (Emmerich and Deutz, "Time complexity and zeros of
the hypervolume indicator gradient field", EVOLVE 2014).

When loss j of a point falls, one face of the point's box moves along axis j. Points with a smaller loss j already
dominate part of that face. The volume of the rest, in the m - 1 other objectives, is the rate at which the hypervolume
grows.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from paretomtl.objective import check_reference
from paretomtl.points.score import check_losses, hypervolume, is_nondominated


def hypervolume_gradient(
    losses: Float[np.ndarray, "n m"], ref_point: Sequence[float] | np.ndarray
) -> Float[np.ndarray, "n m"]:
    """Return the matrix dHV / dl_ij for two objectives or more; no entry is above 0.

    A point that another one dominates, or that does not dominate the reference, has 0. Where points share a loss, the
    hypervolume has one-sided derivatives only: the point of the lower index counts as the smaller one, so the first of
    equal points has the whole derivative and the others have 0.

    Args:
        losses: one row a point.
        ref_point: the hypervolume reference, m numbers in the losses' units.

    Returns:
        One row a point, in the hypervolume's unit over that of loss j. Exact where `score.hypervolume` of m - 1
        objectives is exact.

    Raises:
        ValueError: no point, fewer than two objectives, something not finite, or volumes beyond floating point.
    """
    losses = check_losses(losses)
    m = losses.shape[1]
    if m < 2:
        raise ValueError(f"losses has shape {losses.shape}; give two objectives or more")
    reference = check_reference(ref_point, m)
    with np.errstate(over="ignore", invalid="ignore"):
        gradient = _gradient_of_two(losses, reference) if m == 2 else _gradient_of_many(losses, reference)
    if not np.isfinite(gradient).all():
        raise ValueError(f"the hypervolume gradient up to {reference.tolist()} overflows; scale the losses")
    return gradient


def _gradient_of_two(losses: Float[np.ndarray, "n 2"], reference: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "n 2"]:
    """Return the steps of the staircase: to the left neighbour's second loss, and to the right neighbour's first."""
    order = np.lexsort(losses.T[::-1])  # by the first loss, then the second, then the index
    first, second = losses[order].T
    lowest = np.minimum.accumulate(np.append(reference[1], second))[:-1]  # of the points before
    order = order[(second < lowest) & (first < reference[0])]
    first, second = losses[order].T
    gradient = np.zeros(losses.shape)
    gradient[order, 0] = second - np.append(reference[1], second[:-1])
    gradient[order, 1] = first - np.append(first[1:], reference[0])
    return gradient


def _gradient_of_many(losses: Float[np.ndarray, "n m"], reference: Float[np.ndarray, " m"]) -> Float[np.ndarray, "n m"]:
    gradient = np.zeros(losses.shape)
    front = _front_members(losses, reference)
    for j in range(losses.shape[1]):
        others = np.delete(losses, j, axis=1)
        up_to = np.delete(reference, j)
        order = front[np.argsort(losses[front, j], kind="stable")]
        for k, i in enumerate(order):
            gradient[i, j] = -_exclusive_volume(others[i], others[order[:k]], up_to)
    return gradient


def _front_members(losses: Float[np.ndarray, "n m"], reference: Float[np.ndarray, " m"]) -> Int[np.ndarray, " k"]:
    """Indices of the nondominated points that dominate the reference; of equal points only the first.

    Each of their faces is partly uncovered. All other points have exactly 0, without rounding errors.
    """
    inside = np.flatnonzero((losses < reference).all(axis=1))
    if not len(inside):
        return inside
    members = inside[is_nondominated(losses[inside])]
    _, first = np.unique(losses[members], axis=0, return_index=True)
    return members[np.sort(first)]


def _exclusive_volume(
    corner: Float[np.ndarray, " d"], others: Float[np.ndarray, "k d"], reference: Float[np.ndarray, " d"]
) -> float:
    """Return the volume from a corner up to the reference that no other point dominates; at least 0."""
    box = float(np.prod(reference - corner))
    covered = hypervolume(np.maximum(others, corner), reference) if len(others) else 0.0
    assert covered is not None  # all are inside the reference
    return max(box - covered, 0.0)

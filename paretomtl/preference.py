"""A preference is a point r of the simplex: how much each objective matters.

A larger r_i asks for a smaller loss i; it means nothing else anywhere. Methods convert it:

- weights of a sum: w = r
- the ray on which the loss vector should lie, where r_i l_i is equal over i: ray_i = (1/r_i) / sum(1/r)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

CRITERIA = ("gap", "hypervolume")
FLOOR = 1e-6  # what a zero entry becomes where a method divides by it or takes its logarithm


class Design(NamedTuple):
    """The preferences of a study, notes on how they differ from the requested ones, and whether the design is even."""

    preferences: Float[np.ndarray, "K m"]
    notes: tuple[str, ...]
    even: bool  # then the corners are trained as well, as the ideals


@dataclass(frozen=True)
class Refine:
    """Preferences in rounds: the first round is even, later ones are placed by the losses reached so far.

    With `Linear` this is the adaptive weighted sum. The preferences do not depend on where the points are computed.

    Args:
        start: the number of preferences in the first round, spread over as much of the simplex as `total` would take.
        total: the number of preferences in the end.
        each: the number of preferences in each later round, all computable at once; by default half of `start`. Small
            rounds know more.
        by: where later preferences go. "gap": into the longest steps between neighbours on the front, of losses scaled
            to its range. "hypervolume": where a front straight between neighbours would gain the most.
    """

    start: int
    total: int
    each: int | None = None
    by: Literal["gap", "hypervolume"] = "gap"

    def __post_init__(self):
        for name in ("start", "total", "each"):
            value = getattr(self, name)
            least = 1 if name == "each" else 2
            if (value is not None or name != "each") and (type(value) is not int or value < least):
                raise ValueError(f"Refine({name}={value!r}): give a whole number of at least {least}")
        if self.total <= self.start:
            raise ValueError(
                f"Refine(start={self.start}, total={self.total}): total counts the first ones as well; give more than "
                "start, or preferences=start for an even design"
            )
        if self.by not in CRITERIA:
            raise ValueError(f"Refine(by={self.by!r}): give one of {', '.join(map(repr, CRITERIA))}")

    def next(self, n: int) -> int:
        """Return the number of preferences in the next round, after n."""
        return min(self.each or self.start // 2, self.total - n)

    def first(self, m: int) -> Float[np.ndarray, "K m"]:
        """Return the preferences of the first round."""
        if self.start < m:
            raise ValueError(f"Refine(start={self.start}): give at least {m}, as many as there are objectives")
        return even_design(m, self.start, self.total)


def build_design(preferences: "int | Sequence | np.ndarray | Refine", names: Sequence[str]) -> Design:
    """Check a study's preferences, and lay out the first ones.

    Args:
        preferences: a number, for an even design; a (K, m) array; a list of `{name: number}`; or a `Refine`.
        names: the m objectives.

    Raises:
        ValueError: a row has the wrong length, is negative, all zero or not finite; it names the row and the value.
    """
    m = len(names)
    if isinstance(preferences, Refine):
        return Design(preferences.first(m), (), True)
    if isinstance(preferences, (int, np.integer)) and not isinstance(preferences, bool):
        if preferences < 1:
            raise ValueError(f"preferences={preferences}: give at least 1")
        return Design(even_design(m, int(preferences)), (), True)
    rows, changes, notes = [], [], []
    for k, row in enumerate(_list_rows(preferences, names)):
        rows.append(normalise(row, m, where=f"preferences[{k}]"))
        if not np.allclose(np.asarray(row, dtype=np.float64), rows[-1], rtol=0, atol=1e-9):
            changes.append(f"preferences[{k}] = {np.asarray(row).tolist()}")
    if not rows:
        raise ValueError("preferences is empty: give a number, or at least one preference")
    if changes:
        more = f", nor did {len(changes) - 1} more" if changes[1:] else ""
        notes.append(f"{changes[0]} did not sum to 1{more}; normalised")
    distinct = [row for k, row in enumerate(rows) if not any(is_same(row, other) for other in rows[:k])]
    if len(distinct) < len(rows):
        notes.append(f"{len(rows) - len(distinct)} duplicate preference(s) dropped, {len(distinct)} left")
    return Design(np.stack(distinct), tuple(notes), False)


def normalise(row: Sequence[float] | np.ndarray, m: int, where: str = "preference") -> Float[np.ndarray, " m"]:
    """Check a preference, and return it divided by its sum, in float64."""
    try:
        values = np.asarray(row, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} = {row!r} is not a list of numbers") from error
    if values.ndim == 0:
        raise ValueError(f"{where} = {row!r} is one number; give a list of preferences, such as [[0.3, 0.7]]")
    if values.shape != (m,):
        raise ValueError(f"{where} = {row!r} has shape {values.shape}; give {m} numbers, one an objective")
    if not np.isfinite(values).all():
        raise ValueError(f"{where} = {values.tolist()} is not finite; give finite numbers")
    if (values < 0).any():
        raise ValueError(f"{where} = {values.tolist()} has a negative entry; give numbers of at least 0")
    if not values.any():
        raise ValueError(f"{where} = {values.tolist()} is all zero; at least one objective must matter")
    values = values / values.max()  # first, so that the sum of very large entries does not overflow
    return values / values.sum()


def is_same(row: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> bool:
    """Whether two preferences differ by rounding only."""
    return np.allclose(row, other, rtol=0, atol=1e-12)


def even_design(m: int, K: int, span: int | None = None) -> Float[np.ndarray, "K m"]:
    """Spread K interior points evenly over the simplex, or over as much of it as `span` points would take.

    At m = 2 these are a = k / (K + 1), k = 1..K. Above, a Riesz-energy design, which reaches the boundary, is drawn in
    towards the centre by x -> (p x + 1) / (p + m), where p is the (real) number of divisions at which a lattice has K
    points. The same map takes the even design with corners to a = k / (K + 1) at m = 2.
    """
    if m == 2:
        a = np.arange(1, K + 1) / (K + 1) if span is None else np.linspace(1, span, K) / (span + 1)
        return np.stack([a, 1 - a], axis=1)
    if m > K:
        return np.full((1, m), 1 / m) if K == 1 else even_design(m, m)[:K]
    from pymoo.util.ref_dirs import get_reference_directions

    lattice = np.asarray(get_reference_directions("energy", m, K, seed=1), dtype=np.float64)
    p = _divisions(m, span or K)
    points = (p * lattice + 1) / (p + m)
    return points[np.lexsort(np.round(points, 6).T[::-1])]


def neighbour_distance(m: int, K: int) -> float:
    """Return the distance, in the largest entry, between neighbours of an even design of K preferences."""
    return 1 / (_divisions(m, K) + m)


def raise_to_floor(r: Float[np.ndarray, "*points m"]) -> Float[np.ndarray, "*points m"]:
    """Raise a preference's zero entries to the floor, and divide by the sum."""
    raised = np.maximum(r, FLOOR)
    return raised / raised.sum(axis=-1, keepdims=True)


def ray(r: Float[np.ndarray, "*points m"]) -> Float[np.ndarray, "*points m"]:
    """Return the direction, on the simplex, on which r_i l_i is equal over i."""
    inverse = 1 / raise_to_floor(r)
    return inverse / inverse.sum(axis=-1, keepdims=True)


def control_error(
    losses: Float[np.ndarray, "*points m"], r: Float[np.ndarray, "*points m"]
) -> Float[np.ndarray, "*points"]:
    """Return the angle, in degrees, between a preference's ray and a loss vector."""
    direction = ray(r)
    direction = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    length = np.linalg.norm(losses, axis=-1, keepdims=True)
    unit = losses / np.where(length > 0, length, 1)
    # the chord is accurate at small angles, where the arc cosine of the product is not
    chord = np.where(length[..., 0] > 0, np.linalg.norm(direction - unit, axis=-1), 0)
    return np.asarray(np.degrees(2 * np.arcsin(np.clip(chord / 2, 0, 1))))


def _list_rows(preferences, names: Sequence[str]) -> list:
    if isinstance(preferences, (str, bytes, bool, float, Mapping)) or not hasattr(preferences, "__iter__"):
        raise ValueError(f"preferences={preferences!r}: give a number of preferences, or a list of them")
    rows = []
    for k, row in enumerate(preferences):
        if isinstance(row, Mapping):
            if set(row) != set(names):
                raise ValueError(f"preferences[{k}] has the keys {sorted(map(str, row))}; give {list(names)}")
            row = [row[name] for name in names]
        rows.append(row)
    return rows


def _divisions(m: int, K: int) -> float:
    """Find the real p with binomial(p + m - 1, m - 1) = K, by bisection."""
    low, high = 0.0, float(K)
    for _ in range(60):
        middle = (low + high) / 2
        points = np.prod([(middle + i) / i for i in range(1, m)])
        low, high = (middle, high) if points < K else (low, middle)
    return (low + high) / 2

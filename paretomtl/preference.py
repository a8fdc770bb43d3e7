"""A preference is a point r of the simplex: how much each objective matters.

A larger r_i asks for a smaller loss i, and it has no other meaning anywhere. Methods convert it:

- weights of a sum: w = r
- the ray on which the loss vector should lie, where r_i l_i is equal over i: ray_i = (1/r_i) / sum(1/r)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

CRITERIA = ("gap", "hypervolume")
FLOOR = 1e-6  # of the simplex: what a zero entry becomes where a method divides by it or takes its logarithm


class Design(NamedTuple):
    """The preferences of a study (K, m), and notes on what was changed to get them."""

    preferences: Float[np.ndarray, "K m"]
    notes: tuple[str, ...]
    even: bool  # laid out by us; then the corners are trained apart, as the ideals


@dataclass(frozen=True)
class Refine:
    """Preferences in rounds: the first laid out evenly, the others placed by what the earlier ones have reached.

    With `Linear` this is the adaptive weighted sum. The same preferences follow wherever the points are computed.

    Args:
        start: how many to lay out evenly first, over as much of the simplex as `total` of them would take.
        total: how many there are to be in the end.
        each: how many a round places, all of which can be computed at once; half of `start` by default. Small rounds
            know more.
        by: where the next ones go: "gap", into the longest steps between neighbours on the front, of losses scaled to
            its range; or "hypervolume", where a front straight between neighbours would gain the most.
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
        """How many the next round places, where there are n."""
        return min(self.each or self.start // 2, self.total - n)

    def first(self, m: int) -> Float[np.ndarray, "K m"]:
        """The preferences of the first round."""
        if self.start < m:
            raise ValueError(f"Refine(start={self.start}): give at least {m}, as many as there are objectives")
        return even_design(m, self.start, self.total)


def build_design(given: "int | Sequence | np.ndarray | Refine", names: Sequence[str]) -> Design:
    """The preferences that a study asks for first, checked.

    Args:
        given: a number of them, for an even design; or an (K, m) array; or a list of `{name: number}`; or a `Refine`.
        names: the m objectives.

    Raises:
        ValueError: wrong length, negative, all zero, not finite; with the row and the value.
    """
    m = len(names)
    if isinstance(given, Refine):
        return Design(given.first(m), (), True)
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        if given < 1:
            raise ValueError(f"preferences={given}: give at least 1")
        return Design(even_design(m, int(given)), (), True)
    rows, odd, notes = [], [], []
    for k, row in enumerate(_check_rows(given, names)):
        rows.append(normalise(row, m, where=f"preferences[{k}]"))
        if not np.allclose(np.asarray(row, dtype=np.float64), rows[-1], rtol=0, atol=1e-9):
            odd.append(f"preferences[{k}] = {np.asarray(row).tolist()}")
    if not rows:
        raise ValueError("preferences is empty: give a number, or at least one preference")
    if odd:
        more = f", nor did {len(odd) - 1} more" if odd[1:] else ""
        notes.append(f"{odd[0]} did not sum to 1{more}; normalised")
    kept = [
        row for k, row in enumerate(rows) if not any(np.allclose(row, other, rtol=0, atol=1e-12) for other in rows[:k])
    ]
    if len(kept) < len(rows):
        notes.append(f"{len(rows) - len(kept)} duplicate preference(s) dropped, {len(kept)} left")
    return Design(np.stack(kept), tuple(notes), False)


def normalise(row: Sequence[float] | np.ndarray, m: int, where: str = "preference") -> Float[np.ndarray, " m"]:
    """One preference, checked and divided by its sum, in float64."""
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


def even_design(m: int, K: int, span: int | None = None) -> Float[np.ndarray, "K m"]:
    """K interior points spread evenly over the simplex; over as much of it as `span` points would take, if given.

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
    """How far apart, in their largest entry, neighbours of an even design of K preferences are."""
    return 1 / (_divisions(m, K) + m)


def raise_to_floor(r: Float[np.ndarray, "*points m"]) -> Float[np.ndarray, "*points m"]:
    """The preference with zero entries raised to the floor, on the simplex again."""
    raised = np.maximum(r, FLOOR)
    return raised / raised.sum(axis=-1, keepdims=True)


def ray(r: Float[np.ndarray, "*points m"]) -> Float[np.ndarray, "*points m"]:
    """The direction on which r_i l_i is equal over i, on the simplex."""
    inverse = 1 / raise_to_floor(r)
    return inverse / inverse.sum(axis=-1, keepdims=True)


def control_error(
    losses: Float[np.ndarray, "*points m"], r: Float[np.ndarray, "*points m"]
) -> Float[np.ndarray, "*points"]:
    """The angle, in degrees, between the ray asked for and the loss vector reached."""
    asked = ray(r)
    asked = asked / np.linalg.norm(asked, axis=-1, keepdims=True)
    length = np.linalg.norm(losses, axis=-1, keepdims=True)
    reached = losses / np.where(length > 0, length, 1)
    # the chord is accurate at small angles, where the arc cosine of the product is not
    chord = np.where(length[..., 0] > 0, np.linalg.norm(asked - reached, axis=-1), 0)
    return np.asarray(np.degrees(2 * np.arcsin(np.clip(chord / 2, 0, 1))))


def _check_rows(given, names: Sequence[str]) -> list:
    if isinstance(given, (str, bytes, bool, float, Mapping)) or not hasattr(given, "__iter__"):
        raise ValueError(f"preferences={given!r}: give a number of preferences, or a list of them")
    rows = []
    for k, row in enumerate(given):
        if isinstance(row, Mapping):
            if set(row) != set(names):
                raise ValueError(f"preferences[{k}] has the keys {sorted(map(str, row))}; give {list(names)}")
            row = [row[name] for name in names]
        rows.append(row)
    return rows


def _divisions(m: int, K: int) -> float:
    """The real p with binomial(p + m - 1, m - 1) = K, by bisection."""
    low, high = 0.0, float(K)
    for _ in range(60):
        middle = (low + high) / 2
        points = np.prod([(middle + i) / i for i in range(1, m)])
        low, high = (middle, high) if points < K else (low, middle)
    return (low + high) / 2

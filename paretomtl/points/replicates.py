"""Points that differ by their seed alone: which they are, their means, and the one nearest to a mean."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from paretomtl.point import Point
from paretomtl.preference import control_error


def base_id(point: Point) -> str:
    """The id of a point without its seed."""
    return point.id.removesuffix(f"-seed-{point.seed + 1}")


def group_replicates(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Points by what they have in common: all but the seed."""
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(base_id(point), []).append(point)
    return found


def mean_points(points: Sequence[Point]) -> list[Point]:
    """One point for those alike, at their mean; counts are sums, warnings all of them."""
    return [_mean(id, group) for id, group in group_replicates(points).items()]


def _mean(id: str, group: Sequence[Point]) -> Point:
    first = group[0]
    statuses = {p.status for p in group}
    losses = _mean_by_split([p.losses for p in group])
    return Point(
        id,
        first.preference,
        first.corner,
        losses=losses,
        values=_mean_by_split([p.values for p in group]),
        control_error=None if first.control_error is None else ray_error(losses["validate"], first.preference),
        status=statuses.pop() if len(statuses) == 1 else "mixed",
        counts={name: sum(p.counts.get(name, 0) for p in group) for name in first.counts},
        warnings=tuple(f"{p.id}: {text}" for p in group for text in p.warnings),
        errors=_root_mean_square_by_split([p.errors for p in group]),
    )


def _mean_by_split(found: Sequence[Mapping[str, tuple[float, ...]]]) -> dict[str, tuple[float, ...]]:
    """The means, of the splits that all have."""
    splits = [split for split in found[0] if all(split in numbers for numbers in found)]
    return {s: tuple(np.array([numbers[s] for numbers in found]).mean(axis=0).tolist()) for s in splits}


def _root_mean_square_by_split(found: Sequence[Mapping[str, tuple[float, ...]]]) -> dict[str, tuple[float, ...]]:
    """Of the standard errors that all have; all seeds are measured on the same data, so their mean is no surer."""
    squares = [{split: tuple(e * e for e in row) for split, row in by_split.items()} for by_split in found]
    return {split: tuple(np.sqrt(row).tolist()) for split, row in _mean_by_split(squares).items()}


def nearest_replicate(points: Sequence[Point], mean: Point, split: str) -> Point:
    """Of the points that a mean is of, the one nearest to it, in measures scaled to the points' range."""
    group = group_replicates(points)[mean.id]
    every: Float[np.ndarray, "n m"] = np.array([p.values[split] for p in points], dtype=np.float64)
    span = np.ptp(every, axis=0)
    span[span == 0] = 1
    away = [np.linalg.norm((np.array(p.values[split]) - mean.values[split]) / span) for p in group]
    return group[int(np.argmin(away))]


def ray_error(losses: Any, r: tuple[float, ...]) -> float | None:
    """Degrees off the ray, if one was asked for."""
    return float(control_error(np.array(losses), np.array(r))) if r else None

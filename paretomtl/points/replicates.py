"""Replicates: points that differ only in their seed. Their groups, their means, and the one nearest to a mean."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from paretomtl.normalisation import Normalisation
from paretomtl.point import Point
from paretomtl.preference import control_error


def base_id(point: Point) -> str:
    """Return the id of a point without its seed."""
    return point.id.removesuffix(f"-seed-{point.seed + 1}")


def group_replicates(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Group points that differ only in their seed, by the id without the seed."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(base_id(point), []).append(point)
    return groups


def mean_points(points: Sequence[Point], normalisation: Normalisation | None = None) -> list[Point]:
    """Return one mean point a group; counts are summed, warnings joined."""
    return [_mean_point(id, group, normalisation) for id, group in group_replicates(points).items()]


def _mean_point(id: str, group: Sequence[Point], normalisation: Normalisation | None) -> Point:
    first = group[0]
    units = normalisation if first.corner is None else None
    statuses = {p.status for p in group}
    angles = [p.ray_angle for p in group if p.ray_angle is not None]
    losses = _mean_by_split([p.losses for p in group])
    angle = None if first.control_error is None else ray_error(losses["validate"], first.preference, units)
    return Point(
        id,
        first.preference,
        first.corner,
        losses=losses,
        values=_mean_by_split([p.values for p in group]),
        control_error=angle,
        status=statuses.pop() if len(statuses) == 1 else "mixed",
        counts={name: sum(p.counts.get(name, 0) for p in group) for name in first.counts},
        warnings=tuple(f"{p.id}: {text}" for p in group for text in p.warnings),
        ray_angle=float(np.mean(angles)) if len(angles) == len(group) else None,
        errors=_root_mean_square_by_split([p.errors for p in group]),
    )


def _mean_by_split(by_point: Sequence[Mapping[str, tuple[float, ...]]]) -> dict[str, tuple[float, ...]]:
    """Average the values of the splits that all points have."""
    splits = [split for split in by_point[0] if all(split in values for values in by_point)]
    return {s: tuple(np.array([values[s] for values in by_point]).mean(axis=0).tolist()) for s in splits}


def _root_mean_square_by_split(by_point: Sequence[Mapping[str, tuple[float, ...]]]) -> dict[str, tuple[float, ...]]:
    """Combine the standard errors that all points have; one data set measures all seeds, so their mean is no surer."""
    squares = [{split: tuple(e * e for e in row) for split, row in by_split.items()} for by_split in by_point]
    return {split: tuple(np.sqrt(row).tolist()) for split, row in _mean_by_split(squares).items()}


def nearest_replicate(points: Sequence[Point], mean: Point, split: str) -> Point:
    """Return the replicate nearest to its group's mean, in measures scaled to the range of all points."""
    group = group_replicates(points)[mean.id]
    values: Float[np.ndarray, "n m"] = np.array([p.values[split] for p in points], dtype=np.float64)
    span = np.ptp(values, axis=0)
    span[span == 0] = 1
    distances = [np.linalg.norm((np.array(p.values[split]) - mean.values[split]) / span) for p in group]
    return group[int(np.argmin(distances))]


def ray_error(losses: Any, r: tuple[float, ...], normalisation: Normalisation | None = None) -> float | None:
    """Return the degrees between losses and ray; None without a preference."""
    if not r:
        return None
    return float(control_error(np.array(losses) if normalisation is None else normalisation.apply(losses), np.array(r)))

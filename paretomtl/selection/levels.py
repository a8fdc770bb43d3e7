"""What one would like, read as a level of each loss: numbers in the measures' units, or words from a point."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.errors import escape_controls
from paretomtl.objective import Objective
from paretomtl.point import Point
from paretomtl.points.points import Points
from paretomtl.points.score import EmptyFrontError, is_nondominated
from paretomtl.selection.pick import Pick
from paretomtl.selection.select import check_number, format_measure

WORDS = ("improve", "keep", "free")  # NIMBUS's classes that have no number
SAME = 1e-9  # relative difference up to which a measure is its loss
NOISE = 0.05  # share of a loss's range by which it may be off a monotone function of its measure


class Known(NamedTuple):
    """What a front's points show: those that none dominates, the corners included, as means over the seeds.

    ideal, nadir: of each loss the best and the worst that there is: from the normalisation, else from the corners, else
        from these points.
    """

    points: Sequence[Point]
    objectives: Sequence[Objective]
    losses: Float[np.ndarray, "n m"]
    values: Float[np.ndarray, "n m"]
    ideal: Float[np.ndarray, " m"]
    nadir: Float[np.ndarray, " m"]

    @property
    def names(self) -> list[str]:
        """Names of the objectives."""
        return [o.name for o in self.objectives]

    @property
    def signs(self) -> Float[np.ndarray, " m"]:
        """Sign of each measure: 1 where smaller is better, -1 where larger is."""
        return np.array([o.sign for o in self.objectives], dtype=np.float64)


class Levels(NamedTuple):
    """A level of each objective.

    losses: as losses.
    values: as people read them.
    words: the word that an objective was given, or the number as text.
    notes: sentences on what the points do not show.
    """

    losses: Float[np.ndarray, " m"]
    values: Float[np.ndarray, " m"]
    words: Sequence[str]
    notes: tuple[str, ...]


def survey(front: Points) -> Known:
    """Collect what a front's points show.

    Raises:
        EmptyFrontError: there is no point.
    """
    means = front.mean()
    points = [*means.points, *means.corners]
    if not means.points:
        raise EmptyFrontError("the front has no point to ask from; explore a few preferences first")
    losses = np.array([p.losses["validate"] for p in points])
    values = np.array([p.values["validate"] for p in points])
    best = np.flatnonzero(is_nondominated(losses))
    best = best[np.unique(losses[best], axis=0, return_index=True)[1]]
    normalisation, ideals = means.normalisation, means.ideals
    alone = losses[len(means.points) :] if ideals is not None else losses[best]
    ideal, nadir = (losses[best].min(axis=0) if ideals is None else ideals), alone.max(axis=0)
    if normalisation is not None:
        ideal, nadir = np.array(normalisation.ideal), np.array(normalisation.nadir)
    return Known([points[k] for k in best], means.objectives, losses[best], values[best], ideal, nadir)


def find_point(front: Points, at: "Point | Pick | None") -> Point | None:
    """Return the point of a front that `at` names; None for None."""
    point = at.point if isinstance(at, Pick) else at
    if at is None:
        return None
    if point is None:
        raise ValueError("at= is a pick of no point; give one of front.points")
    if not isinstance(point, Point):
        raise TypeError(f"at={point!r} is a {type(point).__name__}; give one of front.points, or a pick")
    means = front.mean()
    if point not in (*front.points, *front.corners, *means.points, *means.corners):
        raise ValueError(f"at={point.id!r} is not a point of this front that succeeded; give one of front.points")
    return point


def read_levels(known: Known, levels: Mapping[str, Any], field: str, at: Point | None) -> Levels:
    """Read a level of each objective.

    Args:
        known: what the points show.
        levels: objective -> a number in the measure's unit, or one of `WORDS`.
        field: the name of `levels` in errors.
        at: the point that words start from, and that gives the levels left out.

    Raises:
        ValueError, TypeError: a name, a number or a word is wrong, or one is missing.
    """
    if not isinstance(levels, Mapping):
        example = dict.fromkeys(known.names, 0.5)
        raise TypeError(f"{field}={levels!r}: give a number by objective, such as {example}")
    unknown = [name for name in levels if name not in known.names]
    if unknown:
        raise ValueError(f"{field} names {unknown[0]!r}; the objectives are {', '.join(map(repr, known.names))}")
    missing = [name for name in known.names if name not in levels]
    if missing and at is None:
        also = "" if field != "aspiration" else ", or at=, a point that the others are kept from"
        raise ValueError(f"{field} has no number for {', '.join(map(repr, missing))}; give one for each{also}")
    rows = [_read_level(known, j, levels.get(name, "keep"), field, at) for j, name in enumerate(known.names)]
    losses, values, words, notes = zip(*rows, strict=True)
    return Levels(np.array(losses), np.array(values), words, tuple(note for note in notes if note))


def _read_level(known: Known, j: int, level: Any, field: str, at: Point | None) -> tuple[float, float, str, str]:
    """Return the loss, the value, the word and a note of one objective's level."""
    name = known.names[j]
    if not isinstance(level, str):
        value = check_number(level, f"{field}[{name!r}]")
        loss, note = _to_loss(known, j, value)
        return loss, value, format_measure(value, known.objectives[j]), note
    if field != "aspiration" or level not in WORDS:
        words = "" if field != "aspiration" else ", or one of " + ", ".join(map(repr, WORDS)) + " with at="
        raise ValueError(f"{field}[{name!r}] = {level!r}; give a number{words}")
    if at is None:
        raise ValueError(f"{field}[{name!r}] = {level!r} says what to change from a point; give at=, such as at=pick")
    if level == "keep":
        return at.losses["validate"][j], at.values["validate"][j], level, ""
    loss = float((known.ideal if level == "improve" else known.nadir)[j])
    order = np.argsort(known.losses[:, j], kind="stable")
    return loss, float(known.values[order[0 if level == "improve" else -1], j]), level, ""


def _to_loss(known: Known, j: int, value: float) -> tuple[float, str]:
    """Return the loss at which an objective has a value, and a note where the points do not show it."""
    objective, losses = known.objectives[j], known.losses[:, j]
    costs = objective.sign * known.values[:, j]
    if np.allclose(costs, losses, rtol=SAME, atol=0):
        return objective.sign * value, ""
    x, fit = _fit_monotone(costs, losses)
    miss, span = float(np.abs(np.interp(costs, x, fit) - losses).max()), float(np.ptp(losses))
    name, cost, notes = escape_controls(objective.name), objective.sign * value, []
    if miss > NOISE * span:
        notes.append(
            f"The measure of {name} does not follow its loss: a monotone curve through the points is off by up to "
            f"{miss / span:.0%} of the loss's range, so its level is as uncertain."
        )
    if not x[0] <= cost <= x[-1]:
        end = 0 if cost < x[0] else -1
        notes.append(
            f"{name} {format_measure(value, objective)} is beyond what the points show, "
            f"{format_measure(objective.sign * x[end], objective)} at {'best' if end == 0 else 'worst'}; that is taken "
            "in its place."
        )
    return float(np.interp(cost, x, fit)), " ".join(notes)


def _fit_monotone(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Fit the nondecreasing values at the distinct x that are nearest to y by least squares (pooled neighbours)."""
    distinct, place = np.unique(x, return_inverse=True)
    counts = np.bincount(place)
    pools: list[tuple[float, int, int]] = []  # mean, weight, number of distinct x
    for mean, count in zip(np.bincount(place, y) / counts, counts.tolist(), strict=True):
        pool = (float(mean), count, 1)
        while pools and pools[-1][0] > pool[0]:
            other, weight, length = pools.pop()
            pool = (
                (other * weight + pool[0] * pool[1]) / (weight + pool[1]),
                weight + pool[1],
                length + pool[2],
            )
        pools.append(pool)
    return distinct, np.repeat([pool[0] for pool in pools], [pool[2] for pool in pools])

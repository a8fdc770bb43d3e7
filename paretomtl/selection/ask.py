"""Asking: the preference that comes nearest to what one would like, by Wierzbicki's achievement function (1980).

Levels become losses in the units of preferences and rays (`Points.normalised`). The achievement function of losses l is
the largest miss of the aspiration a, max_i (l_i - a_i) / d_i, where d is what misses are measured by:

- a - z, from the ideal z: then its least value lies on the ray from z through a. z is where the rays of the study
  begin; for points that are on no rays, the ideal of the normalisation, else of the corners, else 0.
- b - a with reservation levels b, so that a place half way from a to b in all objectives misses a by half.
- nadir - ideal, where an aspiration is at the ideal or beyond it, or is "improve": no ray from z passes through it.

Where the line a + t d meets the front is predicted from the points there, and the preference is that of the ray through
this place. The place is known better with a point near it: train at the preference, and ask again.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.errors import escape_controls
from paretomtl.normalisation import NOISY_FLOOR
from paretomtl.point import OFF_RAY, Code, Point
from paretomtl.points.points import Points
from paretomtl.points.replicates import nearest_replicate
from paretomtl.preference import FLOOR, normalise, ray
from paretomtl.selection.levels import Known, Levels, find_point, read_levels, survey
from paretomtl.selection.pick import Pick
from paretomtl.selection.select import format_measure
from paretomtl.selection.surface import ROUNDING, Meeting, achievement, bend, join, meet

UNREACHABLE = Code.UNREACHABLE.word
LEAST_SHARE = 0.01  # of a point in a prediction, to be named
SHOWN = 5e-4  # relative difference of two levels that four digits show


class Ask(NamedTuple):
    """A preference to train at, and what the points of the front let expect there.

    preference: by objective, as `explore(preferences=[…])` takes it.
    losses, values: expected losses, and the measures that people read.
    errors: how far each loss may be off: the largest leave-one-out error of the front's map, about four times what to
        expect between two points of a smooth front; None where it is not known.
    nearest: the trained point with the least value of the achievement function.
    achievement: least value of the achievement function over the front, straight between its points; 0 or less where
        the aspiration is attained.
    is_attainable: whether a point, or a place between points, is at least as good as the aspiration in all objectives.
    why: the answer in words.
    """

    preference: dict[str, float]
    losses: dict[str, float]
    values: dict[str, float]
    errors: dict[str, float] | None
    nearest: Point
    achievement: float
    is_attainable: bool
    why: str


class _Line(NamedTuple):
    """The line from an aspiration, in the units of rays, and what its direction is: "ray", "reservation", "range"."""

    start: Float[np.ndarray, " m"]
    direction: Float[np.ndarray, " m"]
    kind: str


def ask(
    front: Points,
    aspiration: Mapping[str, float | str],
    reservation: Mapping[str, float] | None = None,
    at: Point | Pick | None = None,
) -> Ask:
    """Answer what preference to train at for an aspiration; see `Front.ask`."""
    if not all(p.preference for p in front.points):
        raise ValueError(
            "this front has no preferences: it was made from values alone; ask a front that explore made, or give "
            "preferences= to from_values"
        )
    known, means, place = survey(front), front.mean(), find_point(front, at)
    goal = read_levels(known, aspiration, "aspiration", place)
    limit = None if reservation is None else read_levels(known, reservation, "reservation", None)
    off = float(np.median(means.control_errors))
    units, has_rays = front.normalised(known.losses), off < OFF_RAY
    line = _draw_line(front, known, goal, limit, has_rays)
    missed = np.array([p.preference for p in means.points if p.status == UNREACHABLE]).reshape(-1, len(known.names))
    meeting = meet(units, join(units, ray(missed)), line.start, line.direction)
    error, span = front.map().error, 1.0 if front.normalisation is None else front.normalisation.span
    if has_rays:
        r = _aim_at(meeting, units, line, None if error is None else error / span)
        if any(_is_near(p.preference, r) for p in means.points):  # what it led to is among the points
            r = _to_preference(meeting.shares @ units)
    else:
        r = normalise(meeting.shares @ np.array([p.preference for p in known.points]), len(known.names))
    misses = achievement(front.normalised(means.losses), line.start, line.direction)
    nearest = means.points[int(misses.argmin())]
    answer = Ask(
        preference=_by_name(known, r),
        losses=_by_name(known, meeting.shares @ known.losses),
        values=_by_name(known, meeting.shares @ known.values),
        errors=None if error is None else _by_name(known, error),
        nearest=nearest if front.study["seeds"] == 1 else nearest_replicate(front.points, nearest, "validate"),
        achievement=meeting.step,
        is_attainable=meeting.step <= ROUNDING,
        why="",
    )
    method = _describe_line(known, goal, limit, line.kind, place) + _describe_preference(
        known, answer, meeting, None if has_rays else off
    )
    same = [p.id for p in means.points if _is_near(p.preference, r)]
    again = [f"{same[0]} was trained at this preference already."] if same else []
    texts = (
        method,
        _describe_expected(known, goal, answer, meeting),
        *goal.notes,
        *(limit.notes if limit else ()),
        *again,
        *(_warn_of_floor(front, known, answer) if has_rays else ()),
    )
    return answer._replace(why=" ".join(texts))


def _draw_line(front: Points, known: Known, goal: Levels, limit: Levels | None, has_rays: bool) -> _Line:
    """Return the line on which all objectives miss the aspiration alike."""
    start, ideal, nadir = (front.normalised(losses) for losses in (goal.losses, known.ideal, known.nadir))
    span = np.where(nadir > ideal, nadir - ideal, 1.0)
    if limit is not None:
        direction = front.normalised(limit.losses) - start
        for j in np.flatnonzero(direction <= 0).tolist():
            name, sense = known.names[j], "above" if known.objectives[j].sign > 0 else "below"
            raise ValueError(
                f"reservation[{name!r}] = {limit.values[j]:g} is not worse than the aspiration, {goal.values[j]:g}; "
                f"give a number {sense} it"
            )
        return _Line(start, direction, "reservation")
    is_origin_zero = has_rays or front.normalisation is not None or front.ideals is None
    direction = start - (0.0 if is_origin_zero else ideal)
    if "improve" in goal.words or (direction <= FLOOR * span).any():
        return _Line(start, span, "range")
    return _Line(start, direction, "ray")


def _is_near(preference: Sequence[float], other: Float[np.ndarray, " m"]) -> bool:
    """Whether two preferences are one to train at."""
    return bool((np.abs(np.array(preference) - other) < FLOOR).all())


def _aim_at(
    meeting: Meeting, units: Float[np.ndarray, "n m"], line: _Line, error: "Float[np.ndarray, ' m'] | None"
) -> Float[np.ndarray, " m"]:
    """Return the preference whose ray meets the line where the front does.

    That is also on the line where it passes beside the points: a front that goes on is met there, and one that does not
    has a place that is no worse in any objective. The smooth surface is believed as far as the pieces may be off.
    """
    step = meeting.step
    if meeting.is_on_line and error is not None:
        smooth = bend(units, line.start, line.direction, step)
        step = smooth if (abs(smooth - step) * line.direction <= error).all() else step
    return _to_preference(line.start + step * line.direction)


def _to_preference(place: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Return the preference on whose ray a place lies, in the units of rays."""
    return normalise(1 / np.maximum(place, FLOOR * np.abs(place).max()), len(place))


def _describe_line(known: Known, goal: Levels, limit: Levels | None, kind: str, at: Point | None) -> str:
    """Say what was asked, and by what misses are measured."""
    text = _list(known, goal.values, goal.words)
    start = "" if at is None else f"From {at.id}, "
    if kind == "reservation":
        assert limit is not None
        return f"{start}{text} is aspired to, with the reservation {_list(known, limit.values)}: "
    if kind == "range":
        return f"{start}{text} is aspired to; no ray passes through the ideal, so misses are in ranges of the front: "
    return f"{start}{text} is aspired to: "


def _describe_preference(known: Known, answer: Ask, meeting: Meeting, off: float | None) -> str:
    """Say where the preference comes from; `off` is the median control error, for points that are not on their rays."""
    r = ", ".join(f"{escape_controls(name)} {x:.3g}" for name, x in answer.preference.items())
    if off is None:
        return f"the ray of preference {r} leads there."
    parts = " and ".join(
        f"{share:.0%} of {known.points[k].id}'s" for k, share in enumerate(meeting.shares) if share >= LEAST_SHARE
    )
    return (
        f"the points are not on their rays ({off:.0f}° off in the median), so the preference is a mean of those "
        f"nearby, {parts}: {r}."
    )


def _warn_of_floor(front: Points, known: Known, answer: Ask) -> list[str]:
    """Say where noisy training towards the ray is blind: methods that follow rays take such losses for the floor."""
    ranges = front.normalisation
    if ranges is None or not front.study.get("data"):
        return []
    units = ranges.apply(np.array([answer.losses[name] for name in known.names]))
    near = [
        name for name, unit, ideal in zip(known.names, units, ranges.ideal, strict=True) if ideal and unit < NOISY_FLOOR
    ]
    return [
        f"{escape_controls(name)} is then within {NOISY_FLOOR:.0%} of its range from its ideal, where a method that "
        "follows rays does not tell noisy losses apart: the point may end anywhere in there. A narrower normalise= "
        f"for {escape_controls(name)} mends it."
        for name in near
    ]


def _describe_expected(known: Known, goal: Levels, answer: Ask, meeting: Meeting) -> str:
    """Say what to expect, and how it compares with the aspiration and with the nearest point."""
    expected = np.array([answer.values[name] for name in known.names])
    misses = known.signs * (expected - goal.values)
    exact = SHOWN * np.maximum(np.abs(expected), np.abs(goal.values))
    amounts = [
        (f"{abs(miss):.3g} in {escape_controls(name)}", miss)
        for name, miss, least in zip(known.names, misses, exact, strict=True)
        if abs(miss) > least
    ]
    worse, better = ([text for text, miss in amounts if (miss > 0) == is_worse] for is_worse in (True, False))
    parts = [f"misses it by {', '.join(worse)}"] if worse else []
    parts += [f"betters it by {', '.join(better)}"] if better else []
    verdict = "It can be attained" if answer.is_attainable else "It is out of reach of the points there"
    beside = (
        "" if meeting.is_on_line else " at their end, for the line passes beside them and what is beyond is unknown"
    )
    values = _list(known, np.array(answer.nearest.values["validate"]))
    return (
        f"{verdict}: expected is {_list(known, expected)}{beside}, which {' and '.join(parts) or 'meets it'}. "
        f"The nearest point is {answer.nearest.id} ({values})."
    )


def _list(known: Known, values: Float[np.ndarray, " m"], words: Sequence[str] | None = None) -> str:
    """Format a level of each objective; a word goes behind its number."""
    texts = []
    for j, objective in enumerate(known.objectives):
        number = format_measure(float(values[j]), objective)
        word = f" ({words[j]})" if words is not None and words[j] != number else ""
        texts.append(f"{escape_controls(objective.name)} {number}{word}")
    return ", ".join(texts)


def _by_name(known: Known, numbers: Float[np.ndarray, " m"]) -> dict[str, float]:
    return dict(zip(known.names, numbers.tolist(), strict=True))

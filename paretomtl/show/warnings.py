"""What a reader of a front should know, with what to do about it; what matters most comes first."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.errors import escape_controls
from paretomtl.point import OFF_RAY, Code, Point
from paretomtl.points import score
from paretomtl.points.points import Points
from paretomtl.points.rays import degrees_beside, range_of_preferences

RECORD = re.compile(r"\d+\.\d degrees off the ray asked for \(.*\)$")  # of a point's own warning
UNLIKE, FAR = 3.0, 0.1  # ranges of losses that differ by this factor, and best losses above this share of the worst
NEAR = 0.1  # of what there is to gain: nearer to the ideals than this, an angle means nothing
LEAST = 0.01  # of a loss's range: a smaller difference does not count
NOISE = 2.0  # standard errors of a difference: a smaller one is noise
NAMED = 3  # the most points that a warning names

Cause = Literal["scale", "ideal", "noise", "gap", "bounds", "budget", "unseen", "unknown"]


def list_warnings(front: Points) -> tuple[str, ...]:
    """List what a reader of a front should know, including damage to its files."""
    texts = [*front.damage]
    texts += [f"{p.id} is corrupt: {p.reason}; explore with the same out= computes it again" for p in front.corrupt]
    texts += _failure_warnings(front)
    off = [p for p in front.points if _is_off_ray(p)]
    if off:
        texts.append(warn_off_ray(front, off))
    if front.folder is not None:  # points from elsewhere are seldom meant as a front
        texts += _dominance_warnings(front, {p.id for p in off})
    if front.points:
        texts += _reference_warnings(front)
    if len(front.points) > 1:
        for name, flat in zip(front.names, score.is_constant(front.losses), strict=True):
            if flat:
                texts.append(
                    f"no trade-off on {name!r}: its loss is the same at every point; leave it out of the objectives"
                )
    texts += [*(front.study.get("normalisation") or {}).get("notes", ()), *front.study["notes"]]
    texts += [
        f"{', '.join(ids)}: {warning}"
        for warning, ids in _group_ids((*front.points, *front.corners), lambda p: p.warnings).items()
        if not RECORD.search(warning)
    ]
    return tuple(map(escape_controls, texts))


def _group_ids(points: Sequence[Point], texts: Callable[[Point], Sequence[str]]) -> dict[str, list[str]]:
    """Group the ids of points by the texts they carry."""
    groups: dict[str, list[str]] = {}
    for point in points:
        for text in texts(point):
            groups.setdefault(text, []).append(point.id)
    return groups


def _failure_warnings(front: Points) -> list[str]:
    if not front.failed:
        return []
    groups = _group_ids(front.failed, lambda p: [str(p.reason)])
    reasons = "; ".join(f"{', '.join(ids)}: {why}" for why, ids in groups.items())
    kept = sum(p.weights is not None for p in front.failed)
    hint = f"the weights of {kept} are kept: paretomtl measure DIR MODULE:PROBLEM measures them again"
    remedy = hint if kept else "mend the cause and explore with a new out=, for here they stay failed"
    return [f"{len(front.failed)} of {len(front.study['points'])} points failed ({reasons}); {remedy}"]


def _reference_warnings(front: Points) -> list[str]:
    n, outside = len(front.points), score.count_outside(front.losses, front.ref_point)
    reference = f"the reference ({', '.join(f'{r:g}' for r in front.ref_point)})"
    worst = ", ".join(f"{x:.3g}" for x in front.losses.max(axis=0))
    remedy = f"front.with_reference takes one beyond the worst losses, ({worst})"
    if outside == n:
        return [f"no point dominates {reference}, so the hypervolume is undefined; {remedy}"]
    verbs = ("does", "adds") if outside == 1 else ("do", "add")
    text = f"{outside} of {n} points {verbs[0]} not dominate {reference} and {verbs[1]} nothing to the hypervolume"
    return [f"{text}; {remedy}"] if outside else []


# --- points off their ray ---


class Surroundings(NamedTuple):
    """The points off their ray and the front around them, in numbers; losses are in the units of rays.

    statuses: how the training of each point off its ray ended.
    on_ray_in_training: whether its last epoch was on the ray.
    beside: the degrees by which its ray passes beside all that is reached; NaN where too little is known.
    best, worst: the least and the largest loss of each objective, over the corners where all are known.
    normalised: whether rays are in units of what there is to gain.
    farthest: the largest loss of all points.
    noise: the standard deviation of each loss over the seeds; None with one seed.
    """

    statuses: Sequence[str | None]
    on_ray_in_training: Sequence[bool]
    beside: Float[np.ndarray, " k"]
    best: Float[np.ndarray, " m"]
    worst: Float[np.ndarray, " m"]
    normalised: bool
    farthest: float
    noise: Float[np.ndarray, " m"] | None = None


def find_causes(around: Surroundings) -> dict[Cause, int]:
    """Return why points are off their ray, and how many for each reason, the most frequent first."""
    n = len(around.statuses)
    if around.normalised:
        noise = 0.0 if around.noise is None else NOISE * float(around.noise.max())
        if around.farthest < max(NEAR, noise):
            return {"noise": n}
    elif 2 * np.sum(around.beside > OFF_RAY) >= n:
        if spread_of_ranges(around) >= UNLIKE:
            return {"scale": n}
        if ((around.best > FAR * around.worst) & (around.worst > around.best)).any():
            return {"ideal": n}
    each = zip(around.statuses, around.on_ray_in_training, around.beside.tolist(), strict=True)
    causes: list[Cause] = [_find_cause(*one) for one in each]
    return dict(Counter(causes).most_common())


def _find_cause(status: str | None, on_ray_in_training: bool, beside: float) -> Cause:
    """Return why one point is off its ray, where the units of the losses are not the reason."""
    if status == Code.UNREACHABLE.word:
        return "gap" if beside <= OFF_RAY else "bounds"
    if on_ray_in_training:
        return "unseen"
    if status in (Code.STILL_MOVING.word, Code.NOT_CONVERGED.word):
        return "budget"
    return "bounds" if beside > OFF_RAY else "unknown"


def spread_of_ranges(around: Surroundings) -> float:
    """Return how many times the narrowest range of a loss fits the widest; losses that do not vary are left out."""
    ranges = (around.worst - around.best)[around.worst > around.best]
    return float(ranges.max() / ranges.min()) if len(ranges) else 1.0


def warn_off_ray(front: Points, off: Sequence[Point]) -> str:
    """Say how many points are off their ray, and how far, why by the numbers at hand, and what helps."""
    around, n = survey(front, off), len(front.points)
    worst = max(off, key=lambda p: p.control_error or 0.0)
    far = f"{worst.control_error:.1f} degrees off the ray asked for"
    several = f"{len(off)} of {n} points are up to {far} ({worst.id}, {worst.status})"
    head = f"{worst.id} is {far} ({worst.status})" if len(off) == 1 else several
    causes = find_causes(around)
    parts = []
    for cause, k in causes.items():
        count = "" if len(causes) == 1 else f"for {k} of them, "
        parts.append(count + _describe_cause(cause, front, around))
    return f"{head}: {'. And '.join(parts)}"


def survey(front: Points, off: Sequence[Point]) -> Surroundings:
    """Collect the numbers from which the causes follow."""
    losses = front.normalised(front.losses)
    corners = _corner_losses(front)
    reached, ends = _reached_losses(front), losses if corners is None else corners
    preferences = np.array([p.preference for p in off])
    known = len(np.unique(reached, axis=0)) >= len(front.names)
    sd = front.spread().sd if front.study["seeds"] > 1 else np.array([])
    noise = np.sqrt(np.nanmean(sd**2, axis=0)) if np.isfinite(sd).any() else None
    if noise is not None and front.normalisation is not None:
        noise = noise / front.normalisation.span
    return Surroundings(
        [p.status for p in off],
        [p.network is None and p.ray_angle is not None and p.ray_angle <= OFF_RAY for p in off],
        degrees_beside(preferences, reached) if known else np.full(len(off), np.nan),
        ends.min(axis=0),
        ends.max(axis=0),
        front.normalisation is not None,
        float(losses.max()),
        noise,
    )


def _corner_losses(front: Points) -> Float[np.ndarray, "m m"] | None:
    """Return the corners' losses in the units of rays, means over the seeds; None unless there is one an objective."""
    corners = front.mean().corners
    if {p.corner for p in corners} != set(front.names):
        return None
    return front.normalised(np.array([p.losses["validate"] for p in corners], dtype=np.float64))


def _describe_cause(cause: Cause, front: Points, around: Surroundings) -> str:
    """Return a cause and its remedy in words."""
    spans = zip(front.names, around.best, around.worst, strict=True)
    ranges = ", ".join(f"{name!r} {low:.2g} to {high:.2g}" for name, low, high in spans)
    units = 'normalise="corners" measures each loss from its best to its worst: give preferences= a number and leave '
    units += "normalise= at its default"
    budget, within = _format_budget(front), _format_reached(front)
    texts: dict[Cause, str] = {
        "scale": f"the losses' ranges differ {spread_of_ranges(around):.2g}-fold ({ranges}), so rays of raw losses "
        f"pass beside the front; {units}",
        "ideal": f"rays start where all losses are 0, far from the best of each ({ranges}), and pass beside the front; "
        f"{units}",
        "noise": "all points are so near to the best of each loss that an angle means nothing; there is next to "
        "nothing to trade, and any of them will do",
        "bounds": f"the ray passes beside the front; {within}",
        "gap": "the ray meets a gap of the front, so no point can be on it; ask for preferences on either side",
        "budget": f"training had not settled when its steps were over; give {budget}",
        "unseen": "the ray is met in training and missed on validate, where the losses are others; choose by what was "
        "measured, not by preference, or train on more data",
        "unknown": "the ray passes between the points, and training ended beside it; "
        f"{budget} or a smaller learning rate may come closer",
    }
    return texts[cause]


def _format_reached(front: Points) -> str:
    """Return on which preferences' rays points and corners lie."""
    low, high = range_of_preferences(_reached_losses(front))
    names = front.names[:1] if len(front.names) == 2 else front.names
    spans = [dict.fromkeys((f"{a:.2g}", f"{b:.2g}")) for a, b in zip(low, high, strict=True)]
    ranges = ", ".join(f"{' to '.join(span)} for {name!r}" for name, span in zip(names, spans, strict=False))
    return f"points reach preferences of {ranges}: ask for such"


def _reached_losses(front: Points) -> Float[np.ndarray, "n m"]:
    """Return the losses of all points, and of the corners where all are known, in the units of rays."""
    corners = _corner_losses(front)
    losses = front.normalised(front.losses)
    return losses if corners is None else np.vstack([losses, corners])


def _format_budget(front: Points) -> str:
    """Return what to raise for a longer training."""
    budget = front.study.get("budget", {})
    return "more " + (" or ".join(f"{name}= (now {n})" for name, n in budget.items()) or "epochs= or steps=")


def _is_off_ray(point: Point) -> bool:
    """Whether a method that promises a ray ended far from it."""
    return (point.control_error or 0.0) > OFF_RAY and any(map(RECORD.search, point.warnings))


# --- points dominated by others ---


def _dominance_warnings(front: Points, off: set[str]) -> list[str]:
    pairs = find_dominated(front)
    if not pairs:
        return []
    n, k = len(front.points), len(pairs)
    shown = ", ".join(f"{worse.id} by {better.id}" for worse, better in pairs[:NAMED]) + (", …" if k > NAMED else "")
    head = f"{k} of {n} points {'is' if k == 1 else 'are'} dominated by another of the same study ({shown})"
    unsettled = sum(p.status in (Code.STILL_MOVING.word, Code.NOT_CONVERGED.word) for p, _ in pairs)
    if 2 * sum(p.id in off for p, _ in pairs) >= k:
        why = "; most of them are off their ray, see there"
    elif 2 * unsettled >= k:
        why = f"; most of them had not settled: give {_format_budget(front)}"
    else:
        why = "; seeds=3 shows whether it is more than noise" if front.study["seeds"] == 1 else ""
    return [f"{head}: front.nondominated() leaves {'it' if k == 1 else 'them'} out{why}"]


def find_dominated(front: Points) -> list[tuple[Point, Point]]:
    """Return the points that another of their seed dominates beyond noise, each with the one that does so most.

    Beyond noise: in every loss by more than two standard errors of the difference, by the spread over the seeds where
    there are several, and by more than a hundredth of its range over points and corners.
    """
    if len(front.points) < 2:
        return []
    margin = LEAST * np.ptp([p.losses["validate"] for p in (*front.points, *front.corners)], axis=0)
    sd = front.spread().sd if front.study["seeds"] > 1 else np.array([])
    if np.isfinite(sd).any():
        margin = np.maximum(margin, NOISE * np.sqrt(2 * np.nanmean(sd**2, axis=0)))
    pairs = []
    for part in front.by_seed():
        for point, row in zip(part.points, part.losses, strict=True):
            excess = (row - part.losses - margin).min(axis=1)
            if excess.max() > 0:
                pairs.append((point, part.points[int(excess.argmax())]))
    return pairs

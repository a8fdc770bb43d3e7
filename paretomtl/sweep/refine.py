"""Rounds: where the next preferences of a study go, by what the points of earlier rounds have reached.

A round is placed by the records of all earlier rounds and by nothing else, so it is the same wherever and however often
the study is computed. Two neighbours share a step of the front. All preferences that are still to come are dealt out
over the steps, so that the longest piece of a step is as short as it can be; those in the middle of the longest come
first, and the next round deals out the rest anew.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from paretomtl.point import Point
from paretomtl.points import score
from paretomtl.preference import Refine, neighbour_distance
from paretomtl.storage.store import Store
from paretomtl.training.study import Job, Study

NEARER = 16  # times as near as in an even design two preferences may come; what still lies between them is a jump


class Part(NamedTuple):
    """A part of a step, from share `start` to share `end` of it, that is to be divided into `pieces`."""

    step: int
    start: float
    end: float
    pieces: int

    @property
    def middle(self) -> float:
        """The division nearest to its middle."""
        return self.start + (self.end - self.start) * (self.pieces // 2) / self.pieces


def plan_rounds(study: Study, store: Store, there: Collection[str]) -> Iterator[tuple[Study, list[Job]]]:
    """The rounds of a study, one where it does not refine, each with the points that are left to compute.

    Args:
        study: with the preferences of its first round.
        store: of the front; a round must be computed before the next one is asked for.
        there: the ids of points that need no more work.
    """
    whole = set(there)
    while True:
        yield study, [job for job in study.jobs if job.id not in there]
        whole |= {job.id for job in study.jobs}
        if study.refine is None or len(study.preferences) == study.refine.total:
            return
        found = _next_round(
            study, study.refine, _points_by_preference(study, [p for p in store.read_points() if p.id in whole])
        )
        if found is None:
            return
        study = found


def _next_round(study: Study, refine: Refine, known: dict[int, list[Point]]) -> Study | None:
    """The study of the next round; None where fewer than two points succeeded, so that there is no step to divide."""
    n = len(study.preferences)
    reached = [k for k in range(n) if any(p.state == "done" for p in known.get(k, ()))]
    if len(reached) < 2:
        return None
    losses = [np.mean([p.losses["validate"] for p in known[k] if p.state == "done"], axis=0) for k in reached]
    new = place_preferences(refine, study.preferences, np.array(reached), np.stack(losses), study.problem.ref_point)
    for k, points in known.items():
        if n <= k < n + len(new):  # of a run that was stopped in this round: what is recorded stays as it is
            new[k - n] = points[0].preference
    return replace(study, preferences=np.concatenate([study.preferences, new]), earlier=n)


def _points_by_preference(study: Study, points: Sequence[Point]) -> dict[int, list[Point]]:
    """The points that were asked for a preference, by its place; one a seed."""
    ids, found = {p.id: p for p in points}, {}
    for id, k, _, _ in study.places:
        if k is not None and id in ids:
            found.setdefault(k, []).append(ids[id])
    return found


def place_preferences(
    refine: Refine,
    asked: Float[np.ndarray, "K m"],
    reached: Int[np.ndarray, " n"],
    losses: Float[np.ndarray, "n m"],
    ref_point: Sequence[float],
) -> Float[np.ndarray, "N m"]:
    """The preferences of the next round.

    Args:
        refine: how.
        asked: all preferences of earlier rounds.
        reached: which of them have succeeded, two at least.
        losses: of those.
        ref_point: of the hypervolume.
    """
    n = refine.next(len(asked))
    nearest = neighbour_distance(asked.shape[1], refine.total) / NEARER
    steps = Steps(asked[reached], losses, refine.by, ref_point)
    parts = steps.dealt(refine.total - len(asked), nearest)
    new: list[np.ndarray] = []
    while len(new) < n:
        every = np.stack([*asked, *new])
        part = max((p for p in parts if p.pieces > 1), key=steps.size, default=None)
        if part is None:
            new.append(_widest_gaps(every))
            continue
        parts.remove(part)
        first = part.pieces // 2
        parts += [part._replace(end=part.middle, pieces=first)]
        parts += [part._replace(start=part.middle, pieces=part.pieces - first)]
        r = steps.at(part)
        if np.abs(every - r).max(axis=1).min() >= nearest / 2:  # else a point failed there, or the front jumps
            new.append(r)
    return np.stack(new)


class Steps:
    """The steps between neighbours on a front; their first and last points are rows of what is given.

    Args:
        preferences, losses: of the points.
        by: "gap" or "hypervolume"; see `Refine`.
        ref_point: of the hypervolume.
    """

    def __init__(
        self,
        preferences: Float[np.ndarray, "n m"],
        losses: Float[np.ndarray, "n m"],
        by: str,
        ref_point: Sequence[float],
    ):
        order = np.lexsort(preferences.T[::-1])
        self.preferences, losses = preferences[order], losses[order]
        self.ends = neighbours(self.preferences)
        i, j = self.ends.T
        self.widths = np.abs(self.preferences[i] - self.preferences[j]).max(axis=1)
        front = score.distinct_front(losses)
        scaled = score.scale_to_range(losses, (front.min(axis=0), front.max(axis=0))) if len(front) > 1 else losses
        self.lengths = np.linalg.norm(scaled[i] - scaled[j], axis=1)
        self.lengths = _break_ties_by_width(self.lengths, self.widths)
        self.gains = self._gains(losses, ref_point) if by == "hypervolume" else None

    def _gains(self, losses: Float[np.ndarray, "n m"], ref_point: Sequence[float]) -> Float[np.ndarray, " k"]:
        """What the hypervolume would gain by a point half way along each step, were it straight."""
        whole = score.hypervolume(losses, ref_point) or 0.0
        half = losses[self.ends].mean(axis=1)
        more = [(score.hypervolume(np.vstack([losses, x]), ref_point) or 0.0) - whole for x in half]
        return _break_ties_by_width(np.maximum(more, 0.0), self.widths)

    def dealt(self, n: int, nearest: float) -> list[Part]:
        """All steps, with n divisions dealt out one by one where the next is worth most."""
        pieces = np.ones(len(self.ends), dtype=int)
        for _ in range(n):
            worth = self.lengths / pieces
            if self.gains is not None:  # a straight step in p pieces gains 2 (1 - 1/p) times what its half does
                worth = self.gains / (pieces * (pieces + 1))
            worth = np.where(self.widths / (pieces + 1) < nearest, -1.0, worth)
            if worth.max() < 0:
                break
            pieces[np.argmax(worth)] += 1
        return [Part(k, 0.0, 1.0, int(p)) for k, p in enumerate(pieces)]

    def size(self, part: Part) -> float:
        """What a part leaves to be found."""
        share = part.end - part.start
        if self.gains is not None:
            return float(self.gains[part.step] * share**2)
        return float(self.lengths[part.step] * share)

    def at(self, part: Part) -> Float[np.ndarray, " m"]:
        """The preference at the middle of a part.

        Of two objectives, by a monotone cubic through all points over the length of the front; of more, on the line.
        """
        if self.preferences.shape[1] > 2:
            i, j = self.ends[part.step]
            return (1 - part.middle) * self.preferences[i] + part.middle * self.preferences[j]
        from scipy.interpolate import PchipInterpolator

        way = np.concatenate([[0.0], np.cumsum(self.lengths)])
        a = PchipInterpolator(way, self.preferences[:, 0])
        first = float(a(way[part.step] + part.middle * (way[part.step + 1] - way[part.step])))
        return np.array([first, 1 - first])


def _break_ties_by_width(worth: Float[np.ndarray, " k"], widths: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """What steps are worth, and where they are worth nothing, or alike, the wider first."""
    return worth + 1e-6 * (worth.max() or 1.0) * widths


def neighbours(preferences: Float[np.ndarray, "n m"]) -> Int[np.ndarray, "k 2"]:
    """The pairs between which no other preference lies, as rows of two numbers.

    Of two objectives, those next to one another; of more, the edges of the Delaunay triangulation of the simplex, but
    those to whose middle a third preference is less than half as near as the ends, which are slivers at its boundary.
    """
    n, m = preferences.shape
    if m == 2:
        return np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)
    from scipy.spatial import Delaunay, KDTree

    pairs = np.stack(np.triu_indices(n, k=1), axis=1)
    if n > m:
        cells = np.sort(Delaunay(preferences[:, :-1], qhull_options="QJ Pp").simplices, axis=1)
        i, j = np.triu_indices(m, k=1)
        pairs = np.unique(np.stack([cells[:, i].ravel(), cells[:, j].ravel()], axis=1), axis=0)
    ends = preferences[pairs]
    away, _ = KDTree(preferences).query(ends.mean(axis=1))
    return pairs[away >= np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1) / 4]


def _widest_gaps(preferences: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " m"]:
    """Half way between the neighbours farthest apart, where no step of the front can be divided."""
    preferences = preferences[np.lexsort(preferences.T[::-1])]
    ends = preferences[neighbours(preferences)]
    return ends[np.argmax(np.abs(ends[:, 0] - ends[:, 1]).max(axis=1))].mean(axis=0)

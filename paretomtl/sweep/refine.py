"""Rounds: where the next preferences of a study go, judged by the points of earlier rounds.

A round depends on the records of all earlier rounds and on nothing else, so it is the same wherever and however often
the study is computed. Two neighbours share a step of the front. All preferences still to come are dealt out over the
steps, so that the longest piece of a step is as short as possible. The preferences in the middle of the longest pieces
come first, and the next round deals out the rest again.
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
from paretomtl.sweep.growth import awaits_corners, fix_by_corners
from paretomtl.training.study import Job, Study

NEARER = 16  # preferences may be so many times nearer than in an even design; a gap that remains then is a jump


class Part(NamedTuple):
    """A part of a step, from share `start` to share `end`, to be divided into `pieces`."""

    step: int
    start: float
    end: float
    pieces: int

    @property
    def middle(self) -> float:
        """The division nearest to the middle of the part."""
        return self.start + (self.end - self.start) * (self.pieces // 2) / self.pieces


def plan_rounds(study: Study, store: Store, done: Collection[str]) -> Iterator[tuple[Study, list[Job]]]:
    """Yield the rounds of a study, one where it does not refine, each with the points that are left to compute.

    Where the corners tell the reference or the range of each loss, they come first, as a round of their own.

    Args:
        study: the study with the preferences of its first round.
        store: the front's store; a round must be computed before the next one is taken.
        done: the ids of points that need no more work.
    """
    whole = set(done)
    if awaits_corners(study):
        corners = [job for job in study.jobs if job.corner is not None and job.id not in whole]
        yield study, corners
        whole |= {job.id for job in corners}
        study = fix_by_corners(study, store)
    while True:
        yield study, [job for job in study.jobs if job.id not in whole]
        whole |= {job.id for job in study.jobs}
        if study.refine is None or len(study.preferences) == study.refine.total:
            return
        following = _plan_next(
            study, study.refine, _points_by_preference(study, [p for p in store.read_points() if p.id in whole])
        )
        if following is None:
            return
        study = following


def _plan_next(study: Study, refine: Refine, known: dict[int, list[Point]]) -> Study | None:
    """Return the study of the next round; None if fewer than two points succeeded, so that no step can be divided."""
    n = len(study.preferences)
    reached = [k for k in range(n) if any(p.state == "done" for p in known.get(k, ()))]
    if len(reached) < 2:
        return None
    losses = [np.mean([p.losses["validate"] for p in known[k] if p.state == "done"], axis=0) for k in reached]
    new = place_preferences(refine, study.preferences, np.array(reached), np.stack(losses), study.problem.reference)
    for k, points in known.items():
        if n <= k < n + len(new):  # recorded before a stop in this round: it stays as it is
            new[k - n] = points[0].preference
    return replace(study, preferences=np.concatenate([study.preferences, new]), earlier=n)


def _points_by_preference(study: Study, points: Sequence[Point]) -> dict[int, list[Point]]:
    """Return the points of each preference by its index, one a seed."""
    ids, groups = {p.id: p for p in points}, {}
    for id, k, _, _ in study.places:
        if k is not None and id in ids:
            groups.setdefault(k, []).append(ids[id])
    return groups


def place_preferences(
    refine: Refine,
    preferences: Float[np.ndarray, "K m"],
    reached: Int[np.ndarray, " n"],
    losses: Float[np.ndarray, "n m"],
    ref_point: Sequence[float],
) -> Float[np.ndarray, "N m"]:
    """Return the preferences of the next round.

    Args:
        refine: how many there are, and where they go.
        preferences: all preferences of earlier rounds.
        reached: the indices of those that succeeded, at least two.
        losses: the losses at these.
        ref_point: the reference point of the hypervolume.
    """
    n = refine.next(len(preferences))
    nearest = neighbour_distance(preferences.shape[1], refine.total) / NEARER
    steps = Steps(preferences[reached], losses, refine.by, ref_point)
    parts = steps.deal(refine.total - len(preferences), nearest)
    new: list[np.ndarray] = []
    while len(new) < n:
        every = np.stack([*preferences, *new])
        part = max((p for p in parts if p.pieces > 1), key=steps.size, default=None)
        if part is None:
            new.append(_halve_widest_gap(every))
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
    """The steps between neighbours on a front.

    Args:
        preferences, losses: those of its points, a row each.
        by: "gap" or "hypervolume"; see `Refine`.
        ref_point: the reference point of the hypervolume.
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
        self.gains = self._compute_gains(losses, ref_point) if by == "hypervolume" else None

    def _compute_gains(self, losses: Float[np.ndarray, "n m"], ref_point: Sequence[float]) -> Float[np.ndarray, " k"]:
        """Return the hypervolume that a point half way along each step would gain if the step were straight."""
        whole = score.hypervolume(losses, ref_point) or 0.0
        half = losses[self.ends].mean(axis=1)
        more = [(score.hypervolume(np.vstack([losses, x]), ref_point) or 0.0) - whole for x in half]
        return _break_ties_by_width(np.maximum(more, 0.0), self.widths)

    def deal(self, n: int, nearest: float) -> list[Part]:
        """Return all steps with n divisions, each dealt out where it is worth most."""
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
        """Return the length of a part, or the hypervolume that it may gain."""
        share = part.end - part.start
        if self.gains is not None:
            return float(self.gains[part.step] * share**2)
        return float(self.lengths[part.step] * share)

    def at(self, part: Part) -> Float[np.ndarray, " m"]:
        """Return the preference at the middle of a part.

        With two objectives it lies on a monotone cubic through all points over the length of the front; with more, on
        the straight line.
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
    """Break ties of what steps are worth by their widths, the wider first."""
    return worth + 1e-6 * (worth.max() or 1.0) * widths


def neighbours(preferences: Float[np.ndarray, "n m"]) -> Int[np.ndarray, "k 2"]:
    """Return the pairs between which no other preference lies, as rows of two indices.

    With two objectives these are adjacent preferences. With more they are the edges of the Delaunay triangulation of
    the simplex, without slivers at its boundary: edges whose middle has another preference within half the distance
    to its ends.
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


def _halve_widest_gap(preferences: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " m"]:
    """Return the middle of the widest gap between neighbours, for where no step of the front can be divided."""
    preferences = preferences[np.lexsort(preferences.T[::-1])]
    ends = preferences[neighbours(preferences)]
    return ends[np.argmax(np.abs(ends[:, 0] - ends[:, 1]).max(axis=1))].mean(axis=0)

"""Choosing from a front: a point by a rule, with the agreement of the seeds; or a few models that keep most of it."""

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.errors import NoFeasiblePointError
from paretomtl.point import Point
from paretomtl.points import replicates, score
from paretomtl.points.points import Points
from paretomtl.selection.select import (
    Candidates,
    Choice,
    Noise,
    Rule,
    RunnerUp,
    count_points,
    list_candidates,
    sampling_errors,
)

if TYPE_CHECKING:
    from torch import nn

MOST_SUBSETS = 2000  # up to these, all are tried; beyond, a greedy choice is improved by exchanges
LEAST_GAIN = 1e-12  # the least relative gain of hypervolume that counts


Loader = Callable[[Point, Callable[[], Any]], Any]  # loads a point's model; see `Front.load_model`


class Pick:
    """A choice: the point (None where the rule has none), why, and the next best by the same rule.

    Attributes:
        point: the chosen point.
        why: a sentence with the numbers that decided.
        runners_up: the next points by the rule, with what each gains and gives up against the chosen one.
        agreement: the share of the seeds whose own points give the same choice, with margins from the spread over all
            seeds; None for a study of one seed.
    """

    def __init__(
        self, load: Loader, point: Point | None, why: str, runners_up: Sequence[RunnerUp], agreement: float | None
    ):
        self._load = load
        self.point, self.why, self.runners_up, self.agreement = point, why, tuple(runners_up), agreement

    def load(self, build: "Callable[[], nn.Module]") -> "nn.Module":
        """Load the chosen model: a plain module in eval mode, its weights checked against their hash."""
        if self.point is None:
            raise ValueError(f"nothing was chosen: {self.why}")
        return self._load(self.point, build)

    def __repr__(self) -> str:
        return f"Pick({None if self.point is None else self.point.id!r}: {self.why})"


class Deployed(NamedTuple):
    """A few models to deploy together.

    points: the chosen points, ordered by id.
    hypervolume: hypervolume of their losses alone, against the front's reference.
    lost: share of the whole front's hypervolume that is lost.
    why: the choice in words.
    """

    points: tuple[Point, ...]
    hypervolume: float
    lost: float
    why: str


def candidates_of(front: Points, split: str) -> Candidates:
    """List the candidates for a rule: the points of a front, or their means over the seeds, with their uncertainty."""
    means = front.mean()
    return list_candidates(
        means.points, front.objectives, split, _noise_of(front, means.points, split), _ideals_on(means, split)
    )


def pick_by_rule(front: Points, rule: Rule, split: str, load: Loader) -> Pick:
    """Choose by a rule; see `Front.select`."""
    if isinstance(rule, type) or not hasattr(rule, "choose"):
        name = f"the class {rule.__name__}" if isinstance(rule, type) else repr(rule)
        raise TypeError(
            f"rule={name}: give an instance of a rule, such as pm.rules.Knee(), or best= one of "
            f"{', '.join(map(repr, front.names))}"
        )
    try:
        choice = rule.choose(candidates_of(front, split))
    except NoFeasiblePointError as error:
        error.nearest = _nearest_model(front, error.nearest, split)
        raise
    why = choice.why
    if split != "validate":
        warning = f"chosen on {split}, so its figures there no longer say anything about unseen data"
        warnings.warn(warning, stacklevel=3)
        why += f"; {warning}"
    several = front.study["seeds"] > 1
    if not several or choice.point is None:
        return Pick(load, choice.point, why, choice.runners_up, None)
    same, n = _count_agreeing(front, rule, split, choice)
    point = _nearest_model(front, choice.point, split)
    why += f"; these are means over {n} seeds, {same} of which choose the same alone, and {point.id} is the model "
    why += "nearest to its mean"
    runners_up = [r._replace(point=_nearest_model(front, r.point, split)) for r in choice.runners_up]
    return Pick(load, point, why, runners_up, same / n)


def _noise_of(front: Points, points: Sequence[Point], split: str) -> Noise:
    """Return the noise of points or of means over seeds; the deviation is always that of the whole front."""
    groups = replicates.group_replicates(front.points)
    samples = [[p.values[split] for p in groups[replicates.base_id(p)] if split in p.values] for p in points]
    n = np.array([len(group) for group in samples], dtype=np.int64)
    deviation = None
    if (n > 1).any():
        none = np.full(len(front.objectives), np.nan)
        deviation = np.array([np.std(group, axis=0, ddof=1) if len(group) > 1 else none for group in samples])
    return Noise(sampling_errors(points, split), deviation, n)


def _ideals_on(front: Points, split: str) -> Float[np.ndarray, " m"] | None:
    """Return the measure of each objective when trained alone; None unless all are known."""
    alone = {p.corner: p.values[split] for p in front.corners if split in p.values}
    if set(alone) != set(front.names):
        return None
    return np.array([alone[name][j] for j, name in enumerate(front.names)])


def _count_agreeing(front: Points, rule: Rule, split: str, choice: Choice) -> tuple[int, int]:
    """Count the seeds whose own fronts give the same choice, and all seeds."""
    assert choice.point is not None
    same, fronts = 0, [f for f in front.by_seed() if f.points]
    for one in fronts:
        noise = _noise_of(front, one.points, split)
        own = list_candidates(one.points, front.objectives, split, noise, _ideals_on(one, split))
        try:
            point = rule.choose(own).point
        except NoFeasiblePointError:
            continue
        same += point is not None and replicates.base_id(point) == choice.point.id
    return same, len(fronts)


def _nearest_model(front: Points, point: Point, split: str) -> Point:
    """Return the model nearest to a mean over seeds; with one seed, the point itself."""
    return point if front.study["seeds"] == 1 else replicates.nearest_replicate(front.points, point, split)


# --- a few models for the whole front ---


def choose_subset(front: Points, k: int) -> Deployed:
    """Choose the k models that lose least hypervolume; see `Front.choose`."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k={k!r} is not a number of models; give 1 or more")
    points = sorted(front.mean().points, key=lambda p: p.id)
    losses = score.check_losses([p.losses["validate"] for p in points])
    if k > len(points):
        raise ValueError(f"k={k}: the front has {count_points(points)}; give at most {len(points)}")
    whole = score.hypervolume(losses, front.ref_point)
    if whole is None:
        raise ValueError(f"no point dominates ref_point={front.ref_point}, so that no hypervolume can be kept or lost")
    rows = _distinct_rows(losses, front.ref_point)
    subset, exact = _best_subset(losses[rows], front.ref_point, k)
    chosen = [points[rows[i]] for i in subset]
    volume = score.hypervolume(losses[rows[subset]], front.ref_point) or 0.0
    lost = max(0.0, 1 - volume / whole)
    how = "no other choice loses less" if exact else "found greedily and improved by exchanges"
    why = (
        f"{', '.join(p.id for p in chosen)} keep {1 - lost:.2%} of the front's hypervolume, {volume:.4g} of {whole:.4g}"
    )
    fewer = f"; only {len(rows)} points add to it" if len(rows) < k else ""
    return Deployed(tuple(_nearest_model(front, p, "validate") for p in chosen), volume, lost, f"{why}{fewer}; {how}")


def _distinct_rows(losses: Float[np.ndarray, "n m"], ref_point: Sequence[float]) -> np.ndarray:
    """Return the nondominated rows that dominate the reference; of equal rows the first."""
    rows = np.flatnonzero(score.is_nondominated(losses) & (losses < np.array(ref_point)).all(axis=1))
    first = np.unique(losses[rows], axis=0, return_index=True)[1]
    return rows[np.sort(first)]


def _best_subset(losses: Float[np.ndarray, "n m"], ref_point: Sequence[float], k: int) -> tuple[list[int], bool]:
    """Return the rows of the best subset of at most k, and whether it is proven best."""
    n, m = losses.shape
    if n <= k:
        return list(range(n)), True
    if m == 2:
        return _best_subset_of_two(losses, np.array(ref_point), k), True

    def volume(rows: Sequence[int]) -> float:
        return score.hypervolume(losses[list(rows)], ref_point) or 0.0

    if math.comb(n, k) <= MOST_SUBSETS:
        return _largest(itertools.combinations(range(n), k), volume), True
    subset: list[int] = []
    for _ in range(k):
        subset = _largest(([*subset, i] for i in range(n) if i not in subset), volume)
    while True:
        others = [i for i in range(n) if i not in subset]
        exchanges = ([*subset[:j], *subset[j + 1 :], i] for j, i in itertools.product(range(k), others))
        better = _largest(exchanges, volume)
        if volume(better) <= volume(subset) * (1 + LEAST_GAIN):
            return sorted(subset), False
        subset = better


def _largest(subsets, volume: Callable[[Sequence[int]], float]) -> list[int]:
    """Return the subset with the largest volume; of equal ones the first."""
    best, largest = -math.inf, []
    for subset in subsets:
        value = volume(subset)
        if value > best * (1 + LEAST_GAIN if best > 0 else 1):
            best, largest = value, list(subset)
    return largest


def _best_subset_of_two(losses: Float[np.ndarray, "n 2"], reference: Float[np.ndarray, " 2"], k: int) -> list[int]:
    """Find the best subset by dynamic programming along the front: a point's gain depends only on the one before it."""
    order = np.lexsort(losses.T[::-1])
    x, y = losses[order].T
    parts = (reference[0] - x)[None, :] * (y[:, None] - y[None, :])  # of point j after point i
    best = (reference[0] - x) * (reference[1] - y)
    back = []
    for _ in range(k - 1):
        volumes = np.where(np.triu(np.ones_like(parts), 1) > 0, best[:, None] + parts, -np.inf)
        back.append(volumes.argmax(axis=0))
        best = volumes.max(axis=0)
    last = int(best.argmax())
    places = [last]
    for step in reversed(back):
        places.append(int(step[places[-1]]))
    return sorted(order[places].tolist())

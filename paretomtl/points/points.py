"""The points of a front as numbers: arrays, means over seeds, dominance and figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from paretomtl.objective import Objective
from paretomtl.point import Point
from paretomtl.points import replicates, score, seeds
from paretomtl.points.preference_map import PreferenceMap, map_preferences
from paretomtl.points.score import Score
from paretomtl.points.seeds import Comparison, Spread, Tradeoff


class Points:
    """The points of a study, by how they ended, and what they are as numbers.

    A study of several seeds trains each point several times. Then `points` and the arrays hold every model, and figures
    (`hypervolume`, `score`) are means over the seeds.

    Args:
        study: what was requested, as stored.
        points: that were computed; their order is kept.
        folder: where their files are; None without files.
        damage: what was found damaged while the folder was read, where there was a way around it.
        temporary: keeps a temporary folder alive.

    Attributes:
        objectives: what was traded off.
        ref_point: the hypervolume reference, as fixed in the problem.
        points: the points that succeeded, in the order of the seeds and preferences; arrays follow this order.
        corners: the points trained on one objective alone that succeeded.
        failed: the points that did not, with their reasons.
        corrupt: the points whose records cannot be read, with the reasons.
    """

    def __init__(
        self,
        study: Mapping[str, Any],
        points: Sequence[Point],
        *,
        folder: Path | None = None,
        damage: Sequence[str] = (),
        temporary: object | None = None,
    ):
        self.study, self.folder, self.damage, self.temporary = study, folder, tuple(damage), temporary
        self.objectives = tuple(Objective(**o) for o in study["objectives"])
        self.ref_point = tuple(study["ref_point"])
        self.points = tuple(p for p in points if p.state == "done" and p.corner is None)
        self.corners = tuple(p for p in points if p.state == "done" and p.corner is not None)
        self.failed = tuple(p for p in points if p.state == "failed")
        self.corrupt = tuple(p for p in points if p.state == "corrupt")

    def _with(self, points: Sequence[Point], changes: Mapping[str, Any] | None = None) -> Self:
        """The same, with other points and with changes to the study."""
        study = {**self.study, **(changes or {})}
        return type(self)(study, points, folder=self.folder, damage=self.damage, temporary=self.temporary)

    def __len__(self) -> int:
        return len(self.points)

    @property
    def names(self) -> tuple[str, ...]:
        """The objectives' names."""
        return tuple(o.name for o in self.objectives)

    @property
    def losses(self) -> Float[np.ndarray, "n m"]:
        """The mean validation losses."""
        return self.losses_on("validate")

    @property
    def values(self) -> Float[np.ndarray, "n m"]:
        """The validation measures, in their own sense; the losses where the problem has no measure."""
        return self._array([p.values["validate"] for p in self.points])

    @property
    def preferences(self) -> Float[np.ndarray, "n m"]:
        """The preferences asked for."""
        if not all(p.preference for p in self.points):
            raise ValueError("this front has no preferences: it was made from values alone")
        return self._array([p.preference for p in self.points])

    @property
    def control_errors(self) -> Float[np.ndarray, " n"]:
        """Degrees between the ray asked for and the losses reached, of the points that were asked for one."""
        return np.array([p.control_error for p in self.points if p.control_error is not None], dtype=np.float64)

    @property
    def ideals(self) -> Float[np.ndarray, " m"] | None:
        """Each objective's loss when trained alone (its mean over the seeds); None unless all corners succeeded."""
        corners = self.mean().corners
        alone = {p.corner: p.losses["validate"][self.names.index(p.corner)] for p in corners if p.corner}
        return np.array([alone[name] for name in self.names]) if set(alone) == set(self.names) else None

    def losses_on(self, split: str) -> Float[np.ndarray, "n m"]:
        """The mean losses on "validate" or "test"."""
        missing = [p.id for p in self.points if split not in p.losses]
        if missing:
            raise ValueError(f"split={split!r} was not measured; this front has {', '.join(self.study['splits'])}")
        return self._array([p.losses[split] for p in self.points])

    @property
    def every(self) -> tuple[Point, ...]:
        """All points: those that succeeded, corners, failed and corrupt ones."""
        return (*self.points, *self.corners, *self.failed, *self.corrupt)

    def by_seed(self) -> tuple[Self, ...]:
        """The front of each seed."""
        return tuple(self._of_seed(s) for s in sorted({p.seed for p in self.every}))

    def _of_seed(self, seed: int) -> Self:
        asked = [p for p in self.study["points"] if p["seed"] == seed]
        return self._with([p for p in self.every if p.seed == seed], {"points": asked, "seeds": 1})

    def mean(self) -> Self:
        """A front of the means over the seeds, one point a preference, without models; itself if there is one seed."""
        if self.study["seeds"] == 1:
            return self
        means = replicates.mean_points((*self.points, *self.corners))
        return self._with([*means, *self.failed, *self.corrupt], {"seeds": 1})

    def spread(self) -> Spread:
        """The mean and the spread of each point's validation losses over the seeds."""
        groups = replicates.group_replicates(self.points)
        rows = [self._array([p.losses["validate"] for p in group]) for group in groups.values()]
        return seeds.spread_over_seeds(list(groups), self.names, rows)

    def tradeoff(self) -> Tradeoff:
        """Whether there is a trade-off beyond seed noise; it takes ideals (a number of preferences) and two seeds."""
        fronts = [f for f in self.by_seed() if f.points and f.ideals is not None]
        if not fronts:
            return Tradeoff(None, "not available: no ideals; they are trained where preferences= is a number")
        groups = [replicates.group_replicates(f.points) for f in fronts]
        kept = [id for id in groups[0] if all(id in group for group in groups)]
        losses = [self._array([group[id][0].losses["validate"] for id in kept]) for group in groups]
        ideals = np.stack([f.ideals for f in fronts if f.ideals is not None])
        return seeds.assess_tradeoff(kept, self.names, np.stack(losses), ideals)

    def compare(self, other: "Points") -> Comparison:
        """Whether this front's hypervolume is larger than another's of the same problem, paired over the seeds.

        Raises:
            ValueError: the other has other objectives, splits, another `ref_point` or other seeds.
        """
        self.check_alike(other)
        here, there = ({f.points[0].seed: f.hypervolume() for f in x.by_seed() if f.points} for x in (self, other))
        if set(here) != set(there):
            raise ValueError(f"seeds {[*here]} here, {[*there]} in the other front; they are compared in pairs")
        first, second = self.study.get("seed"), other.study.get("seed")  # unknown of a front from elsewhere
        if None not in (first, second) and first != second:
            raise ValueError(f"seed={first} here, seed={second} in the other front; they are compared in pairs")
        pairs = [(here[s] or 0.0, there[s] or 0.0) for s in here]  # what dominates nothing has no volume
        return seeds.compare_paired(np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))

    def check_alike(self, other: "Points") -> None:
        """An error where the other is of another problem, so that figures say nothing of one another."""
        elsewhere = None in (self.folder, other.folder)  # of a front that was not explored the splits are unknown
        for what in ("objectives", "ref_point") if elsewhere else ("objectives", "ref_point", "splits"):
            here, there = (f.study[what] if what == "splits" else getattr(f, what) for f in (self, other))
            if here != there:
                raise ValueError(f"{what}: {here} here, {there} in the other front; they must be the same")

    def hypervolume(self) -> float | None:
        """The hypervolume of the validation losses against `ref_point`; None where no point dominates it."""
        if self.study["seeds"] > 1:
            return self.score().hypervolume
        return score.hypervolume(self.losses, self.ref_point)

    def score(self, reference: "Points | np.ndarray | None" = None) -> Score:
        """The front's figures, as a table.

        Args:
            reference: a known front, or the union of several methods', as an (N, m) array of losses; or another Front.
                `igd_plus` and `epsilon_additive` are measured against it, `largest_gap` is scaled by its range.

        Raises:
            ValueError: the reference has other objectives, splits or another `ref_point`.
        """
        if self.study["seeds"] > 1:
            fronts = [f for f in self.by_seed() if f.points]
            return score.mean_score([f.score(reference) for f in fronts], len(self.failed))
        known = None if reference is None else self._known(reference)
        return score.score_points(self.points, self.losses, self.ref_point, known, len(self.failed))

    def _known(self, reference: "Points | np.ndarray") -> Float[np.ndarray, "N m"]:
        """The non-dominated points of a reference front, which must be of the same problem."""
        if isinstance(reference, Points):
            self.check_alike(reference)
            reference = reference.losses
        return score.distinct_front(score.check_losses(reference, "reference", len(self.names)))

    def nondominated(self) -> Self:
        """The front without the points that another of the same seed dominates in the validation losses."""
        if self.study["seeds"] > 1 and self.points:
            kept = [p for f in self.by_seed() if f.points for p in f.nondominated().points]
        else:
            kept = [p for p, keep in zip(self.points, score.is_nondominated(self.losses), strict=True) if keep]
        return self._with([*kept, *self.corners, *self.failed, *self.corrupt])

    def map(self) -> PreferenceMap:
        """How losses follow from preferences, point by point, and how far a preference in between can be trusted."""
        mean = self.mean()
        return map_preferences(mean.names, mean.preferences, mean.losses)

    def _array(self, rows: Sequence[Sequence[float]]) -> np.ndarray:
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.objectives))

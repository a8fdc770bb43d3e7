"""The points of a front as numbers: arrays, means over the seeds, dominance and figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from paretomtl.normalisation import Normalisation, read_normalisation
from paretomtl.objective import Objective
from paretomtl.point import Point
from paretomtl.points import replicates, score, seeds
from paretomtl.points.preference_map import PreferenceMap, map_preferences
from paretomtl.points.score import Score
from paretomtl.points.seeds import Comparison, Spread, Tradeoff


class Points:
    """The points of a study, grouped by their state, and their numbers.

    A study of several seeds trains each point several times. Then `points` and the arrays hold every model, and figures
    (`hypervolume`, `score`) are means over the seeds.

    Args:
        study: the study, as requested and stored.
        points: the computed points, in the order to keep.
        folder: the folder of their files; None without files.
        damage: damage in the folder that reading it could work around.
        temporary: an object that keeps a temporary folder alive.

    Attributes:
        objectives: the objectives that were traded off.
        ref_point: the hypervolume reference, as fixed in the problem.
        points: the points that succeeded, ordered by seed and preference; arrays follow this order.
        corners: the points trained on one objective alone that succeeded.
        failed: the points that failed, with their reasons.
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
        """Copy these with other points and with changes to the study."""
        study = {**self.study, **(changes or {})}
        return type(self)(study, points, folder=self.folder, damage=self.damage, temporary=self.temporary)

    def __len__(self) -> int:
        return len(self.points)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the objectives."""
        return tuple(o.name for o in self.objectives)

    @property
    def losses(self) -> Float[np.ndarray, "n m"]:
        """Mean validation losses."""
        return self.losses_on("validate")

    @property
    def values(self) -> Float[np.ndarray, "n m"]:
        """Validation measures, in their own sense; the losses where the problem has no measure."""
        return self._array([p.values["validate"] for p in self.points])

    @property
    def preferences(self) -> Float[np.ndarray, "n m"]:
        """Requested preferences."""
        if not all(p.preference for p in self.points):
            raise ValueError("this front has no preferences: it was made from values alone")
        return self._array([p.preference for p in self.points])

    @property
    def control_errors(self) -> Float[np.ndarray, " n"]:
        """Degrees between each requested ray and the losses reached; only of points with a preference."""
        return np.array([p.control_error for p in self.points if p.control_error is not None], dtype=np.float64)

    @property
    def ideals(self) -> Float[np.ndarray, " m"] | None:
        """Loss of each objective when trained alone (mean over the seeds); None unless all corners succeeded.

        None for a front model, too: its corners run through a quarter of the steps, and only tell the losses' range.
        """
        if self.study.get("front_model") is not None:
            return None
        corners = self.mean().corners
        alone = {p.corner: p.losses["validate"][self.names.index(p.corner)] for p in corners if p.corner}
        return np.array([alone[name] for name in self.names]) if set(alone) == set(self.names) else None

    @property
    def normalisation(self) -> Normalisation | None:
        """The range of each loss, if the method saw the losses in units of it; None if it saw them as they are."""
        return read_normalisation(self.study)

    def normalised(self, losses: Float[np.ndarray, "*points m"]) -> Float[np.ndarray, "*points m"]:
        """Return losses in the units of preferences and rays: of what there is to gain, or as they are."""
        return losses if self.normalisation is None else self.normalisation.apply(losses)

    def losses_on(self, split: str) -> Float[np.ndarray, "n m"]:
        """Return the mean losses on "validate" or "test"."""
        missing = [p.id for p in self.points if split not in p.losses]
        if missing:
            raise ValueError(f"split={split!r} was not measured; this front has {', '.join(self.study['splits'])}")
        return self._array([p.losses[split] for p in self.points])

    @property
    def every(self) -> tuple[Point, ...]:
        """All points: successful, corners, failed and corrupt."""
        return (*self.points, *self.corners, *self.failed, *self.corrupt)

    def by_seed(self) -> tuple[Self, ...]:
        """Return the front of each seed."""
        return tuple(self._of_seed(s) for s in sorted({p.seed for p in self.every}))

    def _of_seed(self, seed: int) -> Self:
        points = [p for p in self.study["points"] if p["seed"] == seed]
        return self._with([p for p in self.every if p.seed == seed], {"points": points, "seeds": 1})

    def mean(self) -> Self:
        """Average over the seeds: one point a preference, without models; the front itself if there is one seed."""
        if self.study["seeds"] == 1:
            return self
        means = replicates.mean_points((*self.points, *self.corners), self.normalisation)
        return self._with([*means, *self.failed, *self.corrupt], {"seeds": 1})

    def spread(self) -> Spread:
        """Return mean and spread of each point's validation losses over the seeds."""
        groups = replicates.group_replicates(self.points)
        rows = [self._array([p.losses["validate"] for p in group]) for group in groups.values()]
        return seeds.spread_over_seeds(list(groups), self.names, rows)

    def tradeoff(self) -> Tradeoff:
        """Test for a trade-off beyond seed noise; the test needs ideals (an int for `preferences`) and two seeds."""
        fronts = [f for f in self.by_seed() if f.points and f.ideals is not None]
        if not fronts:
            return Tradeoff(None, "not available: no ideals; they are trained where preferences= is a number")
        groups = [replicates.group_replicates(f.points) for f in fronts]
        ids = [id for id in groups[0] if all(id in group for group in groups)]
        losses = [self._array([group[id][0].losses["validate"] for id in ids]) for group in groups]
        ideals = np.stack([f.ideals for f in fronts if f.ideals is not None])
        return seeds.assess_tradeoff(ids, self.names, np.stack(losses), ideals)

    def compare(self, other: "Points") -> Comparison:
        """Compare this front's hypervolume with another's of the same problem, paired over the seeds.

        Raises:
            ValueError: the fronts differ in objectives, splits, `ref_point` or seeds.
        """
        self.check_alike(other)
        ours, theirs = ({f.points[0].seed: f.hypervolume() for f in x.by_seed() if f.points} for x in (self, other))
        if set(ours) != set(theirs):
            raise ValueError(f"seeds {[*ours]} here, {[*theirs]} in the other front; they are compared in pairs")
        first, second = self.study.get("seed"), other.study.get("seed")  # unknown for a front from elsewhere
        if None not in (first, second) and first != second:
            raise ValueError(f"seed={first} here, seed={second} in the other front; they are compared in pairs")
        pairs = [(ours[s] or 0.0, theirs[s] or 0.0) for s in ours]  # a seed without a dominating point counts as 0
        return seeds.compare_paired(np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))

    def check_alike(self, other: "Points") -> None:
        """Raise a ValueError if the other is of another problem, so that their figures cannot be compared."""
        splits_unknown = None in (self.folder, other.folder)  # an imported front has no record of its splits
        for field in ("objectives", "ref_point") if splits_unknown else ("objectives", "ref_point", "splits"):
            ours, theirs = (f.study[field] if field == "splits" else getattr(f, field) for f in (self, other))
            if ours != theirs:
                raise ValueError(f"{field}: {ours} here, {theirs} in the other front; they must be the same")

    def hypervolume(self) -> float | None:
        """Return the hypervolume of the validation losses against `ref_point`; None if no point dominates it."""
        if self.study["seeds"] > 1:
            return self.score().hypervolume
        return score.hypervolume(self.losses, self.ref_point)

    def score(self, reference: "Points | np.ndarray | None" = None) -> Score:
        """Return the front's figures, as a table.

        Args:
            reference: a known front, or the union of several methods' fronts, as an (N, m) array of losses or a Front.
                `igd_plus` and `epsilon_additive` are measured against it, `largest_gap` is scaled by its range.

        Raises:
            ValueError: the reference differs in objectives, splits or `ref_point`.
        """
        if self.study["seeds"] > 1:
            fronts = [f for f in self.by_seed() if f.points]
            return score.mean_score([f.score(reference) for f in fronts], len(self.failed))
        reference_front = None if reference is None else self._reference_front(reference)
        return score.score_points(self.points, self.losses, self.ref_point, reference_front, len(self.failed))

    def _reference_front(self, reference: "Points | np.ndarray") -> Float[np.ndarray, "N m"]:
        """Return the nondominated points of a reference front, which must be of the same problem."""
        if isinstance(reference, Points):
            self.check_alike(reference)
            reference = reference.losses
        return score.distinct_front(score.check_losses(reference, "reference", len(self.names)))

    def nondominated(self) -> Self:
        """Return the front without points that another of the same seed dominates in the validation losses."""
        if self.study["seeds"] > 1 and self.points:
            points = [p for f in self.by_seed() if f.points for p in f.nondominated().points]
        else:
            points = [p for p, keep in zip(self.points, score.is_nondominated(self.losses), strict=True) if keep]
        return self._with([*points, *self.corners, *self.failed, *self.corrupt])

    def map(self) -> PreferenceMap:
        """Map preferences to losses, with the error to expect between two points."""
        mean = self.mean()
        return map_preferences(mean.names, mean.preferences, mean.losses)

    def _array(self, rows: Sequence[Sequence[float]]) -> np.ndarray:
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.objectives))

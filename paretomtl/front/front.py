"""The result of an exploration: its points, figures and choices, over the records of a folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import nn

from paretomtl.front import elsewhere, exchange, score, seeds
from paretomtl.front.pick import Deployed, Pick, deployed, picked
from paretomtl.front.preference_map import PreferenceMap, preference_map
from paretomtl.front.rules import Constraint
from paretomtl.front.score import Score
from paretomtl.front.seeds import Comparison, Spread, Tradeoff
from paretomtl.front.select import Rule
from paretomtl.front.store import Scratch, Store
from paretomtl.layout import difference, layout
from paretomtl.point import Point
from paretomtl.preference import normalised
from paretomtl.problem import Objective, Problem


class Front:
    """A front, made by `explore`, `Front.load`, or of numbers from elsewhere: `from_values`, `from_csv` and so on.

    A study of several seeds trains each point several times. Then `points` and the arrays hold every model; figures
    (`hypervolume`, `score`) are means over the fronts of the seeds, and a rule chooses by the points' means.

    Attributes:
        objectives: what was traded off.
        ref_point: the hypervolume reference, as fixed in the problem.
        points: the points that succeeded, in the order of the seeds and preferences; arrays follow this order.
        corners: the points trained on one objective alone that succeeded.
        failed: the points that did not, with their reasons.
        corrupt: the points whose records cannot be read, with the reasons.
        study: what was asked for, as stored.
        folder: where its files are; None for a front that was not explored.
    """

    def __init__(
        self, store: Store | None, study: Mapping[str, Any], points: Sequence[Point], keep: Scratch | None = None
    ):
        self._store, self._keep = store, keep
        self.folder = None if store is None else store.folder
        self.study = study
        self.objectives = tuple(Objective(**o) for o in study["objectives"])
        self.ref_point = tuple(study["ref_point"])
        self.points = tuple(p for p in points if p.state == "done" and p.corner is None)
        self.corners = tuple(p for p in points if p.state == "done" and p.corner is not None)
        self.failed = tuple(p for p in points if p.state == "failed")
        self.corrupt = tuple(p for p in points if p.state == "corrupt")

    @classmethod
    def load(cls, folder: str | Path, keep: Scratch | None = None) -> "Front":
        """The front of a folder.

        Args:
            folder: as given to `explore` as `out`.
            keep: a temporary folder that is to live as long as the front.
        """
        store = Store(folder)
        return cls(store, store.study, store.read_points(), keep)

    @classmethod
    def from_values(
        cls,
        values: Float[np.ndarray, "n m"] | Sequence[Sequence[float]],
        objectives: Sequence[str | Objective],
        ref_point: Sequence[float],
        preferences: Float[np.ndarray, "n m"] | Sequence[Sequence[float]] | None = None,
        ids: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        errors: Float[np.ndarray, "n m"] | Sequence[Sequence[float]] | None = None,
    ) -> "Front":
        """A front of numbers from elsewhere, without models.

        Args:
            values: one row a point, one column an objective, as people read them: where the goal is "max", larger is
                better, and the loss is the value with its sign turned.
            objectives: names, or `Objective`s with goal and unit.
            ref_point: the hypervolume reference, in the sense of the values.
            preferences: what was asked for, row by row, if that is known.
            ids: names of the points.
            seeds: which run each row is of, from 0 on; ids that end in "-seed-1", "-seed-2" … are of one point.
            errors: the values' standard errors, which rules keep margins by.
        """
        study, points = exchange.from_values(values, objectives, ref_point, preferences, ids, seeds, errors)
        return cls(None, study, points)

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        ref_point: Sequence[float],
        objectives: Sequence[str | Objective] | None = None,
    ) -> "Front":
        """A front from a table: a points.csv, what `to_csv` wrote, or any with a column an objective.

        Args:
            path: of the file; commas between cells, a header first.
            ref_point: the hypervolume reference, in the sense of the values.
            objectives: which columns; by default the measures of a points.csv, or all columns but "id".

        Raises:
            ValueError: a number is missing or not finite; the message has the lines.
        """
        study, points = exchange.from_csv(path, ref_point, objectives)
        return cls(None, study, points)

    @classmethod
    def from_frame(
        cls, frame: Any, ref_point: Sequence[float], objectives: Sequence[str | Objective] | None = None
    ) -> "Front":
        """A front of a pandas DataFrame: what `to_frame` returned, or any with a column an objective.

        Args:
            frame: one row a point; columns "id", "seed" and "preference NAME" are read as in points.csv.
            ref_point: the hypervolume reference, in the sense of the values.
            objectives: which columns; by default the measures of `to_frame`, or all other columns of numbers.

        Raises:
            EmptyFrontError, ValueError: no row; a column without numbers, or a number that is not finite, by its row.
        """
        return cls(None, *elsewhere.from_frame(frame, ref_point, objectives))

    @classmethod
    def from_optuna(
        cls, study: Any, ref_point: Sequence[float], objectives: Sequence[str | Objective] | None = None
    ) -> "Front":
        """A front of an `optuna.Study`: its complete trials; `warnings` counts the others.

        Args:
            study: of two objectives or more; its directions are their goals.
            ref_point: the hypervolume reference, in the sense of the values.
            objectives: names, or `Objective`s with units; by default the study's metric names.

        Raises:
            EmptyFrontError, ValueError: no trial is complete; a value is not finite, by its trial; a goal is not the
                study's.
        """
        return cls(None, *elsewhere.from_optuna(study, ref_point, objectives))

    @classmethod
    def from_pymoo(cls, result: Any, ref_point: Sequence[float], objectives: Sequence[str | Objective]) -> "Front":
        """A front of what pymoo's `minimize` returned: its feasible solutions.

        Args:
            result: a `pymoo.core.result.Result`.
            ref_point: the hypervolume reference, in the sense of the values.
            objectives: names, or `Objective`s, in the order of the columns of F. pymoo minimises: where the goal is
                "max", F has the value with its sign turned, and it is turned back.

        Raises:
            EmptyFrontError, ValueError: no solution is feasible; a value is not finite, by its row of F.
        """
        return cls(None, *elsewhere.from_pymoo(result, ref_point, objectives))

    @classmethod
    def from_ray(cls, result_grid: Any, ref_point: Sequence[float], objectives: Sequence[str | Objective]) -> "Front":
        """A front of what Ray's `Tuner.fit` returned: each trial's last report; `warnings` counts those that failed.

        Args:
            result_grid: a `ray.tune.ResultGrid`. Where all trials have a "preference" in their config, it is kept.
            ref_point: the hypervolume reference, in the sense of the values.
            objectives: names of metrics, or `Objective`s; NAME also finds the "value/NAME" of `pm.trainable`.

        Raises:
            EmptyFrontError, ValueError: no trial succeeded; a metric is missing or not finite, by its trial.
        """
        return cls(None, *elsewhere.from_ray(result_grid, ref_point, objectives))

    def to_frame(self) -> Any:
        """The points as a pandas DataFrame with the columns of points.csv.

        Raises:
            ImportError: pandas is not installed.
        """
        return elsewhere.to_frame(self.every, self.names)

    def to_csv(self, path: str | Path) -> Path:
        """Write the points as a table, as in points.csv."""
        return exchange.to_csv(path, self.every, self.names)

    def to_json(self, path: str | Path) -> Path:
        """Write the study and its points as one file of JSON."""
        return exchange.to_json(path, self.study, self.every, self.names)

    @property
    def every(self) -> tuple[Point, ...]:
        """All points: those that succeeded, corners, failed and corrupt ones."""
        return (*self.points, *self.corners, *self.failed, *self.corrupt)

    # --- several seeds ---

    def by_seed(self) -> tuple["Front", ...]:
        """The front of each seed."""
        return tuple(self._of_seed(s) for s in sorted({p.seed for p in self.every}))

    def _of_seed(self, seed: int) -> "Front":
        asked = [p for p in self.study["points"] if p["seed"] == seed]
        return self._with([p for p in self.every if p.seed == seed], {"points": asked, "seeds": 1})

    def mean(self) -> "Front":
        """A front of the means over the seeds, one point a preference, without models; itself if there is one seed."""
        if self.study["seeds"] == 1:
            return self
        means = exchange.means((*self.points, *self.corners))
        return self._with([*means, *self.failed, *self.corrupt], {"seeds": 1})

    def spread(self) -> Spread:
        """The mean and the spread of each point's validation losses over the seeds."""
        groups = exchange.alike(self.points)
        rows = [self._array([p.losses["validate"] for p in group]) for group in groups.values()]
        return seeds.spread(list(groups), self.names, rows)

    def tradeoff(self) -> Tradeoff:
        """Whether there is a trade-off beyond seed noise; it takes ideals (a number of preferences) and two seeds."""
        fronts = [f for f in self.by_seed() if f.points and f.ideals is not None]
        if not fronts:
            return Tradeoff(None, "not available: no ideals; they are trained where preferences= is a number")
        groups = [exchange.alike(f.points) for f in fronts]
        kept = [id for id in groups[0] if all(id in group for group in groups)]
        losses = [self._array([group[id][0].losses["validate"] for id in kept]) for group in groups]
        ideals = np.stack([f.ideals for f in fronts if f.ideals is not None])
        return seeds.measurable(kept, self.names, np.stack(losses), ideals)

    def compare(self, other: "Front") -> Comparison:
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
        return seeds.compare(np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))

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

    def hypervolume(self) -> float | None:
        """The hypervolume of the validation losses against `ref_point`; None where no point dominates it."""
        if self.study["seeds"] > 1:
            return self.score().hypervolume
        return score.hypervolume(self.losses, self.ref_point)

    def score(self, reference: "Front | np.ndarray | None" = None) -> Score:
        """The front's figures, as a table.

        Args:
            reference: a known front, or the union of several methods', as an (N, m) array of losses; or another Front.
                `igd_plus` and `epsilon_additive` are measured against it, `largest_gap` is scaled by its range.

        Raises:
            ValueError: the reference has other objectives, splits or another `ref_point`.
        """
        if self.study["seeds"] > 1:
            fronts = [f for f in self.by_seed() if f.points]
            return score.over_seeds([f.score(reference) for f in fronts], len(self.failed))
        known = None if reference is None else self._known(reference)
        return score.figures(self.points, self.losses, self.ref_point, known, len(self.failed))

    def _known(self, reference: "Front | np.ndarray") -> Float[np.ndarray, "N m"]:
        """The non-dominated points of a reference front, which must be of the same problem."""
        if isinstance(reference, Front):
            self.check_alike(reference)
            reference = reference.losses
        return score.distinct_front(score.check_losses(reference, "reference", len(self.names)))

    def check_alike(self, other: "Front") -> None:
        """An error where the other is of another problem, so that figures say nothing of one another."""
        elsewhere = None in (self.folder, other.folder)  # of a front that was not explored the splits are unknown
        for what in ("objectives", "ref_point") if elsewhere else ("objectives", "ref_point", "splits"):
            here, there = (f.study[what] if what == "splits" else getattr(f, what) for f in (self, other))
            if here != there:
                raise ValueError(f"{what}: {here} here, {there} in the other front; they must be the same")

    def _with(self, points: Sequence[Point], changes: Mapping[str, Any] | None = None) -> "Front":
        return Front(self._store, {**self.study, **(changes or {})}, points, self._keep)

    def nondominated(self) -> "Front":
        """The front without the points that another of the same seed dominates in the validation losses."""
        if self.study["seeds"] > 1 and self.points:
            kept = [p for f in self.by_seed() if f.points for p in f.nondominated().points]
        else:
            kept = [p for p, keep in zip(self.points, score.nondominated(self.losses), strict=True) if keep]
        return self._with([*kept, *self.corners, *self.failed, *self.corrupt])

    def select(
        self,
        rule: Rule | None = None,
        *,
        best: str | None = None,
        subject_to: Mapping[str, float] | None = None,
        margin: float | None = None,
        split: str = "validate",
    ) -> Pick:
        """Choose a point by a rule, or by `best` in one objective, `subject_to` bounds on others.

        A bound is "no worse than" in the measure's own sense. Of a study of several seeds the rule sees each point's
        mean, the model that is handed back is the one nearest to it, and `agreement` is the share of the seeds that
        choose the same alone.

        Args:
            rule, best, subject_to, margin: how to choose; the latter three as in `rules.Constraint`.
            split: the measures to choose by. By those on "test" is warned of: they say nothing of unseen data any more.

        Raises:
            NoFeasiblePoint: no point keeps the bounds; it names the nearest.
            EmptyFrontError: there is no point.
        """
        if rule is None:
            if best is None:
                raise ValueError("select needs a rule, or best= one of " + ", ".join(map(repr, self.names)))
            rule = Constraint(best, dict(subject_to or {}), margin)
        elif best is not None or subject_to is not None or margin is not None:
            raise ValueError("give a rule, or best=, subject_to= and margin=, not both")
        return picked(self, rule, split)

    def choose(self, k: int) -> Deployed:
        """The k models to deploy together that lose least of the front's hypervolume, for users with other preferences.

        For two objectives, and where there are at most 2,000 ways to choose, no other k lose less; else they are found
        greedily (which keeps at least 63 % of what k can keep) and improved by exchanges. Of a study of several seeds
        the points' means are chosen from, and the models nearest to them are handed back.

        Raises:
            EmptyFrontError, ValueError: there is no point, or none that dominates `ref_point`.
        """
        return deployed(self, k)

    def load_model(self, point: Point, build: Callable[[], nn.Module]) -> nn.Module:
        """The trained model of a point, in eval mode, on the CPU.

        Args:
            point: of this front.
            build: makes the module that the weights belong to; usually the problem's `model`.

        Raises:
            ValueError: the weights are damaged, or belong to another model; with the difference.
        """
        if point.weights is None or self._store is None:
            why = point.reason or "it was not trained here, or is a mean over seeds"
            raise ValueError(f"{point.id} has no weights: {why}")
        weights, model = self._store.read_weights(point.weights), build()
        there, stored = layout(model.state_dict()), layout(weights)
        if there != stored:
            raise ValueError(f"the model of {point.id} is not the one that build() makes: {difference(stored, there)}")
        model.load_state_dict(weights)
        return model.eval()

    def model_at(
        self,
        preference: Sequence[float] | np.ndarray,
        build: Callable[[], nn.Module],
        seed: int = 0,
        problem: Problem | None = None,
    ) -> nn.Module:
        """The plain network at any preference, of a front explored with a `front_model`; in eval mode, on the CPU.

        Args:
            preference: m numbers, normalised to sum 1.
            build: makes the module that was trained; usually the problem's `model`.
            seed: which of the study's repetitions.
            problem: for a network with BatchNorm, whose statistics are estimated anew on the problem's training data.

        Raises:
            ValueError: the front has no such network; the weights are damaged, or belong to another model.
        """
        from paretomtl.conditioned.serving import serve

        r = normalised(preference, len(self.names))
        found = {p.seed: p.network for p in self.points if p.network is not None}
        if not found or self._store is None:
            raise ValueError(
                "this front has no network for all preferences; explore with front_model=, such as pm.FiLM(), or load "
                "a point"
            )
        if seed not in found:
            raise ValueError(f"seed={seed!r}: this front has networks of the seeds {sorted(found)}")
        return serve(self.study, self._store.read_weights(found[seed]), r, build, seed, problem)

    def map(self) -> PreferenceMap:
        """How losses follow from preferences, point by point, and how far a preference in between can be trusted."""
        return preference_map(self.mean())

    def plot(
        self, path: str | Path, pick: Pick | None = None, kind: str | None = None, width: float | None = None
    ) -> Path:
        """Draw the front to an .svg, .pdf or .png file, with its data as .csv beside it.

        To an .html file it writes the explorer: a page, for any browser and without a network, to bound the measures,
        to try the rules, and to copy the line of Python that loads the model chosen.

        Args:
            path: of the figure, or of the page.
            pick: a choice, to stand out.
            kind: "matrix", one panel a pair of objectives; "parallel", one axis an objective, better up; "control",
                rays asked against reached; by default the plane of two objectives, or the matrix of more. A page has
                all of them; this one comes first.
            width: of a figure, in inches; 3.25 is a paper's column, 6.75 two.
        """
        from paretomtl.show.plots import plot

        return plot(self, path, None if pick is None else pick.point, kind, width)

    def warnings(self) -> tuple[str, ...]:
        """What a reader of this front should know.

        Its notes, damage, failures, constant objectives, points beyond the reference, points off their ray.
        """
        from paretomtl.show.report import told

        return told(self, () if self._store is None else tuple(self._store.damage))

    def table(self) -> str:
        """One line a point: preference, losses by split, validation measures if any, control error, status."""
        from paretomtl.show.report import table

        return table(self)

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        place = "" if self.folder is None else f", {str(self.folder)!r}"
        return f"Front({len(self.points)} points of {' and '.join(map(repr, self.names))}{place})"

    def _array(self, rows: Sequence[Sequence[float]]) -> np.ndarray:
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.objectives))

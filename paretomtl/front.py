"""The result of an exploration: load or read it, choose from it, plot it, and get a model back."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from paretomtl.interop import exchange, readers
from paretomtl.objective import Objective
from paretomtl.point import Point
from paretomtl.points.points import Points
from paretomtl.preference import normalise
from paretomtl.selection.pick import Deployed, Pick, choose_subset, pick_by_rule
from paretomtl.selection.rules import Constraint
from paretomtl.selection.select import Rule
from paretomtl.storage.store import Store

if TYPE_CHECKING:  # reading and choosing need no torch
    from torch import nn

    from paretomtl.problem import Problem


class Front(Points):
    """A front, made by `explore`, `Front.load`, or of numbers from elsewhere: `from_values`, `from_csv` and so on.

    Of a study of several seeds, a rule chooses by the points' means over the seeds. The numbers of a front (arrays,
    means, figures) are described in `Points`.

    Attributes:
        study: what was requested, as stored.
        folder: where its files are; None for a front that was not explored.
    """

    @classmethod
    def load(cls, folder: str | Path, temporary: object | None = None) -> "Front":
        """The front of a folder.

        Args:
            folder: as given to `explore` as `out`.
            temporary: an object that removes the folder once nothing refers to it; the front keeps it.
        """
        store = Store(folder)
        study, points = store.study, store.read_points()
        return cls(study, points, folder=store.folder, damage=store.damage, temporary=temporary)

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
        return cls(study, points)

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
        return cls(study, points)

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
        return cls(*readers.from_frame(frame, ref_point, objectives))

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
        return cls(*readers.from_optuna(study, ref_point, objectives))

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
        return cls(*readers.from_pymoo(result, ref_point, objectives))

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
        return cls(*readers.from_ray(result_grid, ref_point, objectives))

    def to_frame(self) -> Any:
        """The points as a pandas DataFrame with the columns of points.csv.

        Raises:
            ImportError: pandas is not installed.
        """
        return readers.to_frame(self.every, self.names)

    def to_csv(self, path: str | Path) -> Path:
        """Write the points as a table, as in points.csv."""
        return exchange.to_csv(path, self.every, self.names)

    def to_json(self, path: str | Path) -> Path:
        """Write the study and its points as one file of JSON."""
        return exchange.to_json(path, self.study, self.every, self.names)

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
        return pick_by_rule(self, rule, split, self.load_model)

    def choose(self, k: int) -> Deployed:
        """The k models to deploy together that lose least of the front's hypervolume, for users with other preferences.

        For two objectives, and where there are at most 2,000 ways to choose, no other k lose less; else they are found
        greedily (which keeps at least 63 % of what k can keep) and improved by exchanges. Of a study of several seeds
        the points' means are chosen from, and the models nearest to them are handed back.

        Raises:
            EmptyFrontError, ValueError: there is no point, or none that dominates `ref_point`.
        """
        return choose_subset(self, k)

    def load_model(self, point: Point, build: "Callable[[], nn.Module]") -> "nn.Module":
        """The trained model of a point, in eval mode, on the CPU.

        Args:
            point: of this front.
            build: makes the module that the weights belong to; usually the problem's `model`.

        Raises:
            ValueError: the weights are damaged, or belong to another model; with the difference.
        """
        from paretomtl.training.weights import describe_layout_difference, layout_of

        if point.weights is None or self.folder is None:
            why = point.reason or "it was not trained here, or is a mean over seeds"
            raise ValueError(f"{point.id} has no weights: {why}")
        weights, model = Store(self.folder).read_weights(point.weights), build()
        there, stored = layout_of(model.state_dict()), layout_of(weights)
        if there != stored:
            differences = describe_layout_difference(stored, there)
            raise ValueError(f"the model of {point.id} is not the one that build() makes: {differences}")
        model.load_state_dict(weights)
        return model.eval()

    def model_at(
        self,
        preference: Sequence[float] | np.ndarray,
        build: "Callable[[], nn.Module]",
        seed: int = 0,
        problem: "Problem | None" = None,
    ) -> "nn.Module":
        """The plain network at any preference, of a front explored with a `front_model`; in eval mode, on the CPU.

        Args:
            preference: m numbers, normalised to sum 1.
            build: makes the module that was trained; usually the problem's `model`.
            seed: which of the study's repetitions.
            problem: for a network with BatchNorm, whose statistics are estimated anew on the problem's training data.

        Raises:
            ValueError: the front has no such network; the weights are damaged, or belong to another model.
        """
        from paretomtl.training.serving import serve

        r = normalise(preference, len(self.names))
        found = {p.seed: p.network for p in self.points if p.network is not None}
        if not found or self.folder is None:
            raise ValueError(
                "this front has no network for all preferences; explore with front_model=, such as pm.FiLM(), or load "
                "a point"
            )
        if seed not in found:
            raise ValueError(f"seed={seed!r}: this front has networks of the seeds {sorted(found)}")
        return serve(self.study, Store(self.folder).read_weights(found[seed]), r, build, seed, problem)

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
        from paretomtl.show.report import list_warnings

        return list_warnings(self)

    def table(self) -> str:
        """One line a point: preference, losses by split, validation measures if any, control error, status."""
        from paretomtl.show.report import format_table

        return format_table(self)

    def __repr__(self) -> str:
        place = "" if self.folder is None else f", {str(self.folder)!r}"
        return f"Front({len(self.points)} points of {' and '.join(map(repr, self.names))}{place})"

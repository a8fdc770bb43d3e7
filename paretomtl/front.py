"""The result of an exploration: load it, choose from it, plot it, and get a model back."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from paretomtl.errors import escape_controls
from paretomtl.interop import exchange, readers
from paretomtl.objective import Objective, check_reference
from paretomtl.point import Point
from paretomtl.points.points import Points
from paretomtl.preference import normalise
from paretomtl.selection.ask import Ask, ask
from paretomtl.selection.pick import Deployed, Pick, choose_subset, pick_by_rule
from paretomtl.selection.rules import Constraint
from paretomtl.selection.select import Rule
from paretomtl.storage.store import Store

if TYPE_CHECKING:  # reading and choosing need no torch
    from torch import nn

    from paretomtl.problem import Problem


class Front(Points):
    """A front: from `explore`, from `Front.load`, or from values of other tools by `from_values`, `from_csv` and so on.

    In a study of several seeds, a rule chooses by the points' means over the seeds. `Points` describes the numbers of a
    front: arrays, means, figures.

    Attributes:
        study: the study, as requested and stored.
        folder: the folder of its files; None for a front that was not explored.
    """

    @classmethod
    def load(cls, folder: str | Path, temporary: object | None = None) -> "Front":
        """Load the front of a folder.

        Args:
            folder: the `out` of `explore`.
            temporary: an object that removes the folder when it is deleted; the front keeps it alive.
        """
        if not isinstance(folder, (str, PathLike)):
            raise TypeError(
                f"folder= is a {type(folder).__name__}; give the path of a front's folder, the `out` of explore"
            )
        store = Store(folder)
        study, points = store.study, store.read_points()
        if study["ref_point"] is None:
            raise ValueError(
                f"{store.folder}: ref_point is not fixed yet, for the corners are not trained; call explore with the "
                "same arguments to go on"
            )
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
        """Make a front of values from elsewhere, without models.

        Args:
            values: one row a point, one column an objective, as people read them: where the goal is "max", larger is
                better, and the loss is the value with its sign turned.
            objectives: names, or `Objective`s with goal and unit.
            ref_point: the hypervolume reference, in the sense of the values.
            preferences: the requested preferences, one row a point, if known.
            ids: names of the points.
            seeds: the run of each row, from 0 on; ids that end in "-seed-1", "-seed-2" … belong to one point.
            errors: standard errors of the values, used by rules with a margin.
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
        """Read a front from a CSV file: a points.csv, the output of `to_csv`, or any table with a column an objective.

        Args:
            path: the file; commas between cells, a header first.
            ref_point: the hypervolume reference, in the sense of the values.
            objectives: the columns to read; by default the measures of a points.csv, or all columns but "id".

        Raises:
            ValueError: a number is missing or not finite; the message lists the lines.
        """
        study, points = exchange.from_csv(path, ref_point, objectives)
        return cls(study, points)

    @classmethod
    def from_frame(
        cls, frame: Any, ref_point: Sequence[float], objectives: Sequence[str | Objective] | None = None
    ) -> "Front":
        """Make a front of a pandas DataFrame: the result of `to_frame`, or any with a column an objective.

        Args:
            frame: one row a point; columns "id", "seed" and "preference NAME" are read as in points.csv.
            ref_point: the hypervolume reference, in the sense of the values.
            objectives: the columns to read; by default the measures of `to_frame`, or all other columns of numbers.

        Raises:
            EmptyFrontError: there is no row.
            ValueError: a column has no numbers, or a number is not finite; the message lists the rows.
        """
        return cls(*readers.from_frame(frame, ref_point, objectives))

    @classmethod
    def from_optuna(
        cls, study: Any, ref_point: Sequence[float], objectives: Sequence[str | Objective] | None = None
    ) -> "Front":
        """Make a front of the complete trials of an `optuna.Study`; `warnings` counts the others.

        Args:
            study: a study of two objectives or more; its directions are their goals.
            ref_point: the hypervolume reference, in the sense of the values.
            objectives: names, or `Objective`s with units; by default the study's metric names.

        Raises:
            EmptyFrontError: no trial is complete.
            ValueError: a value is not finite (the message lists the trials), or a goal differs from the study's.
        """
        return cls(*readers.from_optuna(study, ref_point, objectives))

    @classmethod
    def from_pymoo(cls, result: Any, ref_point: Sequence[float], objectives: Sequence[str | Objective]) -> "Front":
        """Make a front of the feasible solutions that pymoo's `minimize` returned.

        Args:
            result: a `pymoo.core.result.Result`.
            ref_point: the hypervolume reference, in the sense of the values.
            objectives: names, or `Objective`s, in the order of the columns of F. pymoo minimises: where the goal is
                "max", F holds the value with its sign turned, and `from_pymoo` turns it back.

        Raises:
            EmptyFrontError: no solution is feasible.
            ValueError: a value is not finite; the message lists the rows of F.
        """
        return cls(*readers.from_pymoo(result, ref_point, objectives))

    @classmethod
    def from_ray(cls, result_grid: Any, ref_point: Sequence[float], objectives: Sequence[str | Objective]) -> "Front":
        """Make a front of the last report of each trial of Ray's `Tuner.fit`; `warnings` counts failed trials.

        Args:
            result_grid: a `ray.tune.ResultGrid`. If every trial has a "preference" in its config, the front has it.
            ref_point: the hypervolume reference, in the sense of the values.
            objectives: names of metrics, or `Objective`s; NAME also matches the "value/NAME" of `pm.trainable`.

        Raises:
            EmptyFrontError: no trial succeeded.
            ValueError: a metric is missing or not finite; the message lists the trials.
        """
        return cls(*readers.from_ray(result_grid, ref_point, objectives))

    def to_frame(self) -> Any:
        """Return the points as a pandas DataFrame with the columns of points.csv.

        Raises:
            ImportError: pandas is not installed.
        """
        return readers.to_frame(self.every, self.names)

    def to_csv(self, path: str | Path) -> Path:
        """Write the points as CSV, with the columns of points.csv."""
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
        simultaneous: bool = False,
        split: str = "validate",
    ) -> Pick:
        """Choose a point by a rule, or by `best` in one objective, `subject_to` bounds on others.

        A bound means "no worse than" in the measure's own sense. In a study of several seeds the rule sees each point's
        mean, the pick is the model nearest to the chosen mean, and `agreement` is the share of the seeds that choose
        the same alone.

        Args:
            rule, best, subject_to, margin, simultaneous: how to choose; all but the first as in `rules.Constraint`.
            split: the split whose measures to choose by. Selecting on "test" warns: it no longer says anything about
                unseen data.

        Raises:
            NoFeasiblePointError: no point keeps the bounds; the error names the nearest.
            EmptyFrontError: there is no point.
        """
        if rule is None:
            if best is None:
                raise ValueError("select needs a rule, or best= one of " + ", ".join(map(repr, self.names)))
            if subject_to is not None and not isinstance(subject_to, Mapping):
                raise TypeError(
                    f"subject_to={subject_to!r}: give a bound by objective, such as {{{self.names[-1]!r}: 0.35}}"
                )
            rule = Constraint(best, dict(subject_to or {}), margin, simultaneous)
        elif best is not None or subject_to is not None or margin is not None or simultaneous:
            raise ValueError("give a rule, or best=, subject_to=, margin= and simultaneous=, not both")
        return pick_by_rule(self, rule, split, self.load_model)

    def choose(self, k: int) -> Deployed:
        """Choose k models to deploy together, for users with different preferences: those that lose least hypervolume.

        For two objectives, or up to 2,000 ways to choose, no other k models lose less. Otherwise the choice is greedy
        (which keeps at least 63 % of what k models can keep) and improved by exchanges. In a study of several seeds it
        chooses among the points' means and returns the models nearest to them.

        Raises:
            EmptyFrontError: there is no point.
            ValueError: no point dominates `ref_point`.
        """
        return choose_subset(self, k)

    def ask(
        self,
        aspiration: Mapping[str, float | str],
        *,
        reservation: Mapping[str, float] | None = None,
        at: Point | Pick | None = None,
    ) -> Ask:
        """Return the preference that comes nearest to what one would like, and what to expect there.

        `explore(…, out=same, preferences=[answer.preference])` trains it; then ask again, for the front is known better
        near there.

        Args:
            aspiration: objective -> the value that one would like, as people read it. With `at=`, objectives left out
                keep their value, and a word may stand for a number: "improve" (towards the ideal), "keep", "free".
            reservation: objective -> the value that just about does, for every objective; misses are then measured by
                the way from the aspiration to it, else by the way from the ideal to the aspiration.
            at: a point of this front, or a pick, to start from.

        Raises:
            EmptyFrontError: there is no point.
            ValueError, TypeError: a name, a number or a word is wrong, or one is missing.
        """
        return ask(self, aspiration, reservation, at)

    def with_reference(self, ref_point: Sequence[float]) -> "Front":
        """Return this front with another hypervolume reference; files are left as they are.

        Args:
            ref_point: one number an objective, in the units of the losses.
        """
        reference = check_reference(ref_point, len(self.names)).tolist()
        return self._with(self.every, {"ref_point": reference})

    def load_model(self, point: Point, build: "Callable[[], nn.Module]") -> "nn.Module":
        """Load the trained model of a point, in eval mode, on the CPU.

        Args:
            point: a point of this front.
            build: a function that makes the module that the weights belong to; usually the problem's `model`.

        Raises:
            ValueError: the weights are damaged, or belong to another model; the message lists the differences.
        """
        from paretomtl.training.weights import build_model, describe_layout_difference, layout_of

        if not isinstance(point, Point):
            raise TypeError(f"point={point!r} is a {type(point).__name__}; give one of front.points")
        if point.weights is None or self.folder is None:
            why = point.reason or "it was not trained here, or is a mean over seeds"
            raise ValueError(f"{point.id} has no weights: {escape_controls(why)}")
        weights, model = Store(self.folder).read_weights(point.weights), build_model(build)
        expected, stored = layout_of(model.state_dict()), layout_of(weights)
        if expected != stored:
            differences = describe_layout_difference(stored, expected)
            raise ValueError(f"the model of {point.id} is not the one that build() makes: {differences}")
        model.load_state_dict(weights)
        return model.eval()

    def recordings(self, point: Point) -> dict[str, list[dict[str, Any]]]:
        """Return what recorders recorded of a point's training, by recorder: a dict for each record.

        Raises:
            ValueError: nothing was recorded, or the file is damaged.
        """
        if point.recordings is None or self.folder is None:
            raise ValueError(
                f"nothing was recorded of {point.id}; explore with callbacks=[pm.diagnosis.ConflictRecorder()], "
                "or another recorder"
            )
        return Store(self.folder).read_recordings(point.recordings)

    def model_at(
        self,
        preference: Sequence[float] | np.ndarray,
        build: "Callable[[], nn.Module]",
        seed: int = 0,
        problem: "Problem | None" = None,
    ) -> "nn.Module":
        """Make the plain network at any preference, in eval mode on the CPU; for fronts explored with a `front_model`.

        Args:
            preference: m numbers, normalised to sum 1.
            build: a function that makes the module that was trained; usually the problem's `model`.
            seed: the repetition of the study.
            problem: needed for BatchNorm, whose statistics are estimated anew on the problem's training data.

        Raises:
            ValueError: the front has no such network; the weights are damaged, or belong to another model.
        """
        from paretomtl.training.serving import serve

        r = normalise(preference, len(self.names))
        networks = {p.seed: p.network for p in self.points if p.network is not None}
        if not networks or self.folder is None:
            raise ValueError(
                "this front has no network for all preferences; explore with front_model=, such as pm.FiLM(), or load "
                "a point"
            )
        if seed not in networks:
            raise ValueError(f"seed={seed!r}: this front has networks of the seeds {sorted(networks)}")
        return serve(self.study, Store(self.folder).read_weights(networks[seed]), r, build, seed, problem)

    def plot(
        self, path: str | Path, pick: Pick | None = None, kind: str | None = None, width: float | None = None
    ) -> Path:
        """Draw the front to an .svg, .pdf or .png file, with its data as .csv beside it.

        An .html file becomes the explorer: an offline page for any browser, to bound the measures, to try the rules,
        and to copy the line of Python that loads the chosen model.

        Args:
            path: the file to write.
            pick: a choice to highlight.
            kind: "matrix", one panel a pair of objectives; "parallel", one axis an objective, better up; "control",
                the requested rays against the losses reached. By default the plane for two objectives, and the matrix
                for more. A page has all kinds, this one first.
            width: width of a figure, in inches; 3.25 is a paper's column, 6.75 two.
        """
        from paretomtl.show.plots import plot

        if pick is not None and not isinstance(pick, Pick):
            raise TypeError(f"pick= is a {type(pick).__name__}; give what front.select returned")
        return plot(self, path, None if pick is None else pick.point, kind, width)

    def warnings(self) -> tuple[str, ...]:
        """List what a reader of this front should know, and what to do about it; what matters most comes first.

        Damage, failures, points off their ray and why, points dominated by others, points beyond the reference,
        constant objectives, notes, and the warnings of single points.
        """
        from paretomtl.show.warnings import list_warnings

        return list_warnings(self)

    def table(self) -> str:
        """Format one line a point: preference, losses by split, validation measures if any, control error, status."""
        from paretomtl.show.report import format_table

        return format_table(self)

    def __repr__(self) -> str:
        place = "" if self.folder is None else f", {str(self.folder)!r}"
        return f"Front({len(self.points)} points of {' and '.join(map(repr, self.names))}{place})"

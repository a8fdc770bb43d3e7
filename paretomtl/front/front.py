"""The result of an exploration: its points, figures and choices, over the records of a folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.front import score
from paretomtl.front.score import Score
from paretomtl.front.select import Constraint, Rule, candidates
from paretomtl.front.store import Scratch, Store
from paretomtl.point import Point
from paretomtl.problem import Objective


class Front:
    """A front, made by `explore` or `Front.load`.

    Attributes:
        objectives: what was traded off.
        ref_point: the hypervolume reference, as fixed in the problem.
        points: the points that succeeded, in the order of the preferences; arrays follow this order.
        corners: the points trained on one objective alone that succeeded.
        failed: the points that did not, with their reasons.
        study: what was asked for, as stored.
        folder: where its files are.
    """

    def __init__(self, store: Store, study: Mapping[str, Any], points: Sequence[Point], keep: Scratch | None = None):
        self._store, self._keep = store, keep
        self.folder = store.folder
        self.study = study
        self.objectives = tuple(Objective(**o) for o in study["objectives"])
        self.ref_point = tuple(study["ref_point"])
        self.points = tuple(p for p in points if p.state == "done" and p.corner is None)
        self.corners = tuple(p for p in points if p.state == "done" and p.corner is not None)
        self.failed = tuple(p for p in points if p.state == "failed")

    @classmethod
    def load(cls, folder: str | Path, keep: Scratch | None = None) -> "Front":
        """The front of a folder.

        Args:
            folder: as given to `explore` as `out`.
            keep: a temporary folder that is to live as long as the front.
        """
        store = Store(folder)
        study = store.read_front()["study"]
        points = store.read_points([o["name"] for o in study["objectives"]], study["points"])
        return cls(store, study, points, keep)

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
        return self._array([p.preference for p in self.points])

    @property
    def control_errors(self) -> Float[np.ndarray, " n"]:
        """Degrees between the ray asked for and the losses reached."""
        return np.array([p.control_error for p in self.points], dtype=np.float64)

    @property
    def ideals(self) -> Float[np.ndarray, " m"] | None:
        """Each objective's loss when trained alone; None unless every corner was trained and succeeded."""
        alone = {p.corner: p.losses["validate"][self.names.index(p.corner)] for p in self.corners if p.corner}
        return np.array([alone[name] for name in self.names]) if set(alone) == set(self.names) else None

    def losses_on(self, split: str) -> Float[np.ndarray, "n m"]:
        """The mean losses on "validate" or "test"."""
        missing = [p.id for p in self.points if split not in p.losses]
        if missing:
            raise ValueError(f"split={split!r} was not measured; this front has {', '.join(self.study['splits'])}")
        return self._array([p.losses[split] for p in self.points])

    def hypervolume(self) -> float | None:
        """The hypervolume of the validation losses against `ref_point`; None where no point dominates it."""
        return score.hypervolume(self.losses, self.ref_point)

    def score(self, reference: "Front | np.ndarray | None" = None) -> Score:
        """The front's figures, as a table.

        Args:
            reference: a known front, or the union of several methods', as an (N, m) array of losses; or another Front.
                `igd_plus` and `epsilon_additive` are measured against it, `largest_gap` is scaled by its range.

        Raises:
            ValueError: the reference has other objectives or another `ref_point`.
        """
        losses, angles = self.losses, self.control_errors
        volume = score.volume(losses, self.ref_point)
        known = None if reference is None else self._known(reference)
        return Score(
            hypervolume=None if volume is None else volume.value,
            hypervolume_error=None if volume is None else volume.error or None,
            ref_point=self.ref_point,
            n_outside=score.n_outside(losses, self.ref_point),
            control_error_mean=float(angles.mean()),
            control_error_worst=float(angles.max()),
            igd_plus=None if known is None else score.igd_plus(losses, known),
            epsilon_additive=None if known is None else score.epsilon_additive(losses, known),
            spacing=score.spacing(losses),
            largest_gap=score.largest_gap(losses, None if known is None else (known.min(axis=0), known.max(axis=0))),
            n_points=len(np.unique(losses, axis=0)),
            n_nondominated=len(score.distinct_front(losses)),
            n_failed=len(self.failed),
            n_relaxed=sum(p.counts.get("relaxed", 0) for p in self.points),
            n_fallback=sum(p.counts.get("fell_back", 0) for p in self.points),
        )

    def _known(self, reference: "Front | np.ndarray") -> Float[np.ndarray, "N m"]:
        """The non-dominated points of a reference front, which must be of the same problem."""
        if isinstance(reference, Front):
            for what in ("objectives", "ref_point"):
                here, there = getattr(self, what), getattr(reference, what)
                if here != there:
                    raise ValueError(f"{what}: {here} here, {there} in the reference front; they must be the same")
            reference = reference.losses
        return score.distinct_front(score.check_losses(reference, "reference", len(self.names)))

    def nondominated(self) -> "Front":
        """The front without the points that another dominates in the validation losses."""
        kept = [p for p, keep in zip(self.points, score.nondominated(self.losses), strict=True) if keep]
        return Front(self._store, self.study, [*kept, *self.corners, *self.failed], self._keep)

    def select(
        self,
        rule: Rule | None = None,
        *,
        best: str | None = None,
        subject_to: Mapping[str, float] | None = None,
    ) -> "Pick":
        """Choose a point by a rule, or by `best` in one objective, `subject_to` bounds on others.

        A bound is "no worse than" in the measure's own sense. Choices are made on the validation measures.

        Raises:
            NoFeasiblePoint: no point keeps the bounds; it names the nearest.
            EmptyFrontError: there is no point.
        """
        if rule is None:
            if best is None:
                raise ValueError("select needs a rule, or best= one of " + ", ".join(map(repr, self.names)))
            rule = Constraint(best, dict(subject_to or {}))
        elif best is not None or subject_to is not None:
            raise ValueError("give a rule, or best= and subject_to=, not both")
        choice = rule.choose(candidates(self.points, self.objectives))
        return Pick(self, choice.point, choice.why, choice.runners_up)

    def load_model(self, point: Point, build: Callable[[], nn.Module]) -> nn.Module:
        """The trained model of a point, in eval mode, on the CPU.

        Args:
            point: of this front.
            build: makes the module that the weights belong to; usually the problem's `model`.

        Raises:
            ValueError: the weights are damaged, or belong to another model; with the difference.
        """
        if point.weights is None:
            raise ValueError(f"{point.id} has no weights: {point.reason or point.state}")
        weights, model = self._store.read_weights(point.weights), build()
        there, stored = _layout(model.state_dict()), _layout(weights)
        if there != stored:
            raise ValueError(f"the model of {point.id} is not the one that build() makes: {_difference(stored, there)}")
        model.load_state_dict(weights)
        return model.eval()

    def plot(self, path: str | Path, pick: "Pick | None" = None, kind: str | None = None) -> Path:
        """Draw the front to an .svg, .pdf or .png file, with its data as .csv beside it.

        Args:
            path: of the figure.
            pick: a choice, to stand out.
            kind: "matrix", one panel a pair of objectives; "parallel", one axis an objective, better up; by default the
                plane of two objectives, or the matrix of more.
        """
        from paretomtl.show.plots import plot

        return plot(self, path, None if pick is None else pick.point, kind)

    def warnings(self) -> tuple[str, ...]:
        """What a reader of this front should know.

        Its notes, failures, constant objectives, points beyond the reference, points off their ray.
        """
        found = list(self.study["notes"])
        if self.failed:
            reasons = "; ".join(
                f"{', '.join(ids)}: {why}" for why, ids in _by(self.failed, lambda p: [p.reason]).items()
            )
            asked = len(self.study["points"])
            found.append(f"{len(self.failed)} of {asked} points failed ({reasons})")
        if len(self.points) > 1:
            for name, flat in zip(self.names, score.constant(self.losses), strict=True):
                if flat:
                    found.append(f"no trade-off on {name!r}: its loss is the same at every point")
        if self.points:
            found += self._beyond_reference()
        told = _by((*self.points, *self.corners), lambda p: p.warnings)
        return (*found, *(f"{', '.join(ids)}: {warning}" for warning, ids in told.items()))

    def _beyond_reference(self) -> list[str]:
        n, outside = len(self.points), score.n_outside(self.losses, self.ref_point)
        reference = f"the reference ({', '.join(f'{r:g}' for r in self.ref_point)})"
        if outside == n:
            return [f"no point dominates {reference}, so the hypervolume is undefined"]
        verbs = ("does", "adds") if outside == 1 else ("do", "add")
        text = f"{outside} of {n} points {verbs[0]} not dominate {reference} and {verbs[1]} nothing to the hypervolume"
        return [text] if outside else []

    def table(self) -> str:
        """One line a point: preference, losses by split, validation measures if any, control error, status."""
        splits = self.study["splits"]
        head = ["point", *(f"r {name}" for name in self.names)]
        head += [f"{split} {name}" for split in splits for name in self.names]
        measured = self.objectives if self.study["measured"] else ()
        head += [f"{o.name} [{o.unit or 'measure'}]" for o in measured] + ["off ray", "status"]
        rows = [head]
        for p in (*self.points, *self.corners, *self.failed):
            losses = [f"{x:.4f}" for split in splits for x in p.losses.get(split, ())]
            values = [f"{x:.4g}" for x in p.values.get("validate", ()) if measured]
            row = [p.id, *(f"{r:.3f}" for r in p.preference), *losses, *values]
            if p.state == "failed":
                rows.append([*row, *[""] * (len(head) - 1 - len(row)), f"failed: {p.reason}"])
            else:
                rows.append([*row, *(("", "alone") if p.corner else (f"{p.control_error:.2f}°", str(p.status)))])
        return _aligned(rows)

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        return f"Front({len(self.points)} points of {' and '.join(map(repr, self.names))}, {str(self.folder)!r})"

    def _array(self, rows: Sequence[Sequence[float]]) -> np.ndarray:
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.objectives))


class Pick:
    """A choice: the point (None where the rule found none), why, and the next best by the same rule."""

    def __init__(self, front: Front, point: Point | None, why: str, runners_up: tuple[Point, ...]):
        self._front = front
        self.point, self.why, self.runners_up = point, why, runners_up

    def load(self, build: Callable[[], nn.Module]) -> nn.Module:
        """The chosen model, a plain module in eval mode, its weights checked against their hash."""
        if self.point is None:
            raise ValueError(f"nothing was chosen: {self.why}")
        return self._front.load_model(self.point, build)

    def __repr__(self) -> str:
        return f"Pick({None if self.point is None else self.point.id!r}: {self.why})"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines of columns: the first and the last to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ["<", *[">"] * (len(widths) - 2), "<"]
    layout = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    return "\n".join(layout.format(*row).rstrip() for row in rows)


def _by(points: Sequence[Point], texts: Callable[[Point], Sequence[str | None]]) -> dict[str | None, list[str]]:
    """The ids of the points that carry each text."""
    found: dict[str | None, list[str]] = {}
    for point in points:
        for text in texts(point):
            found.setdefault(text, []).append(point.id)
    return found


def _layout(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """The type and shape of each tensor."""
    return {key: f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}" for key, value in weights.items()}


def _difference(stored: Mapping[str, str], there: Mapping[str, str]) -> str:
    """Keys that one of two models lacks, and types and shapes that differ; the first few of each."""
    parts = []
    for text, keys in (
        ("stored only", [f"{k} {stored[k]}" for k in stored if k not in there]),
        ("in the model only", [f"{k} {there[k]}" for k in there if k not in stored]),
        (
            "different",
            [f"{k} {stored[k]} stored, {there[k]} here" for k in stored if k in there and stored[k] != there[k]],
        ),
    ):
        if keys:
            parts.append(f"{text}: {', '.join(keys[:5])}{' …' if len(keys) > 5 else ''}")
    return "; ".join(parts)

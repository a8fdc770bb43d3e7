"""The facts that a figure of a front shows, collected before anything is drawn."""

import csv
import io
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.objective import Objective
from paretomtl.point import Point
from paretomtl.points import score
from paretomtl.points.points import Points
from paretomtl.points.replicates import base_id
from paretomtl.preference import ray
from paretomtl.storage.table import escape_cell


class Mark(NamedTuple):
    """A point of the figure: its losses, its kind, and the direction of its requested ray among them, if any.

    With several seeds it is their mean, with half of the mean's 95 % confidence interval in each loss.
    """

    id: str
    kind: str  # "front", "dominated" or "chosen"
    losses: tuple[float, ...]
    ray: tuple[float, ...]
    control_error: float | None
    interval: tuple[float, ...] | None = None


class FrontFigure(NamedTuple):
    """All that the figures show."""

    labels: tuple[str, ...]
    names: tuple[str, ...]
    marks: tuple[Mark, ...]
    staircase: Float[np.ndarray, "k 2"] | None  # for two objectives
    ref_point: tuple[float, ...]
    ideals: tuple[float, ...] | None
    hypervolume: score.Volume | None
    origin: tuple[float, ...]  # where the rays start: the ideal of normalised losses, else 0

    def losses(self, *kinds: str) -> Float[np.ndarray, "n m"]:
        """Return the losses of the marks of these kinds; without kinds, of all marks."""
        rows = [m.losses for m in self.marks if not kinds or m.kind in kinds]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.names))

    def ends(self) -> Float[np.ndarray, "2 m"]:
        """Return the smallest and the largest loss of each objective, over all marks and the ideals."""
        losses = self.losses() if self.ideals is None else np.vstack([self.losses(), self.ideals])
        return np.stack([losses.min(axis=0), losses.max(axis=0)])

    @property
    def chosen(self) -> Mark | None:
        """The chosen point."""
        return next((m for m in self.marks if m.kind == "chosen"), None)


def collect_front(front: Points, chosen: Point | None = None) -> FrontFigure:
    """Collect what to draw of a front, from the validation losses.

    Args:
        front: a front of two or more objectives. A point is dominated if another is no worse in all of them.
        chosen: one of its points, to highlight.
    """
    check_chosen(front, chosen)
    mean = front.mean()
    losses = score.check_losses(mean.losses)
    intervals = None if mean is front else front.spread().half_width
    id = None if chosen is None else chosen.id if mean is front else base_id(chosen)
    origin, span = (0.0,) * len(front.names), np.ones(len(front.names))
    if front.normalisation is not None:
        origin, span = front.normalisation.ideal, front.normalisation.span
    marks = []
    for k, (p, keep) in enumerate(zip(mean.points, score.is_nondominated(losses), strict=True)):
        kind = "chosen" if p.id == id else "front" if keep else "dominated"
        direction = tuple((ray(np.array(p.preference)) * span).tolist()) if p.preference else ()
        half = None if intervals is None or np.isnan(intervals[k]).any() else tuple(intervals[k].tolist())
        marks.append(Mark(p.id, kind, p.losses["validate"], direction, p.control_error, half))
    return FrontFigure(
        labels=axis_labels(front),
        names=front.names,
        marks=tuple(marks),
        staircase=attained_border(score.distinct_front(losses), front.ref_point) if len(front.names) == 2 else None,
        ref_point=front.ref_point,
        ideals=None if front.ideals is None else tuple(front.ideals.tolist()),
        hypervolume=score.measure_volume(losses, front.ref_point) if mean is front else _mean_volume(front),
        origin=origin,
    )


def check_chosen(front: Points, chosen: Point | None) -> None:
    """Raise a ValueError if a chosen point is not of the front."""
    if chosen is not None and chosen.id not in {p.id for p in front.points}:
        raise ValueError(f"{chosen.id} is not a point of this front")


def _mean_volume(front: Points) -> score.Volume | None:
    """Return the mean hypervolume over the seeds' fronts, which is not that of the mean points."""
    figures = front.score()
    return None if figures.hypervolume is None else score.Volume(figures.hypervolume, figures.hypervolume_error or 0.0)


def front_csv(facts: FrontFigure) -> str:
    """Format the facts as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ray_columns = [f"asked {name}" for name in facts.names]
    spread = [f"± {name}" for name in facts.names] if any(m.interval for m in facts.marks) else []
    writer.writerow(["mark", "id", *map(escape_cell, facts.names), *ray_columns, "control_error", *spread])
    for m in facts.marks:
        rest = (m.interval or ("",) * len(spread)) if spread else ()
        writer.writerow([m.kind, m.id, *m.losses, *(m.ray or ("",) * len(ray_columns)), m.control_error, *rest])
    lines = [("staircase", row) for row in ([] if facts.staircase is None else facts.staircase.tolist())]
    lines += [] if facts.ideals is None else [("ideal", facts.ideals)]
    for mark, losses in [*lines, ("reference", facts.ref_point)]:
        writer.writerow([mark, "", *losses, *[""] * (len(ray_columns) + 1 + len(spread))])
    return out.getvalue()


def axis_labels(front: Points) -> tuple[str, ...]:
    """Label the axes of a front's figures."""
    return tuple(_axis_label(o, front.study["measured"]) for o in front.objectives)


def _axis_label(objective: Objective, measured: bool) -> str:
    """Label an axis: the loss, its divisor, and its unit, unless that is a measure's."""
    divided = "" if objective.scale == 1 else f" / {objective.scale:g}"
    return f"{objective.name} loss{divided}" + (f" [{objective.unit}]" if objective.unit and not measured else "")


def attained_border(losses: Float[np.ndarray, "n 2"], far: Sequence[float] | np.ndarray) -> Float[np.ndarray, "k 2"]:
    """Return the border of what the points attain, from above the first to right of the last, at least up to `far`."""
    steps = np.unique(losses, axis=0)
    far = np.maximum(losses.max(axis=0), far)
    corners = [[steps[0, 0], far[1]], steps[0]]
    for left, right in itertools.pairwise(steps):
        corners += [[right[0], left[1]], right]
    return np.array([*corners, [far[0], steps[-1, 1]]])

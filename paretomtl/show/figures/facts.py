"""What a figure of a front shows, before anything is drawn."""

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
from paretomtl.storage.table import escape_formula


class Mark(NamedTuple):
    """A point of the figure: where it is, what it is, and the ray it was asked to lie on (a direction), if any.

    Of several seeds it is their mean, with half of the mean's 95 % confidence interval in each loss.
    """

    id: str
    kind: str  # "front", "dominated" or "chosen"
    losses: tuple[float, ...]
    asked: tuple[float, ...]
    control_error: float | None
    interval: tuple[float, ...] | None = None


class FrontFigure(NamedTuple):
    """All that the figures show."""

    labels: tuple[str, ...]
    names: tuple[str, ...]
    marks: tuple[Mark, ...]
    staircase: Float[np.ndarray, "k 2"] | None  # of two objectives
    ref_point: tuple[float, ...]
    ideals: tuple[float, ...] | None
    hypervolume: score.Volume | None

    def losses(self, *kinds: str) -> Float[np.ndarray, "n m"]:
        """The losses of the marks of these kinds; of all marks, without a kind."""
        found = [m.losses for m in self.marks if not kinds or m.kind in kinds]
        return np.array(found, dtype=np.float64).reshape(len(found), len(self.names))

    def ends(self) -> Float[np.ndarray, "2 m"]:
        """The smallest and the largest loss of each objective, over all marks and the ideals."""
        there = self.losses() if self.ideals is None else np.vstack([self.losses(), self.ideals])
        return np.stack([there.min(axis=0), there.max(axis=0)])

    @property
    def chosen(self) -> Mark | None:
        """The chosen point."""
        return next((m for m in self.marks if m.kind == "chosen"), None)


def collect_front(front: Points, chosen: Point | None = None) -> FrontFigure:
    """What there is to draw of a front, on the validation losses.

    Args:
        front: of two or more objectives. A point is dominated if another is no worse in all of them.
        chosen: one of its points, to stand out.
    """
    if chosen is not None and chosen.id not in {p.id for p in front.points}:
        raise ValueError(f"{chosen.id} is not a point of this front")
    shown, every = front.mean(), front
    losses = score.check_losses(shown.losses)
    intervals = None if shown is every else every.spread().half_width
    id = None if chosen is None else chosen.id if shown is every else base_id(chosen)
    marks = []
    for k, (p, keep) in enumerate(zip(shown.points, score.is_nondominated(losses), strict=True)):
        kind = "chosen" if p.id == id else "front" if keep else "dominated"
        asked = tuple(ray(np.array(p.preference)).tolist()) if p.preference else ()
        half = None if intervals is None or np.isnan(intervals[k]).any() else tuple(intervals[k].tolist())
        marks.append(Mark(p.id, kind, p.losses["validate"], asked, p.control_error, half))
    return FrontFigure(
        labels=axis_labels(front),
        names=front.names,
        marks=tuple(marks),
        staircase=attained_border(score.distinct_front(losses), front.ref_point) if len(front.names) == 2 else None,
        ref_point=front.ref_point,
        ideals=None if front.ideals is None else tuple(front.ideals.tolist()),
        hypervolume=score.measure_volume(losses, front.ref_point) if shown is every else _mean_volume(front),
    )


def _mean_volume(front: Points) -> score.Volume | None:
    """The mean over the seeds' fronts, which is not that of the mean points."""
    figures = front.score()
    return None if figures.hypervolume is None else score.Volume(figures.hypervolume, figures.hypervolume_error or 0.0)


def front_csv(shown: FrontFigure) -> str:
    """The facts as the text of a CSV file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    asked = [f"asked {name}" for name in shown.names]
    spread = [f"± {name}" for name in shown.names] if any(m.interval for m in shown.marks) else []
    writer.writerow(["mark", "id", *map(escape_formula, shown.names), *asked, "control_error", *spread])
    for m in shown.marks:
        rest = (m.interval or ("",) * len(spread)) if spread else ()
        writer.writerow([m.kind, m.id, *m.losses, *(m.asked or ("",) * len(asked)), m.control_error, *rest])
    lines = [("staircase", row) for row in ([] if shown.staircase is None else shown.staircase.tolist())]
    lines += [] if shown.ideals is None else [("ideal", shown.ideals)]
    for mark, losses in [*lines, ("reference", shown.ref_point)]:
        writer.writerow([mark, "", *losses, *[""] * (len(asked) + 1 + len(spread))])
    return out.getvalue()


def axis_labels(front: Points) -> tuple[str, ...]:
    """What its axes are."""
    return tuple(_axis_label(o, front.study["measured"]) for o in front.objectives)


def _axis_label(objective: Objective, measured: bool) -> str:
    """An axis: the loss, what it was divided by, and its unit unless that is a measure's."""
    divided = "" if objective.scale == 1 else f" / {objective.scale:g}"
    return f"{objective.name} loss{divided}" + (f" [{objective.unit}]" if objective.unit and not measured else "")


def attained_border(losses: Float[np.ndarray, "n 2"], far: Sequence[float] | np.ndarray) -> Float[np.ndarray, "k 2"]:
    """The border of what the points attain, from above the first to right of the last, at least as far as `far`."""
    steps = np.unique(losses, axis=0)
    far = np.maximum(losses.max(axis=0), far)
    corners = [[steps[0, 0], far[1]], steps[0]]
    for before, here in itertools.pairwise(steps):
        corners += [[here[0], before[1]], here]
    return np.array([*corners, [far[0], steps[-1, 1]]])

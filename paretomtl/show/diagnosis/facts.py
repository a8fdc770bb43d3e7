"""The facts that the report of a diagnosis shows, as plain values."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.storage.table import escape_cell


class Difference(NamedTuple):
    """A mean difference over seeds, with half of its 95 % interval; NaN where it is undefined, or of one seed.

    Below 0 the first of the two trainings is better.
    """

    label: str
    mean: float
    half_width: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval excludes 0; else 0."""
        return int(np.sign(self.mean)) if abs(self.mean) > self.half_width else 0

    def __str__(self) -> str:
        """Format the mean with its interval."""
        if np.isnan(self.mean):
            return "undefined"
        return f"{self.mean:+.3g}" + ("" if np.isnan(self.half_width) else f" ± {self.half_width:.2g}")


class Curve(NamedTuple):
    """A line of a panel, in the order of its abscissa; `mean` where it is that over the seeds."""

    kind: str  # "joint" or "alone"
    mean: bool
    x: Float[np.ndarray, " k"]
    y: Float[np.ndarray, " k"]


class Panel(NamedTuple):
    """Curves of a task over one quantity; without a curve, `note` says why."""

    title: str
    curves: list[Curve]
    note: str | None = None


class Factor(NamedTuple):
    """A quantity over the steps of the trainings, a panel a task."""

    title: str
    panels: list[Panel]


class Strip(NamedTuple):
    """A row of a heat map: a pair of tasks; NaN where it is undefined."""

    names: tuple[str, str]
    between: str
    values: Float[np.ndarray, " k"]
    mean: float

    @property
    def label(self) -> str:
        """The pair in words."""
        return self.between.join(self.names)


class HeatMap(NamedTuple):
    """Values of pairs of tasks over the steps, the mean over the seeds; colours reach from -limit to limit."""

    title: str
    steps: list[int]
    strips: list[Strip]
    limit: float


class TaskFinding(NamedTuple):
    """What training together did to a task: the sentence, and the differences to training alone."""

    task: str
    verdict: str
    differences: list[Difference]


class DiagnosisFacts(NamedTuple):
    """All that the report shows.

    summary: the sentence to take away.
    notes: sentences on conflict.
    cosines, affinity: None where they were not recorded.
    gaps: a panel a task, the gap by training loss.
    groups: sentences on groups of tasks; none without recorded affinity.
    effects: by task, the difference of each specialised method to the joint training.
    """

    names: tuple[str, ...]
    seeds: int
    summary: str
    tasks: list[TaskFinding]
    notes: list[str]
    cosines: HeatMap | None
    affinity: HeatMap | None
    groups: list[str]
    gaps: list[Panel]
    factors: list[Factor]
    effects: dict[str, list[Difference]]

    @property
    def heat_maps(self) -> list[HeatMap]:
        """The heat maps of what was recorded."""
        return [heat for heat in (self.cosines, self.affinity) if heat is not None]


def diagnosis_csv(facts: DiagnosisFacts) -> str:
    """Format the facts as CSV, a number a line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["what", "of", "line", "at", "value", "half_width"])
    for *texts, at, value, half_width in _list_rows(facts):
        numbers = ["" if isinstance(x, float) and np.isnan(x) else x for x in (at, value, half_width)]
        writer.writerow([*map(escape_cell, texts), *numbers])
    return out.getvalue()


def _list_rows(facts: DiagnosisFacts) -> Iterator[Sequence[Any]]:
    for one in facts.tasks:
        yield from (["transfer", one.task, d.label, "", d.mean, d.half_width] for d in one.differences)
    for task, differences in facts.effects.items():
        yield from (["effect", task, d.label, "", d.mean, d.half_width] for d in differences)
    for heat in facts.heat_maps:
        for strip in heat.strips:
            pairs = zip(heat.steps, strip.values.tolist(), strict=True)
            yield from ([heat.title, strip.label, "", x, value, ""] for x, value in pairs)
    groups = [("gap at equal training loss", facts.gaps), *((f.title, f.panels) for f in facts.factors)]
    for title, panels in groups:
        for panel in panels:
            for k, curve in enumerate(panel.curves):
                line = f"{curve.kind} {'mean' if curve.mean else k}"
                pairs = zip(curve.x.tolist(), curve.y.tolist(), strict=True)
                yield from ([title, panel.title, line, x, y, ""] for x, y in pairs)

"""The figure of a front of two objectives: facts first, drawing second, and the facts as a CSV file beside it."""

import csv
import io
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.front import score
from paretomtl.front.store import plain
from paretomtl.point import Point
from paretomtl.preference import ray
from paretomtl.problem import Objective

if TYPE_CHECKING:
    from paretomtl.front.front import Front

FORMATS = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}  # no times: equal bytes
BLUE, ORANGE, GREY, DARK = "#1f5fa8", "#d9660f", "#9a9a9a", "#333333"


class Mark(NamedTuple):
    """A point of the figure: where it is, what it is, and the ray it was asked to lie on (a direction)."""

    id: str
    kind: str  # "front", "dominated" or "chosen"
    losses: tuple[float, ...]
    asked: tuple[float, ...]
    control_error: float | None


class Facts(NamedTuple):
    """All that the figure shows."""

    labels: tuple[str, ...]
    names: tuple[str, ...]
    marks: tuple[Mark, ...]
    staircase: Float[np.ndarray, "k 2"]
    ref_point: tuple[float, ...]
    ideals: tuple[float, ...] | None
    hypervolume: float | None


def facts(front: "Front", chosen: Point | None = None) -> Facts:
    """What there is to draw of a front, on the validation losses.

    Args:
        front: of two objectives.
        chosen: one of its points, to be ringed.
    """
    if len(front.objectives) != 2:
        raise ValueError(
            f"a plot shows two objectives; this front has {len(front.objectives)}: {', '.join(front.names)}"
        )
    losses = score.check_losses(front.losses)
    if chosen is not None and chosen.id not in {p.id for p in front.points}:
        raise ValueError(f"{chosen.id} is not a point of this front")
    kept = score.nondominated(losses)
    rays = ray(front.preferences)
    marks = []
    for p, keep, direction in zip(front.points, kept, rays, strict=True):
        kind = "chosen" if chosen is not None and p.id == chosen.id else "front" if keep else "dominated"
        marks.append(Mark(p.id, kind, p.losses["validate"], tuple(direction.tolist()), p.control_error))
    ideals = None if front.ideals is None else tuple(front.ideals.tolist())
    return Facts(
        labels=tuple(_label(o, front.study["measured"]) for o in front.objectives),
        names=front.names,
        marks=tuple(marks),
        staircase=_staircase(losses[kept], front.ref_point),
        ref_point=front.ref_point,
        ideals=ideals,
        hypervolume=front.hypervolume(),
    )


def plot(front: "Front", path: str | Path, chosen: Point | None = None) -> Path:
    """Draw a front to an .svg, .pdf or .png file, and write its data as .csv beside it."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(
            f"{path.name!r}: a plot is written as {', '.join(FORMATS)}, not {path.suffix or 'a bare name'!r}"
        )
    shown = facts(front, chosen)
    path.parent.mkdir(parents=True, exist_ok=True)
    _draw(shown, path)
    path.with_suffix(".csv").write_text(_csv(shown), encoding="utf-8")
    return path


def _label(objective: Objective, measured: bool) -> str:
    """An axis: the loss, with its unit unless that is a measure's."""
    return f"{objective.name} loss [{objective.unit}]" if objective.unit and not measured else f"{objective.name} loss"


def _staircase(losses: np.ndarray, ref_point: tuple[float, ...]) -> np.ndarray:
    """The border of what the points attain, from above the first to right of the last."""
    steps = np.unique(losses, axis=0)
    far = np.maximum(losses.max(axis=0), ref_point)
    corners = [[steps[0, 0], far[1]], steps[0]]
    for before, here in itertools.pairwise(steps):
        corners += [[here[0], before[1]], here]
    return np.array([*corners, [far[0], steps[-1, 1]]])


def _draw(shown: Facts, path: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(
        {"svg.hashsalt": "paretomtl", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = Figure(figsize=(6.4, 4.8), layout="constrained")
        axes = figure.subplots()
        limits = 1.06 * np.vstack([[m.losses for m in shown.marks], shown.ref_point]).max(axis=0)
        axes.set(xlim=(0, limits[0]), ylim=(0, limits[1]), xlabel=shown.labels[0], ylabel=shown.labels[1])
        _draw_attained(axes, shown)
        _draw_rays(axes, shown, limits)
        _draw_points(axes, shown)
        _draw_ideals(axes, shown)
        figure.legend(loc="outside right upper", frameon=False)
        figure.savefig(path, dpi=150, metadata=FORMATS[path.suffix.lower()])


def _draw_attained(axes, shown: Facts) -> None:
    volume = "" if shown.hypervolume is None else f"\nhypervolume {shown.hypervolume:.4g}"
    x, y = shown.staircase.T
    axes.plot(x, y, color=BLUE, lw=1.2, label="attained")
    x, y = np.minimum(shown.staircase, shown.ref_point).T
    axes.fill_between(x, y, shown.ref_point[1], color=BLUE, alpha=0.08, lw=0)
    axes.plot(*shown.ref_point, "x", color=DARK, ms=7, mew=1.6, label=f"reference{volume}", clip_on=False)


def _draw_rays(axes, shown: Facts, limits: np.ndarray) -> None:
    for k, mark in enumerate(shown.marks):
        asked = np.array(mark.asked)
        end = asked * (limits / asked).min()
        axes.plot([0, end[0]], [0, end[1]], ":", color=GREY, lw=0.9, zorder=1, label="ray asked" if k == 0 else None)
        x, y = mark.losses
        axes.plot([0, x], [0, y], color=BLUE, lw=0.8, alpha=0.45, zorder=1, label="ray reached" if k == 0 else None)


def _draw_points(axes, shown: Facts) -> None:
    for kind, color, label in (("dominated", GREY, "dominated"), ("front", BLUE, "front"), ("chosen", BLUE, None)):
        there = np.array([m.losses for m in shown.marks if m.kind == kind])
        if len(there):
            axes.plot(*there.T, "o", color=color, ms=5.5, label=label, zorder=3)
    for mark in shown.marks:
        if mark.kind == "chosen":
            axes.plot(
                *mark.losses,
                "o",
                ms=13,
                mfc="none",
                mec=ORANGE,
                mew=1.8,
                label=f"chosen: {mark.id}",
                zorder=4,
                clip_on=False,
            )
        number = mark.id.rpartition("-")[2].lstrip("0")
        axes.annotate(number, mark.losses, xytext=(7, 6), textcoords="offset points", fontsize=7.5, color=DARK)


def _draw_ideals(axes, shown: Facts) -> None:
    if shown.ideals is None:
        return
    style = {"color": DARK, "lw": 0.9, "ls": (0, (6, 3)), "zorder": 1}
    axes.axvline(shown.ideals[0], **style, label="trained alone (ideals)")
    axes.axhline(shown.ideals[1], **style)


def _csv(shown: Facts) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    first, second = shown.names
    writer.writerow(
        ["mark", "id", *(plain(n) for n in shown.names), f"asked {first}", f"asked {second}", "control_error"]
    )
    for m in shown.marks:
        writer.writerow([m.kind, m.id, *m.losses, *m.asked, m.control_error])
    for x, y in shown.staircase.tolist():
        writer.writerow(["staircase", "", x, y, "", "", ""])
    if shown.ideals is not None:
        writer.writerow(["ideal", "", *shown.ideals, "", "", ""])
    writer.writerow(["reference", "", *shown.ref_point, "", "", ""])
    return out.getvalue()

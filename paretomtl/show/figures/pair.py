"""Two objectives: the plane, with the rays asked for and reached."""

from typing import TYPE_CHECKING, Any

import numpy as np

from paretomtl.show.figures import view
from paretomtl.show.figures.facts import FrontFigure
from paretomtl.show.figures.ink import BLUE, DARK, GREY, ORANGE, point_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(shown: FrontFigure, width: float | None = None) -> "Figure":
    """The figure of two objectives."""
    figure, axes = empty_plane(width)
    reach = np.array([m.interval or (0.0, 0.0) for m in shown.marks])
    there = np.vstack([shown.losses() - reach, shown.losses() + reach, shown.ref_point])
    low = np.minimum(there.min(axis=0), 0)  # of imported values that are to be large, the losses are negative
    margin = 0.06 * (there.max(axis=0) - low)
    limits, low = there.max(axis=0) + margin, np.where(low < 0, low - margin, 0)
    axes.set(xlim=(low[0], limits[0]), ylim=(low[1], limits[1]), xlabel=shown.labels[0], ylabel=shown.labels[1])
    _draw_attained(axes, shown)
    if (shown.losses() >= 0).all():  # a ray is of losses that are at least 0
        _draw_rays(axes, shown, limits)
    _draw_points(axes, shown)
    _draw_ideals(axes, shown)
    view.draw_legend(figure, width, loc="outside right upper")
    return figure


def empty_plane(width: float | None) -> "tuple[Figure, Any]":
    """An empty figure of two objectives, and its axes."""
    from matplotlib.figure import Figure

    inches = 6.4 if width is None else width
    figure = Figure(figsize=(inches, 0.75 * inches), layout="constrained")
    return figure, figure.subplots()


def _draw_attained(axes, shown: FrontFigure) -> None:
    assert shown.staircase is not None
    volume = "" if shown.hypervolume is None else f"\nhypervolume {shown.hypervolume.value:.4g}"
    x, y = shown.staircase.T
    axes.plot(x, y, color=BLUE, lw=1.2, label="attained")
    x, y = np.minimum(shown.staircase, shown.ref_point).T
    axes.fill_between(x, y, shown.ref_point[1], color=BLUE, alpha=0.08, lw=0)
    axes.plot(*shown.ref_point, "x", color=DARK, ms=7, mew=1.6, label=f"reference{volume}", clip_on=False)


def _draw_rays(axes, shown: FrontFigure, limits: np.ndarray) -> None:
    for k, mark in enumerate(mark for mark in shown.marks if mark.asked):
        asked = np.array(mark.asked)
        end = asked * (limits / asked).min()
        axes.plot([0, end[0]], [0, end[1]], ":", color=GREY, lw=0.9, zorder=1, label="ray asked" if k == 0 else None)
        x, y = mark.losses
        axes.plot([0, x], [0, y], color=BLUE, lw=0.8, alpha=0.45, zorder=1, label="ray reached" if k == 0 else None)


def _draw_points(axes, shown: FrontFigure) -> None:
    for kind, color, label in (("dominated", GREY, "dominated"), ("front", BLUE, "front"), ("chosen", BLUE, None)):
        there = shown.losses(kind)
        if len(there):
            axes.plot(*there.T, "o", color=color, ms=5.5, label=label, zorder=3)
    label = "95 % over seeds"
    for mark in shown.marks:
        if mark.interval:
            error = {"xerr": mark.interval[0], "yerr": mark.interval[1]}
            axes.errorbar(*mark.losses, **error, fmt="none", ecolor=DARK, elinewidth=0.8, zorder=2, label=label)
            label = None
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
        axes.annotate(
            point_number(mark.id), mark.losses, xytext=(7, 6), textcoords="offset points", fontsize=7.5, color=DARK
        )


def _draw_ideals(axes, shown: FrontFigure) -> None:
    if shown.ideals is None:
        return
    style = {"color": DARK, "lw": 0.9, "ls": (0, (6, 3)), "zorder": 1}
    axes.axvline(shown.ideals[0], **style, label="trained alone (ideals)")
    axes.axhline(shown.ideals[1], **style)

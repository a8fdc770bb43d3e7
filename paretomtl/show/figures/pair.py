"""Two objectives: the plane, with requested and reached rays."""

from typing import TYPE_CHECKING, Any

import numpy as np

from paretomtl.show.figures import view
from paretomtl.show.figures.facts import FrontFigure
from paretomtl.show.figures.ink import BLUE, DARK, GREY, ORANGE, point_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(facts: FrontFigure, width: float | None = None) -> "Figure":
    """Draw the figure of two objectives."""
    figure, axes = empty_plane(width)
    half_widths = np.array([m.interval or (0.0, 0.0) for m in facts.marks])
    corners = np.vstack([facts.losses() - half_widths, facts.losses() + half_widths, facts.ref_point])
    start = np.array(facts.origin)
    low = np.minimum(corners.min(axis=0), start)  # imported values with goal "max" have negative losses
    margin = 0.06 * (corners.max(axis=0) - low)
    limits, low = corners.max(axis=0) + margin, np.where((low < 0) | (start != 0), low - margin, 0)
    axes.set(xlim=(low[0], limits[0]), ylim=(low[1], limits[1]), xlabel=facts.labels[0], ylabel=facts.labels[1])
    _draw_attained(axes, facts)
    if (facts.losses() >= 0).all() or any(facts.origin):  # rays from 0 need losses of at least 0
        _draw_rays(axes, facts, limits)
    _draw_points(axes, facts)
    _draw_ideals(axes, facts)
    view.draw_legend(figure, width, loc="outside right upper")
    return figure


def empty_plane(width: float | None) -> "tuple[Figure, Any]":
    """Make an empty figure of two objectives; return it and its axes."""
    from matplotlib.figure import Figure

    inches = 6.4 if width is None else width
    figure = Figure(figsize=(inches, 0.75 * inches), layout="constrained")
    return figure, figure.subplots()


def _draw_attained(axes, facts: FrontFigure) -> None:
    assert facts.staircase is not None
    volume = "" if facts.hypervolume is None else f"\nhypervolume {facts.hypervolume.value:.4g}"
    x, y = facts.staircase.T
    axes.plot(x, y, color=BLUE, lw=1.2, label="attained")
    x, y = np.minimum(facts.staircase, facts.ref_point).T
    axes.fill_between(x, y, facts.ref_point[1], color=BLUE, alpha=0.08, lw=0)
    axes.plot(*facts.ref_point, "x", color=DARK, ms=7, mew=1.6, label=f"reference{volume}", clip_on=False)


def _draw_rays(axes, facts: FrontFigure, limits: np.ndarray) -> None:
    for k, mark in enumerate(mark for mark in facts.marks if mark.ray):
        direction, (x0, y0) = np.array(mark.ray), facts.origin
        end = facts.origin + direction * ((limits - facts.origin) / direction).min()
        axes.plot([x0, end[0]], [y0, end[1]], ":", color=GREY, lw=0.9, zorder=1, label="ray asked" if k == 0 else None)
        x, y = mark.losses
        axes.plot([x0, x], [y0, y], color=BLUE, lw=0.8, alpha=0.45, zorder=1, label="ray reached" if k == 0 else None)


def _draw_points(axes, facts: FrontFigure) -> None:
    for kind, color, label in (("dominated", GREY, "dominated"), ("front", BLUE, "front"), ("chosen", BLUE, None)):
        points = facts.losses(kind)
        if len(points):
            axes.plot(*points.T, "o", color=color, ms=5.5, label=label, zorder=3)
    label = "95 % over seeds"
    for mark in facts.marks:
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


def _draw_ideals(axes, facts: FrontFigure) -> None:
    if facts.ideals is None:
        return
    style = {"color": DARK, "lw": 0.9, "ls": (0, (6, 3)), "zorder": 1}
    axes.axvline(facts.ideals[0], **style, label="trained alone (ideals)")
    axes.axhline(facts.ideals[1], **style)

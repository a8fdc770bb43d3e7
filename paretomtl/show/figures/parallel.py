"""Parallel coordinates: one upright axis an objective, with its smallest loss on top, so that up is better."""

import itertools
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from paretomtl.points import score
from paretomtl.show.figures import view
from paretomtl.show.figures.facts import FrontFigure
from paretomtl.show.figures.ink import BLUE, DARK, ORANGE, PALE, format_tick, wrap_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEP, LEAST_GAP = 1.25, 0.5  # inches between two axes, usually and at least


def draw(facts: FrontFigure, width: float | None = None) -> "Figure":
    """Draw a line a point."""
    from matplotlib.figure import Figure

    m = len(facts.names)
    step = STEP if width is None else (width - 0.6) / m
    if width is not None:
        view.check_room(step, LEAST_GAP, f"each of {m} axes", width)
    size = (max(4.8, STEP * m + 0.6) if width is None else width, 3.0 if view.is_narrow(width) else 4.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.45, m - 0.55), ylim=(-0.02, 1.02), ylabel="better →")  # upright, so the arrow points up
    axes.spines[:].set_visible(False)
    axes.set_yticks([])
    axes.set_xticks(
        range(m), [wrap_label(label, step if view.is_narrow(width) else step - 0.1) for label in facts.labels]
    )
    axes.tick_params(length=0, pad=16)
    axes.xaxis.tick_top()
    ends = facts.ends()
    _draw_axes(axes, ends)
    _draw_lines(axes, facts, ends)
    if facts.ideals is not None:
        heights = _heights(np.array([facts.ideals]), ends)[0]
        axes.plot(heights, "_", color=DARK, ms=14, mew=1.8, zorder=5, label="trained alone (ideals)")
    view.draw_legend(figure, width, loc="outside lower center", ncols=int(figure.get_figwidth() // 2.4))
    return figure


def _heights(losses: Float[np.ndarray, "n m"], ends: Float[np.ndarray, "2 m"]) -> Float[np.ndarray, "n m"]:
    """Return heights: 1 at the smallest loss, 0 at the largest, 0.5 where an objective is constant."""
    flat = score.is_constant(ends)
    low, span = ends[0], np.where(flat, 1, ends[1] - ends[0])
    return np.where(flat, 0.5, 1 - (losses - low) / span)


def _draw_axes(axes, ends: Float[np.ndarray, "2 m"]) -> None:
    small = {"textcoords": "offset points", "ha": "center", "fontsize": 7.5, "color": DARK}
    for k, ((low, high), flat) in enumerate(zip(ends.T, score.is_constant(ends), strict=True)):
        axes.plot([k, k], [0, 1], color=DARK, lw=0.9, zorder=2)
        if flat:
            behind = {"facecolor": "white", "linewidth": 0, "pad": 1}
            axes.annotate(format_tick(low, low, high), (k, 0.5), xytext=(0, 7), bbox=behind, **small)
        else:
            axes.annotate(format_tick(low, low, high), (k, 1), xytext=(0, 7), **small)
            axes.annotate(format_tick(high, low, high), (k, 0), xytext=(0, -7), va="top", **small)


def _draw_lines(axes, facts: FrontFigure, ends: Float[np.ndarray, "2 m"]) -> None:
    import matplotlib as mpl
    from matplotlib.collections import LineCollection

    x = np.arange(len(facts.names))
    for k, heights in enumerate(_heights(facts.losses("dominated"), ends)):
        axes.plot(x, heights, color=PALE, lw=1, zorder=1, label=None if k else "dominated")
    shades = mpl.colormaps["viridis"]
    varies = np.flatnonzero(~score.is_constant(facts.losses()))
    by = int(varies[0]) if len(varies) else None
    for k, heights in enumerate(_heights(facts.losses("front"), ends)):
        color = BLUE if by is None else shades(0.85 * (1 - heights[by]))
        label = "front" if by is None else wrap_label(f"front, coloured by {facts.names[by]}", 1.7)
        axes.plot(x, heights, "o-", color=color, lw=1.3, ms=3, zorder=3, label=None if k else label)
    if by is not None:  # the colour scale, on the axis of the objective that it shows
        steps = np.linspace(0, 1, 65)
        pieces = [[(by, low), (by, high)] for low, high in itertools.pairwise(steps)]
        axes.add_collection(LineCollection(pieces, colors=shades(0.85 * (1 - steps[:-1])), lw=5, zorder=2))
    if facts.chosen is not None:
        heights = _heights(np.array([facts.chosen.losses]), ends)[0]
        label = f"chosen: {facts.chosen.id}"
        axes.plot(x, heights, "o-", color=ORANGE, lw=3, ms=6, zorder=4, label=label)

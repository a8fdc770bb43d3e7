"""Three and more objectives: one panel a pair of them. A point is dominated in all objectives, not in a panel's two."""

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from paretomtl.show.figures import view
from paretomtl.show.figures.facts import FrontFigure
from paretomtl.show.figures.ink import BLUE, DARK, GREY, ORANGE, format_tick, wrap_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST_PANEL = 0.55  # inches of a panel; in a smaller one the numbers on its axes overlap


def draw(facts: FrontFigure, width: float | None = None) -> "Figure":
    """Draw the lower triangle of pairs; column j has objective j on the abscissa, row i objective i on the ordinate."""
    figure, panels = empty_triangle(facts.labels, view.axis_limits(facts.ends(), facts.ref_point), width)
    for pair, axes in panels.items():
        _draw_panel(axes, facts, list(pair), marker_size(facts.names))
    view.draw_legend(figure, width, loc="outside right upper" if len(facts.names) == 2 else "upper right")
    return figure


def marker_size(names: tuple[str, ...]) -> float:
    """Return the size of a point for this many objectives."""
    return 5.0 if len(names) < 5 else 3.5


def empty_triangle(
    labels: tuple[str, ...], limits: Float[np.ndarray, "m 2"], width: float | None
) -> "tuple[Figure, dict[tuple[int, int], Any]]":
    """Make a figure of empty panels with labelled axes; return it and its panels by pair, abscissa first."""
    from matplotlib.figure import Figure

    m, narrow = len(labels), view.is_narrow(width)
    beside = 2.8 if m == 2 and not narrow else 0.8  # for the legend, as a single panel leaves no empty corner
    side = 1 + 3.2 / (m - 1) if width is None else (width - beside) / (m - 1)  # of a panel, in inches
    if width is not None:
        view.check_room(side, LEAST_PANEL, f"each panel of {m} objectives", width)
    figure = Figure(figsize=(side * (m - 1) + beside, side * (m - 1) + 0.6), layout="constrained")
    if narrow:
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)  # type: ignore[union-attr]
    panels, grid = {}, figure.subplots(m - 1, m - 1, sharex="col", sharey="row", squeeze=False)
    for row, j in itertools.product(range(m - 1), repeat=2):
        axes, i = grid[row, j], row + 1
        if j >= i:
            axes.remove()
            continue
        panels[j, i] = axes
        axes.set(xlim=limits[j], ylim=limits[i])
        axes.locator_params(nbins=2 if side < 0.8 else 3 if m > 4 or narrow else 5)
        axes.xaxis.set_major_formatter(partial(_tick, limits[j]))
        axes.yaxis.set_major_formatter(partial(_tick, limits[i]))
        axes.tick_params(labelsize=7.5)
        axes.label_outer()
        if i == m - 1:
            axes.set_xlabel(wrap_label(labels[j], side))
        if j == 0:
            axes.set_ylabel(wrap_label(labels[i], side))
    figure.align_labels()
    return figure, panels


def _tick(limits: Float[np.ndarray, " 2"], value: float, place: int | None = None) -> str:
    del place
    return format_tick(value, *limits)


def _draw_panel(axes, facts: FrontFigure, pair: list[int], size: float) -> None:
    for kind, color, label in (("dominated", GREY, "dominated"), ("front", BLUE, "front"), ("chosen", BLUE, None)):
        points = facts.losses(kind)[:, pair]
        if len(points):
            axes.plot(*points.T, "o", color=color, ms=size, mew=0, label=label, zorder=3)
    if facts.chosen is not None:
        ring = {"ms": 2.2 * size, "mfc": "none", "mec": ORANGE, "mew": 1.6, "label": f"chosen: {facts.chosen.id}"}
        axes.plot(*np.array(facts.chosen.losses)[pair], "o", **ring, zorder=4)
    if facts.ideals is not None:
        style = {"color": DARK, "lw": 0.8, "ls": (0, (6, 3)), "zorder": 1}
        axes.axvline(facts.ideals[pair[0]], **style, label="trained alone (ideals)")
        axes.axhline(facts.ideals[pair[1]], **style)
    draw_reference(axes, facts.ref_point, pair, size, _reference_label(facts))


def draw_reference(axes, ref_point: tuple[float, ...], pair: list[int], size: float, label: str) -> None:
    """Draw a cross at the reference."""
    axes.plot(*np.array(ref_point)[pair], "x", color=DARK, ms=1.3 * size, mew=1.4, label=label)


def _reference_label(facts: FrontFigure) -> str:
    text = view.reference_label(facts.ends(), facts.ref_point)
    if facts.hypervolume is None:
        return text
    value, error = facts.hypervolume
    return f"{text}\nhypervolume {value:.4g}" + (f" ± {error:.2g}" if error else "")

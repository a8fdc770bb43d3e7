"""Three and more objectives: one panel a pair of them. A point is dominated in all objectives, not in a panel's two."""

import itertools
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from paretomtl.front import score
from paretomtl.show.facts import Facts
from paretomtl.show.ink import BLUE, DARK, GREY, ORANGE, fitted, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(shown: Facts) -> "Figure":
    """The lower triangle of the pairs; objective j is the abscissa of column j, objective i the ordinate of row i."""
    from matplotlib.figure import Figure

    m = len(shown.names)
    side = 1 + 3.2 / (m - 1)  # of a panel, in inches
    beside = 2.8 if m == 2 else 0.8  # for the legend, which has no empty corner there
    figure = Figure(figsize=(side * (m - 1) + beside, side * (m - 1) + 0.6), layout="constrained")
    panels = figure.subplots(m - 1, m - 1, sharex="col", sharey="row", squeeze=False)
    limits = _limits(shown)
    for row, j in itertools.product(range(m - 1), repeat=2):
        axes, i = panels[row, j], row + 1
        if j >= i:
            axes.remove()
            continue
        _draw_panel(axes, shown, [j, i], 5.0 if m < 5 else 3.5)
        axes.set(xlim=limits[j], ylim=limits[i])
        axes.locator_params(nbins=5 if m < 5 else 3)
        axes.xaxis.set_major_formatter(partial(_tick, limits[j]))
        axes.yaxis.set_major_formatter(partial(_tick, limits[i]))
        axes.tick_params(labelsize=7.5)
        axes.label_outer()
        if i == m - 1:
            axes.set_xlabel(fitted(shown.labels[j], side))
        if j == 0:
            axes.set_ylabel(fitted(shown.labels[i], side))
    figure.align_labels()
    entries = {}  # once each; a panel shows a part of them
    for axes in figure.axes:
        entries |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(
        entries.values(), entries.keys(), frameon=False, loc="outside right upper" if m == 2 else "upper right"
    )
    return figure


def _tick(limits: Float[np.ndarray, " 2"], value: float, place: int | None = None) -> str:
    del place
    return number(value, *limits)


def _limits(shown: Facts) -> Float[np.ndarray, "m 2"]:
    """The ends of each axis: the points, the ideals, and the reference where it is near."""
    low, high = shown.ends()
    near, reference = _near(shown), np.array(shown.ref_point)
    low, high = np.where(near, np.minimum(low, reference), low), np.where(near, np.maximum(high, reference), high)
    flat = score.constant(np.stack([low, high]))
    margin = 0.07 * np.where(flat, np.where(high == 0, 1, np.abs(high)), high - low)
    return np.stack([low - margin, high + margin], axis=1)


def _near(shown: Facts) -> Bool[np.ndarray, " m"]:
    """In which objectives the reference is no farther from points and ideals than these span.

    Elsewhere it is not drawn, for it would leave no room for them.
    """
    (low, high), reference = shown.ends(), np.array(shown.ref_point)
    span = high - low
    return score.constant(shown.ends()) | ((low - span <= reference) & (reference <= high + span))


def _draw_panel(axes, shown: Facts, pair: list[int], size: float) -> None:
    for kind, color, label in (("dominated", GREY, "dominated"), ("front", BLUE, "front"), ("chosen", BLUE, None)):
        there = shown.losses(kind)[:, pair]
        if len(there):
            axes.plot(*there.T, "o", color=color, ms=size, mew=0, label=label, zorder=3)
    if shown.chosen is not None:
        ring = {"ms": 2.2 * size, "mfc": "none", "mec": ORANGE, "mew": 1.6, "label": f"chosen: {shown.chosen.id}"}
        axes.plot(*np.array(shown.chosen.losses)[pair], "o", **ring, zorder=4)
    if shown.ideals is not None:
        style = {"color": DARK, "lw": 0.8, "ls": (0, (6, 3)), "zorder": 1}
        axes.axvline(shown.ideals[pair[0]], **style, label="trained alone (ideals)")
        axes.axhline(shown.ideals[pair[1]], **style)
    axes.plot(*np.array(shown.ref_point)[pair], "x", color=DARK, ms=1.3 * size, mew=1.4, label=_reference(shown))


def _reference(shown: Facts) -> str:
    near = _near(shown)
    seen = "reference" + ("" if near.all() else ", beyond some axes" if near.any() else ", beyond the axes")
    if shown.hypervolume is None:
        return seen
    value, error = shown.hypervolume
    return f"{seen}\nhypervolume {value:.4g}" + (f" ± {error:.2g}" if error else "")

"""The report of a diagnosis as a figure for a paper."""

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from paretomtl.show.diagnosis.facts import DiagnosisFacts, Difference, HeatMap, Panel, Strip
from paretomtl.show.diagnosis.vectors import is_logarithmic
from paretomtl.show.figures.ink import BLUE, DARK, GREY, ORANGE, wrap_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 6.75  # inches: two columns of a paper
ACROSS = 4  # panels, at most
TITLE = 1.15  # inches for the title of one
COLORS = {"joint": BLUE, "alone": ORANGE}


def draw(facts: DiagnosisFacts) -> "Figure":
    """Draw heat maps, gaps, factors and effects, a row each."""
    from matplotlib.figure import Figure

    bands: list[tuple[float, Callable[[Any], None]]] = []
    for heat in facts.heat_maps:
        bands.append((0.75 + 0.17 * len(heat.strips), lambda part, heat=heat: _draw_heat_map(part, heat)))
    rows = -(-len(facts.names) // ACROSS)
    title = "gap at equal training loss"
    bands.append((0.4 + 1.5 * rows, lambda part: _draw_panels(part, facts.gaps, title, "training loss", zero=True)))
    for f in facts.factors:
        bands.append((0.4 + 1.5 * rows, lambda part, f=f: _draw_panels(part, f.panels, f.title, "step")))
    if any(facts.effects.values()):
        methods = max(map(len, facts.effects.values()))
        height = 0.4 + rows * (0.7 + 0.2 * methods)
        bands.append((height, lambda part: _draw_effects(part, facts.effects)))
    heights = [height for height, _ in bands]
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=150, layout="constrained")  # as saved: texts have that width
    figure.get_layout_engine().set(w_pad=0.08)  # type: ignore[union-attr]
    parts = figure.subfigures(len(bands), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (_, draw_band) in zip(parts, bands, strict=True):
        draw_band(part)
    _fix_layout(figure)
    return figure


def _fix_layout(figure: "Figure") -> None:
    """Lay the figure out, and round the places: the solver's last digits change from call to call."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        part.bbox_relative.set_points(np.round(part.bbox_relative.get_points(), 6))
        for axes in part.axes:
            left, bottom, width, height = np.round(axes.get_position().bounds, 6).tolist()
            axes.set_position((left, bottom, width, height))


def _draw_heat_map(part: Any, heat: HeatMap) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("agreement", [ORANGE, "white", BLUE])
    colors = colors.with_extremes(bad="#dddddd")
    axes = part.subplots()
    table = np.ma.masked_invalid([strip.values for strip in heat.strips])
    image = axes.imshow(table, cmap=colors, vmin=-heat.limit, vmax=heat.limit, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(heat.strips)), [_label_pair(strip) for strip in heat.strips], fontsize=7.5)
    places = sorted({0, (len(heat.steps) - 1) // 2, len(heat.steps) - 1})
    axes.set_xticks(places, [str(heat.steps[place]) for place in places], fontsize=7.5)
    axes.set_xlabel("step", fontsize=8)
    axes.set_title(heat.title, fontsize=9, loc="left")
    bar = part.colorbar(image, ax=axes, pad=0.01, fraction=0.03, ticks=[-heat.limit, 0, heat.limit])
    bar.ax.set_yticklabels([f"{-heat.limit:.2g}", "0", f"{heat.limit:+.2g}"], fontsize=7.5)
    bar.outline.set_visible(False)


def _label_pair(strip: Strip) -> str:
    return strip.between.join(_shorten(name, 16) for name in strip.names)


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _panel_grid(part: Any, n: int, title: str) -> list[Any]:
    """Make n panels under a title."""
    across = min(n, ACROSS)
    part.suptitle(title, fontsize=9, x=0.01, ha="left")
    grid = part.subplots(-(-n // across), across, squeeze=False).ravel()
    for axes in grid[n:]:
        axes.remove()
    return list(grid[:n])


def _draw_panels(part: Any, panels: Sequence[Panel], title: str, abscissa: str, zero: bool = False) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    logarithmic = not zero and is_logarithmic(panels)
    kinds = {curve.kind for panel in panels for curve in panel.curves}
    both = " (blue: together, orange, dashed: alone)" if len(kinds) > 1 else ""
    for axes, panel in zip(_panel_grid(part, len(panels), title + both), panels, strict=True):
        axes.set_title(wrap_label(panel.title, TITLE), fontsize=8)
        if panel.curves:
            axes.set_xlabel(abscissa, fontsize=8)
        else:
            axes.set(xticks=[], yticks=[])
        axes.tick_params(labelsize=7)
        if panel.curves:
            axes.locator_params(nbins=3)
        if logarithmic and panel.curves:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(numticks=4))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # names need dollars as such
            axes.yaxis.set_minor_formatter(NullFormatter())
        if zero and panel.curves:
            axes.axhline(0, color=GREY, lw=0.8, ls=(0, (4, 3)))
        for curve in panel.curves:
            style = {"lw": 1.8, "zorder": 3} if curve.mean else {"lw": 0.7, "alpha": 0.45}
            dashes = "--" if curve.kind == "alone" and curve.mean else "-"
            marker = "o" if len(curve.x) == 1 else ""
            axes.plot(curve.x, curve.y, color=COLORS[curve.kind], ls=dashes, marker=marker, ms=3, **style)
        if panel.note:
            place = (0.5, 0.75) if not panel.curves else (0.5, 0.97)
            said = textwrap.fill(panel.note, 24)
            axes.text(*place, said, transform=axes.transAxes, ha="center", va="top", fontsize=7, color=DARK)


def _draw_effects(part: Any, effects: dict[str, list[Difference]]) -> None:
    title = "validation loss of other methods less that of the joint training (below 0: better)"
    panels = _panel_grid(part, len(effects), title)
    for k, (axes, (task, differences)) in enumerate(zip(panels, effects.items(), strict=True)):
        axes.axvline(0, color=GREY, lw=0.8)
        for row, one in enumerate(differences):
            half = None if np.isnan(one.half_width) else one.half_width
            color = {1: ORANGE, -1: BLUE, 0: DARK}[one.sign]
            axes.errorbar(one.mean, row, xerr=half, fmt="o", ms=3.5, lw=1.4, color=color)
        labels = [_shorten(one.label, 16) for one in differences] if k % ACROSS == 0 else [""] * len(differences)
        axes.set_yticks(range(len(differences)), labels, fontsize=7.5)
        axes.set_ylim(len(differences) - 0.5, -0.5)
        axes.set_title(wrap_label(task, TITLE), fontsize=8)
        axes.locator_params(axis="x", nbins=3)
        axes.tick_params(labelsize=7)

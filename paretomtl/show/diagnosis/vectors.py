"""Drawings of the page as inline SVG, in colours that its style sheet gives by class, for light and for dark."""

import html
import math
from collections.abc import Sequence

import numpy as np

from paretomtl.errors import escape_controls
from paretomtl.show.diagnosis.facts import Curve, Difference, HeatMap, Panel, Strip
from paretomtl.show.figures.ink import format_tick

WIDTH, HEIGHT = 320, 190  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 34  # its margins
MANY = 100.0  # a ratio of positive values above which an axis is logarithmic


def escape(text: str) -> str:
    """Return a text as HTML; unprintable characters, with which it could pose as another, are escaped too."""
    return html.escape(escape_controls(text))


def is_logarithmic(panels: Sequence[Panel]) -> bool:
    """Whether the values of a factor are drawn on a logarithmic axis, for they differ by orders of magnitude."""
    values = [curve.y for panel in panels for curve in panel.curves]
    low, high = min(y.min() for y in values), max(y.max() for y in values)
    return bool(low > 0 and high / low > MANY)


def draw_panel(panel: Panel, abscissa: str, name: str, logarithmic: bool = False, zero: bool = False) -> str:
    """Draw the curves of a panel.

    Args:
        panel: the curves.
        abscissa: the label below.
        name: what the picture is, for those who do not see it.
        logarithmic: whether the ordinate is.
        zero: whether 0 is marked, and within the axis.
    """
    x = np.concatenate([curve.x for curve in panel.curves])
    y = np.concatenate([curve.y for curve in panel.curves])
    (left, right), (low, high) = _ends(x), _ends(np.append(y, 0) if zero else y)
    if logarithmic:
        low, high = math.log(y.min()), math.log(y.max())
        low, high = (low - 0.5, high + 0.5) if low == high else (low, high)

    def across(value: float) -> float:
        return LEFT + (value - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def up(value: float) -> float:
        value = math.log(value) if logarithmic else value
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    base, end = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [
        f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{base}H{end}"/>',
        _text(LEFT, base + 14, format_tick(left, left, right), ""),
        _text(end, base + 14, format_tick(right, left, right), "end"),
        _text((LEFT + end) / 2, base + 29, abscissa, "middle"),
    ]
    bottom, top = (math.exp(low), math.exp(high)) if logarithmic else (low, high)
    parts += [
        _text(LEFT - 5, base, format_tick(bottom, bottom, top), "end"),
        _text(LEFT - 5, TOP + 8, format_tick(top, bottom, top), "end"),
    ]
    if zero:
        parts.append(f'<path class="zero" d="M{LEFT} {up(0):.1f}H{end}"/>')
        if TOP + 16 < up(0) < base - 10:
            parts.append(_text(LEFT - 5, up(0) + 4, "0", "end"))
    for curve in sorted(panel.curves, key=lambda one: one.mean):
        parts.append(_draw_curve(curve, [(across(a), up(b)) for a, b in zip(curve.x, curve.y, strict=True)]))
    return _wrap(parts, WIDTH, HEIGHT, name)


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    around = 0.5 * abs(low) or 0.5
    return (low, high) if low < high else (low - around, high + around)


def _draw_curve(curve: Curve, places: Sequence[tuple[float, float]]) -> str:
    kind = f"{curve.kind} mean" if curve.mean else curve.kind
    if len(places) == 1:
        [(x, y)] = places
        return f'<circle class="dot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{3 if curve.mean else 2}"/>'
    return f'<polyline class="curve {kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _wrap(parts: Sequence[str], width: float, height: float, name: str, stretched: bool = False) -> str:
    stretch = ' preserveAspectRatio="none"' if stretched else ""
    label = f'role="img" aria-label="{escape(name)}"'
    return f'<svg viewBox="0 0 {width} {height}"{stretch} {label}>{"".join(parts)}</svg>'


def draw_strip(heat: HeatMap, strip: Strip) -> str:
    """Draw a row of a heat map: one hue for values above 0, one for those below, and the paler the nearer to 0."""
    cells = []
    for k, (step, value) in enumerate(zip(heat.steps, strip.values.tolist(), strict=True)):
        known = math.isfinite(value)
        kind = "undefined" if not known else "negative" if value < 0 else "positive"
        depth = f' fill-opacity="{min(1.0, abs(value) / heat.limit):.3f}"' if known else ""
        said = f"step {step}: " + (f"{value:+.3g}" if known else "undefined")
        cells.append(f'<rect class="{kind}" x="{k}" width="1" height="1"{depth}><title>{said}</title></rect>')
    name = f"{heat.title}, {strip.label}: mean {format_mean(strip.mean)}"
    return _wrap(cells, len(heat.steps), 1, name, stretched=True)


def format_mean(value: float) -> str:
    """Format the mean of a row."""
    return f"{value:+.2g}" if math.isfinite(value) else "undefined"


def draw_difference(one: Difference, reach: float) -> str:
    """Draw a mean and its interval on an axis from -reach to reach, with 0 in the middle."""
    parts = ['<line class="zero" x1="50" x2="50" y1="0" y2="10"/>']
    if math.isfinite(one.mean):
        kind = {1: "worse", -1: "better", 0: "same"}[one.sign]
        half = one.half_width if math.isfinite(one.half_width) else 0.0
        x, low, high = (50 + 48 * value / reach for value in (one.mean, one.mean - half, one.mean + half))
        parts.append(f'<line class="{kind}" x1="{low:.2f}" x2="{high:.2f}" y1="5" y2="5"/>')
        parts.append(f'<line class="{kind} point" x1="{x:.2f}" x2="{x:.2f}" y1="2" y2="8"/>')
    return _wrap(parts, 100, 10, f"{one.label}: {one}", stretched=True)


def find_reach(differences: Sequence[Difference]) -> float:
    """Return the end of an axis that holds all intervals."""
    values = [abs(d.mean) + (d.half_width if math.isfinite(d.half_width) else 0) for d in differences]
    return max((value for value in values if math.isfinite(value)), default=0.0) or 1.0

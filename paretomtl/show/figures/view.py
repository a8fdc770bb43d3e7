"""The layout of a figure: its size and texts, the place of its legend, the ends of its axes."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from paretomtl.points import score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = 5.0  # inches; a narrower figure is for a paper's column


def check_width(width: float | None) -> None:
    """Raise a ValueError if a width is not a positive number of inches."""
    number = isinstance(width, (int, float)) and not isinstance(width, bool)
    if width is not None and not (number and 0 < width < float("inf")):
        raise ValueError(f"width={width!r}: give inches, such as 3.25 for a paper's column, or leave it out")


def check_room(inches: float, least: float, each: str, width: float) -> None:
    """Raise a ValueError if a width leaves each panel or axis too little room for its texts."""
    if inches < least:
        raise ValueError(f"width={width:g} leaves {inches:.2g} inches to {each}, which needs {least:g}; give more")


def is_narrow(width: float | None) -> bool:
    """Whether a figure is so narrow that the legend goes below it, and texts have 8 points rather than 9."""
    return width is not None and width < COLUMN


def text_settings(width: float | None) -> dict[Any, Any]:
    """Return matplotlib's settings for the size of texts."""
    return {"font.size": 8.0, "legend.fontsize": 7.5} if is_narrow(width) else {}


def draw_legend(figure: "Figure", width: float | None, **wide: Any) -> None:
    """Draw one legend for all panels of a figure, each entry once.

    The legend goes where `wide` says. In a narrow figure, or without `wide`, it goes below, and the figure grows by it.
    """
    entries = {}
    for axes in figure.axes:
        entries |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if is_narrow(width) or not wide:
        lines = [line for label in entries for line in label.split("\n")]
        longest = 0.06 * max(map(len, lines)) + 0.55  # inches, with the mark beside it
        across = 2 if 2 * longest <= figure.get_figwidth() else 1
        figure.set_figheight(figure.get_figheight() + 0.17 * -(-len(lines) // across))
        wide = {"loc": "outside lower center", "ncols": across}
    figure.legend(entries.values(), entries.keys(), frameon=False, **wide)


def is_reference_near(ends: Float[np.ndarray, "2 m"], ref_point: tuple[float, ...]) -> Bool[np.ndarray, " m"]:
    """Mark the objectives in which the reference is no farther from the drawn losses than they span.

    In the others it is not drawn, as it would leave no room.
    """
    (low, high), reference = ends, np.array(ref_point)
    span = high - low
    return score.is_constant(ends) | ((low - span <= reference) & (reference <= high + span))


def axis_limits(ends: Float[np.ndarray, "2 m"], ref_point: tuple[float, ...]) -> Float[np.ndarray, "m 2"]:
    """Return the ends of each axis: around the drawn losses, and the reference where it is near."""
    (low, high), near, reference = ends, is_reference_near(ends, ref_point), np.array(ref_point)
    low, high = np.where(near, np.minimum(low, reference), low), np.where(near, np.maximum(high, reference), high)
    flat = score.is_constant(np.stack([low, high]))
    margin = 0.07 * np.where(flat, np.where(high == 0, 1, np.abs(high)), high - low)
    return np.stack([low - margin, high + margin], axis=1)


def reference_label(ends: Float[np.ndarray, "2 m"], ref_point: tuple[float, ...]) -> str:
    """Label the reference, for the legend."""
    near = is_reference_near(ends, ref_point)
    return "reference" + ("" if near.all() else ", beyond some axes" if near.any() else ", beyond the axes")

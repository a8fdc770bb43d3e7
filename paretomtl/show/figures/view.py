"""How large a figure and its texts are, where its legend goes, and how far its axes go."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from paretomtl.points import score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = 5.0  # inches: a narrower figure is one for a paper's column


def check_width(width: float | None) -> None:
    """An error where it is no width of a figure in inches."""
    number = isinstance(width, (int, float)) and not isinstance(width, bool)
    if width is not None and not (number and 0 < width < float("inf")):
        raise ValueError(f"width={width!r}: give inches, such as 3.25 for a paper's column, or leave it out")


def check_room(inches: float, least: float, each: str, width: float) -> None:
    """An error where a width leaves each panel or axis less than it needs for its texts."""
    if inches < least:
        raise ValueError(f"width={width:g} leaves {inches:.2g} inches to {each}, which needs {least:g}; give more")


def is_narrow(width: float | None) -> bool:
    """Whether the legend goes below for want of room, and texts are of 8 points rather than 9."""
    return width is not None and width < COLUMN


def text_settings(width: float | None) -> dict[Any, Any]:
    """What matplotlib is to be told of their size."""
    return {"font.size": 8.0, "legend.fontsize": 7.5} if is_narrow(width) else {}


def draw_legend(figure: "Figure", width: float | None, **wide: Any) -> None:
    """What the panels of a figure show, once each: a panel may show a part of it.

    It goes where `wide` says, or below the figure, which grows by it: in a column's figure, and where `wide` is empty.
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
    """In which objectives the reference is no farther from what is drawn than this spans.

    Elsewhere it is not drawn, for it would leave no room.
    """
    (low, high), reference = ends, np.array(ref_point)
    span = high - low
    return score.is_constant(ends) | ((low - span <= reference) & (reference <= high + span))


def axis_limits(ends: Float[np.ndarray, "2 m"], ref_point: tuple[float, ...]) -> Float[np.ndarray, "m 2"]:
    """The ends of each axis: what is drawn, and the reference where it is near."""
    (low, high), there, reference = ends, is_reference_near(ends, ref_point), np.array(ref_point)
    low, high = np.where(there, np.minimum(low, reference), low), np.where(there, np.maximum(high, reference), high)
    flat = score.is_constant(np.stack([low, high]))
    margin = 0.07 * np.where(flat, np.where(high == 0, 1, np.abs(high)), high - low)
    return np.stack([low - margin, high + margin], axis=1)


def reference_label(ends: Float[np.ndarray, "2 m"], ref_point: tuple[float, ...]) -> str:
    """What the legend says of it."""
    there = is_reference_near(ends, ref_point)
    return "reference" + ("" if there.all() else ", beyond some axes" if there.any() else ", beyond the axes")

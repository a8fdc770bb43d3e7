"""Ink of all figures: colours that colour-blind people can tell apart, and texts that fit."""

import textwrap

import numpy as np

BLUE, ORANGE, GREY, PALE, DARK = "#1f5fa8", "#d9660f", "#9a9a9a", "#cccccc", "#333333"


def wrap_label(label: str, inches: float) -> str:
    """Wrap a label to at most four lines of about this length; its end, with the unit, always stays."""
    lines = textwrap.wrap(label.replace("_", "_ "), max(8, int(14 * inches)))
    lines = [line.replace("_ ", "_") for line in lines]
    return "\n".join(lines if len(lines) < 5 else [*lines[:2], f"{lines[2]}…", lines[-1]])


def point_number(id: str) -> str:
    """Return the number at the end of a point's id, without its seed."""
    return id.partition("-seed-")[0].rpartition("-")[2].lstrip("0")


def format_tick(value: float, low: float, high: float) -> str:
    """Format a number on an axis from low to high, with enough digits to show steps of a hundredth of the axis."""
    value = value if abs(value) > 1e-9 * (high - low) else 0.0
    ratio = max(abs(low), abs(high)) / (high - low) if high > low else 1.0
    digits = int(np.clip(np.ceil(np.log10(ratio)) + 2, 3, 12))
    if abs(value) < 1e5:
        digits = max(digits, len(str(int(abs(value)))))  # 4880 rather than 4.88e+03
    return f"{value:.{digits}g}"

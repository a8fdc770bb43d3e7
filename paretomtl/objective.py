"""An objective: a named loss that is minimised, and the measure that people read in its place."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

GOALS = ("min", "max")


@dataclass(frozen=True)
class Objective:
    """A named loss, and the measure that people read in its place.

    Args:
        name: the objective's name everywhere; printable, at most 100 characters.
        unit: the unit of the measure, for tables and axes ("nats", "%").
        goal: the sense of the MEASURE, "min" or "max". The loss is always minimised.
        scale: the number that the loss is divided by everywhere, so that losses of different size can be compared.
    """

    name: str
    unit: str = ""
    goal: Literal["min", "max"] = "min"
    scale: float = 1.0

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name.strip() or not self.name.isprintable():
            raise ValueError(f"objective name {self.name!r}: give a printable, non-empty text")
        if len(self.name) > 100:
            raise ValueError(f"objective name {self.name[:20]!r}…: {len(self.name)} characters, at most 100")
        if self.goal not in GOALS:
            raise ValueError(f"objective {self.name!r}: goal={self.goal!r} is not one of {', '.join(map(repr, GOALS))}")
        if isinstance(self.scale, bool) or not isinstance(self.scale, (int, float)) or not 0 < self.scale < math.inf:
            raise ValueError(f"objective {self.name!r}: scale={self.scale!r}; give a positive number")

    @property
    def sign(self) -> int:
        """1 where a smaller measure is better, -1 where a larger one is."""
        return -1 if self.goal == "max" else 1


def check_reference(ref_point: Sequence[float] | np.ndarray, m: int) -> Float[np.ndarray, " m"]:
    """Return the hypervolume reference as an array, or raise if it is not m finite numbers."""
    try:
        point = np.asarray(ref_point, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"ref_point={ref_point!r} is not a list of numbers; give {m}, one an objective") from error
    if point.shape != (m,):
        raise ValueError(f"ref_point={ref_point!r} has shape {point.shape}; give {m} numbers, one an objective")
    if not np.isfinite(point).all():
        raise ValueError(f"ref_point={ref_point!r} is not finite; give {m} finite numbers")
    return point

"""The least weighted sum, or the least weighted maximum, of the measures scaled to the front's range."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from paretomtl.selection.select import Candidates, Choice, Rule, RuleOption, rank

SCALARISATIONS = ("linear", "tchebycheff")


@dataclass(frozen=True)
class Weights(Rule):
    """The point with the least weighted loss of range: 0 where a point has the best of each measure, 1 the worst.

    Args:
        weights: objective -> how much it matters, at least 0, for every objective; only the ratios count.
        kind: "linear", the weighted sum, which only chooses among points that lie on the front's convex hull; or
            "tchebycheff", the weighted maximum (Bowman, 1976), ties by the sum.
    """

    option = RuleOption("--weigh", "the least weighted sum, of the range …", "OBJECTIVE=WEIGHT", dict)
    settings = (RuleOption("--tchebycheff", "… or the least weighted maximum"),)
    label = "Weights"
    about = "The point with the least weighted distance from the best measures, of the front's range."

    weights: Mapping[str, float]
    kind: str = "linear"

    def __post_init__(self):
        if self.kind not in SCALARISATIONS:
            raise ValueError(f"kind={self.kind!r} is not one of {', '.join(map(repr, SCALARISATIONS))}")

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> "Weights":
        """Build the rule from the values of `--weigh` and `--tchebycheff`."""
        return cls(values["weigh"], "tchebycheff" if values["tchebycheff"] else "linear")

    def choose(self, among: Candidates) -> Choice:
        """Return the point with the least weighted loss of range."""
        weights = among.row(self.weights, "weights")
        if (weights < 0).any() or not weights.any():
            raise ValueError(f"weights={dict(self.weights)} must be at least 0, and not all 0")
        weights = weights / weights.sum()
        scaled = (among.costs - among.costs.min(axis=0)) / np.where(among.spans > 0, among.spans, 1)
        parts = weights * np.where(among.spans > 0, scaled, 0)
        total = parts.sum(axis=1)
        order = rank(total, scaled.sum(axis=1)) if self.kind == "linear" else rank(parts.max(axis=1), total)
        k = order[0]
        weight_text = ", ".join(f"{name} {weight:.3g}" for name, weight in zip(among.names, weights, strict=True))
        least = total[k] if self.kind == "linear" else parts[k].max()
        what = "sum" if self.kind == "linear" else "maximum"
        return among.chosen(
            order,
            f"{among.named(k)} has the least weighted {what} of its distances from the best "
            f"measures, {least:.3g} of the front's range, at the weights {weight_text}",
        )

"""Nearest to what one aspires to, by the augmented achievement function (Wierzbicki, 1980)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from paretomtl.selection.select import Candidates, Choice, Rule, RuleOption, rank

AUGMENTATION = 1e-4  # weight of the sum of the misses: among equal worst misses, the better in the others comes first


@dataclass(frozen=True)
class ReferencePoint(Rule):
    """The point whose worst miss of the aspirations is smallest, in measures scaled to the front's range.

    Where all aspirations can be bettered, it is the point that betters all of them by most. A measure that does not
    vary over the front does not count.

    Args:
        aspirations: objective -> the value that one would like, for every objective.
    """

    option = RuleOption("--aspire", "nearest to these, one for each objective", "OBJECTIVE=VALUE", dict)
    label = "Nearest to aspirations"
    about = "The point whose worst miss of what one would like is smallest, of the front's range."

    aspirations: Mapping[str, float]

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> "ReferencePoint":
        """Build the rule from the value of `--aspire`."""
        return cls(values["aspire"])

    def choose(self, among: Candidates) -> Choice:
        """Return the point with the smallest achievement function."""
        goals = among.row(self.aspirations, "aspirations")
        varies = np.flatnonzero(among.spans)
        goal_text = ", ".join(f"{name} {value:g}" for name, value in zip(among.names, goals, strict=True))
        if not len(varies):
            return among.chosen(range(len(among.points)), f"{among.named(0)} is equal to every other point")
        miss = (among.costs - among.signs * goals)[:, varies] / among.spans[varies]
        order = rank(miss.max(axis=1) + AUGMENTATION * miss.sum(axis=1))
        k = order[0]
        worst = int(np.argmax(miss[k]))
        amount = f"{abs(miss[k, worst]):.3g} of the front's range, in {among.names[varies[worst]]}"
        far = f"misses them by at most {amount}" if miss[k, worst] > 0 else f"betters each by at least {amount}"
        return among.chosen(order, f"{among.named(k)} comes nearest to {goal_text}: it {far}")

"""One measure after the other, each within a tolerance of its best (Waltz 1967; "one standard error": Breiman 1984)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paretomtl.selection.select import DIGITS, Candidates, Choice, Rule, RuleOption, check_number, count_points


@dataclass(frozen=True)
class Lexicographic(Rule):
    """The points near the best in the first measure; of them, those near the best in the second; and so on.

    "Within one standard error of the best accuracy, then the smallest gap" is
    `Lexicographic(["accuracy", "gap"], standard_errors={"accuracy": 1})`. Objectives that `order` does not name break
    the remaining ties, in the order of the front.

    Args:
        order: objectives, the most important first.
        within: objective -> how much worse than the best counts as good, in the measure's unit; 0 by default.
        standard_errors: objective -> the same, in standard errors of the best point's measure: of its mean over seeds,
            and on the split's finite data, as far as they are known.
    """

    option = RuleOption(
        "--order", "the best in the last, within so much of the best before", "OBJECTIVE[=WITHIN]", list
    )
    label = "One after the other"
    about = "Of the points near the best in the first measure those near the best in the next."

    order: Sequence[str]
    within: Mapping[str, float] = field(default_factory=dict)
    standard_errors: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self):
        if isinstance(self.order, str) or not self.order or len(set(self.order)) < len(self.order):
            raise ValueError(f"order={self.order!r}: give a list of different objectives, the most important first")
        for what, tolerances in (("within", self.within), ("standard_errors", self.standard_errors)):
            for name, tolerance in tolerances.items():
                if name not in self.order:
                    raise ValueError(f"{what} has {name!r}, which is not in order={list(self.order)}")
                if check_number(tolerance, f"{what}[{name!r}]") < 0:
                    raise ValueError(f"{what}[{name!r}] = {tolerance!r} is negative; give 0 or more")
        for name in self.within.keys() & self.standard_errors.keys():
            raise ValueError(f"{name!r} has a tolerance in within and in standard_errors; give one")

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> "Lexicographic":
        """Build the rule from the value of `--order`."""
        pairs = values["order"]
        return cls([name for name, _ in pairs], {name: within for name, within in pairs if within is not None})

    def choose(self, among: Candidates) -> Choice:
        """Return the best in the last measure of the points near the best in all before."""
        columns = [among.column(name) for name in self.order]
        left, dropped, conditions = np.arange(len(among.points)), [], []
        for j in columns[:-1]:
            costs = among.costs[left, j]
            best = int(left[np.argmin(costs)])
            tolerance = self._tolerance(among, best, j)
            near = costs - among.costs[best, j] - tolerance <= 10.0**-DIGITS * among.spans[j]
            dropped = [*left[~near][np.argsort(costs[~near], kind="stable")].tolist(), *dropped]
            left = left[near]
            within = f"within {tolerance:.4g} of " if tolerance else "with "
            conditions.append(f"{within}the best {among.names[j]}, {among.number(best, j)}")
        last = columns[-1]
        rest = [j for j in range(len(among.objectives)) if j not in columns]
        keys = [last, *rest, *columns[:-1]]  # among equals, the better in the measures with a tolerance
        order = left[np.lexsort(among.costs[left][:, keys[::-1]].T)].tolist()
        k = order[0]
        superlative = "highest" if among.objectives[last].sign < 0 else "lowest"
        why = f"{among.points[k].id} has the {superlative} {among.names[last]}, {among.number(k, last)}, "
        why += f"of the {count_points(left)} " + (" and ".join(conditions) if conditions else "that none dominates")
        return among.chosen([*order, *dropped], why)

    def _tolerance(self, among: Candidates, best: int, j: int) -> float:
        name = among.names[j]
        if name in self.standard_errors:
            error = float(among.standard_errors()[best, j])
            if not np.isfinite(error):
                raise ValueError(
                    f"the standard error of {name!r} at {among.points[best].id} is unknown: only one seed "
                    "of it succeeded; give its tolerance in within="
                )
            return self.standard_errors[name] * error
        return float(self.within.get(name, 0.0))

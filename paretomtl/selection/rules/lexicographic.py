"""One measure after the other, each within a tolerance of its best (Waltz 1967; "one standard error": Breiman 1984)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from paretomtl.selection.select import DIGITS, Candidates, Choice, Rule, check_number, count_points


@dataclass(frozen=True)
class Lexicographic(Rule):
    """The points near the best in the first measure; of them, those near the best in the second; and so on.

    "Within one standard error of the best accuracy, then the smallest gap" is
    `Lexicographic(["accuracy", "gap"], standard_errors={"accuracy": 1})`. Objectives that `order` does not name break
    the ties that are left, in the order of the front.

    Args:
        order: objectives, the most important first.
        within: objective -> how much worse than the best counts as good, in the measure's unit; 0 by default.
        standard_errors: objective -> the same, in standard errors of the best point's measure: of its mean over seeds,
            and on the split's finite data, as far as they are known.
    """

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

    def choose(self, among: Candidates) -> Choice:
        """The last that is left."""
        places = [among.column(name) for name in self.order]
        left, dropped, told = np.arange(len(among.points)), [], []
        for j in places[:-1]:
            costs = among.costs[left, j]
            best = int(left[np.argmin(costs)])
            tolerance = self._tolerance(among, best, j)
            near = costs - among.costs[best, j] - tolerance <= 10.0**-DIGITS * among.spans[j]
            dropped = [*left[~near][np.argsort(costs[~near], kind="stable")].tolist(), *dropped]
            left = left[near]
            within = f"within {tolerance:.4g} of " if tolerance else "with "
            told.append(f"{within}the best {among.names[j]}, {among.number(best, j)}")
        last = places[-1]
        rest = [j for j in range(len(among.objectives)) if j not in places]
        keys = [last, *rest, *places[:-1]]  # of equal ones, the better in what was tolerated
        order = left[np.lexsort(among.costs[left][:, keys[::-1]].T)].tolist()
        k = order[0]
        superlative = "highest" if among.objectives[last].sign < 0 else "lowest"
        why = f"{among.points[k].id} has the {superlative} {among.names[last]}, {among.number(k, last)}, "
        why += f"of the {count_points(left)} " + (" and ".join(told) if told else "that none dominates")
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

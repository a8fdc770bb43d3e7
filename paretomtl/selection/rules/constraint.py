"""The best in one measure among the points that keep bounds (the epsilon-constraint method: Haimes et al., 1971)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paretomtl.errors import NoFeasiblePointError
from paretomtl.selection.select import Candidates, Choice, Rule, RuleOption, check_number, count_points


@dataclass(frozen=True)
class Constraint(Rule):
    """The best point in one measure among those that keep bounds on others; ties go to the next objectives' best.

    Args:
        best: the objective to be best in.
        subject_to: objective -> bound; "no worse than", in the measure's own sense.
        margin: None to keep the bounds with the measures alone. With a level of confidence, such as 0.95, a model keeps
            them at worst, at this one-sided level: its measure, and a margin for the standard error on the split (where
            the problem's measure returns one) and for the spread over seeds (where there are several). The level is
            that of each point and bound; a rule that picks the best of many points prefers those whose measures came
            out too good, so the chosen one keeps its bounds less often.
        simultaneous: whether the level is that of all points and bounds together, so that it holds for the chosen one,
            too: the share that may err is divided by their number (Bonferroni), which widens the margins.
    """

    option = RuleOption("--best", "the best in this one …", "OBJECTIVE", str)
    settings = (
        RuleOption("--subject-to", "… of those no worse than this …", "OBJECTIVE=BOUND", dict),
        RuleOption("--margin", "… at this level of confidence, such as 0.95 …", "LEVEL", float),
        RuleOption("--simultaneous", "… which then holds for the chosen point, too"),
    )
    label = "Best in one, within bounds"
    about = "The best point in one measure among those that keep the bounds on others."

    best: str
    subject_to: Mapping[str, float] = field(default_factory=dict)
    margin: float | None = None
    simultaneous: bool = False

    def __post_init__(self):
        if self.margin is not None and not 0.5 < check_number(self.margin, "margin") < 1:
            raise ValueError(f"margin={self.margin!r} is a level of confidence, such as 0.95; give one from 0.5 to 1")

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> "Constraint":
        """Build the rule from the values of its options."""
        return cls(values["best"], values["subject_to"], values["margin"], values["simultaneous"])

    def choose(self, among: Candidates) -> Choice:
        """Return the feasible point with the best measure."""
        if self.simultaneous and self.margin is None:
            raise ValueError("simultaneous=True goes with a level of confidence; give margin=, such as 0.95")
        i = among.column(self.best)
        excess = np.zeros(among.values.shape)
        margins = None if self.margin is None or not self.subject_to else among.margins(self._level(among))
        at_worst = among.costs if margins is None else among.costs + margins
        for name, bound in self.subject_to.items():
            j = among.column(name)
            bound = check_number(bound, f"subject_to[{name!r}]")
            excess[:, j] = np.maximum(at_worst[:, j] - among.objectives[j].sign * bound, 0)
        feasible = np.flatnonzero(~excess.any(axis=1))
        bounds = self._format_bounds(among)
        if not len(feasible):
            raise self._infeasible(among, excess, margins, bounds)
        rest = [j for j in range(len(among.objectives)) if j != i]
        order = feasible[np.lexsort(among.costs[feasible][:, [*reversed(rest), i]].T)].tolist()
        superlative = "highest" if among.objectives[i].sign < 0 else "lowest"
        why = f"{among.points[order[0]].id} has the {superlative} {self.best}, {among.number(order[0], i)}, "
        why += f"of the {count_points(feasible)} " + (f"with {bounds}" if bounds else "that none dominates")
        if margins is not None:
            why += f"; it keeps {self._worst_measures(among, order[0], at_worst)} at worst"
        if len(order) > 1:
            why += f"; next is {among.points[order[1]].id} with {among.number(order[1], i)}"
        return among.chosen(order, why)

    def _level(self, among: Candidates) -> float:
        """Return the level of confidence for one point and one bound."""
        assert self.margin is not None
        # the dominated points count, too: that the others are not dominated may be luck
        together = among.measured * len(self.subject_to) if self.simultaneous else 1
        return 1 - (1 - self.margin) / together

    def _format_bounds(self, among: Candidates) -> str:
        signs = {o.name: "≥" if o.sign < 0 else "≤" for o in among.objectives}
        bounds = " and ".join(f"{name} {signs[name]} {bound:g}" for name, bound in self.subject_to.items())
        if not bounds or self.margin is None:
            return bounds
        return f"{bounds} at {self.margin:.4g} confidence" + (" for all points together" if self.simultaneous else "")

    def _worst_measures(self, among: Candidates, k: int, at_worst: np.ndarray) -> str:
        """Format the bounded measures of a point, at worst."""
        columns = map(among.column, self.subject_to)
        return ", ".join(f"{among.names[j]} = {among.signs[j] * at_worst[k, j]:.4g}" for j in columns)

    def _infeasible(self, among: Candidates, excess, margins, bounds: str) -> NoFeasiblePointError:
        """Return the error that names the nearest point."""
        worst = (excess / np.where(among.spans > 0, among.spans, 1)).max(axis=1)
        k = int(np.argmin(worst))
        nearest, broken = among.points[k], np.flatnonzero(excess[k] > 0)
        values = [f"{among.names[j]} = {among.values[k, j]:.8g}" for j in broken]
        if margins is not None:
            values = [
                f"{v}, at worst {among.values[k, j] + among.signs[j] * margins[k, j]:.8g}"
                for v, j in zip(values, broken, strict=True)
            ]
        return NoFeasiblePointError(
            f"no point of the front has {bounds}; nearest is {nearest.id} with {', '.join(values)}", nearest
        )

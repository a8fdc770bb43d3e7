"""The point whose worst regret is least (Savage, 1951)."""

from dataclasses import dataclass

import numpy as np

from paretomtl.selection.select import Candidates, Choice, Rule, RuleOption, rank


@dataclass(frozen=True)
class MinMaxRegret(Rule):
    """The point that is nowhere far from the best there could have been.

    The regret in a measure is its distance from the ideal, in units of the ideal's distance from the front's worst. The
    ideal is the measure of the model that was trained on this objective alone, where the front has one and it is
    better; otherwise the front's best. Ties go to the smaller sum of regrets. A measure without regret anywhere does
    not count.
    """

    option = RuleOption("--regret", "where the worst regret, of all objectives, is least")
    label = "Least worst regret"
    about = "The point that is nowhere far from the best there could have been."

    def choose(self, among: Candidates) -> Choice:
        """Return the point with the smallest worst regret."""
        ideal = among.costs.min(axis=0)
        if among.ideals is not None:
            ideal = np.minimum(ideal, among.signs * among.ideals)
        worst = among.costs.max(axis=0)
        span = np.where(among.spans > 0, worst - ideal, 0)
        regret = np.where(span > 0, (among.costs - ideal) / np.where(span > 0, span, 1), 0)
        order = rank(regret.max(axis=1), regret.sum(axis=1))
        k = order[0]
        parts = ", ".join(f"{share:.0%} in {name}" for name, share in zip(among.names, regret[k], strict=True))
        why = f"{among.named(k)} has the least worst regret, {regret[k].max():.3g} of the way from the ideal to the "
        why += f"front's worst: {parts}"
        if len(order) > 1:
            why += f"; next is {among.points[order[1]].id} with {regret[order[1]].max():.3g}"
        return among.chosen(order, why)

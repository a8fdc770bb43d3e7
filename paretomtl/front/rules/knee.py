"""Where leaving costs much more than it gains: the knee (Das 1999; Rachmawati and Srinivasan 2009)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from paretomtl.front.select import Candidates, Choice, Rule, count, ranked

LEAST_BULGE = 0.05  # of the front's own range: a front closer than this to the line through its ends has no knee
LEAST_RATIO = 1.1  # of what a move gives up to what it gains; on a flat front it is 1
FAR = 0.25  # of the front's range in some measure: shorter moves tell of the next point, not of the front


@dataclass(frozen=True)
class Knee(Rule):
    """The point that is left for another at the worst terms; in measures scaled to the front's range.

    Of two objectives that vary it is the one farthest below the line through the ends, which are the points best in one
    measure each. Of more it is the one whose best move to a point far from it (a quarter of the range in some measure)
    gives up most for what it gains: the sum of what gets worse over the sum of what gets better. Objectives that do not
    vary are left out. There is no knee on fewer than three distinct points, on a flat front, or on one that bulges
    away.
    """

    def choose(self, among: Candidates) -> Choice:
        """The knee, or no point and the reason."""
        distinct = len(np.unique(among.costs, axis=0))
        if distinct < 3:
            return Choice(None, f"no knee: it is undefined on {distinct} distinct non-dominated point(s), 3 are needed")
        varies = np.flatnonzero(among.spans)
        if len(varies) < 2:
            return Choice(None, "no knee: fewer than two objectives vary over the front")
        scaled = ((among.costs - among.costs.min(axis=0))[:, varies]) / among.spans[varies]
        return _bulge(among, scaled) if len(varies) == 2 else _trade(among, scaled)


def _bulge(among: Candidates, scaled: Float[np.ndarray, "n 2"]) -> Choice:
    bulge = np.round(1 - scaled.sum(axis=1), 9)  # the ends are (0, 1) and (1, 0)
    order = ranked(-bulge)
    most = float(bulge[order[0]])
    if most < LEAST_BULGE:
        shape = "bulges away from the ideal" if bulge.min() < -LEAST_BULGE else "is flat"
        return Choice(None, f"no knee: the front {shape} (its largest bulge is {most:.3f} of its range)")
    why = (
        f"{among.named(order[0])} is the knee of the {count(order)} that none dominates: "
        f"it lies {most:.2f} of the front's range below the line through its ends"
    )
    if len(order) > 1:
        why += f"; next is {among.points[order[1]].id} with {bulge[order[1]]:.2f}"
    return among.chosen(order, why)


def _trade(among: Candidates, scaled: Float[np.ndarray, "n k"]) -> Choice:
    least, hardest = np.empty(len(scaled)), 1.0
    for i, here in enumerate(scaled):
        step = scaled - here
        step = step[np.abs(step).max(axis=1) >= FAR]
        ratios = np.maximum(step, 0).sum(axis=1) / np.maximum(-step, 0).sum(axis=1)
        least[i], hardest = ratios.min(), min(hardest, float(ratios.min()))
    order = ranked(-least)
    most = float(least[order[0]])
    if most < LEAST_RATIO:
        flat = hardest > 1 / LEAST_RATIO
        shape = "is flat" if flat else "bulges away from the ideal"
        return Choice(
            None, f"no knee: the front {shape} (every point can be left giving up {most:.3f} of what it gains, or less)"
        )
    why = (
        f"{among.named(order[0])} is the knee of the {count(order)} that none dominates: "
        f"to leave it gives up {most:.2f} times what it gains, or more"
    )
    if len(order) > 1:
        why += f"; next is {among.points[order[1]].id} with {least[order[1]]:.2f}"
    return among.chosen(order, why)

"""Where leaving costs much more than it gains: the knee (Das 1999; Rachmawati and Srinivasan 2009)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from paretomtl.points import score
from paretomtl.selection.select import Candidates, Choice, Rule, RuleOption, count_points, rank

LEAST_BULGE = 0.05  # of the front's own range: a front closer than this to the line through its ends has no knee
LEAST_RATIO = 1.1  # of what a move gives up to what it gains; on a flat front it is 1
FAR = 0.25  # of the front's range in some measure: a shorter move says more about the next point than about the front


@dataclass(frozen=True)
class Knee(Rule):
    """The point that is left for another at the worst terms; in measures scaled to the front's range.

    With two objectives that vary, the knee is the point farthest below the line through the ends, which are the points
    best in one measure each. With more, it is the point whose best move to a distant one (by a quarter of the range in
    some measure) gives up most for what it gains: the sum of what gets worse over the sum of what gets better.
    Objectives that do not vary are left out. There is no knee on fewer than three distinct points, on a flat front, or
    on one that bulges away.
    """

    option = RuleOption("--knee", "where leaving costs most for what it gains")
    label = "Knee"
    about = "The point that is left for another at the worst terms."

    def choose(self, among: Candidates) -> Choice:
        """Return the knee, or no point and the reason."""
        distinct = len(np.unique(among.costs, axis=0))
        if distinct < 3:
            return Choice(None, f"no knee: it is undefined on {distinct} distinct non-dominated point(s), 3 are needed")
        scaled = score.scale_to_range(among.costs)
        if scaled.shape[1] < 2:
            return Choice(None, "no knee: fewer than two objectives vary over the front")
        return _bulge(among, scaled) if scaled.shape[1] == 2 else _trade(among, scaled)


def _bulge(among: Candidates, scaled: Float[np.ndarray, "n 2"]) -> Choice:
    bulge = np.round(1 - scaled.sum(axis=1), 9)  # the ends are (0, 1) and (1, 0)
    most = float(bulge.max())
    if most < LEAST_BULGE:
        shape = "bulges away from the ideal" if bulge.min() < -LEAST_BULGE else "is flat"
        return Choice(None, f"no knee: the front {shape} (its largest bulge is {most:.3f} of its range)")
    return _largest(among, bulge, f"it lies {most:.2f} of the front's range below the line through its ends")


def _trade(among: Candidates, scaled: Float[np.ndarray, "n k"]) -> Choice:
    least = np.empty(len(scaled))
    for i, here in enumerate(scaled):
        step = scaled - here
        step = step[np.abs(step).max(axis=1) >= FAR]
        least[i] = (np.maximum(step, 0).sum(axis=1) / np.maximum(-step, 0).sum(axis=1)).min()
    most = float(least[rank(-least)[0]])
    if most < LEAST_RATIO:
        shape = "is flat" if least.min() > 1 / LEAST_RATIO else "bulges away from the ideal"
        return Choice(
            None, f"no knee: the front {shape} (every point can be left giving up {most:.3f} of what it gains, or less)"
        )
    return _largest(among, least, f"to leave it gives up {most:.2f} times what it gains, or more")


def _largest(among: Candidates, scores: Float[np.ndarray, " n"], how: str) -> Choice:
    """Choose the point with the largest score, and name the next one."""
    order = rank(-scores)
    why = f"{among.named(order[0])} is the knee of the {count_points(order)} that none dominates: {how}"
    if len(order) > 1:
        why += f"; next is {among.points[order[1]].id} with {scores[order[1]]:.2f}"
    return among.chosen(order, why)

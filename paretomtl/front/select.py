"""Rules: how to choose one point of a front, and why.

Every rule chooses among the points that no other dominates in the measures, in each measure's own sense; so no choice
is ever dominated. Ties go to the earlier id.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.front import score
from paretomtl.point import Point
from paretomtl.problem import Objective

LEAST_BULGE = 0.05  # of the front's own range: a front closer than this to the plane through its ends has no knee


class NoFeasiblePoint(ValueError):
    """No point keeps the bounds; `nearest` is the one that breaks them least."""

    def __init__(self, message: str, nearest: Point):
        super().__init__(message)
        self.nearest = nearest


class Choice(NamedTuple):
    """A point, or None; the reason; and the next best by the same rule."""

    point: Point | None
    why: str
    runners_up: tuple[Point, ...] = ()


class Candidates(NamedTuple):
    """The points to choose from, none of them dominated, with their measures (n, m) as people read them."""

    points: Sequence[Point]
    values: Float[np.ndarray, "n m"]
    objectives: Sequence[Objective]

    @property
    def costs(self) -> Float[np.ndarray, "n m"]:
        """The measures turned so that smaller is better."""
        return self.values * np.array([o.sign for o in self.objectives])

    def column(self, name: str) -> int:
        """The place of an objective, by name."""
        names = [o.name for o in self.objectives]
        if name not in names:
            raise ValueError(f"objective {name!r} is not one of {', '.join(map(repr, names))}")
        return names.index(name)


def candidates(points: Sequence[Point], objectives: Sequence[Objective], split: str = "validate") -> Candidates:
    """The points that succeeded and that no other dominates in the split's measures, in the order of their ids."""
    done = sorted((p for p in points if p.state == "done"), key=lambda p: p.id)
    if not done:
        raise score.EmptyFrontError("the front has no point to choose from")
    unmeasured = [p.id for p in done if split not in p.values]
    if unmeasured:
        there = ", ".join(map(repr, sorted(done[0].values, reverse=True)))
        raise ValueError(f"split={split!r} was not measured at {unmeasured[0]}; it has {there}")
    all_of_them = Candidates(done, np.array([p.values[split] for p in done]), objectives)
    kept = np.flatnonzero(score.nondominated(all_of_them.costs))
    return Candidates([done[i] for i in kept], all_of_them.values[kept], objectives)


class Rule(ABC):
    """A stated way to choose."""

    @abstractmethod
    def choose(self, among: Candidates) -> Choice:
        """The choice and its reason."""


@dataclass(frozen=True)
class Constraint(Rule):
    """The best point in one measure among those that keep bounds on others.

    Args:
        best: the objective to be best in.
        subject_to: objective -> bound; "no worse than", in the measure's own sense.
    """

    best: str
    subject_to: Mapping[str, float] = field(default_factory=dict)

    def choose(self, among: Candidates) -> Choice:
        """The feasible point with the best measure."""
        i = among.column(self.best)
        excess = np.zeros(among.values.shape)
        for name, bound in self.subject_to.items():
            j = among.column(name)
            if not isinstance(bound, (int, float, np.number)) or not np.isfinite(bound):
                raise ValueError(f"subject_to[{name!r}] = {bound!r} is not a finite number; give one")
            excess[:, j] = np.maximum(among.costs[:, j] - among.objectives[j].sign * bound, 0)
        feasible = np.flatnonzero(~excess.any(axis=1))
        signs = {o.name: "≥" if o.sign < 0 else "≤" for o in among.objectives}
        bounds = " and ".join(f"{name} {signs[name]} {bound:g}" for name, bound in self.subject_to.items())
        if not len(feasible):
            raise self._none_feasible(among, excess, bounds)
        order = feasible[np.argsort(among.costs[feasible, i], kind="stable")].tolist()
        chosen, value = among.points[order[0]], _number(among, order[0], i)
        superlative = "highest" if among.objectives[i].sign < 0 else "lowest"
        why = f"{chosen.id} has the {superlative} {self.best}, {value}, "
        why += (
            f"of the {_count(feasible)} with {bounds}" if bounds else f"of the {_count(feasible)} that none dominates"
        )
        if len(order) > 1:
            why += f"; next is {among.points[order[1]].id} with {_number(among, order[1], i)}"
        return Choice(chosen, why, tuple(among.points[k] for k in order[1:4]))

    def _none_feasible(self, among: Candidates, excess: np.ndarray, bounds: str) -> NoFeasiblePoint:
        span = np.ptp(among.costs, axis=0)
        worst = (excess / np.where(span > 0, span, 1)).max(axis=1)
        k = int(np.argmin(worst))
        nearest = among.points[k]
        broken = [f"{o.name} = {among.values[k, j]:.8g}" for j, o in enumerate(among.objectives) if excess[k, j] > 0]
        return NoFeasiblePoint(
            f"no point of the front has {bounds}; nearest is {nearest.id} with {', '.join(broken)}", nearest
        )


@dataclass(frozen=True)
class Knee(Rule):
    """The point where the front bulges most towards the ideal.

    It is the one farthest below the flat front (the line, the plane) through the ends, which are the points best in one
    measure each; all in measures scaled to the front's range. Objectives that do not vary are left out. There is no
    knee on fewer than three distinct points, on a flat front, or on one that bulges away.
    """

    def choose(self, among: Candidates) -> Choice:
        """The knee, or no point and the reason."""
        distinct = len(np.unique(among.costs, axis=0))
        if distinct < 3:
            return Choice(None, f"no knee: it is undefined on {distinct} distinct non-dominated point(s), 3 are needed")
        scaled = score.unit_range(among.costs)
        if scaled.shape[1] < 2:
            return Choice(None, "no knee: fewer than two objectives vary over the front")
        below = np.linalg.lstsq(_ends(scaled), np.ones(scaled.shape[1]), rcond=None)[0]
        bulge = np.round(1 - scaled @ below, 9)  # so that rounding breaks no tie
        order = np.argsort(-bulge, kind="stable").tolist()
        most = float(bulge[order[0]])
        if most < LEAST_BULGE:
            shape = "bulges away from the ideal" if bulge.min() < -LEAST_BULGE else "is flat"
            return Choice(None, f"no knee: the front {shape} (its largest bulge is {most:.3f} of its range)")
        chosen = among.points[order[0]]
        reached = ", ".join(f"{o.name} {_number(among, order[0], j)}" for j, o in enumerate(among.objectives))
        why = (
            f"{chosen.id} ({reached}) is the knee of the {_count(order)} that none dominates: "
            f"it lies {most:.2f} of the front's range below the flat front through its ends"
        )
        if len(order) > 1:
            why += f"; next is {among.points[order[1]].id} with {bulge[order[1]]:.2f}"
        return Choice(chosen, why, tuple(among.points[k] for k in order[1:4]))


def _ends(scaled: np.ndarray) -> np.ndarray:
    """The points that are best in one objective each; ties by the objectives that follow it, in a circle."""
    k = scaled.shape[1]
    return np.stack([scaled[np.lexsort(np.roll(scaled, -i, axis=1).T[::-1])[0]] for i in range(k)])


def _number(among: Candidates, k: int, j: int) -> str:
    unit = among.objectives[j].unit
    return f"{among.values[k, j]:.4g}" + (f" {unit}" if unit else "")


def _count(indices: Sequence[int] | np.ndarray) -> str:
    return "1 point" if len(indices) == 1 else f"{len(indices)} points"

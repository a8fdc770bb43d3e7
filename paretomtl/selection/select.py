"""What every rule for choosing sees and answers.

A rule chooses among the points that no other dominates in the measures, in each measure's own sense; so no choice is
ever dominated. Scores are compared to nine digits of the front's range, so that rounding breaks no tie; ties go to the
earlier id. The page of a front (`show/page/rules.js`) computes the same.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from paretomtl.objective import Objective
from paretomtl.point import Point
from paretomtl.points import score, seeds

DIGITS = 9  # of the front's range, that scores are compared to
SHOWN = 3  # runners-up


class RunnerUp(NamedTuple):
    """A point that the rule likes next, and what it gains and gives up against the chosen one.

    gains, gives_up: by objective, in the measure's unit, above 0; what is equal is in neither.
    """

    point: Point
    gains: dict[str, float]
    gives_up: dict[str, float]

    def __str__(self) -> str:
        parts = [
            f"{verb} " + ", ".join(f"{amount:.4g} in {name}" for name, amount in amounts.items())
            for verb, amounts in (("gains", self.gains), ("gives up", self.gives_up))
            if amounts
        ]
        return f"{self.point.id} " + (" and ".join(parts) if parts else "is equal")


class Choice(NamedTuple):
    """A point, or None; the reason; and the next best by the same rule."""

    point: Point | None
    why: str
    runners_up: tuple[RunnerUp, ...] = ()


class Noise(NamedTuple):
    """How uncertain the measures of points are.

    sampling: standard errors that come of the split's finite data, as the measure told them; None where it did not.
    deviation: between models of the same preference and other seeds (sample standard deviation); None with one seed.
    n: seeds, by point.
    """

    sampling: Float[np.ndarray, "n m"] | None
    deviation: Float[np.ndarray, "n m"] | None
    n: Int[np.ndarray, " n"]

    def of(self, rows: Any) -> "Noise":
        """Of some of the points."""
        sampling, deviation = (None if part is None else part[rows] for part in (self.sampling, self.deviation))
        return Noise(sampling, deviation, self.n[rows])


class Candidates(NamedTuple):
    """The points to choose from, none of them dominated, with their measures (n, m) as people read them.

    ideals: the measures of the models that were trained on one objective alone, where there are any.
    """

    points: Sequence[Point]
    values: Float[np.ndarray, "n m"]
    objectives: Sequence[Objective]
    noise: Noise
    ideals: Float[np.ndarray, " m"] | None = None

    @property
    def signs(self) -> Float[np.ndarray, " m"]:
        """1 where smaller is better, -1 where larger is."""
        return np.array([o.sign for o in self.objectives], dtype=np.float64)

    @property
    def costs(self) -> Float[np.ndarray, "n m"]:
        """The measures turned so that smaller is better."""
        return self.values * self.signs

    @property
    def spans(self) -> Float[np.ndarray, " m"]:
        """What each measure varies by over these points; 0 where only by rounding."""
        return np.where(score.is_constant(self.costs), 0.0, np.ptp(self.costs, axis=0))

    @property
    def names(self) -> list[str]:
        """The objectives' names."""
        return [o.name for o in self.objectives]

    def column(self, name: str) -> int:
        """The place of an objective, by name."""
        if name not in self.names:
            raise ValueError(f"objective {name!r} is not one of {', '.join(map(repr, self.names))}")
        return self.names.index(name)

    def row(self, numbers: Mapping[str, Any], field: str) -> Float[np.ndarray, " m"]:
        """A finite number for every objective, by name."""
        for name in numbers:
            self.column(name)
        missing = [name for name in self.names if name not in numbers]
        if missing:
            raise ValueError(f"{field} has no number for {', '.join(map(repr, missing))}; give one for each objective")
        return np.array([check_number(numbers[name], f"{field}[{name!r}]") for name in self.names])

    def margins(self, level: float) -> Float[np.ndarray, "n m"]:
        """How much worse a model of these points may be than it measured, at a one-sided level of confidence."""
        if self.noise.sampling is None and self.noise.deviation is None:
            raise ValueError(
                f"margin={level:g}: how uncertain these measures are is unknown; explore with seeds=2 or more, or let "
                "the measure return (value, standard error) pairs"
            )
        return seeds.margins_at(*self.noise, level)

    def standard_errors(self) -> Float[np.ndarray, "n m"]:
        """Of the points' measures: of the mean over seeds, where there are several."""
        if self.noise.sampling is None and self.noise.deviation is None:
            raise ValueError(
                "standard errors of these measures are unknown; explore with seeds=2 or more, or let the measure "
                "return (value, standard error) pairs"
            )
        none = np.zeros(self.values.shape)
        sampling = none if self.noise.sampling is None else self.noise.sampling
        deviation = none if self.noise.deviation is None else self.noise.deviation
        return np.sqrt(sampling**2 + deviation**2 / self.noise.n[:, None])

    def number(self, k: int, j: int) -> str:
        """A measure in words, with its unit."""
        return format_measure(self.values[k, j], self.objectives[j])

    def named(self, k: int) -> str:
        """A point and all its measures in words."""
        reached = ", ".join(f"{o.name} {self.number(k, j)}" for j, o in enumerate(self.objectives))
        return f"{self.points[k].id} ({reached})"

    def chosen(self, order: Sequence[int], why: str) -> Choice:
        """The first of an order as the choice, the next ones as runners-up."""
        return Choice(self.points[order[0]], why, tuple(self._against(k, order[0]) for k in order[1 : 1 + SHOWN]))

    def _against(self, k: int, chosen: int) -> RunnerUp:
        better = (self.costs[chosen] - self.costs[k]).tolist()
        return RunnerUp(
            self.points[k],
            {name: gain for name, gain in zip(self.names, better, strict=True) if gain > 0},
            {name: -gain for name, gain in zip(self.names, better, strict=True) if gain < 0},
        )


class Rule(ABC):
    """A stated way to choose."""

    @abstractmethod
    def choose(self, among: Candidates) -> Choice:
        """The choice and its reason."""


def list_candidates(
    points: Sequence[Point],
    objectives: Sequence[Objective],
    split: str = "validate",
    noise: Noise | None = None,
    ideals: Float[np.ndarray, " m"] | None = None,
) -> Candidates:
    """The points that succeeded and that no other dominates in the split's measures, in the order of their ids.

    Args:
        points: of a front; failed ones are left out.
        objectives: of the front.
        split: whose measures are to choose by.
        noise: of the points, in their order; by default what their records have.
        ideals: see `Candidates`.
    """
    rows = sorted((k for k, p in enumerate(points) if p.state == "done"), key=lambda k: points[k].id)
    done = [points[k] for k in rows]
    if not done:
        raise score.EmptyFrontError("the front has no point to choose from")
    unmeasured = [p.id for p in done if split not in p.values]
    if unmeasured:
        there = ", ".join(map(repr, sorted(done[0].values, reverse=True)))
        raise ValueError(f"split={split!r} was not measured at {unmeasured[0]}; it has {there}")
    known = (
        Noise(sampling_errors(done, split), None, np.ones(len(done), dtype=np.int64))
        if noise is None
        else noise.of(rows)
    )
    values = np.array([p.values[split] for p in done])
    costs = Candidates(done, values, objectives, known).costs
    kept = np.flatnonzero(score.is_nondominated(costs))
    return Candidates([done[i] for i in kept], values[kept], objectives, known.of(kept), ideals)


def sampling_errors(points: Sequence[Point], split: str) -> Float[np.ndarray, "n m"] | None:
    """The standard errors that the points' records have; None unless all have them."""
    if not points or not all(split in p.errors for p in points):
        return None
    return np.array([p.errors[split] for p in points])


def rank(*scores: Float[np.ndarray, " n"]) -> list[int]:
    """The order of the points by scores of the front's range, the smallest first; later scores break ties, then ids."""
    return np.lexsort([np.round(s, DIGITS) for s in reversed(scores)]).tolist()


def check_number(number: Any, what: str) -> float:
    """A finite number, or an error that calls it by its name."""
    if isinstance(number, bool) or not isinstance(number, (int, float, np.number)) or not np.isfinite(number):
        raise ValueError(f"{what} = {number!r} is not a finite number; give one")
    return float(number)


def format_measure(value: float, objective: Objective) -> str:
    """A measure in words, with its unit."""
    return f"{value:.4g}" + (f" {objective.unit}" if objective.unit else "")


def count_points(indices: Sequence[int] | np.ndarray) -> str:
    """How many points, in words."""
    return "1 point" if len(indices) == 1 else f"{len(indices)} points"

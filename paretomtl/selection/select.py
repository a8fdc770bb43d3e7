"""Contract of a rule: the candidates it sees, the choice it returns, and how it is offered to people.

A rule chooses among the points that no other dominates in the measures, in each measure's own sense; so no choice is
ever dominated. Scores are compared to nine digits of the front's range, so that rounding breaks no tie; ties go to the
earlier id. The page of a front computes the same (`show/page/rules/`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from paretomtl.errors import escape_controls
from paretomtl.objective import Objective
from paretomtl.point import Point
from paretomtl.points import score, seeds

DIGITS = 9  # decimals of the front's range to which scores are compared
RUNNERS_UP = 3  # runners-up of a choice


class RunnerUp(NamedTuple):
    """A point that comes next by the rule, and what it gains and gives up against the chosen one.

    gains, gives_up: amounts by objective, in the measure's unit, above 0; an equal measure is in neither.
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
    """A point, or None; the reason in words; and the next best points by the same rule."""

    point: Point | None
    why: str
    runners_up: tuple[RunnerUp, ...] = ()


class Noise(NamedTuple):
    """Uncertainty of the points' measures.

    sampling: standard errors on the split's finite data, as the measure returns them; None where it returns none.
    deviation: sample standard deviation between models of one preference and different seeds; None with one seed.
    n: number of seeds of each point.
    """

    sampling: Float[np.ndarray, "n m"] | None
    deviation: Float[np.ndarray, "n m"] | None
    n: Int[np.ndarray, " n"]

    def of(self, rows: Any) -> "Noise":
        """Return the noise of some of the points."""
        sampling, deviation = (None if part is None else part[rows] for part in (self.sampling, self.deviation))
        return Noise(sampling, deviation, self.n[rows])


class Candidates(NamedTuple):
    """Points to choose from, none of them dominated, with their measures (n, m) in the units that people read.

    ideals: for each objective, the measure of the model trained on it alone; None without such models.
    measured: how many points were measured, the dominated ones included.
    """

    points: Sequence[Point]
    values: Float[np.ndarray, "n m"]
    objectives: Sequence[Objective]
    noise: Noise
    ideals: Float[np.ndarray, " m"] | None = None
    measured: int = 0

    @property
    def signs(self) -> Float[np.ndarray, " m"]:
        """Sign of each measure: 1 where smaller is better, -1 where larger is."""
        return np.array([o.sign for o in self.objectives], dtype=np.float64)

    @property
    def costs(self) -> Float[np.ndarray, "n m"]:
        """Measures with their signs turned so that smaller is better."""
        return self.values * self.signs

    @property
    def spans(self) -> Float[np.ndarray, " m"]:
        """Range of each measure over these points; 0 where it varies by rounding only."""
        return np.where(score.is_constant(self.costs), 0.0, np.ptp(self.costs, axis=0))

    @property
    def names(self) -> list[str]:
        """Objective names."""
        return [o.name for o in self.objectives]

    def column(self, name: str) -> int:
        """Return the index of an objective."""
        if name not in self.names:
            raise ValueError(f"objective {name!r} is not one of {', '.join(map(repr, self.names))}")
        return self.names.index(name)

    def row(self, amounts: Mapping[str, Any], field: str) -> Float[np.ndarray, " m"]:
        """Return a mapping from every objective to a finite number as an array; `field` names it in errors."""
        for name in amounts:
            self.column(name)
        missing = [name for name in self.names if name not in amounts]
        if missing:
            raise ValueError(f"{field} has no number for {', '.join(map(repr, missing))}; give one for each objective")
        return np.array([check_number(amounts[name], f"{field}[{name!r}]") for name in self.names])

    def margins(self, level: float) -> Float[np.ndarray, "n m"]:
        """Return how much worse than measured a model of each point may be, at a one-sided level of confidence."""
        if self.noise.sampling is None and self.noise.deviation is None:
            raise ValueError(
                f"margin={level:g}: how uncertain these measures are is unknown; explore with seeds=2 or more, or let "
                "the measure return (value, standard error) pairs"
            )
        return seeds.margins_at(*self.noise, level)

    def standard_errors(self) -> Float[np.ndarray, "n m"]:
        """Return the standard errors of the measures: of the mean over seeds where there are several."""
        if self.noise.sampling is None and self.noise.deviation is None:
            raise ValueError(
                "standard errors of these measures are unknown; explore with seeds=2 or more, or let the measure "
                "return (value, standard error) pairs"
            )
        zeros = np.zeros(self.values.shape)
        sampling = zeros if self.noise.sampling is None else self.noise.sampling
        deviation = zeros if self.noise.deviation is None else self.noise.deviation
        return np.sqrt(sampling**2 + deviation**2 / self.noise.n[:, None])

    def number(self, k: int, j: int) -> str:
        """Format a measure of a point with its unit."""
        return format_measure(self.values[k, j], self.objectives[j])

    def named(self, k: int) -> str:
        """Format a point with all its measures."""
        measures = ", ".join(f"{o.name} {self.number(k, j)}" for j, o in enumerate(self.objectives))
        return f"{self.points[k].id} ({measures})"

    def chosen(self, order: Sequence[int], why: str) -> Choice:
        """Return the first point of an order as the choice, and the next ones as its runners-up."""
        return Choice(self.points[order[0]], why, tuple(self._compare(k, order[0]) for k in order[1 : 1 + RUNNERS_UP]))

    def _compare(self, k: int, chosen: int) -> RunnerUp:
        better = (self.costs[chosen] - self.costs[k]).tolist()
        return RunnerUp(
            self.points[k],
            {name: gain for name, gain in zip(self.names, better, strict=True) if gain > 0},
            {name: -gain for name, gain in zip(self.names, better, strict=True) if gain < 0},
        )


class RuleOption(NamedTuple):
    """An option of the command line that selects a rule or changes it.

    flag: the option as it is typed, such as "--best".
    help: line of the command's help.
    metavar: its value in the help; None for a switch.
    value: bool for a switch; str or float for a value; dict for OBJECTIVE=NUMBER, repeated, which gives a mapping; list
        for OBJECTIVE[=NUMBER], repeated, which gives pairs in the order typed, with None for an absent number.
    """

    flag: str
    help: str
    metavar: str | None = None
    value: type = bool

    @property
    def name(self) -> str:
        """Key of its value in `Rule.from_options`."""
        return self.flag.removeprefix("--").replace("-", "_")


class Rule(ABC):
    """A stated way to choose.

    A rule of one's own needs `choose` alone. The attributes are how the command line and the page offer the rules of
    `paretomtl.selection.rules.RULES`.

    Attributes:
        option: selects the rule on the command line.
        settings: further options, which go with the first.
        label: entry in the page's menu.
        about: sentence that the page shows below the menu.
    """

    option: ClassVar[RuleOption]
    settings: ClassVar[tuple[RuleOption, ...]] = ()
    label: ClassVar[str]
    about: ClassVar[str]

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> "Rule":
        """Build the rule from the values of its options, by their names; by default a rule without arguments."""
        return cls()

    @abstractmethod
    def choose(self, among: Candidates) -> Choice:
        """Return the choice and its reason."""


def list_candidates(
    points: Sequence[Point],
    objectives: Sequence[Objective],
    split: str = "validate",
    noise: Noise | None = None,
    ideals: Float[np.ndarray, " m"] | None = None,
) -> Candidates:
    """List the points that succeeded and that no other dominates in the split's measures, in the order of their ids.

    Args:
        points: points of a front; failed ones are left out.
        objectives: objectives of the front.
        split: the split whose measures the choice is made on.
        noise: uncertainty of the points, in their order; by default the standard errors in their records.
        ideals: see `Candidates`.
    """
    rows = sorted((k for k, p in enumerate(points) if p.state == "done"), key=lambda k: points[k].id)
    done = [points[k] for k in rows]
    if not done:
        raise score.EmptyFrontError("the front has no point to choose from")
    unmeasured = [p.id for p in done if split not in p.values]
    if unmeasured:
        splits = ", ".join(map(repr, sorted(done[0].values, reverse=True)))
        raise ValueError(f"split={split!r} was not measured at {unmeasured[0]}; it has {splits}")
    if noise is None:
        noise = Noise(sampling_errors(done, split), None, np.ones(len(done), dtype=np.int64))
    else:
        noise = noise.of(rows)
    values = np.array([p.values[split] for p in done])
    costs = Candidates(done, values, objectives, noise).costs
    best = np.flatnonzero(score.is_nondominated(costs))
    return Candidates([done[i] for i in best], values[best], objectives, noise.of(best), ideals, len(done))


def sampling_errors(points: Sequence[Point], split: str) -> Float[np.ndarray, "n m"] | None:
    """Return the standard errors in the points' records; None unless all points have them."""
    if not points or not all(split in p.errors for p in points):
        return None
    return np.array([p.errors[split] for p in points])


def rank(*scores: Float[np.ndarray, " n"]) -> list[int]:
    """Order the points by scores of the front's range, smallest first; ties go to the later scores, then to the ids."""
    return np.lexsort([np.round(s, DIGITS) for s in reversed(scores)]).tolist()


def check_number(number: Any, what: str) -> float:
    """Return a finite number as a float; raise an error that names it otherwise."""
    if isinstance(number, bool) or not isinstance(number, (int, float, np.number)) or not np.isfinite(number):
        raise ValueError(f"{what} = {number!r} is not a finite number; give one")
    return float(number)


def format_measure(value: float, objective: Objective) -> str:
    """Format a measure with its unit."""
    return f"{value:.4g}" + (f" {escape_controls(objective.unit)}" if objective.unit else "")


def count_points(indices: Sequence[Any] | np.ndarray) -> str:
    """Return the number of points in words."""
    return "1 point" if len(indices) == 1 else f"{len(indices)} points"

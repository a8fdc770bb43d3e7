"""Problems whose front is known, traced by every method: how close each one comes to the truth.

    python -m studies.known_fronts

It takes a few minutes on one core. Points start where their problem says, such as Fonseca's N(0, 0.1² I) and ZDT1's
U(0, 1)^30. The methods of a table have the same steps, and the same optimizer unless their row says otherwise.

The columns: the hypervolume against (1.1, …), median and range over the seeds; angles between each preference's ray and
the losses; the largest gap between neighbours of the front, scaled by the true ideal and nadir; the largest distance of
a point to the true front; the largest excess of max_j r_j l_j over the least possible; points in their own preference's
sector; steps a point, plus the polish's steps; the statuses of the points.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.autograd.loss_function import closure
from paretomtl.points import score
from paretomtl.preference import control_error, even_design
from paretomtl_solvers import qp
from paretomtl_solvers.pareto_mtl import find_sectors
from studies.analytic import dtlz2, fonseca, linear_regression, quadratics, zdt1, zdt2


class Optimizer(NamedTuple):
    """SGD or Adam at a learning rate, which may go to 0 by a cosine over the steps."""

    name: str
    lr: float
    decays: bool = True

    def over(self, steps: int) -> Callable[[Any], Any]:
        """Return the optimizer factory for `explore`."""

        def build(parameters: Any) -> Any:
            optimizer = getattr(torch.optim, self.name)(parameters, lr=self.lr)
            if not self.decays:
                return optimizer
            return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

        return build

    def __str__(self) -> str:
        return f"{self.name} {self.lr:g}{', cosine to 0' if self.decays else ''}"


class Table(NamedTuple):
    """A problem, its preferences, and the methods that are compared on it."""

    title: str
    problem: Callable[[], pm.Problem]
    preferences: Float[np.ndarray, "K m"]
    seeds: int
    methods: Sequence[tuple[pm.Solver, Optimizer]]
    columns: Sequence[str]
    steps: int = 1000


def between(first: float, last: float) -> Float[np.ndarray, "10 2"]:
    """Return ten preferences (a, 1 - a), with a spread evenly between two numbers."""
    a = np.linspace(first, last, 10)
    return np.stack([a, 1 - a], axis=1)


CONSTANT, SGD = Optimizer("SGD", 0.1, decays=False), Optimizer("SGD", 0.1)
ADAM = Optimizer("Adam", 0.01)
WIDE, MIDDLE, CENTRE = between(0.01, 0.99), between(0.1, 0.9), np.array([[0.5, 0.5]])
USUAL = ("hypervolume", "mean angle", "worst angle", "largest gap", "largest distance", "steps", "status")

FONSECA = Table(
    "Fonseca, 10 variables (concave)",
    fonseca,
    WIDE,
    5,
    [
        (ps.EPO(eps=1e-8), CONSTANT),
        (ps.EPO(eps=1e-4), CONSTANT),
        (ps.Linear(), CONSTANT),
        # gradients of the next five jump, or stiffen, at the ray: the learning rate has to go to 0
        (ps.Tchebycheff(), SGD),
        (ps.AugmentedTchebycheff(), SGD),
        (ps.SmoothTchebycheff(mu=0.01), SGD),
        (ps.SmoothTchebycheff(mu=0.001), SGD),
        (ps.PBI(), SGD),
        (ps.ParetoMTL(), CONSTANT),
        (ps.ParetoMTL(), Optimizer("Adam", 0.01, decays=False)),
    ],
    (*USUAL[:5], "excess", "in sector", *USUAL[5:]),
)
ONE_POINT = Table(
    "Fonseca, one point a seed: methods without a preference, and CoGrad at equal weights",
    fonseca,
    CENTRE,
    5,
    [
        (ps.MGDA(), CONSTANT),
        (ps.FairGrad(alpha=1.0), ADAM),
        (ps.FairGrad(alpha=2.0), ADAM),
        (ps.CoGrad(), CONSTANT),
    ],
    ("first loss", "hypervolume", "largest distance", "min-norm²", "steps", "status"),
)
RAYS = (ps.EPO(eps=1e-8), ps.Tchebycheff(), ps.Linear())
ZDT1 = Table("ZDT1, 30 variables (convex)", zdt1, WIDE, 3, [(s, ADAM) for s in RAYS], USUAL)
# A third or three times this learning rate, or Adam, clamps points of EPO or Tchebycheff to x_1 = 0, where f2 is flat.
ZDT2 = Table("ZDT2, 30 variables (concave)", zdt2, MIDDLE, 1, [(s, SGD) for s in RAYS], USUAL)
REGRESSION = Table(
    "Two linear regressions on one unit (concave)",
    linear_regression,
    MIDDLE,
    1,
    [(s, Optimizer("SGD", 0.3)) for s in RAYS],
    USUAL,
    steps=300,
)
QUADRATICS = Table("Quadratics, 10 variables (convex)", quadratics, WIDE, 1, [(s, SGD) for s in RAYS], USUAL)
DTLZ2 = Table(
    "DTLZ2, 12 variables, three objectives (concave)",
    dtlz2,
    even_design(3, 10),
    1,
    [(s, ADAM) for s in RAYS],
    ("hypervolume", "mean angle", "worst angle", "steps", "status"),
)
TABLES = (FONSECA, ONE_POINT, ZDT1, ZDT2, REGRESSION, QUADRATICS, DTLZ2)


def trace(table: Table, solver: pm.Solver, optimizer: Optimizer, seed: int = 0) -> pm.Front:
    """Explore one front of a table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # points off their ray are in the table
        return pm.explore(
            table.problem(),
            solver,
            preferences=table.preferences,
            steps=table.steps,
            optimizer=optimizer.over(table.steps),
            seed=seed,
        )


def truth(table: Table) -> pm.Truth:
    """Return the true front of a table's problem."""
    known = table.problem().truth
    assert known is not None
    return known


def exact(table: Table) -> Float[np.ndarray, "K m"]:
    """Return the points of the true front nearest to the preferences' rays."""
    front = truth(table).front
    nearest = [np.argmin(control_error(front, np.broadcast_to(r, front.shape))) for r in table.preferences]
    return front[nearest]


def distances(table: Table, front: pm.Front) -> Float[np.ndarray, " K"]:
    """Return each point's distance to the nearest point of the true front."""
    known = truth(table).front
    return np.array([np.linalg.norm(known - losses, axis=1).min() for losses in front.losses])


def gap(table: Table, front: pm.Front) -> float:
    """Return the largest gap between neighbours, scaled by the true ideal and nadir; NaN for a single point."""
    known = truth(table)
    largest = score.largest_gap(front.losses, (known.ideal, known.nadir))
    return np.nan if largest is None else largest


def excess(table: Table, front: pm.Front) -> Float[np.ndarray, " K"]:
    """Return the excess of each max_j r_j l_j over the least on the true front."""
    least = [(truth(table).front * r).max(axis=1).min() for r in front.preferences]
    return (front.losses * front.preferences).max(axis=1) - least


def in_sector(front: pm.Front) -> int:
    """Count the points in their own preference's sector."""
    return int((find_sectors(front.losses, front.preferences) == np.arange(len(front))).sum())


def hulls(table: Table, front: pm.Front) -> Float[np.ndarray, " K"]:
    """Return the squared norm of the shortest vector in the hull of each point's gradients; 0 if Pareto-stationary."""
    problem, squared_norms = table.problem(), []
    for point in front.points:
        rows = closure(problem, front.load_model(point, problem.model)).gradients().jacobian
        gramian = (rows @ rows.T).numpy()
        weights, _ = qp.min_norm(gramian)
        squared_norms.append(float(weights @ gramian @ weights))
    return np.array(squared_norms)


def steps(fronts: Sequence[pm.Front]) -> tuple[float, float]:
    """Return the mean number of a point's steps: the method's, and its polish's."""
    counts = [p.counts for f in fronts for p in f.points]
    return float(np.mean([c["steps"] for c in counts])), float(np.mean([c["finish_steps"] for c in counts]))


COLUMNS: dict[str, Callable[[Table, Sequence[pm.Front]], str]] = {
    "hypervolume": lambda table, fronts: _format_median([f.hypervolume() or 0.0 for f in fronts]),
    "first loss": lambda table, fronts: _format_median([f.losses[0, 0] for f in fronts]),
    "mean angle": lambda table, fronts: f"{np.mean([f.control_errors for f in fronts]):.4f}°",
    "worst angle": lambda table, fronts: f"{np.max([f.control_errors for f in fronts]):.4f}°",
    "largest gap": lambda table, fronts: f"{np.max([gap(table, f) for f in fronts]):.3f}",
    "largest distance": lambda table, fronts: f"{np.max([distances(table, f) for f in fronts]):.1e}",
    "excess": lambda table, fronts: f"{np.max([excess(table, f) for f in fronts]):.1e}",
    "in sector": lambda table, fronts: f"{sum(map(in_sector, fronts))} of {sum(map(len, fronts))}",
    "min-norm²": lambda table, fronts: f"{np.max([hulls(table, f) for f in fronts]):.1e}",
    "steps": lambda table, fronts: " + ".join(f"{n:.0f}" for n in steps(fronts) if n),
    "status": lambda table, fronts: ", ".join(
        f"{n} {word}" for word, n in Counter(str(p.status) for f in fronts for p in f.points).most_common()
    ),
}


def format_method(solver: pm.Solver) -> str:
    """Format a method with its options, without those that are None and those that are not compared."""
    shared = ("backend", "heads", "labels")
    options = {f.name: getattr(solver, f.name) for f in fields(solver) if f.name not in shared}  # type: ignore[arg-type]
    shown = ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value!r}"
        for name, value in options.items()
        if value is not None
    )
    return f"{type(solver).__name__}({shown})"


def row(table: Table, solver: pm.Solver, optimizer: Optimizer) -> str:
    """Return a method's line of a table."""
    fronts = [trace(table, solver, optimizer, seed) for seed in range(table.seeds)]
    cells = [f"`{format_method(solver)}`", str(optimizer), *(COLUMNS[name](table, fronts) for name in table.columns)]
    return f"| {' | '.join(cells)} |"


def heading(table: Table) -> str:
    """Return a table's title and header."""
    known, points = truth(table), exact(table)
    seeds = f"{table.seeds} seeds" if table.seeds > 1 else "one seed"
    names = ("method", "optimizer", *table.columns)
    return (
        f"**{table.title}**: {len(points)} preference{'s' * (len(points) > 1)} "
        f"from {_format_preference(table.preferences[0])} to {_format_preference(table.preferences[-1])}, "
        f"at most {table.steps} steps, "
        f"{seeds}. The front has hypervolume {known.hypervolume:.5f}, its points on the rays "
        f"{score.hypervolume(points, table.problem().reference):.5f}.\n\n"
        f"| {' | '.join(names)} |\n|{' --- |' * len(names)}"
    )


def main() -> int:
    """Print the tables."""
    for table in TABLES:
        print(heading(table))
        for solver, optimizer in table.methods:
            print(row(table, solver, optimizer))
            sys.stdout.flush()
        print()
    return 0


def _format_median(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.5f}"
    return f"{np.median(values):.5f} ({min(values):.5f} to {max(values):.5f})"


def _format_preference(preference: Float[np.ndarray, " m"]) -> str:
    return f"({', '.join(f'{r:.2f}' for r in preference)})"


if __name__ == "__main__":
    raise SystemExit(main())

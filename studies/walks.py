"""The cost of ten points of a front: by a walk along it, and trained one by one.

    python -m studies.walks

It takes seconds on one core. The trained points have the least of a few budgets of steps at which all ten come within
1e-3 of the true front. A walk starts from the middle point and goes both ways, so it has ten points as well. The table
counts calls of the losses, those of the start included. In each call most methods take two backward passes; a
Hessian-vector product takes one, and a derivative of it.
"""

import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points.score import hypervolume
from studies.known_fronts import FONSECA, QUADRATICS, SGD, Table, distances

BUDGETS = (60, 120, 240, 480)
CLOSE = 1e-3
HALF = 5  # points each way, the middle one twice


class Row(NamedTuple):
    """A way to ten points: its name, calls of the losses, seconds, largest distance and hypervolume."""

    way: str
    calls: int
    seconds: float
    furthest: float
    volume: float


class CountedProblem:
    """A problem that counts the calls of its losses."""

    def __init__(self, table: Table):
        self.calls = 0
        problem = table.problem()

        def losses(model, batch):
            self.calls += 1
            return problem.losses(model, batch)

        self.problem = replace(problem, losses=losses)

    def train(self, solver: pm.Solver, preferences: np.ndarray, steps: int) -> pm.Front:
        """Train points by SGD at a learning rate of .1, which goes to 0 by a cosine."""
        return pm.explore(self.problem, solver, preferences=preferences, steps=steps, optimizer=SGD.over(steps))


def rows(table: Table, solver: pm.Solver, by: tuple[float, float]) -> Iterator[Row]:
    """Yield the rows of both ways to ten points of a problem.

    Args:
        table: the problem, and the preferences of the trained points.
        solver: the method of the training.
        by: the walk's step towards the first loss, and towards the second.
    """
    steps = BUDGETS[0]
    for steps in BUDGETS:
        counted, start_time = CountedProblem(table), time.perf_counter()
        front = counted.train(solver, table.preferences, steps)
        if distances(table, front).max() < CLOSE:
            yield _build_row(f"{type(solver).__name__}, {steps} steps", table, counted, start_time, [front])
            break
    else:
        raise RuntimeError(f"{solver} comes within {CLOSE} of {table.title} with none of {BUDGETS} steps")
    counted, start_time = CountedProblem(table), time.perf_counter()
    start = counted.train(solver, np.array([[0.5, 0.5]]), steps)
    model = start.load_model(start.points[0], counted.problem.model)
    names = counted.problem.names
    ways = [
        pm.walk(counted.problem, ps.ContinuousPareto(), model, toward=name, points=HALF + k, by=step)
        for k, (name, step) in enumerate(zip(names, by, strict=True))
    ]
    yield _build_row(f"walk of {sum(map(len, ways)) - 1} points from one of them", table, counted, start_time, ways)


def _build_row(way: str, table: Table, counted: CountedProblem, start_time: float, fronts: list[pm.Front]) -> Row:
    seconds = time.perf_counter() - start_time
    losses = np.concatenate([front.losses for front in fronts])
    furthest = max(float(distances(table, front).max()) for front in fronts)
    return Row(way, counted.calls, seconds, furthest, hypervolume(losses, counted.problem.reference) or 0.0)


TRIALS: tuple[tuple[Table, pm.Solver, tuple[float, float]], ...] = (
    (FONSECA, ps.SmoothTchebycheff(mu=0.01), (0.15, 0.13)),
    (QUADRATICS, ps.Linear(), (0.045, 0.035)),
)


def main() -> int:
    """Print the table."""
    print("| problem | ten points by | calls of the losses | seconds | largest distance | hypervolume |")
    print("| --- | --- | --- | --- | --- | --- |")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for table, solver, by in TRIALS:
            for row in rows(table, solver, by):
                figures = f"{row.calls} | {row.seconds:.1f} | {row.furthest:.0e} | {row.volume:.4f}"
                print(f"| {table.title} | {row.way} | {figures} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

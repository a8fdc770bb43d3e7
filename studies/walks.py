"""What ten points of a front cost by a walk along it, and trained one by one.

    python -m studies.walks

Seconds on one core. Trained are the points with the fewest steps, of a few budgets, at which all ten come within
1e-3 of the true front. A walk starts from one of them, the middle one, and goes both ways, so that it has ten points as
well. What is counted are calls of the losses, those of the start included: for each, most methods take two backward
passes, and a Hessian-vector product one and a derivative of it.
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
    """A way to ten points: what it is, its calls of the losses and seconds, and how good the points are."""

    way: str
    calls: int
    seconds: float
    furthest: float
    volume: float


class Counted:
    """A problem that counts the calls of its losses."""

    def __init__(self, table: Table):
        self.calls = 0
        problem = table.problem()

        def losses(model, batch):
            self.calls += 1
            return problem.losses(model, batch)

        self.problem = replace(problem, losses=losses)

    def trained(self, solver: pm.Solver, preferences: np.ndarray, steps: int) -> pm.Front:
        """Points by SGD at a learning rate of .1, which goes to 0 by a cosine."""
        return pm.explore(self.problem, solver, preferences=preferences, steps=steps, optimizer=SGD.over(steps))


def rows(table: Table, solver: pm.Solver, by: tuple[float, float]) -> Iterator[Row]:
    """Both ways to ten points of a problem.

    Args:
        table: the problem, and the preferences of the points that are trained.
        solver: by which they are.
        by: of the walk towards the first loss, and towards the second.
    """
    steps = BUDGETS[0]
    for steps in BUDGETS:
        counted, begun = Counted(table), time.perf_counter()
        front = counted.trained(solver, table.preferences, steps)
        if distances(table, front).max() < CLOSE:
            yield _row(f"{type(solver).__name__}, {steps} steps", table, counted, begun, [front])
            break
    else:
        raise RuntimeError(f"{solver} comes within {CLOSE} of {table.title} with none of {BUDGETS} steps")
    counted, begun = Counted(table), time.perf_counter()
    start = counted.trained(solver, np.array([[0.5, 0.5]]), steps)
    model = start.load_model(start.points[0], counted.problem.model)
    names = counted.problem.names
    ways = [
        pm.walk(counted.problem, ps.ContinuousPareto(), model, toward=name, points=HALF + k, by=step)
        for k, (name, step) in enumerate(zip(names, by, strict=True))
    ]
    yield _row(f"walk of {sum(map(len, ways)) - 1} points from one of them", table, counted, begun, ways)


def _row(way: str, table: Table, counted: Counted, begun: float, fronts: list[pm.Front]) -> Row:
    seconds = time.perf_counter() - begun
    losses = np.concatenate([front.losses for front in fronts])
    furthest = max(float(distances(table, front).max()) for front in fronts)
    return Row(way, counted.calls, seconds, furthest, hypervolume(losses, counted.problem.ref_point) or 0.0)


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

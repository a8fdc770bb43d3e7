"""Verdicts of EPO's polish against the truth: where it says "solved" or "unreachable", is it so?

    python -m studies.verdicts

It takes some minutes on one core. Ten rays a problem, five seeds, 300 steps of Adam at .01. The truth of a ray is the
least max_j r_j l_j over a fine grid of the front; there all r_j l_j are equal if the ray meets the front. "Solved" is
true of a point that is on the ray and as good as the grid; "unreachable" of one that is as good, where the ray passes
the grid's best place by more than the grid's width. "Not converged" claims nothing.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.preference import control_error, even_design, raise_to_floor
from studies.analytic import Place, dtlz2, dtlz7, fonseca, fonseca3, zdt1, zdt2, zdt3

SEEDS, RAYS, STEPS = 5, 10, 300
ON_RAY = 0.01  # degrees
AS_GOOD = 3e-3  # how far max_j r_j l_j may be above the grid's least, relative to it


def aside() -> pm.Problem:
    """Two quadratics whose front, from (1, 9) to (0, 10), lies aside of all rays but the steepest."""

    def losses(model: Place, batch: None) -> dict[str, Tensor]:
        del batch
        return {"a": (model.x - 0.5).square().sum(), "b": model.x.square().sum() + 9}

    t = np.linspace(0, 0.5, 20_001)
    front = np.stack([4 * (t - 0.5) ** 2, 4 * t**2 + 9], axis=1)
    truth = pm.Truth(front, front.min(axis=0), front.max(axis=0), 0.0)
    return pm.Problem(["a", "b"], lambda: Place(4), losses, [2.0, 11.0], deterministic=True, truth=truth)


# with the widths of the grids in degrees: how far the best place may be from a ray that meets the front
PROBLEMS: dict[Callable[[], pm.Problem], float] = {
    fonseca: 0.1, fonseca3: 0.4, zdt1: 0.1, zdt2: 0.1, zdt3: 0.1, dtlz2: 0.8, dtlz7: 0.4, aside: 0.1,
}  # fmt: skip


def judge(point: pm.Point, front: Float[np.ndarray, "N m"], width: float) -> str:
    """Return a point's status and whether it is true by a grid of the front, such as "unreachable: false"."""
    preference = np.array(point.preference)
    r = raise_to_floor(preference)
    worst = (r * front).max(axis=1)
    best = int(worst.argmin())
    as_good = float((r * point.losses["validate"]).max()) <= (1 + AS_GOOD) * worst[best]
    misses = float(control_error(front[best], preference)) > width
    claims = {"solved": float(point.control_error or 0) < ON_RAY, "unreachable": misses}
    if point.status not in claims:
        return str(point.status)
    return f"{point.status}: {'true' if claims[point.status] and as_good else 'false'}"


def count_verdicts(make: Callable[[], pm.Problem], rays: int = RAYS, seeds: int = SEEDS, steps: int = STEPS) -> Counter:
    """Train a problem's points by EPO and count their verdicts."""
    problem = make()
    assert problem.truth is not None
    front = pm.explore(
        problem,
        ps.EPO(),
        preferences=list(even_design(len(problem.names), rays)),
        seeds=seeds,
        steps=steps,
        optimizer=partial(torch.optim.Adam, lr=1e-2),
    )
    return Counter(judge(point, problem.truth.front, PROBLEMS[make]) for point in front.points)


def main() -> None:
    """Print the table, problem by problem."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)  # off the ray
    columns = ("solved: true", "solved: false", "unreachable: true", "unreachable: false", "not converged")
    print("| problem |", " | ".join(columns), "|")
    print("| --- |", " | ".join("---:" for _ in columns), "|")
    for make in PROBLEMS:
        counts = count_verdicts(make)
        print(f"| `{make.__name__}` |", " | ".join(str(counts[column]) for column in columns), "|", flush=True)
        if unknown := counts.keys() - {*columns}:
            sys.exit(f"statuses without a column: {unknown}")


if __name__ == "__main__":
    main()

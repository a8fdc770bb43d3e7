"""Front models in units of what there is to gain: do short corners tell the range as well as whole ones?

    python -m studies.short_corners

A front model has no corners of its own; to normalise losses, `explore` trains them for a quarter of the steps, with the
schedule four times as fast. For two problems and three seeds this prints the range of each loss by short and by whole
corners, and what becomes of one FiLM network with either, and without: hypervolume up to the nadir of the whole corners
plus 10 % of the range, as a share of the box, and mean control error in units of the whole corners. A few minutes.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points import score
from paretomtl.preference import control_error
from studies.conditioned_fronts import OneCycle, markdown
from studies.demo import fair_income
from studies.small_digits import small_digits

SEEDS, MARGIN = range(3), 0.1
FRONT_MODEL = pm.FiLM(sampling=pm.Sampling("part"))


class Trial(NamedTuple):
    """A problem, a method, and the budget of one network."""

    name: str
    problem: Callable[[], pm.Problem]
    solver: pm.Solver
    preferences: int
    steps: int
    rate: float


TRIALS = (
    Trial("small digits, SmoothTchebycheff", small_digits, ps.SmoothTchebycheff(), 10, 300, 1e-2),
    Trial("fair income, SmoothTchebycheff", fair_income, ps.SmoothTchebycheff(), 9, 300, 2e-2),
)


def explore_front(trial: Trial, seed: int, **options) -> pm.Front:
    """Explore a front of the trial's budget."""
    optimizer = OneCycle(trial.rate, trial.steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # points off their ray, which the table shows
        return pm.explore(trial.problem(), trial.solver, steps=trial.steps, optimizer=optimizer, seed=seed, **options)


def measure(front: pm.Front, whole: pm.Normalisation) -> tuple[float, float]:
    """Return hypervolume as a share of the box, and mean control error, in units of the whole corners."""
    losses, reference = whole.apply(front.losses), [1 + MARGIN] * len(front.names)
    volume = (score.hypervolume(losses, reference) or 0.0) / (1 + MARGIN) ** len(front.names)
    return volume, float(control_error(losses, front.preferences).mean())


def rows_of(trial: Trial) -> list[list[str]]:
    """Return the rows of a trial: without normalisation, by short corners, and by whole ones."""
    one = partial(explore_front, trial, preferences=trial.preferences, front_model=FRONT_MODEL)
    figures: dict[str, list[tuple[float, float]]] = {"none": [], "short": [], "whole": []}
    ranges = []
    for seed in SEEDS:
        whole = explore_front(trial, seed, preferences=1, fleet=4).normalisation
        fronts = {"none": one(seed, normalise=None), "short": one(seed), "whole": one(seed, normalise=whole)}
        short = fronts["short"].normalisation
        assert whole is not None
        assert short is not None
        ranges.append((short.span / whole.span, (np.array(short.ideal) - np.array(whole.ideal)) / whole.span))
        for name, front in fronts.items():
            figures[name].append(measure(front, whole))
    span, ideal = np.mean(ranges, axis=0)
    told = f"{', '.join(f'{x:.2f}' for x in span)}; {', '.join(f'{x:+.2f}' for x in ideal)}"
    return [
        [
            trial.name,
            name,
            told if name == "short" else "",
            *(f"{x:.3f}" for x, _ in runs),
            f"{np.mean(runs, axis=0)[1]:.1f}°",
        ]
        for name, runs in figures.items()
    ]


def main() -> int:
    """Print the table."""
    columns = ["problem", "corners", "range; ideal beside whole corners'", *(f"seed {s}" for s in SEEDS), "off ray"]
    rows = []
    for trial in TRIALS:
        rows += rows_of(trial)
        print(*rows[-3:], sep="\n", flush=True)
    print(markdown(columns, rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

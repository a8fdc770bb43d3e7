"""Preferences in units of what there is to gain, or in the losses' own: eight methods on ten problems.

    python -m studies.preferences --out runs/preferences --jobs 2

It takes most of an hour on two cores, stores each cell in the folder, and continues where it stopped. A cell is a
problem, a method, and a normalisation: "none", losses as they are, or "corners", losses from the ideal (0) to the nadir
(1) of the corners that were trained with the same seed.

Every cell gets the same: as many learning rates to try, on a seed that the table does not use, the best by validation
hypervolume; then five seeds at that rate, each with the same preferences, steps and batches. The learning rate falls to
0 by a cosine, and EPO has no polish. The hypervolume's reference is one for each problem: 10 % of the range beyond the
worst of the corners that were trained with the tuning seed. `studies.preference_tables` has the figures, and how one
method is chosen.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points import score
from paretomtl.preference import even_design
from paretomtl.solver import status_of
from studies import data
from studies.adult import adult
from studies.analytic import fonseca, linear_regression, zdt2
from studies.cells import compute_all, read_result, slug, write_result
from studies.census import census
from studies.digit_pairs import Width, digit_pairs, loader
from studies.known_fronts import Optimizer
from studies.preference_tables import Cell, Run, write_tables
from studies.river import river
from studies.rocket import rocket_injector
from studies.small_digits import small_digits

SEEDS, TUNING = range(5), 100
NORMALISATIONS = ("none", "corners")
MARGIN = 0.1  # of the range, between the worst corner and the reference
SLOW, FAST = (1e-3, 3e-3, 1e-2, 3e-2), (3e-3, 1e-2, 3e-2, 1e-1)  # learning rates of Adam to try


class Setting(NamedTuple):
    """A problem of the table, and the budget of its points.

    k: the number of preferences.
    seconds: CPU seconds of a cell, measured once, to say beforehand how long all will take.
    """

    name: str
    problem: Callable[[], pm.Problem]
    k: int
    steps: int
    rates: Sequence[float]
    concave: bool
    seconds: float


def pairs(width: Width) -> pm.Problem:
    """Return digit pairs in small batches, measured on 1,000: what a table of CPU minutes can pay for."""
    problem = digit_pairs("demo", width=width, batch=64)
    return replace(problem, validate=partial(loader, "validate", 1_000, "digits", 64))


SETTINGS = (
    Setting("small digits", small_digits, 10, 300, SLOW, False, 27),
    Setting("digit pairs, scarce", partial(pairs, "scarce"), 5, 100, SLOW, False, 35),
    Setting("digit pairs, published", partial(pairs, "published"), 5, 100, SLOW, False, 72),
    Setting("Adult", adult, 7, 300, SLOW, False, 14),
    Setting("Census", census, 10, 200, SLOW, False, 32),
    Setting("RF1", river, 12, 300, SLOW, False, 43),
    Setting("RE37", rocket_injector, 10, 300, FAST, True, 14),
    Setting("under-parametrised regression", linear_regression, 7, 300, FAST, True, 6),
    Setting("Fonseca", fonseca, 7, 300, FAST, True, 6),
    Setting("ZDT2", zdt2, 7, 500, FAST, True, 11),
)


class UnpolishedEPO(ps.EPO):
    """EPO without its polish, whose steps the other methods do not get."""

    def finish(self, closure: pm.Closure, state: Any, preference: Tensor) -> pm.Status:
        """Leave the point where the steps ended, uncertified."""
        del closure, state, preference
        return status_of(pm.Code.NOT_CONVERGED)


METHODS: dict[str, Callable[[Sequence[float]], pm.Solver]] = {  # from the reference of the hypervolume
    "Linear": lambda reference: ps.Linear(),
    "EPO": lambda reference: UnpolishedEPO(),
    "Tchebycheff": lambda reference: ps.Tchebycheff(),
    "SmoothTchebycheff": lambda reference: ps.SmoothTchebycheff(mu=0.1),
    "PBI": lambda reference: ps.PBI(),
    "ParetoMTL": lambda reference: ps.ParetoMTL(),
    "COSMOS": lambda reference: ps.COSMOS(),
    "HypervolumeAscent": lambda reference: ps.HypervolumeAscent(tuple(reference)),
}


class Corners(NamedTuple):
    """What is known of a problem before any method is: ranges by seed, and the reference.

    rate: the learning rate of the corners.
    ranges: the ideal and the nadir of each seed.
    reference: the reference of the hypervolume.
    """

    rate: float
    ranges: dict[int, tuple[list[float], list[float]]]
    reference: list[float]

    @property
    def volume(self) -> float:
        """The box from the tuning seed's ideal to the reference, the unit of the hypervolume."""
        return float(np.prod(np.array(self.reference) - np.array(self.ranges[TUNING][0])))


def train_points(
    setting: Setting, solver: pm.Solver, preferences: int | list[list[float]], rate: float, seed: int, **options: Any
) -> pm.Front:
    """Train a point for each preference, and measure them on validation data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # points off their ray, which the table shows
        return pm.explore(
            replace(setting.problem(), test=None),
            solver,
            preferences=preferences,
            steps=setting.steps,
            optimizer=Optimizer("Adam", rate).over(setting.steps),
            seed=seed,
            fleet=setting.k,  # in one program, which is faster, and which HypervolumeAscent needs
            **options,
        )


def train_corners(setting: Setting, rate: float, seed: int) -> tuple[list[float], pm.Normalisation | None]:
    """Train each objective alone; return its own loss, infinite where one failed, and the range of each."""
    front = train_points(setting, ps.Linear(), 1, rate, seed)  # and a point between
    if front.ideals is None:
        return [np.inf] * len(front.names), None
    return front.ideals.tolist(), front.normalisation


def find_corners(setting: Setting) -> Corners:
    """Choose a learning rate for the corners, train them with every seed, and fix the reference.

    The rate is the one at which the corners have the least mean rank in the objective that they were trained on.

    Raises:
        RuntimeError: a corner failed at that rate, so that its seed has no range.
    """
    trials = [train_corners(setting, rate, TUNING) for rate in setting.rates]
    own = np.array([ideals for ideals, _ in trials])
    best = int(own.argsort(axis=0).argsort(axis=0).mean(axis=1).argmin())
    rate, ranges = setting.rates[best], {}
    for seed in (TUNING, *SEEDS):
        _, normalisation = trials[best] if seed == TUNING else train_corners(setting, rate, seed)
        if normalisation is None:
            raise RuntimeError(f"{setting.name}, seed {seed}: a corner failed at the rate {rate:g}; try smaller rates")
        ranges[seed] = (list(normalisation.ideal), list(normalisation.nadir))
    ideal, nadir = map(np.array, ranges[TUNING])
    return Corners(rate, ranges, (nadir + MARGIN * (nadir - ideal)).tolist())


def run_method(setting: Setting, method: str, normalisation: str, corners: Corners, rate: float, seed: int) -> Run:
    """Train a front of a cell, and measure it; what fails is counted."""
    started, names = time.perf_counter(), setting.problem().names
    ideal, nadir = corners.ranges[seed]
    ranges = dict(zip(names, zip(ideal, nadir, strict=True), strict=True)) if normalisation == "corners" else None
    preferences = even_design(len(names), setting.k).tolist()
    try:
        front = train_points(setting, METHODS[method](corners.reference), preferences, rate, seed, normalise=ranges)
    except (pm.ParetomtlError, ValueError, ArithmeticError) as error:
        return Run(seed, rate, 0.0, [], [], setting.k, str(error).splitlines()[0], time.perf_counter() - started)
    return Run(
        seed,
        rate,
        (score.hypervolume(front.losses, corners.reference) or 0.0) / corners.volume,
        front.losses.tolist(),
        front.control_errors.tolist(),
        len(front.failed),
        front.failed[0].reason or "" if front.failed else "",
        time.perf_counter() - started,
    )


def run_cell(setting: Setting, method: str, normalisation: str, corners: Corners) -> Cell:
    """Tune a cell's learning rate, and train its fronts."""
    trials = [run_method(setting, method, normalisation, corners, rate, TUNING) for rate in setting.rates]
    best = max(trials, key=lambda run: run.hypervolume)
    runs = [run_method(setting, method, normalisation, corners, best.rate, seed) for seed in SEEDS]
    return Cell(setting.name, method, normalisation, setting.concave, trials, runs)


def protocol(setting: Setting) -> dict[str, Any]:
    """Return what a stored result depends on, so that another protocol's is not taken for it."""
    return {"k": setting.k, "steps": setting.steps, "rates": list(setting.rates),
            "seeds": [*SEEDS], "tuning": TUNING}  # fmt: skip


def corners_of(setting: Setting, out: Path) -> Corners:
    """Return a problem's corners, from the folder if they are in it."""
    path = out / slug(setting.name) / "corners.json"
    if (content := read_result(path, protocol(setting))) is None:
        write_result(path, protocol(setting), content := find_corners(setting)._asdict())
    ranges = {int(seed): pair for seed, pair in content["ranges"].items()}
    return Corners(content["rate"], ranges, content["reference"])


def cell_of(setting: Setting, method: str, normalisation: str, out: Path) -> Cell:
    """Return a cell, from the folder if it is in it; its corners must be."""
    path = out / slug(setting.name) / f"{slug(method)}-{normalisation}.json"
    if (content := read_result(path, protocol(setting))) is None:
        cell = run_cell(setting, method, normalisation, corners_of(setting, out))
        write_result(path, protocol(setting), cell.to_json())
        return cell
    return Cell.from_json(content)


def compute(task: tuple[str, ...], out: Path) -> tuple[tuple[str, ...], float]:
    """Compute the corners of a problem, or a cell, in a worker; return the task and its seconds."""
    started = time.perf_counter()
    setting = next(s for s in SETTINGS if s.name == task[0])
    if task[1:]:
        cell_of(setting, task[1], task[2], out)
    else:
        corners_of(setting, out)
    return task, time.perf_counter() - started


def run_table(settings: Sequence[Setting], jobs: int, out: Path) -> None:
    """Compute all corners, then all cells, the longest first, with a line for each."""
    settings = sorted(settings, key=lambda setting: -setting.seconds)
    cells = [(s.name, method, n) for s in settings for method in METHODS for n in NORMALISATIONS]
    seconds = sum(s.seconds for s in settings) * len(cells) / max(len(settings), 1)
    print(f"{len(cells)} cells, about {seconds / jobs / 60:.0f} minutes with {jobs} jobs", flush=True)
    for tasks in ([(s.name,) for s in settings], cells):
        for n, (task, spent) in enumerate(compute_all(partial(compute, out=out), tasks, jobs), 1):
            print(f"[{n} of {len(tasks)}] {', '.join(task)}: {spent:.1f} s", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Compute the cells that the folder lacks, and write the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.preferences",
        description="Preferences in units of what there is to gain: eight methods on ten problems.",
    )
    names = {slug(setting.name): setting for setting in SETTINGS}
    parser.add_argument("--out", type=Path, required=True, help="the folder for the cells and the tables")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--problems", nargs="+", choices=names, default=list(names), help="by default all of them")
    options = parser.parse_args(arguments)
    settings = [names[name] for name in options.problems]
    try:
        run_table(settings, options.jobs, options.out)
    except data.Missing as error:
        print(error, file=sys.stderr)
        return 1
    cells = [cell_of(s, method, n, options.out) for s in settings for method in METHODS for n in NORMALISATIONS]
    print(write_tables(cells, options.out))
    return 0


if __name__ == "__main__":
    # imported by its real name, under which workers find functions
    from studies.preferences import main as run

    raise SystemExit(run())

"""Every method that balances tasks, on two problems of real data: the worst loss and the mean loss of each.

    python -m studies.balancing --out runs/balancing --jobs 2

It takes most of an hour on two cores, stores each cell in the folder, and continues where it stopped. The problems are
scarce digit pairs (two tasks, a net too small for both) and Census income (three tasks through four units), both with
losses as they are, in nats, and an even preference.

Every method gets the same: four learning rates to try with a seed that the table does not use, the best by the mean
validation loss; then three seeds at that rate, each with the same initial weights and batches. The learning rate falls
to 0 by a cosine. Methods have the options of their papers. Two rows are there to compare with: "single tasks" trains a
net for each task alone, tuned in the same way; "Linear, weights tuned" spends its four trials on two rates and on two
other weights, towards the task with the larger loss, and keeps what has the least worst validation loss.
`studies.balancing_tables` has the figures.
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

import paretomtl as pm
import paretomtl_solvers as ps
from studies import data
from studies.balancing_tables import SINGLE, TUNED, Cell, Run, write_tables
from studies.cells import compute_all, read_result, slug, write_result
from studies.census import census
from studies.digit_pairs import digit_pairs, loader
from studies.known_fronts import Optimizer

SEEDS, TUNING = range(3), 100
RATES = (1e-3, 3e-3, 1e-2, 3e-2)  # learning rates of Adam to try
FIRST_RATES = (3e-3, 1e-2)  # of "Linear, weights tuned"
TOWARDS = (1.0, 2.0)  # powers of the losses, its weights


class Setting(NamedTuple):
    """A problem of the table.

    heads: the modules that begin the objectives' heads.
    """

    name: str
    problem: Callable[[], pm.Problem]
    steps: int
    heads: tuple[str, ...]


def scarce_pairs() -> pm.Problem:
    """Return digit pairs in small batches, measured on 1,000: what a table of CPU minutes can pay for."""
    problem = digit_pairs("demo", width="scarce", batch=64)
    return replace(problem, validate=partial(loader, "validate", 1_000, "digits", 64))


SETTINGS = (
    Setting("digit pairs, scarce", scarce_pairs, 200, ("left", "right")),
    Setting("Census", census, 300, ("heads.0", "heads.1", "heads.2")),
)


class Training(NamedTuple):
    """A method, and the optimizer that takes its steps; None for Adam at the rate."""

    solver: pm.Solver
    optimizer: Callable[[Any], Any] | None = None


def with_own_steps(setting: Setting, solver: pm.Solver) -> Training:
    """Return a method that takes the optimizer's steps itself, and hands in their sum."""
    return Training(solver, Optimizer("SGD", 1.0).over(setting.steps))


# methods of the package that are not of this kind: they move several points, or along a front, or serve one task first
APART = ("ContinuousPareto", "HypervolumeAscent", "LayerwiseDecomposition", "MOOSVGD", "PHNHVI", "ParetoMTL")
TRUNK = "trunk"  # the shared module of both models
# methods that are not built without arguments, and second rows of some; from the setting and the learning rate
SPECIAL: dict[str, Callable[[Setting, float], Training]] = {
    "MGDA, l2": lambda setting, rate: Training(ps.MGDA("l2")),
    "MGDAUB": lambda setting, rate: Training(ps.MGDAUB(at=TRUNK)),
    "MultiBalance": lambda setting, rate: Training(ps.MultiBalance(at=TRUNK)),
    "RotoGrad": lambda setting, rate: Training(ps.RotoGrad(at=TRUNK, heads=setting.heads)),
    "DRGrad": lambda setting, rate: Training(ps.DRGrad(heads=setting.heads)),
    "FSMTL, Linear": lambda setting, rate: Training(ps.FSMTL(ps.Linear())),
    "FSMTL, MGDA": lambda setting, rate: Training(ps.FSMTL(ps.MGDA())),
    "FairGrad, alpha=1": lambda setting, rate: Training(ps.FairGrad(alpha=1.0)),
    "UW": lambda setting, rate: Training(ps.UW(kind="classification")),
    "DWA": lambda setting, rate: Training(ps.DWA(period=25)),  # steps; an epoch would be most of the training
    "AlternatingGroups": lambda setting, rate: with_own_steps(setting, ps.AlternatingGroups(rate=rate)),
    "SelectiveGroups": lambda setting, rate: with_own_steps(setting, ps.SelectiveGroups(rate=rate)),
}


def build_default(name: str, setting: Setting, rate: float) -> Training:
    """Build a method without arguments."""
    del setting, rate
    return Training(getattr(ps, name)())


METHODS: dict[str, Callable[[Setting, float], Training]] = {
    name: partial(build_default, name) for name in sorted(ps.__all__) if name not in (*APART, *SPECIAL, "FSMTL")
} | SPECIAL


def train_point(setting: Setting, training: Training, weights: Sequence[float], rate: float, seed: int) -> Run:
    """Train a model, and measure it on validation and test data; what fails is told."""
    started = time.process_time()
    optimizer = training.optimizer or Optimizer("Adam", rate).over(setting.steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # points off their ray, which a single point is
        try:
            front = pm.explore(
                setting.problem(),
                training.solver,
                preferences=[list(weights)],
                steps=setting.steps,
                optimizer=optimizer,
                seed=seed,
            )
        except (pm.ParetomtlError, ValueError, ArithmeticError) as error:
            return Run(seed, rate, [], [], str(error).splitlines()[0], time.process_time() - started)
    seconds = time.process_time() - started
    if front.failed:
        return Run(seed, rate, [], [], front.failed[0].reason or "", seconds)
    (point,) = front.points
    return Run(seed, rate, list(point.losses["validate"]), list(point.losses["test"]), "", seconds)


def even(setting: Setting) -> list[float]:
    """Return the even preference."""
    return [1 / len(setting.heads)] * len(setting.heads)


def run_cell(setting: Setting, method: str) -> Cell:
    """Tune a method's learning rate, and train its seeds."""
    if method == SINGLE:
        return run_single(setting)
    if method == TUNED:
        return run_tuned_weights(setting)
    weights, build = even(setting), METHODS[method]

    def run(rate: float, seed: int) -> Run:
        return train_point(setting, build(setting, rate), weights, rate, seed)

    trials = [run(rate, TUNING) for rate in RATES]
    best = min(trials, key=lambda trial: trial.mean)
    return Cell(setting.name, method, trials, [run(best.rate, seed) for seed in SEEDS])


def run_single(setting: Setting) -> Cell:
    """Tune and train a net for each task alone; a run holds the losses of all nets of its seed."""
    training, nets = Training(ps.Linear()), []
    for i, alone in enumerate(np.eye(len(setting.heads)).tolist()):
        trials = [train_point(setting, training, alone, rate, TUNING) for rate in RATES]
        best = min(trials, key=lambda trial, i=i: trial.validate[i] if trial.validate else np.inf)
        nets.append([train_point(setting, training, alone, best.rate, seed) for seed in SEEDS])
    runs = [
        Run(
            seed,
            float("nan"),  # one for each net
            [run.validate[i] for i, run in enumerate(of_seed)],
            [run.test[i] for i, run in enumerate(of_seed)],
            "",
            sum(run.seconds for run in of_seed),
        )
        for seed, of_seed in zip(SEEDS, zip(*nets, strict=True), strict=True)
    ]
    return Cell(setting.name, SINGLE, [], runs)


def run_tuned_weights(setting: Setting) -> Cell:
    """Spend two trials on the rate and two on the weights of the linear scalarization."""
    training, weights = Training(ps.Linear()), even(setting)
    candidates = [(train_point(setting, training, weights, rate, TUNING), weights) for rate in FIRST_RATES]
    first = min((run for run, _ in candidates), key=lambda run: run.mean)
    for power in TOWARDS:
        shares = np.array(first.validate) ** power
        weights = (shares / shares.sum()).tolist()
        candidates.append((train_point(setting, training, weights, first.rate, TUNING), weights))
    best, weights = min(candidates, key=lambda candidate: candidate[0].worst)
    runs = [train_point(setting, training, weights, best.rate, seed) for seed in SEEDS]
    return Cell(setting.name, TUNED, [run for run, _ in candidates], runs)


def protocol(setting: Setting, method: str) -> dict[str, Any]:
    """Return what a stored result depends on, so that another protocol's is not taken for it."""
    solver = repr(METHODS[method](setting, RATES[0]).solver) if method in METHODS else method
    return {"steps": setting.steps, "rates": list(RATES), "seeds": [*SEEDS], "tuning": TUNING, "solver": solver}


def cell_of(setting: Setting, method: str, out: Path) -> Cell:
    """Return a cell, from the folder if it is in it."""
    path = out / slug(setting.name) / f"{slug(method)}.json"
    if (content := read_result(path, protocol(setting, method))) is None:
        cell = run_cell(setting, method)
        write_result(path, protocol(setting, method), cell.to_json())
        return cell
    return Cell.from_json(content)


def compute(task: tuple[str, str], out: Path) -> tuple[tuple[str, str], float]:
    """Compute a cell in a worker; return the task and its seconds."""
    started = time.perf_counter()
    cell_of(next(s for s in SETTINGS if s.name == task[0]), task[1], out)
    return task, time.perf_counter() - started


def main(arguments: list[str] | None = None) -> int:
    """Compute the cells that the folder lacks, and write the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.balancing",
        description="Every method that balances tasks, on two problems of real data.",
    )
    names = {slug(setting.name): setting for setting in SETTINGS}
    parser.add_argument("--out", type=Path, required=True, help="the folder for the cells and the tables")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--problems", nargs="+", choices=names, default=list(names), help="by default all of them")
    parser.add_argument("--docs", type=Path, help="the folder for balancing.csv and balancing.svg")
    options = parser.parse_args(arguments)
    settings, rows = [names[name] for name in options.problems], (*METHODS, TUNED, SINGLE)
    tasks = [(s.name, method) for method in rows for s in settings]
    try:
        for n, (task, spent) in enumerate(compute_all(partial(compute, out=options.out), tasks, options.jobs), 1):
            print(f"[{n} of {len(tasks)}] {', '.join(task)}: {spent:.1f} s", flush=True)
    except data.Missing as error:
        print(error, file=sys.stderr)
        return 1
    cells = [cell_of(s, method, options.out) for s in settings for method in rows]
    print(write_tables(cells, options.docs or options.out))
    return 0


if __name__ == "__main__":
    # imported by its real name, under which workers find functions
    from studies.balancing import main as run

    raise SystemExit(run())

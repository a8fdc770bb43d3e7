"""One network for the whole front, against one network a preference: on problems whose front is known, and on digits.

    python -m studies.conditioned_fronts fonseca
    python -m studies.conditioned_fronts rocket
    python -m studies.conditioned_fronts digits --width scarce --out runs/conditioned

Each command prints a table; `digits` prints two. It takes an hour or two on one core, stores its fronts in the folder,
and continues where it stopped.

Digits: 20,000 pairs, 6 epochs, batches of 256, Adam with a one-cycle schedule. For each row the schedule's peak is the
best of `RATES` by the mean validation hypervolume of five preferences, on seeds that the table does not use. All
networks of a seed start alike. One row has networks of one epoch: five of them cost as much as one conditioned network.

The columns: validation and test hypervolume of the front of 5 and of 11 preferences against (2, 2), where the 5 are
every second of the 11; the best value of each objective, for a conditioned network at 25 preferences with the two ends,
which cost it nothing; IGD+ of the 11 to the union of all fronts of the seed; span: each loss's rise from end to end of
the 25 or the 11; monotone: Spearman's correlation of each preference with its loss over them, where the span is not
within noise; trained parameters; CPU seconds of training for 5 and 11; passes: backward passes over a batch. Figures
are means over the seeds, ± the standard deviation. "HV 5 is" better or worse than the first row's, or a draw, by the
95 % interval of the differences of equal seeds.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points import score
from paretomtl.points.preference_map import rank_correlations
from paretomtl.points.seeds import compare_paired, interval_half_width
from paretomtl.preference import even_design
from studies.analytic import fonseca
from studies.digit_pairs import BATCH, SIZES, WIDTHS, Size, Width, digit_pairs
from studies.rocket import rocket_injector

EPOCHS, SIZE = 6, "small"  # the table's; `--size demo` is for a trial
RATES = (1e-2, 2e-2, 4e-2, 8e-2)
ONE_SIDED = 0.05  # level of the test whether a loss rises at all
TUNING = {"published": (100,), "scarce": (100, 101)}  # seeds to tune on, two where they differ more; the table has 0, …
ELEVEN, FIVE = even_design(2, 11), even_design(2, 5)
BETWEEN = np.vstack([even_design(2, 23)[::2], np.eye(2)])  # with the eleven: k/24, the ends too


class OneCycle(NamedTuple):
    """Adam with a one-cycle schedule."""

    lr: float
    steps: int

    def __call__(self, parameters: Any) -> tuple[torch.optim.Optimizer, Any]:
        """Return the optimizer and its scheduler, as `explore` needs them."""
        optimizer = torch.optim.Adam(parameters, lr=self.lr)
        return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=self.steps)


class Row(NamedTuple):
    """A row of the tables: a method, its front model, the backward passes over a batch in a step, and its epochs."""

    name: str
    solver: pm.Solver
    front_model: pm.FrontModel | None
    passes: int
    epochs: int = EPOCHS


ROWS = (
    Row("separate, Linear", ps.Linear(), None, 1),
    Row("separate, EPO", ps.EPO(), None, 2),
    Row("separate, Linear, 1 epoch", ps.Linear(), None, 1, epochs=1),
    Row("FiLM, Linear", ps.Linear(), pm.FiLM(), 1),
    Row("Inputs, Linear", ps.Linear(), pm.Inputs(), 1),
    Row("LowRank, Linear", ps.Linear(), pm.LowRank(), 1),
    Row("LowRank full, Linear", ps.Linear(), pm.LowRank(rank=None), 1),
    Row("LowRank full, EPO", ps.EPO(), pm.LowRank(rank=None), 2),
    Row("Hypernetwork, Linear", ps.Linear(), pm.Hypernetwork(), 1),
    Row("Hypernetwork, EPO", ps.EPO(), pm.Hypernetwork(), 2),
)


class Clock:
    """A callback that adds up the CPU seconds from the first to the last step of each network."""

    def __init__(self):
        self.seconds, self._last = 0.0, 0.0

    def __call__(self, step: pm.Step) -> None:
        """Add the time since the last step; `explore` calls this after each step."""
        now = time.process_time()
        if step.step > 1:
            self.seconds += now - self._last
        self._last = now


class Run(NamedTuple):
    """A front of a row, and the CPU seconds of its training."""

    front: pm.Front
    seconds: float


def explore_front(
    row: Row, problem: pm.Problem, size: Size, preferences: Float[np.ndarray, "K 2"], lr: float, seed: int, out: Path
) -> Run:
    """Explore the front of a row once; its time is stored beside its folder."""
    clock, time_file = Clock(), out.with_name(f"{out.name}.seconds")
    steps = row.epochs * -(-SIZES[size][0] // BATCH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # points off their ray, which the table shows
        front = pm.explore(
            problem, row.solver, preferences=preferences, epochs=row.epochs, optimizer=OneCycle(lr, steps), seed=seed,
            out=out, front_model=row.front_model, callbacks=[clock],
        )  # fmt: skip
    seconds = round(clock.seconds + (float(time_file.read_text()) if time_file.exists() else 0), 3)
    time_file.write_text(str(seconds))
    return Run(front, seconds)


def best_rate(row: Row, problem: pm.Problem, size: Size, seeds: Sequence[int], out: Path) -> float:
    """Find the peak learning rate with the largest mean validation hypervolume of five preferences."""
    volumes = {}
    for lr in RATES:
        fronts = [
            explore_front(row, problem, size, FIVE, lr, seed, out / "tuning" / f"{slug(row.name)}-{lr:g}-{seed}").front
            for seed in seeds
        ]
        volumes[lr] = float(np.mean([front.hypervolume() or 0.0 for front in fronts]))
    shown = ", ".join(f"{lr:g}: {volume:.3f}" for lr, volume in volumes.items())
    print(f"{row.name}: validation hypervolume by peak learning rate {shown}", flush=True)
    return max(volumes, key=volumes.__getitem__)


def slug(name: str) -> str:
    """Turn a row's name into a folder's."""
    return name.lower().replace(", ", "-").replace(" ", "-")


def digits(width: Width, seeds: int, out: Path, size: Size = SIZE) -> int:
    """Print the tables of digit pairs at a width of the net: the results, and their cost."""
    problem, folder = digit_pairs(size, width=width), out / size / width
    folder.joinpath("tuning").mkdir(parents=True, exist_ok=True)
    rates = {row.name: best_rate(row, problem, size, TUNING[width], folder) for row in ROWS}
    runs: dict[str, list[Run]] = {row.name: [] for row in ROWS}
    for seed in range(seeds):
        for row in ROWS:
            preferences = ELEVEN if row.front_model is None else np.vstack([ELEVEN, BETWEEN])
            run = explore_front(
                row, problem, size, preferences, rates[row.name], seed, folder / f"{slug(row.name)}-{seed}"
            )
            runs[row.name].append(run)
            print(f"{row.name}, seed {seed}: {run.front.hypervolume():.4f}", file=sys.stderr, flush=True)
    unions = [np.vstack([runs[row.name][seed].front.losses for row in ROWS]) for seed in range(seeds)]
    tables = {row.name: list(cells(row, problem, runs[row.name], unions, runs[ROWS[0].name])) for row in ROWS}
    print(markdown(["", *REACHED], [[name, *row[: len(REACHED)]] for name, row in tables.items()]))
    print()
    print(markdown(["", *SPENT], [[name, f"{rates[name]:g}", *row[len(REACHED) :]] for name, row in tables.items()]))
    return 0


REACHED = (
    "HV 5", "HV 11", "test HV 5", "test HV 11", "HV 5 is", "best left", "best right", "IGD+", "span", "monotone",
)  # fmt: skip
SPENT = ("peak lr", "parameters", "CPU s 5", "CPU s 11", "passes 5", "passes 11")


def cells(row: Row, problem: pm.Problem, runs: list[Run], unions: list[np.ndarray], first: list[Run]) -> Iterator[str]:
    """Yield the cells of a row of both tables from its runs, one a seed; `first` are the runs to compare with."""
    all_volumes = np.array([volumes(run.front) for run in runs])
    yield from (f"{x:.3f} ± {sd:.3f}" for x, sd in zip(all_volumes.mean(axis=0), all_volumes.std(axis=0), strict=True))
    yield (
        ""
        if runs is first
        else compare_paired(all_volumes[:, 0], np.array([volumes(run.front)[0] for run in first])).verdict
    )
    yield from (f"{x:.3f}" for x in np.mean([run.front.losses.min(axis=0) for run in runs], axis=0))
    yield f"{np.mean([score.igd_plus(r.front.losses[:11], u) for r, u in zip(runs, unions, strict=True)]):.3f}"
    yield from control([run.front for run in runs])
    yield f"{parameters(row, problem):,}"
    apart = row.front_model is None
    seconds = np.mean([run.seconds for run in runs])
    steps = sum(point.counts["steps"] for point in runs[0].front.points[: 11 if apart else 1])
    share = 5 / 11 if apart else 1
    yield from (f"{x:.1f}" for x in (seconds * share, seconds))
    yield from (f"{row.passes * x:,.0f}" for x in (steps * share, steps))


def volumes(front: pm.Front) -> list[float]:
    """Return the hypervolumes of 5 and of 11 preferences, on validate and on test."""
    return [
        score.hypervolume(rows, front.ref_point) or 0.0
        for losses in (front.losses[:11], front.losses_on("test")[:11])
        for rows in (losses[1::2], losses)
    ]


def control(fronts: list[pm.Front]) -> tuple[str, str]:
    """Return two cells: each loss's rise from end to end, and its correlation with its preference.

    The correlation gives way to "within noise" if the rise is not above 0 by a one-sided t test over the seeds at 5 %.
    """
    r, losses = fronts[0].preferences, np.stack([front.losses for front in fronts])
    correlations = np.mean(
        [[np.nan if x is None else x for x in rank_correlations(r, seed)] for seed in losses], axis=0
    )
    spans, cells = [], []
    for i, correlation in enumerate(correlations):
        rise = losses[:, r[:, i].argmin(), i] - losses[:, r[:, i].argmax(), i]
        noise = interval_half_width(rise, ONE_SIDED)
        spans.append(f"{rise.mean():.3f}")
        cells.append("within noise" if noise is not None and rise.mean() <= noise else f"{correlation:.2f}")
    return ", ".join(spans), ", ".join(cells)


def parameters(row: Row, problem: pm.Problem) -> int:
    """Count the trained parameters: of eleven networks, or of the conditioned one."""
    plain = problem.model()
    if row.front_model is None:
        return len(ELEVEN) * sum(p.numel() for p in plain.parameters())
    return sum(p.numel() for p in row.front_model.attach(plain, 2).parameters())


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Analytic(NamedTuple):
    """A row of an analytic table: a method, its front model, and a suitable peak learning rate."""

    solver: pm.Solver
    front_model: pm.FrontModel
    lr: float


SEVERAL, STEPS = pm.Sampling(n=256, ends=0.0), 500
FONSECA = (
    Analytic(ps.Tchebycheff(), pm.Hypernetwork(sampling=SEVERAL), 5e-2),
    Analytic(ps.SmoothTchebycheff(mu=0.01), pm.Hypernetwork(sampling=SEVERAL), 5e-2),
    Analytic(ps.EPO(), pm.Hypernetwork(sampling=SEVERAL), 5e-2),
    Analytic(ps.COSMOS(penalty=5.0), pm.Hypernetwork(sampling=SEVERAL), 5e-2),
    Analytic(ps.PHNHVI((1.1, 1.1), penalty=5.0), pm.Hypernetwork(sampling=pm.Sampling(n=32, ends=0.0)), 5e-2),
    Analytic(ps.Linear(), pm.Hypernetwork(sampling=SEVERAL), 5e-2),
    Analytic(ps.Tchebycheff(), pm.LowRank(sampling=SEVERAL), 5e-2),
)
ROCKET = tuple(
    Analytic(solver, pm.Hypernetwork(hidden=256, sampling=pm.Sampling(n=64, ends=0.0)), 5e-3)
    for solver in (ps.Tchebycheff(), ps.EPO(), ps.SmoothTchebycheff(mu=0.01), ps.Linear())
)


def analytic(
    problem: pm.Problem, ways: Sequence[Analytic], preferences: Float[np.ndarray, "K m"], exact_volume: float | None
) -> int:
    """Print the table of a problem whose front is known."""
    rows = []
    for way in ways:
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            front = pm.explore(
                problem, way.solver, preferences=preferences, steps=STEPS, optimizer=OneCycle(way.lr, STEPS),
                front_model=way.front_model,
            )  # fmt: skip
        volume = front.hypervolume() or 0.0
        share = "" if exact_volume is None else f"{volume / exact_volume:.2%}"
        rows.append([
            f"{type(way.front_model).__name__}, {type(way.solver).__name__}", f"{volume:.5f}", share,
            f"{front.control_errors.mean():.2f}", f"{front.control_errors.max():.2f}",
            ", ".join("" if x is None else f"{x:.3f}" for x in front.map().monotone),
            f"{time.process_time() - started:.1f}",
        ])  # fmt: skip
        print(rows[-1], file=sys.stderr, flush=True)
    print(markdown(["", "HV", "of exact", "mean angle", "worst angle", "monotone", "CPU s"], rows))
    return 0


def fonseca_table(ways: Sequence[Analytic] = FONSECA) -> int:
    """Print the table of Fonseca's problem at 100 preferences, against the exact points on their rays."""
    a = np.arange(1, 101) / 101
    preferences = np.stack([a, 1 - a], axis=1)
    problem = fonseca(10)
    assert problem.truth is not None
    return analytic(
        problem, ways, preferences, score.hypervolume(on_rays(problem.truth.front, preferences), problem.reference)
    )


def on_rays(front: Float[np.ndarray, "N m"], preferences: Float[np.ndarray, "K m"]) -> Float[np.ndarray, "K m"]:
    """Return, for each preference, the point of a dense front with the least max_i r_i l_i."""
    return np.stack([front[(r * front).max(axis=1).argmin()] for r in preferences])


def rocket_table() -> int:
    """Print the table of the rocket injector (RE37) at 100 even preferences; many of their rays miss the front."""
    problem = rocket_injector(box=True)
    preferences = even_design(3, 100)
    assert problem.truth is not None
    exact = score.hypervolume(on_rays(problem.truth.front, preferences), problem.reference)
    return analytic(problem, ROCKET, preferences, exact)


def main(arguments: list[str] | None = None) -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.conditioned_fronts",
        description="One network for the whole front, against one a preference.",
    )
    parser.add_argument("table", choices=["fonseca", "rocket", "digits"])
    parser.add_argument("--width", choices=list(WIDTHS), default="published")
    parser.add_argument("--size", choices=list(SIZES), default=SIZE)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/conditioned"), help="the folder for the fronts")
    options = parser.parse_args(arguments)
    if options.table == "digits":
        return digits(options.width, options.seeds, options.out, options.size)
    return fonseca_table() if options.table == "fonseca" else rocket_table()


if __name__ == "__main__":
    raise SystemExit(main())

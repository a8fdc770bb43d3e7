"""One network for the whole front, against one network a preference: on problems whose front is known, and on digits.

    python -m studies.conditioned_fronts fonseca
    python -m studies.conditioned_fronts rocket
    python -m studies.conditioned_fronts digits --width scarce --out runs/conditioned

Each prints a table. `digits` takes an hour or two on one core; it is kept in its folder, and goes on where it stopped.

Digits: 20,000 pairs, 6 epochs, batches of 256, Adam with a one-cycle schedule; its peak is, for each row, the best of
`RATES` by the validation hypervolume of five preferences on a seed that the table does not use. All networks of a seed
start alike. The columns: validation and test hypervolume of the front of 5 and of 11 preferences against (2, 2), the 5
being every second of the 11; the best value of each objective, for a conditioned network at its two ends too, which
cost nothing there; IGD+ of the 11 to the union of all fronts of the seed; Spearman's correlation of preference and
loss over the 11; trained parameters; CPU seconds of 5 and of 11, of measuring too; passes: backward passes over a
batch. Figures are means over the seeds.
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
from paretomtl.front import score
from paretomtl.front.preference_map import monotone
from paretomtl.preference import even
from studies.analytic import fonseca
from studies.digit_pairs import BATCH, SIZES, WIDTHS, Size, Width, digit_pairs
from studies.rocket import rocket_injector

EPOCHS, SIZE = 6, "small"  # of the table; `--size demo` tries it out
RATES = (1e-2, 2e-2, 4e-2, 8e-2)
TUNING = 100  # the seed to tune on; the table has 0, 1, …
ELEVEN, FIVE = even(2, 11), even(2, 5)
ENDS = np.eye(2)


class OneCycle(NamedTuple):
    """Adam with a one-cycle schedule."""

    lr: float
    steps: int

    def __call__(self, parameters: Any) -> tuple[torch.optim.Optimizer, Any]:
        """What `explore` takes."""
        optimizer = torch.optim.Adam(parameters, lr=self.lr)
        return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=self.steps)


class Row(NamedTuple):
    """A way to a front, and the batch-sized backward passes of one of its steps."""

    name: str
    solver: pm.Solver
    front_model: pm.FrontModel | None
    passes: int


ROWS = (
    Row("separate, Linear", ps.Linear(), None, 1),
    Row("separate, EPO", ps.EPO(), None, 2),
    Row("FiLM, Linear", ps.Linear(), pm.FiLM(), 1),
    Row("Inputs, Linear", ps.Linear(), pm.Inputs(), 1),
    Row("LowRank, Linear", ps.Linear(), pm.LowRank(), 1),
    Row("LowRank full, Linear", ps.Linear(), pm.LowRank(rank=None), 1),
    Row("LowRank full, EPO", ps.EPO(), pm.LowRank(rank=None), 2),
    Row("Hypernetwork, Linear", ps.Linear(), pm.Hypernetwork(), 1),
    Row("Hypernetwork, EPO", ps.EPO(), pm.Hypernetwork(), 2),
)


class Run(NamedTuple):
    """A front of a row, and the CPU seconds that it took."""

    front: pm.Front
    seconds: float


def explored(
    row: Row, problem: pm.Problem, size: Size, asked: Float[np.ndarray, "K 2"], lr: float, seed: int, out: Path
) -> Run:
    """The front of a row, computed once; its time is kept beside it."""
    started, spent = time.process_time(), out.with_suffix(".seconds")
    steps = EPOCHS * -(-SIZES[size][0] // BATCH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of points off their ray, which the table shows
        front = pm.explore(
            problem, row.solver, preferences=asked, epochs=EPOCHS, optimizer=OneCycle(lr, steps), seed=seed, out=out,
            front_model=row.front_model,
        )  # fmt: skip
    seconds = time.process_time() - started + (float(spent.read_text()) if spent.exists() else 0)
    spent.write_text(f"{seconds:.1f}")
    return Run(front, seconds)


def best_rate(row: Row, problem: pm.Problem, size: Size, out: Path) -> float:
    """The peak learning rate with the largest validation hypervolume, of five preferences on a seed apart."""
    volumes = {}
    for lr in RATES:
        front = explored(row, problem, size, FIVE, lr, TUNING, out / "tuning" / f"{slug(row.name)}-{lr:g}").front
        volumes[lr] = front.hypervolume() or 0.0
    shown = ", ".join(f"{lr:g}: {volume:.3f}" for lr, volume in volumes.items())
    print(f"{row.name}: validation hypervolume by peak learning rate {shown}", flush=True)
    return max(volumes, key=volumes.__getitem__)


def slug(name: str) -> str:
    """A row's name as a folder's."""
    return name.lower().replace(", ", "-").replace(" ", "-")


def digits(width: Width, seeds: int, out: Path, size: Size = SIZE) -> int:
    """The table of digit pairs at a width of the net."""
    problem, folder = digit_pairs(size, width=width), out / size / width
    folder.joinpath("tuning").mkdir(parents=True, exist_ok=True)
    rates = {row.name: best_rate(row, problem, size, folder) for row in ROWS}
    found: dict[str, list[list[float]]] = {row.name: [] for row in ROWS}
    for seed in range(seeds):
        runs = {}
        for row in ROWS:
            asked = ELEVEN if row.front_model is None else np.vstack([ELEVEN, ENDS])
            runs[row.name] = explored(
                row, problem, size, asked, rates[row.name], seed, folder / f"{slug(row.name)}-{seed}"
            )
            print(f"{row.name}, seed {seed}: {runs[row.name].front.hypervolume():.4f}", file=sys.stderr, flush=True)
        union = np.vstack([run.front.losses for run in runs.values()])
        for row in ROWS:
            found[row.name].append(list(figures(row, problem, runs[row.name], union)))
    columns = ["", "peak lr", *COLUMNS]
    table = [[row.name, f"{rates[row.name]:g}", *shown(found[row.name])] for row in ROWS]
    print(markdown(columns, table))
    return 0


COLUMNS = (
    "HV 5", "HV 11", "test HV 5", "test HV 11", "best left", "best right", "IGD+", "monotone left", "monotone right",
    "parameters", "CPU s 5", "CPU s 11", "passes 5", "passes 11",
)  # fmt: skip
FORMATS = ("{:.3f}", "{:.3f}", "{:.3f}", "{:.3f}", "{:.3f}", "{:.3f}", "{:.3f}", "{:.2f}", "{:.2f}", *["{:,.0f}"] * 5)


def figures(row: Row, problem: pm.Problem, run: Run, union: Float[np.ndarray, "n 2"]) -> Iterator[float]:
    """The columns of a row, of one seed."""
    front, apart = run.front, row.front_model is None
    losses, test = front.losses[:11], front.losses_on("test")[:11]
    for rows in (losses[1::2], losses, test[1::2], test):
        yield score.hypervolume(rows, front.ref_point) or 0.0
    yield from front.losses.min(axis=0)
    yield score.igd_plus(losses, union)
    yield from (x or 0.0 for x in monotone(front.preferences[:11], losses))
    yield parameters(row, problem)
    steps = sum(p.counts["steps"] for p in (front.points if apart else front.points[:1]))
    yield from ((run.seconds * 5 / 11, run.seconds) if apart else (run.seconds, run.seconds))
    yield from (
        (row.passes * steps * 5 / 11, row.passes * steps) if apart else (row.passes * steps, row.passes * steps)
    )


def parameters(row: Row, problem: pm.Problem) -> int:
    """How many are trained: in all of eleven networks, or in the one."""
    plain = problem.model()
    if row.front_model is None:
        return len(ELEVEN) * sum(p.numel() for p in plain.parameters())
    return sum(p.numel() for p in row.front_model.attach(plain, 2).parameters())


def shown(seeds: list[list[float]]) -> list[str]:
    """The mean over the seeds, as text."""
    return [text.format(x) for text, x in zip(FORMATS, np.mean(seeds, axis=0), strict=True)]


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Analytic(NamedTuple):
    """A way to an analytic front, with the peak learning rate that suits it."""

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
    for solver in (ps.Tchebycheff(), ps.EPO(), ps.SmoothTchebycheff(), ps.Linear())
)


def analytic(
    problem: pm.Problem, ways: Sequence[Analytic], asked: Float[np.ndarray, "K m"], exact: float | None
) -> int:
    """The table of a problem whose front is known."""
    rows = []
    for way in ways:
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            front = pm.explore(
                problem, way.solver, preferences=asked, steps=STEPS, optimizer=OneCycle(way.lr, STEPS),
                front_model=way.front_model,
            )  # fmt: skip
        volume = front.hypervolume() or 0.0
        share = "" if exact is None else f"{volume / exact:.2%}"
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
    """Fonseca's problem at 100 preferences, against the exact points on their rays."""
    a = np.arange(1, 101) / 101
    asked = np.stack([a, 1 - a], axis=1)
    problem = fonseca(10)
    assert problem.truth is not None
    return analytic(problem, ways, asked, score.hypervolume(on_rays(problem.truth.front, asked), problem.ref_point))


def on_rays(front: Float[np.ndarray, "N m"], asked: Float[np.ndarray, "K m"]) -> Float[np.ndarray, "K m"]:
    """The points of a dense front at which the largest r_i l_i is least."""
    return np.stack([front[(r * front).max(axis=1).argmin()] for r in asked])


def rocket_table() -> int:
    """The rocket injector (RE37) at 100 even preferences: three objectives, many of whose rays miss the front."""
    problem = rocket_injector(box=True)
    asked = even(3, 100)
    assert problem.truth is not None
    exact = score.hypervolume(on_rays(problem.truth.front, asked), problem.ref_point)
    return analytic(problem, ROCKET, asked, exact)


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
    parser.add_argument("--out", type=Path, default=Path("runs/conditioned"), help="where the fronts are kept")
    asked = parser.parse_args(arguments)
    if asked.table == "digits":
        return digits(asked.width, asked.seeds, asked.out, asked.size)
    return fonseca_table() if asked.table == "fonseca" else rocket_table()


if __name__ == "__main__":
    raise SystemExit(main())

"""Flat regions: what FS-MTL does to the curvature of each loss, beside its base alone.

    python -m studies.flatness                 prints the table and writes docs/flatness.csv

Parity and class of UCI's small digits, by one hidden layer that both share. Each method has the same network, data
order, optimizer and number of steps; FS-MTL has two gradients a loss and step, so that MGDA also has a row with twice
the steps, for the same number of passes. The columns: the largest eigenvalue of the Hessian of each loss and of their
sum over all parameters, on the whole training data, by power iteration; and the mean losses on training and validation
data, in nats. Mean ± standard deviation over the seeds; the CSV file has each seed.

What three seeds show. At its default rho of .05 FS-MTL lowers the largest eigenvalue of each loss and of the sum, by a
quarter in the sum, although its training losses are a little higher; on validation data parity gains and the class is
even. A larger distance flattens parity further, but holds up the class, whose loss it leaves high and curved: the
adaptive form at rho .5 has half the sum's eigenvalue, at rho 2 the class is hardly learnt. Twice the steps of MGDA
flatten, too, where a loss all but vanishes, as the class does on the training data: the Hessian of a cross-entropy goes
with it. So eigenvalues compare at like losses alone.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

import paretomtl as pm
import paretomtl_solvers as ps
from studies.conditioned_fronts import OneCycle, markdown
from studies.small_digits import BATCH, TwoHeads, digits, losses
from studies.tabular import Parts, batches

SEEDS, STEPS, RATE = 3, 600, 0.01
ITERATIONS, SETTLED = 300, 1e-6  # of the power iteration; the last change of the eigenvalue, relative
FILE = Path("docs/flatness.csv")


class Trial(NamedTuple):
    """A row of the table: its name, its method, and how many times the steps it has."""

    name: str
    solver: pm.Solver
    times: int = 1


TRIALS = (
    Trial("MGDA", ps.MGDA()),
    Trial("MGDA, twice the steps", ps.MGDA(), 2),
    Trial("FSMTL(MGDA), rho .05", ps.FSMTL(ps.MGDA())),
    Trial("FSMTL(MGDA), rho .2", ps.FSMTL(ps.MGDA(), rho=0.2)),
    Trial("FSMTL(MGDA), adaptive, rho .5", ps.FSMTL(ps.MGDA(), rho=0.5, adaptive=True)),
    Trial("FSMTL(MGDA), adaptive, rho 2", ps.FSMTL(ps.MGDA(), rho=2.0, adaptive=True)),
)


class Measures(NamedTuple):
    """What a run came to: the largest eigenvalues of each loss and of the sum, and the losses by split."""

    eigenvalues: Float[np.ndarray, " m+1"]
    train: Float[np.ndarray, " m"]
    validate: Float[np.ndarray, " m"]


def two_tasks(model: TwoHeads, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Return the mean cross-entropies of parity and of the class, in nats."""
    both = losses(model, batch)
    return {name: both[name] for name in ("parity", "digit")}


def parity_and_digit(parts: Callable[[], Parts] = digits) -> pm.Problem:
    """Return the problem."""
    return pm.Problem(
        objectives=[pm.Objective("parity", unit="nats"), pm.Objective("digit", unit="nats")],
        model=TwoHeads,
        losses=two_tasks,
        train=partial(batches, parts, "train", BATCH),
        validate=partial(batches, parts, "validate", BATCH),
        ref_point=[1.0, 3.0],
    )


def top_eigenvalue(closure: pm.Closure, weights: Float[Tensor, " m"], seed: int = 0) -> float:
    """Return the largest eigenvalue, with its sign, of the Hessian of the weighted sum of the losses.

    Power iteration finds the one of the largest size; where that is negative, it goes on with the Hessian shifted by
    its size.
    """
    largest = _iterate(closure, weights, 0.0, seed)
    return largest if largest >= 0 else _iterate(closure, weights, -largest, seed) + largest


def _iterate(closure: pm.Closure, weights: Tensor, shift: float, seed: int) -> float:
    like = closure.parameters
    v = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(like)
    value = 0.0
    for _ in range(ITERATIONS):
        v = v / v.norm()
        turned = closure.hessian_product(weights, v) + shift * v
        before, value = value, float(v @ turned)
        if not turned.any() or abs(value - before) <= SETTLED * abs(value):
            break
        v = turned
    return value


def train(problem: pm.Problem, trial: Trial, seed: int, steps: int) -> nn.Module:
    """Return the model that a method trains, from the same start and on the same batches as the others."""
    steps = steps * trial.times
    front = pm.explore(
        problem, trial.solver, preferences=[[0.5, 0.5]], steps=steps, optimizer=OneCycle(RATE, steps), seed=seed,
        normalise=None,
    )  # fmt: skip
    return front.load_model(front.points[0], problem.model)


def measure(problem: pm.Problem, model: nn.Module, parts: Parts) -> Measures:
    """Measure a model on the whole of its training and validation data."""
    here, there = (pm.closure(problem, model, parts[split], noisy=False) for split in ("train", "validate"))
    weights = [*torch.eye(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)]
    return Measures(
        np.array([top_eigenvalue(here, w) for w in weights]), here().double().numpy(), there().double().numpy()
    )


def spread(values: Sequence[float]) -> str:
    """Format a mean and a standard deviation."""
    return f"{np.mean(values):.3g} ± {np.std(values):.2g}"


def row_of(name: str, runs: Sequence[Measures]) -> list[str]:
    """Return a row of the table."""
    columns = np.array([np.concatenate(run) for run in runs]).T
    return [name, *(spread(column) for column in columns)]


HEADER = (
    "top of parity",
    "of digit",
    "of the sum",
    "parity, train",
    "digit, train",
    "parity, validate",
    "digit, validate",
)


def write(path: Path, results: dict[str, list[Measures]]) -> None:
    """Write every seed's figures."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["method", "seed", *HEADER])
        for name, runs in results.items():
            for seed, run in enumerate(runs):
                table.writerow([name, seed, *(f"{value:.6g}" for value in np.concatenate(run))])


def main(arguments: list[str] | None = None) -> int:
    """Print the table and write the file."""
    parser = argparse.ArgumentParser(prog="python -m studies.flatness", description="The curvature that is left.")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=FILE, help="the CSV file")
    options = parser.parse_args(arguments)
    problem, results = parity_and_digit(), {}
    for trial in TRIALS:
        models = [train(problem, trial, seed, options.steps) for seed in range(options.seeds)]
        results[trial.name] = [measure(problem, model, digits()) for model in models]
    write(options.out, results)
    print(markdown(["", *HEADER], [row_of(name, runs) for name, runs in results.items()]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

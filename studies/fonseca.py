"""Fonseca's concave front, traced at ten preferences: how close each method comes to the truth.

    python -m studies.fonseca

Preferences (a, 1 - a), a evenly from .01 to .99, start x ~ N(0, 0.1² I), plain gradient descent at 0.1, at most 1000
steps, five seeds. Angles are between the ray asked for and the losses reached. Linear scalarization is not made for
rays: its weights lead to the two ends of the front.
"""

import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from studies.analytic import fonseca

SEEDS = range(5)
STEPS = 1000
PREFERENCES = np.stack([np.linspace(0.01, 0.99, 10), np.linspace(0.99, 0.01, 10)], axis=1)
METHODS = (ps.EPO(eps=1e-8), ps.EPO(eps=1e-4), ps.Linear())


class Result(NamedTuple):
    """One method over the seeds: hypervolumes (seeds,), control errors in degrees (seeds, preferences)."""

    hypervolumes: np.ndarray
    angles: np.ndarray


def trace(solver: pm.Solver, seed: int) -> pm.Front:
    """One front, by the protocol above."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # rays that are missed are in the table
        return pm.explore(
            fonseca(),
            solver,
            preferences=PREFERENCES,
            steps=STEPS,
            optimizer=partial(torch.optim.SGD, lr=0.1),
            seed=seed,
        )


def compare(solver: pm.Solver) -> Result:
    """A method over the seeds."""
    fronts = [trace(solver, seed) for seed in SEEDS]
    return Result(np.array([f.hypervolume() for f in fronts]), np.array([f.control_errors for f in fronts]))


def main() -> int:
    """Print the table."""
    print("| method | hypervolume | mean angle | worst angle |\n| --- | --- | --- | --- |")
    for solver in METHODS:
        hypervolumes, angles = compare(solver)
        spread = f"{np.median(hypervolumes):.5f} ({hypervolumes.min():.5f} to {hypervolumes.max():.5f})"
        name = f"`{solver}`" if isinstance(solver, ps.Linear) else f"`EPO(eps={solver.eps:g})`"
        print(f"| {name} | {spread} | {angles.mean():.4f}° | {angles.max():.4f}° |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

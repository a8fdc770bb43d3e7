"""`transfer_gains`: train each pair of tasks together and each task alone, with common random numbers, and compare."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.exploration import explore
from paretomtl.front import Front
from paretomtl.points.seeds import interval_half_width
from paretomtl.problem import Loss, Problem
from paretomtl.solver import Solver
from paretomtl.sweep.executor import Executor
from paretomtl.training.outcome import SingleObjective
from paretomtl.training.study import adam


class TransferGains(NamedTuple):
    """What each task gains from being trained with each other one.

    Attributes:
        names: the tasks.
        by_seed: a table for each seed at which every training ended: the share of the loss of task j (column) when
            trained alone that training with task i (row) takes away. Negative where it ends worse; 0 on the diagonal.
    """

    names: tuple[str, ...]
    by_seed: Float[np.ndarray, "seeds m m"]

    @property
    def mean(self) -> Float[np.ndarray, "m m"]:
        """The mean over the seeds, for `group_tasks(gains.mean, groups, alone=0)`."""
        return self.by_seed.mean(axis=0)

    @property
    def half_width(self) -> Float[np.ndarray, "m m"] | None:
        """Half of the 95 % interval of the mean; None with one seed."""
        return interval_half_width(self.by_seed)


def transfer_gains(
    problem: Problem,
    solver: Solver,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    optimizer: Callable[[Any], Any] = adam,
    seed: int = 0,
    seeds: int = 3,
    out: str | Path | None = None,
    device: str = "cpu",
    executor: Executor | None = None,
) -> TransferGains:
    """Train each task alone and each pair of tasks together; return the gains on the validation split.

    That is m (m + 1) / 2 trainings of m tasks a seed; all of a seed share initial weights and batches. Affinities, from
    `AffinityRecorder`, take one training. Where `out` holds a part of this, the rest is computed.

    Args:
        problem: the problem; its objectives are the tasks.
        solver: the method that trains a pair, such as `paretomtl_solvers.Linear()`.
        epochs, steps: the budget of each training; one of the two.
        optimizer, device, executor: as in `explore`.
        seed, seeds: the first seed, and how often each training is repeated; intervals need two.
        out: the folder for the fronts.

    Raises:
        ValueError: a task alone ends with a loss that is not positive, or at no seed have all trainings ended.
    """
    m = len(problem.names)
    options = {
        "epochs": epochs, "steps": steps, "optimizer": optimizer, "seed": seed, "seeds": seeds, "device": device,
        "executor": executor, "normalise": None,
    }  # fmt: skip

    def folder(name: str) -> Path | None:
        return None if out is None else Path(out) / name

    ends = np.full((seeds, m, m), np.nan)  # the loss of task j (column) when trained with task i; on the diagonal alone
    alone = explore(problem, SingleObjective(), preferences=np.eye(m), out=folder("alone"), **options)
    for k in range(seeds):
        for point in _at_seed(alone, seed + k):
            j = int(np.argmax(point.preference))
            ends[k, j, j] = point.losses["validate"][j]
    for i, j in combinations(range(m), 2):
        name = f"{i}-{j}"
        pair = explore(_view(problem, (i, j)), solver, preferences=[[0.5, 0.5]], out=folder(name), **options)
        for k in range(seeds):
            for point in _at_seed(pair, seed + k):
                ends[k, j, i], ends[k, i, j] = point.losses["validate"]
    return TransferGains(problem.names, _relative(ends, problem.names))


def _relative(ends: Float[np.ndarray, "seeds m m"], names: tuple[str, ...]) -> Float[np.ndarray, "seeds m m"]:
    """Return gains from losses, of the seeds that have all of them."""
    whole = ends[np.isfinite(ends).all(axis=(1, 2))]
    if not len(whole):
        raise ValueError("at no seed have all trainings ended; look at the warnings, or give more seeds")
    alone = np.diagonal(whole, axis1=1, axis2=2)[:, None]
    for name, least in zip(names, alone.min(axis=(0, 1)), strict=True):
        if not least > 0:
            raise ValueError(f"loss {name!r} alone is {least:g}; a gain is relative to a positive loss")
    return 1 - whole / alone


def _at_seed(front: Front, seed: int) -> list[Any]:
    return [point for point in front.points if point.seed == seed]


def _view(problem: Problem, tasks: tuple[int, ...]) -> Problem:
    """Return the problem with some of its objectives alone; the model and the data are the same."""
    names = tuple(problem.names[i] for i in tasks)
    return replace(
        problem,
        objectives=[problem.described[i] for i in tasks],
        losses=_Part(problem.losses, names),
        measure=None if problem.measure is None else _Part(problem.measure, names),
        ref_point=None if problem.ref_point is None else [problem.ref_point[i] for i in tasks],
        truth=None,
    )


@dataclass(frozen=True)
class _Part:
    """A function that returns a value by objective, with the values of some of them; it travels to workers."""

    values: Callable[[Any, Any], Mapping[str, Any]]
    names: tuple[str, ...]

    def __call__(self, model: Any, batches: Iterable[Any]) -> dict[str, Loss]:
        values = self.values(model, batches)
        return {name: values[name] for name in self.names}

"""`diagnose`: train tasks together and each alone, with common random numbers, and say what each does to the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from paretomtl.diagnosis.recorders import ConflictRecorder, LossRecorder
from paretomtl.diagnosis.transfer import Correlation, Transfer, correlate, measure_transfer
from paretomtl.exploration import explore
from paretomtl.front import Front
from paretomtl.points.seeds import interval_half_width
from paretomtl.problem import Problem
from paretomtl.recorder import Recorder
from paretomtl.solver import Solver
from paretomtl.sweep.executor import Executor
from paretomtl.training.outcome import SingleObjective
from paretomtl.training.seeds import OPENING, reproducible, reseed, seed_of
from paretomtl.training.study import adam

PROBE = 4  # batches of train at which the training loss is recorded


@dataclass(frozen=True)
class Diagnosis:
    """What tasks do to one another.

    Attributes:
        joint: the front of the joint training: one point, each seed.
        alone: the front of the single tasks, one point for each.
        specialised: fronts of other methods, by name.
        transfers: what training together did to each task.
    """

    joint: Front
    alone: Front
    specialised: dict[str, Front]
    transfers: list[Transfer]

    @property
    def names(self) -> list[str]:
        """The tasks."""
        return [transfer.task for transfer in self.transfers]

    @property
    def cosines(self) -> Float[np.ndarray, "seeds m m"]:
        """The mean cosine of each pair of tasks over the joint training, a table a seed; NaN where it is undefined."""
        tables = []
        for point in self.joint.points:
            entries = self.joint.recordings(point)["conflict"]
            stack = np.array([entry["cosines"] for entry in entries], dtype=float)
            tables.append(np.nanmean(stack, axis=0))
        return np.array(tables)

    @property
    def conflict_and_gap(self) -> Correlation:
        """The correlation of a task's mean cosine with the others, and its gap at equal training loss."""
        gaps = np.array([[curve.mean for curve in transfer.curves] for transfer in self.transfers]).T
        return correlate(self._mean_cosines(), gaps)

    @property
    def conflict_and_fit(self) -> Correlation:
        """The correlation of a task's mean cosine with the others, and the difference of its last training loss."""
        losses = [self._last(front, "train") for front in (self.joint, self.alone)]
        return correlate(self._mean_cosines(), losses[0] - losses[1])

    def _mean_cosines(self) -> Float[np.ndarray, "seeds m"]:
        tables = self.cosines
        others = ~np.eye(tables.shape[1], dtype=bool)
        return np.array([[row[mask].mean() for row, mask in zip(table, others, strict=True)] for table in tables])

    def _last(self, front: Front, split: str) -> Float[np.ndarray, "seeds m"]:
        """Return each task's last recorded loss; of the single tasks that of its own training."""
        m = len(self.names)
        rows = [front.recordings(point)["loss"][-1][split] for point in front.points]
        if front is self.joint:
            return np.array(rows, dtype=float)
        own = [row[int(np.argmax(point.preference))] for row, point in zip(rows, front.points, strict=True)]
        return np.array(own, dtype=float).reshape(m, -1).T

    def effect_of(self, name: str) -> Float[np.ndarray, "2 m"]:
        """Return the mean difference of each task's validation loss to the joint training, and half its interval.

        Args:
            name: a specialised method.
        """
        rows = [self._validation(front) for front in (self.specialised[name], self.joint)]
        half = interval_half_width(rows[0] - rows[1])
        width = np.full(len(self.names), np.nan) if half is None else half
        return np.array([(rows[0] - rows[1]).mean(axis=0), width])

    def _validation(self, front: Front) -> Float[np.ndarray, "seeds m"]:
        return np.array([point.losses["validate"] for point in front.points])

    def __str__(self) -> str:
        """Format the findings, a sentence a task."""
        lines = [transfer.verdict for transfer in self.transfers]
        negative = [
            entry["negative"] for point in self.joint.points for entry in self.joint.recordings(point)["conflict"]
        ]
        share = np.nanmean(np.array(negative, dtype=float))
        lines.append(f"gradients of two tasks point against one another in {share:.0%} of the recorded pairs.")
        lines.append(f"agreement of gradients against the gap at equal training loss: {self.conflict_and_gap}.")
        lines.append(f"agreement of gradients against the difference of the training losses: {self.conflict_and_fit}.")
        for name in self.specialised:
            means, halves = self.effect_of(name)
            parts = [
                f"{task} {mean:+.3g}" + ("" if np.isnan(half) else f" ± {half:.2g}")
                for task, mean, half in zip(self.names, means, halves, strict=True)
            ]
            lines.append(f"{name} instead of the joint training: {', '.join(parts)}.")
        return "\n".join(lines)


def diagnose(
    problem: Problem,
    joint: Solver,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    specialised: Mapping[str, Solver] | None = None,
    recorders: Sequence[Recorder] = (),
    every: int = 20,
    optimizer: Callable[[Any], Any] = adam,
    seed: int = 0,
    seeds: int = 5,
    out: str | Path | None = None,
    device: str = "cpu",
    executor: Executor | None = None,
) -> Diagnosis:
    """Train the tasks together, each alone, and by specialised methods; return what they do to one another.

    All trainings of a seed share initial weights and batches. Where `out` holds a part of this, the rest is computed.

    Args:
        problem: the problem; its objectives are the tasks.
        joint: the method of the joint training, such as `paretomtl_solvers.Linear()`.
        epochs, steps: the budget of each training; one of the two.
        specialised: other methods to train with, by name.
        recorders: what else to record of the joint training and of the single tasks.
        every: steps between two records of losses and conflict.
        optimizer: as in `explore`.
        seed, seeds: the first seed, and how often each training is repeated; intervals need two, and correlations
            five pairs of task and seed.
        out: the folder for the fronts.
        device, executor: as in `explore`.
    """
    names = problem.names
    even = np.full((1, len(names)), 1 / len(names))
    losses = LossRecorder(every, probe=_probe(problem, seed))
    options = {
        "epochs": epochs, "steps": steps, "optimizer": optimizer, "seed": seed, "seeds": seeds, "device": device,
        "executor": executor, "normalise": None,
    }  # fmt: skip

    def run(name: str, solver: Solver, preferences: Any, callbacks: Sequence[Recorder]) -> Front:
        folder = None if out is None else Path(out) / name
        return explore(problem, solver, preferences=preferences, callbacks=callbacks, out=folder, **options)

    together = run("joint", joint, even, [losses, ConflictRecorder(every), *recorders])
    alone = run("alone", SingleObjective(), np.eye(len(names)), [losses, *recorders])
    fronts = {name: run(name, solver, even, [losses]) for name, solver in (specialised or {}).items()}
    joint_records = [together.recordings(point) for point in _by_seed(together)]
    alone_records = [
        [alone.recordings(point) for point in _by_seed(alone) if point.preference[i] == 1] for i in range(len(names))
    ]
    return Diagnosis(together, alone, fronts, measure_transfer(joint_records, alone_records, names))


def _by_seed(front: Front) -> list[Any]:
    return sorted(front.points, key=lambda point: point.seed)


def _probe(problem: Problem, seed: int) -> list[Any]:
    """Return the first batches of train, always alike; [None] for a problem without data."""
    if problem.deterministic:
        return [None]
    with reproducible():
        reseed(seed_of(seed, 0, OPENING))
        return list(islice(problem.open()["train"], PROBE))

"""`diagnose`: train tasks together and each alone, with common random numbers, and say what each does to the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from paretomtl.diagnosis.factors import factors_at_matched_loss
from paretomtl.diagnosis.recorders import ConflictRecorder, LossRecorder
from paretomtl.diagnosis.transfer import (
    Correlation,
    Estimate,
    Transfer,
    correlate,
    estimate,
    measure_transfer,
    summarise,
)
from paretomtl.exploration import explore
from paretomtl.front import Front
from paretomtl.points.seeds import interval_half_width
from paretomtl.problem import Problem
from paretomtl.recorder import Recorder
from paretomtl.solver import Solver
from paretomtl.storage.files import check_name
from paretomtl.storage.store import Store
from paretomtl.sweep.executor import Executor
from paretomtl.training.outcome import SingleObjective
from paretomtl.training.seeds import OPENING, reproducible, reseed, seed_of
from paretomtl.training.study import adam

if TYPE_CHECKING:
    from paretomtl.show.diagnosis.facts import DiagnosisFacts

TOGETHER = ("joint", "alone")  # the folders of every diagnosis; the others are named for their methods
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

    @classmethod
    def load(cls, folder: str | Path) -> "Diagnosis":
        """Load a diagnosis from the folder that `diagnose(…, out=)` wrote; nothing is trained, no code of it runs.

        Raises:
            FileNotFoundError: the folder holds no diagnosis.
            ValueError: a training is missing or damaged.
        """
        folder = Path(folder)
        missing = [name for name in TOGETHER if not Store(folder / name).holds_front()]
        if missing:
            raise FileNotFoundError(
                f"{folder} holds no diagnosis (there is no front in {' and '.join(missing)}/ of it); give the folder "
                "that pm.diagnose(…, out=) wrote"
            )
        names = sorted(path.name for path in folder.iterdir() if path.is_dir() and Store(path).holds_front())
        others = {name: Front.load(folder / name) for name in names if name not in TOGETHER}
        joint, alone = (Front.load(folder / name) for name in TOGETHER)
        return _compare(joint, alone, others)

    @property
    def names(self) -> list[str]:
        """The tasks."""
        return [transfer.task for transfer in self.transfers]

    @property
    def cosines(self) -> Float[np.ndarray, "seeds m m"]:
        """The mean cosine of each pair of tasks over the joint training, a table a seed; NaN where it is undefined."""
        tables = []
        for records in self._records[0]:
            stack = np.array([entry["cosines"] for entry in records.get("conflict", ())], dtype=float)
            counts = np.isfinite(stack).sum(axis=0) if len(stack) else np.zeros((len(self.names),) * 2)
            sums = np.nansum(stack, axis=0) if len(stack) else counts
            tables.append(np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0))
        return np.array(tables)

    @property
    def conflict_and_gap(self) -> Correlation:
        """The correlation of a task's mean cosine with the others, and its gap at equal training loss."""
        return correlate(self._mean_cosines(), self._gaps())

    @property
    def conflict_and_fit(self) -> Correlation:
        """The correlation of a task's mean cosine with the others, and the difference of its last training loss."""
        together, own = self._last_losses()
        return correlate(self._mean_cosines(), together - own)

    @property
    def factors(self) -> dict[str, list[Estimate]]:
        """Each recorded factor of each task at equal training loss, together less alone."""
        return {
            name: [estimate(values[np.isfinite(values)]) for values in rows.T] for name, rows in self._factors.items()
        }

    def factor_and_gap(self, name: str) -> Correlation:
        """Return the correlation of a factor's difference and the gap, both at equal training loss.

        Args:
            name: a factor that was recorded, such as "sharpness".
        """
        return correlate(self._factors[name], self._gaps())

    def _gaps(self) -> Float[np.ndarray, "seeds m"]:
        return np.array([[curve.mean for curve in transfer.curves] for transfer in self.transfers]).T

    @cached_property
    def _records(self) -> tuple[list[Any], list[list[Any]]]:
        """The records of the joint training, by seed, and those of each task's own; read once."""
        return _read_records(self.joint), _read_alone(self.alone)

    @cached_property
    def _factors(self) -> dict[str, Float[np.ndarray, "seeds m"]]:
        """The factors' differences at equal training loss, by name."""
        joint, alone = self._records
        tables = [
            [factors_at_matched_loss(records, alone[i][k], i) for i in range(len(self.names))]
            for k, records in enumerate(joint)
        ]
        return {
            name: np.array([[row[name].together - row[name].alone for row in table] for table in tables])
            for name in tables[0][0]
        }

    def _mean_cosines(self) -> Float[np.ndarray, "seeds m"]:
        tables = self.cosines
        others = ~np.eye(tables.shape[1], dtype=bool)
        return np.array([[row[mask].mean() for row, mask in zip(table, others, strict=True)] for table in tables])

    def _last_losses(self) -> Float[np.ndarray, "2 seeds m"]:
        """Return each task's last recorded training loss, of the joint training and of the task's own."""
        joint, alone = self._records
        together = [records["loss"][-1]["train"] for records in joint]
        own = [[records["loss"][-1]["train"][i] for records in alone[i]] for i in range(len(self.names))]
        return np.array([together, np.transpose(own)], dtype=float)

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
        return np.array([point.losses["validate"] for point in _by_seed(front)])

    def __str__(self) -> str:
        """Format the findings: what to take away, then a sentence a task."""
        lines = [summarise(self.transfers), *(transfer.verdict for transfer in self.transfers)]
        lines += self._describe_conflict()
        for name, estimates in self.factors.items():
            parts = [f"{task} {seen}" for task, seen in zip(self.names, estimates, strict=True)]
            lines.append(f"{name} at equal training loss, together less alone: {', '.join(parts)}.")
            lines.append(f"{name}, its difference against the gap: {self.factor_and_gap(name)}.")
        for name in self.specialised:
            means, halves = self.effect_of(name)
            parts = [
                f"{task} {mean:+.3g}" + ("" if np.isnan(half) else f" ± {half:.2g}")
                for task, mean, half in zip(self.names, means, halves, strict=True)
            ]
            lines.append(f"{name} instead of the joint training: {', '.join(parts)}.")
        return "\n".join(lines)

    def _describe_conflict(self) -> list[str]:
        negative = [entry["negative"] for one in self._records[0] for entry in one.get("conflict", ())]
        if not negative:
            return ["the conflict of gradients was not recorded."]
        share = np.nanmean(np.array(negative, dtype=float))
        return [
            f"gradients of two tasks point against one another in {share:.0%} of the recorded pairs.",
            f"agreement of gradients against the gap at equal training loss: {self.conflict_and_gap}.",
            f"agreement of gradients against the difference of the training losses: {self.conflict_and_fit}.",
        ]

    @property
    def facts(self) -> "DiagnosisFacts":
        """All that the report shows, as plain values."""
        from paretomtl.show.diagnosis.collect import collect_diagnosis

        effects = {name: self.effect_of(name) for name in self.specialised}
        return collect_diagnosis(self.transfers, *self._records, self._describe_conflict(), effects)

    def plot(self, path: str | Path) -> Path:
        """Draw the diagnosis to an .svg, .pdf or .png file, or write it as one offline .html page.

        Its data goes to a .csv beside it.
        """
        from paretomtl.show.plots import plot_diagnosis

        return plot_diagnosis(self.facts, path)


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

    Raises:
        ValueError: a specialised method has a name that cannot be a folder's, or is one of another.
    """
    for name in specialised or {}:
        if check_name(name) in TOGETHER:
            raise ValueError(
                f"specialised has the name {name!r}, which is that of a folder of each diagnosis; give another"
            )
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
    return _compare(together, alone, fronts)


def _compare(joint: Front, alone: Front, specialised: dict[str, Front]) -> Diagnosis:
    """Compare the trainings of each seed.

    Raises:
        ValueError: a training is missing.
    """
    seeds = [point.seed for point in _by_seed(joint)]
    present = {
        "joint": [seeds],
        "alone": [[p.seed for p in points] for points in _own_points(alone)],
        **{name: [[p.seed for p in _by_seed(front)]] for name, front in specialised.items()},
    }
    n = joint.study["seeds"]
    for name, rows in present.items():
        if any(row != seeds or len(row) != n for row in rows):
            raise ValueError(
                f"{name}: not every one of the {n} seeds is trained; call pm.diagnose again with the same "
                "arguments and out= to train the rest"
            )
    transfers = measure_transfer(_read_records(joint), _read_alone(alone), joint.names)
    return Diagnosis(joint, alone, specialised, transfers)


def _read_records(front: Front) -> list[Any]:
    """Return the recordings of a front of one preference, by seed."""
    return [front.recordings(point) for point in _by_seed(front)]


def _read_alone(alone: Front) -> list[list[Any]]:
    """Return for each task the recordings of its own training, by seed."""
    return [[alone.recordings(point) for point in points] for points in _own_points(alone)]


def _own_points(alone: Front) -> list[list[Any]]:
    """Return for each task the points that trained it alone, by seed."""
    return [[point for point in _by_seed(alone) if point.preference[i] == 1] for i in range(len(alone.names))]


def _by_seed(front: Front) -> list[Any]:
    return sorted(front.points, key=lambda point: point.seed)


def _probe(problem: Problem, seed: int) -> list[Any]:
    """Return the first batches of train, always alike; [None] for a problem without data."""
    if problem.deterministic:
        return [None]
    with reproducible():
        reseed(seed_of(seed, 0, OPENING))
        return list(islice(problem.open()["train"], PROBE))

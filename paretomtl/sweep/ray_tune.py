"""Sweeps on Ray Tune, on a laptop or a cluster: the only file that imports ray.

`trainable` is Ray's own road: hand it to a `tune.Tuner` with `param_space={"preference": …}`. `RayTune` is the executor
that `explore` takes: several points a trial, actors reused, one thread a worker, and the same bytes as computed here.
"""

import logging
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from paretomtl.front.store import Store
from paretomtl.preference import normalised
from paretomtl.problem import Problem
from paretomtl.solver import Solver
from paretomtl.sweep.here import Done, Executor, Report, check_seconds, compute
from paretomtl.sweep.interrupt import put_back
from paretomtl.sweep.keeper import InFolder
from paretomtl.training.description import describe
from paretomtl.training.dry_run import resolve_device
from paretomtl.training.study import Job, Study, adam

# Read by ray on import: no usage reports, and no output of its own beside our progress line.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # an interrupt is for `explore` to answer

try:
    import ray
    from ray import tune
except ImportError as error:
    raise ImportError("sweeps on Ray need ray[tune]: pip install 'paretomtl[ray]'") from error

TRIALS_PER_WORKER = 2  # so that a worker which is done early takes work from a slow one


def trainable(
    problem: Problem,
    solver: Solver,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    optimizer: Callable[[Any], Any] = adam,
    seed: int = 0,
    device: str = "cpu",
) -> Callable[[dict[str, Any]], None]:
    """A function for `tune.Tuner` that trains the point of `config["preference"]`.

    It reports `loss/NAME`, `value/NAME`, `control_error` and `status`, with a checkpoint that holds the point's record
    and weights as a front's folder does. A point that fails, on a NaN for one, fails its trial.

    Args:
        problem, solver: what is solved, and how.
        epochs, steps, optimizer, seed, device: as in `explore`.
    """
    m = len(problem.names)
    study = Study(
        problem, solver, np.full((1, m), 1 / m), False, epochs, steps, optimizer, seed, resolve_device(device)
    )
    return tune.with_parameters(_train_preference, study=study)


def _train_preference(config: dict[str, Any], study: Study) -> None:
    names = study.problem.names
    study = replace(study, preferences=normalised(config["preference"], len(names))[None])
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch) / "point")
        store.create(describe(study))
        done = next(compute(study, study.jobs[:1], study.open(), store))
        if done.point.state == "failed":
            raise RuntimeError(f"preference {config['preference']}: {done.point.reason}")
        metrics = {f"loss/{n}": x for n, x in zip(names, done.point.losses["validate"], strict=True)}
        metrics |= {f"value/{n}": x for n, x in zip(names, done.point.values["validate"], strict=True)}
        metrics |= {"control_error": done.point.control_error, "status": done.point.status}
        tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(store.folder))


@dataclass(frozen=True)
class RayTune(Executor):
    """Computes points on Ray; a running Ray is used and left running, else one is started and stopped.

    Args:
        resources: of each worker, in Ray's words: {"cpu": 1, "gpu": 0.25}.
        workers: how many at once; by default as many as the resources allow.
        checkpoint_seconds: of training between two checkpoints, as for `Here`.
    """

    resources: Mapping[str, float] = field(default_factory=lambda: {"cpu": 1})
    workers: int | None = None
    checkpoint_seconds: float = 60.0

    def __post_init__(self):
        check_seconds(self.checkpoint_seconds)

    def run(self, study: Study, jobs: Sequence[Job], store: Store, report: Report) -> None:
        """Compute the jobs, several a trial. The folder must be on storage that all nodes share."""
        ours = not ray.is_initialized()
        if ours:
            with put_back():  # Ray's handler of SIGTERM ends the process, where `explore` would say how to go on
                ray.init(
                    num_cpus=self._cpus(), include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
                )
        try:
            errors = self._fit(study, jobs, store, report)
        finally:
            if ours:
                ray.shutdown()
        computed = {point.id for point in store.read_points([job.id for job in jobs])}
        missing = [job.id for job in jobs if job.id not in computed]
        if missing:
            raise RuntimeError(f"Ray did not compute {', '.join(missing)}: {'; '.join(errors) or 'no reason given'}")

    def _fit(self, study: Study, jobs: Sequence[Job], store: Store, report: Report) -> list[str]:
        folder, workers = store.folder.resolve(), self._workers()
        tasks = [[job.id for job in task] for task in study.tasks(jobs)]
        n = min(len(tasks), TRIALS_PER_WORKER * workers)
        trials = [[id for task in tasks[i::n] for id in task] for i in range(n)]
        with tempfile.TemporaryDirectory(prefix="paretomtl-ray-") as scratch:
            tuner = tune.Tuner(
                tune.with_resources(
                    tune.with_parameters(
                        _train_points, study=study, folder=str(folder), seconds=self.checkpoint_seconds
                    ),
                    dict(self.resources),
                ),
                param_space={"points": tune.grid_search(trials)},
                tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=workers),
                run_config=tune.RunConfig(
                    name="sweep",
                    storage_path=scratch,
                    verbose=0,
                    callbacks=[_Forward(store, report)],
                ),
            )
            return [str(error) for error in tuner.fit().errors]

    def _cpus(self) -> int | None:
        """The CPUs of a Ray that we start: what the workers need, or all of the machine."""
        return None if self.workers is None else math.ceil(self.workers * self.resources.get("cpu", 1))

    def _workers(self) -> int:
        """How many at once; an error where not even one fits, which Ray would wait for without end."""
        there = ray.cluster_resources()
        names = {"cpu": "CPU", "gpu": "GPU"}  # asked for in lower case, counted in upper
        fits = [there.get(names.get(kind, kind), 0) / n for kind, n in self.resources.items() if n > 0]
        if not fits or min(fits) < 1:
            raise ValueError(f"resources={dict(self.resources)}: no worker fits into this Ray, which has {there}")
        return self.workers or int(min(fits))


def _train_points(config: dict[str, Any], study: Study, folder: str, seconds: float) -> None:
    splits, jobs = study.open(), {job.id: job for job in study.jobs}
    store = Store(folder)
    keeper = InFolder(store, seconds)
    for task in study.tasks([jobs[id] for id in config["points"]]):
        for done in compute(study, task, splits, store, keeper=keeper):
            tune.report({"id": done.point.id, "seconds": done.seconds, "host": done.host})


class _Forward(tune.Callback):
    """Tells the driver's progress of each point, as its record appears."""

    def __init__(self, store: Store, report: Report):
        self._store, self._report = store, report

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray writes its callbacks into its scratch folder, where a progress line cannot go

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        del iteration, trials, trial, info
        if "id" not in result:
            return
        points = self._store.read_points([result["id"]])
        if not points:
            raise FileNotFoundError(
                f"{result['host']} wrote the record of {result['id']}, but it is not in {self._store.folder} here; "
                "give an out= on storage that all nodes share"
            )
        self._report(Done(points[0], result["seconds"], result["host"]))

"""The executor that computes points on Ray Tune: on a laptop, a large machine or a cluster, to the same bytes as here.

Several points make a trial, actors are reused, and a worker has one thread. The front's folder is the truth: workers
write their points there, or send them through Ray's storage where the nodes do not share it. Ray's own files are
scratch and never read again. A worker or a node that dies is replaced, and its points go on.
"""

import contextlib
import copy
import json
import logging
import math
import os
import socket
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import torch

from paretomtl.errors import WorkerLostError
from paretomtl.point import Point
from paretomtl.storage.store import Store
from paretomtl.sweep.executor import ComputedPoint, Executor, Report
from paretomtl.sweep.here import check_seconds
from paretomtl.sweep.ray_cluster import (
    Resources,
    check_nodes,
    connect,
    count_workers,
    exceptions,
    first_error_line,
    list_nodes,
    tune,
    wait_for_file,
)
from paretomtl.sweep.ray_worker import DONE, run_trial
from paretomtl.training.numerics import read_numerics
from paretomtl.training.outcome import failed_point, pending_point
from paretomtl.training.seeds import reproducible
from paretomtl.training.study import Job, Study

TRIALS_PER_WORKER = 2  # so that a worker that is done early takes work from a slow one
PATIENCE = 60.0  # seconds without a worker before a warning says that Ray waits for one
RETRIES = 2  # of a trial whose worker or node died
DEATHS = (exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.OutOfMemoryError,
          exceptions.NodeDiedError, exceptions.ObjectLostError)  # fmt: skip


@dataclass(frozen=True)
class RayTune(Executor):
    """Computes points on Ray; a running Ray is used and left running, else one is joined, or started and stopped.

    Args:
        resources: the resources of each worker, in Ray's words: {"cpu": 1, "gpu": 0.25}. A share of a GPU does not
            limit its memory: all workers on a GPU must fit into it.
        workers: the number of workers at once; by default as many as there is room for.
        points_per_trial: the points that a worker takes at once; by default each worker gets two trials.
        address: the address of a cluster, such as "auto" on one of its nodes; by default that in RAY_ADDRESS, or else
            this machine.
        storage_path: where Ray keeps its files, a folder or an address such as "s3://bucket/sweeps". With it, points
            are sent through it, and `out` need not be on storage that the nodes share.
        run_config: a `tune.RunConfig` of your own, for its callbacks, its name and its storage.
        checkpoint_seconds: seconds of training between two checkpoints, from which a point goes on if its worker dies.
    """

    resources: Resources = field(default_factory=lambda: {"cpu": 1})
    workers: int | None = None
    points_per_trial: int | None = None
    address: str | None = None
    storage_path: str | None = None
    run_config: "tune.RunConfig | None" = None
    checkpoint_seconds: float = 60.0

    def __post_init__(self):
        check_seconds(self.checkpoint_seconds)
        for name in ("workers", "points_per_trial"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{name}={value!r}: give a whole number of at least 1, or leave it out")
        wrong = {kind: n for kind, n in self.resources.items() if not (math.isfinite(n) and n >= 0)}
        if wrong or not any(self.resources.values()):
            raise ValueError(f"resources={dict(self.resources)}: give what a worker needs, such as {{'cpu': 1}}")
        if self.run_config is not None and self.run_config.storage_path and self.storage_path:
            raise ValueError(f"storage_path={self.storage_path!r}: run_config has a storage_path as well; give one")

    def device(self, requested: str) -> str:
        """Return the device of the workers, which may have a GPU where this process has none."""
        gpu = self.resources.get("gpu", 0) > 0
        kind = ("cuda" if gpu else "cpu") if requested == "auto" else requested
        if torch.device(kind).type == "cuda" and not gpu:
            raise ValueError(
                f"device={requested!r}, but resources={dict(self.resources)} give a worker no GPU; give it a share, "
                "such as resources={'cpu': 1, 'gpu': 0.5}"
            )
        if torch.device(kind).type == "cpu" and gpu:
            raise ValueError(
                f"resources={dict(self.resources)} give a worker a GPU, which device={requested!r} leaves idle; give "
                "device='cuda'"
            )
        return kind

    def opened(self) -> AbstractContextManager[None]:
        """Connect to Ray, joined or started, for all rounds of a study."""
        return connect(self.address, self.workers, self.resources)

    def run(self, study: Study, jobs: Sequence[Job], store: Store, report: Report) -> None:
        """Compute the jobs, several a trial."""
        tasks, sent = study.tasks(jobs), self._path() is not None
        check_nodes(None if sent else store.folder.resolve(), _count_weight_bytes(study) * len(jobs), self.resources)
        while tasks:
            lost = self._fit(study, tasks, store, report)
            tasks = _remaining_tasks(study, tasks, lost, store, report)
        store.clear_temporary()  # left by workers that died in a write

    def _path(self) -> str | None:
        path = self.storage_path or (self.run_config.storage_path if self.run_config else None)
        return path if path is None or "://" in path else str(Path(path).resolve())

    def _fit(self, study: Study, tasks: list[list[Job]], store: Store, report: Report) -> list["LostTrial"]:
        """Compute all tasks; return the trials whose worker died once too often."""
        sent, forward = self._path() is not None, _Forwarder(store, report, self.resources)
        with tempfile.TemporaryDirectory(prefix="paretomtl-ray-") as scratch, self._quiet():
            function = tune.with_parameters(
                run_trial,
                study=_pack_study(study),
                numerics=read_numerics(),
                description=store.study,
                layout=store.layout,
                folder=None if sent else str(store.folder.resolve()),
                seconds=self.checkpoint_seconds,
            )
            results = tune.Tuner(
                tune.with_resources(function, dict(self.resources)),
                param_space={"points": tune.grid_search(self._split_tasks(tasks))},
                tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=self.workers),
                run_config=self._make_run_config(scratch, forward),
            ).fit()
        forward.on_step_end(0, [])  # an error of the last step
        lost = [LostTrial(result.config["points"], result.error) for result in results if result.error]  # type: ignore[index]
        for trial in lost:
            if not isinstance(trial.error, DEATHS):
                cause = getattr(trial.error, "cause", trial.error)
                raise RuntimeError(
                    f"a worker could not begin: {type(cause).__name__}: {first_error_line(cause)}; what the study "
                    "needs must be importable on all nodes, as with `ray job submit --working-dir`"
                ) from trial.error
        return lost

    def _split_tasks(self, tasks: list[list[Job]]) -> list[list[str]]:
        """Return the points of each trial, in the order in which its worker takes them."""
        if self.points_per_trial is not None:
            trials: list[list[str]] = []
            for task in tasks:
                if not trials or len(trials[-1]) + len(task) > self.points_per_trial:
                    trials.append([])
                trials[-1] += [job.id for job in task]
            return trials
        workers = count_workers(self.resources, list_nodes())
        n = min(len(tasks), TRIALS_PER_WORKER * min(workers, self.workers or workers))
        return [[job.id for task in tasks[i::n] for job in task] for i in range(n)]

    def _make_run_config(self, scratch: str, forward: "_Forwarder") -> "tune.RunConfig":
        config = copy.copy(self.run_config) or tune.RunConfig(verbose=0, failure_config=None)
        config.storage_path = self._path() or scratch
        config.callbacks = [*(config.callbacks or []), forward]
        if not getattr(config.failure_config, "max_failures", 0):
            config.failure_config = tune.FailureConfig(max_failures=RETRIES)
        if config.checkpoint_config is None or config.checkpoint_config.num_to_keep is None:
            config.checkpoint_config = tune.CheckpointConfig(num_to_keep=1)
        return config

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Keep Tune silent and without tables of its own within the context, unless there is a `run_config`."""
        if self.run_config is not None:
            yield
            return
        name, logger = "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", logging.getLogger("ray.tune")
        before, level = os.environ.get(name), logger.level
        os.environ[name] = "1"
        logger.setLevel(logging.CRITICAL)  # we report a worker that died ourselves
        try:
            yield
        finally:
            logger.setLevel(level)
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before


class LostTrial(NamedTuple):
    """A trial that was given up: its points in the worker's order, and the error."""

    points: list[str]
    error: BaseException


def _remaining_tasks(
    study: Study, tasks: list[list[Job]], lost: list[LostTrial], store: Store, report: Report
) -> list[list[Job]]:
    """Return the tasks to compute again, and report the task at which each lost trial was given up as failed."""
    ids = [job.id for task in tasks for job in task]
    done = {point.id for point in store.read_points(ids)}
    left = [todo for task in tasks if (todo := [job for job in task if job.id not in done])]
    why = {id: trial.error for trial in lost for id in [id for id in trial.points if id not in done][:1]}
    if left and (not why or (not done and len(lost) > 1)):
        reasons = "; ".join(dict.fromkeys(_describe_error(error) for error in why.values())) or "it gives no reason"
        raise RuntimeError(
            f"Ray did not compute {', '.join(id for id in ids if id not in done)}: {reasons}. All that was computed "
            f"before is in {store.folder}; start again with the same arguments to go on"
        )
    for task in left:
        for error in (why[job.id] for job in task if job.id in why):
            for job in task:
                point = failed_point(
                    pending_point(study.problem, job), WorkerLostError(_describe_error(error)), None, {}, []
                )
                report(ComputedPoint(store.write_point(point, None), 0.0, socket.gethostname()))
    return [task for task in left if not any(job.id in why for job in task)]


def _describe_error(error: BaseException) -> str:
    if isinstance(error, exceptions.OutOfMemoryError):
        return "oom: Ray ended its worker each time, for the node ran out of memory"
    died = next((line for line in str(error).splitlines() if "died" in line or "dead" in line), first_error_line(error))
    return (
        f"its worker died each time ({type(error).__name__}: {died.strip()}); a process that ends so has often run out "
        "of memory"
    )


def _pack_study(study: Study) -> bytes:
    """Serialise a study for the workers."""
    try:
        return cloudpickle.dumps(study)
    except Exception as error:  # whatever the user's objects raise
        raise TypeError(
            f"the study cannot travel to workers: {first_error_line(error)}; give what holds an open file, a lock or a "
            "connection as a factory, a function that makes it"
        ) from error


def _count_weight_bytes(study: Study) -> int:
    """Return the bytes of a point's weights."""
    with reproducible():
        return sum(t.numel() * t.element_size() for t in study.problem.model().state_dict().values())


class _Forwarder(tune.Callback):
    """Forwards what workers report to the store and the progress line: points, warnings, errors."""

    def __init__(self, store: Store, report: Report, resources: Resources):
        self._store, self._report, self._resources = store, report, resources
        self._reported: set[str] = set()  # each point is reported once, also where its worker died after it was written
        self._error: Exception | None = None
        self._last_run = time.monotonic()  # when a worker was last seen to run

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray writes its callbacks into its scratch folder, where a progress line cannot go

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        del iteration, trials, trial, info
        with self._defer_error():
            if "error" in result:
                where = f"on {result['hostname']}: {result['error']}"
                raise RuntimeError(where) if result["errno"] is None else OSError(result["errno"], where)
            for text in result.get("warnings", ()):
                self._store.log("warning", text=text)
            self._report_points(result.get("points", ()))

    def on_checkpoint(self, iteration: int, trials: list, trial: Any, checkpoint: Any, **info: Any) -> None:
        del iteration, trials, trial, info
        with self._defer_error(), checkpoint.as_directory() as folder:
            self._store.take(Store(folder))
            self._report_points(json.loads((Path(folder) / DONE).read_bytes()))

    @contextlib.contextmanager
    def _defer_error(self) -> Iterator[None]:
        """Defer an error to the end of Tune's step: Tune would log or wrap one from elsewhere."""
        try:
            yield
        except Exception as error:
            self._error = self._error or error

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        del iteration, info
        if self._error is not None:
            raise self._error
        if not trials or any(trial.status == "RUNNING" for trial in trials):
            self._last_run = time.monotonic()
        elif time.monotonic() - self._last_run > PATIENCE:
            self._last_run = math.inf  # once is enough
            text = f"no worker runs: Ray has no room for {dict(self._resources)}, or is slow to start one, and waits"
            self._store.log("warning", text=text)
            warnings.warn(text, stacklevel=2)

    def _report_points(self, done: Sequence[Sequence[Any]]) -> None:
        for id, seconds, host in done:
            if id not in self._reported:
                self._reported.add(id)
                self._report(ComputedPoint(self._read(id, host), seconds, host))

    def _read(self, id: str, host: str) -> Point:
        if wait_for_file(self._store.folder / "points" / f"{id}.json"):
            return self._store.read_points([id])[0]
        raise FileNotFoundError(
            f"{host} wrote the record of {id}, but it is not in {self._store.folder} here; give an out= on storage "
            "that all nodes share"
        )

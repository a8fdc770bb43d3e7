"""Executors: where the points of a study are computed. All have one signature; this one computes them here."""

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

from paretomtl.point import Code, Point
from paretomtl.preflight.dry_run import resolve_device
from paretomtl.storage.store import Store
from paretomtl.sweep.interrupt import hold_interrupt
from paretomtl.sweep.keeper import FolderCheckpointer
from paretomtl.training import memory
from paretomtl.training.checkpoint import Checkpointer
from paretomtl.training.fleet import train_fleet
from paretomtl.training.loop import Splits, TrainedPoint, ray_warnings, train_point
from paretomtl.training.network import LearnedNetwork, NetworkRun, network_id
from paretomtl.training.study import Job, Study


class ComputedPoint(NamedTuple):
    """A point that was computed: where, and in how many seconds."""

    point: Point
    seconds: float
    host: str


Report = Callable[[ComputedPoint | float], None]  # a finished point, or the share of the one in work


class Executor(ABC):
    """Computes points and writes their records and weights to the store."""

    def device(self, asked: str) -> str:
        """The device on which it computes.

        Raises:
            ValueError: it has none such.
        """
        return resolve_device(asked)

    def opened(self) -> AbstractContextManager[None]:
        """What is kept open from the first round of a study to its last."""
        return nullcontext()

    @abstractmethod
    def run(self, study: Study, jobs: Sequence[Job], store: Store, report: Report) -> None:
        """Compute the jobs; each is written by whoever computes it, and then reported."""


@dataclass(frozen=True)
class Here(Executor):
    """One point after the other, in this process.

    Args:
        checkpoint_seconds: of training between two checkpoints, from which a point that was stopped goes on; 0 keeps
            one after every step.
    """

    checkpoint_seconds: float = 60.0

    def __post_init__(self):
        check_seconds(self.checkpoint_seconds)

    def run(self, study: Study, jobs: Sequence[Job], store: Store, report: Report) -> None:
        """Compute the jobs in their order."""
        splits, keeper = study.open(), FolderCheckpointer(store, self.checkpoint_seconds)
        for task in study.tasks(jobs):
            for done in compute(study, task, splits, store, report, keeper):
                report(done)


def check_seconds(seconds: float) -> None:
    """An error where it is no time between two checkpoints."""
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or not 0 <= seconds < float("inf"):
        raise ValueError(f"checkpoint_seconds={seconds!r}: give a number of seconds; 0 keeps one after every step")


def compute(
    study: Study,
    task: Sequence[Job],
    splits: Splits,
    store: Store,
    tick: Callable[[float], None] | None = None,
    keeper: Checkpointer | None = None,
) -> Iterator[ComputedPoint]:
    """Train what is trained together, from its checkpoint if there is one, and write its points."""
    start, out_of_memory = time.perf_counter(), False
    for k, trained in enumerate(_train(study, task, splits, store, tick, keeper), 1):
        with hold_interrupt():
            point = store.write_point(trained.point, trained.weights)
        if keeper is not None and k == len(task):
            keeper.drop(checkpoint_name(study, task))
        out_of_memory |= str(point.reason).startswith(memory.OOM)
        yield ComputedPoint(point, round(time.perf_counter() - start, 3), socket.gethostname())
        start = time.perf_counter()
    if out_of_memory:
        memory.release()


def checkpoint_name(study: Study, task: Sequence[Job]) -> str:
    """Of the checkpoint of what is trained together: the network, or the first point of all that are in it."""
    if study.front_model is not None:
        return network_id(study, task[0].seed)
    return _whole_task(study, task)[0].id


def _whole_task(study: Study, task: Sequence[Job]) -> Sequence[Job]:
    """The whole fleet of which a task is what is left."""
    if study.fleet is None:
        return task
    asked = {job.id for job in task}
    return next(fleet for fleet in study.fleets if asked & {job.id for job in fleet})


def _train(
    study: Study,
    task: Sequence[Job],
    splits: Splits,
    store: Store,
    tick: Callable[[float], None] | None,
    keeper: Checkpointer | None,
) -> Iterator[TrainedPoint]:
    share_of_all = None if tick is None else lambda share: tick(share * len(task))
    if study.fleet is not None:
        asked, fleet = {job.id for job in task}, _whole_task(study, task)
        found = train_fleet(study, fleet, splits, share_of_all, keeper)
        yield from (trained for trained in found if trained.point.id in asked)
        return
    if study.front_model is None:
        for job in task:
            yield train_point(study, job, splits, tick, keeper)
        return
    training = NetworkRun(study, task, splits, share_of_all, keeper)
    learned = _stored_network(study, training, store) or training.learn()
    if isinstance(learned, list):
        yield from learned
        return
    with hold_interrupt():
        digest = store.write_weights(learned.weights)
    for trained in training.points(learned):
        yield trained._replace(point=replace(trained.point, network=digest))


def _stored_network(study: Study, training: NetworkRun, store: Store) -> LearnedNetwork | None:
    """The network of a run that was stopped while its points were measured."""
    for point in store.read_points():
        if point.seed != training.seed or point.network is None or not store.whole(point):
            continue
        weights = store.read_weights(point.network)
        if not training.fits(weights):
            continue
        far = ray_warnings(study.solver, point.control_error or 0.0, Code.SUSPECTED)
        return LearnedNetwork(weights, dict(point.counts), point.warnings[: len(point.warnings) - len(far)])
    return None

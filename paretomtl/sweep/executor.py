"""The contract of an executor, which decides where the points of a study are computed.

An executor groups its jobs by `study.tasks(jobs)`, has `compute_task` compute each task wherever it likes, and reports
every point. The records in the store are the truth; a report only feeds the log and the line of progress.
"""

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import NamedTuple

from paretomtl.point import Code, Point
from paretomtl.preflight.dry_run import resolve_device
from paretomtl.storage.store import Store
from paretomtl.sweep.interrupt import hold_interrupt
from paretomtl.training import memory
from paretomtl.training.batches import Splits
from paretomtl.training.checkpoint import Checkpointer
from paretomtl.training.fleet import train_fleet
from paretomtl.training.loop import train_point
from paretomtl.training.network import LearnedNetwork, NetworkRun, network_id
from paretomtl.training.outcome import TrainedPoint, ray_warnings
from paretomtl.training.study import Job, Study


class ComputedPoint(NamedTuple):
    """A point that was computed: its record, the seconds that it took, and the host."""

    point: Point
    seconds: float
    host: str


Report = Callable[[ComputedPoint | float], None]  # a finished point, or the share of the task in work


class Executor(ABC):
    """Computes the points of a study and writes their records and weights to the store.

    A subclass implements `run`. Whatever the executor, the same study ends with the same bytes, as long as each task is
    computed by `compute_task`. A frozen dataclass is a good executor: its fields are its settings.
    """

    def device(self, requested: str) -> str:
        """Resolve `explore`'s `device=`, such as "auto", to the device on which points are computed.

        Raises:
            ValueError: there is no such device.
        """
        return resolve_device(requested)

    def opened(self) -> AbstractContextManager[None]:
        """Return a context that is entered before the first round of a study and left after the last."""
        return nullcontext()

    @abstractmethod
    def run(self, study: Study, jobs: Sequence[Job], store: Store, report: Report) -> None:
        """Compute the jobs; return when every one has its record in the store.

        A study that refines calls this once a round. An exception ends the sweep; the points that are written by then
        stay, and the next call computes the others.

        Args:
            study: the exploration; it can be pickled by cloudpickle, and so can the store.
            jobs: the points of this round that have no record yet; `study.tasks(jobs)` groups them by what must be
                trained together. Tasks do not depend on one another.
            store: the front's folder; `compute_task` writes to it, and `store.read_points(ids)` reads it back.
            report: to be called with every `ComputedPoint`, in the process and thread that called `run`; a number is
                the share of the task in work, which moves the line of progress.
        """


def compute_task(
    study: Study,
    task: Sequence[Job],
    splits: Splits,
    store: Store,
    tick: Callable[[float], None] | None = None,
    keeper: Checkpointer | None = None,
) -> Iterator[ComputedPoint]:
    """Train one task of a study and write its points; yield each once its record and weights are in the store.

    A point that fails is a point as well: its record has the reason. Only what no point is to blame for is raised, such
    as a full disk.

    Args:
        study: the exploration.
        task: jobs that are trained together, one of `study.tasks(jobs)`.
        splits: the data, from `study.open()`; several tasks can share them.
        store: the front's folder.
        tick: called now and then with the share of the task that is done.
        keeper: keeps checkpoints inside a point, such as `FolderCheckpointer(store, seconds)`; None keeps none.
    """
    start, out_of_memory = time.perf_counter(), False
    for k, trained in enumerate(_train(study, task, splits, store, tick, keeper), 1):
        with hold_interrupt():
            point = store.write_point(*trained)
        if keeper is not None and k == len(task):
            keeper.drop(checkpoint_name(study, task))
        out_of_memory |= str(point.reason).startswith(memory.OOM)
        yield ComputedPoint(point, round(time.perf_counter() - start, 3), socket.gethostname())
        start = time.perf_counter()
    if out_of_memory:
        memory.release()


def checkpoint_name(study: Study, task: Sequence[Job]) -> str:
    """Name a task's checkpoint: by its network, or by the first point of its whole fleet."""
    if study.front_model is not None and task[0].corner is None:
        return network_id(study, task[0].seed)
    return _whole_task(study, task)[0].id


def _whole_task(study: Study, task: Sequence[Job]) -> Sequence[Job]:
    """Return the whole fleet of a task, finished points included."""
    if study.fleet is None:
        return task
    ids = {job.id for job in task}
    return next(fleet for fleet in study.fleets if ids & {job.id for job in fleet})


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
        ids, fleet = {job.id for job in task}, _whole_task(study, task)
        points = train_fleet(study, fleet, splits, share_of_all, keeper)
        yield from (trained for trained in points if trained.point.id in ids)
        return
    if study.front_model is None or task[0].corner is not None:
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
    """Return the network of a run that was stopped while its points were measured; None if there is none."""
    for point in store.read_points():
        if point.seed != training.seed or point.network is None or not store.is_whole(point):
            continue
        weights = store.read_weights(point.network)
        if not training.fits(weights):
            continue
        far = ray_warnings(study.solver, point.control_error or 0.0, Code.TRAINED)
        recordings = None if point.recordings is None else store.read_recordings(point.recordings)
        warnings = point.warnings[: len(point.warnings) - len(far)]
        return LearnedNetwork(weights, dict(point.counts), warnings, recordings)
    return None

"""The worker on Ray: it computes the points of a trial one after the other, and reports them to the driver."""

import json
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cloudpickle

from paretomtl.storage import checkpoints, files
from paretomtl.storage.store import Store
from paretomtl.sweep.executor import ComputedPoint, compute_task
from paretomtl.sweep.keeper import FileCheckpointer, FolderCheckpointer
from paretomtl.sweep.ray_cluster import exceptions, tune
from paretomtl.training.batches import Splits
from paretomtl.training.numerics import Numerics, set_numerics
from paretomtl.training.study import Study

DONE = "done.json"  # file beside the points in a checkpoint: the points of the trial that are computed so far
REPORT_SECONDS = 0.5  # least time between two reports of a worker, for each costs the driver time

_opened: dict[str, tuple[Study, Splits]] = {}  # the last study, so that a reused worker need not open it again


def run_trial(
    config: dict[str, Any],
    study: bytes,
    numerics: Numerics,
    description: Mapping[str, Any],
    layout: int,
    folder: str | None,
    seconds: float,
) -> None:
    """Compute the points of a trial that are not computed yet; an earlier worker may have died at one of them.

    An error of our own, such as a full disk, is reported and not raised, for a retry would not help.
    """
    set_numerics(numerics)  # before anything is unpacked or computed
    try:
        with tempfile.TemporaryDirectory() as scratch:
            sent = Path(scratch) / "front"
            parcel = SharedFolderParcel(Path(folder)) if folder else SentParcel(sent, description, layout)
            _compute(config["points"], *_unpack_study(study), parcel, seconds)
    except exceptions.RayError:
        raise
    except Exception as error:
        tune.report({"error": f"{type(error).__name__}: {error}", "errno": getattr(error, "errno", None)})


def _unpack_study(packed: bytes) -> tuple[Study, Splits]:
    digest = files.sha256(packed)
    if digest not in _opened:
        study = cloudpickle.loads(packed)
        _opened.clear()
        _opened[digest] = (study, study.open())
    return _opened[digest]


def _compute(ids: Sequence[str], study: Study, splits: Splits, parcel: "SharedFolderParcel", seconds: float) -> None:
    jobs, done = {job.id: job for job in study.jobs}, parcel.restore(ids)
    keeper = parcel.make_keeper(seconds)
    for task in study.tasks([jobs[id] for id in ids if id not in done]):
        for computed in compute_task(study, task, splits, parcel.store, keeper=keeper):
            parcel.add(computed)
    parcel.report()


class SharedFolderParcel:
    """The points that a worker has computed and reports; their files are in the front's folder, which both see."""

    def __init__(self, folder: Path):
        self.store = Store(folder)
        self.done: list[list[Any]] = []  # id, seconds, host of each computed point of the trial
        self._warnings: list[str] = []
        self._reported, self._last = 0, time.monotonic()

    def restore(self, ids: Sequence[str]) -> list[str]:
        """Take up the points of a trial that an earlier worker has computed, and return their ids."""
        host = socket.gethostname()
        self.done = [[p.id, 0.0, host] for p in self.store.read_points(ids) if self.store.is_whole(p)]
        return [id for id, _, _ in self.done]

    def make_keeper(self, seconds: float) -> FileCheckpointer:
        """Make a keeper of checkpoints for trainings in the middle."""
        return _SharedCheckpointer(self, seconds)

    def add(self, computed: ComputedPoint) -> None:
        """Add a point, and report if it is time."""
        self.done.append([computed.point.id, computed.seconds, computed.host])
        if time.monotonic() - self._last >= REPORT_SECONDS:
            self.report()

    def report(self) -> None:
        """Report the points since the last report to the driver."""
        tune.report(self._take_news())
        self._last = time.monotonic()

    def _take_news(self) -> dict[str, Any]:
        news = {"points": self.done[self._reported :], "warnings": self._warnings}
        self._reported, self._warnings = len(self.done), []
        return news

    def warn(self, text: str) -> None:
        """Send a warning to the driver, which alone writes the log."""
        self._warnings.append(text)


class _SharedCheckpointer(FolderCheckpointer):
    """Checkpoints in the front's folder."""

    def __init__(self, parcel: SharedFolderParcel, seconds: float):
        super().__init__(parcel.store, seconds)
        self.warn = parcel.warn


class SentParcel(SharedFolderParcel):
    """The same where the driver does not see the files: they are sent through Ray's storage, as its checkpoints.

    Args:
        folder: a new folder for files that are not sent yet.
        description: the description of the study.
        layout: the schema of its front's folder.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any], layout: int):
        super().__init__(folder)
        self.store.create(description, layout=layout)
        self.before = folder.with_name("before")  # the last checkpoint of an earlier worker

    def restore(self, ids: Sequence[str]) -> list[str]:
        """Take up the points of a trial that an earlier worker has sent, and return their ids."""
        del ids
        checkpoint = tune.get_checkpoint()
        if checkpoint is not None:
            checkpoint.to_directory(self.before)
            self.done = json.loads((self.before / DONE).read_bytes())
        return [id for id, _, _ in self.done]

    def make_keeper(self, seconds: float) -> FileCheckpointer:
        """Make a keeper of checkpoints for trainings in the middle."""
        return _SentCheckpointer(self, seconds)

    def report(self) -> None:
        """Send the points since the last report in one checkpoint of Ray's, which replaces the previous one."""
        (self.store.folder / DONE).write_text(json.dumps(self.done))
        tune.report(self._take_news() | {"points": []}, checkpoint=tune.Checkpoint.from_directory(self.store.folder))
        for path in self.store.folder.glob("*/*"):
            path.unlink()
        self._last = time.monotonic()


class _SentCheckpointer(FileCheckpointer):
    """Checkpoints that are sent with the reports."""

    def __init__(self, parcel: SentParcel, seconds: float):
        super().__init__(parcel.store, seconds)
        self._parcel, self.warn = parcel, parcel.warn

    def put(self, name: str, files: dict[str, bytes]) -> None:
        """Send the files at once."""
        folder = self.store.folder / checkpoints.PART
        folder.mkdir(exist_ok=True)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        self._parcel.report()

    def get(self, file: str, most: int) -> bytes:
        """Read a file of the last checkpoint of an earlier worker."""
        return checkpoints.make_reader(self._parcel.before / checkpoints.PART)(file, most)

    def drop(self, name: str) -> None:
        """Do nothing: the next report goes without the checkpoint."""

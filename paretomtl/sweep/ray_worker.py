"""What a worker on Ray does: the points of a trial, one after the other, and what it tells the driver of them."""

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
from paretomtl.sweep.here import ComputedPoint, compute
from paretomtl.sweep.keeper import FileCheckpointer, FolderCheckpointer
from paretomtl.sweep.ray_cluster import exceptions, tune
from paretomtl.training.batches import Splits
from paretomtl.training.study import Study

DONE = "done.json"  # beside the points in a checkpoint: which a trial has computed so far
OFTEN = 0.5  # seconds between two reports of a worker, each of which costs it the driver's attention

_opened: dict[str, tuple[Study, Splits]] = {}  # the last study, which a worker that is used again need not open anew


def run_trial(
    config: dict[str, Any], study: bytes, description: Mapping[str, Any], folder: str | None, seconds: float
) -> None:
    """Compute the points of a trial that nobody has computed yet, as where an earlier worker died at one of them.

    What is wrong with our own work, such as a full disk, is reported and not raised: to try again would not help.
    """
    try:
        with tempfile.TemporaryDirectory() as scratch:
            parcel = SharedFolderParcel(Path(folder)) if folder else SentParcel(Path(scratch) / "front", description)
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
    jobs, there = {job.id: job for job in study.jobs}, parcel.there(ids)
    keeper = parcel.keeper(seconds)
    for task in study.tasks([jobs[id] for id in ids if id not in there]):
        for done in compute(study, task, splits, parcel.store, keeper=keeper):
            parcel.add(done)
    parcel.report()


class SharedFolderParcel:
    """What a worker has computed, and tells the driver of; its files are in the front's folder, which both see."""

    def __init__(self, folder: Path):
        self.store = Store(folder)
        self.done: list[list[Any]] = []  # id, seconds, host: of all points of the trial
        self._warnings: list[str] = []
        self._reported, self._last = 0, time.monotonic()

    def there(self, ids: Sequence[str]) -> list[str]:
        """Points of a trial that an earlier worker has computed."""
        host = socket.gethostname()
        self.done = [[p.id, 0.0, host] for p in self.store.read_points(ids) if self.store.whole(p)]
        return [id for id, _, _ in self.done]

    def keeper(self, seconds: float) -> FileCheckpointer:
        """Of checkpoints inside a point."""
        return _SharedCheckpointer(self, seconds)

    def add(self, done: ComputedPoint) -> None:
        """Take a point, and report if it is time."""
        self.done.append([done.point.id, done.seconds, done.host])
        if time.monotonic() - self._last >= OFTEN:
            self.report()

    def report(self) -> None:
        """Tell the driver of what was computed since the last time."""
        tune.report(self._news())
        self._last = time.monotonic()

    def _news(self) -> dict[str, Any]:
        news = {"points": self.done[self._reported :], "warnings": self._warnings}
        self._reported, self._warnings = len(self.done), []
        return news

    def warn(self, text: str) -> None:
        """Have the driver say it, which alone writes the log."""
        self._warnings.append(text)


class _SharedCheckpointer(FolderCheckpointer):
    """Checkpoints in the front's folder."""

    def __init__(self, parcel: SharedFolderParcel, seconds: float):
        super().__init__(parcel.store, seconds)
        self.warn = parcel.warn


class SentParcel(SharedFolderParcel):
    """The same where the driver does not see the files: they are sent through Ray's storage, as its checkpoints.

    Args:
        folder: a new one, for what is not sent yet.
        description: of the study.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]):
        super().__init__(folder)
        self.store.create(description)
        self.before = folder.with_name("before")  # what an earlier worker sent last

    def there(self, ids: Sequence[str]) -> list[str]:
        """Points of a trial that an earlier worker has sent."""
        del ids
        checkpoint = tune.get_checkpoint()
        if checkpoint is not None:
            checkpoint.to_directory(self.before)
            self.done = json.loads((self.before / DONE).read_bytes())
        return [id for id, _, _ in self.done]

    def keeper(self, seconds: float) -> FileCheckpointer:
        """Of checkpoints inside a point."""
        return _SentCheckpointer(self, seconds)

    def report(self) -> None:
        """Send what was computed since the last time, all in one checkpoint of Ray's, which replaces the one before."""
        (self.store.folder / DONE).write_text(json.dumps(self.done))
        tune.report(self._news() | {"points": []}, checkpoint=tune.Checkpoint.from_directory(self.store.folder))
        for path in self.store.folder.glob("*/*"):
            path.unlink()
        self._last = time.monotonic()


class _SentCheckpointer(FileCheckpointer):
    """Checkpoints that are sent with what is reported."""

    def __init__(self, parcel: SentParcel, seconds: float):
        super().__init__(parcel.store, seconds)
        self._parcel, self.warn = parcel, parcel.warn

    def put(self, name: str, files: dict[str, bytes]) -> None:
        """Send them at once."""
        folder = self.store.folder / checkpoints.PART
        folder.mkdir(exist_ok=True)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        self._parcel.report()

    def get(self, file: str, most: int) -> bytes:
        """From what an earlier worker sent last."""
        return checkpoints.reader_of(self._parcel.before / checkpoints.PART)(file, most)

    def drop(self, name: str) -> None:
        """The next report goes without it."""

"""A front's folder: one record a point, written once by whoever computed it, and files derived from the records.

    study.json                      the request; written once, before the first point
    points/<id>.json                one point; the truth
    weights/<sha256>.safetensors    weights, under their hash
    front.json  points.csv          derived; without times, so equal runs are equal bytes
    log.jsonl                       times, hosts, warnings
    checkpoints/                    unfinished training, see `checkpoints.py`; removed when the front is complete

Writes are atomic, JSON is sealed by its own hash, nothing is ever unpickled, no link is followed, and all paths are
relative, so the folder can be moved.
"""

import errno
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretomtl.errors import DamagedFileError, escape_controls
from paretomtl.point import Point
from paretomtl.storage import files, schema, table
from paretomtl.storage.files import check_name
from paretomtl.storage.log import append_line
from paretomtl.storage.weight_files import expected_size, serialise

if TYPE_CHECKING:
    from torch import Tensor

MOST_BYTES = {
    "study": 2**27, "front": 2**27, "record": 2**24, "table": 2**28, "log": 2**28,
    "checkpoint": 2**27, "recordings": 2**28,
}  # fmt: skip
PARTS = ("points", "weights")
RECORDINGS = "recordings"  # a folder only where there are some
# in a front's folder
NAMES = {*PARTS, RECORDINGS, "checkpoints", "study.json", "front.json", "points.csv", "log.jsonl"}


class TemporaryFolder:
    """A temporary folder that is removed with the last front that uses it."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="paretomtl-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


class Store:
    """The files of one front.

    Args:
        folder: the front's folder; it need not exist yet.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.damage: list[str] = []  # damage that reading could work around

    # --- the study ---

    def holds_front(self) -> bool:
        """Whether the folder holds a front, complete or not."""
        return any(os.path.lexists(self.folder / f"{name}.json") for name in ("study", "front")) or any(
            self.folder.glob("points/*.json")
        )

    def list_foreign(self) -> list[str]:
        """List what the folder holds besides parts of a front; hidden files do not count."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        return sorted(name for name in names if name not in NAMES and not name.startswith("."))

    def create(
        self, study: Mapping[str, Any], command: Mapping[str, Any] | None = None, layout: int = schema.SCHEMA
    ) -> None:
        """Make the folder and write study.json; the folder must not hold a front yet.

        Args:
            study: the request; see `paretomtl.storage.schema`.
            command: the command line that started the study, for `paretomtl resume`.
            layout: the schema of the files; an older one for points of a folder that is of it.

        Raises:
            ValueError: the study could not be read again, such as one of too many points.
            OSError: the folder holds a front already, or cannot be written.
        """
        check_name(self.folder.resolve().name if self.folder.name in ("", ".", "..") else self.folder.name)
        if self.holds_front():
            raise FileExistsError(
                f"out={str(self.folder)!r} already holds a front; give a new folder, or move that one away"
            )
        schema.check_study(study)
        try:
            for part in PARTS:
                (self.folder / part).mkdir(parents=True, exist_ok=True)
                self.part(part)
            self.layout = layout
            self._write_study(study, command, version("paretomtl"), new=True)
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise _folder_error(error, self.folder) from error
        except OSError as error:
            if error.errno == errno.EROFS:
                raise _folder_error(error, self.folder) from error
            raise

    def _write_study(
        self, study: Mapping[str, Any], command: Mapping[str, Any] | None, by: str, new: bool = False
    ) -> None:
        head = {"schema": self.layout, "version": by, "id": schema.study_id(study, self.layout)}
        files.write(self.folder / "study.json", files.seal_json(head | {"study": dict(study), "command": command}), new)

    def grow(self, study: Mapping[str, Any], command: Mapping[str, Any] | None) -> None:
        """Write study.json anew, for a study that has grown; the records that are there belong to it as well.

        Args:
            study: the grown study.
            command: the command line that asked for it; None if it was Python.

        Raises:
            ValueError: the study has changed in what cannot grow, or the folder is of an older schema.
        """
        if self.schema < schema.SCHEMA:
            raise ValueError(
                f"{self.folder} is of schema {self.schema}, in which a study cannot grow; run `paretomtl migrate "
                f"{self.folder}` first"
            )
        schema.check_study(study)
        if schema.study_id(study) != self.id:
            raise ValueError(f"{self.folder} holds the study {self.id}, and this is {schema.study_id(study)}")
        self._write_study(study, command, self._version)
        del self._head

    @cached_property
    def _head(self) -> dict[str, Any]:
        """Content of study.json; or of front.json, where study.json is damaged or the version had none."""
        if self.folder.is_file():
            raise _file_error(self.folder)
        first_error: Exception | None = None
        for name in ("study", "front"):
            path = self.folder / f"{name}.json"
            try:
                head = self.read_head(name)
            except FileNotFoundError:
                continue
            except (DamagedFileError, OSError) as error:
                first_error = first_error or error
                continue
            if first_error is not None:
                self.damage.append(f"{self.relative_message(first_error)}; {path.name} was read in its place")
            return head
        if first_error is not None:
            raise first_error
        raise FileNotFoundError(f"{self.folder} holds no front (there is no front.json in it)")

    def read_head(self, name: str) -> dict[str, Any]:
        """Read the file "study" or "front", checked, with its study in the present schema.

        Raises:
            ValueError, OSError: the file cannot be read, or a later version wrote it.
        """
        path = self.folder / f"{name}.json"
        content = schema.open_json(files.read(path, MOST_BYTES[name]), path)
        if name == "study" and content["schema"] == 1:
            raise DamagedFileError(f"{path} is damaged: schema 1 had no such file")
        return {"command": None, **content, "study": schema.read_study(content, path)}

    def described_by(self, study: Mapping[str, Any]) -> "Store":
        """Return a store of the same folder whose study is `study`, to write the folder's files anew."""
        schema.check_study(study)
        other = Store(self.folder)
        other._head = {**self._head, "study": dict(study)}
        return other

    def write_study(self) -> None:
        """Write study.json anew."""
        self._write_study(self.study, self.command, self._version)

    @property
    def _version(self) -> str:
        """The version of paretomtl that began the folder, so that a later one ends at the same bytes.

        A folder that is migrated is written anew as a whole, by this version.
        """
        return self._head["version"] if self.schema == self.layout else version("paretomtl")

    @property
    def study(self) -> dict[str, Any]:
        """The study, as requested."""
        return self._head["study"]

    @property
    def command(self) -> Mapping[str, Any] | None:
        """The command line that started the study; None if it was started from Python."""
        return self._head["command"]

    @property
    def schema(self) -> int:
        """Schema of the file that the study was read from."""
        return self._head["schema"]

    @cached_property
    def layout(self) -> int:
        """Schema of the files that are written: the folder's own, so that it ends at the bytes that it began for."""
        return self.schema if self.schema > 1 else schema.SCHEMA

    @cached_property
    def id(self) -> str:
        """Id of the study."""
        return schema.study_id(self.study, self.layout)

    @cached_property
    def names(self) -> list[str]:
        """Names of the objectives."""
        return [o["name"] for o in self.study["objectives"]]

    # --- points ---

    def write_point(
        self,
        point: Point,
        weights: Mapping[str, "Tensor"] | None,
        recordings: Mapping[str, Any] | None = None,
    ) -> Point:
        """Write a point's weights and recordings, if any, then its record; return the point with their hashes."""
        path = self.part("points") / f"{check_name(point.id)}.json"
        data = None if weights is None else serialise(weights)
        if data is not None:
            point = replace(point, weights=files.sha256(data))
        records = None if recordings is None else files.encode_json(recordings)
        if records is not None:
            point = replace(point, recordings=files.sha256(records))
        record = files.seal_json(
            schema.to_record(point, self.names, self.id, self.layout)
        )  # raises before anything is written
        if data is not None:
            self._write_weights(data)
        if records is not None:
            self.part(RECORDINGS).mkdir(exist_ok=True)
            files.write(self.part(RECORDINGS) / f"{point.recordings}.json", records)
        files.write(path, record)
        return point

    def write_weights(self, weights: Mapping[str, "Tensor"]) -> str:
        """Write weights that several points share; return their hash."""
        return self._write_weights(serialise(weights))

    def _write_weights(self, data: bytes) -> str:
        digest = files.sha256(data)
        files.write(self.part("weights") / f"{digest}.safetensors", data)
        return digest

    def take(self, other: "Store") -> None:
        """Copy the points of another folder of this study, byte for byte, with all its weights.

        Raises:
            ValueError, OSError: a file is damaged, or belongs to another study.
        """
        for path in sorted((other.folder / "weights").glob("*.safetensors")):
            self._copy_file(other.check_weights(path.stem))
        for point in other.read_points():
            if point.state == "corrupt":
                raise DamagedFileError(str(point.reason))
            if point.recordings is not None:
                other.read_recordings(point.recordings)  # raises if it is damaged
                self._copy_file(other.folder / RECORDINGS / f"{point.recordings}.json")
            self._copy_file(other.folder / "points" / f"{point.id}.json")

    def _copy_file(self, path: Path) -> None:
        """Copy a file of another folder to its place in this one."""
        self.part(path.parent.name).mkdir(exist_ok=True)
        files.write(self.part(path.parent.name) / path.name, files.read(path, path.stat().st_size))

    def read_points(self, ids: Sequence[str] | None = None) -> list[Point]:
        """Read the study's points (or those of these ids) that have a record, in the study's order.

        A point whose record is damaged is "corrupt", with the reason.
        """
        entries = [point for point in self.study["points"] if ids is None or point["id"] in ids]
        points = [self._read_point(point) for point in entries]
        return [point for point in points if point is not None]

    def _read_point(self, entry: Mapping[str, Any]) -> Point | None:
        path = self.folder / "points" / f"{check_name(entry['id'])}.json"
        try:
            path = self.part("points") / path.name
            record = schema.open_json(files.read(path, MOST_BYTES["record"]), path)
            if record["schema"] < self.schema == schema.SCHEMA:
                raise DamagedFileError(f"{path} is of schema {record['schema']}, the front of schema {self.schema}")
            id = self.id if record["schema"] == self.layout else schema.study_id(self.study, record["schema"])
            return schema.read_record(record, entry, self.names, self.study["splits"], id, path)
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            preference = tuple(map(float, entry["preference"] or ()))
            reason = self.relative_message(error)
            return Point(entry["id"], preference, entry["corner"], "corrupt", reason=reason, seed=entry["seed"])

    def relative_message(self, error: Exception) -> str:
        """Return an error's message with its paths relative to the folder."""
        return str(error).replace(f"{self.folder}{os.sep}", "")

    def read_weights(self, digest: str) -> dict[str, "Tensor"]:
        """Load weights by their hash, which is checked before anything is loaded.

        Raises:
            ValueError, OSError: the weights are missing or damaged.
        """
        from safetensors.torch import load_file

        path = self.check_weights(digest)
        try:
            weights = load_file(path)
        except Exception as error:  # SafetensorError and others; the hash holds, so such weights were never ours
            raise DamagedFileError(
                f"{path} holds no weights that can be loaded: {escape_controls(str(error))}"
            ) from error
        return dict(sorted(weights.items()))  # safetensors returns them in a new order at each call

    def check_weights(self, digest: str) -> Path:
        """Return the file of these weights, if it is as it was written.

        Raises:
            ValueError, OSError: the file is missing or damaged.
        """
        path = self.part("weights") / f"{check_name(digest)}.safetensors"
        with files.open_file(path) as file:
            expected, size = expected_size(file), os.fstat(file.fileno()).st_size
        if size != expected:  # checked first: hashing a file of absurd size would take hours
            fault = "has no header of safetensors" if expected is None else f"has {size:,} bytes, not {expected:,}"
            raise DamagedFileError(f"{path} {fault}; the file is damaged")
        actual = files.hash_file(path)
        if actual != digest:
            raise DamagedFileError(f"{path}: its SHA-256 is {actual[:12]}…, not {digest[:12]}…; the file is damaged")
        return path

    def read_recordings(self, digest: str) -> dict[str, list[dict[str, Any]]]:
        """Read what was recorded of a training, by its hash.

        Raises:
            ValueError, OSError: the file is missing or damaged.
        """
        path = self.part(RECORDINGS) / f"{check_name(digest)}.json"
        data = files.read(path, MOST_BYTES["recordings"])
        if files.sha256(data) != digest:
            raise DamagedFileError(f"{path}: its SHA-256 is not that of its name; the file is damaged")
        return files.parse_json(data, path)

    def is_whole(self, point: Point) -> bool:
        """Whether a point needs no more work: its record and its weights are as they were written."""
        if point.state == "corrupt":
            return False
        try:
            for digest in weight_hashes(point):
                self.check_weights(digest)
            if point.recordings is not None:
                self.read_recordings(point.recordings)
        except (OSError, ValueError):
            return False
        return True

    # --- derived files, and the log ---

    def derive_files(self, points: Sequence[Point]) -> dict[str, bytes]:
        """Derive front.json and points.csv from the study and the records."""
        states = {point["id"]: "absent" for point in self.study["points"]} | {p.id: p.state for p in points}
        rows = table.format_csv(points, self.names).encode()
        records = {f"points/{p.id}.json": self.folder / "points" / f"{p.id}.json" for p in points if _has_record(p)}
        checksums = {name: files.hash_file(path) for name, path in records.items()}
        head = {"schema": self.layout, "version": self._version, "id": self.id, "study": self.study}
        front = head | {"states": states, "checksums": checksums | {"points.csv": files.sha256(rows)}}
        return {"points.csv": rows, "front.json": files.seal_json(front)}

    def write_front(self, points: Sequence[Point]) -> None:
        """Write front.json and points.csv."""
        for name, data in self.derive_files([p for p in points if _has_record(p)]).items():
            files.write(self.folder / name, data)

    def restore(self, command: Mapping[str, Any] | None = None) -> None:
        """Prepare the folder for more points: make missing folders, restore study.json, remove leftovers of kills.

        Args:
            command: the command line for study.json, where the folder has lost it.
        """
        for part in PARTS:
            self.part(part).mkdir(exist_ok=True)
        path = self.folder / "study.json"
        head = self._head  # read from front.json if need be
        if self.damage or not path.exists() or head["schema"] < self.layout:
            self._write_study(head["study"], head["command"] or command, self._version)
        self.clear_temporary()

    def clear_temporary(self) -> None:
        """Remove the temporary files of writes that were killed on this machine."""
        for part in (self.folder, *map(self.part, (*PARTS, RECORDINGS))):
            if part.is_dir():
                files.clear_temporary(part)

    def log(self, event: str, **facts: Any) -> None:
        """Add a line to log.jsonl; each line holds the beginning of its own SHA-256."""
        append_line(self.folder / "log.jsonl", {"time": round(time.time(), 3), "event": event, **facts})

    def part(self, name: str) -> Path:
        """Return a subfolder; it must not be a link, which could lead out."""
        path = self.folder / name
        if path.is_symlink():
            raise DamagedFileError(f"{path} is a link, which is not followed")
        return path


def weight_hashes(point: Point) -> list[str]:
    """Return the hashes of the weights that a point needs."""
    return [digest for digest in (point.weights, point.network) if digest is not None]


def _has_record(point: Point) -> bool:
    return point.state != "corrupt"


def _file_error(path: Path) -> NotADirectoryError:
    remedy = (
        f"give a front's folder; a table of losses is read in Python: pm.Front.from_csv({str(path)!r}, ref_point=…)"
    )
    if Store(path.parent).holds_front():
        remedy = f"give its folder, {path.parent}"
    return NotADirectoryError(f"{path} is a file; {remedy}")


def _folder_error(error: OSError, folder: Path) -> OSError:
    why = os.strerror(error.errno or 0)  # error.strerror may be a whole message of ours
    return type(error)(error.errno, f"out={str(folder)!r} cannot be written ({why}); give another folder")

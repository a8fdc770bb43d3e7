"""A front's folder: one record a point, written once by whoever computed it, and what is derived from the records.

    points/<id>.json                one point; the truth
    weights/<sha256>.safetensors    its weights, under their hash
    front.json  points.csv          derived; no times, so equal runs are equal bytes
    log.jsonl                       times, hosts, warnings

Writes are atomic. Nothing in the folder is ever unpickled, and every path is relative, so the folder can be moved.
"""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from paretomtl.point import Point

SCHEMA = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}
BY_OBJECTIVE = ("losses", "values")  # the fields of a record that are {split: {objective: number}}


def check_name(name: str) -> str:
    """A name that is safe as a file's on every system, or an error."""
    if not NAME.fullmatch(name) or name.split(".")[0].lower() in DEVICES or name.endswith("."):
        raise ValueError(
            f"name {name[:120]!r}: use 1 to 100 letters, digits, '.', '_' or '-', starting with a letter or digit, "
            "and no name of a Windows device"
        )
    return name


class Scratch:
    """A temporary folder that goes when the last front on it does."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="paretomtl-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


class Store:
    """The files of one front.

    Args:
        folder: where it is, or will be.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def create(self) -> None:
        """Make the folder; it must not hold a front yet."""
        check_name(self.folder.resolve().name if self.folder.name in ("", ".", "..") else self.folder.name)
        if (self.folder / "front.json").exists() or any(self.folder.glob("points/*.json")):
            raise FileExistsError(
                f"out={str(self.folder)!r} already holds a front; give a new folder, or move that one away"
            )
        for part in ("points", "weights"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)

    def write_point(self, point: Point, weights: Mapping[str, Tensor] | None, names: Sequence[str]) -> Point:
        """Write a point's weights, then its record; the point, with the hash of its weights."""
        path = self.folder / "points" / f"{check_name(point.id)}.json"
        if weights is not None:
            data = _serialised(weights)
            digest = hashlib.sha256(data).hexdigest()
            _write(self.folder / "weights" / f"{digest}.safetensors", data)
            point = replace(point, weights=digest)
        _write(path, _json(_record(point, names)))
        return point

    def read_points(self, names: Sequence[str], ids: Sequence[str]) -> list[Point]:
        """The points of these ids that have a record, in the order of the ids."""
        paths = [(self.folder / "points" / f"{check_name(id)}.json") for id in ids]
        return [_point(_read(path), names, path) for path in paths if path.exists()]

    def read_weights(self, digest: str) -> dict[str, Tensor]:
        """Weights by their hash, which is checked."""
        from safetensors.torch import load

        path = self.folder / "weights" / f"{check_name(digest)}.safetensors"
        data = path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise ValueError(f"{path}: its SHA-256 is {found[:12]}…, not {digest[:12]}…; the file is damaged")
        return dict(sorted(load(data).items()))  # safetensors gives them in an order of its own, new at each call

    def write_front(self, study: Mapping[str, Any], points: Sequence[Point]) -> None:
        """Write front.json and points.csv from the study's description and the records."""
        names = [o["name"] for o in study["objectives"]]
        states = dict.fromkeys(study["points"], "absent") | {p.id: p.state for p in points}
        checksums = {
            f"points/{p.id}.json": hashlib.sha256((self.folder / "points" / f"{p.id}.json").read_bytes()).hexdigest()
            for p in points
        }
        _write(self.folder / "points.csv", _csv(points, names).encode())
        front = {"schema": SCHEMA, "study": dict(study), "states": states, "checksums": checksums}
        _write(self.folder / "front.json", _json(front))

    def read_front(self) -> dict[str, Any]:
        """front.json, checked to be one of ours."""
        path = self.folder / "front.json"
        if not path.exists():
            raise FileNotFoundError(f"{self.folder} holds no front (there is no front.json in it)")
        return _read(path)

    def log(self, event: str, **facts: Any) -> None:
        """Add a line to log.jsonl."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}, sort_keys=True)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(line + "\n")


def _record(point: Point, names: Sequence[str]) -> dict[str, Any]:
    """A point as a record: numbers under the names of their objectives, so that it can be read alone."""
    record = {"schema": SCHEMA, **asdict(point)}
    record["preference"] = dict(zip(names, point.preference, strict=True))
    for part in BY_OBJECTIVE:
        record[part] = {s: dict(zip(names, numbers, strict=True)) for s, numbers in record[part].items()}
    return record


def _point(record: dict[str, Any], names: Sequence[str], path: Path) -> Point:
    try:
        fields = {key: value for key, value in record.items() if key != "schema"}
        fields["preference"] = tuple(record["preference"][name] for name in names)
        for part in BY_OBJECTIVE:
            fields[part] = {s: tuple(numbers[name] for name in names) for s, numbers in record[part].items()}
        fields["warnings"] = tuple(record["warnings"])
        return Point(**fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a point's record ({type(error).__name__}: {error})") from error


def _serialised(weights: Mapping[str, Tensor]) -> bytes:
    """Weights as bytes; tied weights are written once a name, which loads as it was."""
    from safetensors.torch import save

    return save({name: weights[name].detach().cpu().contiguous().clone() for name in sorted(weights)})


def _csv(points: Sequence[Point], names: Sequence[str]) -> str:
    """One row a point. Texts that a spreadsheet would run as a formula get a leading apostrophe."""
    splits = sorted({split for p in points for split in p.losses}, reverse=True)
    columns = ["id", "corner", "state", *(f"preference {n}" for n in names)]
    columns += [f"{part} {split} {n}" for part in ("loss", "value") for split in splits for n in names]
    columns += ["control_error", "status", "reason", "weights"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([plain(column) for column in columns])
    nothing = ("",) * len(names)
    for p in points:
        numbers = [n for part in (p.losses, p.values) for split in splits for n in part.get(split, nothing)]
        texts = [p.status, p.reason, p.weights]
        row = [p.id, p.corner, p.state, *p.preference, *numbers, p.control_error, *texts]
        writer.writerow(["" if cell is None else plain(cell) if isinstance(cell, str) else cell for cell in row])
    return out.getvalue()


def plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # csv leaves a bare carriage return unquoted
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\n")) else text


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _read(path: Path) -> dict[str, Any]:
    """A file of ours: front.json or a record."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path}: schema {schema!r}; this version of paretomtl reads schema {SCHEMA}")
    return found


def _refused(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _write(path: Path, data: bytes) -> None:
    """All of the file or nothing of it, also when the machine stops in between."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""A check that every file of a front is as it was written; it names each other file, with the reason."""

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from paretomtl.point import Point
from paretomtl.storage import checkpoints, files, schema
from paretomtl.storage.log import log_line
from paretomtl.storage.store import MOST_BYTES, PARTS, RECORDINGS, Store, weight_hashes

PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".npy", ".npz"}
MOST_LINE_BYTES = 2**24  # of the log, whose facts are texts and numbers
FILES_LISTED = 5  # the most damaged lines of the log in a message


class Verdict(NamedTuple):
    """The result of `verify`; files are named within the folder.

    folder: the folder that was checked.
    damaged: file -> what is wrong with it.
    absent: points without a record; `resume` computes them.
    stale: whether front.json and points.csv are older than the records, as after a kill; `resume` rewrites them.
    foreign: file -> why it is ignored; such files are not part of the front.
    """

    folder: str
    damaged: dict[str, str]
    absent: tuple[str, ...]
    stale: bool
    foreign: dict[str, str]

    def __str__(self) -> str:
        """Format one line a finding, and a summary."""
        lines = [f"damaged: {name}: {_strip_name(name, why)}" for name, why in self.damaged.items()]
        lines += [f"ignored: {name}: {why}" for name, why in self.foreign.items()]
        if self.absent:
            lines.append(f"not computed yet: {', '.join(self.absent)}")
        if self.stale:
            lines.append("front.json is older than the records; resume (or migrate, if that was stopped) writes it")
        if self.damaged:
            lines.append(f"{len(self.damaged)} damaged; the other files are as they were written")
        else:
            lines.append("every file is as it was written")
        return "\n".join(lines)


def _strip_name(name: str, why: str) -> str:
    """Return a reason without the file's name at its beginning."""
    return why.removeprefix(f"{name} is damaged: ").removeprefix(f"{name}: ")


def verify(folder: str | Path) -> Verdict:
    """Check a front's folder; this only reads, and runs nothing from the folder.

    Raises:
        FileNotFoundError: the folder holds no front.
        ValueError: neither study.json nor front.json can be read, or a later version wrote them.
    """
    store = Store(folder)
    study = store.study  # from either of two files; without it no other file can be checked
    damaged: dict[str, str] = {}
    study_head = _read_head(store, "study", damaged)
    front = _read_head(store, "front", damaged)
    if store.schema > 1 and not os.path.lexists(store.folder / "study.json"):
        damaged["study.json"] = "missing"
    points = {p.id: p for p in store.read_points()}
    for point in points.values():
        if point.state == "corrupt":
            damaged[f"points/{point.id}.json"] = str(point.reason)
    weight_files = {digest: f"weights/{digest}.safetensors" for p in points.values() for digest in weight_hashes(p)}
    recordings = {p.recordings: f"{RECORDINGS}/{p.recordings}.json" for p in points.values() if p.recordings}
    _check_hashed(store, weight_files, store.check_weights, damaged)
    _check_hashed(store, recordings, store.read_recordings, damaged)
    stale = front is None and "front.json" not in damaged
    if front is not None and study_head is not None and front["study"] != study_head["study"]:
        if front["schema"] == study_head["schema"] and front["id"] == study_head["id"]:
            stale = True  # stopped while the study grew
        else:
            damaged["front.json"] = "its study is not that of study.json"
    elif front is not None:
        stale = _check_against_front(store, front, points, damaged)
    _check_log(store, damaged)
    expected = schema.expected_ids(study, list(points.values()))
    absent = tuple(id for id in expected if id not in points and f"points/{id}.json" not in damaged)
    known = {"study.json", "front.json", "points.csv", "log.jsonl"} | {
        f"points/{p['id']}.json" for p in study["points"]
    }
    pending = {p["id"] for p in study["points"]} - {p.id for p in points.values() if p.state != "corrupt"}
    report = checkpoints.check_checkpoints(store, pending)
    damaged |= report.damaged
    known |= {*weight_files.values(), *recordings.values(), *report.whole, *report.damaged}
    return Verdict(str(folder), damaged, absent, stale, dict(_foreign_files(store.folder, known)) | report.obsolete)


def _check_hashed(store: Store, names: dict[str, str], check: Callable[[str], Any], damaged: dict[str, str]) -> None:
    """Check the files that records name by their hashes; add what is wrong to the damaged ones."""
    for digest, name in names.items():
        try:
            check(digest)
        except FileNotFoundError:
            damaged[name] = "missing"
        except (ValueError, OSError) as error:
            damaged[name] = store.relative_message(error)


def _read_head(store: Store, name: str, damaged: dict[str, str]) -> dict[str, Any] | None:
    try:
        return store.read_head(name)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        damaged[f"{name}.json"] = store.relative_message(error)
        return None


def _check_against_front(
    store: Store, front: dict[str, Any], points: dict[str, Point], damaged: dict[str, str]
) -> bool:
    """Compare records and table with front.json; return whether front.json is merely older."""
    checksums, states = front.get("checksums"), front.get("states")
    ids = [p["id"] for p in store.study["points"]]
    if not isinstance(states, dict) or set(states) != set(ids):
        damaged["front.json"] = "its states are not of the study's points"
        return False
    known = {"points.csv", *(f"points/{id}.json" for id in ids)}
    if not isinstance(checksums, dict) or not set(checksums) <= known:
        damaged["front.json"] = "its checksums are not of the front's files"
        return False
    stale = any(states[id] == "absent" for id in points)
    for id, point in points.items():
        if point.state != "corrupt" and states[id] not in ("absent", point.state):
            damaged[f"points/{id}.json"] = f"it is {point.state}, front.json says {str(states[id])[:40]!r}"
    for name in sorted(set(checksums) - set(damaged)):
        try:
            limit = MOST_BYTES["table" if name == "points.csv" else "record"]
            if files.hash_file(store.folder / name, limit) == checksums[name]:
                continue
            if _is_newer(store, name, points, front["schema"]):
                stale = True
            else:
                damaged[name] = "it is not the file that front.json was written with"
        except FileNotFoundError:
            damaged[name] = "missing"
        except (ValueError, OSError) as error:
            damaged[name] = store.relative_message(error)
    if (store.folder / "points.csv").is_symlink():
        damaged["points.csv"] = "it is a link, which is not followed"
    return stale


def _is_newer(store: Store, name: str, points: dict[str, Point], of_schema: int) -> bool:
    """Whether a file is whole and newer than front.json: the present table, or a record that `migrate` wrote."""
    path = store.folder / name
    if name == "points.csv":
        return files.hash_file(path) == files.sha256(store.derive_files(list(points.values()))[name])
    return files.parse_json(files.read(path, MOST_BYTES["record"]), path)["schema"] > of_schema


def _check_log(store: Store, damaged: dict[str, str]) -> None:
    path = store.folder / "log.jsonl"
    wrong: list[str] = []
    try:
        if not (text := files.read(path, MOST_BYTES["log"])):
            wrong.append("1, which is missing,")
    except FileNotFoundError:
        return
    except (ValueError, OSError) as error:
        damaged[path.name] = store.relative_message(error)
        return
    for k, line in enumerate(io.BytesIO(text), 1):
        if not _is_sealed(line, store.schema):
            wrong.append(str(k))
        if len(wrong) > FILES_LISTED:
            break
    if wrong:
        more = " …" if len(wrong) > FILES_LISTED else ""
        damaged[path.name] = f"line {', '.join(wrong[:FILES_LISTED])}{more} is not as it was written"


def _is_sealed(line: bytes, of_schema: int) -> bool:
    try:
        if len(line) > MOST_LINE_BYTES:
            return False
        files.check_signs(line, Path("log.jsonl"))
        facts = json.loads(line)
        if any(isinstance(fact, (dict, list)) for fact in facts.values()):
            return False
        if of_schema == 1 and "seal" not in facts:  # schema 1 had no seals
            return line.endswith(b"\n") and isinstance(facts, dict) and {"event", "time"} <= facts.keys()
        return log_line({key: value for key, value in facts.items() if key != "seal"}) == line
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False


def _foreign_files(folder: Path, known: set[str]) -> Iterator[tuple[str, str]]:
    parts = (*PARTS, RECORDINGS, checkpoints.PART)
    for place in ("", *parts):
        if (folder / place).is_symlink() and place:
            continue
        for entry in sorted(os.scandir(folder / place), key=lambda e: e.name) if (folder / place).is_dir() else ():
            name = f"{place}/{entry.name}" if place else entry.name
            if name in parts and not entry.is_symlink():
                continue
            if name not in known:
                yield ascii(name)[1:-1], _foreign_reason(entry)


def _foreign_reason(entry: os.DirEntry) -> str:
    if entry.is_symlink():
        return "a link; links are not followed"
    if Path(entry.name).suffix.lower() in PICKLES:
        return "may be a pickle, which runs code when opened; never opened"
    if files.TEMPORARY.fullmatch(entry.name):
        return "left by a write that was killed; resume removes it"
    return "not part of the front"

"""Checkpoints as files: the folder `checkpoints` of an unfinished front.

    checkpoints/<name>.json             the points, and the state of their training; sealed
    checkpoints/<sha256>.safetensors    the tensors of that state, under their hash

New tensors are written first, and old ones are removed last, so that a kill leaves a whole checkpoint.
"""

import contextlib
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from paretomtl.errors import DamagedFileError, escape_controls
from paretomtl.storage import files, schema
from paretomtl.storage.files import check_name
from paretomtl.storage.store import MOST_BYTES, Store

PART = "checkpoints"
SUFFIX = ".safetensors"
Read = Callable[[str, int], bytes]  # reads a file, given its name and its size limit in bytes


class Encoded(NamedTuple):
    """A nested value as JSON, with names in place of its tensors; and the tensors by these names."""

    value: Any
    tensors: dict[str, Any]


def pack(name: str, study: str, points: list, encoded: Encoded) -> dict[str, bytes]:
    """Return the files of a checkpoint, in the order to write them."""
    from safetensors.torch import save

    data = save(encoded.tensors, metadata={"name": name})  # with the name, so that no two checkpoints share a file
    digest = files.sha256(data)
    head = {"schema": schema.SCHEMA, "study": study, "name": name, "asked": points}
    text = files.seal_json(head | {"tensors": digest, "bytes": len(data), "value": encoded.value})
    return {f"{digest}{SUFFIX}": data, f"{check_name(name)}.json": text}


def unpack(name: str, study: str, points: list, read: Read) -> Encoded:
    """Read the checkpoint of these points of this study.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError, OSError: it is damaged, or belongs to another study or other points.
    """
    head = read_head(name, study, read)
    if head["asked"] != points:
        raise DamagedFileError(f"{name}.json is of other points, or of other preferences")
    return Encoded(head["value"], _read_tensors(head, read))


def _read_tensors(head: dict[str, Any], read: Read) -> dict[str, Any]:
    from safetensors.torch import load

    file = f"{head['tensors']}{SUFFIX}"
    try:
        data = read(file, head["bytes"])
    except FileNotFoundError as error:
        raise DamagedFileError(f"{file} is missing") from error
    if len(data) != head["bytes"] or files.sha256(data) != head["tensors"]:
        raise DamagedFileError(f"{file} is damaged: it is not as it was written (its SHA-256 differs)")
    try:
        return load(data)
    except Exception as error:  # SafetensorError and others; the hash holds, so it was never ours
        raise DamagedFileError(f"{file} holds no tensors that can be loaded: {escape_controls(str(error))}") from error


def read_head(name: str, study: str, read: Read) -> dict[str, Any]:
    """Read the JSON part of a checkpoint, with its seal and fields checked."""
    path = Path(f"{check_name(name)}.json")
    head = schema.open_json(read(path.name, MOST_BYTES["checkpoint"]), path)
    if head.get("study") != study or head.get("name") != name:
        raise DamagedFileError(f"{path} is a checkpoint of another study, or of another name")
    kinds = {"asked": list, "tensors": str, "bytes": int, "value": dict}
    if any(type(head.get(key)) is not kind for key, kind in kinds.items()) or not head["bytes"] >= 0:
        raise DamagedFileError(f"{path} is damaged: it is no checkpoint")
    if not schema.HASH.fullmatch(head["tensors"]):
        raise DamagedFileError(f"{path} is damaged: it names no SHA-256")
    return head


# --- in a front's folder ---


def make_reader(folder: Path) -> Read:
    """Return a function that reads the files of a folder."""
    return lambda file, most: files.read(folder / file, most)


def write_checkpoint(store: Store, name: str, contents: dict[str, bytes]) -> None:
    """Write a checkpoint's files, and remove those they replace."""
    folder = store.part(PART)
    folder.mkdir(exist_ok=True)
    before = _named_tensors(folder, name)
    for file, data in contents.items():
        files.write(folder / file, data)
    for file in before - set(contents):
        (folder / file).unlink(missing_ok=True)


def drop_checkpoint(store: Store, name: str) -> None:
    """Remove a checkpoint, and with the last one the folder."""
    folder = store.part(PART)
    # In this order, a kill leaves no head without its tensors.
    for file in (f"{name}.json", *_named_tensors(folder, name)):
        with contextlib.suppress(OSError):
            (folder / file).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _named_tensors(folder: Path, name: str) -> set[str]:
    """Return the tensor file that a checkpoint names; empty if the checkpoint cannot be read."""
    path = folder / f"{name}.json"
    try:
        digest = schema.open_json(files.read(path, MOST_BYTES["checkpoint"]), path).get("tensors")
    except (OSError, ValueError):
        return set()
    return {f"{digest}{SUFFIX}"} if isinstance(digest, str) and schema.HASH.fullmatch(digest) else set()


class CheckpointReport(NamedTuple):
    """The files in `checkpoints`, by name within the front's folder: whole; damaged or obsolete, with the reason."""

    whole: set[str]
    damaged: dict[str, str]
    obsolete: dict[str, str]


def check_checkpoints(store: Store, pending: Collection[str]) -> CheckpointReport:
    """Check all checkpoints of a front; `pending` are the points not computed yet."""
    report, folder = CheckpointReport(set(), {}, {}), store.folder / PART
    if folder.is_symlink() or not folder.is_dir():
        return report
    names: list[str] = []
    with contextlib.suppress(FileNotFoundError):  # another process of the study may finish right now
        names = sorted(os.listdir(folder))
    for file in names:
        if file.endswith(".json"):
            _check_checkpoint(store, folder, file.removesuffix(".json"), pending, report)
    for place in report.whole:  # also if an obsolete checkpoint names the same file
        report.obsolete.pop(place, None)
    tensors = {f"{PART}/{file}" for file in names if file.endswith(SUFFIX)}
    for place in tensors - report.whole - set(report.damaged):
        if schema.HASH.fullmatch(Path(place).stem):
            report.obsolete.setdefault(place, "of no checkpoint; resume removes it")
    return report


def _check_checkpoint(
    store: Store, folder: Path, name: str, pending: Collection[str], report: CheckpointReport
) -> None:
    place = f"{PART}/{name}.json"
    try:
        head = read_head(name, store.id, make_reader(folder))
        ids = {id for id, _, _ in head["asked"]}
    except FileNotFoundError:  # such a process removed it
        return
    except (ValueError, TypeError, OSError) as error:
        report.damaged[place] = _describe_damage(store, error)
        return
    tensors = f"{PART}/{head['tensors']}{SUFFIX}"
    if not ids & set(pending):
        report.obsolete[place] = report.obsolete[tensors] = "a checkpoint of points that are there; resume removes it"
        return
    try:
        if files.hash_file(store.folder / tensors, head["bytes"]) != head["tensors"]:
            raise DamagedFileError(f"{tensors} is damaged: it is not as it was written (its SHA-256 differs)")
    except FileNotFoundError:
        report.damaged[tensors] = "missing"
    except (ValueError, OSError) as error:
        report.damaged[tensors] = _describe_damage(store, error)
    else:
        report.whole.update((place, tensors))
        return
    report.obsolete[place] = "its tensors are damaged; resume removes it"


def _describe_damage(store: Store, error: Exception) -> str:
    return store.relative_message(error).removeprefix(f"{PART}/")


def clear_checkpoints(store: Store, pending: Collection[str]) -> None:
    """Remove damaged and obsolete checkpoints; pending points of a removed one start again."""
    folder = store.folder / PART
    if folder.is_symlink() or not folder.is_dir():
        return
    files.clear_temporary(folder)
    report = check_checkpoints(store, pending)
    for place, why in report.damaged.items():
        store.log("warning", text=f"{place}: {why}; what it was of starts again")
    for place in (*report.damaged, *report.obsolete):
        with contextlib.suppress(OSError):
            (store.folder / place).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()

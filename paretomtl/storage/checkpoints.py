"""Checkpoints as files: the folder `checkpoints` of a front that is not whole yet.

    checkpoints/<name>.json             which points it is of, and what their training has come to; sealed
    checkpoints/<sha256>.safetensors    the tensors of it, under their hash

The tensors are written first, and those of before are removed last, so that a kill leaves a checkpoint that is whole.
"""

import contextlib
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from paretomtl.errors import DamagedFileError
from paretomtl.storage import files, schema
from paretomtl.storage.files import check_name
from paretomtl.storage.store import MOST_BYTES, Store

PART = "checkpoints"
END = ".safetensors"
Read = Callable[[str, int], bytes]  # of a file and the most bytes that it may have


class Encoded(NamedTuple):
    """A nested value as JSON can hold it, and its tensors by the names that stand there in their place."""

    value: Any
    tensors: dict[str, Any]


def pack(name: str, study: str, asked: list, found: Encoded) -> dict[str, bytes]:
    """The files of a checkpoint, in the order in which they are to be written."""
    from safetensors.torch import save

    data = save(found.tensors, metadata={"name": name})  # the name, so that no two checkpoints share a file
    digest = files.sha256(data)
    head = {"schema": schema.SCHEMA, "study": study, "name": name, "asked": asked}
    text = files.seal_json(head | {"tensors": digest, "bytes": len(data), "value": found.value})
    return {f"{digest}{END}": data, f"{check_name(name)}.json": text}


def unpack(name: str, study: str, asked: list, read: Read) -> Encoded:
    """What was packed of these points of this study.

    Raises:
        FileNotFoundError: there is none.
        ValueError, OSError: it is damaged, or of something else.
    """
    head = read_head(name, study, read)
    if head["asked"] != asked:
        raise DamagedFileError(f"{name}.json is of other points, or of other preferences")
    return Encoded(head["value"], _tensors(head, read))


def _tensors(head: dict[str, Any], read: Read) -> dict[str, Any]:
    from safetensors.torch import load

    file = f"{head['tensors']}{END}"
    try:
        data = read(file, head["bytes"])
    except FileNotFoundError as error:
        raise DamagedFileError(f"{file} is missing") from error
    if len(data) != head["bytes"] or files.sha256(data) != head["tensors"]:
        raise DamagedFileError(f"{file} is damaged: it is not as it was written (its SHA-256 differs)")
    try:
        return load(data)
    except Exception as error:  # SafetensorError and others; the hash holds, so it was never ours
        raise DamagedFileError(f"{file} holds no tensors that can be loaded: {error}") from error


def read_head(name: str, study: str, read: Read) -> dict[str, Any]:
    """The sealed part, checked."""
    path = Path(f"{check_name(name)}.json")
    found = schema.open_json(read(path.name, MOST_BYTES["checkpoint"]), path)
    if found.get("study") != study or found.get("name") != name:
        raise DamagedFileError(f"{path} is a checkpoint of another study, or of another name")
    kinds = {"asked": list, "tensors": str, "bytes": int, "value": dict}
    if any(type(found.get(key)) is not kind for key, kind in kinds.items()) or not found["bytes"] >= 0:
        raise DamagedFileError(f"{path} is damaged: it is no checkpoint")
    if not schema.HASH.fullmatch(found["tensors"]):
        raise DamagedFileError(f"{path} is damaged: it names no SHA-256")
    return found


# --- in a front's folder ---


def reader_of(folder: Path) -> Read:
    """Reads the files of a folder."""
    return lambda file, most: files.read(folder / file, most)


def write(store: Store, name: str, written: dict[str, bytes]) -> None:
    """Put a checkpoint's files in the place of those of before."""
    folder = store.part(PART)
    folder.mkdir(exist_ok=True)
    before = _named_tensors(folder, name)
    for file, data in written.items():
        files.write(folder / file, data)
    for file in before - set(written):
        (folder / file).unlink(missing_ok=True)


def drop(store: Store, name: str) -> None:
    """Remove a checkpoint, and the folder with the last one."""
    folder = store.part(PART)
    for file in (
        f"{name}.json",
        *_named_tensors(folder, name),
    ):  # in this order: a kill leaves no head without its tensors
        with contextlib.suppress(OSError):
            (folder / file).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _named_tensors(folder: Path, name: str) -> set[str]:
    """The file of tensors that a checkpoint names, if it can be read."""
    path = folder / f"{name}.json"
    try:
        digest = schema.open_json(files.read(path, MOST_BYTES["checkpoint"]), path).get("tensors")
    except (OSError, ValueError):
        return set()
    return {f"{digest}{END}"} if isinstance(digest, str) and schema.HASH.fullmatch(digest) else set()


class CheckpointReport(NamedTuple):
    """The files in `checkpoints`, by name within the front's folder: whole, damaged and why, of no more use and why."""

    whole: set[str]
    damaged: dict[str, str]
    over: dict[str, str]


def check_checkpoints(store: Store, left: Collection[str]) -> CheckpointReport:
    """All checkpoints of a front; `left` are the points that are not computed yet."""
    found, folder = CheckpointReport(set(), {}, {}), store.folder / PART
    if folder.is_symlink() or not folder.is_dir():
        return found
    names: list[str] = []
    with contextlib.suppress(FileNotFoundError):  # another process of the same study may end at this moment
        names = sorted(os.listdir(folder))
    for file in names:
        if file.endswith(".json"):
            _check_checkpoint(store, folder, file.removesuffix(".json"), left, found)
    for place in found.whole:  # also where one that is over names the same file
        found.over.pop(place, None)
    tensors = {f"{PART}/{file}" for file in names if file.endswith(END)}
    for place in tensors - found.whole - set(found.damaged):
        if schema.HASH.fullmatch(Path(place).stem):
            found.over.setdefault(place, "of no checkpoint; resume removes it")
    return found


def _check_checkpoint(store: Store, folder: Path, name: str, left: Collection[str], found: CheckpointReport) -> None:
    place = f"{PART}/{name}.json"
    try:
        head = read_head(name, store.id, reader_of(folder))
        ids = {id for id, _, _ in head["asked"]}
    except FileNotFoundError:  # of such a process, too
        return
    except (ValueError, TypeError, OSError) as error:
        found.damaged[place] = _within(store, error)
        return
    tensors = f"{PART}/{head['tensors']}{END}"
    if not ids & set(left):
        found.over[place] = found.over[tensors] = "a checkpoint of points that are there; resume removes it"
        return
    try:
        if files.hash_file(store.folder / tensors, head["bytes"]) != head["tensors"]:
            raise DamagedFileError(f"{tensors} is damaged: it is not as it was written (its SHA-256 differs)")
    except FileNotFoundError:
        found.damaged[tensors] = "missing"
    except (ValueError, OSError) as error:
        found.damaged[tensors] = _within(store, error)
    else:
        found.whole.update((place, tensors))
        return
    found.over[place] = "its tensors are damaged; resume removes it"


def _within(store: Store, error: Exception) -> str:
    return store.within(error).removeprefix(f"{PART}/")


def clear(store: Store, left: Collection[str]) -> None:
    """Remove what is damaged or of no more use; points that are left start again where it was theirs."""
    folder = store.folder / PART
    if folder.is_symlink() or not folder.is_dir():
        return
    files.clear_temporary(folder)
    found = check_checkpoints(store, left)
    for place, why in found.damaged.items():
        store.log("warning", text=f"{place}: {why}; what it was of starts again")
    for place in (*found.damaged, *found.over):
        with contextlib.suppress(OSError):
            (store.folder / place).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()

"""Files that survive: written whole or not at all, sealed by their hash, read without following links."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import uuid
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from paretomtl.errors import DamagedFileError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
TEMPORARY = re.compile(r"\.([0-9a-f]{8})-([0-9]{1,10})-[0-9a-f]{12}\.tmp")  # host, process, random number
DEEPEST = 50  # the most levels of nesting in our JSON
# The most of each sign in our JSON: each value takes memory, even one of two bytes. A study of 100,000 points has less.
MOST_SIGNS = {b",": 2**22, b":": 2**20, b"[": 2**19, b"{": 2**19, b'"': 2**23}
SEAL = "sha256"
SEAL_LINE = re.compile(rb'^ "sha256": "([0-9a-f]{64})"(,?)\n', re.MULTILINE)
ENCODER = json.JSONEncoder(indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
_temporary_names: set[str] = set()  # of files that this process is writing


def check_name(name: str) -> str:
    """Return the name if it is a safe file name on every system; else raise a ValueError."""
    if not NAME.fullmatch(name) or name.split(".")[0].lower() in DEVICES or name.endswith("."):
        raise ValueError(
            f"name {name[:120]!r}: use 1 to 100 letters, digits, '.', '_' or '-', starting with a letter or digit, "
            "and no name of a Windows device"
        )
    return name


def write(path: Path, data: bytes, new: bool = False) -> None:
    """Write a file whole or not at all, even if the machine stops in between.

    Args:
        path: the file.
        data: its bytes.
        new: never replace an existing file, not even one that another process writes at the same moment.

    Raises:
        FileExistsError: `new` is set, and the file exists.
        OSError: the file cannot be written. The message names it and the remedy, and for a full disk the bytes needed.
    """
    temporary = path.with_name(temporary_name())
    _temporary_names.add(temporary.name)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not (new and _link(temporary, path)):
            os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            full = error.errno in FULL
            raise (full_disk_error(error, path, len(data)) if full else _write_error(error, path)) from error
        raise
    finally:
        _temporary_names.discard(temporary.name)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _link(temporary: Path, path: Path) -> bool:
    """Give a temporary file its final name by a link; False on a disk without links, if the name is free.

    Raises:
        FileExistsError: the name is in use.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        return False
    temporary.unlink()
    return True


def temporary_name() -> str:
    """Make a name for a file being written; if this process dies, `clear_temporary` removes the file."""
    return f".{_hash_host()}-{os.getpid()}-{uuid.uuid4().hex[:12]}.tmp"


def free_bytes(folder: Path) -> int:
    """Return the free bytes on a folder's disk."""
    return shutil.disk_usage(folder).free


def full_disk_error(error: OSError, path: Path, needed: int) -> OSError:
    """Make the error of a full disk, with the remedy."""
    free = free_bytes(path.parent)
    return OSError(
        error.errno,
        f"no room for {path}: it needs {needed:,} bytes, {free:,} are free, and a quota or a limit on the size of a "
        "file may be lower; all that was written before is whole: make room and start again with the same folder",
    )


def _write_error(error: OSError, path: Path) -> OSError:
    return type(error)(
        error.errno,
        f"{path} cannot be written ({error.strerror}); all that was written before is whole: mend that and start "
        "again with the same folder",
    )


def _hash_host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def clear_temporary(folder: Path) -> None:
    """Remove the temporary files of killed writes: those of this host whose process is gone.

    In a container a restarted run often has the process number of the killed one. So files under our own number are
    removed as well, unless this process is writing them.
    """
    for path in folder.glob(".*.tmp"):
        match = TEMPORARY.fullmatch(path.name)
        if match is None or match[1] != _hash_host() or path.name in _temporary_names:
            continue
        if not _is_other_process(int(match[2])):
            path.unlink(missing_ok=True)


def _is_other_process(process: int) -> bool:
    """Whether a process of this number is alive and is not this one."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # a process of another user
    return True


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BufferedReader]:
    """Open a plain file for reading; links, pipes and devices raise before anything is read."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DamagedFileError(f"{path} is a link, which is not followed") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise DamagedFileError(f"{path} is not a plain file")
    with open(handle, "rb") as file:
        yield file


def check_single(handle: int, path: Path) -> None:
    """Raise if an open file has a name elsewhere, by a hard link: what is done to one is done to the other.

    A name that `write` gave it for a moment does not count, nor one that a killed `write` has left.
    """
    if os.fstat(handle).st_nlink <= 1:
        return
    ours = [entry for entry in os.scandir(path.parent) if TEMPORARY.fullmatch(entry.name)]
    n = 0
    for entry in ours:
        with contextlib.suppress(FileNotFoundError):
            n += os.path.samestat(os.fstat(handle), entry.stat(follow_symlinks=False))
    if os.fstat(handle).st_nlink - n > 1:  # read again: such a name may have gone meanwhile
        raise DamagedFileError(
            f"{path} is a hard link: the same file has another name elsewhere, as in backups by links; copy the folder "
            "(cp -r, without links), and use the copy"
        )


def read(path: Path, limit: int) -> bytes:
    """Read a file that has no second name; its size is checked before any memory is allocated."""
    with open_file(path) as file:
        check_single(file.fileno(), path)
        _check_size(file, path, limit)
        return file.read(limit)


def _check_size(file: BufferedReader, path: Path, limit: int | None) -> None:
    size = os.fstat(file.fileno()).st_size
    if limit is not None and size > limit:
        raise DamagedFileError(f"{path} has {size:,} bytes; such a file has at most {limit:,}")


def hash_file(path: Path, limit: int | None = None) -> str:
    """Return the SHA-256 of a file, read in parts; with a limit, its size is checked first."""
    with open_file(path) as file:
        _check_size(file, path, limit)
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def encode_json(value: Any) -> bytes:
    """Encode as JSON in our one format: sorted, finite, UTF-8."""
    return (ENCODER.encode(value) + "\n").encode()


def seal_json(value: dict[str, Any]) -> bytes:
    """Encode as JSON that holds its own SHA-256."""
    return encode_json(value | {SEAL: sha256(encode_json(value))})


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """Parse a JSON object of finite numbers and moderate depth.

    Raises:
        DamagedFileError: the data is something else.
    """
    check_signs(data, path)
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_parse_float)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged: {str(error) or type(error).__name__}") from error
    if not isinstance(value, dict) or _is_deeper(value, DEEPEST):
        description = "nested too deeply" if isinstance(value, dict) else f"a {type(value).__name__}"
        raise DamagedFileError(f"{path} is damaged: it is {description}, not one of our files")
    return value


def check_signs(data: bytes, path: Path) -> None:
    """Raise if JSON would take far more memory and time to parse than any of ours; counting takes none."""
    for sign, most in MOST_SIGNS.items():
        if data.count(sign) > most:
            raise DamagedFileError(f"{path} is damaged: it has more than {most:,} times {sign.decode()!r}")


def has_whole_seal(data: bytes) -> bool | None:
    """Whether sealed JSON is as it was sealed, by its bytes alone; None without a seal."""
    line = SEAL_LINE.search(data)
    if line is None:
        return None
    before, after = data[: line.start()], memoryview(data)[line.end() :]
    if not line[2]:  # the seal comes last, and the comma before it came with it
        before = before.removesuffix(b",\n") + b"\n"
    digest = hashlib.sha256(before)
    digest.update(after)
    return digest.hexdigest().encode() == line[1]


def unseal_json(content: dict[str, Any], data: bytes, path: Path) -> dict[str, Any]:
    """Return the sealed content, if the seal holds and the bytes are exactly those we would write."""
    if not has_whole_seal(data) or not _is_as_written(content, data):
        raise seal_error(path)
    return {key: part for key, part in content.items() if key != SEAL}


def seal_error(path: Path) -> DamagedFileError:
    """Make the error of a file whose seal does not hold."""
    return DamagedFileError(f"{path} is damaged: it is not as it was written (its SHA-256 differs)")


def _is_as_written(content: dict[str, Any], data: bytes) -> bool:
    """Whether `encode_json` writes exactly these bytes; piece by piece, to take no memory for them."""
    place = 0
    try:
        for piece in map(str.encode, ENCODER.iterencode(content)):
            if data[place : place + len(piece)] != piece:
                return False
            place += len(piece)
    except ValueError:  # half a surrogate pair, say
        return False
    return data[place:] == b"\n"


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _parse_float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        inner = (part.values() if isinstance(part, dict) else part for part in level)
        level = [part for parts in inner for part in parts if isinstance(part, (dict, list))]
    return bool(level)

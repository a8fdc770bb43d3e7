"""Files that survive: written whole or not at all, sealed by their hash, read without following a link."""

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
TEMPORARY = re.compile(r"\.([0-9a-f]{8})-([0-9]{1,10})-[0-9a-f]{12}\.tmp")  # the host, the process, a random number
DEEPEST = 50  # levels that JSON of ours may nest
MOST_PARTS = 2**22  # values in it; each takes memory, even one of two bytes
SEAL = "sha256"
_in_work: set[str] = set()  # the temporary files of this process


def check_name(name: str) -> str:
    """A name that is safe as a file's on every system, or an error."""
    if not NAME.fullmatch(name) or name.split(".")[0].lower() in DEVICES or name.endswith("."):
        raise ValueError(
            f"name {name[:120]!r}: use 1 to 100 letters, digits, '.', '_' or '-', starting with a letter or digit, "
            "and no name of a Windows device"
        )
    return name


def write(path: Path, data: bytes, new: bool = False) -> None:
    """All of the file or nothing of it, also when the machine stops in between.

    Args:
        path: of the file.
        data: its bytes.
        new: leave a file that is there as it is, also one that another process writes at this moment.

    Raises:
        FileExistsError: it is to be a new one, and is not.
        OSError: it names the file and the remedy; where the disk is full, the bytes that were needed as well.
    """
    temporary = path.with_name(temporary_name())
    _in_work.add(temporary.name)
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
            raise (full_disk_error(error, path, len(data)) if error.errno in FULL else _refuser(error, path)) from error
        raise
    finally:
        _in_work.discard(temporary.name)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _link(temporary: Path, path: Path) -> bool:
    """Give a file its name if no other has it; False on a disk that knows no links, where there is only a look before.

    Raises:
        FileExistsError: another has it.
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
    """A new name for a file that is in work; if this process dies, `clear_temporary` removes it."""
    return f".{_host()}-{os.getpid()}-{uuid.uuid4().hex[:12]}.tmp"


def free_bytes(folder: Path) -> int:
    """The bytes that are free on a folder's disk."""
    return shutil.disk_usage(folder).free


def full_disk_error(error: OSError, path: Path, needed: int) -> OSError:
    """The error of a full disk, with what would help."""
    left = free_bytes(path.parent)
    return OSError(
        error.errno,
        f"no room for {path}: it needs {needed:,} bytes, {left:,} are free, and a quota or a limit on the size of a "
        "file may be lower; all that was written before is whole: make room and start again with the same folder",
    )


def _refuser(error: OSError, path: Path) -> OSError:
    return type(error)(
        error.errno,
        f"{path} cannot be written ({error.strerror}); all that was written before is whole: mend that and start "
        "again with the same folder",
    )


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def clear_temporary(folder: Path) -> None:
    """Remove what writes that were killed left behind: those of this host whose process is gone.

    In a container a run that is started again often has the number of the one that was killed, so a file under our own
    number is left behind as well, unless it is in work.
    """
    for path in folder.glob(".*.tmp"):
        found = TEMPORARY.fullmatch(path.name)
        if found and found[1] == _host() and path.name not in _in_work and not _is_other_process(int(found[2])):
            path.unlink(missing_ok=True)


def _is_other_process(process: int) -> bool:
    """Whether it is a process that is alive, and not this one."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # of another user
    return True


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BufferedReader]:
    """A plain file, to be read; links, pipes and devices are refused unopened or unread."""
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


def read(path: Path, limit: int) -> bytes:
    """A file's bytes; its size is checked before anything is allocated."""
    with open_file(path) as file:
        _check_size(file, path, limit)
        return file.read(limit)


def _check_size(file: BufferedReader, path: Path, limit: int | None) -> None:
    size = os.fstat(file.fileno()).st_size
    if limit is not None and size > limit:
        raise DamagedFileError(f"{path} has {size:,} bytes; such a file has at most {limit:,}")


def hash_file(path: Path, limit: int | None = None) -> str:
    """The SHA-256 of a file, read in parts; its size is checked first, if there is a limit to it."""
    with open_file(path) as file:
        _check_size(file, path, limit)
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256(data: bytes) -> str:
    """The SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def to_json(value: Any) -> bytes:
    """JSON in the one way in which we write it: sorted, finite, UTF-8."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()


def seal_json(value: dict[str, Any]) -> bytes:
    """JSON that holds its own SHA-256."""
    return to_json(value | {SEAL: sha256(to_json(value))})


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """An object of JSON, of finite numbers and moderate depth.

    Raises:
        DamagedFile: it is something else.
    """
    if data.count(b",") > MOST_PARTS:
        raise DamagedFileError(f"{path} is damaged: it holds more than {MOST_PARTS:,} values")
    try:
        found = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged: {str(error) or type(error).__name__}") from error
    if not isinstance(found, dict) or _deep(found, DEEPEST):
        what = "nested too deeply" if isinstance(found, dict) else f"a {type(found).__name__}"
        raise DamagedFileError(f"{path} is damaged: it is {what}, not one of our files")
    return found


def unseal_json(found: dict[str, Any], data: bytes, path: Path) -> dict[str, Any]:
    """What was sealed, if the seal holds and the bytes are those that we would write."""
    value = {key: part for key, part in found.items() if key != SEAL}
    try:
        whole = seal_json(value) == data
    except ValueError:  # half a surrogate pair, say
        whole = False
    if not whole:
        raise DamagedFileError(f"{path} is damaged: it is not as it was written (its SHA-256 differs)")
    return value


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _deep(value: Any, levels: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_deep(part, levels - 1) for part in parts)

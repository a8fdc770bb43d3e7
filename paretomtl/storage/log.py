"""The log of a front's folder: a sealed line an event, so that a kill or a full disk loses the last line at most."""

import contextlib
import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretomtl.errors import DamagedFileError
from paretomtl.storage import files


def append_line(path: Path, facts: Mapping[str, Any]) -> None:
    """Add a line to a log, and mend a last one that was left unfinished."""
    line = log_line(facts)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise DamagedFileError(f"{path} is a link, or no plain file, and is not written to; move it away")
    if not path.exists():
        with contextlib.suppress(FileExistsError):  # another process starts the log at this moment
            files.write(path, line, new=True)  # whole or not at all, so that a kill leaves no empty log
            return
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o666)
    with open(handle, "r+b", buffering=0) as log:
        files.check_single(handle, path)
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":  # a power cut left a line unfinished
            size = _end_of_lines(handle, size)
            os.ftruncate(handle, size)
        try:
            if log.write(line) < len(line):  # the disk filled up within the line
                os.ftruncate(handle, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if error.errno in files.FULL:
                raise files.full_disk_error(error, path, len(line)) from error
            raise


def _end_of_lines(handle: int, size: int) -> int:
    """Return the size of all finished lines; an unfinished last line is assumed shorter than a mebibyte."""
    start = max(size - 2**20, 0)
    return start + os.pread(handle, size - start, start).rfind(b"\n") + 1


def log_line(facts: Mapping[str, Any]) -> bytes:
    """Encode a line of the log, sealed."""
    bare = json.dumps(facts, sort_keys=True)
    return (json.dumps({**facts, "seal": files.sha256(bare.encode())[:8]}, sort_keys=True) + "\n").encode()

"""What the command line hands back: results on stdout, as text or as JSON; all else on stderr; an exit code."""

import argparse
import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from paretomtl.errors import escape_controls

OK, FAILED, USAGE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130


def print_result(args: argparse.Namespace, text: str, value: Any) -> None:
    """Print a result: its text, or with --json its value. A front from elsewhere must not drive the terminal."""
    try:
        print(
            json.dumps(value, indent=1, allow_nan=False) if args.json else escape_controls(text, keep="\n"), flush=True
        )
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def complain(text: str) -> None:
    """Print a warning or an error on stderr."""
    print(escape_controls(text, keep="\n"), file=sys.stderr)


@contextlib.contextmanager
def reserve_stdout(json_only: bool) -> Iterator[None]:
    """With --json, turn what the user's code and the solvers' libraries print to stderr."""
    if not json_only:
        yield
        return
    _flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _flush()
        os.dup2(stdout, 1)
        os.close(stdout)


def _flush() -> None:
    """Write out what was printed so far, by C code too, before stdout changes its target."""
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None:
            stream.flush()
    with contextlib.suppress(OSError, TypeError, AttributeError):  # systems without a C library of no name
        ctypes.CDLL(None).fflush(None)

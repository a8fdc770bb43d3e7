"""Ctrl-C and SIGTERM while a sweep runs: the file in work is finished, then all stops; a second one stops at once.

A write that is broken off leaves the old file or none (see `paretomtl.storage.files.write`), so that nothing is lost.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

CAUGHT = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Interrupted(KeyboardInterrupt):
    """A sweep was stopped from outside; says what is there, and how to go on."""


class _Signals:
    """How many came, and whether something is being written that the first one is to wait for."""

    def __init__(self):
        self.came = 0
        self.writing = False

    def __call__(self, number: int, frame: Any) -> None:
        del number, frame
        self.came += 1
        if self.came > 1 or not self.writing:
            raise KeyboardInterrupt


_current: _Signals | None = None


@contextlib.contextmanager
def catch_signals() -> Iterator[None]:
    """Within it both signals become a KeyboardInterrupt that waits for a write; handlers of the user's own are left."""
    global _current
    if _current is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number, default in CAUGHT.items() if signal.getsignal(number) is default]
    try:
        _current = _Signals()
        for number in ours:
            signal.signal(number, _current)
        yield
    finally:
        _current = None
        for number in ours:
            signal.signal(number, CAUGHT[number])


@contextlib.contextmanager
def restore_handlers() -> Iterator[None]:
    """Within it a library may install handlers of its own; after it those of before are back."""
    before = {number: signal.getsignal(number) for number in CAUGHT}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            signal.signal(number, handler)


def is_second_signal() -> bool:
    """Whether a second signal came: then nothing more is to be written."""
    return _current is not None and _current.came > 1


@contextlib.contextmanager
def hold_interrupt() -> Iterator[None]:
    """Within it the first signal waits until the end; the second does not."""
    signals = _current
    if signals is None or threading.current_thread() is not threading.main_thread():  # where no signal is handled
        yield
        return
    signals.writing = True
    try:
        yield
    finally:
        signals.writing = False
    if signals.came:
        raise KeyboardInterrupt

"""Ctrl-C and SIGTERM while a sweep runs: the file in work is finished first; a second signal stops at once.

A write that breaks off leaves the old file or none (see `paretomtl.storage.files.write`), so that nothing is lost.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

DEFAULT_HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Interrupted(KeyboardInterrupt):
    """A sweep was stopped from outside; the message says what is done, and how to go on."""


class _Signals:
    """The signal handler: it counts the signals, and the first one waits while a file is written."""

    def __init__(self):
        self.count = 0
        self.writing = False

    def __call__(self, number: int, frame: Any) -> None:
        del number, frame
        self.count += 1
        if self.count > 1 or not self.writing:
            raise KeyboardInterrupt


_current: _Signals | None = None


@contextlib.contextmanager
def catch_signals() -> Iterator[None]:
    """Turn both signals into a KeyboardInterrupt that waits for a write; the user's own handlers stay."""
    global _current
    if _current is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number, default in DEFAULT_HANDLERS.items() if signal.getsignal(number) is default]
    try:
        _current = _Signals()
        for number in ours:
            signal.signal(number, _current)
        yield
    finally:
        _current = None
        for number in ours:
            signal.signal(number, DEFAULT_HANDLERS[number])


@contextlib.contextmanager
def restore_handlers() -> Iterator[None]:
    """Restore the signal handlers after the context, in which a library may install its own."""
    before = {number: signal.getsignal(number) for number in DEFAULT_HANDLERS}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            signal.signal(number, handler)


def is_second_signal() -> bool:
    """Whether a second signal came, after which nothing more is written."""
    return _current is not None and _current.count > 1


@contextlib.contextmanager
def hold_interrupt() -> Iterator[None]:
    """Hold the first signal until the end of the context; a second one is not held."""
    signals = _current
    if signals is None or threading.current_thread() is not threading.main_thread():  # where no signal is handled
        yield
        return
    signals.writing = True
    try:
        yield
    finally:
        signals.writing = False
    if signals.count:
        raise KeyboardInterrupt

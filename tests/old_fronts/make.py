"""Makes the fronts in `0.1`, whole and as a kill left them; runs with version 0.1.0 alone, for they are its fronts.

    git worktree add OLD 46395ff
    OMP_NUM_THREADS=1 PYTHONPATH=OLD:OLD/solvers:. python -m tests.old_fronts.make FOLDER

The same bytes come of each run, those of the logs too.
"""

import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import Any

import paretomtl as pm
from paretomtl.cli import main
from paretomtl.sweep.here import Here
from tests.old_fronts.problem import COMMAND, STUDIES, explore

AT_STEP = {"apart": ("point-002", 2), "front-model": ("network", 2), "fleet": ("point-001", 2)}
AFTER = {"seeds": 4, "front-model": 1, "refined": 3, "command": 2}  # so many records


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(point: str, step: int) -> Callable[[pm.Step], None]:
    """A callback that kills before a step of a point counts."""
    return lambda told: kill() if (told.point, told.step) == (point, step) else None


def host(out: Path, records: float) -> Callable[[], str]:
    """In the place of `socket.gethostname`, which is called before and after each write."""
    return lambda: kill() if len([*out.glob("points/*.json")]) >= records else "a-host"


def explored(name: str, out: Path, **more: Any) -> None:
    """One of the studies, or the one that is begun from the command line."""
    if name in STUDIES:
        explore(name, out=out, **more)
    else:
        main(["run", *COMMAND.split(), "--out", str(out)])


def in_fork(name: str, out: Path, records: float = inf, **more: Any) -> None:
    """Explore in a process of its own, without its times; it is killed once there are so many records."""
    process = os.fork()
    if process == 0:
        time.time, time.perf_counter, socket.gethostname = lambda: 1.7e9, lambda: 0.0, host(out, records)
        warnings.simplefilter("ignore")
        explored(name, out, **more)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert ended in (0, -signal.SIGKILL)
    print(out, "killed" if ended else "whole")


def make(folder: Path) -> None:
    for name in (*STUDIES, "command"):
        in_fork(name, folder / "whole" / name)
    for name, records in AFTER.items():
        in_fork(name, folder / "between-points" / name, records)
    for name, (point, step) in AT_STEP.items():
        out, every_step = folder / "in-training" / name, Here(checkpoint_seconds=0)
        in_fork(name, out, executor=every_step, callbacks=[at_step(point, step)])


if __name__ == "__main__":
    assert version("paretomtl") == "0.1.0"
    make(Path(sys.argv[1]))

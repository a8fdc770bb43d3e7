"""Processes that explore into one folder at once: `python together_child.py FOLDER TIMES`, as JSON.

Each is a fork, so that nothing is imported twice; all begin at the same moment. A further one reads all the while.
"""

import contextlib
import io
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import paretomtl as pm
from paretomtl.cli import main as command
from paretomtl.storage.verify import verify
from paretomtl.sweep.here import Here
from tests import toys
from tests.durable import explore

ASKED = {"preferences": [[0.3, 0.7], [0.6, 0.4]], "epochs": 1, "executor": Here(0.0)}  # a checkpoint after every step


def at_once(*acts: Callable[[], str | None]) -> list[str]:
    """What each act says, or its error, all begun at the same moment."""
    gate, opened = os.pipe()
    readers = []
    for act in acts:
        reader, writer = os.pipe()
        if os.fork() == 0:
            warnings.simplefilter("ignore")
            os.close(opened)
            os.read(gate, 1)  # until the other end is closed
            try:
                said = act() or "ended"
            except BaseException as error:
                said = f"{type(error).__name__}: {error}"
                if not isinstance(error, ValueError):
                    traceback.print_exc()
            os.write(writer, said[:4000].encode())
            os._exit(0)
        os.close(writer)
        readers.append(reader)
    os.close(opened)
    os.close(gate)
    return [_read(reader) for reader in readers]


def _read(reader: int) -> str:
    with os.fdopen(reader) as told:
        said = told.read()
    os.wait()
    return said


def read(out: Path) -> str:
    """Read a front again and again while it is made, until it is whole; how often it was read."""
    seen, times = 0, 0
    while seen < 2:
        with (
            contextlib.suppress(FileNotFoundError),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            front = pm.Front.load(out)
            assert not front.corrupt, front.corrupt
            assert len(front.points) >= seen
            seen, times = len(front.points), times + 1
            if seen:
                front.load_model(front.points[-1], toys.TwoHeads)
                command(["show", str(out)])
    return f"read {times} times"


def run(out: Path, **changes) -> None:
    explore(out=out, **ASKED | changes)


def main(folder: Path, times: int) -> list[dict]:
    run(folder / "whole")
    found = []
    for k in range(times):
        same, other = folder / f"same-{k}", folder / f"other-{k}"
        said = at_once(partial(run, same), partial(run, same), partial(read, same))
        one = at_once(partial(run, other), partial(run, other, seed=1))
        verdicts = {out.name: str(verify(out)) for out in (same, other)}
        found.append({"same": said, "other": one, "verdicts": verdicts})
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))

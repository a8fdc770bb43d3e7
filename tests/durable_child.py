"""A process that kills runs at counted moments: `python durable_child.py FOLDER MOMENTS SEED [SECONDS]`, as JSON.

Each run is a fork, so that nothing is imported twice, and dies by a real SIGKILL as it passes its moment: a step, or
the call or return of any C function from the code that writes or clears files, such as flush, fsync and replace.
"""

import json
import os
import random
import signal
import sys
import traceback
import warnings
from pathlib import Path

from paretomtl.storage import files, store
from paretomtl.storage.verify import verify
from paretomtl.sweep.here import Here
from tests.durable import explore

WRITES = {f.__code__ for f in (files.write, files.clear_temporary, store.Store.log)}
EARLY = 11  # in the first write, that of study.json
EXECUTOR = Here(*map(float, sys.argv[4:]))  # seconds between two checkpoints; with them, there are fewer points
ASKED = {"executor": EXECUTOR} | ({"preferences": [[0.3, 0.7], [0.6, 0.4]], "epochs": 1} if sys.argv[4:] else {})


class Moments:
    """Counts moments; the one asked for is the last."""

    def __init__(self, last: int | None):
        self.last, self.count = last, 0

    def __call__(self, *event) -> None:
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def profile(self, frame, event, what) -> None:
        if event in ("c_call", "c_return") and frame.f_code in WRITES:
            self()


def run(out: Path, last: int | None = None) -> int:
    """Run to the end, or to a moment, in a fork; how many moments there were, or minus the signal that ended it."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        warnings.simplefilter("ignore")
        moments = Moments(last)
        sys.setprofile(moments.profile)
        try:
            explore(out=out, callbacks=[moments], **ASKED)
            sys.setprofile(None)
            os.write(writer, str(moments.count).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writer)
    _, status = os.waitpid(process, 0)
    with os.fdopen(reader) as told:
        return int(told.read() or 0) or os.waitstatus_to_exitcode(status)


def seen(out: Path) -> dict:
    """What a kill left behind."""
    names = [p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()]
    weights = sum(name.startswith("weights/") and name.endswith(".safetensors") for name in names)
    records = sum(name.startswith(("points/point", "points/ideal")) for name in names)
    begun = "study.json" in names
    return {
        "begun": begun,
        "torn": sum(name.endswith(".tmp") for name in names),
        "alone": weights - records,
        "records": records,
        "damaged": verify(out).damaged if begun else {},
        "in_training": any(name.startswith("checkpoints/") and name.endswith(".json") for name in names),
        "torn_checkpoint": any(name.startswith("checkpoints/") and name.endswith(".tmp") for name in names),
    }


def main(folder: Path, moments: int, seed: int) -> list[dict]:
    explore()  # whatever is imported late is imported once
    total = run(folder / "whole")
    draw, found = random.Random(seed), []
    for k in range(moments):
        out = folder / f"killed-{k}"
        asked = [draw.randint(1, total) if k else EARLY, *([draw.randint(1, 60)] if k % 3 == 1 else [])]
        kills = []
        for moment in asked:
            status = run(out, moment)
            kills.append({"moment": moment, "status": status, **seen(out)})
        found.append({"name": out.name, "kills": kills, "resumed": run(out) > 0})
    return [{"total": total}, *found]


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))

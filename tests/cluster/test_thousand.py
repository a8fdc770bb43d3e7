"""A thousand preferences on Ray: stopped in the middle, gone on with, and the driver's memory on the way."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.storage.verify import verify
from paretomtl.sweep import ray_cluster  # noqa: F401 - before ray, whose settings it makes
from studies.analytic import fonseca
from tests.folders import logged

POINTS = 1000
MEGABYTE = 2**20


def resident() -> float:
    """Megabytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


class Watched(pm.RayTune):
    """Notes the driver's memory every hundred points."""

    def run(self, study, jobs, store, report) -> None:
        seen: list[float] = []

        def watched(news: pm.ComputedPoint | float) -> None:
            report(news)
            seen.append(resident())

        try:
            super().run(study, jobs, store, watched)
        finally:
            for k in range(99, len(seen), 100):
                print(f"| {k + 1} points | {seen[k]:.0f} MB |")
            later = seen[100:]  # what is loaded at first use is there by then
            assert max(later) - min(later) < 40


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read as Linux tells it")
@pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Tune leaves its logs open
def test_a_thousand_preferences(tmp_path):
    out = tmp_path / "front"
    run = partial(
        pm.explore, fonseca(), ps.Tchebycheff(), preferences=POINTS, steps=20, out=out, executor=Watched(workers=2),
        optimizer=partial(torch.optim.SGD, lr=0.1),
    )  # fmt: skip

    def stop() -> None:
        while len(list(out.glob("points/*.json"))) < POINTS // 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    print()
    with pytest.raises(pm.Interrupted):
        run()
    there = len(list(out.glob("points/*.json")))
    assert POINTS // 2 <= there < POINTS
    front = run()
    assert len(front) == POINTS
    left = [line["left"] for line in logged(out, "resumed")]
    print(f"stopped at {there} records; {left} left after it")
    assert left == [POINTS + 2 - there]
    assert str(verify(out)) == "every file is as it was written"

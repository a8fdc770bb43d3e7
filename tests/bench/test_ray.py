"""What Ray costs a point, against bare Tune; and what a second worker brings. Run by `make bench` alone.

A sweep has a fixed part, the start of its workers, and a part a point. The latter is the time between results, from
when a tenth has arrived, so that all workers run, to the last; of ours, the time that the same points take here, shared
by the workers, is taken off: what is left is overhead.
"""

import tempfile
import time
from functools import partial

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.sweep import ray_cluster  # noqa: F401 - before ray, whose settings it makes
from studies.analytic import fonseca
from studies.digit_pairs import digit_pairs
from tests.folders import logged

import ray  # isort: skip
from ray import tune  # isort: skip

pytestmark = pytest.mark.bench
WORKERS, POINTS, FEW = 2, 200, 12
SGD = partial(torch.optim.SGD, lr=0.1)


@pytest.fixture(scope="module", autouse=True)
def running():
    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class Arrivals(tune.Callback):
    """When each trial was done."""

    def __init__(self):
        self.times: list[float] = []

    def on_trial_complete(self, iteration, trials, trial, **info):
        self.times.append(time.time())


def each(times: list[float]) -> float:
    """Seconds between two results, once a tenth of them is there."""
    first = len(times) // 10
    return (times[-1] - times[first]) / (len(times) - 1 - first)


def trivial(config: dict) -> None:
    tune.report({"loss": config["k"]})


def bare(n: int, reuse: bool) -> float:
    """As many trials of nothing."""
    arrivals = Arrivals()
    with tempfile.TemporaryDirectory() as scratch:
        tune.Tuner(
            tune.with_resources(trivial, {"cpu": 1}),
            param_space={"k": tune.grid_search(list(range(n)))},
            tune_config=tune.TuneConfig(reuse_actors=reuse, max_concurrent_trials=WORKERS),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0, callbacks=[arrivals]),
        ).fit()
    return each(arrivals.times)


def explored(n: int, executor: pm.RayTune | None) -> float:
    """As many points of one step."""
    preferences = [[(k + 1) / (n + 1), 1 - (k + 1) / (n + 1)] for k in range(n)]
    front = pm.explore(fonseca(), ps.Linear(), preferences=preferences, steps=1, optimizer=SGD, executor=executor)
    assert len(front) == n
    return each([line["time"] for line in logged(front.folder, "point")])


def test_overhead_of_a_point():
    alone = explored(POINTS, None)
    found = {
        "bare Tune, a new actor a trial": bare(FEW, reuse=False),
        "bare Tune, actors reused": bare(POINTS, reuse=True),
        "ours, a point a trial": explored(POINTS, pm.RayTune(workers=WORKERS, points_per_trial=1)),
        "ours, 20 points a trial": explored(POINTS, pm.RayTune(workers=WORKERS, points_per_trial=20)),
    }
    print(f"\n| {POINTS} points of one step | ms a point | of which overhead |\n| --- | --- | --- |")
    print(f"| here, in one process | {alone * 1e3:.1f} | |")
    overhead = {}
    for name, seconds in found.items():
        overhead[name] = seconds - (alone / WORKERS if name.startswith("ours") else 0.0)
        print(f"| {name} | {seconds * 1e3:.1f} | {overhead[name] * 1e3:.1f} |")
    tuned = overhead["bare Tune, actors reused"]
    assert overhead["ours, a point a trial"] <= tuned
    assert overhead["ours, 20 points a trial"] <= tuned / 10


@pytest.mark.filterwarnings("ignore::UserWarning")  # of a front after so few steps
def test_a_second_worker_on_the_lenet():
    """Whole sweeps, start of workers included, but not of Ray; the factories give each worker its data."""
    problem, times = digit_pairs("small"), {}
    for workers in (1, 2):
        start = time.perf_counter()
        pm.explore(
            problem, ps.EPO(), preferences=[[k / 9, 1 - k / 9] for k in range(1, 9)], epochs=1,
            executor=pm.RayTune(workers=workers, points_per_trial=2),
        )  # fmt: skip
        times[workers] = time.perf_counter() - start
    ratio = times[1] / times[2]
    print(f"\n| 8 points of the LeNet | 1 worker {times[1]:.0f} s | 2 workers {times[2]:.0f} s | {ratio:.2f} |")
    assert ratio >= 1.7

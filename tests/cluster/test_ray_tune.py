"""Sweeps on Ray: the same bytes as here, failures kept, a Ray that is not ours left alone."""

import gc
import os
import shutil
import signal
import socket
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.storage.store import Store
from paretomtl.sweep import ray_tune  # before ray, whose settings it makes
from tests import toys
from tests.folders import files, logged
from tests.limits import limit

import ray  # isort: skip
from ray import tune  # isort: skip

pytestmark = pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")

SGD = partial(torch.optim.SGD, lr=0.1)


def test_a_ray_of_our_own_is_stopped_again():
    assert not ray.is_initialized()  # tests that share one come later
    executor = pm.RayTune(workers=1)
    front = pm.explore(toys.two_regressions(), ps.Linear(), preferences=[[0.5, 0.5]], epochs=1, executor=executor)
    assert len(front) == 1
    assert not ray.is_initialized()


def pause(step: pm.Step) -> None:
    """Leave a signal seconds to arrive before the last point is done."""
    time.sleep(0.02)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Tune leaves its logs open
@pytest.mark.fault(66)
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_stops_a_sweep_on_a_ray_of_our_own(tmp_path, number):
    assert not ray.is_initialized()
    run = partial(pm.explore, toys.two_regressions(), ps.Linear(), preferences=5, epochs=20, optimizer=SGD)
    out = tmp_path / "there"

    def send():
        while not list(out.glob("points/*.json")):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(pm.Interrupted, match=r"^stopped: \d of 7 points are in .*/there; call explore with the same"):
        run(out=out, executor=pm.RayTune(workers=1), callbacks=[pause])
    assert not ray.is_initialized()
    left = 7 - len(list(out.glob("points/*.json")))
    run(out=out)
    assert [line["left"] for line in logged(out, "resumed")] == [left]
    assert left > 0
    run(out=tmp_path / "here")
    assert files(out) == files(tmp_path / "here")
    gc.collect()  # so that the logs are told of here


@dataclass(frozen=True)
class Note:
    """Leaves a file for each step: where it ran, and on how many threads."""

    folder: str

    def __call__(self, told: pm.Step) -> None:
        name = f"{told.point}-{told.step}-{os.getpid()}-{torch.get_num_threads()}"
        Path(self.folder, name).touch()


def test_workers_compute_the_bytes_that_we_would(running, tmp_path, monkeypatch):
    made, tuner = [], tune.Tuner
    monkeypatch.setattr(
        ray_tune.tune, "Tuner", lambda *args, **options: made.append(options) or tuner(*args, **options)
    )
    run = partial(pm.explore, toys.two_regressions(), ps.EPO(), preferences=5, epochs=4, optimizer=SGD)
    notes = tmp_path / "notes"
    notes.mkdir()
    there = run(out=tmp_path / "there", executor=pm.RayTune(workers=2), callbacks=[Note(str(notes))])
    run(out=tmp_path / "here")
    assert ray.is_initialized()
    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert len(files(tmp_path / "there")) == 3 + 7 + 7  # study.json, front.json, points.csv; records; weights

    ids = [*(p.id for p in there.points), *(p.id for p in there.corners)]
    corners, others = (options["param_space"]["points"]["grid_search"] for options in made)  # a round each
    trials = [*corners, *others]
    assert {id for trial in corners for id in trial} == {"ideal-1", "ideal-2"}
    assert sorted(id for trial in trials for id in trial) == sorted(ids)
    assert 2 <= len(trials) < len(ids)

    reports = logged(tmp_path / "there", "point")
    assert sorted(report["id"] for report in reports) == sorted(ids)
    assert {(report["state"], report["host"]) for report in reports} == {("done", socket.gethostname())}

    steps = [path.name.rsplit("-", 2) for path in notes.iterdir()]
    assert len(steps) == 7 * 4 * 4
    assert {threads for _, _, threads in steps} == {"1"}
    for is_corner in (True, False):  # each round has workers of its own
        workers = {int(process) for name, process, _ in steps if name.startswith("ideal") == is_corner}
        assert os.getpid() not in workers
        assert 1 <= len(workers) <= 2


def test_fleets_on_workers(running, tmp_path):
    run = partial(pm.explore, toys.two_regressions(), ps.EPO(), preferences=5, epochs=4, optimizer=SGD, fleet=3)
    run(out=tmp_path / "there", executor=pm.RayTune(workers=2))
    run(out=tmp_path / "here")
    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert len(logged(tmp_path / "there", "point")) == 7


@pytest.mark.fault(63)
def test_a_front_begun_here_goes_on_there(running, tmp_path):
    run = partial(pm.explore, toys.two_regressions(), ps.EPO(), preferences=3, epochs=2, optimizer=SGD)
    run(out=tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    (tmp_path / "there/points/point-002.json").unlink()
    run(out=tmp_path / "there", executor=pm.RayTune(workers=2))
    assert files(tmp_path / "there") == files(tmp_path / "here")
    reports = [line["id"] for line in logged(tmp_path / "there", "point")]
    assert reports[5:] == ["point-002"]


def test_a_method_that_asks_for_the_losses_elsewhere_gives_the_same_bytes(running, tmp_path):
    """With dropout, whose noise each closure draws anew."""
    problem, solver = toys.two_regressions(model=toys.Dropping), ps.CoGrad(gamma=0.5, hessian="hvp")
    run = partial(pm.explore, problem, solver, preferences=[[0.3, 0.7], [0.7, 0.3]], epochs=2, optimizer=SGD)
    run(out=tmp_path / "there", executor=pm.RayTune(workers=1))
    run(out=tmp_path / "here")
    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert len(files(tmp_path / "there")) == 3 + 2 + 2


@pytest.mark.slow
def test_networks_of_two_seeds_are_the_bytes_that_we_would_train(running, tmp_path):
    """A network is trained by one worker, which writes all of its points; and its points alone, where it is there."""
    run = partial(
        pm.explore, toys.two_regressions(), ps.Linear(), preferences=3, epochs=2, optimizer=SGD, seeds=2,
        front_model=pm.LowRank(rank=1),
    )  # fmt: skip
    notes = tmp_path / "notes"
    notes.mkdir()
    there = tmp_path / "there"
    run(out=there, executor=pm.RayTune(workers=2), callbacks=[Note(str(notes))])
    run(out=tmp_path / "here")
    assert files(there) == files(tmp_path / "here")
    assert len(files(there)) == 3 + 6 + 6 + 2  # study.json, front.json, points.csv; records; weights; networks
    steps = [path.name.rsplit("-", 3)[0] for path in notes.iterdir()]
    assert {name: steps.count(name) for name in set(steps)} == {"network": 8, "network-seed-2": 8}
    assert sorted(line["id"] for line in logged(there, "point")) == sorted(p.stem for p in there.glob("points/*.json"))
    (there / "points/point-002.json").unlink()
    run(out=there, executor=pm.RayTune(workers=2), callbacks=[Note(str(notes))])
    assert files(there) == files(tmp_path / "here")
    assert len(list(notes.iterdir())) == len(steps)


@dataclass
class Fault:
    """Makes loss 'b' NaN at the third step of the second point, or raises there."""

    raises: bool
    due: bool = False

    def callback(self, told: pm.Step) -> None:
        if (told.point, told.step) == ("point-002", 1):
            if self.raises:
                raise RuntimeError("enough")
            self.due = True

    def losses(self, model, batch):
        values = toys.losses(model, batch)
        if self.due:
            self.due = False
            values["b"] = values["b"] * float("nan")
        return values


@pytest.mark.fault(1)
@pytest.mark.parametrize(("raises", "reason"), [(False, "nan in 'b' at step 2"), (True, "RuntimeError: enough")])
def test_a_point_that_fails_is_recorded_and_the_rest_goes_on(running, tmp_path, raises, reason):
    def run(**where):
        fault = Fault(raises)
        problem, asked = toys.two_regressions(losses=fault.losses), [[0.2, 0.8], [0.5, 0.5], [0.8, 0.2]]
        with pytest.warns(UserWarning, match="1 of 3 points failed"):
            return pm.explore(problem, ps.Linear(), preferences=asked, epochs=2, callbacks=[fault.callback], **where)

    there, here = run(executor=pm.RayTune(workers=1), out=tmp_path / "there"), run(out=tmp_path / "here")
    assert [(p.id, p.reason) for p in there.failed] == [("point-002", reason)]
    assert [p.weights for p in there.points] == [p.weights for p in here.points]
    if raises:
        assert "in callback" in str(there.failed[0].trace)
    else:
        assert files(tmp_path / "there") == files(tmp_path / "here")


@pytest.mark.timeout(limit(120))
@pytest.mark.parametrize(
    ("resources", "workers"),
    [({"cpu": 64.0}, None), ({"cpu": 64.0}, 1), ({"cpu": 1.0, "iron": 1.0}, None)],
)
def test_resources_that_no_worker_fits_into(running, tmp_path, resources, workers):
    executor = pm.RayTune(resources=resources, workers=workers)
    with pytest.raises(ValueError, match="no worker fits into this Ray"):
        pm.explore(toys.two_regressions(), ps.Linear(), preferences=1, epochs=1, executor=executor, out=tmp_path / "f")


def test_resources_of_any_kind_are_understood(running):
    executor = pm.RayTune(resources={"cpu": 1.0, "gold": 1.0, "memory": 1e6})
    front = pm.explore(toys.two_regressions(), ps.Linear(), preferences=[[0.5, 0.5]], epochs=1, executor=executor)
    assert len(front) == 1


def tuned(tmp_path: Path, problem: pm.Problem, preferences: list) -> tune.ResultGrid:
    return tune.Tuner(
        pm.trainable(problem, ps.Linear(), epochs=2, optimizer=SGD),
        param_space={"preference": tune.grid_search(preferences)},
        run_config=tune.RunConfig(storage_path=str(tmp_path / "ray"), verbose=0),
    ).fit()


def test_trainable_reports_and_keeps_what_explore_does(running, tmp_path):
    asked = [[0.2, 0.8], [0.8, 0.2]]
    problem = toys.two_regressions(measure=measure)
    front = pm.explore(problem, ps.Linear(), preferences=asked, epochs=2, optimizer=SGD)
    results = list(tuned(tmp_path, problem, asked))
    assert [result.config["preference"] for result in results] == asked
    for result, point in zip(results, front.points, strict=True):
        assert result.metrics is not None
        reported = {key: result.metrics[key] for key in ("loss/a", "loss/b", "value/a", "value/b")}
        expected = (*point.losses["validate"], *point.values["validate"])
        assert reported == dict(zip(reported, expected, strict=True))
        assert result.metrics["control_error"] == point.control_error
        assert result.metrics["status"] == point.status
        assert result.checkpoint is not None
        with result.checkpoint.as_directory() as folder:
            (kept,) = Store(folder).read_points(["point-001"])
            assert (kept.preference, kept.losses, kept.weights) == (point.preference, point.losses, point.weights)
            weights = Store(folder).read_weights(str(kept.weights))
        assert weights.keys() == toys.TwoHeads().state_dict().keys()


def measure(model, batches) -> dict[str, float]:
    """Mean absolute outputs: not the losses."""
    with torch.no_grad():
        a, b = (np.mean([float(model(x)[i].abs().mean()) for x, _ in batches]) for i in (0, 1))
    return {"a": float(a), "b": float(b)}


def losses_without_number(model, batch):
    values = toys.losses(model, batch)
    return values | {"a": values["a"] * float("nan")}


@pytest.mark.fault(1)
def test_a_nan_fails_its_trial(running, tmp_path):
    grid = tuned(tmp_path, toys.two_regressions(losses=losses_without_number), [[0.2, 0.8]])
    assert grid.num_errors == 1
    assert "nan in 'a' at step 0" in str(grid[0].error)

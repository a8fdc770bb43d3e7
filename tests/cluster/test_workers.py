"""What happens to a sweep on Ray when its workers die, its storage is not shared, or what is asked for cannot be."""

import errno
import gc
import os
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.preflight.description import describe
from paretomtl.storage.store import Store
from paretomtl.sweep import ray_cluster, ray_tune, ray_worker  # before ray, whose settings it makes
from paretomtl.sweep.here import Here
from paretomtl.sweep.ray_cluster import NodeReport, check_nodes, count_workers
from paretomtl.training.numerics import Numerics, read_numerics, set_numerics
from paretomtl.training.study import Job, Study
from tests import toys
from tests.folders import files, logged

import ray  # isort: skip
from ray import tune  # isort: skip

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*degrees off the ray:UserWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",  # Tune leaves its logs open
)

run = partial(pm.explore, toys.two_regressions(), ps.EPO(), epochs=3, optimizer=partial(torch.optim.SGD, lr=0.1))


# --- workers that die ---


@dataclass(frozen=True)
class Deadly:
    """Kills its process at a step of a point, the first few times that it comes there."""

    folder: str
    point: str
    times: int
    step: int = 5

    def __call__(self, told: pm.Step) -> None:
        if (told.point, told.step) != (self.point, self.step):
            return
        for k in range(self.times):
            try:
                Path(self.folder, f"death-{k}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.fault(61)
@pytest.mark.fault(76)
@pytest.mark.parametrize("sent", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_worker_that_is_killed_is_replaced(running, tmp_path, sent):
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    storage = str(tmp_path / "ray") if sent else None
    executor = pm.RayTune(workers=2, points_per_trial=4, storage_path=storage)
    there = run(
        preferences=5, out=tmp_path / "there", executor=executor, callbacks=[Deadly(str(deaths), "point-003", 2)]
    )
    assert len(list(deaths.iterdir())) == 2
    run(preferences=5, out=tmp_path / "here")
    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert len(there) == 5
    ids = [line["id"] for line in logged(tmp_path / "there", "point")]
    assert sorted(ids) == sorted(set(ids))
    assert len(ids) == 7


@pytest.mark.slow
@pytest.mark.fault(61)
def test_a_point_that_kills_each_worker_fails_and_the_others_go_on(running, tmp_path):
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    executor = pm.RayTune(workers=1, points_per_trial=9)
    with pytest.warns(UserWarning, match="1 of 7 points failed"):
        front = run(
            preferences=5, out=tmp_path / "there", executor=executor, callbacks=[Deadly(str(deaths), "point-002", 99)]
        )
    (failed,) = front.failed
    assert failed.id == "point-002"
    assert str(failed.reason).startswith("WorkerLost: its worker died each time (ActorDiedError: ")
    assert "run out of memory" in str(failed.reason)
    assert len(list(deaths.iterdir())) == 3
    here = run(preferences=5, out=tmp_path / "here")
    assert [p.weights for p in front.points] == [p.weights for p in here.points if p.id != "point-002"]
    assert len(front.corners) == 2


# --- our own errors are not tried again ---


@dataclass(frozen=True)
class Full:
    """Data whose disk is full."""

    folder: str

    def __call__(self):
        (Path(self.folder) / f"{time.time_ns()}").touch()
        if len(list(Path(self.folder).iterdir())) > 1:  # after the dry run
            raise OSError(errno.ENOSPC, "No space left on device")
        return toys.loader(1, True)


@pytest.mark.fault(67)
def test_an_error_of_our_own_ends_the_sweep_at_once(running, tmp_path):
    opened = tmp_path / "opened"
    opened.mkdir()
    problem = toys.two_regressions(train=Full(str(opened)))
    with pytest.raises(OSError, match="No space left on device") as error:
        pm.explore(problem, ps.Linear(), preferences=1, epochs=1, executor=pm.RayTune(workers=1))
    assert error.value.errno == errno.ENOSPC
    assert len(list(opened.iterdir())) == 2


class Unportable:
    def __reduce__(self):
        raise TypeError("cannot pickle '_io.BufferedReader' object")

    def __iter__(self):
        return iter([(torch.zeros(4, 4), torch.zeros(4, 2))])

    def __len__(self):
        return 1


def test_a_study_that_cannot_travel(running):
    problem = toys.two_regressions(train=Unportable())
    with pytest.raises(TypeError, match=r"the study cannot travel to workers: .*; give what holds an open file"):
        pm.explore(problem, ps.Linear(), preferences=1, epochs=1, executor=pm.RayTune(workers=1))


# --- trials, storage, settings ---


@pytest.mark.fault(73)
@pytest.mark.fault(82)
def test_points_are_sent_through_rays_storage(running, tmp_path):
    """Workers do not see the front's folder; what Ray keeps, pickles among it, stays out of it."""
    executor = pm.RayTune(workers=1, storage_path=str(tmp_path / "ray"))
    front_model = {"preferences": 3, "epochs": 2, "front_model": pm.LowRank(rank=1), "seeds": 2}
    for name, asked in (("points", {"preferences": 5}), ("networks", front_model)):
        again = partial(pm.explore, toys.two_regressions(), ps.Linear(), **{"epochs": 3} | asked)
        again(out=tmp_path / name / "there", executor=executor)
        again(out=tmp_path / name / "here")
        assert files(tmp_path / name / "there") == files(tmp_path / name / "here")
    assert list((tmp_path / "ray").rglob("*.pkl"))


class Counts(tune.Callback):
    def __init__(self):
        self.trials: list = []

    def on_trial_start(self, iteration, trials, trial, **info):
        self.trials.append(trial.config["points"])


@pytest.mark.slow
def test_a_run_config_of_ones_own(running, tmp_path):
    told = Counts()
    config = tune.RunConfig(name="mine", storage_path=str(tmp_path / "ray"), callbacks=[told], verbose=0)
    run(preferences=3, out=tmp_path / "there", executor=pm.RayTune(points_per_trial=2, run_config=config))
    assert sorted(map(len, told.trials)) == [1, 2, 2]
    assert config.callbacks == [told]
    assert (tmp_path / "ray" / "mine").is_dir()
    gc.collect()  # so that Tune's logs are told of here
    with pytest.raises(ValueError, match="run_config has a storage_path as well; give one"):
        pm.RayTune(storage_path="elsewhere", run_config=config)


def test_points_per_trial():
    trials = pm.RayTune(points_per_trial=3)._split_tasks(_tasks(1, 1, 1, 1, 2, 5, 1))
    assert [len(trial) for trial in trials] == [3, 3, 5, 1]


def _tasks(*sizes: int) -> list[list[Job]]:
    return [[Job(f"p-{i}-{k}", torch.ones(2).numpy()) for k in range(n)] for i, n in enumerate(sizes)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers=0: give a whole number of at least 1"),
        ({"points_per_trial": True}, "points_per_trial=True: give a whole number"),
        ({"resources": {}}, "give what a worker needs, such as"),
        ({"resources": {"cpu": -1.0}}, "give what a worker needs"),
        ({"resources": {"cpu": float("nan")}}, "give what a worker needs"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        pm.RayTune(**settings)


@pytest.mark.fault(47)
def test_devices_and_resources_go_together():
    shared, plain = pm.RayTune(resources={"cpu": 1, "gpu": 0.25}), pm.RayTune()
    assert (shared.device("auto"), shared.device("cuda"), plain.device("auto")) == ("cuda", "cuda", "cpu")
    with pytest.raises(ValueError, match="give a worker no GPU; give it a share"):
        plain.device("cuda")
    with pytest.raises(ValueError, match="leaves idle"):
        shared.device("cpu")


# --- which Ray ---


@pytest.mark.fault(75)
def test_a_ray_that_is_joined_already(running):
    for same in (None, "auto", ray.get_runtime_context().gcs_address):
        with ray_cluster.connect(same, 1, {"cpu": 1}):
            assert ray.is_initialized()
        assert ray.is_initialized()
    with (
        pytest.raises(ValueError, match=r"leave address out, or call ray\.shutdown"),
        ray_cluster.connect("192.0.2.1:6379", 1, {"cpu": 1}),
    ):
        pass
    assert ray.is_initialized()


@pytest.mark.parametrize("address", ["ray://head:10001"])
def test_a_sweep_is_not_led_from_outside(address):
    with pytest.raises(ValueError, match=r"cannot be led from outside of the cluster.*ray job submit"):
        ray_cluster._strip_scheme(address)


@pytest.mark.fault(75)
def test_a_ray_that_is_too_old(monkeypatch):
    import importlib.util

    monkeypatch.delattr(tune, "RunConfig")
    found = importlib.util.find_spec("paretomtl.sweep.ray_cluster")
    assert found is not None
    assert found.loader is not None
    with pytest.raises(ImportError, match=r"ray [\d.]+ is too old: pip install 'paretomtl\[ray\]'"):
        found.loader.exec_module(importlib.util.module_from_spec(found))


def node(cpus: float, **more: float) -> dict:
    return {"Resources": {"CPU": cpus, "node:10.0.0.1": 1.0, **more}}


def test_room_is_counted_node_by_node():
    assert count_workers({"cpu": 1}, [node(2.0), node(3.5)]) == 5
    assert count_workers({"cpu": 0.5, "gpu": 0.25}, [node(8.0, GPU=1.0), node(8.0)]) == 4
    assert count_workers({"cpu": 0.1}, [node(0.3)]) == 3
    with pytest.raises(
        ValueError, match=r"no worker fits into this Ray, whose nodes have \[{'CPU': 2.0}, {'CPU': 2.0}\]"
    ):
        count_workers({"cpu": 3}, [node(2.0), node(2.0)])


# --- what nodes say of themselves ---

OURS = ray_cluster._versions()


@pytest.mark.fault(69)
@pytest.mark.parametrize(
    ("look", "message"),
    [
        (
            NodeReport(False, "", 2**40, OURS),
            "node n 10.0.0.2 does not see what is written to .* storage that all nodes share",
        ),
        (
            NodeReport(True, "PermissionError: Permission denied", 2**40, OURS),
            r"cannot write to .* \(PermissionError: Perm",
        ),
        (
            NodeReport(True, f".{'0' * 8}-1-{'0' * 12}.tmp", 2**40, OURS),
            "has another folder at .*, which this one does not see",
        ),
    ],
)
def test_a_node_that_does_not_share_the_folder(look, message, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "LATE", 0.0)
    with pytest.raises(OSError, match=message):
        ray_cluster._check_node("n 10.0.0.2", look, tmp_path, 10)


@pytest.mark.fault(67)
def test_a_node_without_room(tmp_path):
    (tmp_path / "token").touch()
    found = ray_cluster._inspect(str(tmp_path), "token")
    assert found.saw
    ray_cluster._check_node("n", found, tmp_path, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["token"]
    with pytest.raises(
        OSError, match=r"has [\d,]+ bytes free on node n, and the weights that are to come take 1,000,0"
    ):
        ray_cluster._check_node("n", ray_cluster._inspect(str(tmp_path), "token"), tmp_path, 10**15)


def test_a_node_with_other_versions(tmp_path):
    other = NodeReport(True, "", 0, ("Python 3.8", *OURS[1:]))
    with pytest.raises(RuntimeError, match=r"node n has Python 3.8, torch .*, and this one Python 3.*install the same"):
        ray_cluster._check_node("n", other, None, 0)


@pytest.mark.fault(67)
def test_a_disk_without_room_is_found_before_any_work(running, tmp_path):
    with pytest.raises(OSError, match="make room, or give an out= elsewhere"):
        check_nodes(tmp_path, 10**15, {"cpu": 1})


@dataclass
class Trial:
    status: str


def test_waiting_for_a_worker_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_tune, "PATIENCE", -1.0)
    forward = ray_tune._Forwarder(ray_tune.Store(tmp_path), print, {"cpu": 8})
    forward.on_step_end(0, [Trial("RUNNING"), Trial("PENDING")])
    with pytest.warns(UserWarning, match=r"no worker runs: Ray has no room for {'cpu': 8}, or is slow to start one"):
        forward.on_step_end(1, [Trial("PENDING")])
    forward.on_step_end(2, [Trial("PENDING")])
    assert len(logged(tmp_path, "warning")) == 1


def test_a_record_that_does_not_arrive(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "LATE", 0.0)
    forward = ray_tune._Forwarder(ray_tune.Store(tmp_path), print, {})
    forward.on_trial_result(0, [], None, {"points": [["point-001", 1.0, "h"]]})
    with pytest.raises(FileNotFoundError, match="h wrote the record of point-001, but it is not in"):
        forward.on_step_end(0, [])


# --- the log ---


@pytest.mark.fault(73)
def test_workers_do_not_write_the_log(tmp_path, monkeypatch):
    """The driver alone does: what a worker has to say, such as of a checkpoint that is damaged, it reports."""
    out, told = tmp_path / "front", []

    def stop(step: pm.Step) -> None:
        if step.step == 2:
            raise KeyboardInterrupt

    ask = partial(pm.explore, toys.two_regressions(), ps.Linear(), preferences=1, epochs=1, out=out, normalise=None)
    with pytest.raises(pm.Interrupted):
        ask(callbacks=[stop], executor=Here(0.0))
    (tensors,) = (out / "checkpoints").glob("*.safetensors")
    tensors.unlink()
    before = (out / "log.jsonl").read_bytes()
    study = Study(
        problem=toys.two_regressions(), solver=ps.Linear(), preferences=np.array([[0.5, 0.5]]), corners=True, epochs=1
    )
    monkeypatch.setattr(ray_worker.tune, "report", told.append)
    store, packed = Store(out), cloudpickle.dumps(study)
    ray_worker.run_trial({"points": ["point-001"]}, packed, read_numerics(), store.study, store.layout, str(out), 0.0)
    assert [id for news in told for id, _, _ in news["points"]] == ["point-001"]
    (warning,) = [text for news in told for text in news["warnings"]]
    assert warning.startswith("the checkpoint of point-001 is not used: ")
    assert (out / "log.jsonl").read_bytes() == before


# --- settings of torch ---


class Wide(toys.TwoHeads):
    """A model of the default dtype of its process."""

    def forward(self, x):
        return super().forward(x.to(self.trunk.weight.dtype))


@pytest.fixture
def of_float64():
    """The leading process has other settings than torch's own."""
    before = read_numerics()
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("high")
    yield
    set_numerics(before)


@pytest.mark.fault(110)
@pytest.mark.usefixtures("of_float64")
def test_a_worker_takes_the_settings_of_the_leading_process(tmp_path, monkeypatch):
    problem, out = toys.two_regressions(model=Wide), tmp_path / "front"
    study = Study(problem=problem, solver=ps.Linear(), preferences=np.array([[0.5, 0.5]]), corners=False, epochs=1)
    store, numerics, packed = Store(out), read_numerics(), cloudpickle.dumps(study)
    store.create(describe(study))
    monkeypatch.setattr(ray_worker.tune, "report", lambda news: None)
    set_numerics(Numerics())  # as a worker begins
    ray_worker.run_trial({"points": ["point-001"]}, packed, numerics, store.study, store.layout, str(out), 0.0)
    assert read_numerics() == numerics
    (point,) = store.read_points()
    assert {t.dtype for t in store.read_weights(point.weights).values()} == {torch.float64}


@pytest.mark.fault(110)
@pytest.mark.usefixtures("of_float64", "running")
def test_workers_compute_with_the_settings_of_the_leading_process(tmp_path):
    ask = partial(pm.explore, toys.two_regressions(model=Wide), ps.Linear(), preferences=2, epochs=1)
    ask(out=tmp_path / "there", executor=pm.RayTune(workers=1))
    ask(out=tmp_path / "here")
    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert Store(tmp_path / "there").study["numerics"] == {"dtype": "float64", "matmul_precision": "high"}

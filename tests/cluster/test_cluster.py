"""A real cluster on one machine, each node a raylet of its own, and what clusters do to a sweep."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.sweep import ray_cluster  # noqa: F401 - before ray, whose settings it makes
from paretomtl.sweep.interrupt import restore_handlers
from tests import toys
from tests.folders import files, logged
from tests.limits import limit

import ray  # isort: skip
from ray.cluster_utils import Cluster  # isort: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(limit(600)),
    pytest.mark.filterwarnings(
        "ignore:.*degrees off the ray:UserWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",  # Tune leaves its logs open
    ),
]
QUICK = {  # so that a lost node is noticed within seconds
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": f"{limit(2000):.0f}",
    "RAY_health_check_failure_threshold": "4",
}
POINTS = 9  # and two corners
STEPS = 32  # of each


@dataclass(frozen=True)
class Slowly:
    """Takes its time at each step, and notes in which process each was."""

    folder: str
    seconds: float = 0.05

    def __call__(self, told: pm.Step) -> None:
        with Path(self.folder, str(os.getpid())).open("a") as log:
            log.write(f"{told.point} {told.step}\n")
        time.sleep(self.seconds)


def sweep(out: Path, **more) -> pm.Front:
    return pm.explore(
        toys.two_regressions(), ps.EPO(), preferences=POINTS, epochs=8, out=out,
        optimizer=partial(torch.optim.SGD, lr=0.1), **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def cluster():
    before = {name: os.environ.get(name) for name in QUICK}
    os.environ.update(QUICK)
    with restore_handlers():
        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        yield found
    finally:
        ray.shutdown()
        found.shutdown()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "front"
    sweep(out)
    return files(out)


@pytest.fixture
def notes(tmp_path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def records(out: Path) -> int:
    return len(list(out.glob("points/*.json")))


def when(out: Path, n: int, what) -> threading.Thread:
    """Do something in mid-sweep, once there are n records."""

    def wait():
        while records(out) < n:
            time.sleep(0.02)
        what()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def assert_gone_on_with(notes: Path, deaths: int) -> None:
    """Each step was taken once, but for those in work at a death."""
    steps = [line for path in notes.iterdir() for line in path.read_text().splitlines()]
    assert len(set(steps)) == (POINTS + 2) * STEPS <= len(steps) <= (POINTS + 2) * STEPS + deaths


def each_told_of_once(out: Path) -> None:
    ids = [line["id"] for line in logged(out, "point")]
    assert len(ids) == len(set(ids)) == POINTS + 2


@pytest.mark.fault(61)
@pytest.mark.fault(62)
def test_a_node_is_taken_away_and_a_worker_killed_in_mid_sweep(cluster, tmp_path, notes, undisturbed):
    _, second = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    out = tmp_path / "front"

    def kill_a_worker():
        alive = [int(p.name) for p in sorted(notes.iterdir(), key=lambda p: p.stat().st_mtime)]
        os.kill(alive[-1], signal.SIGKILL)

    removal = when(out, 2, lambda: cluster.remove_node(second, allow_graceful=False))
    killing = when(out, 6, kill_a_worker)
    executor = pm.RayTune(address=cluster.address, checkpoint_seconds=0.0)
    sweep(out, executor=executor, callbacks=[Slowly(str(notes))])
    removal.join(limit(60))
    killing.join(limit(60))
    assert files(out) == undisturbed
    each_told_of_once(out)
    assert len(list(notes.iterdir())) >= 3  # two workers, and those that took their places
    assert_gone_on_with(notes, deaths=2)
    assert not ray.is_initialized()


DRIVER = """
    import sys
    from pathlib import Path
    sys.path[:0] = {path!r}
    import paretomtl as pm
    from tests.cluster.test_cluster import Slowly, sweep
    print("begun", flush=True)
    executor = pm.RayTune(address={address!r}, checkpoint_seconds=0.0)
    sweep(Path({out!r}), executor=executor, callbacks=[Slowly({notes!r})])
"""


@pytest.mark.fault(63)
def test_the_driver_is_killed_and_started_again(cluster, tmp_path, notes, undisturbed):
    while sum(node["Alive"] for node in cluster_nodes(cluster)) < 3:
        cluster.add_node(num_cpus=1)
    out = tmp_path / "front"
    code = DRIVER.format(path=sys.path, out=str(out), address=cluster.address, notes=str(notes))
    for n in (2, 6):
        driver = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        while records(out) < n:
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.02)
        driver.kill()
        driver.communicate()
    left = POINTS + 2 - records(out)
    assert left > 0
    sweep(out, executor=pm.RayTune(address=cluster.address), callbacks=[Slowly(str(notes), 0.0)])
    assert files(out) == undisturbed
    assert_gone_on_with(notes, deaths=4)
    ids = [line["id"] for line in logged(out, "point")]
    assert len(ids) == len(set(ids))
    assert [line["left"] for line in logged(out, "resumed")][-1] <= left


def cluster_nodes(cluster: Cluster) -> list[dict]:
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        return ray.nodes()
    finally:
        ray.shutdown()


@pytest.mark.fault(69)
def test_a_node_that_does_not_share_the_folder_is_found_before_any_work(cluster, tmp_path):
    """The node sees another disk where the front's folder is: a mount of its own."""
    unshare = shutil.which("unshare")
    there = tmp_path / "storage"
    there.mkdir()
    mount = f"mount -t tmpfs none {there}"
    if unshare is None or subprocess.run([unshare, "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("no mounts of one's own here: they need root")
    start = f"{Path(sys.executable).parent / 'ray'} start --address={cluster.address} --num-cpus=1 --block"
    node = subprocess.Popen(
        [unshare, "-m", "sh", "-c", f"{mount} && exec {start}"],
        env=os.environ | {"RAY_raylet_start_wait_time_s": f"{limit(60):.0f}"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        before = sum(n["Alive"] for n in cluster_nodes(cluster))
        end = time.monotonic() + limit(60)
        while sum(n["Alive"] for n in cluster_nodes(cluster)) <= before and time.monotonic() < end:
            time.sleep(0.5)
        with pytest.raises(OSError, match=r"does not see what is written to .* storage that all nodes share"):
            sweep(there / "front", executor=pm.RayTune(address=cluster.address))
        assert records(there / "front") == 0
        storage = str(tmp_path / "ray")  # which this node does share
        sweep(tmp_path / "sent", executor=pm.RayTune(address=cluster.address, storage_path=storage))
        assert len(json.loads((tmp_path / "sent" / "front.json").read_text())["states"]) == POINTS + 2
    finally:
        os.killpg(node.pid, signal.SIGKILL)
        node.communicate()

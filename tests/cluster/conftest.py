import pytest

from paretomtl.sweep import ray_cluster  # noqa: F401 - before ray, whose settings it makes
from paretomtl.sweep.interrupt import restore_handlers

import ray  # isort: skip


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a Ray come last: those before them need that there is none."""
    items.sort(key=lambda item: "running" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def running():
    """The one Ray of the session: two processors, and two pieces of gold."""
    with restore_handlers():
        ray.init(address="local", num_cpus=2, resources={"gold": 2}, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()

"""One small study for the tests of what stops a run, and what must hold of its folder then and afterwards."""

import os
from functools import partial
from pathlib import Path

import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from tests import toys
from tests.folders import files

ROOT = Path(pm.__file__).parents[1]
PATHS = os.pathsep.join([str(ROOT), str(ROOT / "solvers")])
explore = partial(
    pm.explore, toys.two_regressions(), ps.Linear(), preferences=3, epochs=2, optimizer=partial(torch.optim.SGD, lr=0.1)
)


def at(point: str, act):
    """A callback that acts once, at the third step of a point; and the list of all steps that it has seen."""
    steps = []

    def callback(told: pm.Step) -> None:
        steps.append((told.point, told.step))
        if steps[-1] == (point, 2):
            act()

    return callback, steps


BEFORE = ("ideal-1", "ideal-2", "point-001", "point-002")  # point-003, which comes last


def assert_goes_on(out: Path, whole: dict[str, bytes], there=BEFORE) -> None:
    """What was written is intact, nothing is torn, and resuming gives the bytes of a run that nothing stopped."""
    found = verify(out)
    assert found.damaged == {}
    assert set(found.foreign) <= set(whole)  # weights without their record, at most
    assert {p.id for p in Store(out).read_points()} == set(there)
    explore(out=out)
    assert files(out) == whole
    assert str(verify(out)) == "every file is as it was written"

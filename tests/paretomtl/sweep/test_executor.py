"""The contract of an executor: one of one's own ends with the same bytes as `Here`, whatever the order of its tasks."""

import contextlib
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from tests import toys
from tests.folders import files

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@dataclass(frozen=True)
class Backwards(pm.Executor):
    """The last task first; keeps what it sees."""

    events: list = field(default_factory=list)

    def device(self, asked: str) -> str:
        self.events.append(asked)
        return "cpu"

    @contextlib.contextmanager
    def opened(self):
        self.events.append("opened")
        yield
        self.events.append("closed")

    def run(self, study, jobs, store, report):
        splits = study.open()
        for task in reversed(study.tasks(jobs)):
            for computed in pm.compute_task(study, task, splits, store):
                assert isinstance(computed, pm.ComputedPoint)
                [record] = store.read_points([computed.point.id])
                assert record == computed.point  # before it is reported
                assert computed.seconds >= 0
                self.events.append(computed.point.id)
                report(computed)


STUDIES = {
    "apart": {"preferences": 2},
    "rounds": {"preferences": pm.Refine(2, 3)},
    "a fleet": {"preferences": 2, "fleet": 2},
    "a front model": {"preferences": 2, "front_model": pm.LowRank(rank=1), "seeds": 2},
}


def explored(out: Path, executor: pm.Executor | None, **changes) -> pm.Front:
    settings = {"epochs": 1, "optimizer": partial(torch.optim.Adam, lr=0.01)} | changes
    return pm.explore(toys.two_regressions(), ps.Linear(), out=out, executor=executor, **settings)


@pytest.mark.parametrize("study", STUDIES)
def test_an_executor_of_one_s_own_ends_with_the_same_bytes(study, tmp_path):
    executor = Backwards()
    front = explored(tmp_path / "own" / "front", executor, **STUDIES[study], device="any")
    explored(tmp_path / "here" / "front", None, **STUDIES[study])
    assert files(front.folder) == files(tmp_path / "here" / "front")
    first, begin, *ids, end = executor.events
    assert (first, begin, end) == ("any", "opened", "closed")
    assert sorted(ids) == sorted(p.id for p in front.every)
    log = (front.folder / "log.jsonl").read_text()
    assert all(f'"{id}"' in log for id in ids)


@dataclass(frozen=True)
class Failing(pm.Executor):
    """Computes one task, and then has no more machines."""

    def run(self, study, jobs, store, report):
        for computed in pm.compute_task(study, study.tasks(jobs)[0], study.open(), store):
            report(computed)
        raise ConnectionError("no machine is left")


def test_what_an_executor_has_written_stays_if_it_raises(tmp_path):
    with pytest.raises(ConnectionError, match="no machine is left"):
        explored(tmp_path / "own" / "front", Failing(), preferences=2)
    begun = time.time_ns()
    front = explored(tmp_path / "own" / "front", None, preferences=2)
    assert (front.folder / "points" / "ideal-1.json").stat().st_mtime_ns < begun
    explored(tmp_path / "here" / "front", None, preferences=2)
    assert files(front.folder) == files(tmp_path / "here" / "front")

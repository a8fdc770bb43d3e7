"""Running out of memory: the point fails and says of what, what it held is let go, and the others go on."""

import re
import weakref
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.storage.verify import verify
from paretomtl.training import memory
from tests import toys
from tests.one_point import SGD

THREE = [[0.2, 0.8], [0.5, 0.5], [0.8, 0.2]]
PEAK = r"and the most in use so far was ([\d,]+) bytes of this process; smaller batches help, fewer points in a fleet,"

pytestmark = [pytest.mark.fault(48), pytest.mark.filterwarnings("ignore:.*points failed:UserWarning")]


def on_the_cpu(model):
    return torch.empty(2**60, dtype=torch.uint8).sum()  # more than there are addresses


def by_numpy(model):
    return float(np.empty(2**60, dtype=np.uint8)[0])


def by_the_user(model):
    raise MemoryError


def wrapped(model):
    try:
        on_the_cpu(model)
    except RuntimeError as error:
        raise ValueError("the losses could not be taken") from error


@dataclass
class Hungry:
    """Losses that take too much at one step of one point, and see which models of those before are still there."""

    take: object
    point: str = "point-002"
    due: bool = False
    there: dict[int, weakref.ref] = field(default_factory=dict)
    held: list[int] = field(default_factory=list)

    def callback(self, told: pm.Step) -> None:
        self.due = self.due or (told.point, told.step) == (self.point, 1)
        if told.step == 0:
            self.held.append(sum(model() is not None for model in self.there.values()))

    def losses(self, model, batch):
        values = toys.losses(model, batch)
        if model.training and torch.is_grad_enabled():
            self.there[id(model)] = weakref.ref(model)
        if self.due:
            self.due = False
            values["b"] = values["b"] + self.take(model)
        return values


def run(hungry: Hungry | None, **asked) -> pm.Front:
    problem = toys.two_regressions(**({"losses": hungry.losses} if hungry else {}))
    asked = {"preferences": THREE, "steps": 8, "optimizer": SGD} | asked
    return pm.explore(problem, ps.Linear(), callbacks=[hungry.callback] if hungry else [], **asked)


@pytest.fixture(scope="module")
def alone():
    return run(None)


@pytest.mark.parametrize(
    ("take", "number"),
    [
        (on_the_cpu, "1,152,921,504,606,846,976 bytes were asked for"),
        (by_numpy, "1.00 EiB were asked for"),
        (by_the_user, "how many bytes were asked for is not said"),
        (wrapped, "1,152,921,504,606,846,976 bytes were asked for"),
    ],
)
def test_a_point_that_runs_out_of_memory_fails_and_the_others_go_on(alone, take, number):
    hungry = Hungry(take)
    front = run(hungry)
    (failed,) = front.failed
    said = re.match(f"oom: {number}, {PEAK}", failed.reason)
    assert said, failed.reason
    assert 2**24 < int(said[1].replace(",", "")) < 2**40
    assert (failed.id, failed.counts["steps"], failed.weights) == ("point-002", 2, None)
    assert f"in {take.__name__}" in failed.trace
    assert [p.weights for p in front.points] == [alone.points[0].weights, alone.points[2].weights]
    assert hungry.held == [1, 1, 1]  # the model in training, and none of before
    assert str(verify(front.folder)) == "every file is as it was written"


def test_a_fleet_fails_together_and_the_next_one_goes_on():
    hungry = Hungry(on_the_cpu, "point-001")
    front, whole = run(hungry, fleet=2), run(None, fleet=2)
    assert [p.id for p in front.failed] == ["point-001", "point-002"]
    assert {p.reason[:45] for p in front.failed} == {"oom: 1,152,921,504,606,846,976 bytes were ask"}
    assert len({p.trace for p in front.failed}) == 1
    assert front.points[0].weights == whole.points[2].weights
    assert hungry.held == [1, 1, 1]


def test_all_points_of_a_network_fail_and_those_of_the_next_seed_go_on():
    hungry, asked = Hungry(on_the_cpu, "network"), {"front_model": pm.FiLM(hidden=8), "seeds": 2}
    front, whole = run(hungry, **asked), run(None, **asked)
    assert {(p.seed, p.reason[:45]) for p in front.failed} == {(0, "oom: 1,152,921,504,606,846,976 bytes were ask")}
    assert len(front.failed) == 3
    assert [p.weights for p in front.points] == [p.weights for p in whole.points if p.seed == 1]
    assert hungry.held == [1, 1]


def test_where_all_points_run_out_the_error_says_so():
    with pytest.raises(pm.EmptyFrontError, match=r"all points failed: oom: 1,152,921,504,606,846,976 bytes were"):
        run(Hungry(on_the_cpu, "point-001"), preferences=THREE[:1])


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has …"), "20.00 GiB were"),
        (torch.cuda.OutOfMemoryError("Tried to allocate more than 1EB memory."), "more than 1EB were asked for"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might …"), "how many bytes were asked for is"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling …"), "how many bytes were asked for is"),
    ],
)
def test_what_a_gpu_says(error, number):
    assert re.match(
        rf"oom: {number}.*, and the most in use so far was [\d,]+ bytes on a GPU; ", memory.out_of_memory_reason(error)
    )


def test_other_errors_are_not_taken_for_it():
    assert memory.out_of_memory_reason(RuntimeError("the pool cannot allocate 3 bytes more")) is None
    assert memory.out_of_memory_reason(ValueError("out of memory")) is None


def test_what_the_frames_of_an_error_hold_is_let_go():
    def held():
        batch = torch.ones(3)
        refs.append(weakref.ref(batch))
        wrapped(None)

    refs: list[weakref.ref] = []
    with pytest.raises(ValueError) as error:
        held()
    assert refs[0]() is not None
    memory.forget(error.value)
    assert refs[0]() is None


@pytest.mark.gpu
@pytest.mark.parametrize("asked", [{}, {"fleet": 1}, {"front_model": pm.FiLM(hidden=8), "seeds": 2}], ids=str)
def test_on_a_gpu_its_memory_is_free_for_the_next_point(asked):
    free = []

    def take(model):
        kept = torch.ones(2**28, device="cuda")  # a GiB
        return kept.sum() + torch.empty(2**50, dtype=torch.uint8, device="cuda").sum()

    hungry = Hungry(take, "network" if "front_model" in asked else "point-002")
    problem = toys.two_regressions(losses=hungry.losses)
    front = pm.explore(
        problem, ps.Linear(), preferences=THREE, steps=8, optimizer=SGD, device="cuda",
        callbacks=[hungry.callback, lambda told: free.append(torch.cuda.memory_reserved())], **asked,
    )  # fmt: skip
    said = re.match(r"oom: 1024\.00 TiB were asked for, .* was ([\d,]+) bytes on a GPU", front.failed[0].reason)
    assert said, front.failed[0].reason
    assert int(said[1].replace(",", "")) >= 2**30
    assert len(front.points) == (3 if "front_model" in asked else 2)
    assert free[-1] < 2**30

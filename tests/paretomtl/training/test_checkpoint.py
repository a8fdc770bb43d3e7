"""A training that was stopped goes on from its checkpoint, and ends with the bytes of one that was not."""

import json
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, WeightedRandomSampler

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.storage.checkpoints import Encoded
from paretomtl.training import watch
from paretomtl.training.checkpoint import Checkpointer, decode, encode, is_identical
from studies.analytic import fonseca
from tests import toys
from tests.every_method import EVERY
from tests.networks import Tied
from tests.one_point import partly
from tests.stopped import Elsewhere, Steps, assert_equal, assert_goes_on, outcome, study_of

# --- values ---


class Pair(NamedTuple):
    first: object
    second: object


@dataclass
class Record:
    a: object
    pair: Pair


def through_json(found: Encoded) -> Encoded:
    return Encoded(json.loads(json.dumps(found.value, allow_nan=False)), found.tensors)


VALUES = [
    None, True, 3, -0.0, 0.1 + 0.2, "text", [], (), {}, [1, (2, [3.5])], {1: "a", "1": (None,), (0, 1): {"on": 2}},
    float("inf"), float("-inf"), {"tensor": "0", "float": "nan"}, 10**30, [1, 1.0, True],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=toys.named)
def test_plain_values(value):
    found = decode(through_json(encode(value)))
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool],
    ids=toys.named,
)
def test_tensors(dtype):
    value = {"a": torch.randn(3, 4).to(dtype).T, "scalar": torch.tensor(1).to(dtype), "empty": torch.empty(0, 3)}
    found = decode(through_json(encode(value)))
    for name, tensor in value.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_arrays_numbers_of_numpy_and_not_a_number():
    found = decode(
        through_json(encode([np.arange(3, dtype=np.uint32), np.full((), np.inf), np.float64(2.5), float("nan")]))
    )
    assert found[0].dtype == np.uint32
    assert found[0].tolist() == [0, 1, 2]
    assert (found[1].shape, float(found[1])) == ((), np.inf)
    assert found[2] == 2.5
    assert np.isnan(found[3])


def test_a_generator_goes_on():
    generator = torch.Generator().manual_seed(3)
    torch.rand(5, generator=generator)
    found = decode(through_json(encode((generator,))))
    assert torch.equal(torch.rand(5, generator=found[0]), torch.rand(5, generator=generator))


def test_records_have_the_classes_of_today():
    value = [Record(torch.ones(2), Pair(1, (Pair(None, 2.0), "x")))]
    found = through_json(encode(value))
    assert repr(decode(found, like=value)) == repr(value)
    for like in (None, [], [Pair(1, 2)], [Record(1, None)], [Record(1, (1, 2))]):
        with pytest.raises(ValueError, match="stands where a record of 2 fields was"):
            decode(found, like)
    assert "Record" not in json.dumps(found.value)  # nothing to be imported by its name


@pytest.mark.parametrize(
    "value", [len, {"f": lambda x: x}, {1, 2}, object(), torch.ones(2).to_sparse(), 1j], ids=toys.named
)
def test_what_would_need_a_pickle_is_refused(value):
    with pytest.raises(TypeError, match="it holds a "):
        encode([value])


def test_the_same_to_the_last_bit():
    nan = torch.tensor([float("nan"), 0.0])
    assert is_identical(encode([nan, 1]), encode([nan.clone(), 1]))
    assert not is_identical(encode([nan, 1]), encode([torch.tensor([float("nan"), -0.0]), 1]))
    assert not is_identical(encode([nan, 1]), encode([nan.double(), 1]))
    assert not is_identical(encode([nan, 1]), encode([nan, 2]))


@pytest.mark.parametrize(
    "found", [{}, {"import": "os"}, {"tensor": "7"}, {"generator": "0", "on": "moon"}], ids=toys.named
)
def test_what_was_not_encoded_is_an_error(found):
    with pytest.raises((ValueError, KeyError, RuntimeError)):
        decode(Encoded({"dict": [["a", found]]}, {}))


# --- points ---

ALONE = [
    *(solver for solver in EVERY.values() if not solver.joint),
    ps.EPO(backend="cvxpy"), ps.CoGrad(hessian="hvp"), toys.Turned(),
]  # fmt: skip
TOGETHER = [ps.HypervolumeAscent((4.0, 4.0), 0.9), ps.MOOSVGD(phase_one=0.9), ps.ParetoMTL(0.9), ps.EPO(), ps.Linear()]
OF_A_NETWORK = [ps.PHNHVI((4.0, 4.0)), ps.EPO(), ps.Linear(), ps.COSMOS()]
THREE = ((0.2, 0.8), (0.5, 0.5), (0.7, 0.3))


class Wider(toys.TwoHeads):
    """With two shared units, which can be rotated."""

    def __init__(self):
        super().__init__()
        self.trunk, self.a, self.b = nn.Linear(4, 2), nn.Linear(2, 1), nn.Linear(2, 1)


def test_every_joint_method_has_its_case():
    joint = {name for name, solver in EVERY.items() if solver.joint}
    assert joint <= {type(solver).__name__ for solver in (*TOGETHER, *OF_A_NETWORK)}


@pytest.mark.parametrize("solver", ALONE, ids=toys.named)
def test_a_point_of_every_method(solver):
    preferences = THREE if solver.uses_preference else THREE[:1]
    problem = toys.two_regressions(model=Wider) if isinstance(solver, ps.RotoGrad) else toys.two_regressions()
    assert_goes_on(study_of(problem, solver, preferences, epochs=1), last=2)


@pytest.mark.parametrize("last", [1, 4, 5, 8])
def test_at_every_place_of_an_epoch(last):
    assert_goes_on(study_of(toys.two_regressions(model=toys.Dropping), ps.EPO(), epochs=3), last)


class Normed(toys.TwoHeads):
    """With running statistics, a buffer that state_dict leaves out, and a count of calls that bends the losses."""

    def __init__(self):
        super().__init__()
        self.norm, self.calls = nn.BatchNorm1d(4), 0
        self.register_buffer("moved", torch.zeros(4), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            self.calls += 1
            self.moved += x.detach().mean(dim=0)
        x = nn.functional.dropout(self.norm(x), 0.2, self.training)
        return super().forward(x + 0.01 * self.calls * self.moved)


def test_buffers_and_counts_of_a_model():
    assert_goes_on(study_of(toys.two_regressions(model=Normed), ps.Linear()), last=6)


class TiedHeads(Tied):
    """Two outputs of a network that decodes with the weights of its embedding."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = super().forward((x.abs() * 2).long().clamp(max=6)).mean(dim=1)
        return z[:, 0], z[:, 1]


def test_tied_weights():
    assert_goes_on(study_of(toys.two_regressions(model=TiedHeads), ps.MGDA(), optimizer=torch.optim.AdamW), last=6)


def scheduled(scheduler, parameters):
    optimizer = torch.optim.AdamW(parameters, lr=0.02)
    return optimizer, scheduler(optimizer)


def warmed(optimizer):
    parts = [lr_scheduler.LinearLR(optimizer, total_iters=3), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[4])


ADAM = partial(torch.optim.Adam, lr=0.01)
OPTIMIZERS = [
    partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    *(partial(ADAM, **kind) for kind in ({"amsgrad": True}, {"foreach": True}, {"fused": True})),
    *(partial(kind, lr=0.01) for kind in (torch.optim.Adagrad, torch.optim.RMSprop, torch.optim.NAdam)),
    lambda p: torch.optim.Adam([{"params": p[:2]}, {"params": p[2:], "lr": 0.1}], lr=torch.tensor(0.01)),
]
SCHEDULERS = [
    partial(lr_scheduler.OneCycleLR, max_lr=0.05, total_steps=8),
    partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=3),
    partial(lr_scheduler.MultiStepLR, milestones=[2, 5]),
    partial(lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=3, cycle_momentum=False),
    partial(lr_scheduler.LambdaLR, lr_lambda=lambda step: 0.9**step),
    warmed,
]


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, *(partial(scheduled, s) for s in SCHEDULERS)], ids=toys.named)
def test_optimizers_and_schedulers(optimizer):
    assert_goes_on(study_of(toys.two_regressions(), ps.Linear(), optimizer=optimizer, steps=6), last=4)


def sampled(kind: str):
    """The toy's data, in an order that is drawn in several ways."""
    data = toys.regression(1)
    generator = torch.Generator()
    if kind == "batches":
        return DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data, generator=generator), 16, False))
    if kind == "weighted":
        return DataLoader(data, 16, sampler=WeightedRandomSampler(torch.rand(64).tolist(), 64, generator=generator))
    if kind == "no generator":
        return DataLoader(data, 16, shuffle=True)
    return Noisy()


class Noisy:
    """Batches with noise from the global generators of torch and numpy."""

    def __len__(self):
        return 4

    def __iter__(self):
        for x, y in toys.loader(1):
            yield x + 0.1 * torch.randn_like(x), y + 0.1 * float(np.random.rand())  # noqa: NPY002


@pytest.mark.parametrize("kind", ["batches", "weighted", "no generator", "noisy"])
def test_the_order_and_the_noise_of_data(kind):
    problem = toys.two_regressions(model=toys.Dropping, train=partial(sampled, kind))
    (trained,) = assert_goes_on(study_of(problem, ps.Linear()), last=6)
    assert len(trained.point.warnings) == (kind == "no generator")


def test_a_budget_of_steps_and_missing_labels():
    problem = partly("ab", "a", "b", "ab")
    (trained,) = assert_goes_on(study_of(problem, ps.Linear(), steps=11), last=9)
    assert trained.point.counts["steps"] == 11
    (trained,) = assert_goes_on(study_of(problem, ps.Linear(), ((1.0, 0.0),), steps=11), last=9)
    assert trained.point.counts["skipped"] == 3


@pytest.mark.fault(98)
@pytest.mark.parametrize("solver", [ps.EPO(), ps.Tchebycheff(), ps.Linear("balanced")], ids=toys.named)
def test_labels_that_were_collected_before_it(solver):
    study = study_of(partly("a", "a", "", "b"), solver, steps=12)
    for last in (3, 7):
        (trained,) = assert_goes_on(study, last)
        assert trained.point.warnings[0] == "labels of 'a' in 50%, of 'b' in 25% of the batches"


class Ray(ps.Linear):
    """Weights by the preference, and a residual that ceases to fall after a while, unlike for each point."""

    follows_ray = True

    def update(self, state, losses, preference):
        weights, state, status = super().update(state, losses, preference)
        late = (losses.detach() * preference).sum(dim=-1) - preference[..., 0]
        return weights, state, status._replace(residual=late.double().abs() + 1)


def test_a_deterministic_problem_that_stalls(monkeypatch):
    monkeypatch.setattr(watch, "STALL", 4)
    (trained,) = assert_goes_on(study_of(fonseca(), Ray(), ((0.3, 0.7),), steps=40), last=6)
    assert trained.point.counts["steps"] < 40


def test_a_failure_after_it_is_that_of_a_run_not_stopped():
    study = study_of(toys.two_regressions(), ps.Linear(), optimizer=partial(torch.optim.SGD, lr=50.0))
    (trained,) = assert_goes_on(study, last=2)
    assert trained.point.state == "failed"
    assert re.search("at step 3$", trained.point.reason)


# --- fleets, networks ---


@pytest.mark.parametrize("solver", TOGETHER, ids=toys.named)
def test_a_fleet(solver):
    study = study_of(toys.two_regressions(), solver, THREE, fleet=3, optimizer=ADAM)
    assert_goes_on(study, last=6)


START = float(toys.initial().a.bias.detach())


def only_near(model, batch):
    """Not a number as soon as a weight has moved, which happens to one point before the others."""
    found = toys.losses(model, batch)
    return found | {"a": found["a"] * torch.where((model.a.bias - START).abs().max() > 0.1, float("nan"), 1.0)}


def test_a_fleet_in_which_a_point_failed_before():
    problem = toys.two_regressions(losses=only_near)
    study = study_of(problem, ps.Linear(), ((0.05, 0.95), (0.5, 0.5), (0.95, 0.05)), fleet=3)
    found = assert_goes_on(study, last=5)
    assert [(t.point.state, t.point.counts["steps"]) for t in found] == [("done", 8), ("failed", 2), ("failed", 1)]


def test_a_fleet_that_stalls_point_by_point(monkeypatch):
    monkeypatch.setattr(watch, "STALL", 4)
    study = study_of(fonseca(), Ray(), ((0.2, 0.8), (0.5, 0.5), (0.9, 0.1)), steps=40, fleet=3)
    steps = [t.point.counts["steps"] for t in outcome(study)]
    assert min(steps) < max(steps)
    assert_goes_on(study, last=(min(steps) + max(steps)) // 2)


NETWORKS = {
    "film": pm.FiLM(hidden=8),
    "parts": pm.LowRank(rank=1, sampling=pm.Sampling("part", n=3)),
    "batches": pm.Hypernetwork(hidden=8, sampling=pm.Sampling("batch", n=2)),
    "samples": pm.Inputs(sampling=pm.Sampling("sample")),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network(kind):
    study = study_of(toys.two_regressions(), ps.Linear(), THREE, front_model=NETWORKS[kind], optimizer=ADAM)
    for last in (2, 6):  # before its best weights are looked for, and after
        assert_goes_on(study, last)


@pytest.mark.parametrize("solver", OF_A_NETWORK, ids=toys.named)
def test_a_network_of_every_method(solver):
    assert_goes_on(study_of(toys.two_regressions(), solver, THREE, front_model=NETWORKS["parts"], epochs=1), 3)


def test_a_network_with_missing_labels():
    balanced = ps.Linear(labels="balanced")
    study = study_of(partly("ab", "a", "", "b"), balanced, THREE, front_model=NETWORKS["batches"], steps=10)
    assert_goes_on(study, last=8)


def test_a_fleet_with_missing_labels():
    assert_goes_on(study_of(partly("ab", "a", "", "b"), ps.Linear("balanced"), THREE, fleet=3, steps=10), last=8)


# --- what is not gone on with ---


def stopped(study, keeper, last=6) -> None:
    with pytest.raises(KeyboardInterrupt):
        outcome(replace(study, callbacks=(Steps(last),)), keeper)


PLAIN = study_of(toys.two_regressions(), ps.Linear())


OTHERS = {
    "preference": ({"preferences": np.array([[0.4, 0.6]])}, "of other preferences"),
    "shapes": ({"problem": toys.two_regressions(model=Normed)}, "does not fit.*starts again: Error.* in loading"),
    "scheduler": ({"optimizer": partial(scheduled, SCHEDULERS[0])}, "does not fit, so it starts again"),
    "study": ({}, "of another study"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_checkpoint_of_something_else(kind):
    """The study's id, which is of code and settings, tells most of these before."""
    (changes, why), keeper, after = OTHERS[kind], Elsewhere(), Steps()
    stopped(PLAIN, keeper)
    if kind == "study":
        keeper.store.id = "another"
    study = replace(PLAIN, **changes)
    assert_equal(outcome(replace(study, callbacks=(after,)), keeper), outcome(study))
    assert after.done == list(range(8))
    assert re.search(why, "; ".join(keeper.told)), keeper.told


class Odd(torch.optim.SGD):
    """Keeps a function in its state."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.1)
        self.param_groups[0]["decay"] = lambda step: 1 / (1 + step)


def test_an_optimizer_that_cannot_be_written_has_no_checkpoints():
    keeper, after = Elsewhere(), Steps()
    study = replace(PLAIN, optimizer=Odd)
    stopped(study, keeper)
    assert keeper.kept == {}
    assert keeper.told == [
        "point-001 has no checkpoints, and starts again if it is stopped: it holds a builtins.function"
    ]
    assert_equal(outcome(replace(study, callbacks=(after,)), keeper), outcome(study))
    assert after.done == list(range(8))


class Forgetful(torch.optim.SGD):
    """Does not take up what it had."""

    def load_state_dict(self, state_dict):
        pass


def test_what_is_not_taken_up_as_it_was_kept_starts_again():
    keeper, after = Elsewhere(), Steps()
    study = replace(PLAIN, optimizer=partial(Forgetful, lr=0.1, momentum=0.9))
    stopped(study, keeper)
    assert_equal(outcome(replace(study, callbacks=(after,)), keeper), outcome(study))
    assert after.done == list(range(8))
    assert "starts again: the restored state is not the stored one" in keeper.told[0]


class Full(Elsewhere):
    """There is no room at some steps."""

    def put(self, name, files):
        if len(self.told) == 0:
            raise OSError(28, "No space left on device")
        super().put(name, files)


def test_no_room_for_a_checkpoint_is_told_once_and_the_training_goes_on():
    keeper = Full()
    assert_equal(outcome(PLAIN, keeper), outcome(PLAIN))
    assert len(keeper.told) == 1
    assert "no checkpoint of point-001 could be written: [Errno 28] No space left" in keeper.told[0]
    assert set(keeper.kept) == {"point-001"}


def test_it_is_due_after_so_many_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    keeper = Elsewhere(seconds=60.0)
    keeper.begin()
    assert not keeper.due()
    now[0] += 60
    assert keeper.due()
    outcome(PLAIN, keeper)
    assert keeper.kept == {}  # a training that begins has its own seconds

    class Slow(Elsewhere):
        def put(self, name, files):
            now[0] += 10

    slow = Slow(seconds=60.0)
    slow.begin()
    slow.keep(work := type("Work", (), {"name": "x", "jobs_key": [], "checkpoint": lambda self: {}})())
    assert work.name == "x"
    now[0] += 199
    assert not slow.due()
    now[0] += 1
    assert slow.due()  # a twentieth of the time goes into it, at most


def test_a_keeper_is_small():
    assert Checkpointer.__abstractmethods__ == {"write", "read", "drop", "warn"}

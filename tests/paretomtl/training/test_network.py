"""One network for the whole front, trained: its points, what stops or fails it, and the same bytes however it went."""

import os
import shutil
import signal
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.conditioned.bounds import write_out
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from paretomtl.training import network
from paretomtl.training.measuring import DeviceBatches
from paretomtl.training.network import mean_losses_over
from tests import toys
from tests.folders import differences, everything, files

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*do(es)? not dominate:UserWarning"),
]

ADAM, SGD = partial(torch.optim.Adam, lr=0.01), partial(torch.optim.SGD, lr=0.1)
BATCH = pm.Sampling("batch")
KINDS = {
    "a preference a sample": pm.FiLM(hidden=8),
    "film": pm.FiLM(hidden=8, sampling=pm.Sampling("batch", n=2)),
    "low rank": pm.LowRank(rank=1),
    "hypernetwork": pm.Hypernetwork(hidden=8, sampling=pm.Sampling("batch", n=2, ends=0.5)),
    "inputs": pm.Inputs(sampling=BATCH),
}


@dataclass
class Seen:
    """A callback that keeps what it is told, and acts at a step."""

    act: object = None
    at: tuple = ()
    steps: list[pm.Step] = field(default_factory=list)

    def __call__(self, told: pm.Step) -> None:
        self.steps.append(told)
        if (told.point, told.step) == self.at:
            self.act()


def explored(out: Path | None = None, front_model=KINDS["a preference a sample"], problem=None, **changes) -> pm.Front:
    """The network alone, unless the changes ask for corners."""
    alone = {"solver": ps.Linear(), "preferences": 3, "epochs": 2, "optimizer": ADAM, "normalise": None}
    return pm.explore(toys.two_regressions(**(problem or {})), out=out, front_model=front_model, **(alone | changes))


class Place(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([0.3, -0.2], dtype=torch.float64))


def distances(model: Place, batch: None) -> dict[str, Tensor]:
    ends = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    return {name: (model.x - end).square().sum() / 4 for name, end in zip("ab", ends, strict=True)}


PLACES = pm.Problem(["a", "b"], Place, distances, ref_point=[1.1, 1.1], deterministic=True)


# --- points ---


@pytest.mark.parametrize("kind", KINDS)
def test_every_point_is_a_plain_network_of_one_conditioned_network(kind, tmp_path):
    front = explored(tmp_path / "front", KINDS[kind])
    assert [p.id for p in front.points] == ["point-001", "point-002", "point-003"]
    assert not front.corners
    assert len({p.network for p in front.points}) == 1
    assert len({p.weights for p in front.points}) == 3
    assert {p.residual for p in front.points} == {None}
    for p in front.points:
        assert p.counts["steps"] == 8
        assert 4 <= p.counts["best_step"] <= 8
        model = front.load_model(p, toys.TwoHeads)
        assert p.losses["validate"] == pytest.approx(
            list(pm.evaluate(toys.two_regressions(), model).values()), rel=1e-6
        )
    assert len(files(tmp_path / "front")) == 3 + 3 + 3 + 1  # study.json, front.json, points.csv; records; weights
    found = verify(tmp_path / "front")
    assert str(found) == "every file is as it was written"
    assert found.foreign == {}


@pytest.mark.parametrize(
    "front_model", [pm.LowRank(rank=1), pm.Hypernetwork(hidden=32)], ids=lambda f: type(f).__name__
)
def test_it_learns_the_front(front_model):
    """As far as one model a preference, which have the same steps each."""
    run = partial(explored, preferences=5, epochs=60, optimizer=partial(torch.optim.Adam, lr=0.02))
    front, apart = run(front_model=front_model), run(front_model=None)
    assert front.map().monotone == (pytest.approx(-1), pytest.approx(-1))
    assert front.hypervolume() > 0.98 * apart._with(apart.points).hypervolume()


def test_a_step_is_told_to_callbacks():
    seen = Seen()
    explored(front_model=KINDS["hypernetwork"], solver=ps.EPO(), callbacks=[seen])
    assert [(told.point, told.epoch, told.step) for told in seen.steps] == [("network", k // 4, k) for k in range(8)]
    for told in seen.steps:
        assert told.preference.shape == (2,)
        assert told.preference.sum() == pytest.approx(1)
        assert set(told.losses) == set(told.weights) == {"a", "b"}
        assert sum(told.weights.values()) == pytest.approx(1)
    assert len({tuple(told.preference) for told in seen.steps}) > 4


def frozen() -> toys.TwoHeads:
    model = toys.TwoHeads()
    model.a.weight.requires_grad_(False)
    return model


def test_the_optimizer_is_given_what_is_trained():
    given = []

    def optimizer(parameters):
        given[:] = parameters  # the first call is the rehearsal's
        return SGD(given)

    explored(front_model=pm.LowRank(("trunk",), sampling=BATCH), problem={"model": frozen}, optimizer=optimizer)
    assert all(p.requires_grad for p in given)
    assert len(given) == 5 + 4  # all of the plain network's but one; two updates of two factors, one of them empty


# --- optimizers, schedules, clips ---


def scheduled(parameters, factor):
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def rises_from_30(step: int) -> float:
    return 1.0 if step < 30 else -1.0


def stays(step: int) -> float:
    return 0.0


@pytest.mark.parametrize(
    ("sizes", "seen"),
    [
        ([10, 10, 10, 10], [2, 2]),  # batches in turn
        ([260], [130, 130]),  # samples in turn
        ([150], [150, 150]),  # too few to deal out
    ],
)
def test_looks_at_the_validation_split_deal_it_out(sizes, seen):
    """What was seen is summed; where batches are dealt out whole, they are counted."""
    start = np.cumsum([0, *sizes])
    batches = [torch.arange(a, b, dtype=torch.float32)[:, None] for a, b in pairwise(start)]
    counted = {}

    def note(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        mine = counted.setdefault(id(model), [])
        mine.append(batch[:, 0])
        return {"a": batch.mean(), "b": -batch.mean()}

    problem = toys.two_regressions(losses=note)
    network = pm.LowRank(rank=1).attach(toys.TwoHeads(), 2)
    there, losses = mean_losses_over(
        network, problem, DeviceBatches(batches, "cpu"), np.array([[0.3, 0.7], [0.6, 0.4]])
    )
    found = [torch.cat(parts) for parts in counted.values()]
    per = len if len(sizes) == 1 else (lambda x: len(x) // sizes[0])
    assert [per(x) for x in found] == seen
    assert there.all()
    assert losses == pytest.approx(np.array([[float(x.mean()), -float(x.mean())] for x in found]))
    if sum(seen) != 2 * sum(sizes):
        assert torch.equal(torch.cat(found).sort().values, torch.arange(float(sum(sizes))))


def test_the_best_state_is_kept():
    """Steps up the gradient, from the thirtieth on: what was there before them is what a run of thirty steps has."""
    run = partial(
        pm.explore, PLACES, ps.Linear(), preferences=3, optimizer=partial(scheduled, factor=rises_from_30),
        normalise=None, front_model=pm.LowRank(rank=None, sampling=pm.Sampling("batch", n=8)),
    )  # fmt: skip
    front, short = run(steps=40), run(steps=30)
    assert {p.counts["best_step"] for p in front.points} == {30}
    assert {p.counts["steps"] for p in front.points} == {40}
    assert [p.weights for p in front.points] == [p.weights for p in short.points]
    assert {p.network for p in front.points} == {p.network for p in short.points}


@pytest.mark.filterwarnings("ignore:no trade-off on:UserWarning")
def test_a_scheduler_steps_after_every_step():
    front = explored(optimizer=partial(scheduled, factor=stays))
    for key, p in front.load_model(front.points[0], toys.TwoHeads).named_parameters():
        torch.testing.assert_close(p, toys.initial().get_parameter(key))


@pytest.mark.filterwarnings("ignore:no trade-off on:UserWarning")
def test_a_clip_bounds_each_gradient():
    def moved(clip):
        front = explored(front_model=pm.LowRank(sampling=BATCH), solver=ps.EPO(), optimizer=SGD, clip=clip)
        model = front.load_model(front.points[0], toys.TwoHeads)
        return sum(
            float((p - toys.initial().get_parameter(key)).detach().norm()) for key, p in model.named_parameters()
        )

    assert moved(1e-6) < 1e-4 < 0.01 < moved(None)


# --- deterministic problems ---


@pytest.mark.parametrize("solver", [ps.EPO(), ps.Tchebycheff(), ps.Linear()], ids=lambda s: type(s).__name__)
def test_a_deterministic_problem(solver):
    """The front is the segment between two places; the farther from a place, the larger its loss."""
    front_model = pm.Hypernetwork(hidden=32, sampling=pm.Sampling("batch", n=16))
    optimizer = partial(torch.optim.Adam, lr=0.02)
    run = partial(
        pm.explore, PLACES, solver, preferences=[[0.3, 0.7], [0.5, 0.5], [0.6, 0.4]],
        steps=200, front_model=front_model, optimizer=optimizer,
    )  # fmt: skip
    front = run()
    for p in front.points:
        a, b = p.losses["validate"]
        assert np.sqrt(a) + np.sqrt(b) == pytest.approx(1, abs=0.03)  # on the segment
        if not isinstance(solver, ps.Linear):
            assert p.control_error < 7
    assert [p.weights for p in run().points] == [p.weights for p in front.points]
    model = front.model_at([0.4, 0.6], Place)
    a, b = distances(model, None).values()
    assert front.points[1].losses["validate"][0] < float(a.detach()) < front.points[0].losses["validate"][0]


# --- labels that are missing ---


@dataclass(frozen=True)
class Labelled:
    """Batches of the toy, with the labels "a", "b", both or none; those without are NaN."""

    has: tuple[str, ...]

    def __call__(self) -> list:
        data = list(toys.loader(1))
        return [(x, torch.stack([y[:, i] * (1 if n in has else np.nan) for i, n in enumerate("ab")], 1))
                for (x, y), has in zip(data, self.has, strict=True)]  # fmt: skip


def where_labelled(model, batch):
    values = toys.losses(model, batch)
    return {name: None if batch[1][:, i].isnan().any() else values[name] for i, name in enumerate("ab")}


def labelled(has, front_model, **changes):
    problem = {"train": Labelled(has), "losses": where_labelled}
    return explored(None, front_model, problem, **changes)


BATCHES = [BATCH, pm.Sampling("batch", n=2), pm.Sampling("part", n=2)]


@pytest.mark.parametrize("sampling", BATCHES, ids=str)
@pytest.mark.parametrize("first", ["ab", ""])
def test_batches_without_some_labels(sampling, first):
    seen = Seen()
    has = (first, "a", "ab", "b")
    share = "50%" if first == "" else "75%"
    with pytest.warns(UserWarning, match=f"labels of 'a' in {share}, of 'b' in {share} of the batches"):
        front = labelled(has, pm.LowRank(sampling=sampling), callbacks=[seen])
    told = [told for told in seen.steps if told.epoch == 1]
    assert ["".join(told.losses) for told in told] == [labels for labels in has if labels]
    assert all(set(told.weights) == set(told.losses) for told in told)
    assert {p.counts["skipped"] for p in front.points} == {0 if first else 2}
    assert {p.counts["steps"] for p in front.points} == {8}


@pytest.mark.filterwarnings("ignore:.*points failed:UserWarning")
def test_an_objective_without_a_label_in_an_epoch():
    with pytest.raises(pm.EmptyFrontError, match=r"ValueError: no batch of train had a label for 'b' in epoch 0$"):
        labelled(("a", "", "a", "a"), pm.LowRank(sampling=BATCH))


def test_a_part_of_an_epoch_may_lack_a_label():
    has = ("a", "b", "ab", "ab")
    with pytest.warns(UserWarning, match="labels of 'a' in 80%, of 'b' in 60% of the batches"):
        assert len(labelled(has, pm.LowRank(sampling=BATCH), epochs=None, steps=5)) == 3


@pytest.mark.fault(99)
def test_validation_losses_are_weighed_by_the_labels_of_each():
    """One label of "b" of value 1, and three of value 5."""
    batches = [torch.tensor([1.0, 1.0]), torch.tensor([5.0, 3.0])]
    problem = toys.two_regressions(
        losses=lambda model, batch: {"a": batch[0], "b": (batch[0], batch[1])}, train=batches, validate=batches
    )
    network = pm.LowRank(rank=1).attach(toys.TwoHeads(), 2)
    present, losses = mean_losses_over(network, problem, DeviceBatches(batches, "cpu"), np.array([[0.5, 0.5]]))
    assert present.all()
    assert losses.tolist() == [[3.0, 4.0]]


# --- failures ---


@dataclass
class Nan:
    """Makes loss 'b' NaN where it is due."""

    due: bool = False

    def arm(self) -> None:
        self.due = True

    def losses(self, model, batch):
        values = toys.losses(model, batch)
        if self.due:
            self.due = False
            values["b"] = values["b"] * float("nan")
        return values


@pytest.mark.fault(1)
@pytest.mark.parametrize("kind", ["a preference a sample", "film", "low rank"])
def test_a_nan_fails_all_points_of_the_network(kind, tmp_path):
    nan = Nan()
    with (
        pytest.warns(UserWarning, match="3 of 3 points failed"),
        pytest.raises(pm.EmptyFrontError, match=r"all points failed: nan in 'b' at step 3\. Their records"),
    ):
        explored(tmp_path / "f", KINDS[kind], {"losses": nan.losses}, callbacks=[Seen(nan.arm, ("network", 2))])
    for p in pm.Front.load(tmp_path / "f").failed:
        assert (p.reason, p.counts["steps"], p.network, p.weights) == ("nan in 'b' at step 3", 3, None, None)
    assert not verify(tmp_path / "f").damaged


def steep(model, batch):
    """The gradient on a head is NaN once a batch holds a mark; the losses are as they were."""
    values = toys.losses(model, batch)
    return values | {"a": values["a"] + 0 * ((batch[0][0, 0] < 9) * model.a.weight.square().sum()).sqrt()}


@pytest.mark.fault(95)
@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()])
def test_a_gradient_that_is_nan_never_gets_into_the_network(solver):
    train = list(toys.loader(1))
    train[2][0][0, 0] = 9.0
    with (
        pytest.warns(UserWarning, match="points failed"),
        pytest.raises(pm.EmptyFrontError, match=r"nan (or inf )?in the gradient of '.+' at step 2$"),
    ):
        explored(front_model=KINDS["film"], problem={"losses": steep, "train": train}, solver=solver)


@pytest.mark.fault(1)
@pytest.mark.parametrize("raises", [False, True])
def test_a_network_that_fails_leaves_those_of_other_seeds(tmp_path, raises):
    def enough():
        raise RuntimeError("enough")

    nan = Nan()
    seen = Seen(enough if raises else nan.arm, ("network", 1))
    with pytest.warns(UserWarning, match="3 of 6 points failed"):
        front = explored(tmp_path / "f", problem={"losses": nan.losses}, seeds=2, callbacks=[seen])
    assert {(p.seed, p.reason) for p in front.failed} == {
        (0, "RuntimeError: enough" if raises else "nan in 'b' at step 2")
    }
    assert all(("in enough" in str(p.trace)) == raises for p in front.failed)
    alone = explored(seeds=2)
    assert [p.weights for p in front.points] == [p.weights for p in alone.points if p.seed == 1]
    steps = len(seen.steps)
    with pytest.warns(UserWarning, match="3 of 6 points failed"):
        explored(tmp_path / "f", problem={"losses": nan.losses}, seeds=2, callbacks=[seen])
    assert len(seen.steps) == steps  # what failed is not tried again


def far_away(parameters):
    return torch.optim.SGD(parameters, lr=1e30)


@pytest.mark.fault(95)
@pytest.mark.filterwarnings("ignore:.*points failed:UserWarning")
def test_weights_that_are_not_finite_never_get_onto_the_front(monkeypatch):
    """Not even where no loss depends on them."""

    def spoiled(*arguments):
        model = write_out(*arguments)
        model.register_parameter("idle", torch.nn.Parameter(torch.tensor([1.0, torch.inf])))
        return model

    monkeypatch.setattr(network, "write_out", spoiled)
    with pytest.raises(pm.EmptyFrontError, match="all points failed: inf in the weights 'idle'"):
        explored(None)


@pytest.mark.fault(1)
@pytest.mark.filterwarnings("ignore:.*points failed:UserWarning")
def test_losses_that_are_not_finite_where_the_network_is_looked_at():
    with pytest.raises(pm.EmptyFrontError, match=r"failed: (nan|inf) in the loss 'a' on validate at step 1$"):
        explored(epochs=None, steps=1, optimizer=far_away)


@dataclass
class OnePoint:
    """A measure that fails at the second point; its first call is the rehearsal's."""

    calls: int = 0

    def __call__(self, model, batches):
        self.calls += 1
        return {"a": float("nan") if self.calls == 3 else 1.0, "b": 1.0}


@pytest.mark.fault(1)
def test_a_point_that_cannot_be_measured_leaves_the_others():
    with pytest.warns(UserWarning, match="1 of 3 points failed"):
        front = explored(problem={"measure": OnePoint()})
    assert [(p.id, p.reason) for p in front.failed] == [("point-002", "nan in the measure 'a' on validate")]
    assert len(front) == 2


# --- the same bytes ---

SEVERAL = {"seeds": 2, "preferences": 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A front of two seeds that was never stopped."""
    return explored(tmp_path_factory.mktemp("whole") / "front", **SEVERAL).folder


@pytest.fixture
def begun(whole, tmp_path):
    """A copy of it, to be harmed."""
    return shutil.copytree(whole, tmp_path / "begun")


def trained(out: Path, **changes) -> dict[str, int]:
    """Go on in a folder; how many steps each network was trained for it."""
    seen = Seen()
    explored(out, callbacks=[seen], **(SEVERAL | changes))
    names = [told.point for told in seen.steps]
    return {name: names.count(name) for name in names}


def weights_of(folder: Path, id: str, what: str) -> Path:
    point = next(p for p in pm.Front.load(folder).points if p.id == id)
    return folder / "weights" / f"{getattr(point, what)}.safetensors"


def test_another_run_gives_the_same_bytes(whole, tmp_path):
    assert trained(tmp_path / "again") == {"network": 8, "network-seed-2": 8}
    assert files(tmp_path / "again") == files(whole)
    networks = {p.seed: p.network for p in pm.Front.load(whole).points}
    assert networks[0] != networks[1]


HARM = {
    "nothing": (lambda f: None, {}),
    "a record": (lambda f: (f / "points/point-002-seed-2.json").unlink(), {}),
    "two records": (lambda f: [(f / f"points/{id}.json").unlink() for id in ("point-001", "point-002-seed-2")], {}),
    "weights": (lambda f: weights_of(f, "point-001", "weights").unlink(), {}),
    "front": (lambda f: (f / "front.json").unlink(), {}),
    "a network": (lambda f: weights_of(f, "point-001-seed-2", "network").unlink(), {"network-seed-2": 8}),
    "a cut network": (
        lambda f: os.truncate(weights_of(f, "point-002", "network"), 100),
        {"network": 8},
    ),
    "all of a seed": (
        lambda f: [(f / f"points/point-00{k}.json").unlink() for k in (1, 2)],
        {"network": 8},
    ),
}


@pytest.mark.fault(63, 77)
@pytest.mark.parametrize("harm", HARM)
def test_the_network_is_trained_again_only_where_it_must_be(whole, begun, harm):
    change, again = HARM[harm]
    change(begun)
    assert trained(begun) == again
    assert files(begun) == files(whole)


def test_corners_come_first_and_are_computed_again_without_the_network(tmp_path):
    out, corners = tmp_path / "front", {"normalise": "corners"}
    ids = [f"ideal-{i}{seed}" for seed in ("", "-seed-2") for i in (1, 2)]
    steps = trained(out, **corners)
    assert list(steps.items()) == [*((id, 2) for id in ids), ("network", 8), ("network-seed-2", 8)]
    before = files(out)
    for lost, again in (("ideal-2-seed-2", {"ideal-2-seed-2": 2}), ("point-001", {})):
        (out / f"points/{lost}.json").unlink()
        assert trained(out, **corners) == again
        assert files(out) == before


@pytest.mark.fault(66)
def test_stopped_while_points_are_measured(whole, tmp_path, monkeypatch):
    written, write = [], Store.write_point

    def signalled(self, point, *rest):
        written.append(point.id)
        if len(written) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return write(self, point, *rest)

    monkeypatch.setattr(Store, "write_point", signalled)
    with pytest.raises(pm.Interrupted, match="stopped: 1 of 4 points are in"):
        trained(tmp_path / "front")
    found = verify(tmp_path / "front")
    assert (found.damaged, found.foreign) == ({}, {})
    assert trained(tmp_path / "front") == {"network-seed-2": 8}
    assert files(tmp_path / "front") == files(whole)
    assert written == ["point-001", "point-002", "point-001-seed-2", "point-002-seed-2"]


def test_weights_that_are_not_of_the_network_are_not_taken_for_it(begun):
    """The record of a point, whole and sealed, names other weights as its network."""
    store = Store(begun)
    points = {p.id: p for p in store.read_points()}
    first = points["point-001"]
    weights = store.read_weights(first.weights)
    store.write_point(replace(first, network=points["point-002"].weights), weights)
    (begun / "points/point-002.json").unlink()
    assert trained(begun) == {"network": 8}


OTHERS = [
    ({"front_model": None}, ["front_model: FiLM(hidden=8, layers=[], …) there, None here"]),
    (
        {"front_model": pm.LowRank(rank=1)},
        ["front_model: FiLM(hidden=8, layers=[], …) there, LowRank(modules=[], rank=1, …) here"],
    ),
    (
        {"front_model": pm.FiLM(hidden=9, sampling=pm.Sampling("sample", ends=0.5))},
        ["front_model FiLM, hidden: 8 there, 9 here", "front_model FiLM, sampling ends: 0.3 there, 0.5 here"],
    ),
]


@pytest.mark.fault(74)
@pytest.mark.parametrize(("change", "told"), OTHERS)
def test_another_front_model_is_refused(begun, change, told):
    before = everything(begun)
    with pytest.raises(ValueError) as error:
        trained(begun, **change)
    lines = [line for line in differences(error) if not line.startswith("preferences")]
    assert lines == told
    assert everything(begun) == before


def test_points_that_were_trained_apart_are_no_front_of_one_network(tmp_path):
    asked = {"preferences": [[0.3, 0.7], [0.7, 0.3]]}
    explored(tmp_path / "front", None, **asked)
    with pytest.raises(ValueError) as error:
        explored(tmp_path / "front", **asked)
    assert differences(error) == ["front_model: None there, FiLM(hidden=8, layers=[], …) here"]

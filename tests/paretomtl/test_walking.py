"""Walks along fronts: how close they keep to them, how they end, go on after a stop, and what they refuse."""

import json
import shutil
from functools import cache, partial

import numpy as np
import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.cli import main
from paretomtl.storage.verify import verify
from studies import known_fronts as study
from studies.analytic import fonseca, quadratics, zdt1
from tests import toys
from tests.folders import differences, files, logged
from tests.one_point import apart, labelled, marked

WHOLE = "every file is as it was written"
ends = pytest.mark.filterwarnings("ignore:.*the walk ends:UserWarning")


def started(problem: pm.Problem, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return problem.model()


def walk(problem: pm.Problem, model: nn.Module | None = None, **asked) -> pm.Front:
    asked = {"toward": problem.names[0]} | asked
    solver = asked.pop("solver", ps.ContinuousPareto())
    return pm.walk(problem, solver, started(problem) if model is None else model, **asked)


def on_one_batch(**changes) -> pm.Problem:
    """The toy's two regressions, their training data in one batch."""
    return toys.two_regressions(**({"train": [toys.regression(1).tensors]} | changes))


@cache
def trained() -> nn.Module:
    """A model of it, near the front."""
    model = toys.initial()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        sum(toys.losses(model, toys.regression(1).tensors).values()).backward()
        optimizer.step()
    return model


# --- along the front ---


@ends
def test_along_fonsecas_front():
    problem = fonseca(10)
    front = walk(problem, by=0.05, points=20)
    assert study.distances(study.FONSECA, front).max() < 1e-3
    first, second = front.losses.T
    assert (np.diff(first) < 0).all()
    assert (np.diff(second) > 0).all()
    falls = -np.diff(first)[:12]
    assert falls == pytest.approx(0.05, abs=0.006)
    assert first[0] > 0.6
    assert first[-1] < 0.01
    assert 12 <= len(front) < 20  # to its end
    for point in front.points[:-1]:
        here = pm.closure(problem, front.load_model(point, problem.model))
        jacobian = here.gradients().jacobian
        lengths = torch.tensor(point.preference).double() @ jacobian.norm(dim=1)
        assert (torch.tensor(point.preference).double() @ jacobian).norm() == pytest.approx(point.residual * lengths)
        assert point.residual <= 0.01
        assert point.status == "stationary"
        assert 0 < point.counts["products"] < 10 or point.counts["steps"] == 0


@pytest.mark.filterwarnings("ignore:.*not quite on the front:UserWarning")
def test_without_a_correction_it_drifts_off():
    """A front that is bent: each step's error stays, and the steps add up."""
    problem = quadratics()
    start = walk(problem, points=1)
    model = start.load_model(start.points[0], problem.model)
    on, off = (walk(problem, model, by=0.05, points=4, solver=ps.ContinuousPareto(corrections=c)) for c in (20, 0))
    kept, drifted = (study.distances(study.QUADRATICS, front) for front in (on, off))
    print(f"\nwith a correction {kept.max():.1e} from the front, without {drifted.max():.1e}")
    assert kept.max() < 5e-5
    assert drifted[-1] > 10 * kept[-1]
    assert (np.diff(drifted[1:]) > 0).all()
    assert [p.counts["corrections"] for p in off.points] == [0] * 4
    assert off.points[-1].status == "not converged"


def test_it_starts_on_the_front_wherever_the_model_is():
    problem = quadratics()
    model = started(problem)
    model.x.data.mul_(5)
    before = model.x.detach().clone()
    front = walk(problem, model, points=1)
    assert torch.equal(model.x, before)
    assert front.points[0].counts["corrections"] > 0
    assert study.distances(study.QUADRATICS, front).max() < 1e-3


def test_a_start_that_is_not_corrected_enough_is_told_of():
    with pytest.warns(UserWarning, match="point-001: not quite on the front: its corrections ended before"):
        front = walk(quadratics(), points=1, solver=ps.ContinuousPareto(corrections=1, stationary=1e-6))
    assert front.points[0].status == "not converged"


@pytest.mark.parametrize("name", "ab")
def test_on_data_the_loss_falls_and_the_other_pays(name):
    problem = on_one_batch()
    front = walk(problem, trained(), toward=name, points=3, by=0.04)
    models = [front.load_model(p, toys.TwoHeads) for p in front.points]
    losses = np.array([[*pm.evaluate(problem, model, "train").values()] for model in models])
    mine, other = losses.T if name == "a" else losses.T[::-1]
    assert -np.diff(mine) == pytest.approx(0.04, abs=0.015)
    assert (np.diff(other) > 0).all()
    assert front.losses[-1] == pytest.approx([*pm.evaluate(problem, models[-1], "validate").values()])


def test_by_default_it_falls_by_five_percent():
    front = walk(quadratics(), points=4)
    assert front.losses[1:, 0] / front.losses[:-1, 0] == pytest.approx(0.95, abs=0.01)


def test_towards_a_preference_is_towards_the_least_weighted_sum():
    front = walk(quadratics(), toward={"f2": 1.0, "f1": 3.0}, points=4, by=0.01)
    assert (np.diff(front.losses @ [0.75, 0.25]) < 0).all()
    weights = front.preferences[:, 0]
    assert (np.diff(weights) > 0).all()
    assert weights[-1] < 0.75


def test_bounds_are_kept():
    problem = zdt1()
    model = started(problem)
    model.x.data[:] = 0
    model.x.data[0] = 0.5
    front = walk(problem, model, points=5, by=0.05)
    assert study.distances(study.ZDT1, front).max() < 1e-3
    assert front.losses[:, 0] == pytest.approx([0.5, 0.45, 0.4, 0.35, 0.3], abs=1e-6)
    assert all(front.load_model(p, problem.model).x[1:].eq(0).all() for p in front.points)


def test_dropout_is_off_and_running_statistics_stay():
    class Normed(toys.Dropping):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x):
            return super().forward(self.norm(x))

    problem = on_one_batch(model=Normed)
    model = Normed()
    front = walk(problem, model, points=2, solver=ps.ContinuousPareto(corrections=5, stationary=1.0))
    last = front.load_model(front.points[1], Normed)
    assert torch.equal(last.norm.running_mean, model.norm.running_mean)
    assert last.norm.num_batches_tracked == 0
    assert apart(last, model) > 0


def test_products_on_a_batch_alone():
    front = walk(toys.two_regressions(), trained(), points=2, by=0.01, hessian_batches=1)
    assert front.study["walk"]["hessian_batches"] == 1
    assert len(front) == 2


# --- its end ---


@ends
def test_it_ends_with_the_front_and_says_so(tmp_path, capsys):
    front = walk(quadratics(), points=30, by=0.05, out=tmp_path / "front")
    last = front.points[-1]
    assert len(front) < 12
    assert last.status == "ended"
    assert last.losses["validate"][0] < 0.005
    assert last.preference[0] > 0.95
    [why] = last.warnings
    assert "the walk ends: what was asked to fall is" in why
    assert f"The weights are {last.preference[0]:.3g} of 'f1'" in why
    assert [p.status for p in front.points[:-1]] == ["stationary"] * (len(front) - 1)
    # nothing is left to compute, and all readers know
    assert str(verify(front.folder)) == WHOLE
    before = files(front.folder)
    assert walk(quadratics(), points=30, by=0.05, out=tmp_path / "front").points == front.points
    assert files(front.folder) == before
    assert main(["show", str(front.folder)]) == 0
    assert "ended" in capsys.readouterr().out


class Cliff(nn.Module):
    """A place on a line; beyond 1/2 there is none."""

    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.zeros(1, dtype=torch.float64))


def of_cliff(model, batch):
    x = model.x[0]
    beyond = 0 * (0.5 - x).log() if x >= 0.5 else 0
    return {"a": (x - 1).square() + beyond, "b": (x + 1).square()}


def cliff(**changes) -> pm.Problem:
    fields = {"ref_point": [9.0, 9.0], "deterministic": True} | changes
    return pm.Problem(["a", "b"], Cliff, of_cliff, **fields)


@ends
def test_a_step_into_what_is_not_finite_is_halved():
    front = walk(cliff(), Cliff(), by=0.4, points=10)
    x = [float(front.load_model(p, Cliff).x.detach()) for p in front.points]
    assert 0.45 < x[-1] < 0.5
    assert front.points[-1].status == "ended"


def refuses(model, batches):
    if model.x < -0.2:
        return {"a": float("nan"), "b": 1.0}
    return {"a": 1.0, "b": 1.0}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_point_that_fails_ends_the_walk(tmp_path):
    run = partial(walk, cliff(measure=refuses), Cliff(), toward="b", by=0.2, points=6, out=tmp_path / "front")
    front = run()
    [failed] = front.failed
    assert failed.reason == "nan in the measure 'a' on validate"
    assert failed.id == f"point-{len(front) + 1:03d}"
    assert 1 < len(front) < 5
    assert str(verify(front.folder)) == WHOLE
    before = files(front.folder)
    run()
    assert files(front.folder) == before


# --- resume ---


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "front"
    on_data(folder)
    return folder


def on_data(out, model=None, problem=None, **changes) -> pm.Front:
    asked = {"points": 4, "by": 0.04, "out": out} | changes
    return walk(problem or on_one_batch(), trained() if model is None else model, **asked)


LOST = [("001",), ("003", "004"), ("002", "004")]


@pytest.mark.parametrize("lost", LOST, ids="-".join)
def test_only_what_is_absent_is_computed(whole, tmp_path, lost):
    begun = shutil.copytree(whole, tmp_path / "begun")
    for k in lost:
        (begun / f"points/point-{k}.json").unlink()
    on_data(begun)
    assert files(begun) == files(whole)
    assert [line["id"] for line in logged(begun, "point")][4:] == [f"point-{k}" for k in lost]


@pytest.mark.parametrize("call", [20, 40])
def test_stopped_anywhere_it_goes_on_to_the_same_bytes(whole, tmp_path, call):
    calls = 0

    def stopping(model, batch):
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return toys.losses(model, batch)

    # the same function for both: a study knows its code
    problem, folder = on_one_batch(losses=stopping), tmp_path / "front"
    with pytest.raises(pm.Interrupted, match=r"of 4 points are in .*; call walk with the same arguments to go on"):
        on_data(folder, problem=problem)
    there = verify(folder)
    assert there.damaged == {}
    assert there.absent
    on_data(folder, problem=problem)
    names = {name for name in files(whole) if name.startswith("weights/")}
    assert {name for name in files(folder) if name.startswith("weights/")} == names
    assert str(verify(folder)) == WHOLE


def test_another_walk_is_refused(whole):
    before = files(whole)
    other = toys.initial()
    for changes, told in (
        ({"by": 0.03}, "by: 0.04 there, 0.03 here"),
        ({"points": 5}, "points: 4 there, 5 here"),
        ({"toward": "b"}, "toward 'a': 1.0 there, 0.0 here"),
        ({"model": other}, "start: "),
        ({"hessian_batches": 2}, "hessian_batches: None there, 2 here"),
        ({"solver": ps.ContinuousPareto(damping=1.0)}, "solver: ContinuousPareto(damping=0.1"),
    ):
        with pytest.raises(ValueError, match="holds another study") as error:
            on_data(whole, **changes)
        assert any(line.startswith(told) for line in differences(error)), differences(error)
    with pytest.raises(ValueError, match="holds another study") as error:
        pm.explore(on_one_batch(), ps.Linear(), preferences=4, epochs=1, out=whole)
    assert any(line.startswith("walk: ") for line in differences(error))
    assert files(whole) == before


def test_what_is_stored(whole):
    stored = json.loads((whole / "study.json").read_text())["study"]
    assert stored["optimizer"] is None
    assert [p["preference"] for p in stored["points"]] == [None] * 4
    assert {k: v for k, v in stored["walk"].items() if k != "start"} == {
        "points": 4, "by": 0.04, "hessian_batches": None, "toward 'a'": 1.0, "toward 'b'": 0.0,
    }  # fmt: skip
    front = pm.Front.load(whole)
    assert front.preferences.sum(axis=1) == pytest.approx(1)
    assert front.score().n_relaxed == 0


# --- what is refused before any work ---


def infinite(model, batch):
    return {"a": model.x.sum() / 0, "b": model.x.square().sum()}


REFUSED = [
    ({"toward": "c"}, ValueError, r"toward: 'c' is none of the objectives \['f1', 'f2'\]"),
    ({"toward": {"f1": -1.0}}, ValueError, r"toward = \[-1.0, 0.0\] has a negative entry"),
    ({"toward": [0.0, 0.0]}, ValueError, "toward = .* is all zero"),
    ({"points": 0}, ValueError, "points=0: give a whole number of at least 1"),
    ({"points": True}, ValueError, "points=True: give a whole number"),
    ({"by": 0.0}, ValueError, "by=0.0: give a positive number, in units of the loss, or leave it out"),
    ({"by": float("nan")}, ValueError, "by=nan: give a positive number"),
    ({"hessian_batches": 0}, ValueError, "hessian_batches=0: give a whole number of at least 1"),
    ({"model": toys.TwoHeads()}, ValueError, r"model is not one that problem.model\(\) makes: stored only: trunk"),
    ({"model": quadratics}, TypeError, "is no torch.nn.Module; give a trained model, such as pick.load"),
    ({"solver": ps.MGDA()}, TypeError, "does not walk along the front; give one that does: ContinuousPareto"),
    ({"device": "cpu:no"}, ValueError, "device='cpu:no' is not a torch device"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("changes", "error", "message"), REFUSED, ids=lambda value: str(value)[:30])
def test_bad_input(changes, error, message, tmp_path):
    with pytest.raises(error, match=message):
        walk(quadratics(), out=tmp_path / "front", **changes)
    assert not (tmp_path / "front").exists()


def test_losses_that_are_not_finite_at_the_start(tmp_path):
    problem = pm.Problem(["a", "b"], lambda: started(quadratics()), infinite, ref_point=[1.0, 1.0], deterministic=True)
    with pytest.raises(ValueError, match="model: inf in 'a' on train; give one whose losses and gradients are finite"):
        walk(problem, out=tmp_path / "front")
    assert not (tmp_path / "front").exists()


def test_data_that_may_never_end():
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            while True:
                yield from toys.loader(1)

    with pytest.raises(ValueError, match="train has no length, so it may never end; give batches that end"):
        walk(toys.two_regressions(train=Endless()), toys.initial())


@pytest.mark.fault(16)
def test_batches_that_lack_labels():
    problem = toys.two_regressions(losses=labelled, train=marked("ab", "b", "", "a"), validate=marked("ab", seed=2))
    front = walk(problem, trained(), points=3, by=0.01, solver=ps.ContinuousPareto(corrections=20))
    losses = [pm.evaluate(problem, front.load_model(p, toys.TwoHeads), "train")["a"] for p in front.points]
    assert (np.diff(losses) < 0).all()

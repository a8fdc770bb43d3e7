"""What is noted before work, losses that share nothing or are of wildly different size; and what a method needs."""

import json
import re
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.preflight.dry_run import dry_run
from paretomtl.solver import solved_status
from paretomtl.training.seeds import INITIAL, reproducible, reseed, seed_of
from paretomtl.training.study import Study
from paretomtl_solvers import qp
from tests import toys
from tests.one_point import SGD, partly


@dataclass(frozen=True)
class Mean(pm.Weighting):
    """The preference as weights of the gradients."""

    def update(self, state, losses, gramian, preference):
        return preference, state, solved_status(losses)


def assert_names(message: str, *parts: str) -> None:
    absent = [part for part in parts if part not in message]
    assert not absent, f"{message!r} lacks {absent}"


class ThreeTrunks(toys.TwoHeads):
    """The toy, and a loss "c" with a trunk of its own."""

    def __init__(self):
        super().__init__()
        self.own = nn.Linear(4, 1)


def three_losses(model, batch):
    return toys.losses(model, batch) | {"c": (model.own(batch[0])[:, 0] - batch[1][:, 0]).square().mean()}


def three(**changes) -> pm.Problem:
    fields = {"objectives": ["a", "b", "c"], "model": ThreeTrunks, "losses": three_losses, "ref_point": [9.0] * 3}
    return toys.two_regressions(**(fields | changes))


@pytest.mark.fault(7)
@pytest.mark.parametrize("solver", [Mean(), toys.Turned()], ids=["weighting", "aggregation"])
def test_a_loss_that_shares_no_parameter_is_warned_of_and_trained(solver):
    with pytest.warns(UserWarning, match="loss 'c'") as caught:
        front = pm.explore(three(), solver, preferences=[[0.3, 0.3, 0.4]], epochs=20)
    assert [str(w.message) for w in caught] == list(front.warnings())
    (note,) = front.study["notes"]
    assert_names(note, "loss 'c' reaches no parameter that another loss reaches", "no say", "follow its gradient alone")
    with reproducible():
        reseed(seed_of(0, 0, INITIAL))
        start = pm.evaluate(three(), ThreeTrunks())
    assert front.losses[0, 2] < 0.95 * start["c"]


@pytest.mark.fault(7)
def test_a_scalarization_needs_no_shared_parameter():
    assert pm.explore(three(), ps.Linear(), preferences=[[0.3, 0.3, 0.4]], epochs=1).warnings() == ()


@pytest.mark.fault(7)
def test_a_stateful_method_is_refused_a_loss_that_shares_no_parameter(tmp_path):
    asked = [[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]]
    message = stopped(tmp_path, three(), ps.ParetoMTL(), asked)
    assert_names(message, "loss 'c' reaches no parameter that another loss reaches", "ParetoMTL", "a common trunk")


@pytest.mark.fault(7)
@pytest.mark.fault(16)
def test_what_is_shared_with_a_loss_without_a_label_cannot_be_seen():
    """The first batch has one label only."""
    with pytest.warns(UserWarning, match="of the batches"):
        front = pm.explore(partly("a", "ab", "b", "ab"), Mean(), preferences=[[0.5, 0.5]], epochs=1)
    assert front.study["notes"] == []


# --- numbers of labels ---


@dataclass
class Graphs:
    """A batch that shows no length."""

    x: torch.Tensor
    y: torch.Tensor

    def to(self, device):
        return Graphs(self.x.to(device), self.y.to(device))


def of_any(model, batch):
    """The toy's losses of a batch in any form, with its number of samples if it has one."""
    if isinstance(batch, Graphs):
        return toys.losses(model, (batch.x, batch.y))
    x, y = (batch["x"], batch["y"]) if isinstance(batch, dict) else batch[:2]
    values = toys.losses(model, (x, y))
    return {n: (value, len(x)) for n, value in values.items()} if "count" in batch else values


X, Y = toys.regression(1, 16).tensors
REMEDY = "; if that is wrong, return (mean, number of labels) for each loss"
UNEQUAL = (
    "the tensors of a batch of train have the lengths {}: its losses count as means over the first of them" + REMEDY
)


@pytest.mark.fault(99)
@pytest.mark.parametrize(
    ("batch", "note"),
    [
        ((X, Y), None),
        ((X, Y, torch.ones(())), None),
        ({"x": X, "y": Y}, None),
        ((X, Y, torch.ones(2)), UNEQUAL.format("16, 2")),
        ({"weights": torch.ones(2), "x": X, "y": Y}, UNEQUAL.format("2, 16")),
        ({"weights": torch.ones(2), "x": X, "y": Y, "count": True}, None),
        (Graphs(X, Y), "no tensor shows the length of a batch of train, so all batches count alike in a mean" + REMEDY),
    ],
    ids=["pair", "number", "dict", "weights last", "weights first", "counted", "graphs"],
)
def test_a_batch_of_unequal_lengths_is_noted_once(batch, note):
    problem = toys.two_regressions(losses=of_any, train=[batch] * 2)
    study = Study(problem=problem, solver=ps.Linear(), preferences=np.array([[0.5, 0.5]]), corners=False, epochs=1)
    assert dry_run(study).notes == ([] if note is None else [note])


# --- losses of wildly different size ---


def times(factor: float):
    def losses(model, batch):
        values = toys.losses(model, batch)
        return values | {"b": factor * values["b"]}

    return losses


def notes(**changes) -> list[str]:
    """Of a front of the toy with these changes."""
    problem = toys.two_regressions(train=list(toys.loader(1)), ref_point=[1e99, 1e99], **changes)
    study = Study(problem=problem, solver=ps.Linear(), preferences=np.array([[0.5, 0.5]]), corners=False, epochs=1)
    return dry_run(study).notes


@pytest.mark.fault(17)
@pytest.mark.parametrize(("factor", "large", "small"), [(1e6, "b", "a"), (1e-6, "a", "b"), (-1e6, "b", "a")])
def test_losses_of_wildly_different_size_are_warned_of_with_factor_and_remedy(factor, large, small):
    batch = next(iter(toys.loader(1)))
    first = {name: loss.item() for name, loss in toys.losses(toys.initial(), batch).items()}
    sizes = first | {"b": abs(factor) * first["b"]}
    (note,) = notes(losses=times(factor))
    assert f"loss {large!r} is {sizes[large] / sizes[small]:.1e} times loss {small!r} on the first batch" in note
    assert f"({sizes[large]:.3g} and {sizes[small]:.3g})" in note
    assert f"pm.Objective({large!r}, scale={sizes[large]:.2g})" in note


@pytest.mark.fault(17)
@pytest.mark.parametrize("already", [1.0, 100.0])
def test_the_remedy_that_is_named_helps(already):
    fields = {"losses": times(1e6), "ref_point": [9.0, 1e9]}
    problem = toys.two_regressions(objectives=["a", pm.Objective("b", scale=already)], **fields)
    with pytest.warns(UserWarning, match="times loss 'a' on the first batch"):
        front = pm.explore(problem, ps.Linear(), preferences=[[0.5, 0.5]], epochs=1)
    scale = float(re.search(r"pm\.Objective\('b', scale=(.*)\)", front.study["notes"][0])[1])
    problem = toys.two_regressions(objectives=["a", pm.Objective("b", scale=scale)], **fields)
    front = pm.explore(problem, ps.Linear(), preferences=[[0.5, 0.5]], epochs=1)
    assert front.warnings() == ()
    assert 0.1 < front.losses[0, 1] < 10


@pytest.mark.fault(17)
@pytest.mark.parametrize("change", [times(100), times(0), times(float("inf")), times(float("nan"))])
def test_losses_of_one_scale_and_those_without_a_size_are_not_spoken_of(change):
    assert not [note for note in notes(losses=change) if " times " in note]


def quarter_of_b(model, batch):
    values = toys.losses(model, batch)
    return values | {"b": values["b"] / 4}


@pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")
@pytest.mark.fault(17)
@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO(), ps.CoGrad()], ids=repr)
def test_a_scale_divides_a_loss_wherever_it_is_used(tmp_path, solver):
    """In training, on fronts, as a measure and in `evaluate`: all is as if the losses had been divided."""
    run = partial(pm.explore, solver=solver, preferences=[[0.2, 0.8], [0.8, 0.2]], epochs=2, optimizer=SGD)
    scaled = toys.two_regressions(objectives=["a", pm.Objective("b", unit="m", scale=4.0)], test=toys.loader(3))
    divided = toys.two_regressions(losses=quarter_of_b, test=toys.loader(3))
    front, same = run(scaled, out=tmp_path / "front"), run(divided)
    assert [p.weights for p in front.points] == [p.weights for p in same.points]
    assert [p.losses for p in front.points] == [p.losses for p in same.points]
    assert [p.values for p in front.points] == [p.values for p in same.points] == [p.losses for p in same.points]
    plain = [p.weights for p in run(toys.two_regressions()).points]
    assert [p.weights for p in front.points] != plain
    assert pm.evaluate(scaled, toys.initial()) == pm.evaluate(divided, toys.initial())
    stored = json.loads((tmp_path / "front" / "front.json").read_text())["study"]["objectives"]
    assert [o["scale"] for o in stored] == [1.0, 4.0]
    assert pm.Front.load(tmp_path / "front").objectives == (pm.Objective("a"), pm.Objective("b", "m", scale=4.0))


def test_a_measure_of_ones_own_is_not_divided():
    objectives = ["a", pm.Objective("b", scale=4.0)]
    problem = toys.two_regressions(objectives=objectives, measure=lambda model, batches: {"a": 1.0, "b": 8.0})
    assert pm.explore(problem, ps.Linear(), preferences=[[0.5, 0.5]], epochs=1).values.tolist() == [[1, 8]]


# --- what a method needs ---


def stopped(tmp_path, problem, solver, preferences, error=ValueError) -> str:
    """The message with which `explore` refuses, leaving nothing behind."""
    out = tmp_path / "front"
    with pytest.raises(error) as caught:
        pm.explore(problem, solver, preferences=preferences, steps=3, out=out)
    assert not out.exists()
    return str(caught.value)


@dataclass(frozen=True)
class Needy(Mean):
    """Needs what is not there."""

    def init(self, sweep):
        raise ImportError(f"{sweep.steps} steps of {len(sweep.preferences)} points need more: pip install more")


@pytest.mark.fault(43)
def test_a_method_that_lacks_something_says_so_before_work(tmp_path):
    message = stopped(tmp_path, toys.two_regressions(), Needy(), [[0.2, 0.8], [0.8, 0.2]], ImportError)
    assert message == "3 steps of 2 points need more: pip install more"


@pytest.mark.fault(43)
@pytest.mark.parametrize(
    ("solver", "objectives"),
    [(ps.EPO(), 3), (ps.EPO(backend="cvxpy"), 2), (ps.MGDA(backend="cvxpy"), 2), (ps.ParetoMTL(backend="cvxpy"), 2)],
    ids=str,
)
def test_a_program_without_its_solver_is_refused_with_the_line_to_run(
    tmp_path, monkeypatch, request, solver, objectives
):
    monkeypatch.setattr("cvxpy.installed_solvers", list)
    qp.check_installed.cache_clear()  # of a test before this one that had them
    request.addfinalizer(qp.check_installed.cache_clear)
    problem = three() if objectives == 3 else toys.two_regressions()
    asked = [[0.5, 0.3, 0.2][:objectives], [0.2, 0.3, 0.5][:objectives]][: 1 if isinstance(solver, ps.MGDA) else 2]
    assert_names(stopped(tmp_path, problem, solver, asked, RuntimeError), "cvxpy", "pip install")


@pytest.mark.parametrize(
    ("solver", "preferences", "named"),
    [
        (ps.ParetoMTL(), [[0.5, 0.5]], ("ParetoMTL", "give at least 2")),
        (ps.ParetoMTL(), 1, ("ParetoMTL", "give at least 2")),
        (ps.ParetoMTL(), [[1.0, 0.0], [1 - 1e-7, 1e-7]], ("the same ray", "zero entries")),
        (ps.MGDA(), [[0.2, 0.8], [0.8, 0.2]], ("MGDA ignores preferences, so 2 of them", "preferences=1")),
        (ps.MGDA(), 2, ("MGDA ignores preferences, so 2 of them", "preferences=1")),
    ],
)
def test_preferences_that_a_method_cannot_work_with(tmp_path, solver, preferences, named):
    assert_names(stopped(tmp_path, toys.two_regressions(), solver, preferences), *named)


def test_a_method_without_preference_runs_with_one():
    front = pm.explore(toys.two_regressions(), ps.MGDA(), preferences=1, epochs=1)
    assert len(front) == 1
    assert len(front.corners) == 2

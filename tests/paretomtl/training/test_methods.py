"""The loop drives methods that answer with a direction, and those that ask for the losses elsewhere."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.solver import solved_status
from tests import toys
from tests.one_point import SGD, partly, train

DIRECTIONS = [toys.Turned(), *(ps.CoGrad(gamma=0.5, hessian=h, look_ahead=0.1) for h in ("paper", "fisher", "hvp"))]
of_each = pytest.mark.parametrize("solver", DIRECTIONS, ids=["aggregation", "paper", "fisher", "hvp"])


@of_each
def test_a_front_of_directions(solver, tmp_path):
    told = []
    run = partial(pm.explore, toys.two_regressions(), epochs=8, optimizer=SGD)
    front = run(solver, preferences=3, callbacks=[told.append], out=tmp_path / "front")
    assert [p.status for p in front.points] == ["trained"] * 3
    assert front.warnings() == ()
    assert np.isfinite(front.losses).all()
    assert front.losses[0, 0] > front.losses[2, 0]  # more was asked of "a"
    assert front.losses[0, 1] < front.losses[2, 1]
    start = pm.evaluate(toys.two_regressions(), toys.initial())
    assert (front.losses < [start["a"], start["b"]]).all()

    points = [step for step in told if step.point.startswith("point")]
    assert len(points) == 3 * 8 * 4
    assert {tuple(step.weights) for step in points} == {()}
    assert {tuple(step.losses) for step in points} == {("a", "b")}

    linear = run(ps.Linear(), preferences=3)
    assert [p.weights for p in front.corners] == [p.weights for p in linear.corners]  # alone, whatever the method
    assert {p.weights for p in front.points}.isdisjoint(p.weights for p in linear.points)


@of_each
def test_the_optimizer_takes_the_step_along_the_direction(solver):
    batch, r = next(iter(toys.loader(1))), torch.tensor([0.3, 0.7], dtype=torch.float64)
    problem, model = toys.two_regressions(train=[batch]), toys.initial()
    closure = pm.closure(problem, model, batch)
    losses, jacobian, shared = closure.gradients()
    if isinstance(solver, pm.Stepper):
        direction = solver(closure, r)
    else:
        direction = jacobian.sum(dim=0)  # of the heads
        direction[shared] = solver(losses, jacobian[:, shared], r)
    closure.move(closure.parameters - 0.1 * direction)
    found = train(problem, solver, preference=(0.3, 0.7), steps=1).weights
    assert found.keys() == model.state_dict().keys()
    for name, expected in model.state_dict().items():
        assert torch.allclose(found[name], expected, rtol=0, atol=1e-6), name


class Place(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([0.3, 2.0], dtype=torch.float64))


@of_each
def test_exact_losses(solver):
    """1 + |x - e|² and 1 + |x + e|²: the front is between -e and e."""
    e = torch.tensor([1.0, 0.0], dtype=torch.float64)
    problem = pm.Problem(
        objectives=["a", "b"],
        model=Place,
        losses=lambda model, _: {"a": 1 + (model.x - e).square().sum(), "b": 1 + (model.x + e).square().sum()},
        ref_point=[9.0, 9.0],
        deterministic=True,
    )
    linear = isinstance(solver, pm.Aggregation) or solver.hessian == "hvp"
    mild = solver if isinstance(solver, pm.Aggregation) else replace(solver, gamma=0.01)
    front = pm.explore(problem, mild, preferences=[[0.3, 0.7], [0.7, 0.3]], steps=80, optimizer=SGD)
    assert [p.counts["steps"] for p in front.points] == [80, 80]
    for point in front.points:
        x = front.load_model(point, Place).x
        assert abs(x[1]) < 1e-6
        assert abs(x[0]) < 1
        if linear:  # the others' bend is of another scale than the losses
            assert float(x[0].detach()) * (point.preference[0] - 0.5) > 0


@dataclass(frozen=True)
class Averaging(pm.Stepper):
    """A mean of the directions so far."""

    stateful = True

    def init(self, sweep):
        return torch.zeros(()), 0

    def update(self, state, closure, preference):
        mean, n = state
        mean = (n * mean + preference.to(torch.float32) @ closure.gradients().jacobian) / (n + 1)
        return mean, (mean, n + 1), solved_status(preference)


def test_state_goes_from_step_to_step():
    """A mean of one direction, and of two: against steps taken by hand."""
    batches, r = list(toys.loader(1))[:2], torch.tensor([0.5, 0.5])
    problem, model = toys.two_regressions(train=batches), toys.initial()
    first = pm.closure(problem, model, batches[0])
    one = r @ first.gradients().jacobian
    first.move(first.parameters - 0.1 * one)
    second = pm.closure(problem, model, batches[1])
    second.move(second.parameters - 0.1 * (one + r @ second.gradients().jacobian) / 2)
    found = train(problem, Averaging(), steps=2).weights
    assert all(torch.allclose(found[name], value, atol=1e-6) for name, value in model.state_dict().items())


@pytest.mark.fault(98)
@pytest.mark.parametrize("solver", [Averaging(), ps.CoGrad()], ids=lambda solver: type(solver).__name__)
def test_a_stepper_does_not_go_on_without_a_label(solver):
    point = train(partly("ab", "", "a"), solver).point
    assert (point.state, point.counts["steps"], point.counts["skipped"]) == ("failed", 2, 1)
    assert f"no label of ['b'], and {type(solver).__name__} weighs the losses against each other" in str(point.reason)


@dataclass
class Spoiled:
    """The toy's losses, with something added to "b" at one step of the training."""

    number: float
    step: int = 3
    seen: int = -1

    def losses(self, model, batch):
        values = toys.losses(model, batch)
        return values | {"b": values["b"] + (self.number if model.training and self.seen == self.step - 1 else 0)}

    def callback(self, told: pm.Step) -> None:
        self.seen = told.step


@of_each
@pytest.mark.parametrize(
    ("number", "word"),
    [
        pytest.param(np.nan, "nan", marks=pytest.mark.fault(1)),
        pytest.param(np.inf, "inf", marks=pytest.mark.fault(2)),
        pytest.param(-np.inf, "inf", marks=pytest.mark.fault(2)),
    ],
)
def test_a_loss_that_is_not_finite_ends_the_point(solver, number, word):
    spoiled = Spoiled(number)
    problem = toys.two_regressions(losses=spoiled.losses)
    point, weights, _ = train(problem, solver, callbacks=(spoiled.callback,))
    assert (point.state, point.reason, weights) == ("failed", f"{word} in 'b' at step 3", None)


class Normed(toys.TwoHeads):
    """The toy with a BatchNorm before the heads."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return super().forward(self.norm(x))


def test_running_statistics_see_each_batch_once():
    """However often a method asks for the losses: here it looks ahead from the place, and around it."""
    states = [train(toys.two_regressions(model=Normed), solver).weights for solver in (DIRECTIONS[3], ps.Linear())]
    for name in ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"):
        assert torch.equal(states[0][name], states[1][name]), name
    assert int(states[0]["norm.num_batches_tracked"]) == 8


def test_samples_that_cannot_be_told_apart_fail_the_point_with_the_reason():
    point = train(toys.two_regressions(model=Normed), DIRECTIONS[2]).point
    assert (point.state, point.counts["steps"]) == ("failed", 0)
    assert "the losses cannot be taken sample by sample" in str(point.reason)
    assert "BatchNorm" in str(point.reason)

"""Methods whose numbers the optimizer trains, and those that look at a batch once more after its step."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import paretomtl as pm
from paretomtl.solver import Sweep, solved_status
from paretomtl.training.study import Study
from tests import toys
from tests.one_point import SGD, partly, train
from tests.stopped import assert_goes_on, outcome, study_of

ADAM = partial(torch.optim.Adam, lr=0.05)
THREE = [[0.2, 0.8], [0.5, 0.5], [0.8, 0.2]]


@dataclass(frozen=True)
class Learning(pm.Scalarization):
    """Weights e^-s, with s trained towards s = log l by the optimizer of the model."""

    stateful: ClassVar[bool] = True
    learned: ClassVar[bool] = True

    def init(self, sweep: Sweep) -> torch.Tensor:
        return torch.zeros(*sweep.points.shape, sweep.preferences.shape[-1])

    def update(self, state, losses, preference):
        weights = torch.exp(-state.detach())
        state.grad = 1 - weights * losses.to(weights)
        return weights.double(), state, solved_status(losses)


@dataclass(frozen=True)
class Watching(pm.Scalarization):
    """Equal weights; the state is the losses that were shown after each step."""

    stateful: ClassVar[bool] = True
    observes: ClassVar[bool] = True
    shown: list = field(default_factory=list, compare=False, hash=False, repr=False)

    def init(self, sweep: Sweep) -> torch.Tensor:
        return torch.zeros(*sweep.points.shape, sweep.preferences.shape[-1], dtype=torch.float64)

    def update(self, state, losses, preference):
        return torch.ones_like(preference), state, solved_status(losses)

    def observe(self, state, losses):
        self.shown.append(losses)
        return state + losses.double()


def test_the_optimizer_trains_the_methods_numbers():
    """The same as by hand, with one Adam for the weights and for s."""
    batches = list(toys.loader(1))
    model = toys.initial()
    s = torch.zeros(2, requires_grad=True)
    optimizer = ADAM([*model.parameters(), s])
    for batch in batches:
        optimizer.zero_grad()
        losses = torch.stack(list(toys.losses(model, batch).values()))
        (torch.exp(-s.detach()) * losses).sum().backward()
        s.grad = 1 - torch.exp(-s.detach()) * losses.detach()
        optimizer.step()
    weights = train(toys.two_regressions(train=batches), Learning(), steps=4, optimizer=ADAM).weights
    for name, value in model.state_dict().items():
        torch.testing.assert_close(weights[name], value)


def test_learned_numbers_go_on_from_a_checkpoint():
    assert_goes_on(study_of(toys.two_regressions(), Learning(), optimizer=ADAM), last=6)


def test_learned_numbers_are_refused_in_a_fleet_and_a_front_model():
    run = partial(pm.explore, toys.two_regressions(), Learning(), preferences=THREE, steps=2)
    with pytest.raises(ValueError, match="fleet: Learning learns numbers beside the parameters"):
        run(fleet=3)
    with pytest.raises(ValueError, match="front_model=FiLM: Learning carries its state"):
        run(front_model=pm.FiLM())


def test_in_a_loop_of_ones_own():
    model, batch = toys.initial(), next(iter(toys.loader(1)))
    step = pm.Descent(Learning(), {"a": 0.5, "b": 0.5})
    (s,) = step.learned
    optimizer = torch.optim.SGD([*model.parameters(), s], lr=0.1)
    losses = toys.losses(model, batch)
    step.backward(losses)
    optimizer.step()
    expected = -0.1 * (1 - torch.stack(list(losses.values())).detach())
    torch.testing.assert_close(s.detach(), expected)
    again = pm.Descent(Learning(), {"a": 0.5, "b": 0.5})
    held = again.learned[0]
    again.load_state_dict(step.state_dict())
    assert again.learned[0] is again.state is held
    torch.testing.assert_close(held.detach(), expected)


def test_a_scaler_divides_the_gradient_of_learned_numbers_too():
    losses = toys.losses(toys.initial(), next(iter(toys.loader(1))))
    plain = pm.Descent(Learning(), {"a": 0.5, "b": 0.5})
    scaled = pm.Descent(Learning(), {"a": 0.5, "b": 0.5}, scaler=torch.amp.GradScaler("cpu", init_scale=8.0))
    plain.backward(losses)
    scaled.backward(toys.losses(toys.initial(), next(iter(toys.loader(1)))))
    torch.testing.assert_close(scaled.learned[0].grad, 8 * plain.learned[0].grad)


def shown_by_hand(steps: int) -> list[torch.Tensor]:
    model, shown = toys.initial(), []
    optimizer = SGD(model.parameters())
    for batch in list(toys.loader(1))[:steps]:
        optimizer.zero_grad()
        sum(toys.losses(model, batch).values()).backward()
        optimizer.step()
        shown.append(torch.stack(list(toys.losses(model, batch).values())).detach())
    return shown


def test_a_method_is_shown_the_same_batch_after_its_step():
    solver = Watching()
    train(toys.two_regressions(train=list(toys.loader(1))), solver, steps=4)
    torch.testing.assert_close(solver.shown, shown_by_hand(4))


def test_in_a_fleet_each_point_is_shown_its_own():
    solver, expected = Watching(), shown_by_hand(4)
    problem = toys.two_regressions(train=list(toys.loader(1)))
    outcome(study_of(problem, solver, THREE, fleet=3, steps=4))
    assert [losses.shape for losses in solver.shown] == [(3, 2)] * 4
    for losses, alone in zip(solver.shown, expected, strict=True):
        torch.testing.assert_close(losses, alone.expand(3, 2))


@pytest.mark.parametrize("options", [{}, {"fleet": 3}], ids=["alone", "fleet"])
def test_what_was_shown_goes_on_from_a_checkpoint(options: dict[str, Any]):
    preferences = {"preferences": THREE} if options else {}
    assert_goes_on(study_of(toys.two_regressions(), Watching(), **preferences, **options), last=6)


@pytest.mark.fault(98)
def test_a_method_that_observes_does_not_go_on_without_a_label():
    point = train(partly("ab", "a"), Watching()).point
    assert point.state == "failed"
    assert "no label of ['b'], and Watching weighs the losses against each other" in str(point.reason)


def test_descent_is_told_to_observe():
    model, batch = toys.initial(), next(iter(toys.loader(1)))
    solver = Watching()
    step = pm.Descent(solver, {"a": 0.5, "b": 0.5}, scales={"a": 2.0, "b": 4.0})
    step.backward(toys.losses(model, batch))
    with pytest.raises(ValueError, match=r"Watching looks at the batch once more .* call observe\(losses\)"):
        step.backward(toys.losses(model, batch))
    with torch.no_grad():
        after = toys.losses(model, batch)
    step.observe(after)
    torch.testing.assert_close(solver.shown, [torch.stack([after["a"] / 2, after["b"] / 4])])
    step.backward(toys.losses(model, batch))


def test_a_method_knows_the_steps_of_an_epoch():
    options = {"problem": toys.two_regressions(), "solver": Watching(), "preferences": np.array([[0.5, 0.5]])}
    study = Study(**options, corners=False, epochs=3)
    assert study.sweep(study.jobs[0], 12).epoch_steps == 4
    study = Study(**options, corners=False, steps=12)
    assert study.sweep(study.jobs[0], 12).epoch_steps is None

"""Heads: plain by default, weighted on request."""

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.autograd.gradients import descend, follow
from paretomtl.autograd.loss_function import closure
from paretomtl.preference import raise_to_floor
from paretomtl.solver import Sweep
from paretomtl_solvers.epo import anchor
from tests import toys
from tests.one_point import same, train
from tests.three_heads import NAMES, PREFERENCE, SHARED, ThreeHeads, combined, one_by_one

METHODS = (ps.EPO, ps.ParetoMTL, ps.CoGrad)


def step(solver):
    """The gradients that a step sets, and its weights."""
    model = ThreeHeads()
    names, parameters = zip(*model.named_parameters(), strict=True)
    sweep = Sweep(torch.stack([PREFERENCE, PREFERENCE.flip(0)]), torch.tensor(0), 1, False, ())
    state = solver.init(sweep)
    if isinstance(solver, pm.Stepper):
        problem = pm.Problem(
            NAMES, ThreeHeads, lambda m, b: dict(zip(NAMES, m.losses(), strict=True)), [9.0] * 3, deterministic=True
        )
        follow(solver, state, closure(problem, model), model.losses(), PREFERENCE, parameters, NAMES)
        weights = None
    else:
        weights = descend(solver, state, model.losses(), PREFERENCE, parameters, NAMES).weights
    return model, {name: p.grad for name, p in zip(names, parameters, strict=True)}, weights


@pytest.mark.parametrize("make", METHODS)
def test_heads_keep_plain_gradients_unless_weighted(make):
    torch.manual_seed(0)
    model, gradients, weights = step(make())
    plain = combined(one_by_one(model), torch.ones(3))
    for name in (n for n, p in plain.items() if n not in SHARED and p is not None):
        torch.testing.assert_close(gradients[name], plain[name])
    torch.manual_seed(0)
    model, gradients, weights = step(make(heads="weighted"))
    weights = PREFERENCE if weights is None else weights
    weighted = combined(one_by_one(model), weights)
    for name in (n for n, p in weighted.items() if n not in SHARED and p is not None):
        torch.testing.assert_close(gradients[name], weighted[name])


@pytest.mark.parametrize("make", METHODS)
def test_the_option_is_checked_and_plain_heads_are_not_spoken_of(make):
    with pytest.raises(Exception, match="heads"):
        make(heads="other")
    assert "heads" not in repr(make())
    assert "heads='weighted'" in repr(make(heads="weighted"))


def test_cograd_without_its_bend_is_linear_scalarization():
    """Under SGD, with weighted heads: the same weights, to the byte."""
    linear = train(toys.two_regressions(), ps.Linear(), (0.25, 0.75), epochs=2).weights
    cograd = train(toys.two_regressions(), ps.CoGrad(gamma=0.0, heads="weighted"), (0.25, 0.75), epochs=2).weights
    plain = train(toys.two_regressions(), ps.CoGrad(gamma=0.0), (0.25, 0.75), epochs=2).weights
    for name, value in linear.items():
        torch.testing.assert_close(cograd[name], value, rtol=1e-5, atol=1e-7)
    assert not same(plain, cograd)


def test_with_weighted_heads_a_balance_step_never_raises_the_non_uniformity():
    """Plain heads fall at their own pace, whatever the balance; so there mu can rise."""
    rises, r = {"plain": 0, "weighted": 0}, raise_to_floor(PREFERENCE.numpy())
    for heads in rises:
        for seed in range(60):
            torch.manual_seed(seed)
            model, solver = ThreeHeads(), ps.EPO(heads=heads)
            parameters = [p for p in model.parameters() if p is not model.idle]
            before = float(anchor(torch.stack(model.losses()).detach().numpy(), r)[0])
            descend(solver, None, model.losses(), PREFERENCE, parameters, NAMES)
            with torch.no_grad():
                for p in parameters:
                    p -= 1e-6 * p.grad
            after = float(anchor(torch.stack(model.losses()).detach().numpy(), r)[0])
            rises[heads] += before > 1e-4 and after > before
    print(f"\nsteps of 60 in which mu rose: {rises}")
    assert rises["weighted"] == 0 < rises["plain"]

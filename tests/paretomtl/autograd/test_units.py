"""Losses in the units of a method: from the ideal where it measures from there, with a floor where it needs one."""

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.autograd.units import NOISY_CEILING, NOISY_FLOOR, convert, units_of

RANGE = pm.Normalisation((0.5, 10.0), (1.5, 30.0))


@pytest.mark.parametrize("solver", [ps.Linear(), ps.MGDA(), ps.FairGrad()], ids=repr)
def test_what_only_weighs_gets_losses_over_their_range(solver):
    units = units_of(solver, RANGE, deterministic=False)
    assert [float(x) for x in convert({1: torch.tensor(40.0), 0: torch.tensor(0.25)}, units)] == [2.0, 0.25]


@pytest.mark.parametrize("solver", [ps.EPO(), ps.Tchebycheff(), ps.PBI(), ps.COSMOS(), ps.ParetoMTL()], ids=repr)
def test_what_measures_from_an_ideal_gets_losses_from_there(solver):
    units = units_of(solver, RANGE, deterministic=False)
    assert [float(x) for x in convert({0: torch.tensor(1.0), 1: torch.tensor(25.0)}, units)] == [0.5, 0.75]


@pytest.mark.parametrize(("deterministic", "least"), [(False, NOISY_FLOOR), (True, 0.0)])
def test_a_loss_below_its_ideal_is_the_floor_with_its_own_gradient(deterministic, least):
    loss = torch.tensor(9.0, requires_grad=True)
    (value,) = convert({1: loss}, units_of(ps.EPO(), RANGE, deterministic))
    assert float(value.detach()) == pytest.approx(least)
    (gradient,) = torch.autograd.grad(value, loss)
    assert float(gradient) == pytest.approx(1 / 20)


def test_a_noisy_loss_beyond_its_nadir_counts_as_that():
    loss = torch.tensor(50.0, requires_grad=True)
    (value,) = convert({1: loss}, units_of(ps.Tchebycheff(), RANGE, deterministic=False))
    assert float(value.detach()) == NOISY_CEILING
    (gradient,) = torch.autograd.grad(value, loss)
    assert float(gradient) == pytest.approx(1 / 20)
    (joint,) = convert({1: loss.detach()}, units_of(ps.HypervolumeAscent((2.0, 40.0)), RANGE, deterministic=False))
    assert float(joint) == 2.0
    (exact,) = convert({1: loss.detach()}, units_of(ps.Tchebycheff(), RANGE, deterministic=True))
    assert float(exact) == 2.0


def test_what_is_left_out_has_no_bounds():
    left_out = pm.Normalisation((0.0, 10.0), (1.0, 30.0))
    assert float(convert({0: torch.tensor(7.0)}, units_of(ps.EPO(), left_out, deterministic=False))[0]) == 7.0


def test_without_need_there_is_no_floor():
    (value,) = convert({1: torch.tensor(8.0)}, units_of(ps.PBI(), RANGE, deterministic=False))
    assert float(value) == pytest.approx(-0.1)
    unshifted = pm.Normalisation((0.0, 10.0), (1.5, 30.0))
    (value,) = convert({0: torch.tensor(0.003)}, units_of(ps.EPO(), unshifted, deterministic=False))
    assert float(value) == pytest.approx(0.002)


def test_without_units_losses_stay_as_they_are():
    losses = {0: torch.tensor(0.25), 2: torch.tensor(40.0)}
    assert convert(losses, None) == list(losses.values())


@pytest.mark.parametrize(
    "solver",
    [ps.Tchebycheff((1.0, 20.0)), ps.SmoothTchebycheff(ideal=(1.0, 20.0)), ps.PBI(ideal=(1.0, 20.0)),
     ps.AugmentedTchebycheff(ideal=(1.0, 20.0))], ids=repr,
)  # fmt: skip
def test_a_methods_own_ideal_is_converted(solver):
    assert solver.normalised(RANGE).ideal == (0.5, 0.5)
    assert type(solver)().normalised(RANGE).ideal is None


@pytest.mark.parametrize("solver", [ps.HypervolumeAscent((1.0, 20.0)), ps.PHNHVI((1.0, 20.0))], ids=repr)
def test_a_methods_own_reference_is_converted(solver):
    assert solver.normalised(RANGE).ref_point == (0.5, 0.5)

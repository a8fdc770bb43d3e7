"""Scalarizations: the ideal that they measure from, what they say of themselves, and where their weights lead."""

import pytest
import torch

import paretomtl_solvers as ps
from paretomtl.solver import Code
from tests.asserts import unit_rays

FROM_IDEAL = [ps.Tchebycheff, ps.AugmentedTchebycheff, ps.SmoothTchebycheff, ps.PBI]
LOSSES = torch.tensor([3.0, 0.0, -1.0], dtype=torch.float64)
PREFERENCE = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


@pytest.mark.parametrize("preference", [(0.2, 0.3, 0.5), (1, 0, 0), (0, 0.5, 0.5)], ids=str)
def test_linear_takes_any_losses(preference):
    r = torch.tensor(preference, dtype=torch.float64)
    weights, _, status = ps.Linear().update(None, LOSSES, r)
    assert torch.equal(weights, r)
    assert (status.code, status.residual) == (Code.SOLVED, 0)


@pytest.mark.parametrize("build", FROM_IDEAL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_are_measured_from_the_ideal(build, dtype):
    ideal = (2.0, -3.0, -1.5)
    weights = build(ideal=ideal)(LOSSES.to(dtype), PREFERENCE)
    shifted = build()(LOSSES - torch.tensor(ideal, dtype=torch.float64), PREFERENCE)
    assert weights.dtype == torch.float64
    assert torch.allclose(weights, shifted, rtol=0, atol=1e-12)
    assert not torch.allclose(weights, build(ideal=(0.0, 0.0, -1.0))(LOSSES, PREFERENCE), atol=1e-3)


def test_what_they_say_of_themselves():
    far = (-1.0, -1.0)
    follow = {type(s).__name__ for s in (ps.Linear(), *(build() for build in FROM_IDEAL)) if s.follows_ray}
    assert follow == {"Tchebycheff", "PBI"}
    assert not any(build(ideal=far).follows_ray for build in FROM_IDEAL)
    checked = {build.__name__ for build in FROM_IDEAL if build().nonnegative}
    assert checked == {"Tchebycheff", "AugmentedTchebycheff"}
    assert not any(build(ideal=far).nonnegative for build in FROM_IDEAL)
    assert not ps.Linear().nonnegative


def test_smooth_tchebycheff_is_stable_where_the_exponential_is_not():
    weights = ps.SmoothTchebycheff(1e-6)(torch.tensor([1e6, 1.0], dtype=torch.float64), PREFERENCE[:2])
    assert weights.tolist() == [0.2, 0]


def test_pbi_on_its_ray_has_no_direction_to_come_back_from():
    for size in (1e-9, 1.0, 1e9):
        assert torch.allclose(ps.PBI(5.0)(size * unit_rays(PREFERENCE), PREFERENCE), unit_rays(PREFERENCE))
    assert torch.allclose(ps.PBI(5.0)(torch.zeros(3).double(), PREFERENCE), unit_rays(PREFERENCE))


@pytest.mark.parametrize(
    "solver", [ps.Tchebycheff(), ps.AugmentedTchebycheff(1e-3), ps.SmoothTchebycheff(1e-3), ps.PBI(100.0)], ids=repr
)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_on_a_concave_front_they_end_on_the_ray(solver, share):
    """The front is the quarter circle of radius 1 about (1, 1) that bends away from the origin; x says where on it."""
    r = torch.tensor([share, 1 - share], dtype=torch.float64)

    def losses(x):
        return torch.stack([x.sin(), x.cos()])

    x = torch.tensor(1.0, dtype=torch.float64)
    for k in range(400):
        slopes = torch.stack([x.cos(), -x.sin()])
        weights = solver(losses(x), r)
        x = x - 0.5 / (1 + k) * (weights @ slopes).sign()
    reached = losses(x)
    assert torch.allclose(reached / reached.norm(), unit_rays(r), atol=5e-3)


def test_on_a_concave_front_linear_ends_at_an_end():
    x = torch.tensor(0.7, dtype=torch.float64)
    for _ in range(100):
        x = (x - 0.1 * (PREFERENCE[:2] @ torch.stack([x.cos(), -x.sin()]))).clamp(0, torch.pi / 2)
    assert x in (0, torch.pi / 2)

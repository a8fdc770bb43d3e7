"""Scalarizations: the ideal that they measure from, what they say of themselves, and where their weights lead."""

import pytest
import torch

import paretomtl_solvers as ps
from paretomtl.point import Code
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
    for solver in (ps.COSMOS(), ps.COSMOS(ray="published"), ps.PHNHVI((1.0, 1.0))):
        assert not solver.follows_ray
        assert not solver.nonnegative


@pytest.mark.parametrize(
    ("flag", "methods"), [("linear", {"Linear"}), ("joint", {"HypervolumeAscent", "MOOSVGD", "PHNHVI"})]
)
def test_which_see_the_preference_alone_and_which_other_points(flag, methods):
    assert {name for name in ps.__all__ if getattr(getattr(ps, name), flag, False)} == methods


def test_smooth_tchebycheff_is_stable_where_the_exponential_is_not():
    weights = ps.SmoothTchebycheff(1e-6)(torch.tensor([1e6, 1.0], dtype=torch.float64), PREFERENCE[:2])
    assert weights.tolist() == [0.2, 0]


def test_pbi_on_its_ray_has_no_direction_to_come_back_from():
    for size in (1e-9, 1.0, 1e9):
        assert torch.allclose(ps.PBI(5.0)(size * unit_rays(PREFERENCE), PREFERENCE), unit_rays(PREFERENCE))
    assert torch.allclose(ps.PBI(5.0)(torch.zeros(3).double(), PREFERENCE), unit_rays(PREFERENCE))


def test_losses_of_zero_have_no_cosine_to_raise():
    zero = torch.zeros(3).double()
    for solver in (ps.COSMOS(5.0), ps.COSMOS(5.0, "published")):
        assert torch.equal(solver(zero, PREFERENCE), PREFERENCE)
        assert solver.value(zero, PREFERENCE) == 0
    together = torch.stack([zero, LOSSES])  # and have nothing to say of the point beside them
    weights = ps.COSMOS(5.0)(together, torch.stack([PREFERENCE, PREFERENCE]))
    assert torch.equal(weights[1], ps.COSMOS(5.0)(LOSSES, PREFERENCE))


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_cosmos_on_its_ray_is_the_weighted_sum(size):
    for ray, direction in (("ours", unit_rays(PREFERENCE)), ("published", PREFERENCE)):
        slope = (ps.COSMOS(5.0, ray)(size * direction, PREFERENCE) - PREFERENCE) * size
        assert slope.abs().max() < 1e-14


def test_cosmos_lets_a_loss_rise_that_is_too_small_for_its_ray():
    """Ours with the preference's own sense, the published form against it."""
    even, asked = torch.ones(2).double(), torch.tensor([0.9, 0.1], dtype=torch.float64)
    ours, published = (ps.COSMOS(10.0, ray)(even, asked) for ray in ("ours", "published"))
    assert ours[0] > 0 > ours[1]  # the first loss matters: the second may rise
    assert published[0] < 0 < published[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cosmos_answers_in_double_precision(dtype):
    weights = ps.COSMOS()(LOSSES.to(dtype), PREFERENCE)
    assert weights.dtype == torch.float64
    assert torch.allclose(weights, ps.COSMOS()(LOSSES, PREFERENCE), rtol=0, atol=1e-12)


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

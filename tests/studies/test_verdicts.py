"""EPO's verdicts hold against a fine grid of the truth."""

import warnings
from functools import partial

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from studies import verdicts
from studies.analytic import dtlz2, fonseca, zdt3

ADAM = partial(torch.optim.Adam, lr=1e-2)


def counted(make, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        counts = verdicts.count_verdicts(make, **options)
    print(f"\n{make.__name__}: {dict(counts)}")
    return counts


@pytest.mark.fault(105)
@pytest.mark.parametrize("make", [fonseca, zdt3, verdicts.aside], ids=lambda make: make.__name__)
def test_no_verdict_is_false(make):
    counts = counted(make, rays=4, seeds=1, steps=60)
    assert not [verdict for verdict in counts if verdict.endswith("false")]
    assert sum(counts.values()) == 4


@pytest.mark.slow
@pytest.mark.fault(105)
@pytest.mark.parametrize("make", verdicts.PROBLEMS, ids=lambda make: make.__name__)
def test_no_verdict_is_false_over_seeds(make):
    counts = counted(make)
    assert not [verdict for verdict in counts if verdict.endswith("false")]
    assert sum(counts.values()) == 50


@pytest.mark.fault(105)
def test_dtlz2s_box_is_no_trap():
    """The polish's steps are tested where they land; unprojected, these three ended in corners."""
    rays = [(1 / 6, 1 / 6, 2 / 3), (1 / 6, 2 / 3, 1 / 6), (1 / 2, 1 / 6, 1 / 3)]
    front = pm.explore(dtlz2(), ps.EPO(), preferences=rays, steps=150, optimizer=ADAM)
    assert [point.status for point in front.points] == ["solved"] * 3
    assert front.control_errors.max() < 0.01
    assert front.losses.max() < 0.95


@pytest.mark.slow
@pytest.mark.fault(105)
def test_dtlz2s_ten_rays():
    front = pm.explore(dtlz2(), ps.EPO(), preferences=10, steps=1000, optimizer=ADAM)
    for point in front.points:
        print(f"\n{point.preference}: {point.status}, {point.control_error:.4f}°, {point.losses['validate']}")
    assert [point.status for point in front.points] == ["solved"] * 10
    assert front.control_errors.max() < 0.01


@pytest.mark.fault(106)
def test_on_its_ray_but_not_on_the_front_a_point_is_not_solved():
    """The polish takes at most five times the steps of the training; three and fifteen are too few."""
    front = pm.explore(fonseca(), ps.EPO(), preferences=[(0.5, 0.5)], steps=3, optimizer=ADAM)
    (point,) = front.points
    print(f"\n{point.status}, {point.control_error:.4f} degrees, {point.losses}, {point.counts}")
    assert point.status == "not converged"
    assert point.counts["finish_steps"] <= 15
    front = pm.explore(fonseca(), ps.EPO(), preferences=[(0.5, 0.5)], steps=200, optimizer=ADAM)
    assert front.points[0].status == "solved"


@pytest.mark.fault(107)
def test_slack_losses_fall_until_none_can_for_nothing():
    """Max is "a" alone, at 1 for x_1 = 0; "b" falls with x_2 down to .1, without "a"."""

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor([0.5, 0.9], dtype=torch.float64))

    def losses(model, batch):
        return {"a": 1 + model.x[0] ** 2, "b": 0.1 + model.x[1] ** 2 / 2 + 1e-3 * (model.x[0] - 1) ** 2}

    problem = pm.Problem(["a", "b"], Two, losses, [2.0, 2.0], deterministic=True)
    with pytest.warns(UserWarning, match="unreachable"):
        front = pm.explore(problem, ps.EPO(), preferences=[(0.5, 0.5)], steps=200, optimizer=ADAM)
    assert front.points[0].status == "unreachable"
    assert front.points[0].losses["validate"] == pytest.approx((1.0, 0.101), abs=1e-3)

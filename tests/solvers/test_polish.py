"""EPO's polish, part by part: what it minimises, where it looks, and what it keeps."""

import numpy as np
import pytest
import torch

import paretomtl as pm
from paretomtl.autograd.loss_function import closure
from paretomtl.point import Code
from paretomtl_solvers import polish
from studies.analytic import Boxed, into_box

EVEN = np.array([0.5, 0.5])


def losses_at(x, losses, most_moves=1000):
    """Losses of a place in the unit box, as the polish sees them."""
    problem = pm.Problem(
        ["a", "b"],
        lambda: Boxed(len(x)),
        lambda model, batch: dict(zip("ab", losses(model.x), strict=True)),
        [9.0, 9.0],
        deterministic=True,
        project=into_box,
    )
    model = problem.model()
    with torch.no_grad():
        model.x.copy_(torch.tensor(x, dtype=torch.float64))
    exact = closure(problem, model)
    exact.most_moves = most_moves
    return exact


def two_valleys(x):
    """The worst along x_1: .6 at .2, with 0 slope, and lower in a narrow valley, .1 wide, at .8."""
    valley = 0.6 + (x[0] - 0.2) ** 2 - torch.exp(-(((x[0] - 0.8) / 0.05) ** 2))
    return valley + 1, valley + 1


def test_the_worst_is_the_largest_of_those_that_may_fall():
    exact = losses_at([0.3, 0.5], lambda x: (x[0], 2 * x[1]))
    assert polish.Worst(exact, EVEN)() == pytest.approx(0.5)
    kept = polish.Worst(exact, EVEN, np.array([False, True]))
    assert kept() == pytest.approx(0.15)
    assert kept(torch.tensor([0.1, 0.5]).double()) == pytest.approx(0.05)
    assert kept(torch.tensor([0.1, 0.6]).double()) == np.inf  # what is kept has risen


def test_the_minimum_within_the_box_and_what_is_active_there():
    exact = losses_at([0.9, 0.9], lambda x: (1 + x[0], (x[1] - 0.2) ** 2))
    worst = polish.Worst(exact, EVEN)
    worst.minimise()
    active, at_rest = worst.verdict()
    assert exact.parameters[0] == 0
    assert (active.tolist(), at_rest) == ([True, False], True)
    below = polish.Worst(exact, EVEN, active)
    below.minimise()
    assert exact.parameters.tolist() == pytest.approx([0, 0.2], abs=1e-3)


def test_a_line_spreads_over_the_box_and_goes_down_to_a_valleys_bottom():
    exact = losses_at([0.3, 0.5], two_valleys)
    line = polish._Line(polish.Worst(exact, EVEN), exact.parameters, 0)
    assert line.spread(3).tolist() == pytest.approx([-0.3, 0.2, 0.7])
    assert line.place(9.0).tolist() == [1, 0.5]
    step, value = line.descend(0.4, 0.6)
    assert step == pytest.approx(0.5, abs=0.01)  # at .8
    assert value == pytest.approx(line(0.5), abs=1e-3)


def test_a_lower_place_is_found_in_a_narrow_valley_and_none_from_its_bottom():
    exact = losses_at([0.2, 0.5], two_valleys)
    place = polish._find_lower(polish.Worst(exact, EVEN), np.random.default_rng(0))
    assert place is not None
    assert float(place[0]) == pytest.approx(0.8, abs=0.03)
    exact = losses_at([0.7975, 0.5], two_valleys)
    assert polish._find_lower(polish.Worst(exact, EVEN), np.random.default_rng(0)) is None


@pytest.mark.fault(107)
def test_the_verdict_on_a_ray_that_is_met_and_on_one_that_is_not():
    assert polish.polish(losses_at([0.5, 0.5], lambda x: (x[0], 1 - x[0] + x[1])), EVEN) == Code.SOLVED
    assert polish.polish(losses_at([0.5, 0.5], lambda x: (x[0], 3 - x[0] + x[1])), EVEN) == Code.UNREACHABLE
    few = losses_at([0.5, 0.5], lambda x: (x[0], 1 - x[0] + x[1]), most_moves=1)
    assert polish.polish(few, EVEN) == Code.NOT_CONVERGED
    assert few.moves == 1

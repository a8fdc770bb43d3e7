"""Hull, bounds and the certificate, on problems whose stationary places are known by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.autograd.bounds import held_at_bounds
from paretomtl.autograd.hull import common_descent, least_norm
from paretomtl.autograd.loss_function import closure
from paretomtl.autograd.stationarity import is_stationary
from studies.analytic import Boxed, Place, fonseca, into_box


def box(parameters):
    return parameters.clamp(0, 1)


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)


def at(problem, x):
    """The problem's losses as a function, with the model at x."""
    model = problem.model()
    with torch.no_grad():
        model.x.copy_(tensor(x))
    return closure(problem, model)


def given(losses, n=2, bounded=False):
    return pm.Problem(
        ["a", "b"],
        lambda: (Boxed if bounded else Place)(n),
        lambda model, batch: dict(zip("ab", losses(model.x), strict=True)),
        [9.0, 9.0],
        deterministic=True,
        project=into_box if bounded else None,
    )


def test_a_hull_and_a_cone_by_hand():
    rows = tensor([[3, 1], [-1, 1], [0, -1]])
    gramian = (rows @ rows.T).numpy()
    # of the first two alone (0, 1) is the shortest, at (1/4, 3/4)
    assert least_norm(gramian[:2, :2]) == pytest.approx([0.25, 0.75])
    # with (0, -1) in the hull it holds 0
    w = least_norm(gramian)
    assert w.sum() == pytest.approx(1)
    assert (w @ rows.numpy()) == pytest.approx([0, 0], abs=1e-12)
    # with the multiples of (0, -1) instead, too, and the weights of the hull are as without it
    w = least_norm(gramian, np.array([True, True, False]))
    assert w == pytest.approx([0.25, 0.75, 1])


def test_where_the_solver_stops_early_all_rows_weigh_alike(monkeypatch):
    monkeypatch.setattr("paretomtl.autograd.hull.least_norm", lambda gramian, in_hull: None)
    weights, d = common_descent(box, tensor([0.5, 0.5]), tensor([[3, 1], [-1, 1]]), tensor([[0, 5]]))
    assert (weights.tolist(), d.tolist()) == ([0.5, 0.5], [1, 1])


@pytest.mark.parametrize("seed", range(20))
def test_the_direction_lowers_all_rows_and_leads_nowhere_out_of_the_box(seed):
    """Against a general solver of the same program."""
    draw = np.random.default_rng(seed)
    n, k, kept = 6, 3, 2
    x = tensor(draw.choice([0, 0.3, 1], size=n))
    rows = tensor(draw.normal(size=(k + kept, n)))
    weights, d = common_descent(box, x, rows[:k], rows[k:])
    slopes, squared = (rows @ d).numpy(), float(d @ d)
    assert weights.sum() == pytest.approx(1)
    assert (slopes[:k] >= squared - 1e-9).all()
    assert (slopes[k:] >= -1e-9).all()
    assert box(x - 1e-6 * d).numpy() == pytest.approx((x - 1e-6 * d).numpy(), abs=1e-15)

    def steepest(v):  # of the rows to fall, the least steep; v is a step
        return max(rows[:k].numpy() @ v[:n]) + v[:n] @ v[:n] / 2

    inward = [(0 if x_i == 0 else None, 0 if x_i == 1 else None) for x_i in x]
    best = minimize(
        lambda v: v[n] + v[:n] @ v[:n] / 2,
        np.zeros(n + 1),
        constraints=[
            {"type": "ineq", "fun": lambda v: v[n] - rows[:k].numpy() @ v[:n]},
            {"type": "ineq", "fun": lambda v: -rows[k:].numpy() @ v[:n]},
        ],
        bounds=[*inward, (None, None)],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert steepest(-d.numpy()) == pytest.approx(steepest(best.x), abs=1e-6)


def test_a_parameter_is_held_where_no_gradient_leads_back():
    x = tensor([0, 0, 1, 0.5])
    jacobian = tensor([[1, 1, -1, 1], [2, -1, 0, 1]])
    assert held_at_bounds(box, x, jacobian).tolist() == [True, False, True, False]
    two_points = held_at_bounds(box, torch.stack([x, 0.5 * torch.ones(4).double()]), torch.stack([jacobian, jacobian]))
    assert two_points.tolist() == [[True, False, True, False], [False] * 4]


@pytest.mark.fault(106)
def test_a_place_is_stationary_between_the_centres_alone():
    # fonseca's front is the segment between the centres ±(1, 1)/sqrt(2)
    for x, stationary in [((0, 0), True), ((0.3, 0.3), True), ((0.3, -0.2), False), ((1.2, 1.2), False)]:
        assert is_stationary(at(fonseca(2), x)) is stationary


@pytest.mark.fault(105)
def test_at_a_bound_what_the_bound_undoes_counts_for_nothing():
    # both losses fall along -x_1, which the box does not allow at x_1 = 0
    problem = given(lambda x: (x[0] + (x[1] - 0.2) ** 2, x[0] + (x[1] - 0.8) ** 2), bounded=True)
    assert is_stationary(at(problem, (0, 0.5)))
    assert not is_stationary(at(problem, (0.1, 0.5)))
    assert not is_stationary(at(problem, (0, 0.9)))


@pytest.mark.fault(108)
def test_where_one_loss_is_flat_another_may_not_be_left_to_fall():
    # a is a penalty, 0 below 1; b can fall down to .25 for nothing
    problem = given(lambda x: ((x[0] - 1).clamp(min=0) ** 2, (x[0] - 0.5) ** 2 + x[1] ** 2 + 0.25))
    assert not is_stationary(at(problem, (0, 0)))
    assert is_stationary(at(problem, (0.5, 0)))
    # at a's minimum b falls at a's expense only
    assert is_stationary(at(given(lambda x: (x.square().sum() + 1, (x - 1).square().sum())), (0, 0)))


@pytest.mark.fault(108)
@pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")
@pytest.mark.parametrize("solver", [ps.MGDA(), ps.Linear(), ps.EPO(), ps.FairGrad()], ids=repr)
def test_beside_a_flat_penalty_no_method_says_that_it_is_done(solver):
    problem = given(lambda x: ((x[0] - 1).clamp(min=0) ** 2, (x - 0.5).square().sum() + 0.25))
    front = pm.explore(problem, solver, preferences=[(0.5, 0.5)], steps=3, optimizer=partial(torch.optim.SGD, lr=1e-3))
    (point,) = front.points
    if isinstance(solver, ps.EPO):
        assert point.losses["validate"] == pytest.approx((0, 0.25), abs=1e-6)  # its polish goes all the way
    else:
        assert point.status == "not converged"


class Followed(ps.MGDA):
    """MGDA that a study of several preferences takes."""

    uses_preference = True


@pytest.mark.fault(105)
@pytest.mark.filterwarnings("ignore:no trade-off:UserWarning")
@pytest.mark.parametrize("fleet", [None, 2])
def test_a_step_at_a_bound_weighs_only_where_it_can_go(fleet):
    """At x_1 = 0 both losses push out of the box, unequally; MGDA's weights are those of the other two alone."""
    problem = given(lambda x: (9 * x[0] + (x[1] - 0.2) ** 2 + x[2], x[0] + (x[1] - 0.8) ** 2 + x[2]), n=3, bounded=True)

    def start():
        model = Boxed(3)
        with torch.no_grad():
            model.x.copy_(tensor([0, 0.4, 0.5]))
        return model

    told = []
    pm.explore(
        pm.Problem(problem.names, start, problem.losses, [9.0, 9.0], deterministic=True, project=into_box),
        Followed(),
        preferences=[(0.5, 0.5), (0.2, 0.8)],
        steps=1,
        fleet=fleet,
        optimizer=partial(torch.optim.SGD, lr=1e-3),
        callbacks=[told.append],
    )
    # gradients (.4, 1) and (-.8, 1): the shortest vector of the hull is (0, 1), at weights (2/3, 1/3)
    weights = [step.weights for step in told if step.point.startswith("point")]
    assert weights == [pytest.approx({"a": 2 / 3, "b": 1 / 3})] * 2

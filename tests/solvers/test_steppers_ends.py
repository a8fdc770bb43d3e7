"""Where methods end that ask for the losses elsewhere: near Pareto-stationary points, within bounds."""

from functools import partial

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl_solvers import qp
from studies import analytic
from tests.asserts import sweep
from tests.one_point import same, train


def gradients_at_end(problem: pm.Problem, solver, rate: float, steps: int = 200) -> np.ndarray:
    """The Jacobian where gradient descent by the method ends, at an even preference."""
    torch.manual_seed(0)
    here = pm.closure(problem, problem.model())
    m = len(problem.names)
    preference = torch.full((m,), 1 / m, dtype=torch.float64)
    state = solver.init(sweep(preference))
    for _ in range(steps):
        direction, state, _ = solver.update(state, here, preference)
        here.move(here.parameters - rate * direction)
    return here.gradients().jacobian.numpy()


# those that keep walking end within the order of their steps' length from a stationary point, not at one
ENDS = [
    (ps.MARIGOLD(), 0.5, 1e-2),
    (ps.FSMTL(ps.MGDA(), rho=0.01), 0.5, 2e-2),
    (ps.FSMTL(ps.Linear(), rho=0.01), 1.0, 2e-2),
    (ps.SingleStep(), 0.5, 2e-2),
    (ps.SingleStep(second_order=True), 0.5, 2e-2),
    (ps.SequentialReptile(0.2, order="given"), 1.0, 5e-2),
    (ps.SequentialReptile(0.05, steps=8), 1.0, 0.1),
    (ps.AlternatingGroups(1, 0.01), 1.0, 2e-2),
    (ps.SelectiveGroups(0.1, singletons=50), 1.0, 5e-2),
]
BUILDS = pytest.mark.parametrize("build", [analytic.quadratics, analytic.fonseca], ids=["quadratics", "Fonseca"])


@BUILDS
@pytest.mark.parametrize(("solver", "rate", "within"), ENDS, ids=repr)
def test_where_it_ends_is_all_but_pareto_stationary(build, solver, rate, within, unchecked):
    J = gradients_at_end(build(), solver, rate)
    w, _ = qp.min_norm(J @ J.T)
    distance = np.linalg.norm(w @ J) / np.linalg.norm(J, axis=1).max()
    print(f"\n{solver}: {distance:.2g}")
    assert distance <= within


@BUILDS
def test_alternating_groups_stop_where_gradients_are_opposed_in_each_parameter(build, unchecked):
    """Adam steps by signs, so that two tasks in turn are at rest there: a box of places, not the Pareto set."""
    J = gradients_at_end(build(), ps.AlternatingGroups(2, 0.01), 1.0)
    J = J / np.abs(J).max()
    assert (J[0] * J[1] <= 1e-3).all(), J
    w, _ = qp.min_norm(J @ J.T)
    assert np.linalg.norm(w @ J) > 0.1


@pytest.mark.parametrize("solver", [solver for solver, _, _ in ENDS], ids=repr)
def test_it_looks_within_bounds_alone(solver, unchecked):
    """Below x = 0 ZDT1's second loss is the root of a negative number."""
    problem = analytic.zdt1()
    model = problem.model()
    with torch.no_grad():
        model.x.mul_(0.01)
    here, state = pm.closure(problem, model), solver.init(sweep(torch.full((2,), 0.5, dtype=torch.float64)))
    for _ in range(20):
        direction, state, _ = solver.update(state, here, torch.full((2,), 0.5, dtype=torch.float64))
        assert direction.isfinite().all()
        here.move(here.parameters - 0.01 * direction)


@pytest.mark.parametrize("base", [ps.MGDA(), ps.EPO(), ps.Linear()], ids=repr)
def test_fs_mtl_hides_what_bounds_hold_as_the_engine_does(base):
    problem, options = analytic.zdt1(), {"steps": 30, "optimizer": partial(torch.optim.SGD, lr=0.1)}
    alone = train(problem, base, (0.4, 0.6), **options)
    assert same(train(problem, ps.FSMTL(base, rho=0.0), (0.4, 0.6), **options).weights, alone.weights)
    assert (alone.weights["x"][1:] == 0).any()  # some are at their bounds

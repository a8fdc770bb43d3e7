"""Continuous Pareto exploration: tangents in closed form, what MINRES leaves, and the way back to the front."""

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.point import Code
from studies.analytic import fonseca, quadratics, zdt1

FIRST, LAST = torch.eye(2, dtype=torch.float64)
N = 10


def at(problem: pm.Problem, x) -> pm.Closure:
    """The closure of a problem, its model at x."""
    here = pm.closure(problem, problem.model())
    here.move(torch.as_tensor(x, dtype=torch.float64))
    return here


def curvatures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The diagonals of `quadratics`, and the centre of the first; the other's is -c."""
    h = torch.linspace(0.1, 0.9, N, dtype=torch.float64)
    return h, h.flip(0), torch.ones(N, dtype=torch.float64) / N**0.5


def optimum(w: float) -> torch.Tensor:
    """Where the sum of `quadratics`, weighted by (w, 1 - w), is least."""
    h, k, c = curvatures()
    return (w * h - (1 - w) * k) * c / (w * h + (1 - w) * k)


def dense(problem: pm.Problem, here: pm.Closure, weights: torch.Tensor) -> torch.Tensor:
    return torch.stack([here.hessian_product(weights, e) for e in torch.eye(len(here.parameters)).double()])


@pytest.mark.parametrize("w", [0.2, 0.5, 0.9])
def test_the_tangent_of_quadratics(w):
    """Along x(w) = (w H + (1 - w) K)^-1 (w H - (1 - w) K) c, at the speed -1 / (1 - w) of its weight."""
    here = at(quadratics(), optimum(w))
    solver = ps.ContinuousPareto(damping=0.0, tolerance=1e-12)
    assert solver.weights(here).tolist() == pytest.approx([w, 1 - w], abs=1e-9)
    along = (optimum(w + 1e-5) - optimum(w - 1e-5)) / 2e-5
    direction, _, status = solver.update(None, here, FIRST)
    assert torch.allclose(direction, -(1 - w) * along, rtol=0, atol=1e-8)
    assert status.code == Code.SOLVED
    assert status.residual < 1e-9
    # towards the last one it is the other way round, at the other's speed
    assert torch.allclose(solver(here, LAST), w * along, rtol=0, atol=1e-8)
    between = solver(here, torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert torch.allclose(between, (w - 0.5) * along, rtol=0, atol=1e-8)


@pytest.mark.parametrize("damping", [0.0, 0.1, 3.0])
def test_damping_is_added_to_the_diagonal(damping):
    h, k, c = curvatures()
    x = torch.linspace(-0.3, 0.2, N, dtype=torch.float64)
    here, solver = at(quadratics(), x), ps.ContinuousPareto(damping=damping, tolerance=1e-12)
    a, b = solver.weights(here).tolist()
    expected = h * (x - c) / (a * h + b * k + damping)
    assert torch.allclose(solver(here, FIRST), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("products", "code"), [(1, Code.RELAXED), (2, Code.RELAXED), (50, Code.SOLVED)])
def test_the_residual_is_what_is_left_of_the_system(products, code):
    problem = quadratics()
    here = at(problem, torch.linspace(-0.3, 0.2, N, dtype=torch.float64))
    solver = ps.ContinuousPareto(products=products)
    direction, _, status = solver.update(None, here, FIRST)
    wanted = here.gradients().jacobian[0]
    system = dense(problem, here, solver.weights(here)) + 0.1 * torch.eye(N)
    assert status.code == code
    assert float(status.residual) == pytest.approx(
        float((system @ direction - wanted).norm() / wanted.norm()), rel=1e-6
    )
    assert (status.residual > 1e-3) == (code == Code.RELAXED)


def test_where_the_front_is_concave_the_tangent_is_turned_to_where_the_loss_falls():
    problem = fonseca(N)
    here, solver = at(problem, torch.zeros(N)), ps.ContinuousPareto()
    wanted = here.gradients().jacobian[0]
    system = dense(problem, here, solver.weights(here)) + 0.1 * torch.eye(N)
    solution = torch.linalg.solve(system, wanted)
    assert wanted @ solution < 0
    assert torch.allclose(solver(here, FIRST), -solution, rtol=0, atol=1e-4)


def test_at_the_end_there_is_no_direction():
    direction, _, status = ps.ContinuousPareto().update(None, at(quadratics(), optimum(1.0)), FIRST)
    assert status.code == Code.STATIONARY
    assert not direction.any()


def beside() -> torch.Tensor:
    return optimum(0.4) + 0.2 * torch.linspace(-1, 1, N, dtype=torch.float64)


def test_the_correction_lowers_both_losses_until_the_gradients_cancel_out():
    here, solver = at(quadratics(), beside()), ps.ContinuousPareto(stationary=1e-4, corrections=1000)
    before = here()
    status = solver.finish(here, None, FIRST)
    assert status.code == Code.STATIONARY
    assert (here() < before).all()
    losses, jacobian, _ = here.gradients()
    weights = solver.weights(here)
    assert status.residual <= 1e-4
    assert torch.isclose((weights @ jacobian).norm(), status.residual * (weights @ jacobian.norm(dim=1)))
    assert torch.isclose(losses @ weights, at(quadratics(), optimum(float(weights[0])))() @ weights, rtol=0, atol=1e-7)


@pytest.mark.parametrize("corrections", [0, 2])
def test_the_correction_stops_where_it_may_not_go_on(corrections):
    here = at(quadratics(), beside())
    before = here.moves
    status = ps.ContinuousPareto(corrections=corrections, stationary=1e-4).finish(here, None, FIRST)
    assert status.code == Code.NOT_CONVERGED
    assert status.residual > 1e-4
    assert here.moves == before + corrections


def test_what_bounds_hold_is_left_there():
    """On ZDT1's front all but x_1 are at 0, where the second loss would have them below."""
    x = torch.zeros(30)
    x[0] = 0.25
    here, solver = at(zdt1(), x), ps.ContinuousPareto()
    # there f1' = 1 and f2' = -1 / (2 sqrt(x_1)) = -1
    assert solver.weights(here).tolist() == pytest.approx([0.5, 0.5], abs=1e-6)
    direction = solver(here, FIRST)
    assert direction[0] > 0
    assert not direction[1:].any()
    before = here.moves
    assert solver.finish(here, None, FIRST).code == Code.STATIONARY
    assert here.moves == before
    x[5], x[7] = 0.3, 1.0
    here = at(zdt1(), x)
    assert ps.ContinuousPareto().finish(here, None, FIRST).code == Code.STATIONARY
    assert 0 <= here.parameters.min() <= here.parameters.max() <= 1
    assert here.parameters[1:].max() < 0.01


def test_it_answers_in_the_precision_of_the_model():
    class Place(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor([0.3, -0.2]))

    def losses(model, batch):
        return {"a": (model.x - 1).square().sum(), "b": (model.x + 1).square().sum()}

    problem = pm.Problem(["a", "b"], Place, losses, ref_point=[9.0, 9.0], deterministic=True)
    direction = ps.ContinuousPareto()(pm.closure(problem, Place()), FIRST.float())
    assert direction.dtype == torch.float32
    assert np.allclose(direction.numpy(), 2 * (np.array([0.3, -0.2]) - 1) / 2.1, rtol=1e-4)

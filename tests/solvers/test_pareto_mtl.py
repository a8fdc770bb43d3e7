"""Pareto MTL: its sectors, its phases, and what it says at the end."""

import numpy as np
import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.point import Code
from paretomtl.solver import Sweep
from paretomtl_solvers.pareto_mtl import find_sectors, unit_rays

FIVE = ((0.1, 0.9), (0.3, 0.7), (0.5, 0.5), (0.7, 0.3), (0.9, 0.1))
C = torch.tensor([[1, -0.5], [-0.5, 1]], dtype=torch.float64)
INSIDE, OUTSIDE = (0.5, 0.5), (0.9, 0.1)  # of the third's sector


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def sweep(points, steps=10):
    return Sweep(tensor(FIVE), torch.as_tensor(points), steps, True, ())


def steps(solver, state, *places):
    """The steps of phase 1 left after each, and whether it was one of phase 1: those weights sum to about 0."""
    for losses in places:
        before = int(state.left)
        weights, state, status = solver.update(state, tensor(losses), C, tensor(FIVE[2]))
        yield int(state.left), before > 0 and abs(float(weights.sum())) < 0.5, float(status.residual)


def test_phase_one_lasts_a_share_of_the_steps():
    solver = ps.ParetoMTL(phase_one=0.25)
    assert int(solver.init(sweep(2, steps=18)).left) == round(0.25 * 18)
    state = solver.init(sweep(2, steps=8))
    outside = pytest.approx(0.2191312, abs=1e-6)  # 1 - cos of the angle between the first and the third ray
    found = list(steps(solver, state, *[OUTSIDE] * 4))
    assert found == [(1, True, outside), (0, True, outside), (0, False, outside), (0, False, outside)]


def test_phase_one_ends_for_good_once_the_losses_are_inside():
    solver = ps.ParetoMTL(phase_one=1.0)
    found = list(steps(solver, solver.init(sweep(2)), OUTSIDE, INSIDE, OUTSIDE))
    assert [left for left, _, _ in found] == [9, 0, 0]
    assert [first for _, first, _ in found] == [True, False, False]
    assert found[1][2] == 0


def test_points_have_their_own_sector_and_phase():
    solver, points = ps.ParetoMTL(phase_one=1.0), torch.tensor([0, 2, 4])
    state = solver.init(sweep(points))
    losses = tensor(OUTSIDE).expand(3, 2)
    _, state, status = solver.update(state, losses, C.expand(3, 2, 2), tensor(FIVE)[points])
    assert state.left.tolist() == [0, 9, 9]  # (.9, .1) is the ray of the first
    assert (status.residual > 0).tolist() == [False, True, True]
    assert state.own.tolist() == points.tolist()


def test_the_state_is_a_value():
    solver = ps.ParetoMTL(phase_one=1.0)
    state = solver.init(sweep(2))
    kept = [x.clone() for x in state]
    solver.update(state, tensor(OUTSIDE), C, tensor(FIVE[2]))
    assert all(torch.equal(x, y) for x, y in zip(state, kept, strict=True))


@pytest.mark.parametrize(
    ("phase_one", "gradients", "code"),
    [
        (1.0, (1, 1), Code.SOLVED),  # alike: to enter the sector both losses rise
        (0.0, (1, 1), Code.STATIONARY),  # what lowers both leads out
        (0.0, (1, -1), Code.STATIONARY),
        (1.0, (1, -1), Code.SOLVED),  # opposed: it moves along the front
        (1.0, (0, 0), Code.STATIONARY),
    ],
)
def test_it_is_stationary_where_its_own_direction_vanishes(phase_one, gradients, code):
    J, solver = tensor(gradients)[:, None], ps.ParetoMTL(phase_one)
    weights, _, status = solver.update(solver.init(sweep(2)), tensor(OUTSIDE), J @ J.T, tensor(FIVE[2]))
    assert status.code == code
    assert ((weights @ J).abs() < 1e-12) == (code == Code.STATIONARY)


def test_it_needs_the_other_preferences():
    with pytest.raises(ValueError, match=r"call init\(sweep\) first"):
        ps.ParetoMTL()(tensor(INSIDE), C, tensor(FIVE[2]))
    with pytest.raises(ValueError, match="give at least 2"):
        ps.ParetoMTL().init(Sweep(tensor([[0.5, 0.5]]), torch.tensor(0), 10, True, ()))


@pytest.mark.parametrize(
    "preferences",
    [[(0.5, 0.5), (0.3, 0.7), (0.5, 0.5 + 1e-9)], [(0, 0.25, 0.75), (0, 0.75, 0.25)], [(1, 0), (1 - 1e-8, 1e-8)]],
    ids=str,
)
def test_rays_that_coincide_are_an_error_that_names_them(preferences):
    first, last = (str(tensor(preferences[k]).tolist()) for k in (0, -1))
    with pytest.raises(ValueError) as caught:
        ps.ParetoMTL().init(Sweep(tensor(preferences), torch.tensor(0), 10, True, ()))
    assert str(caught.value).startswith(f"preferences {first} and {last} have the same ray")


def test_a_sector_holds_the_losses_whose_direction_is_nearest():
    rng = np.random.default_rng(0)
    preferences, losses = rng.dirichlet(np.ones(3), 6), rng.uniform(0.01, 1, (200, 3))
    cosines = losses @ unit_rays(preferences).T / np.linalg.norm(losses, axis=1)[:, None]
    found = find_sectors(losses, preferences)
    assert (found == np.degrees(np.arccos(cosines)).argmin(axis=1)).all()
    assert len(set(found)) > 3
    for k in range(6):
        state = ps.ParetoMTL().init(Sweep(tensor(preferences), torch.full((200,), k), 10, True, ()))
        eyes = torch.eye(3).double().expand(200, 3, 3)
        _, _, status = ps.ParetoMTL().update(state, tensor(losses), eyes, tensor(preferences[[k] * 200]))
        assert ((status.residual == 0).numpy() == (found == k)).all()


class Place(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([0.1, 0.7], dtype=torch.float64))


def two_wells(model, batch):
    ends = tensor([(1, 0), (-1, 0)])
    return {name: 1 - (-(model.x - end).square().sum()).exp() for name, end in zip("ab", ends, strict=True)}


@pytest.mark.usefixtures("unchecked")
def test_each_preference_ends_in_its_sector_at_a_stationary_point():
    problem = pm.Problem(["a", "b"], Place, two_wells, ref_point=[1.1, 1.1], deterministic=True)
    for k, preference in enumerate(FIVE):
        solver, closure = ps.ParetoMTL(), pm.closure(problem, problem.model())
        state = solver.init(sweep(k, steps=150))
        for _ in range(150):
            losses, J, _ = closure.gradients()
            weights, state, _ = solver.update(state, losses, J @ J.T, tensor(preference))
            closure.move(closure.parameters - 0.5 * (weights @ J))
        status = solver.finish(closure, state, tensor(preference))
        assert status.code == Code.SOLVED
        assert status.residual <= 1e-3
        assert abs(closure.parameters[1]) < 0.02  # the front's points lie between the wells
        if status.residual == 0:
            assert find_sectors(closure().numpy()[None], np.array(FIVE))[0] == k


@pytest.mark.parametrize(("x", "code"), [((0.05, 0.0), Code.SOLVED), ((0.9, 0.0), Code.NOT_CONVERGED)])
def test_at_the_end_it_says_whether_the_losses_are_in_their_sector(x, code):
    problem = pm.Problem(["a", "b"], Place, two_wells, ref_point=[1.1, 1.1], deterministic=True)
    closure, solver = pm.closure(problem, problem.model()), ps.ParetoMTL()
    closure.move(tensor(x))
    status = solver.finish(closure, solver.init(sweep(2)), tensor(FIVE[2]))
    assert status.code == code
    assert (status.residual > 0.1) == (code == Code.NOT_CONVERGED)
    assert torch.equal(closure.parameters, tensor(x))

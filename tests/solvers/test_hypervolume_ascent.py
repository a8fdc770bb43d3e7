"""A set of points that ascends the hypervolume together."""

from functools import partial

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.preference import control_error, even_design
from paretomtl.training.study import Study, choose_mode
from studies.analytic import fonseca, zdt1
from tests import toys

pytestmark = pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")


def cosine(parameters, lr=0.05, steps=500):
    optimizer = torch.optim.Adam(parameters, lr=lr)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def ascended(problem: pm.Problem, points: int = 10, **asked) -> pm.Front:
    asked = {"steps": 500, "optimizer": cosine} | asked
    solver = ps.HypervolumeAscent(tuple(problem.ref_point))
    return pm.explore(problem, solver, preferences=points, fleet=points, **asked)


@pytest.mark.parametrize(("problem", "optimum"), [(fonseca(10), 0.50560), (zdt1(10), 0.82745)], ids=["fonseca", "zdt1"])
def test_ten_points_come_to_the_best_ten(problem, optimum, unchecked):
    """Largest hypervolumes of any ten points of the two fronts, against (1.1, 1.1)."""
    assert ascended(problem).hypervolume() == pytest.approx(optimum, abs=1e-5)


def test_three_objectives(unchecked):
    """More than the points on the rays of the same preferences have."""
    problem = fonseca(10, 3)
    together = ascended(problem, 15, steps=300, optimizer=partial(cosine, steps=300))
    on_rays = pm.explore(
        problem, ps.Tchebycheff(), preferences=15, fleet=15, steps=300, optimizer=partial(cosine, steps=300)
    )
    assert together.hypervolume() > on_rays.hypervolume() + 1e-3


def test_phase_one_goes_to_the_rays(unchecked):
    """All of its steps but one: the points are on their rays still; without it they go wherever they come to lie."""
    solver = partial(ps.HypervolumeAscent, (1.1, 1.1))
    run = partial(pm.explore, fonseca(10), preferences=5, fleet=5, steps=500, optimizer=cosine)
    first = run(solver(phase_one=0.998))
    assert control_error(first.losses, first.preferences).max() < 0.5
    without = run(solver(phase_one=0.0))
    assert control_error(without.losses, without.preferences).max() > 50


def test_on_batches(unchecked):
    front = pm.explore(
        toys.two_regressions(), ps.HypervolumeAscent((2.0, 2.0)), preferences=5, fleet=5, epochs=60,
        optimizer=partial(torch.optim.Adam, lr=0.02),
    )  # fmt: skip
    linear = pm.explore(
        toys.two_regressions(), ps.Linear(), preferences=5, fleet=5, epochs=60,
        optimizer=partial(torch.optim.Adam, lr=0.02),
    )  # fmt: skip
    assert len(front.nondominated()) == 5
    assert front.hypervolume() > 0.99 * linear.hypervolume()


@pytest.mark.parametrize(("points", "fleet"), [(3, None), (3, 2), (1, 2)])
def test_all_points_must_be_in_one_program(points, fleet):
    more = max(points, 2)
    with pytest.raises(ValueError, match=f"^HypervolumeAscent weighs .* give preferences={more}, fleet={more}$"):
        Study(
            problem=fonseca(),
            solver=ps.HypervolumeAscent((1.1, 1.1)),
            preferences=even_design(2, points),
            corners=False,
            mode=choose_mode(None, fleet),
            steps=1,
        )


def test_a_front_model_would_mix_its_phases():
    with pytest.raises(ValueError, match="front_model=LowRank: HypervolumeAscent carries its state"):
        Study(
            problem=fonseca(), solver=ps.HypervolumeAscent((1.1, 1.1)), preferences=even_design(2, 3), corners=False,
            steps=1, mode=pm.LowRank(sampling=pm.Sampling("batch", n=4)),
        )  # fmt: skip


def test_the_phase_is_spent_step_by_step():
    solver = ps.HypervolumeAscent((1.1, 1.1), phase_one=0.5)
    losses, r = torch.tensor([[0.9, 0.2], [0.2, 0.9]]).double(), torch.tensor([[0.5, 0.5], [0.3, 0.7]]).double()
    sweep = pm.Sweep(r, torch.arange(2), 4, True, ())
    state, seen = solver.init(sweep), []
    for _ in range(3):
        weights, state, status = solver.update(state, losses, r)
        seen.append(weights)
        assert status.code.tolist() == [0, 0]
    assert torch.equal(seen[0], ps.Tchebycheff()(losses, r))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], solver(losses, r))
    assert state.tolist() == [0, 0]

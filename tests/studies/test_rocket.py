"""The rocket injector: its polynomials against the suite's own code, its bounds, its truth, and what reaches it."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points.score import hypervolume, is_nondominated
from studies.rocket import IDEAL, NADIR, lattice_front, objectives, rocket_injector

# By the suite's reproblem.py (github.com/ryojitanabe/reproblems), run at these places.
SUITE = {
    (0, 0, 0, 0): (0.692, 0.153, 0.37),
    (1, 0, 0, 0): (1.002, 0.006, 0.03),
    (0, 1, 0, 0): (0.0846, 0.4789, 0.5005),
    (0, 0, 1, 0): (0.6997, 0.592, 0.252),
    (0, 0, 0, 1): (0.6454, 0.1948, 0.966),
    (1, 1, 1, 1): (0.20514, 0.8774, 0.2838),
    (0.5, 0.5, 0.5, 0.5): (0.481535, 0.46425, 0.692875),
    (0.1, 0.2, 0.3, 0.4): (0.5592274, 0.355116, 0.718815),
    (0.9, 0.1, 0.7, 0.3): (0.8307486, 0.23286999999999997, 0.3611869999999998),
}
MIDDLE, COOL_FACE, SHORT = [1 / 3, 1 / 3, 1 / 3], [0.6, 0.2, 0.2], [0.2, 0.6, 0.2]
COOL_TIP = [0.2, 0.2, 0.6]  # its ray does not meet the front


def place(problem, z):
    model = problem.model()
    with torch.no_grad():
        model.z.copy_(torch.as_tensor(z, dtype=torch.float64))
    return model


def losses_at(x):
    return (np.array(objectives(*x)) - IDEAL) / (NADIR - IDEAL)


@pytest.mark.parametrize("x", SUITE)
def test_the_polynomials_are_the_suites(x):
    assert objectives(*x) == pytest.approx(SUITE[x], abs=1e-12)


@pytest.mark.parametrize("x", [(0.5, 0.5, 0.5, 0.5), (0.1, 0.2, 0.3, 0.4), (0.9, 0.1, 0.7, 0.3)])
def test_losses_lie_between_the_suites_ideal_and_nadir(x):
    problem = rocket_injector()
    suite = np.array([0.00889341391106, 0.00488, -0.431499999825])
    scaled = (np.array(SUITE[x]) - suite) / (np.array([0.98949120096, 0.956587924661, 0.987530948586]) - suite)
    losses = problem.loss_list(place(problem, torch.logit(torch.tensor(x, dtype=torch.float64))), None)
    assert [loss.dtype for loss in losses] == [torch.float64] * 3
    assert [loss.item() for loss in losses] == pytest.approx(scaled, abs=1e-8)
    assert problem.ref_point == (1, 1, 1)


@pytest.mark.parametrize("z", [[0, 0, 0, 0], [40, -40, 40, -40], [800, 800, -800, -800], [-1e300] * 4, [1e300] * 4])
def test_bounds_hold_at_any_parameters_and_gradients_are_finite(z):
    problem = rocket_injector()
    model = place(problem, z)
    assert 0 <= model().min() <= model().max() <= 1
    for loss in problem.loss_list(model, None):
        assert loss.item() >= 0
        assert torch.autograd.grad(loss, model.z, retain_graph=True)[0].isfinite().all()


def test_in_a_box_the_variables_are_themselves():
    problem = rocket_injector(box=True)
    model = problem.model()
    assert ((model() - 0.5).abs() < 0.5).all()
    with torch.no_grad():
        model.x.copy_(torch.tensor([-1e300, -0.1, 0.3, 7.0], dtype=torch.float64))
    problem.project(model)
    assert torch.equal(model.x.detach(), torch.tensor([0, 0, 0.3, 1], dtype=torch.float64))
    losses = [loss.item() for loss in problem.loss_list(model, None)]
    assert losses == pytest.approx(losses_at((0, 0, 0.3, 1)))


def test_the_start_is_near_the_middle():
    torch.manual_seed(0)
    x = torch.stack([rocket_injector().model()().detach() for _ in range(100)])
    assert x.dtype == torch.float64
    assert x.shape == (100, 4)
    assert float((x - 0.5).abs().max()) < 0.15


def test_no_loss_falls_below_the_ideal_and_the_truth_comes_next_to_it():
    rng = np.random.default_rng(0)
    for i in range(3):
        found = [
            minimize(lambda x, i=i: losses_at(x)[i], rng.uniform(size=4), bounds=[(0, 1)] * 4, tol=1e-15).fun
            for _ in range(10)
        ]
        assert 0 < min(found) < 2e-9
    _, ideal, nadir, _ = rocket_injector().truth
    assert ideal == pytest.approx([0, 0, 0], abs=1e-5)
    assert nadir == pytest.approx([1.013, 1.107, 1.077], abs=1e-3)


def test_the_truth_is_a_front_and_its_hypervolume_its_own():
    front, _, _, volume = rocket_injector().truth
    assert len(front) > 30_000
    assert is_nondominated(front).all()
    assert volume == hypervolume(front, [1.0, 1.0, 1.0]) == pytest.approx(0.57980, abs=1e-5)
    coarser, finer = (hypervolume(lattice_front(halvings), [1.0, 1.0, 1.0]) for halvings in (1, 3))
    assert coarser < volume < finer
    # each halving wins about half of the one before: what is left is as much as the last one won
    assert finer - volume == pytest.approx((volume - coarser) / 2, rel=0.05)
    assert volume == pytest.approx(0.5815, rel=0.004)


def test_refinement_finds_what_a_search_of_the_whole_lattice_does():
    places = np.indices((41,) * 4).reshape(4, -1) / 40
    everywhere = (np.stack(objectives(*places), axis=1) - IDEAL) / (NADIR - IDEAL)
    whole = everywhere[is_nondominated(everywhere)]
    assert hypervolume(whole, [1.0, 1.0, 1.0]) == pytest.approx(
        hypervolume(lattice_front(1), [1.0, 1.0, 1.0]), abs=1e-12
    )


def test_no_place_betters_the_truth_by_much():
    """The most by which all losses can come below a point of the truth, by sequential quadratic programs."""
    front, rng = rocket_injector().truth.front, np.random.default_rng(0)
    bounds, won = [(0, 1)] * 4 + [(None, None)], []
    for asked in front[rng.integers(len(front), size=30)]:
        ahead = {"type": "ineq", "fun": lambda y, asked=asked: asked - losses_at(y[:4]) - y[4]}
        starts = np.column_stack([rng.uniform(size=(3, 4)), -np.ones(3)])
        found = [minimize(lambda y: -y[4], start, bounds=bounds, constraints=ahead) for start in starts]
        won.append(max((asked - losses_at(np.clip(f.x[:4], 0, 1))).min() for f in found))
    assert max(won) < 0.003
    assert np.mean(np.array(won) > -1e-4) > 0.9  # the programs find at least the point itself


def cosine(steps, parameters):
    adam = torch.optim.Adam(parameters, lr=0.05)
    return adam, torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)


def test_epo_comes_to_its_rays_or_says_that_they_do_not_meet_the_front():
    problem = rocket_injector()
    known = problem.truth.front
    with pytest.warns(UserWarning, match=r"point-003 is 13\.\d degrees off the ray asked for \(unreachable\)"):
        front = pm.explore(
            problem,
            ps.EPO(),
            preferences=[MIDDLE, COOL_FACE, COOL_TIP],
            steps=300,
            optimizer=partial(cosine, 300),
        )
    assert [point.status for point in front.points] == ["solved", "solved", "unreachable"]
    assert front.control_errors[:2].max() < 0.05
    assert front.control_errors[2] > 10
    for losses, r in zip(front.losses, front.preferences, strict=True):
        assert np.abs(known - losses).max(axis=1).min() < 0.005
        assert (r * losses).max() <= (r * known).max(axis=1).min() + 1e-4
    r, losses = front.preferences[2], front.losses[2]
    assert (r * losses)[1:] == pytest.approx((r * losses).max(), rel=1e-3)  # the face is cooler than was asked


@pytest.mark.slow
def test_tchebycheff_comes_close_to_the_least_worst_loss():
    problem = rocket_injector()
    known = problem.truth.front
    front = pm.explore(
        problem, ps.Tchebycheff(), preferences=[MIDDLE, COOL_FACE, SHORT], steps=1000, optimizer=partial(cosine, 1000)
    )
    for losses, r in zip(front.losses, front.preferences, strict=True):
        assert np.abs(known - losses).max(axis=1).min() < 0.02
        assert (r * losses).max() <= (r * known).max(axis=1).min() * 1.03

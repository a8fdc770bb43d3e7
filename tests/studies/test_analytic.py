"""Fonseca's problem: its truth by other means, and how close the methods come to it."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points.score import is_nondominated
from studies.analytic import Place, fonseca, fonseca3

# a preference, and the degrees between its ray and the minimiser of max r_i l_i: 0 where the ray meets the front
RAYS = {
    (1 / 3, 1 / 3, 1 / 3): 0,
    (0.2, 0.2, 0.6): 0,
    (0.1, 0.1, 0.8): 0,
    (0.3, 0.3, 0.4): 0,
    (0.6, 0.2, 0.2): 6.3637,
    (0.8, 0.1, 0.1): 5.9210,
    (0.1, 0.45, 0.45): 13.7783,
    (0.45, 0.45, 0.1): 37.2893,
    (0.05, 0.15, 0.8): 18.8558,
    (0.25, 0.5, 0.25): 5.6003,
}


def descent(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def centres(n, objectives):
    return np.array([[1] * n, [-1] * n, [-1 if i % 2 == 0 else 1 for i in range(n)]])[:objectives] / np.sqrt(n)


def values(problem, x):
    model = problem.model()
    with torch.no_grad():
        model.x.copy_(torch.from_numpy(x))
        return [float(loss) for loss in problem.loss_list(model, None)]


@pytest.mark.parametrize("n", [2, 3, 7, 10])
def test_the_truth_of_two_objectives(n):
    problem = fonseca(n)
    front, ideal, nadir, volume = problem.truth
    assert ideal == pytest.approx([0, 0], abs=1e-15)
    assert nadir == pytest.approx([1 - np.exp(-4)] * 2)
    assert volume == pytest.approx(0.5521, abs=1e-4)
    assert is_nondominated(front[::500]).all()
    for a in (0, 0.3, 0.5, 1):
        x = a * centres(n, 2)[0] + (1 - a) * centres(n, 2)[1]
        assert np.abs(front - values(problem, x)).max(axis=1).min() < 1e-4


def test_the_hypervolume_of_two_objectives_is_the_area_under_the_front():
    # at the share t of the way between the centres, f1 = 1 - exp(-4 t^2) and f2 = 1 - exp(-4 (1 - t)^2)
    area, _ = quad(lambda t: (0.1 + np.exp(-4 * (1 - t) ** 2)) * 8 * t * np.exp(-4 * t**2), 0, 1)
    beyond = (1.1 - (1 - np.exp(-4))) * 1.1
    assert fonseca().truth.hypervolume == pytest.approx(area + beyond, abs=1e-5)


@pytest.mark.parametrize("n", [2, 5, 10])
def test_the_truth_of_three_objectives(n):
    problem = fonseca(n, objectives=3)
    front, ideal, nadir, volume = problem.truth
    c = centres(n, 3)
    corners = np.array([values(problem, place) for place in c])
    assert ideal == pytest.approx([0, 0, 0], abs=1e-15)
    assert nadir == pytest.approx(corners.max(axis=0))
    assert is_nondominated(front[::10]).all()
    for w in (np.eye(3)[2], np.ones(3) / 3, np.array([0.2, 0, 0.8])):
        assert np.abs(front - values(problem, w @ c)).max(axis=1).min() < 0.02
    # a point of the front is as good as any place elsewhere, to the width of the lattice
    rng = np.random.default_rng(n)
    elsewhere = np.array([values(problem, place) for place in 0.5 * rng.normal(size=(200, n))])
    assert all((front <= there + 0.02).all(axis=1).any() for there in elsewhere)
    assert 0 < volume < 1.1**3


def test_three_objectives_by_name():
    assert fonseca3().names == ("f1", "f2", "f3")
    assert fonseca3().truth.hypervolume == fonseca(objectives=3).truth.hypervolume


def test_the_start_is_near_the_origin():
    x = torch.stack([fonseca().model().x.detach() for _ in range(200)])
    assert x.dtype == torch.float64
    assert float(x.std()) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n": 1}, "n=1: "),
        ({"n": 0}, "n=0: "),
        ({"objectives": 1}, "objectives=1: "),
        ({"objectives": 4}, "objectives=4: "),
    ],
)
def test_what_is_not_defined_is_an_error(given, message):
    with pytest.raises(ValueError, match=message):
        fonseca(**given)


@pytest.mark.slow
@pytest.mark.fault(26)
def test_three_objectives_come_to_their_rays_or_say_that_these_miss_the_front(tmp_path):
    out = tmp_path / "front"
    with pytest.warns(UserWarning, match="degrees off the ray asked for"):
        front = pm.explore(
            fonseca3(), ps.EPO(eps=1e-8), preferences=list(RAYS), steps=1000, seed=0, optimizer=descent, out=out
        )
    assert len(front.points) == len(RAYS)
    for point, (preference, angle) in zip(front.points, RAYS.items(), strict=True):
        assert point.preference == pytest.approx(preference)
        print(f"\n{preference}: {point.control_error:.4f} degrees for {angle:.4f}, {point.status}, {point.counts}")
        assert point.counts["steps"] <= 1000
        if angle:
            assert point.status == "unreachable"
            assert point.control_error == pytest.approx(angle, abs=0.1)
        else:
            assert point.status == "solved"
            assert point.control_error <= 0.01
    assert sum(point.counts["finish_steps"] > 0 for point in front.points) > 5  # some need none any more


@pytest.mark.fault(26)
def test_two_objectives_say_that_a_ray_misses_the_front(tmp_path):
    """The front goes from (1, 9) to (0, 10): on the diagonal "b" is worst everywhere, and least at (1, 9)."""

    def losses(model, batch):
        return {"a": (model.x - 1 / 2).square().sum(), "b": model.x.square().sum() + 9}

    problem = pm.Problem(["a", "b"], lambda: Place(4), losses, [2.0, 11.0], deterministic=True)
    with pytest.warns(UserWarning, match=r"38\.7 degrees off the ray asked for \(unreachable\)"):
        front = pm.explore(
            problem, ps.EPO(), preferences=[(0.5, 0.5)], steps=1000, optimizer=descent, out=tmp_path / "front"
        )
    (point,) = front.points
    assert point.status == "unreachable"
    assert point.residual > 0.1
    assert front.losses == pytest.approx(np.array([[1, 9]]), abs=1e-3)
    assert point.counts["steps"] < 1000

"""ZDT, DTLZ, quadratics and the linear regressions: their truths by other means, their bounds, and their methods."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad, quad, trapezoid
from scipy.optimize import minimize

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points.score import hypervolume, is_nondominated
from studies.analytic import dtlz2, fonseca, linear_regression, quadratics, quadratics3, zdt1, zdt2

BOXED = (zdt1, zdt2, dtlz2)
CONVEX, CONCAVE = (zdt1, quadratics), (fonseca, zdt2, linear_regression)
TRACED = np.stack([np.linspace(0.1, 0.9, 9), np.linspace(0.9, 0.1, 9)], axis=1)


def place(problem, x):
    """A model at x, unprojected."""
    model = problem.model()
    with torch.no_grad():
        model.x.copy_(torch.as_tensor(x, dtype=torch.float64))
    return model


def values(problem, x):
    return [loss.item() for loss in problem.loss_list(place(problem, x), None)]


def gradients(problem, x):
    model = place(problem, x)
    losses = problem.loss_list(model, None)
    return torch.stack([torch.autograd.grad(loss, model.x, retain_graph=True)[0] for loss in losses])


def distance(front, losses):
    """The largest difference between these losses and the point of the front that is nearest by it."""
    return max(np.abs(front - row).max(axis=1).min() for row in np.atleast_2d(losses))


def minimisers(problem, weights):
    """The points of the front at which some weighted sum is least, scaled to the front's range, in order."""
    front, ideal, nadir, _ = problem.truth
    front = front[::10] if len(front) > 50_000 else front
    best = np.unique(np.argmin(front @ weights, axis=0))
    return np.unique((front[best] - ideal) / (nadir - ideal), axis=0)


def widest_gap(scaled):
    """The largest distance between neighbours of a front of two objectives."""
    ordered = scaled[np.argsort(scaled[:, 0])]
    return np.linalg.norm(np.diff(ordered, axis=0), axis=1).max()


@pytest.mark.parametrize("problem", [zdt1, zdt2])
def test_zdt_by_hand(problem):
    # g = 1 + 9 (.5 + .25) / 2 = 4.375, sqrt(.4 / 4.375) = .3023716, (.4 / 4.375)^2 = .0083592
    f2 = {zdt1: 3.0521243, zdt2: 4.3384286}[problem]
    assert values(problem(3), [0.4, 0.5, 0.25]) == pytest.approx([0.4, f2], abs=1e-7)
    assert values(problem(), [0.25] + [0] * 29) == pytest.approx([0.25, {zdt1: 0.5, zdt2: 0.9375}[problem]])
    assert values(problem(), [1] * 30) == pytest.approx([1, {zdt1: 10 - np.sqrt(10), zdt2: 9.9}[problem]])


@pytest.mark.parametrize(
    ("problem", "f2", "ends"),
    [(zdt1, lambda f1: 1 - np.sqrt(f1), [1e-6, 0.999]), (zdt2, lambda f1: 1 - f1**2, [0, 1])],
)
def test_the_truth_of_zdt(problem, f2, ends):
    front, ideal, nadir, volume = problem().truth
    assert front[:, 1] == pytest.approx(f2(front[:, 0]), abs=1e-12)
    assert ideal == pytest.approx([ends[0], 0], abs=1e-15)
    assert nadir == pytest.approx([1, ends[1]])
    assert is_nondominated(front[::500]).all()
    area, _ = quad(lambda f1: 1.1 - (f2(f1) if f1 < 1 else 0), ends[0], 1.1, points=[1])
    assert volume == pytest.approx(area, abs=1e-9)
    assert volume == pytest.approx({zdt1: 0.11 + 0.1 + 2 / 3, zdt2: 0.11 + 0.1 + 1 / 3}[problem], abs=2e-7)


def test_dtlz2_by_hand():
    # angles of 30 and 60 degrees; the radius is 1 + .3^2 + .1^2
    a, b, radius = np.pi / 6, np.pi / 3, 1.1
    by_hand = [radius * np.cos(a) * np.cos(b), radius * np.cos(a) * np.sin(b), radius * np.sin(a)]
    assert values(dtlz2(4), [1 / 3, 2 / 3, 0.8, 0.4]) == pytest.approx(by_hand)
    assert by_hand == pytest.approx([0.4763140, 0.825, 0.55])
    assert values(dtlz2(), [0, 0] + [0.5] * 10) == pytest.approx([1, 0, 0])
    assert values(dtlz2(), [0, 1] + [0.5] * 10) == pytest.approx([0, 1, 0])
    assert values(dtlz2(), [1, 0.3] + [0.5] * 10) == pytest.approx([0, 0, 1])


def test_the_truth_of_dtlz2():
    front, ideal, nadir, volume = dtlz2().truth
    assert np.linalg.norm(front, axis=1) == pytest.approx(1)
    assert front.min() >= 0
    assert ideal == pytest.approx([0, 0, 0], abs=1e-15)
    assert nadir == pytest.approx([1, 1, 1])
    assert is_nondominated(front[::10]).all()
    directions = np.abs(np.random.default_rng(0).normal(size=(300, 3)))
    assert distance(front, directions / np.linalg.norm(directions, axis=1, keepdims=True)) < 0.01
    # the ball's eighth, which nothing reaches: its height over the quarter disc
    ball, _ = dblquad(lambda y, x: np.sqrt(max(1 - x * x - y * y, 0)), 0, 1, 0, lambda x: np.sqrt(1 - x * x))
    assert volume == pytest.approx(1.1**3 - ball, abs=1e-6)


@pytest.mark.parametrize("problem", BOXED)
def test_no_place_in_the_box_is_better_than_the_front(problem):
    asked, rng = problem(5), np.random.default_rng(0)
    front, _, _, volume = asked.truth
    free = {zdt1: 1, zdt2: 1, dtlz2: 2}[problem]  # variables that lead along the front; the others lead away from it
    width = 0.01 if problem is dtlz2 else 1e-4
    best = 0.5 if problem is dtlz2 else 0
    for spread in (0, 0.2, 1):
        x = np.clip(best + spread * rng.uniform(-1, 1, size=(50, 5)), 0, 1)
        x[:, :free] = rng.uniform(size=(50, free))
        found = np.array([values(asked, row) for row in x])
        assert all((front <= there + width).all(axis=1).any() for there in found)
        assert (distance(front, found) < width) == (spread == 0)
        assert hypervolume(found, asked.ref_point) < volume


@pytest.mark.parametrize("problem", BOXED)
def test_the_box_is_kept_after_any_step(problem):
    asked = problem(5)
    lowest = [1e-6 if problem is zdt1 else 0, 0, 0, 0, 0]
    for x in ([-7, 0.5, -0.1, 1.5, 1e9], [np.inf, -np.inf, 2, 0, 1], [0, -1e-12, 1 + 1e-12, 0.3, 0.7]):
        model = place(asked, x)
        asked.project(model)
        assert model.x.tolist() == np.clip(x, lowest, 1).tolist()
    failed = place(asked, [0.5, np.nan, 0.5, 0.5, 0.5])
    asked.project(failed)
    assert failed.x[1].isnan()  # a step that failed stays loud


@pytest.mark.parametrize("problem", BOXED)
def test_losses_and_gradients_are_finite_in_every_corner_of_the_box(problem):
    asked = problem(4)
    for corner in np.ndindex(2, 2, 2, 2):
        model = place(asked, corner)
        asked.project(model)
        x = model.x.detach()
        assert np.isfinite(values(asked, x)).all()
        assert min(values(asked, x)) >= 0
        assert gradients(asked, x).isfinite().all()


def test_at_its_lowest_end_zdt1_is_steep_and_finite():
    # df2 / dx_1 = -sqrt(g / x_1) / 2
    assert gradients(zdt1(3), [1e-6, 0, 0])[:, 0].tolist() == pytest.approx([1, -500])


@pytest.mark.parametrize("problem", BOXED)
def test_the_start_is_even_over_the_box(problem):
    x = torch.stack([problem().model().x.detach() for _ in range(300)])
    assert x.dtype == torch.float64
    assert x.shape[1] == {zdt1: 30, zdt2: 30, dtlz2: 12}[problem]
    assert 0 <= float(x.min()) < 0.01
    assert 0.99 < float(x.max()) <= 1
    assert float(x.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(x.std()) == pytest.approx(np.sqrt(1 / 12), rel=0.05)


def test_quadratics_by_hand():
    # H_1 = diag(.1, .5, .9), H_2 reversed, H_3 = I/2; the centres ±(1, 1, 1)/sqrt(3) and (-1, 1, -1)/sqrt(3)
    x, root = np.array([1.0, 0.0, -1.0]), 1 / np.sqrt(3)
    f1 = (0.1 * (1 - root) ** 2 + 0.5 * root**2 + 0.9 * (1 + root) ** 2) / 2
    f2 = (0.9 * (1 + root) ** 2 + 0.5 * root**2 + 0.1 * (1 - root) ** 2) / 2
    f3 = 0.5 * ((1 + root) ** 2 + root**2 + (1 - root) ** 2) / 2
    assert values(quadratics(3, objectives=3), x) == pytest.approx([f1, f2, f3])
    assert values(quadratics(3), x) == pytest.approx([f1, f2])
    assert quadratics3().names == ("f1", "f2", "f3")
    x = torch.stack([quadratics().model().x.detach() for _ in range(200)])
    assert x.dtype == torch.float64
    assert float(x.std()) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(("n", "objectives"), [(2, 2), (3, 2), (10, 2), (2, 3), (10, 3)])
def test_the_truth_of_quadratics_are_minimisers_of_weighted_sums(n, objectives):
    problem = quadratics(n, objectives)
    front, ideal, nadir, _ = problem.truth
    assert ideal == pytest.approx(np.zeros(objectives), abs=1e-15)
    assert nadir == pytest.approx([1, 1, 0.5][:objectives] if n > 3 else front.max(axis=0))
    assert is_nondominated(front[:: 500 if objectives == 2 else 10]).all()
    rng = np.random.default_rng(n)
    for w in (*np.eye(objectives), *rng.dirichlet(np.ones(objectives), size=4)):

        def weighted(x, w=w):
            return w @ values(problem, x), (w @ gradients(problem, x).numpy())

        best = minimize(weighted, np.zeros(n), jac=True, tol=1e-12)
        assert distance(front, values(problem, best.x)) < (1e-4 if objectives == 2 else 0.01)
    elsewhere = [values(problem, x) for x in 0.5 * rng.normal(size=(100, n))]
    assert all((front <= there + 1e-3 * objectives).all(axis=1).any() for there in np.array(elsewhere))


def test_the_hypervolume_of_quadratics_is_the_area_under_the_front():
    # H_1 at the share a of the first centre: x_j = (a h_j - (1 - a) (1 - h_j)) / (a h_j + (1 - a) (1 - h_j)) / sqrt(n)
    h = np.linspace(0.1, 0.9, 10)

    def losses(a):
        mixed = a * h + (1 - a) * (1 - h)
        x = (a * h - (1 - a) * (1 - h)) / mixed / np.sqrt(10)
        slope = 2 * h * (1 - h) / mixed**2 / np.sqrt(10)
        left = x - 1 / np.sqrt(10)
        return (1 - h) @ (x + 1 / np.sqrt(10)) ** 2 / 2, h @ (left * slope)

    area, _ = quad(lambda a: -(1.1 - losses(a)[0]) * losses(a)[1], 0, 1)
    volume = quadratics().truth.hypervolume
    assert area + 0.1 * 1.1 == pytest.approx(volume, abs=5e-6)
    assert 0 < quadratics3().truth.hypervolume < 1.1**3


def test_the_truth_of_the_regressions_is_all_that_any_unit_reaches():
    """At a fixed unit each loss is a parabola of its own head: three heads tell its least value."""
    problem = linear_regression()
    front, ideal, nadir, _ = problem.truth
    assert ideal == pytest.approx([0.1, 0.1])
    assert nadir == pytest.approx([1, 1])
    assert is_nondominated(front[::500]).all()
    model = problem.model()
    for w in np.random.default_rng(0).normal(size=(200, 2)):
        at = []
        for head in (-1.0, 0.0, 1.0):
            with torch.no_grad():
                model.unit.weight.copy_(torch.from_numpy(w))
                for linear in model.heads:
                    linear.weight.fill_(head)
                at.append([float(loss) for loss in problem.loss_list(model, None)])
        low, zero, high = np.array(at)
        assert zero == pytest.approx([1, 1])  # targets have a variance of 1
        least = zero - (high - low) ** 2 / (8 * (high + low - 2 * zero))
        assert distance(front, least) < 1e-4
        # the front again, as the docstring has it
        s = (least - 0.1) / 0.9
        assert s[1] == pytest.approx(4 * (1 - s[0]) / (4 - 3 * s[0]))


def test_the_hypervolume_of_the_regressions_is_the_area_under_the_front():
    front, *_, volume = linear_regression().truth
    assert front[0] == pytest.approx([0.1, 1])
    order = np.argsort(front[:, 0])
    area = trapezoid(1.1 - front[order, 1], front[order, 0])
    assert volume == pytest.approx(area + 0.1 * 1.0, abs=1e-8)


def test_the_start_of_the_regressions_is_no_saddle():
    problem = linear_regression()
    torch.manual_seed(0)
    for _ in range(50):
        model = problem.model()
        for loss in problem.loss_list(model, None):
            assert loss.dtype == torch.float64
            assert torch.autograd.grad(loss, model.unit.weight, retain_graph=True)[0].norm() > 1e-3
            loss.backward()
        assert all(head.weight.grad.norm() > 1e-3 for head in model.heads)


@pytest.mark.parametrize("problem", CONVEX + CONCAVE)
def test_what_weighted_sums_reach_of_a_front(problem):
    a = np.linspace(0, 1, 1003)[1:-1]
    reached = minimisers(problem(), np.stack([a, 1 - a]))
    if problem in CONVEX:
        assert widest_gap(reached) < 0.02
    else:
        assert widest_gap(reached) > 1.4  # of sqrt(2), from end to end
        ends = np.array([[0, 1], [1, 0]])
        assert np.abs(reached[:, None] - ends).max(axis=2).min(axis=1).max() < 0.01


def test_what_weighted_sums_reach_of_a_sphere():
    weights = np.random.default_rng(0).dirichlet(np.ones(3), size=1000).T
    assert minimisers(dtlz2(), weights) == pytest.approx(np.eye(3)[::-1], abs=1e-12)
    assert len(minimisers(quadratics3(), weights)) > 900


def test_most_of_the_regressions_front_lies_off_its_hull():
    """The hull is the straight line between the ends; the middle lies .15 above it, and no loss is near 0."""
    front = linear_regression().truth.front
    above = front.sum(axis=1) / 2 - 0.55
    assert above.max() == pytest.approx(0.15)
    spread = np.linalg.norm(np.diff(front, axis=0), axis=1)
    assert spread[above[1:] > 0.05].sum() > 0.75 * spread.sum()
    assert front.min() >= 0.1


def traced(solver):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # linear scalarization is far off the rays
        return pm.explore(
            linear_regression(),
            solver,
            preferences=TRACED,
            steps=100,
            optimizer=partial(torch.optim.SGD, lr=0.3),
        )


def test_a_method_for_rays_covers_the_middle_that_linear_scalarization_misses():
    truth = linear_regression().truth
    gaps = {}
    for solver in (ps.EPO(), ps.Linear()):
        front = traced(solver)
        best = front.losses[is_nondominated(front.losses)]
        gaps[type(solver)] = widest_gap((best - truth.ideal) / (truth.nadir - truth.ideal))
        print(f"\n{solver}: gap {gaps[type(solver)]:.3f}, {front.control_errors.mean():.4f} degrees")
        if isinstance(solver, ps.EPO):
            assert front.control_errors.max() <= 0.02
            assert distance(truth.front, front.losses) <= 1e-4
            assert {point.status for point in front.points} == {"solved"}
    assert gaps[ps.EPO] <= 0.25
    assert gaps[ps.Linear] >= 1.4


@pytest.mark.parametrize(
    ("problem", "loss"),
    [
        (zdt1, (3 - np.sqrt(5)) / 2),  # x = 1 - sqrt(x)
        (zdt2, (np.sqrt(5) - 1) / 2),  # x = 1 - x²
        (dtlz2, 1 / np.sqrt(3)),
        (quadratics, 0.25 - np.var(np.linspace(0.1, 0.9, 10))),  # mean of h (1 - h), at x_j = (2 h_j - 1) / sqrt(n)
    ],
)
def test_epo_comes_to_where_all_losses_are_equal(problem, loss):
    asked = problem()
    m = len(asked.names)
    front = pm.explore(
        asked, ps.EPO(), preferences=[[1 / m] * m], steps=200, optimizer=partial(torch.optim.SGD, lr=0.1)
    )
    assert front.losses == pytest.approx(np.full((1, m), loss), abs=1e-3)
    assert front.points[0].status == "solved"


@pytest.mark.parametrize(
    ("problem", "given", "message"),
    [
        (zdt1, {"n": 1}, "n=1: "),
        (zdt2, {"n": 0}, "n=0: "),
        (dtlz2, {"n": 2}, "n=2: "),
        (quadratics, {"n": 1}, "n=1: "),
        (quadratics, {"objectives": 1}, "objectives=1: "),
        (quadratics, {"objectives": 4}, "objectives=4: "),
    ],
)
def test_what_is_not_defined_is_an_error(problem, given, message):
    with pytest.raises(ValueError, match=message):
        problem(**given)

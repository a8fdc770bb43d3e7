"""The methods that solve a program: frozen values, their references, where they end, and what they reject."""

import cvxpy as cp
import numpy as np
import pytest
import torch

import paretomtl_solvers as ps
from paretomtl.autograd.hull import least_distance
from paretomtl.autograd.loss_function import closure
from paretomtl.point import Code
from paretomtl.solver import Sweep
from paretomtl_solvers import pmgda, qp, worst_rate
from studies.analytic import fonseca, quadratics
from tests.asserts import answer, unit_rays

J_A = ((1, 0), (-1.5, 1.5 * 3**0.5))
J_B = ((1, 2, 0), (-1, 1, 1), (0.5, -1, 2))
J_T = ((-4, 1, 1), (6, 1, 1))
L_A, L_B, R_B = (0.6, 0.3), (0.5, 0.4, 0.2), (0.2, 0.3, 0.5)
EVEN = (0.5, 0.5)
NEAR = {"auto": 1e-6, "cvxpy": 2e-6}  # the square root of an interior-point solver's accuracy is its weights'


def tensor(values):
    return torch.as_tensor(values, dtype=torch.float64)


def called(solver, jacobian, losses=None, preference=None):
    m = len(jacobian)
    losses = [1.0] * m if losses is None else losses
    preference = [1 / m] * m if preference is None else preference
    return answer(solver, tensor(losses), tensor(jacobian), tensor(preference))


@pytest.mark.parametrize("backend", NEAR)
@pytest.mark.parametrize(
    ("solver", "jacobian", "weights", "direction"),
    [
        (ps.CAGrad, J_A, (1.1614378, 0.5), (0.4114378, 1.2990381)),
        (ps.CAGrad, J_B, None, (0.2757722, 0.9652028, 1.5167472)),
        (ps.CAGrad, J_T, None, (0.1835034, 1.2041241, 1.2041241)),
        (ps.IMGrad, J_A, None, (0.3291503, 1.0392305)),
        (ps.IMGrad, J_B, None, (0.2137998, 0.7816000, 1.2091996)),
        (ps.SDMGrad, J_A, (1.05 / 1.3, 0.25 / 1.3), None),
        (ps.SDMGrad, J_B, tuple((np.array((0.3333333, 0.3183908, 0.3482759)) + 0.1) / 1.3), None),
        (ps.SDMGrad, J_T, (0.78 / 1.3, 0.52 / 1.3), None),
    ],
)
def test_values(solver, jacobian, weights, direction, backend):
    own = {ps.CAGrad: 0.5, ps.IMGrad: 0.5, ps.SDMGrad: 0.3}[solver]
    given = called(solver(own, backend=backend), jacobian)
    assert given.status.code == Code.SOLVED
    if weights is not None:
        assert given.weights.tolist() == pytest.approx(weights, abs=NEAR[backend])
    if direction is not None:
        assert given.direction.tolist() == pytest.approx(direction, abs=NEAR[backend])


def test_cagrads_dual_weights():
    rows = tensor(J_B)
    C = (rows @ rows.T).numpy() / 4
    b = C @ np.full(3, 1 / 3)
    w, _, z, code = worst_rate.largest_worst_rate(C, b, 0.5 * np.sqrt(b.mean()))
    assert w == pytest.approx((0.3333333, 0.2988281, 0.3678386), abs=1e-6)
    assert z / z.sum() == pytest.approx(w, abs=1e-12)
    assert code == Code.SOLVED


@pytest.mark.parametrize(("rescale", "factor"), [("1/(1+c^2)", 1 / 1.25), ("1/(1+c)", 1 / 1.5)])
def test_cagrads_rescaling_as_released(rescale, factor):
    plain, rescaled = (called(ps.CAGrad(0.5, x), J_B).direction for x in ("none", rescale))
    assert rescaled.tolist() == pytest.approx((factor * plain).tolist(), rel=1e-12)


def test_cagrad_from_the_mean_to_mgda():
    mean = called(ps.CAGrad(0.0), J_A).direction
    assert mean.tolist() == pytest.approx(tensor(J_A).mean(dim=0).tolist(), rel=1e-12)
    far, least = called(ps.CAGrad(1e7), J_A).direction, called(ps.MGDA(), J_A).direction
    assert (far / far.norm()).tolist() == pytest.approx((least / least.norm()).tolist(), abs=1e-6)


def test_imgrad_is_cagrad_where_gradients_are_balanced_to_three_quarters():
    """At q = .75 both terms have one factor; found by turning a gradient."""
    low, high = 0.5, 3.0
    for _ in range(60):
        angle = (low + high) / 2
        J = tensor([[1, 0], [3 * np.cos(angle), 3 * np.sin(angle)]])
        g, least = J.mean(dim=0), called(ps.MGDA(), J).direction
        low, high = (angle, high) if torch.cosine_similarity(g, least, dim=0) > 0.75 else (low, angle)
    assert called(ps.IMGrad(0.5), J).direction.tolist() == pytest.approx(
        called(ps.CAGrad(0.5, "1/(1+c^2)"), J).direction.tolist(), abs=1e-9
    )


@pytest.mark.parametrize("backend", NEAR)
def test_conicgrad_values(backend):
    cone = ps.ConicGrad(0.9, backend)
    a, t = called(cone, J_A), called(cone, J_T)
    assert a.direction.tolist() == pytest.approx((0.3412376, 1.2781068), abs=1e-6)
    # the program's own length is the worst rate of a unit step
    for given, jacobian, weights in ((a, J_A, (0.2104272, 0.0959255)), (t, J_T, (0.2977184, 0.2186779))):
        unit = given.direction / given.direction.norm()
        own = float((tensor(jacobian) @ unit).min() / given.direction.norm())
        assert (given.weights * own).tolist() == pytest.approx(weights, abs=1e-6)
    for jacobian, c in ((J_A, 0.5), (J_T, 0.5), (J_B, 0.5), (J_B, 0.9996)):  # the cone is slack: MGDA's direction
        w = called(ps.ConicGrad(c, backend), jacobian).weights
        assert (w / w.sum()).tolist() == pytest.approx(called(ps.MGDA(), jacobian).weights.tolist(), abs=1e-6)


@pytest.mark.parametrize("c", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("m", [2, 3, 5])
def test_conicgrad_solves_its_program_in_the_full_space(m, c):
    rng = np.random.default_rng(m)
    checked = 0
    for _ in range(12):
        J = rng.normal(size=(m, m + 1)) + 0.3
        g = J.mean(axis=0)
        d, t = cp.Variable(m + 1), cp.Variable()
        rows = [J @ d >= t, g @ d >= c * np.linalg.norm(g) * cp.norm(d)]
        cp.Problem(cp.Maximize(t - cp.sum_squares(d) / 2), rows).solve(solver=cp.CLARABEL)
        if np.linalg.norm(d.value) < 1e-3:  # no direction of the cone lowers all losses
            continue
        expected = d.value * np.linalg.norm(g) / np.linalg.norm(d.value)
        assert called(ps.ConicGrad(c), J).direction.numpy() == pytest.approx(expected, abs=2e-4)
        checked += 1
    assert checked >= 6


def test_conicgrad_where_its_cone_lowers_not_all_losses():
    """Its program's answer is 0, though a direction outside of the cone lowers both: it goes on, on the rim."""
    J = tensor([[1, 0], [-10, 1]])
    given = called(ps.ConicGrad(0.9), J)
    assert given.status.code == Code.SOLVED
    g = J.mean(dim=0)
    assert given.direction.norm() == pytest.approx(float(g.norm()))
    assert torch.cosine_similarity(given.direction, g, dim=0) == pytest.approx(0.9)
    assert (J @ given.direction)[0] > (J @ g)[0]


@pytest.mark.parametrize("backend", NEAR)
@pytest.mark.parametrize(
    ("sigma", "jacobian", "losses", "preference", "weights"),
    [
        (0.5, J_A, L_A, EVEN, (0.8837959, 0.0387347)),
        (0.9, J_A, L_A, EVEN, (0.513029, -0.1868975)),
        (0.5, J_B, L_B, R_B, (0.0489499, 0.4114788, 0.0776168)),
        (0.9, J_B, L_B, R_B, (-0.1935808, 0.5688538, -0.0774323)),
    ],
)
def test_pmgda_values(sigma, jacobian, losses, preference, weights, backend):
    given = called(ps.PMGDA(sigma, backend=backend), jacobian, losses, preference)
    assert given.weights.tolist() == pytest.approx(weights, abs=1e-6)
    assert given.status.code == Code.SOLVED


def test_pmgda_near_the_ray_is_mgda():
    near = tensor((0.3, 0.3001))
    given = called(ps.PMGDA(), J_A, near, EVEN)
    assert given.weights.tolist() == called(ps.MGDA(), J_A).weights.tolist()
    assert given.status.residual == pytest.approx(0.0001 / 2**0.5 / float(near.norm()), rel=1e-9)
    assert called(ps.PMGDA(tolerance=1e-6), J_A, near, EVEN).weights.tolist() != given.weights.tolist()


def test_pmgdas_simplex_method_agrees_with_cvxpy():
    rng = np.random.default_rng(0)
    for m in (2, 3, 5, 8):
        for sigma in (0.3, 0.95):
            J = rng.normal(size=(m, m + 2))
            units = np.vstack([J, rng.normal(size=m) @ J])
            units /= np.linalg.norm(units, axis=1, keepdims=True)
            rows, near, scales = units[:-1] @ units.T, units @ units[-1], rng.uniform(0.1, 1, m)
            rates = []
            for solve in (pmgda.largest_rate, qp.largest_rate):
                shares = solve(rows, scales, near, sigma)
                assert near @ shares >= sigma - 1e-6
                rates.append((rows @ shares / scales).min())
            assert rates[0] == pytest.approx(rates[1], abs=1e-6)


@pytest.mark.parametrize(
    ("jacobian", "losses", "preference", "weights", "direction"),
    [
        (J_A, L_A, EVEN, (0.8307692, 0.1692308), (0.5769231, 0.4396744)),
        (J_B, L_B, R_B, (0.230889, 0.1725531, 0.1351891), None),
    ],
)
def test_ferero_values(jacobian, losses, preference, weights, direction):
    given = called(ps.FERERO(), jacobian, losses, preference)
    assert given.weights.tolist() == pytest.approx(weights, abs=1e-6)
    if direction is not None:
        assert given.direction.tolist() == pytest.approx(direction, abs=1e-6)


@pytest.mark.parametrize("m", [2, 3, 5])
def test_ferero_solves_its_program_in_the_basis_across_the_ray(m):
    rng = np.random.default_rng(m)
    for _ in range(5):
        J, losses, r = rng.normal(size=(m, m + 1)), rng.uniform(0.1, 1, m), rng.dirichlet(np.full(m, 3.0))
        u = unit_rays(tensor(r)).numpy()
        B = np.linalg.svd(u[None])[2][1:]
        f, h = cp.Variable(m, nonneg=True), cp.Variable(m - 1)
        d = J.T @ (f + B.T @ h)
        cp.Problem(cp.Minimize(cp.sum_squares(d) / 2 - h @ (B @ losses)), [cp.sum(f) == 1]).solve(solver=cp.CLARABEL)
        given = called(ps.FERERO(), J, losses, r).direction.numpy()
        assert given == pytest.approx(d.value, abs=1e-4 * max(1, np.abs(d.value).max()))
        assert B @ J @ given == pytest.approx(B @ losses, abs=1e-9)


def test_ferero_says_where_it_relaxes():
    parallel = ((1, 2), (2, 4))
    # rates in the proportion 1 : 2 are all there are, and those of these losses across the ray are no such
    given = called(ps.FERERO(), ((1, 0), (1, 0), (0, 1)), (0.5, 0.2, 0.3), (1 / 3, 1 / 3, 1 / 3))
    assert given.status.code == Code.RELAXED
    assert given.direction.isfinite().all()
    on_ray = called(ps.FERERO(), parallel, (0.3, 0.7), (0.7, 0.3))
    assert on_ray.status.code == Code.STATIONARY  # no descent keeps the ray


def test_layerwise_decomposition_values():
    memory, g = ((1, 0, 0), (0.5, 1, 0)), (-2, 1, 1)
    for new, jacobian in ((0, (g, *memory)), (2, (*memory, g)), (1, (memory[0], g, memory[1]))):
        given = called(ps.LayerwiseDecomposition(new), jacobian)
        assert given.direction.tolist() == pytest.approx((0, 0, 1), abs=1e-12)
        assert given.weights[new] == 1
    with pytest.raises(ValueError, match=r"^LayerwiseDecomposition: new=2 is none of 2 losses"):
        called(ps.LayerwiseDecomposition(2), J_A)


@pytest.mark.parametrize("apart", [1, 1e3, 1e6])
@pytest.mark.parametrize("m", [2, 3, 4, 8])
def test_the_largest_worst_rate_is_certified(m, apart):
    """Gradients of any scale, some of which are dependent, and hulls that hold zero."""
    rng = np.random.default_rng(m)
    for k in range(60):
        J = rng.normal(size=(m, max(m - 1 + k % 3, 1))) * apart ** rng.uniform(0, 1, (m, 1))
        J /= np.sqrt((J**2).sum() / m)
        r = rng.dirichlet(np.ones(m))
        C, b = J @ J.T, J @ (r @ J)
        radius = rng.choice([0.05, 0.5, 0.95]) * np.sqrt(r @ b)
        w, _, z, code = worst_rate.largest_worst_rate(C, b, radius)
        assert code == Code.SOLVED
        assert w.min() >= 0
        assert w.sum() == pytest.approx(1, abs=1e-12)
        y = z @ J
        assert np.linalg.norm(y) <= radius * (1 + 1e-6)
        rates, sizes = b + J @ y, np.abs(b) + radius * np.linalg.norm(J, axis=1)
        bound = w @ b + radius * np.linalg.norm(w @ J)
        assert (rates >= bound - 2e-7 * (sizes + w @ sizes)).all()


@pytest.mark.parametrize("m", [2, 3, 5])
def test_the_largest_worst_rate_agrees_with_cvxpy(m):
    rng = np.random.default_rng(m)
    for _ in range(10):
        J = rng.normal(size=(m, m + 1))
        C, b = J @ J.T, rng.normal(size=m)
        both = [worst_rate.largest_worst_rate(C, b, 0.8, backend) for backend in NEAR]
        assert both[0].weights == pytest.approx(both[1].weights, abs=1e-5)


def test_least_distance():
    z, t = least_distance(np.eye(2), np.array([1.0, -1.0]))
    assert (z / t).tolist() == pytest.approx([1, 0])
    z, t = least_distance(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.array([1.0, 0.5]))
    assert t == pytest.approx(0, abs=1e-12)  # no y raises both
    assert z[0] == pytest.approx(z[1])


def end_of(problem, solver, preference, rate, steps=250):
    """The min-norm point's length at the end, beside the largest gradient at the start, and the losses."""
    torch.manual_seed(0)
    exact = closure(problem, problem.model())
    first = exact.gradients().jacobian.norm(dim=1).max()
    r, state = tensor(preference), None
    for k in range(steps):
        losses, jacobian, _ = exact.gradients()
        weights, state, _ = solver.update(state, losses, jacobian @ jacobian.T, r)
        exact.move(exact.parameters - rate(k / steps) * (weights @ jacobian))
    losses, jacobian, _ = exact.gradients()
    least, _ = qp.min_norm((jacobian @ jacobian.T).numpy())
    return float((tensor(least) @ jacobian).norm() / first), losses


@pytest.mark.parametrize("problem", [quadratics, fonseca])
@pytest.mark.parametrize(
    "solver",
    [ps.CAGrad(), ps.IMGrad(), ps.ConicGrad(), ps.SDMGrad(), ps.PMGDA(), ps.FERERO(), ps.LayerwiseDecomposition()],
    ids=lambda solver: type(solver).__name__,
)
def test_it_ends_at_a_pareto_stationary_point(solver, problem):
    """The layer-wise decomposition promises that with one memory task alone, where its answer is 0 nowhere else."""
    preference = (0.7, 0.3)
    steps_of_one_length = isinstance(solver, ps.PMGDA)  # so they have to shrink
    left, losses = end_of(
        problem(), solver, preference, (lambda share: 0.3 * (1 - share)) if steps_of_one_length else lambda share: 0.5
    )
    assert left < (2e-3 if steps_of_one_length else 1e-4)
    if solver.follows_ray:
        assert torch.cosine_similarity(losses, unit_rays(tensor(preference)), dim=0) > 1 - 1e-4


def test_with_more_memory_the_layerwise_decomposition_stops_off_the_front():
    """It stops where the new task cannot fall without raising the memory's mean or turning its differences."""
    solver = ps.LayerwiseDecomposition()
    left, _ = end_of(quadratics(objectives=3), solver, (0.3, 0.3, 0.4), lambda share: 0.5)
    assert left > 1e-3


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (ps.CAGrad, {"c": -0.1}, "c=-0.1: give a number of at least 0"),
        (ps.CAGrad, {"c": float("inf")}, "c=inf: give a number of at least 0"),
        (ps.CAGrad, {"rescale": "c"}, "rescale='c' is not one of none, 1/(1+c^2), 1/(1+c)"),
        (ps.IMGrad, {"c": 1.0}, "c=1.0: give a number from 0 to less than 1"),
        (ps.ConicGrad, {"c": 1.0}, "c=1.0: give a number from 0 to less than 1"),
        (ps.ConicGrad, {"c": float("nan")}, "c=nan: give a number from 0 to less than 1"),
        (ps.SDMGrad, {"pull": -1.0}, "pull=-1.0: give a number of at least 0"),
        (ps.PMGDA, {"sigma": 0.0}, "sigma=0.0: give a number above 0, at most 1"),
        (ps.PMGDA, {"tolerance": 0.0}, "tolerance=0.0: give a positive number"),
        (ps.LayerwiseDecomposition, {"new": -1}, "new=-1: give a whole number of at least 0"),
        (ps.LayerwiseDecomposition, {"components": 0.5}, "components=0.5: give a whole number of at least 0"),
        *[
            (build, {"backend": "scipy"}, "backend='scipy' is not one of 'auto', 'cvxpy'")
            for build in (ps.CAGrad, ps.IMGrad, ps.ConicGrad, ps.SDMGrad, ps.PMGDA)
        ],
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_wrong_option_is_an_error_that_names_it(build, options, message):
    with pytest.raises(ValueError) as caught:
        build(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("solver", [ps.PMGDA(), ps.FERERO()], ids=lambda solver: type(solver).__name__)
def test_losses_that_are_not_finite(solver):
    with pytest.raises(ValueError, match=f"^{type(solver).__name__}: the losses .* not finite"):
        called(solver, J_A, (0.5, float("nan")))


FORCED = [build(backend="cvxpy") for build in (ps.CAGrad, ps.IMGrad, ps.ConicGrad, ps.SDMGrad, ps.PMGDA)]


@pytest.mark.fault(44)
@pytest.mark.parametrize("solver", FORCED, ids=lambda solver: type(solver).__name__)
@pytest.mark.parametrize("fault", [cp.SolverError("numerical trouble"), lambda w: np.full_like(w, np.nan)])
def test_what_cvxpy_fails_at_is_replaced(unreliable, solver, fault):
    expected = called(type(solver)(), J_B, L_B, R_B)
    unreliable(fault)
    given = called(solver, J_B, L_B, R_B)
    assert given.status.code == Code.FELL_BACK
    assert given.direction.tolist() == pytest.approx(expected.direction.tolist(), abs=1e-6)


@pytest.mark.fault(42)
def test_where_nothing_answers(monkeypatch, unreliable):
    unreliable(cp.SolverError("numerical trouble"))
    monkeypatch.setattr(worst_rate._Dual, "solve", lambda program: None)
    mean = tensor(J_B).mean(dim=0)
    for solver, factor in ((ps.CAGrad(), 1), (ps.CAGrad(2.0), 1), (ps.IMGrad(0.5), 0.8)):
        given = called(solver, J_B)
        assert given.status.code == Code.FELL_BACK
        assert given.direction.tolist() == pytest.approx((factor * mean).tolist())
    monkeypatch.setattr(pmgda, "MOST_PIVOTS", 1)
    given = called(ps.PMGDA(), J_B, L_B, R_B)
    assert given.status.code == Code.FELL_BACK
    assert given.weights.tolist() == pytest.approx(called(ps.MGDA(), J_B).weights.tolist())


@pytest.mark.fault(43)
@pytest.mark.parametrize("solver", FORCED, ids=lambda solver: type(solver).__name__)
def test_a_missing_solver_is_an_error_before_work_starts(monkeypatch, solver):
    monkeypatch.setattr(cp, "installed_solvers", lambda: ["SCS"])
    qp.check_installed.cache_clear()
    sweep = Sweep(torch.eye(2).double() * 0.7 + 0.15, torch.tensor(0), 10, True, ())
    type(solver)().init(sweep)
    with pytest.raises(RuntimeError, match="pip install clarabel highspy"):
        solver.init(sweep)

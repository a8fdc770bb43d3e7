"""EPO: the closed form against the programs, and what it does with hard inputs."""

import cvxpy as cp
import numpy as np
import pytest
import torch

import paretomtl_solvers as ps
from paretomtl.point import Code
from paretomtl.preference import FLOOR, ray
from paretomtl.solver import Sweep
from paretomtl_solvers.epo import anchor
from tests import asserts
from tests.catalogue import JACOBIANS, LOSSES, PREFERENCES
from tests.solvers.certificates import assert_epo_program, epo_program

BACKENDS = ["auto", "cvxpy"]
DESCENT = 0.99  # an eps that mu stays below on the inputs here: every step descends


@pytest.mark.parametrize("eps", [1e-8, DESCENT])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["conflicting", "agreeing", "three"])
def test_the_order_of_the_objectives_is_no_matter(name, backend, eps):
    """Where its program has one answer."""
    m = len(JACOBIANS[name])
    case = map(_tensor, (LOSSES[m]["generic"], JACOBIANS[name], PREFERENCES[m]["generic"]))
    asserts.assert_permutation_equivariant(ps.EPO(eps=eps, backend=backend), *case)


@pytest.mark.parametrize(("backend", "m"), [("auto", 2), ("auto", 3), ("cvxpy", 2)])
def test_many_points_are_as_one_by_one(backend, m):
    rng = np.random.default_rng(0)
    points = (4, 25) if backend == "auto" and m == 2 else (2, 3)
    losses, jacobians = rng.uniform(0.1, 1, (*points, m)), rng.normal(size=(*points, m, 4))
    preferences = rng.dirichlet(np.ones(m), points)
    losses[0] = ray(preferences[0])  # on their rays: these descend, the others balance
    case = tuple(map(torch.from_numpy, (losses, jacobians, preferences)))
    asserts.assert_points_agree(ps.EPO(backend=backend), *case, within=1e-15 if m == 2 else 1e-9)
    residual = asserts.answer(ps.EPO(backend=backend), *case).status.residual
    assert (residual[0] == 0).all()
    assert (residual[1:] > 0).all()


def test_points_carry_their_own_eps():
    gramian, losses, preference = (_tensor([values] * 2) for values in BREAKPOINT)
    weights, state, status = ps.EPO().update(_tensor([1e-8, 0.5]), losses, gramian, preference)
    assert weights[0].tolist() == pytest.approx([0.7156904, 0.2843096], abs=1e-6)  # balances
    assert (gramian[1] @ weights[1] > -1e-12).all()  # descends
    assert status.residual.tolist() == pytest.approx([0.0064706 - 1e-8, 0], abs=1e-6)
    assert state.tolist() == [1e-8, 0.5]


@pytest.mark.parametrize(
    ("given", "deterministic", "eps"),
    [(None, True, 1e-8), (None, False, 1e-4), (0.03, True, 0.03), (0.03, False, 0.03)],
)
def test_eps_follows_the_noise_where_it_is_not_given(given, deterministic, eps):
    sweep = Sweep(_tensor([[0.5, 0.5]] * 3), torch.tensor([0, 2]), 10, deterministic, ())
    assert ps.EPO(eps=given).init(sweep).tolist() == [eps, eps]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("balance", [True, False])
def test_the_closed_form_solves_the_programs(balance):
    """On 1,000 Gramians: feasible, as good as cvxpy's answer, and the same answer where only one is best."""
    rng = np.random.default_rng(0)
    eps, compared = 1e-8 if balance else DESCENT, 0
    for _ in range(1000):
        jacobian = rng.normal(size=(2, 3)) * 10 ** rng.uniform(-1, 1, (2, 1)) * 10 ** rng.uniform(-4, 4)
        C, losses, r = jacobian @ jacobian.T, rng.uniform(0.01, 1, 2), rng.dirichlet([1, 1])
        objective, rows, bounds = epo_program(losses, C, r, balance)
        case = tuple(map(torch.from_numpy, (losses, C, r)))
        closed, reference = (ps.EPO(eps=eps, backend=backend)(*case).numpy() for backend in BACKENDS)
        size = np.abs(objective).max()
        assert objective @ closed == pytest.approx(objective @ reference, abs=2e-6 * size)
        assert (rows @ closed >= bounds - 1e-9 * np.abs(rows).max(axis=1)).all()
        if abs(objective[0] - objective[1]) > 0.01 * size:
            assert closed == pytest.approx(reference, abs=1e-4)
            compared += 1
    assert compared > 900


@pytest.mark.fault(42)
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("balance", [True, False])
@pytest.mark.parametrize("m", [3, 5])
def test_beyond_two_objectives_the_published_programs_are_solved(m, balance):
    """Against linprog on 100 Gramians; among them some where no objective is worth raising, some to be relaxed."""
    rng = np.random.default_rng(0)
    relaxed = none_worth_raising = 0
    for _ in range(100):
        jacobian, losses, r = rng.normal(size=(m, 6)), rng.uniform(0.1, 1, m), rng.dirichlet(np.ones(m))
        if not balance:
            losses = ray(r) * rng.uniform(0.99, 1.01, m)
        solver = ps.EPO(eps=1e-8 if balance else DESCENT)
        case = map(torch.from_numpy, (losses, jacobian, r))
        one_relaxed, none_rose = assert_epo_program(solver, *case, balance=balance)
        relaxed, none_worth_raising = relaxed + one_relaxed, none_worth_raising + none_rose
    assert none_worth_raising > 0
    assert (relaxed == 0) if balance else (relaxed > 0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("backend", BACKENDS)
def test_on_its_ray_to_rounding_a_point_descends_unrestricted(backend):
    """There a is zero but for rounding, which must not be taken for a direction."""
    rng = np.random.default_rng(1)
    for _ in range(100):
        m = 2 if backend == "cvxpy" else int(rng.integers(2, 6))
        jacobian, r = torch.from_numpy(rng.normal(size=(m, 6))), torch.from_numpy(rng.dirichlet(np.ones(m)))
        case = rng.uniform(0.5, 2) / r, jacobian, r
        asserts.assert_no_loss_rises(ps.EPO(backend=backend), *case)
        assert asserts.answer(ps.EPO(backend=backend), *case).status.code == Code.SOLVED


@pytest.mark.fault(42)
def test_an_infeasible_restriction_is_relaxed_and_said():
    jacobian = _tensor([[1, -1, 3], [-1, -1, 3], [-3, -1, -3]])
    preference = _tensor([0.2, 0.3, 0.5])
    losses = _tensor([15, 10, 6]) / 31 * _tensor([1.001, 0.999, 1])
    assert asserts.answer(ps.EPO(eps=1e-4), losses, jacobian, preference).status.code == Code.RELAXED
    asserts.assert_no_loss_rises(ps.EPO(eps=1e-4), losses, jacobian, preference)


@pytest.mark.fault(8)
@pytest.mark.parametrize("eps", [1e-8, DESCENT])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("m", [2, 3])
def test_no_gradient_is_stationary(m, backend, eps):
    case = torch.arange(1, m + 1).double(), torch.zeros(m, 4, dtype=torch.float64), _tensor([1 / m] * m)
    asserts.assert_on_simplex(ps.EPO(eps=eps, backend=backend), *case)
    assert asserts.answer(ps.EPO(eps=eps, backend=backend), *case).stationary


@pytest.mark.fault(12)
@pytest.mark.parametrize("backend", BACKENDS)
def test_opposed_gradients_are_stationary_in_descent_alone(backend):
    jacobian, preference = _tensor([[1, 2], [-1, -2]]), _tensor([0.5, 0.5])
    solver = ps.EPO(backend=backend)
    assert asserts.answer(solver, _tensor([0.4, 0.4]), jacobian, preference).stationary
    balanced = asserts.answer(solver, _tensor([0.2, 0.6]), jacobian, preference)
    assert balanced.weights[1] > balanced.weights[0]
    assert balanced.status.code == Code.SOLVED


@pytest.mark.fault(13)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_negative_loss_is_an_error_with_a_remedy(backend):
    with pytest.raises(ValueError, match=r"-0\.1.*shift them, or use Linear"):
        ps.EPO(backend=backend)(_tensor([0.5, -0.1]), torch.eye(2).double(), _tensor([0.5, 0.5]))


@pytest.mark.fault(14)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("losses", [(0.5, 0), (0, 0.5), (0, 0), (0.5, 0.2, 0), (0, 0.5, 0), (0, 0, 0)], ids=str)
def test_a_loss_of_zero_has_a_limit(losses, backend):
    m = len(losses)
    jacobian = torch.randn(m, 4, generator=torch.Generator().manual_seed(m), dtype=torch.float64)
    case = _tensor(losses), jacobian, _tensor([1 / m] * m)
    asserts.assert_finite(ps.EPO(backend=backend), *case)
    asserts.assert_on_simplex(ps.EPO(backend=backend), *case)
    asserts.assert_worst_does_not_rise(ps.EPO(backend=backend), *case)


@pytest.mark.fault(14)
def test_the_anchor_at_a_loss_of_zero_clips_the_logarithm():
    mu, a = anchor(np.array([0.5, 0.0]), np.array([0.5, 0.5]))
    assert mu == pytest.approx(np.log(2))
    assert a == pytest.approx([0, 0.5 * np.log(1e-12)])
    mu, a = anchor(np.array([0.0, 0.0]), np.array([0.3, 0.7]))
    assert (mu, *a) == (0, 0, 0)


@pytest.mark.fault(23)
@pytest.mark.parametrize("losses", [(0.6, 0.3, 0.1), (0, 0.3, 0.1)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("preference", [(1, 0), (0, 1), (1, 0, 0), (0, 0.5, 0.5), (0, 0, 1)], ids=str)
def test_a_preference_of_zero_is_the_floor(preference, backend, losses):
    m = len(preference)
    jacobian = torch.randn(m, 4, generator=torch.Generator().manual_seed(m), dtype=torch.float64)
    case, solver = (_tensor(losses[:m]), jacobian, _tensor(preference)), ps.EPO(backend=backend)
    asserts.assert_finite(solver, *case)
    asserts.assert_on_simplex(solver, *case)
    raised = case[2].clamp(min=FLOOR)
    same = asserts.answer(solver, *case[:2], raised / raised.sum()).weights
    assert torch.allclose(asserts.answer(solver, *case).weights, same, rtol=0, atol=1e-9)


@pytest.mark.parametrize("eps", [0.0, -1e-8, 1.0, 2.0, np.nan])
def test_an_eps_outside_its_range_is_an_error(eps):
    with pytest.raises(ValueError, match=r"eps=.* between 0 and 1"):
        ps.EPO(eps=eps)


UNKNOWN = ValueError("Cannot unpack invalid solution: status=UNKNOWN")  # what cvxpy makes of that status
FAULTS = {
    "fails": cp.SolverError("numerical trouble"),
    "unknown": UNKNOWN,
    "nothing": lambda alpha: None,
    "nan": lambda alpha: np.full_like(alpha, np.nan),
    "off the simplex": lambda alpha: 2 * alpha,
    "negative": lambda alpha: np.array([2.0, -1.0]),
    "outside a constraint": lambda alpha: alpha[::-1],
}
BREAKPOINT = ([[1, -0.5], [-0.5, 1]], (0.35, 0.65), (0.7, 0.3))  # Gramian, losses, preference
END = ([[1, -1.5], [-1.5, 9]], (0.6, 0.3), (0.7, 0.3))


@pytest.mark.fault(44)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_solver_that_fails_is_followed_by_the_next(fault, unreliable):
    calls = unreliable(FAULTS[fault], None)
    weights, status = _cvxpy(*BREAKPOINT)
    assert weights == pytest.approx([0.7156904, 0.2843096], abs=1e-6)
    assert status.code == Code.SOLVED
    assert len({options["solver"] for options in calls}) == len(calls) == 2


@pytest.mark.fault(44)
@pytest.mark.parametrize("fault", FAULTS)
def test_when_all_solvers_fail_the_min_norm_weights_stand_in_and_it_is_said(fault, unreliable):
    calls = unreliable(FAULTS[fault])
    weights, status = _cvxpy(*BREAKPOINT)
    assert weights == pytest.approx([0.5, 0.5], abs=1e-12)
    assert status.code == Code.FELL_BACK
    assert len({options["solver"] for options in calls}) == len(calls) == 2


@pytest.mark.fault(45)
def test_each_solver_has_a_time_limit(unreliable):
    calls = unreliable(FAULTS["fails"])
    _cvxpy(*BREAKPOINT)
    assert all(0 < options["time_limit"] <= 60 for options in calls)


@pytest.mark.fault(46)
def test_an_answer_slightly_off_the_simplex_is_projected(unreliable):
    calls = unreliable(lambda alpha: np.array([1 + 3e-10, -1e-10]))
    weights, status = _cvxpy(*END)
    assert weights == [1, 0]
    assert status.code == Code.SOLVED
    assert len(calls) == 1


def _cvxpy(gramian, losses, preference):
    weights, _, status = ps.EPO(backend="cvxpy").update(None, *map(_tensor, (losses, gramian, preference)))
    return weights.tolist(), status


def _tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.fault(14)
def test_where_all_losses_are_zero_there_is_nothing_to_balance():
    mu, a = anchor(np.zeros((2, 3)), np.full((2, 3), 1 / 3))
    assert (mu.tolist(), a.tolist()) == ([0, 0], [[0, 0, 0]] * 2)

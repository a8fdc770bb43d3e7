"""The programs, judged by certificates of optimality where there are any, else by another solver's objective."""

import contextlib

import numpy as np
import pytest
from scipy.optimize import linprog

from paretomtl.point import Code
from paretomtl_solvers import qp
from tests.catalogue import HOLD_ZERO, JACOBIANS
from tests.solvers.certificates import certify_least_norm

MORE = {
    "one": np.random.default_rng(1).normal(size=(1, 3)),
    "thirty-two": np.random.default_rng(32).normal(size=(32, 64)),
    "more objectives than parameters": np.random.default_rng(8).normal(size=(8, 3)),
}
GIVEN = {name: np.array(rows, dtype=np.float64) for name, rows in JACOBIANS.items()} | MORE
SCALES = [1e-8, 1e-4, 1.0, 1e4, 1e8]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", GIVEN)
def test_min_norm_is_certified(name, scale):
    J = scale * GIVEN[name]
    C = J @ J.T
    w, code = qp.min_norm(C)
    certify_least_norm(C, w)
    assert code == Code.SOLVED


@pytest.mark.parametrize("name", sorted(HOLD_ZERO))
def test_min_norm_finds_zero_in_the_hull(name):
    C = GIVEN[name] @ GIVEN[name].T
    w, _ = qp.min_norm(C)
    assert w @ C @ w <= 1e-14 * np.diagonal(C).max()


@pytest.mark.parametrize(
    ("J", "w"), [([[1, 0], [0, 2]], (0.8, 0.2)), ([[1, 0], [3, 1]], (1, 0)), ([[0], [0]], (0.5, 0.5))]
)
def test_min_norm_values(J, w):
    C = np.array(J, dtype=np.float64) @ np.array(J, dtype=np.float64).T
    assert qp.min_norm(C)[0] == pytest.approx(w, abs=1e-12)


@pytest.mark.fault(11)
@pytest.mark.parametrize("apart", [1e2, 1e4, 1e6])
def test_min_norm_is_certified_where_gradient_norms_differ(apart):
    rng = np.random.default_rng(0)
    for m in (2, 3, 4, 8):
        for _ in range(20):
            J = rng.normal(size=(m, m + 2)) / np.where(np.arange(m) % 2, apart, 1)[:, None]
            C = J @ J.T
            certify_least_norm(C, qp.min_norm(C)[0], gap=1e-6, rounding=0)


@pytest.mark.fault(10)
def test_min_norm_takes_a_gramian_that_rounding_made_indefinite():
    C = np.ones((3, 3)) - 1e-9 * np.eye(3)
    C[0, 1] += 1e-12  # nor quite symmetric
    w, _ = qp.min_norm(C)
    assert w.sum() == pytest.approx(1)
    assert (w >= 0).all()
    assert w @ C @ w == pytest.approx(1, abs=1e-8)


@pytest.mark.fault(10)
def test_min_norm_takes_both_halves_of_a_gramian():
    C = GIVEN["three"] @ GIVEN["three"].T + 1e-6 * np.triu(np.ones((3, 3)))
    assert np.array_equal(qp.min_norm(C)[0], qp.min_norm(C.T)[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_min_norm_refuses_what_is_not_finite(bad):
    C = np.eye(3)
    C[0, 2] = C[2, 0] = bad
    with pytest.raises(ValueError, match="not finite"):
        qp.min_norm(C)


def test_the_scale_is_the_largest_squared_norm():
    assert qp.scale_of(np.diag([1.0, 9.0, 4.0])) == 9
    assert qp.scale_of(np.zeros((2, 2))) == 0


def programs(number):
    """Random programs with a known feasible point on many of whose rows there is no slack; some rows free."""
    rng = np.random.default_rng(1)
    for _ in range(number):
        m, k = (int(n) for n in rng.integers(2, 7, 2))
        rows, inside = rng.normal(size=(k, m)), rng.dirichlet(np.ones(m))
        slack = np.where(rng.random(k) < 0.5, 0, rng.exponential(0.3, k))
        bounds = np.where(rng.random(k) < 0.2, -np.inf, rows @ inside - slack)
        yield rng.normal(size=m), rows, bounds


@pytest.mark.parametrize("scale", SCALES)
def test_simplex_lp_is_as_good_as_linprog(scale):
    for objective, rows, bounds in programs(40):
        alpha = qp.simplex_lp(scale * objective, scale * rows, scale * bounds)
        held = np.isfinite(bounds)
        reference = linprog(
            -objective, A_ub=-rows[held], b_ub=-bounds[held], A_eq=np.ones((1, len(objective))), b_eq=[1]
        )
        assert (alpha >= 0).all()
        assert alpha.sum() == pytest.approx(1, abs=1e-12)
        assert (rows @ alpha >= bounds - 2e-6 * np.abs(rows).max(axis=1)).all()
        assert objective @ alpha == pytest.approx(-reference.fun, abs=1e-5 * np.abs(objective).max())


@pytest.mark.fault(45)
def test_simplex_lp_takes_no_answer_from_before_the_end(monkeypatch):
    """A solver stopped by its time limit has a point that is feasible and anywhere."""
    monkeypatch.setattr(qp, "TIME_LIMIT", 1e-9)
    with contextlib.suppress(qp.ProgramError):
        assert qp.simplex_lp(np.array([1.0, 2.0, 3.0]), np.eye(3), np.zeros(3)) == pytest.approx([0, 0, 1], abs=1e-6)


def test_simplex_lp_scales_each_row():
    """A row far smaller than the others still holds."""
    alpha = qp.simplex_lp(np.array([0.0, 1.0]), np.array([[1e-9, -1e-9], [1e9, 1e9]]), np.array([-5e-10, 0]))
    assert alpha == pytest.approx([0.25, 0.75], abs=1e-6)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("rows", "bounds"), [([[1, 0], [0, 1]], (0.6, 0.6)), ([[-1, -1], [1, 1]], (0.1, 0)), ([[1, 2], [2, 1]], (1.9, 1.9))]
)
def test_simplex_lp_says_infeasible(rows, bounds, scale):
    with pytest.raises(qp.InfeasibleError):
        qp.simplex_lp(np.array([1.0, 0.0]), scale * np.array(rows, dtype=np.float64), scale * np.array(bounds))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["objective", "rows", "bounds"])
def test_simplex_lp_refuses_what_is_not_finite(where, bad):
    given = {"objective": np.array([1.0, 2.0]), "rows": np.eye(2), "bounds": np.zeros(2)}
    given[where].flat[0] = bad
    with pytest.raises(ValueError):
        qp.simplex_lp(**given)

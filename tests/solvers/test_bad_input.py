"""What methods do with what should not happen: solvers that fail or are missing, broken Gramians, numbers, options."""

import re

import cvxpy as cp
import numpy as np
import pytest
import scipy.optimize
import torch

import paretomtl_solvers as ps
from paretomtl.point import Code
from paretomtl.solver import Sweep, Weighting
from paretomtl_solvers import fairgrad, qp
from tests import asserts
from tests.catalogue import JACOBIANS
from tests.solvers.certificates import certify_least_norm
from tests.solvers.promises.table import TABLE

B = (0.3333333, 0.3218391, 0.3448276)  # MGDA's weights at "three"
FAILS = cp.SolverError("numerical trouble")
WEIGHTINGS = list({line.solver: None for line in TABLE if isinstance(line.solver, Weighting)})
CVXPY = [ps.EPO(backend="cvxpy"), ps.MGDA(backend="cvxpy"), ps.FairGrad(backend="cvxpy"), ps.ParetoMTL(backend="cvxpy")]


def called(solver, gramian, losses=None, preference=None):
    """The weights and the status of a first call with this Gramian."""
    C = torch.as_tensor(np.asarray(gramian), dtype=torch.float64)
    m = len(C)
    losses = torch.linspace(1, 2, m, dtype=torch.float64) if losses is None else tensor(losses)
    preference = torch.full((m,), 1 / m, dtype=torch.float64) if preference is None else tensor(preference)
    weights, _, status = solver.update(solver.init(asserts.sweep(preference)), losses, C, preference)
    return weights, status


def three():
    J = np.array(JACOBIANS["three"], dtype=np.float64)
    return J @ J.T


@pytest.mark.fault(7)
@pytest.mark.parametrize("name", ["a zero row", "three, a zero row"])
def test_a_loss_without_gradient(name):
    J = tensor(JACOBIANS[name])
    for solver in (ps.MGDA(), ps.MGDA("l2"), ps.MGDA("loss+"), ps.FairGrad(2.0), ps.FairGrad(float("inf"))):
        weights, status = called(solver, J @ J.T)
        assert status.code == Code.STATIONARY
        assert weights.isfinite().all()
        assert (weights @ J).norm() < 1e-12
    weights, status = called(ps.EPO(0.99), J @ J.T)  # the others can still fall, and the one without does not rise
    assert status.code == Code.SOLVED
    assert (J[1:] @ (weights @ J)).sum() > 0


@pytest.mark.fault(9)
@pytest.mark.parametrize("solver", [ps.MGDA(), ps.FairGrad(float("inf"))], ids=repr)
def test_duplicates_have_the_weight_of_one(solver):
    J = tensor(JACOBIANS["conflicting"])
    alone, _ = called(solver, J @ J.T)
    J = J[[0, 1, 0, 1, 1]]
    weights, _ = called(solver, J @ J.T)
    assert weights.tolist() == pytest.approx((alone / tensor([2, 3]))[[0, 1, 0, 1, 1]].tolist(), rel=1e-9)


INDEFINITE = {
    "rank one, less 1e-9": np.ones((3, 3)) - 1e-9 * np.eye(3),
    "two alike, less 1e-9": np.array([[1, 1 + 1e-9], [1 + 1e-9, 1]]),
    "a vanishing gradient, negative": np.diag([1.0, 2.0, -1e-9]),
    "two, a vanishing gradient, negative": np.diag([1.0, -1e-9]),
    "not quite symmetric": three() + 1e-9 * np.triu(np.ones((3, 3))),
}


@pytest.mark.fault(10)
@pytest.mark.parametrize("name", INDEFINITE)
@pytest.mark.parametrize("solver", WEIGHTINGS, ids=repr)
def test_a_gramian_that_rounding_made_indefinite(solver, name):
    weights, status = called(solver, INDEFINITE[name])
    assert weights.isfinite().all()
    assert status.residual.isfinite()
    assert status.code in (Code.SOLVED, Code.STATIONARY, Code.RELAXED)
    if isinstance(solver, ps.MGDA) and solver.normalisation == "none":
        certify_least_norm(INDEFINITE[name], weights.numpy(), gap=1e-6, rounding=1e-8)


@pytest.mark.fault(42)
def test_epo_stands_on_min_norm_weights_where_no_solver_answers(unreliable):
    calls = unreliable(FAILS)
    for losses in ((0.5, 0.4, 0.2), (15, 10, 6)):  # off the ray, and on it
        weights, status = called(ps.EPO(), three(), losses, (0.2, 0.3, 0.5))
        assert weights.tolist() == pytest.approx(B, abs=1e-6)
        assert status.code == Code.FELL_BACK
    assert len(calls) == 4  # two solvers each


def wrong(w):
    return np.full_like(w, 1 / len(w))


@pytest.mark.fault(44)
@pytest.mark.parametrize("fault", [FAILS, ValueError("status=UNKNOWN"), wrong, lambda w: None, lambda w: w * np.nan])
def test_least_norm_by_cvxpy_is_checked_and_replaced(unreliable, fault):
    unreliable(fault)
    weights, status = called(ps.MGDA(backend="cvxpy"), three())
    assert weights.tolist() == pytest.approx(B, abs=1e-6)
    assert status.code == Code.FELL_BACK
    losses = (0.5, 0.4, 0.2)
    both = [called(ps.ParetoMTL(0.0, backend), three(), losses) for backend in ("auto", "cvxpy")]
    assert both[1][0].tolist() == pytest.approx(both[0][0].tolist(), abs=1e-9)
    assert [status.code for _, status in both] == [Code.SOLVED, Code.FELL_BACK]


def too_many(*given, **options):
    raise RuntimeError("Maximum number of iterations reached.")


@pytest.mark.fault(45)
@pytest.mark.parametrize("nnls", [too_many, lambda A, b, maxiter: (wrong(A[0]), 0.0)])
def test_nnls_is_capped_and_checked_and_replaced(monkeypatch, nnls):
    monkeypatch.setattr(scipy.optimize, "nnls", nnls)
    for solver in (ps.MGDA(), ps.FairGrad(float("inf"))):
        weights, status = called(solver, three())
        assert (weights / weights.sum()).tolist() == pytest.approx(B, abs=1e-4)
        assert status.code == Code.FELL_BACK
    assert called(ps.ParetoMTL(0.0), three(), (0.5, 0.4, 0.2))[1].code == Code.FELL_BACK


@pytest.mark.fault(45)
def test_nnls_has_a_limit(monkeypatch):
    seen, solve = [], scipy.optimize.nnls
    monkeypatch.setattr(scipy.optimize, "nnls", lambda A, b, **options: seen.append(options) or solve(A, b, **options))
    called(ps.MGDA(), three())
    assert 0 < seen[0]["maxiter"] <= 1000


@pytest.mark.fault(42)
def test_where_nothing_finds_the_min_norm_point_it_is_an_error(monkeypatch, unreliable):
    monkeypatch.setattr(scipy.optimize, "nnls", too_many)
    unreliable(FAILS)
    for solver in (ps.MGDA(), ps.MGDA(backend="cvxpy"), ps.FairGrad(), ps.ParetoMTL(0.0)):
        with pytest.raises(qp.ProgramError, match="no solver found the min-norm point"):
            called(solver, three(), (0.5, 0.4, 0.2))


def assert_fell_back_on_min_norm(solver, alpha):
    """The direction is MGDA's, at the length at which the progress is alpha-fair where it is the same for all."""
    C = tensor(three())
    least, _ = called(ps.MGDA(), C)
    for scale in (1, 1e-6, 1e6):
        weights, status = called(solver, scale * C)
        assert status.code == Code.FELL_BACK
        assert (weights / weights.sum()).tolist() == pytest.approx(least.tolist(), abs=1e-9)
        w, squared = weights.sum(), scale * least @ C @ least
        assert float(squared * w) == pytest.approx(float(w ** (-1 / alpha)), rel=1e-9)


@pytest.mark.fault(45)
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 50.0])
def test_fairgrads_newton_is_capped(monkeypatch, alpha):
    monkeypatch.setattr(fairgrad, "MOST_STEPS", 1)
    assert_fell_back_on_min_norm(ps.FairGrad(alpha), alpha)


@pytest.mark.fault(44)
@pytest.mark.parametrize("fault", [FAILS, lambda w: 2 * w, lambda w: w * [1, 1, 1.01], lambda w: -w, lambda w: None])
def test_fairgrad_by_cvxpy_is_checked_and_replaced(unreliable, fault):
    unreliable(fault)
    assert_fell_back_on_min_norm(ps.FairGrad(2.0, "cvxpy"), 2)


@pytest.mark.fault(42)
def test_fairgrad_falls_back_where_the_slopes_cancel():
    """Strongly conflicting gradients of mixed norms, and alpha near 0: beyond double precision, and it is said."""
    J = tensor([[1, 1e-3], [-1e-4, 1e-8]])
    weights, status = called(ps.FairGrad(0.02), J @ J.T)
    assert status.code == Code.FELL_BACK
    assert weights.tolist() == pytest.approx([1, 1], rel=0.03)  # the sum, the limit at alpha = 0
    assert weights[0] == weights[1]


@pytest.mark.fault(42)
def test_what_falls_back_is_said_of_its_point_alone(monkeypatch):
    monkeypatch.setattr(fairgrad, "newton", lambda C, p: (np.ones(C.shape[:2]), np.array([1e-7, np.nan, 1e-9])))
    C = tensor(three()).expand(5, 3, 3) * tensor([1, 1, 0, 1, 0])[:, None, None]
    _, _, status = ps.FairGrad(2.0).update(None, torch.ones(5, 3).double(), C, torch.ones(5, 3).double() / 3)
    assert status.code.tolist() == [Code.FELL_BACK, Code.FELL_BACK, Code.STATIONARY, Code.SOLVED, Code.STATIONARY]


@pytest.mark.fault(45)
@pytest.mark.parametrize("solver", CVXPY, ids=repr)
def test_each_program_has_a_time_limit(unreliable, solver):
    calls = unreliable(None)
    called(solver, three(), (0.5, 0.4, 0.2))
    assert calls
    assert all(0 < options["time_limit"] <= 60 for options in calls)


@pytest.mark.fault(45)
@pytest.mark.parametrize("solver", CVXPY, ids=repr)
def test_a_solver_out_of_time_is_replaced(monkeypatch, solver):
    monkeypatch.setattr(qp, "TIME_LIMIT", 1e-9)
    weights, status = called(solver, three(), (0.5, 0.4, 0.2))
    assert weights.isfinite().all()
    if not isinstance(solver, ps.EPO):  # whose second solver may be done before it looks at its clock
        assert status.code == Code.FELL_BACK


@pytest.mark.fault(43)
@pytest.mark.parametrize(
    ("solver", "m", "needed"),
    [(ps.EPO(), 3, True), (ps.EPO(), 2, False)]
    + [(solver, 3, False) for solver in (ps.MGDA(), ps.FairGrad(), ps.ParetoMTL())]
    + [(solver, m, True) for solver in CVXPY for m in (2, 3)],
)  # fmt: skip
def test_a_missing_solver_is_an_error_before_work_starts(monkeypatch, solver, m, needed):
    monkeypatch.setattr(cp, "installed_solvers", lambda: ["SCS"])
    qp.check_installed.cache_clear()
    sweep = Sweep(torch.eye(m).double() * 0.7 + 0.3 / m, torch.tensor(0), 10, True, ())
    if needed:
        with pytest.raises(RuntimeError, match="pip install clarabel highspy"):
            solver.init(sweep)
    else:
        solver.init(sweep)


SEE_LOSSES = [ps.EPO(), ps.MGDA(), ps.ParetoMTL()]
SCALARIZATIONS = [ps.Tchebycheff(), ps.AugmentedTchebycheff(), ps.SmoothTchebycheff(), ps.PBI(), ps.COSMOS()]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("m", [2, 3])
def test_what_is_not_finite_is_an_error_that_names_the_method(bad, m):
    C = np.eye(m)
    C[0, -1] = C[-1, 0] = bad
    losses = [1.0] * (m - 1) + [bad]
    for solver in WEIGHTINGS:
        with pytest.raises(ValueError, match=f"^{type(solver).__name__}: the Gramian .* not finite"):
            called(solver, C)
    for solver in SEE_LOSSES:
        with pytest.raises(ValueError, match=f"^{type(solver).__name__}: the losses .* not finite"):
            called(solver, np.eye(m), losses)
    for solver in (*SCALARIZATIONS, ps.PHNHVI((1.0,) * m), ps.HypervolumeAscent((1.0,) * m)):
        with pytest.raises(ValueError, match=f"^{type(solver).__name__}: the losses .* not finite"):
            solver(tensor(losses), tensor([1 / m] * m))


@pytest.mark.parametrize("solver", [ps.CoGrad(), ps.CoGrad(hessian="hvp"), ps.CoGrad(scale_free=True)], ids=repr)
def test_cograd_hides_nothing_that_is_not_finite(solver):
    J = tensor([[1, np.nan], [0, 1]])
    assert not asserts.answer(solver, tensor([1, 1]), J, tensor([0.5, 0.5])).direction.isfinite().all()


@pytest.mark.fault(13)
@pytest.mark.parametrize("normalisation", ["loss", "loss+"])
@pytest.mark.parametrize("loss", [0.0, -0.1])
def test_a_loss_to_divide_by_must_be_positive(normalisation, loss):
    with pytest.raises(ValueError, match=rf"^MGDA: '{re.escape(normalisation)}' needs positive losses .*{loss}"):
        called(ps.MGDA(normalisation), np.eye(2), [0.5, loss])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (ps.MGDA, {"normalisation": "L2"}, "normalisation='L2' is not one of none, l2, loss, loss+"),
        (ps.CoGrad, {"hessian": "exact"}, "hessian='exact' is not one of paper, fisher, hvp"),
        (ps.CoGrad, {"gamma": float("nan")}, "gamma=nan: give a finite number"),
        (ps.CoGrad, {"gamma": (0.1, float("inf"))}, "gamma=(0.1, inf): give a finite number"),
        (ps.CoGrad, {"look_ahead": 0.0}, "look_ahead=0.0: give a positive number"),
        (ps.ContinuousPareto, {"damping": -0.1}, "damping=-0.1: give a number of at least 0"),
        (ps.ContinuousPareto, {"tolerance": 0.0}, "tolerance=0.0: give a positive number"),
        (ps.ContinuousPareto, {"stationary": float("nan")}, "stationary=nan: give a positive number"),
        (ps.ContinuousPareto, {"products": 0}, "products=0: give a whole number of at least 1"),
        (ps.ContinuousPareto, {"corrections": -1}, "corrections=-1: give a whole number of at least 0"),
        (ps.FairGrad, {"alpha": -1.0}, "alpha=-1.0: give a number from 0 to infinity"),
        (ps.FairGrad, {"alpha": float("nan")}, "alpha=nan: give a number from 0 to infinity"),
        (ps.ParetoMTL, {"phase_one": 1.5}, "phase_one=1.5: give a share of the steps, from 0 to 1"),
        (ps.ParetoMTL, {"phase_one": -0.1}, "phase_one=-0.1: give a share of the steps, from 0 to 1"),
        (ps.AugmentedTchebycheff, {"rho": -0.1}, "rho=-0.1: give a number of at least 0"),
        (ps.AugmentedTchebycheff, {"rho": float("inf")}, "rho=inf: give a number of at least 0"),
        (ps.SmoothTchebycheff, {"mu": 0.0}, "mu=0.0: give a positive number"),
        (ps.PBI, {"theta": -1.0}, "theta=-1.0: give a number of at least 0"),
        (ps.COSMOS, {"penalty": -0.1}, "penalty=-0.1: give a number of at least 0"),
        (ps.COSMOS, {"penalty": float("inf")}, "penalty=inf: give a number of at least 0"),
        (ps.COSMOS, {"ray": "theirs"}, "ray='theirs' is not one of ours, published"),
        (ps.PHNHVI, {"ref_point": (1.0, 1.0), "penalty": -0.1}, "penalty=-0.1: give a number of at least 0"),
        (ps.PHNHVI, {"ref_point": (1.0, float("nan"))}, "ref_point=(1.0, nan) is not finite"),
        (ps.HypervolumeAscent, {"ref_point": (1.0, float("inf"))}, "ref_point=(1.0, inf) is not finite"),
        (ps.HypervolumeAscent, {"ref_point": (1.0, 1.0), "phase_one": 1.0}, "phase_one=1.0: give a share of the steps"),
        (ps.MOOSVGD, {"phase_one": -0.1}, "phase_one=-0.1: give a share of the steps"),
        *[
            (build, {"backend": "scipy"}, "backend='scipy' is not one of 'auto', 'cvxpy'")
            for build in (ps.EPO, ps.MGDA, ps.FairGrad, ps.ParetoMTL)
        ],
    ],
)  # fmt: skip
def test_a_wrong_option_is_an_error_that_names_it(build, options, message):
    with pytest.raises(ValueError) as caught:
        build(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("solver", [ps.Tchebycheff, ps.AugmentedTchebycheff, ps.SmoothTchebycheff, ps.PBI])
def test_an_ideal_of_another_length_is_an_error(solver):
    with pytest.raises(ValueError, match=rf"^{solver.__name__}: ideal=\(0.0, 0.0\) has not one number a loss"):
        solver(ideal=(0.0, 0.0))(tensor([1, 2, 3]), tensor([0.2, 0.3, 0.5]))


@pytest.mark.parametrize("points", [(), (4,)])
@pytest.mark.parametrize("build", [ps.PHNHVI, ps.HypervolumeAscent])
def test_a_reference_of_another_length_is_an_error(points, build):
    losses = torch.ones(*points, 3).double()
    told = rf"^{build.__name__}: ref_point=\(1.0, 1.0\) has not one number a loss; there are 3"
    with pytest.raises(ValueError, match=told):
        build((1.0, 1.0))(losses, losses / 3)


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)

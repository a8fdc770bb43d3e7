"""Formulas of the Gramian: their values, what they do in special cases, and where they end."""

from math import sqrt

import numpy as np
import pytest
import scipy.optimize
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.autograd.hull import least_norm
from paretomtl.point import Code
from paretomtl.solver import Sweep
from paretomtl_solvers import nash_mtl, qp
from paretomtl_solvers.gradvac import turn
from paretomtl_solvers.pcgrad import project_conflicts
from studies.analytic import fonseca, quadratics
from tests.asserts import answer, sweep
from tests.catalogue import JACOBIANS

A = ((1, -1.5), (-1.5, 9))
B = ((5, 1, -1.5), (1, 3, 0.5), (-1.5, 0.5, 5.25))
T = ((18, -22), (-22, 38))
VALUES = [
    (ps.NashMTL(), A, (1.4142136, 0.4714045)),
    (ps.NashMTL(), B, (0.4735201, 0.4702826, 0.4840267)),
    (ps.NashMTL(), T, (0.5914612, 0.4070715)),
    (ps.IMTLG(), A, (0.75, 0.25)),
    (ps.IMTLG(), B, (0.3923857, 0.2085616, 0.3990527)),
    (ps.IMTLG(), T, (0.5923303, 0.4076697)),
    (ps.AlignedMTL(), A, (1.1034532, 0.4294897)),
    (ps.AlignedMTL(), B, (0.7005769, 0.6922146, 0.7143719)),
    (ps.AlignedMTL(), T, (1.1181438, 0.8165221)),
    (ps.AlignedMTL("median"), A, (1.1034532, 0.4294897)),
    (ps.AlignedMTL("rmse"), B, (0.997662, 0.9857537, 1.0173069)),
    (ps.UPGrad(), A, (1.25, 0.5833333)),
    (ps.UPGrad(), B, (0.4333333, 0.3333333, 0.4285714)),
    (ps.UPGrad(), T, (1.1111111, 0.7894737)),
    (ps.UPGrad("cvxpy"), B, (0.4333333, 0.3333333, 0.4285714)),
    (ps.DualProj(), A, (0.75, 0.5)),
    (ps.DualProj(), T, (0.6111111, 0.5)),
    (ps.DualProj("cvxpy"), T, (0.6111111, 0.5)),
    (ps.GDOD(), A, (1.1437263, 0.2073971)),
    (ps.GDOD(), B, (0.9239985, 1.0235845, 1.0441365)),
    (ps.GDOD(), T, (1.1620847, 0.7482818)),
    # the objectives' own order, where a call has no state
    (ps.PCGrad(), A, (2.5, 1.1666667)),
    (ps.PCGrad(), B, (1.3, 1, 1.2857143)),
    (ps.PCGrad(), T, (2.2222222, 1.5789474)),
    (ps.GradVac(), B, (1.3, 1, 1.2857143)),
    (ps.GradVac(0.5), A, (4, 1.3333333)),
    (ps.GradVac(0.5), B, (2.0977348, 1.7327904, 2.3184147)),
    (ps.GradVac(0.5), T, (2.6758314, 1.7938149)),
]


@pytest.mark.parametrize(("solver", "gramian", "weights"), VALUES)
def test_values(solver, gramian, weights):
    assert even(solver, gramian)[0].tolist() == pytest.approx(weights, abs=1e-6)


@pytest.mark.parametrize("name", ["conflicting", "three", "eight"])
def test_config_is_the_pseudo_inverse_of_the_unit_gradients(name):
    J = tensor(JACOBIANS[name])
    best = torch.linalg.pinv(J / J.norm(dim=1, keepdim=True)).sum(dim=1)
    expected = (J @ best).sum() * best / best.norm() ** 2
    assert (even(ps.ConFIG(), J @ J.T)[0] @ J).tolist() == pytest.approx(expected.tolist(), abs=1e-9)


def test_median_is_the_lower_one():
    J = torch.diag(tensor([1, 2, 3, 4]))
    assert even(ps.AlignedMTL("median"), J @ J.T)[0].tolist() == pytest.approx([2 / k for k in (1, 2, 3, 4)])


@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
def test_aligned_gradients_are_orthogonal_and_of_one_length(scale):
    J = tensor(JACOBIANS["eight"])
    corners = torch.eye(8).double()
    losses, C = torch.ones(8, 8).double(), (J @ J.T).expand(8, 8, 8)
    aligned = ps.AlignedMTL(scale)(losses, C, corners) @ J / 8
    lengths = (aligned @ aligned.T).diagonal()
    assert torch.linalg.cond(aligned) == pytest.approx(1, abs=1e-9)
    values = torch.linalg.eigvalsh(J @ J.T)
    expected = {"min": values[0], "median": values[3], "rmse": values.mean()}[scale]
    assert lengths.tolist() == pytest.approx([float(expected)] * 8, rel=1e-9)


@pytest.mark.parametrize("gramian", [A, B, T], ids=str)
def test_nash_mtl_is_fairgrad_at_1(gramian):
    weights = even(ps.NashMTL(), gramian)[0]
    assert weights.tolist() == pytest.approx(even(ps.FairGrad(1.0), gramian)[0].tolist(), rel=1e-12)
    clipped = even(ps.NashMTL("published"), gramian)[0]
    assert clipped.tolist() == pytest.approx((weights / len(weights) ** 0.5).tolist(), rel=1e-12)
    assert clipped @ tensor(gramian) @ clipped == pytest.approx(1)


def test_bargaining_power_is_a_preference():
    """Of two orthogonal gradients each has the progress that its own weight brings it: |g|² w = m r / w."""
    C, r = torch.diag(tensor([1, 4])), tensor([0.8, 0.2])
    assert ps.NashMTL()(r, C, r).tolist() == pytest.approx([sqrt(1.6), sqrt(0.4) / 2], rel=1e-12)
    assert ps.NashMTL()(r, C, tensor([1, 0])).tolist() == pytest.approx([sqrt(2), 0], rel=1e-12)
    progress = [C @ ps.NashMTL()(r, tensor(A), tensor([p, 1 - p])) for p in (0.1, 0.5, 0.9)]
    assert progress[0][0] < progress[1][0] < progress[2][0]


@pytest.mark.parametrize("r", [(0.5, 0.5), (0.8, 0.2)])
def test_nash_mtl_by_cvxpy(r):
    ours, theirs = (ps.NashMTL(backend=backend)(tensor(r), tensor(T), tensor(r)) for backend in ("auto", "cvxpy"))
    assert theirs.tolist() == pytest.approx(ours.tolist(), rel=1e-4)


@pytest.mark.fault(45)
def test_nash_mtl_falls_back_on_min_norm_weights(monkeypatch):
    monkeypatch.setattr(nash_mtl.fairgrad, "MOST_STEPS", 1)
    weights, status = even(ps.NashMTL(), B)
    assert status.code == Code.FELL_BACK
    assert float(weights @ tensor(B) @ weights) == pytest.approx(3)  # the length of every answer


def test_imtl_g_where_the_weights_sum_to_zero():
    """Then no weights sum to 1, and those of the same direction stand in, in which no loss rises."""
    K = tensor([[1, 0.9, 0.9], [0.9, 1, 0.65], [0.9, 0.65, 1]])
    u = torch.linalg.solve(K, torch.ones(3).double())
    norms = tensor([-float(u[0] / (u[1] + u[2])), 1, 1])
    weights, status = even(ps.IMTLG(), norms[:, None] * K * norms)
    assert status.code == Code.FELL_BACK
    assert weights.abs().sum() == pytest.approx(1)
    slopes = K @ (norms * weights)
    assert slopes.tolist() == pytest.approx([float(slopes[0])] * 3)
    assert slopes[0] > 0


def test_gdod_says_where_it_chose_the_eigenvectors():
    r = tensor([0.5, 0.3, 0.2])
    weights, _, status = ps.GDOD().update(None, r, torch.eye(3).double(), r)
    assert status.code == Code.RELAXED
    assert weights.tolist() == pytest.approx((3 * r).tolist())  # of all eigenvectors one is along r
    weights, status = even(ps.GDOD(), tensor(B))
    assert status.code == Code.SOLVED
    # three alike and opposed to a longer one: their own space holds no r at all, so they agree on nothing
    J = tensor([[1, 0], [1, 0], [-3, 0]])
    weights, status = even(ps.GDOD(), J @ J.T)
    assert status.code == Code.STATIONARY
    assert not weights.any()


def test_pcgrad_in_a_given_order():
    """In the plane the last gradient to be met has its way."""
    J = np.array([[1, 0], [-0.5, 1], [-0.5, -1]])
    C = (J @ J.T).tolist()
    ascending = project_conflicts(C, [[1, 2], [0, 2], [0, 1]])
    descending = project_conflicts(C, [[2, 1], [2, 0], [1, 0]])
    assert not np.allclose(ascending, descending)
    # by hand: g_1 meets g_2, then g_3
    h = J[0] - (J[0] @ J[1]) / (J[1] @ J[1]) * J[1]
    h = h - min(h @ J[2], 0) / (J[2] @ J[2]) * J[2]
    assert np.array(ascending[0]) @ J == pytest.approx(h)
    assert h @ J[2] == pytest.approx(0)


def test_orders_are_drawn_anew_for_each_point():
    J = tensor(JACOBIANS["three, all conflicting"])
    points = 40
    r = torch.full((points, 3), 1 / 3).double()
    solver, losses, C = ps.PCGrad(), torch.ones(points, 3).double(), (J @ J.T).expand(points, 3, 3)
    state = solver.init(sweep(r))
    first, after, _ = solver.update(state, losses, C, r)
    second, _, _ = solver.update(after, losses, C, r)
    again, _, _ = solver.update(state, losses, C, r)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    kinds = torch.cat([first, second]).round(decimals=9).unique(dim=0)
    assert len(kinds) == 8  # two orders of the others for each of three gradients
    two = solver.init(sweep(tensor([0.5, 0.5])))
    assert solver.update(two, losses[0, :2], C[0, :2, :2], tensor([0.5, 0.5]))[1] is two  # nothing to draw


def test_gradvac_turns_to_the_cosine():
    J = tensor([[1, 0], [-0.5, 1]])
    C, rho = (J @ J.T).tolist(), [[0.0, 0.3], [-0.2, 0.0]]
    turned, means = turn(C, [[1], [0]], rho, 0.25)
    h, cosine = tensor(turned) @ J, torch.cosine_similarity(J[0], J[1], dim=0)
    assert torch.cosine_similarity(h[0], J[1], dim=0) == pytest.approx(0.3)
    assert torch.cosine_similarity(h[1], J[0], dim=0) == pytest.approx(-0.2)
    assert means[0][1] == pytest.approx(0.75 * 0.3 + 0.25 * float(cosine))
    assert means[1][0] == pytest.approx(-0.75 * 0.2 + 0.25 * float(cosine))


def test_gradvac_keeps_means_of_the_cosines():
    r = tensor([1 / 3] * 3)
    solver = ps.GradVac(0.1, 0.5)
    state = solver.init(sweep(r))
    _, after, _ = solver.update(state, r, tensor(B), r)
    assert (state.rho == 0.1).all()  # the given state is as it was
    weights, later, _ = solver.update(after, r, tensor(B), r)
    # of the first to be met the cosine is that of the gradients themselves
    cosines = [0.05 + 0.5 * c / sqrt(5 * n) for c, n in ((1, 3), (-1.5, 5.25))]
    assert any(after.rho[0, j] == pytest.approx(c) for j, c in zip((1, 2), cosines, strict=True))
    assert not torch.equal(after.rho, later.rho)
    assert weights.isfinite().all()
    assert (later.rho.diagonal() == 0.1).all()


@pytest.mark.parametrize("beta", [1.0, 0.01])
def test_gradvac_with_equal_gradients_stays_finite(beta):
    """Their cosine is 1, and a mean of 1 is none to turn to."""
    solver, r, state = ps.GradVac(0.0, beta), tensor([0.5, 0.5]), ps.GradVac(0.0, beta).init(sweep(tensor([0.5, 0.5])))
    for C in (torch.ones(2, 2), torch.ones(2, 2), torch.eye(2)):
        weights, state, _ = solver.update(state, r, C.double(), r)
        assert weights.isfinite().all()


def test_gradvac_without_means_is_pcgrad():
    r = tensor([1 / 8] * 8)
    J = tensor(JACOBIANS["eight"])
    state, draws = ps.GradVac(0.0, 0.0).init(sweep(r)), ps.PCGrad().init(sweep(r))
    for _ in range(3):
        weights, state, _ = ps.GradVac(0.0, 0.0).update(state, r, J @ J.T, r)
        other, draws, _ = ps.PCGrad().update(draws, r, J @ J.T, r)
        assert weights.tolist() == pytest.approx(other.tolist(), rel=1e-9)


CONES = [ps.UPGrad, ps.DualProj]
ALIKE = [k for k, J in JACOBIANS.items() if (n := np.linalg.norm(J, axis=1)).max() <= 1e2 * n.min()]


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("build", CONES)
def test_projections_by_cvxpy(build, name):
    J = tensor(JACOBIANS[name])
    r = torch.linspace(1, 2, len(J), dtype=torch.float64)
    ours, theirs = (answer(build(backend), r, J, r / r.sum()).direction for backend in ("auto", "cvxpy"))
    assert (ours - theirs).norm() <= 1e-3 * J.norm(dim=1).max()
    assert (J @ theirs).min() >= -1e-3 * J.square().sum(dim=1).max()


def too_many(*matrices, **options):
    raise RuntimeError("Maximum number of iterations reached.")


@pytest.mark.fault(45)
@pytest.mark.parametrize(
    "nnls",
    [too_many, lambda A, b, maxiter: (b * np.nan, 0.0), lambda A, b, maxiter: (b * 0 + 1, 0.0)],
    ids=["stops early", "NaN", "wrong"],
)
@pytest.mark.parametrize("build", CONES)
def test_projections_are_checked_and_replaced(monkeypatch, build, nnls):
    J = tensor(JACOBIANS["three, all conflicting"])
    expected, _ = even(build(), J @ J.T)
    monkeypatch.setattr(scipy.optimize, "nnls", nnls)
    weights, status = even(build(), J @ J.T)
    assert status.code == Code.FELL_BACK
    assert weights.tolist() == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.fault(42)
@pytest.mark.parametrize("build", CONES)
def test_where_nothing_finds_the_projections_it_is_an_error(monkeypatch, unreliable, build):
    J = tensor(JACOBIANS["three, all conflicting"])
    monkeypatch.setattr(scipy.optimize, "nnls", too_many)
    unreliable(lambda v: v * 0)
    with pytest.raises(qp.ProgramError, match="no solver found the projections"):
        even(build(), J @ J.T)


@pytest.mark.fault(43)
@pytest.mark.parametrize("build", [*CONES, lambda backend: ps.NashMTL(backend=backend)])
def test_a_missing_solver_is_an_error_before_work_starts(monkeypatch, build):
    import cvxpy as cp

    monkeypatch.setattr(cp, "installed_solvers", lambda: ["SCS"])
    qp.check_installed.cache_clear()
    study = Sweep(torch.eye(2).double(), torch.tensor(0), 10, True, ())
    build("auto").init(study)
    with pytest.raises(RuntimeError, match="pip install clarabel highspy"):
        build("cvxpy").init(study)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ps.NashMTL("theirs"), "scaling='theirs' is not one of equations, published"),
        (lambda: ps.NashMTL(backend="scipy"), "backend='scipy' is not one of"),
        (lambda: ps.AlignedMTL("max"), "scale='max' is not one of min, median, rmse"),
        (lambda: ps.UPGrad("scipy"), "backend='scipy' is not one of"),
        (lambda: ps.DualProj("scipy"), "backend='scipy' is not one of"),
        (lambda: ps.GradVac(1.0), "rho=1.0: give a cosine between -1 and 1"),
        (lambda: ps.GradVac(float("nan")), "rho=nan: give a cosine between -1 and 1"),
        (lambda: ps.GradVac(0.0, 1.5), "beta=1.5: give a number from 0 to 1"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(build, message):
    with pytest.raises(ValueError) as caught:
        build()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e307])
def test_a_large_number_is_none_that_is_not_finite(bad):
    C = torch.eye(3).double() * bad
    if np.isfinite(bad):
        assert even(ps.IMTLG(), C)[0].tolist() == pytest.approx([1 / 3] * 3)
    else:
        with pytest.raises(ValueError, match=r"^IMTLG: the Gramian .* is not finite"):
            even(ps.IMTLG(), C)


# learning rates, and what is left; Nash-MTL's steps do not shrink at the front, and come as close as the rate lets them
ENDS = {
    ps.NashMTL(): (0.1, 1e-3),
    ps.NashMTL("published"): (0.1, 1e-3),
    ps.IMTLG(): (0.5, 1e-6),
    ps.ConFIG(): (0.3, 1e-6),
    ps.AlignedMTL(): (0.5, 1e-6),
    ps.AlignedMTL("median"): (0.5, 1e-6),
    ps.UPGrad(): (0.5, 1e-6),
    ps.DualProj(): (0.5, 1e-6),
    ps.GDOD(): (0.5, 1e-6),
    ps.PCGrad(): (0.3, 1e-6),
    ps.GradVac(): (0.3, 1e-6),
}


@pytest.mark.parametrize("problem", [quadratics, fonseca])
@pytest.mark.parametrize("solver", ENDS, ids=repr)
def test_it_ends_on_the_front(solver, problem):
    """There the shortest vector of the gradients' hull is zero."""
    r, (rate, left), steps = tensor([0.5, 0.5]), ENDS[solver], 300
    torch.manual_seed(0)
    instance = problem()
    closure, state = pm.closure(instance, instance.model()), solver.init(sweep(r))
    assert shortest(closure.gradients().jacobian) > 0.1
    for k in range(steps):
        losses, J, _ = closure.gradients()
        weights, state, _ = solver.update(state, losses, J @ J.T, r)
        closure.move(closure.parameters - rate * (1 - k / steps) * weights @ J)
    assert shortest(closure.gradients().jacobian) <= left


def test_gradients_aligned_to_their_mean_length_have_no_end():
    """With "rmse" nearly opposed gradients keep their length, so that the step does not shrink at the front."""
    J = tensor(JACOBIANS["nearly opposed"])
    for scale, length in (("min", 1e-3), ("rmse", 2**0.5)):
        assert (even(ps.AlignedMTL(scale), J @ J.T)[0] @ J).norm() == pytest.approx(length, rel=1e-3)


def shortest(J: torch.Tensor) -> float:
    C = (J @ J.T).numpy()
    w = least_norm(C)
    return float(np.sqrt(max(w @ C @ w, 0)))


def even(solver, gramian):
    """The weights and the status of a call without a state, at the even preference."""
    C = torch.as_tensor(gramian, dtype=torch.float64)
    r = torch.full((len(C),), 1 / len(C), dtype=torch.float64)
    weights, _, status = solver.update(None, torch.ones_like(r), C, r)
    return weights, status


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)

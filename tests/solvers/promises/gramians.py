"""What the methods promise that are formulas of the Gramian."""

from collections.abc import Callable

import torch
from scipy.optimize import nnls
from torch import Tensor

import paretomtl_solvers as ps
from paretomtl.solver import Solver
from paretomtl_solvers.pcgrad import draw_orders
from tests.asserts import answer, holds_zero, sweep
from tests.solvers.promises.kit import (
    ALL,
    ALL_FALL,
    FINITE,
    IGNORES,
    IN_HULL,
    LINEAR,
    NONE_RISES,
    PERMUTATIONS,
    POINTS,
    REPEATABLE,
    STATIONARY,
    TWINS,
    Line,
    at_most_three,
    named,
    scale,
    two,
)

RANK = 1e-13  # a squared singular value relative to the largest


def inside(jacobian, preference):
    return preference.min() > 1e-6


def independent(jacobian, preference):
    return bool(torch.linalg.matrix_rank(unit(jacobian), rtol=1e-7) == len(jacobian))


def resolved(jacobian, preference):
    """Whether the Gramian tells dependent gradients from nearly dependent ones: it holds squares, to 1e-16."""
    singular = torch.linalg.svdvals(unit(jacobian))
    return not ((singular > 1e-8 * singular[0]) & (singular < 1e-5 * singular[0])).any()


def can_fall(jacobian, preference):
    """Where no direction lowers all losses, gradients may cancel out, and leave rounding."""
    return not holds_zero(jacobian)


def two_even(jacobian, preference):
    return len(jacobian) == 2 and preference[0] == preference[1]


def unit(jacobian: Tensor) -> Tensor:
    norms = jacobian.norm(dim=1)
    return jacobian / norms.where(norms > 0, 1)[:, None]


def assert_bargain(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, published: bool) -> None:
    """C w = m r / w up to a share of what C w is summed from, and w = 0 where r = 0; published: C w = r / w."""
    found = answer(solver, losses, jacobian, preference)
    players, shares = preference > 0, preference * (1 if published else len(preference))
    if found.stationary:
        return
    assert (found.weights[~players] == 0).all(), f"{found.weights}"
    C = jacobian @ jacobian.T
    w, slopes, terms = found.weights, C @ found.weights, C.abs() @ found.weights
    assert (w[players] > 0).all(), f"{w}"
    assert ((slopes - shares / w).abs() <= 1e-8 * terms)[players].all(), f"{slopes} for {shares / w}"


def assert_equal_projections(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """The weights sum to 1, and where the gradients are independent all g_i' d / |g_i| are equal."""
    found = answer(solver, losses, jacobian, preference)
    off = abs(found.weights.sum() - 1)
    assert found.stationary or off <= 1e-12 * found.weights.abs().sum(), f"{found.weights} off by {off}"
    if torch.linalg.matrix_rank(unit(jacobian), rtol=1e-5) == len(jacobian):
        projections = unit(jacobian) @ found.direction
        assert (projections - projections.mean()).abs().max() <= 1e-6 * projections.abs().max(), f"{projections}"


def assert_conflict_free(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """The direction is the published one, by the pseudo-inverse of the gradients of unit length."""
    found = answer(solver, losses, jacobian, preference).direction
    best = torch.linalg.pinv(unit(jacobian), rtol=RANK**0.5) @ (len(losses) * preference)
    if best.norm() <= 1e-7:
        assert not found.any()
        return
    expected = (jacobian @ best).sum() * best / best.norm() ** 2
    assert (found - expected).norm() <= 1e-6 * max(expected.norm(), jacobian.norm(dim=1).max()), f"for {expected}"


def assert_aligned(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, size: Callable) -> None:
    """The direction is m r' B J with (B J)(B J)' = s on the gradients' span, by their singular values."""
    found = answer(solver, losses, jacobian, preference).direction
    U, singular, V = torch.linalg.svd(jacobian, full_matrices=False)
    kept = singular.square() > RANK * singular[0].square()
    if not jacobian.any():
        return
    weights = len(losses) * preference @ U[:, kept]
    expected = size(singular[kept].square()).sqrt() * weights @ V[kept]
    assert (found - expected).norm() <= 1e-6 * max(expected.norm(), singular[0]), f"{found} for {expected}"


def project(jacobian: Tensor, gradient: Tensor) -> Tensor:
    """The nearest vector along which no loss rises: what a conic sum of the gradients can add to it."""
    rows = unit(jacobian)
    size = gradient.norm()
    x, _ = nnls(rows.T.numpy(), (-gradient / size.where(size > 0, 1)).numpy())
    return gradient + size * torch.from_numpy(x) @ rows


def assert_projections(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, each: bool) -> None:
    """The direction is the projection on the dual cone of each gradient, weighted, or of their weighted sum."""
    found = answer(solver, losses, jacobian, preference).direction
    if each:
        expected = preference @ torch.stack([project(jacobian, gradient) for gradient in jacobian])
    else:
        expected = project(jacobian, preference @ jacobian)
    assert (found - expected).norm() <= 1e-6 * jacobian.norm(dim=1).max(), f"{found} for {expected}"


def assert_above(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """The weights are at least the preference, where no two gradients are equal."""
    if len(jacobian.unique(dim=0)) == len(jacobian):
        weights = answer(solver, losses, jacobian, preference).weights
        assert (weights >= preference * (1 - 1e-9)).all(), f"{weights}"


def assert_on_shared_directions(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """The gradients' weighted sum on the singular directions in which they have one sign, where no values are equal."""
    found = answer(solver, losses, jacobian, preference).direction
    U, singular, V = torch.linalg.svd(jacobian, full_matrices=False)
    squares = singular.square() / singular[0].square()
    squares = squares[squares > RANK]
    if (squares.diff().abs() < 1e-8).any():
        return
    U, V = U[:, : len(squares)], V[: len(squares)]
    shared = (U >= -1e-9).all(dim=0) | (U <= 1e-9).all(dim=0)
    expected = len(losses) * (preference @ jacobian) @ V[shared].T @ V[shared]
    assert (found - expected).norm() <= 1e-6 * jacobian.norm(dim=1).max(), f"{found} for {expected}"


def assert_turned(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, rho: float) -> None:
    """The direction is the published one, on the gradients themselves, in the orders of the point's draws."""
    found = answer(solver, losses, jacobian, preference).direction
    state = solver.init(sweep(preference))
    m = len(jacobian)
    drawn, _ = draw_orders(getattr(state, "draws", state), torch.Size((m, m)))
    orders = drawn[0].tolist() if drawn else [range(m)] * m
    turned = jacobian.clone()
    for i, order in enumerate(orders):
        for j in order:
            h, g = turned[i], jacobian[j]
            if j == i or not g.any() or h.norm() <= 1e-7 * jacobian[i].norm():
                continue
            p = float(h @ g / h.norm() / g.norm())
            if p < rho:
                along = rho * (1 - min(p * p, 1)) ** 0.5 - p * (1 - rho * rho) ** 0.5
                turned[i] = h + h.norm() / g.norm() * along / (1 - rho * rho) ** 0.5 * g
    expected = len(losses) * preference @ turned
    assert (found - expected).norm() <= 1e-6 * max(jacobian.norm(dim=1).max(), expected.norm()), f"for {expected}"


def bargain(published: bool) -> Callable:
    return named(assert_bargain, "bargain", published=published)


def aligned(size: Callable) -> Callable:
    return named(assert_aligned, "aligned", size=size)


def projections(each: bool) -> Callable:
    return named(assert_projections, "projections on the dual cone", each=each)


def turned(rho: float) -> Callable:
    return named(assert_turned, "as published", rho=rho)


NASH = [*ALL, TWINS]
CONE = [*ALL, TWINS, NONE_RISES, STATIONARY, scale(0), assert_above]
ALIGNED = [FINITE, REPEATABLE, POINTS, TWINS, LINEAR, STATIONARY]
# the orders of projections are drawn by place, so that objectives in another order are not projected in another order;
# and equal gradients do not share
SURGERY = [FINITE, REPEATABLE, STATIONARY, scale(0)]
OF_TWO = [PERMUTATIONS, TWINS, NONE_RISES]

TABLE = [
    # with r_i = 0 objective i has no say: its loss may rise, and its gradient may be opposed
    Line(ps.NashMTL(), [*NASH, scale(-1), bargain(published=False)]),
    Line(ps.NashMTL(), [ALL_FALL, IN_HULL], inside),
    Line(ps.NashMTL("published"), [*NASH, scale(-1), bargain(published=True)]),
    Line(ps.NashMTL("published"), [ALL_FALL, IN_HULL], inside),
    # cvxpy does not resolve small shares
    Line(ps.NashMTL(backend="cvxpy"), [FINITE, REPEATABLE], two_even),
    # where v sums to less than 0 all losses rise, by the published formula
    Line(ps.IMTLG(), [*ALL, TWINS, STATIONARY, IGNORES, scale(0), assert_equal_projections]),
    Line(ps.IMTLG(), [NONE_RISES, IGNORES], two),
    # a loss may rise where the gradients are dependent
    Line(ps.ConFIG(), [*ALL, TWINS, STATIONARY, scale(0)]),
    Line(ps.ConFIG(), [assert_conflict_free], resolved),
    Line(ps.ConFIG(), [NONE_RISES], independent),
    # a loss may rise: a gradient made orthogonal to the others may point elsewhere. "rmse" makes the direction long
    # where gradients are nearly dependent, and rounding with it
    Line(ps.AlignedMTL(), [*ALIGNED, PERMUTATIONS, scale(0), aligned(lambda s: s[-1])]),
    Line(ps.AlignedMTL("median"), [*ALIGNED, PERMUTATIONS, scale(0), aligned(lambda s: s.median())]),
    Line(ps.AlignedMTL("rmse"), ALIGNED),
    Line(ps.AlignedMTL("rmse"), [PERMUTATIONS, scale(0), aligned(lambda s: s.mean())], resolved),
    Line(ps.UPGrad(), [*CONE, projections(each=True)]),
    Line(ps.UPGrad(), [LINEAR], can_fall),
    Line(ps.UPGrad("cvxpy"), [FINITE, REPEATABLE, NONE_RISES], two),
    Line(ps.DualProj(), [*CONE, projections(each=False)]),
    Line(ps.DualProj("cvxpy"), [FINITE, REPEATABLE, NONE_RISES], two),
    Line(ps.GDOD(), [*ALL, TWINS, NONE_RISES, STATIONARY, scale(0), assert_on_shared_directions]),
    Line(ps.PCGrad(), [*SURGERY, POINTS, turned(0.0)]),
    Line(ps.PCGrad(), [LINEAR], can_fall),
    Line(ps.PCGrad(), OF_TWO, two),
    Line(ps.GradVac(), [*SURGERY, turned(0.0)]),
    Line(ps.GradVac(), [LINEAR], can_fall),
    Line(
        ps.GradVac(), [POINTS], at_most_three
    ),  # with more, torch multiplies batches in another order: other last bits
    Line(ps.GradVac(), OF_TWO, two),
    Line(ps.GradVac(0.5, 0.0), [*SURGERY, POINTS, turned(0.5)]),
    Line(ps.GradVac(0.5, 0.0), [LINEAR], can_fall),
]

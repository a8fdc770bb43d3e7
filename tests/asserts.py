"""Properties that methods promise, as functions: each takes a solver and fails where it does not keep the promise.

A solver is a `Scalarization` or a `Weighting`; the inputs are losses (m,), Jacobian (m, n) and preference (m,) in
float64. Tolerances are relative to the largest squared gradient norm.
"""

from itertools import permutations

import torch
from torch import Tensor

from paretomtl.solver import Scalarization, Solver, Status, Weighting

ROUNDING = 1e-6  # what the programs are solved to
TIE = 1e-9


def update(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> tuple[Tensor, Status]:
    """The weights and the status of a first call."""
    if isinstance(solver, Scalarization):
        weights, _, status = solver.update(None, losses, preference)
        return weights, status
    assert isinstance(solver, Weighting)
    weights, _, status = solver.update(None, losses, jacobian @ jacobian.mT, preference)
    return weights, status


def assert_finite(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    weights, status = update(solver, losses, jacobian, preference)
    assert weights.shape == losses.shape, f"{solver}: weights {tuple(weights.shape)} of losses {tuple(losses.shape)}"
    assert weights.isfinite().all(), f"{solver}: {weights}"
    assert status.residual.isfinite().all(), f"{solver}: residual {status.residual}"


def assert_on_simplex(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    weights, _ = update(solver, losses, jacobian, preference)
    assert (weights >= 0).all(), f"{solver}: {weights}"
    assert ((weights.sum(dim=-1) - 1).abs() < 1e-12).all(), f"{solver}: the weights sum to {weights.sum(dim=-1)}"


def assert_repeatable(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """The same call twice gives the same bits, and leaves its inputs alone."""
    given = [x.clone() for x in (losses, jacobian, preference)]
    first, _ = update(solver, losses, jacobian, preference)
    second, _ = update(solver, losses, jacobian, preference)
    assert torch.equal(first, second), f"{solver}: {first}, then {second}"
    assert all(torch.equal(x, y) for x, y in zip(given, (losses, jacobian, preference), strict=True)), f"{solver}"


def assert_permutation_equivariant(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """Objectives in another order give the weights in that order; holds where the answer is unique."""
    weights, _ = update(solver, losses, jacobian, preference)
    for order in map(list, permutations(range(len(losses)))):
        permuted, _ = update(solver, losses[order], jacobian[order], preference[order])
        assert torch.allclose(permuted, weights[order], rtol=0, atol=ROUNDING), f"{solver}: order {order}: {permuted}"


def assert_scale_invariant(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, scale: float) -> None:
    """A common scale of the gradients leaves the weights and the status alone."""
    weights, status = update(solver, losses, jacobian, preference)
    scaled, other = update(solver, losses, scale * jacobian, preference)
    assert torch.allclose(scaled, weights, rtol=0, atol=ROUNDING), f"{solver} at {scale:g}: {scaled} for {weights}"
    assert torch.equal(other.code, status.code), f"{solver} at {scale:g}: {other.code} for {status.code}"


def assert_no_loss_rises(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """To first order, a step along the direction raises no loss: C w >= 0."""
    slopes, largest = _slopes(solver, losses, jacobian, preference)
    assert slopes.min() >= -ROUNDING * largest, f"{solver}: slopes {slopes}"


def assert_worst_does_not_rise(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """To first order, a step along the direction does not raise the objectives with the largest r_i l_i."""
    slopes, largest = _slopes(solver, losses, jacobian, preference)
    weighted = preference * losses
    worst = weighted >= (1 - TIE) * weighted.max()
    assert slopes[worst].min() >= -ROUNDING * largest, f"{solver}: slopes {slopes}, worst {worst}"


def assert_points_agree(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """Many points (*points, m) in one call are the same as one by one."""
    weights, status = update(solver, losses, jacobian, preference)
    points = losses.shape[:-1]
    assert weights.shape == losses.shape
    assert status.code.shape == status.residual.shape == points
    for p in map(tuple, torch.cartesian_prod(*map(torch.arange, points)).reshape(-1, len(points)).tolist()):
        alone, own = update(solver, losses[p], jacobian[p], preference[p])
        assert torch.allclose(weights[p], alone, rtol=0, atol=1e-15), f"{solver}: point {p}: {weights[p]} and {alone}"
        assert status.code[p] == own.code, f"{solver}: point {p}"
        assert torch.equal(status.residual[p], own.residual), f"{solver}: point {p}"


def _slopes(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> tuple[Tensor, Tensor]:
    """How fast each loss falls along the direction, and the largest squared gradient norm."""
    weights, _ = update(solver, losses, jacobian, preference)
    return jacobian @ (weights @ jacobian), jacobian.square().sum(dim=1).max()

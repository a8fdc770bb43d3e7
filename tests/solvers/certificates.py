"""Certificates of optimality: proofs that an answer solves its program, which need no other answer to compare with."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, nnls
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Solver, Walker
from paretomtl_solvers.epo import anchor
from tests.asserts import ROUNDING, Of, answer, closure, sweep, unit_rays


def certify_least_norm(C: np.ndarray, w: np.ndarray, gap: float = 1e-9, rounding: float = 1e-14) -> None:
    """Min w' C w over the simplex: w is on it, and no slope C w is below w' C w, up to a share of it and one of C."""
    assert np.isfinite(w).all()
    assert (w >= 0).all(), w
    assert abs(w.sum() - 1) <= 1e-12, w
    slopes = C @ w
    assert slopes.min() >= w @ slopes * (1 - gap) - rounding * np.diagonal(C).max(), slopes - w @ slopes


def assert_least_norm(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, times: Of | None = None
) -> None:
    """The weights, times what each gradient was divided by, are those of the min-norm point of the hull."""
    weights = answer(solver, losses, jacobian, preference).weights
    sizes = torch.ones_like(losses) if times is None else times(losses, jacobian, preference)
    rows = (jacobian / sizes[:, None]).numpy()
    certify_least_norm(rows @ rows.T, (weights * sizes).numpy())


def assert_least_norm_in_sector(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, phase: int
) -> None:
    """The direction is the min-norm point of the active constraints' gradients; in phase 2 also of the losses'.

    A constraint is (u_j - u_k)' l <= 0, with k the preference asked for; phase 1 with none active is phase 2.
    """
    found = answer(solver, losses, jacobian, preference)
    study = sweep(preference)
    rays, own = unit_rays(study.preferences), int(study.points)
    rows = rays[torch.arange(len(rays)) != own] - rays[own]
    active = rows[rows @ losses > 0]
    vectors = active if phase == 1 and len(active) else torch.cat([torch.eye(len(losses)).double(), active])
    # the weights are a mixture of the vectors,
    mixture = torch.cat([vectors, torch.ones(len(vectors), 1)], dim=1).T.numpy()
    _, off = nnls(mixture, np.append(found.weights.numpy(), 1.0))
    assert off <= 1e-9, f"{found.weights} are no mixture of {vectors}: {off}"
    # and none of these slopes is below the squared length of the direction
    slopes = (vectors @ jacobian) @ found.direction
    squared, largest = found.direction @ found.direction, (vectors @ jacobian).square().sum(dim=1).max()
    assert slopes.min() >= squared * (1 - 1e-9) - 1e-14 * largest, f"{slopes} for {squared}"


def assert_fair(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, alpha: float, within: float = 1e-8
) -> None:
    """C w = w^(-1/alpha) with w > 0, up to a share of what C w is summed from.

    At infinity C w >= 1, and = 1 where w > 0. Nothing is asked of stationary points, where there is no such w.
    """
    found = answer(solver, losses, jacobian, preference)
    if found.stationary:
        return
    C = jacobian @ jacobian.T
    w, slopes, terms = found.weights, C @ found.weights, C.abs() @ found.weights
    if alpha == float("inf"):
        assert (w >= 0).all(), f"{w}"
        assert ((slopes - 1) / terms).min() >= -within, f"{slopes}"
        assert abs(w @ slopes - w.sum()) <= within * w.sum(), f"{slopes} at {w}"
    else:
        assert (w > 0).all(), f"{w}"
        wanted = w ** (-1 / alpha) if alpha else slopes
        assert ((slopes - wanted).abs() <= within * terms).all(), f"{slopes} for {wanted}"
        assert alpha or (w == 1).all(), f"{w}"


def assert_gradient_of(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, value: Callable[[Tensor, Tensor], Tensor]
) -> None:
    """The weights are the gradient of the scalarized value, a subgradient where it jumps.

    The value is convex in the losses, so its difference quotients to either side of a direction enclose its own: along
    each loss, and along all together, where a tie stays one.
    """
    weights = answer(solver, losses, jacobian, preference).weights
    here, h = value(losses, preference), 1e-7 * losses.max()
    along = torch.cat([torch.eye(len(losses), dtype=torch.float64), losses[None] / losses.max()])
    for direction in along:
        above, below = ((value(losses + step * direction, preference) - here) / step for step in (h, -h))
        assert below - 1e-7 <= weights @ direction <= above + 1e-7, f"{weights} along {direction}: {below} to {above}"


def assert_autograd_of(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, value: Callable[[Tensor, Tensor], Tensor]
) -> None:
    """The weights are the gradient of a smooth value, convex or not."""
    weights = answer(solver, losses, jacobian, preference).weights
    at = losses.clone().requires_grad_()
    (expected,) = torch.autograd.grad(value(at, preference), at)
    assert (weights - expected).abs().max() <= 1e-12 * max(1, expected.abs().max()), f"{weights} for {expected}"


def assert_epo_program(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, balance: bool
) -> tuple[bool, bool]:
    """The weights are feasible in EPO's program as published, and as good as linprog's; relaxed where nothing is.

    Returns:
        Whether it was relaxed, and whether no objective was worth raising.
    """
    found = answer(solver, losses, jacobian, preference)
    raised = preference.clamp(min=1e-6).numpy()
    r, C, w = raised / raised.sum(), (jacobian @ jacobian.T).numpy(), found.weights.numpy()
    objective, rows, bounds = epo_program(losses.numpy(), C, r, balance)
    best = best_of(objective, rows, bounds)
    relaxed = best is None
    if relaxed:
        rows, bounds = rows[:-1], bounds[:-1]
        best = best_of(objective, rows, bounds)
    assert abs(objective @ w - best) <= 2e-6 * np.abs(objective).max(), f"{objective @ w} for {best}"
    assert (rows @ w >= bounds - 2e-6 * np.abs(rows).max(axis=1)).all(), f"{rows @ w} for {bounds}"
    assert (found.status.code == Code.RELAXED) == relaxed, f"{found.status}, relaxed {relaxed}"
    return relaxed, bool((C @ anchor(losses.numpy(), r)[1] <= 0).all())


def assert_tangent(solver: Walker, losses: Tensor, jacobian: Tensor, preference: Tensor, damping: float) -> None:
    """(sum_i a_i H_i + damping I) v = J'r, a the min-norm weights, but for the residual that it tells; or for -v."""
    found, here = answer(solver, losses, jacobian, preference), closure(losses, jacobian)
    wanted = preference @ jacobian
    if found.stationary:
        assert wanted.norm() <= ROUNDING * jacobian.norm(dim=1).max()
        return
    weights = solver.weights(here)
    certify_least_norm((jacobian @ jacobian.mT).numpy(), weights.numpy(), gap=1e-8)
    turned = torch.stack([here.hessian_product(weights, e) for e in torch.eye(len(wanted), dtype=torch.float64)])
    along = turned @ found.direction + damping * found.direction
    left = float(min((along - wanted).norm(), (along + wanted).norm()) / wanted.norm())
    assert left == pytest.approx(float(found.status.residual), rel=1e-6, abs=1e-9)
    if found.status.code == Code.SOLVED:
        assert left <= 1e-3


def assert_preferred_falls(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """To first order, a step along the direction does not raise the losses' sum, weighted by the preference."""
    found = answer(solver, losses, jacobian, preference)
    assert preference @ jacobian @ found.direction >= 0


def epo_program(losses, C, r, balance):
    """The linear program as published: max objective' alpha over the simplex, with rows alpha >= bounds."""
    _, a = anchor(losses, r)
    q = C @ a
    if not balance:
        return C.sum(axis=0), np.vstack([C, q]), np.append(np.zeros_like(q), min(0.0, q.max()))
    bounds = np.where(q > 0, -np.inf, q) if (q > 0).any() else np.zeros_like(q)
    bounds[r * losses >= (1 - 1e-9) * (r * losses).max()] = 0
    return q, C, bounds


def best_of(objective, rows, bounds) -> float | None:
    """The program's optimum, None where it is infeasible."""
    held = np.isfinite(bounds)
    size, sizes = (np.maximum(np.abs(x).max(axis=-1), 1e-300) for x in (objective, rows))
    found = linprog(
        -objective / size,
        A_ub=-(rows / sizes[:, None])[held],
        b_ub=-(bounds / sizes)[held],
        A_eq=np.ones((1, len(objective))),
        b_eq=[1],
    )
    return -found.fun * size if found.success else None

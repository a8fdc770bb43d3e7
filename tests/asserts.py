"""Properties that methods promise, as functions: each takes a solver and a case, and fails where one is not kept.

A case is losses (m,), Jacobian (m, n) and preference (m,) in float64. What a property says of a direction, it says of
all four classes: weights are turned into their direction, and a `Stepper` is given losses that have this Jacobian.
Tolerances are relative, to the gradients' norms.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import paretomtl as pm
from paretomtl.point import Code
from paretomtl.solver import Aggregation, Scalarization, Solver, Status, Stepper, Sweep, Weighting

ROUNDING = 1e-6  # what the programs are solved to
VANISHED = 1e-7  # a direction's norm beside the largest gradient's: below, it is zero
TIE = 1e-9
STEPS = 10
SCALES = (1e-12, 1e-4, 1e4, 1e12)

Of = Callable[[Tensor, Tensor, Tensor], Tensor]  # something of each objective of a case


class Answer(NamedTuple):
    """Of a first call: the weights (None from methods that answer with a direction), the direction, state, status."""

    weights: Tensor | None
    direction: Tensor
    state: Any
    status: Status

    @property
    def stationary(self) -> bool:
        return bool(self.status.code == Code.STATIONARY)


def answer(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, within: Sweep | None = None) -> Answer:
    """A first call, from the state that `init` gives in a study of this preference among others."""
    state = solver.init(within or sweep(preference))
    if isinstance(solver, Stepper):
        heads = getattr(solver, "heads", ())
        here = closure(losses, jacobian, heads if isinstance(heads, tuple) else ())
        direction, state, status = solver.update(state, here, preference)
        return Answer(None, direction[: jacobian.shape[-1]], state, status)  # the heads come after the trunk
    if isinstance(solver, Aggregation):
        return Answer(None, *solver.update(state, losses, jacobian, preference))
    if isinstance(solver, Scalarization):
        weights, state, status = solver.update(state, losses, preference)
    else:
        assert isinstance(solver, Weighting)
        # summed entry by entry: a product of matrices of many points may round other than that of one
        gramian = (jacobian[..., :, None, :] * jacobian[..., None, :, :]).sum(dim=-1)
        weights, state, status = solver.update(state, losses, gramian, preference)
    return Answer(weights, (weights[..., None, :] @ jacobian)[..., 0, :], state, status)


def sweep(preference: Tensor) -> Sweep:
    """A study of these preferences (*points, m) and of others, on other rays, one towards each objective."""
    points, m = preference.shape[:-1], preference.shape[-1]
    known, index = _study_of(tuple(preference.reshape(-1).tolist()), m)
    generators = tuple(torch.Generator().manual_seed(p) for p in range(len(index)))
    return Sweep(known, index.reshape(points), STEPS, True, generators)


@cache  # most of a call's time, and there are few preferences
def _study_of(numbers: tuple[float, ...], m: int) -> tuple[Tensor, Tensor]:
    """All preferences of the study, and which of them these are."""
    asked, index = torch.tensor(numbers, dtype=torch.float64).reshape(-1, m).unique(dim=0, return_inverse=True)
    others = 0.6 * torch.eye(m, dtype=torch.float64) + 0.4 / m
    apart = others[torch.cdist(unit_rays(asked), unit_rays(others)).min(dim=0).values > 1e-3]
    return torch.cat([asked, apart]), index


def unit_rays(preferences: Tensor) -> Tensor:
    """Of length 1, and r_i l_i equal over i; zero entries are at the floor."""
    rays = 1 / preferences.clamp(min=1e-6)
    return rays / rays.norm(dim=-1, keepdim=True)


def closure(losses: Tensor, jacobian: Tensor, heads: tuple[str, ...] = ()) -> pm.Closure:
    """Quadratic losses of a batch of two, with these values and gradients here, and curvature along them and across.

    A common scale of the gradients is one of the curvature, too. The place is the output of the module "trunk", at
    zero. With heads it is at one, and each loss sees it through a linear module of its own, at first the identity.
    """
    m, n = jacobian.shape
    norms = jacobian.norm(dim=1)
    along = jacobian / norms.where(norms > 0, 1)[:, None]
    across = torch.linspace(0.5, 1, n, dtype=torch.float64)

    class Vector(nn.Module):
        def __init__(self):
            super().__init__()
            self.x = nn.Parameter(torch.full((n,), float(bool(heads)), dtype=torch.float64))

        def forward(self) -> Tensor:
            return self.x

    class Place(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = Vector()
            for name in heads:
                self.add_module(name, nn.Linear(n, n, bias=False, dtype=torch.float64))
                nn.init.eye_(self.get_submodule(name).weight)

    def evaluate(model: Place, batch: Tensor) -> dict[str, Tensor]:
        z = model.trunk()
        x = torch.stack([model.get_submodule(name)(z) - 1 for name in heads]) if heads else z.expand(m, n)
        curved = norms / 2 * ((along * x).sum(dim=1).square() + (across * x.square()).sum(dim=1))
        values = batch.mean() * (losses + (jacobian * x).sum(dim=1) + curved)
        return {str(i): value for i, value in enumerate(values)}

    batch = torch.tensor([0.5, 1.5], dtype=torch.float64)
    names = [str(i) for i in range(len(losses))]
    problem = pm.Problem(names, Place, evaluate, ref_point=[1.0] * len(names), train=[batch], validate=[batch])
    return pm.closure(problem, Place(), batch)


def assert_finite(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    found = answer(solver, losses, jacobian, preference)
    assert found.direction.shape == jacobian.shape[:-2] + jacobian.shape[-1:]
    assert found.direction.isfinite().all(), f"{found.direction}"
    if found.weights is not None:
        assert found.weights.shape == losses.shape
        assert found.weights.isfinite().all(), f"{found.weights}"
    assert found.status.code.shape == found.status.residual.shape == losses.shape[:-1]
    assert Code(int(found.status.code)) in (Code.SOLVED, Code.STATIONARY, Code.RELAXED), f"{found.status}"
    assert 0 <= found.status.residual < float("inf"), f"{found.status}"


def assert_on_simplex(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, times: Of | None = None
) -> None:
    """The weights, times what belongs to each objective, are at least 0 and sum to 1."""
    weights = answer(solver, losses, jacobian, preference).weights
    assert weights is not None
    shares = weights if times is None else weights * times(losses, jacobian, preference)
    assert (shares >= 0).all(), f"{shares}"
    assert abs(shares.sum() - 1) < 1e-12, f"they sum to {shares.sum()}"


def assert_repeatable(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """The same call twice gives the same bits, and leaves its inputs alone."""
    given = [x.clone() for x in (losses, jacobian, preference)]
    first = answer(solver, losses, jacobian, preference)
    second = answer(solver, losses, jacobian, preference)
    assert torch.equal(first.direction, second.direction), f"{first.direction}, then {second.direction}"
    assert first.weights is None or torch.equal(first.weights, second.weights)
    assert first.status.code == second.status.code
    assert all(torch.equal(x, y) for x, y in zip(given, (losses, jacobian, preference), strict=True))


def assert_permutation_equivariant(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """Objectives in another order give the same direction, and the weights in that order where they are unique."""
    found = answer(solver, losses, jacobian, preference)
    for order in _orders(len(losses)):
        other = answer(solver, losses[order], jacobian[order], preference[order])
        _assert_same_direction(other.direction, found.direction, jacobian, f"order {order}")
        assert other.status.code == found.status.code, f"order {order}"
        expected = None if found.weights is None else found.weights[order]
        _assert_same_weights(other.weights, expected, jacobian, f"order {order}")


def assert_scale_law(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, power: float = 0.0, by: tuple = SCALES
) -> None:
    """A common scale of the gradients leaves the status alone and gives the weights that scale to a power.

    Of a method that answers with a direction, the direction has the power 1 more. Where the point is stationary the
    weights have no say.
    """
    found = answer(solver, losses, jacobian, preference)
    for scale in by:
        other = answer(solver, losses, scale * jacobian, preference)
        assert other.status.code == found.status.code, f"at {scale:g}: {other.status} for {found.status}"
        if found.stationary:
            continue
        _assert_same_direction(other.direction / scale ** (power + 1), found.direction, jacobian, f"at {scale:g}")
        weights = None if other.weights is None else other.weights / scale**power
        _assert_same_weights(weights, found.weights, jacobian, f"at {scale:g}")


def assert_no_loss_rises(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """To first order, a step along the direction raises no loss."""
    slopes = _slopes(answer(solver, losses, jacobian, preference), jacobian)
    assert slopes.min() >= -ROUNDING, f"slopes {slopes}"


def assert_all_losses_fall(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """To first order, a step along the direction lowers every loss, unless it is said to be stationary."""
    found = answer(solver, losses, jacobian, preference)
    if not found.stationary:
        slopes = jacobian @ found.direction
        assert (slopes > 0).all(), f"slopes {slopes}"


def assert_worst_does_not_rise(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """To first order, a step along the direction does not raise the objectives with the largest r_i l_i."""
    slopes = _slopes(answer(solver, losses, jacobian, preference), jacobian)
    weighted = preference * losses
    worst = weighted >= (1 - TIE) * weighted.max()
    assert slopes[worst].min() >= -ROUNDING, f"slopes {slopes}, worst {worst}"


def assert_stationary_says_no_direction(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """The status is "stationary" exactly where the direction vanishes."""
    found = answer(solver, losses, jacobian, preference)
    vanished = found.direction.norm() <= VANISHED * jacobian.norm(dim=1).max()
    assert found.stationary == bool(vanished), f"{found.status} of the direction {found.direction}"


def assert_stationary_where(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, is_so: Callable[[Tensor], bool]
) -> None:
    """The status is "stationary" exactly where the Jacobian is so; then there is no direction."""
    found = answer(solver, losses, jacobian, preference)
    assert found.stationary == is_so(jacobian), f"{found.status}"
    if found.stationary:
        largest = jacobian.norm(dim=1).max()
        assert found.direction.norm() <= VANISHED * largest, f"direction {found.direction}"


def assert_duplicates_share(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """Objectives with one gradient, one loss and one preference get one weight."""
    twins = (jacobian[:, None] == jacobian).all(dim=-1)
    shared = twins.double() / twins.sum(dim=1, keepdim=True)
    losses, preference = shared @ losses, shared @ preference
    weights = answer(solver, losses, jacobian, preference).weights
    assert weights is not None
    apart = (weights[:, None] - weights).abs()[twins].max()
    assert apart <= 1e-9 * weights.abs().max(), f"{weights}"


def assert_ignores_preference(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    first = answer(solver, losses, jacobian, preference)
    for other in torch.eye(len(losses), dtype=torch.float64):
        assert torch.equal(answer(solver, losses, jacobian, other).direction, first.direction), f"at {other}"


def assert_more_asked_weighs_more(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """An objective weighs no less where more of the preference is its own, and more where all is."""
    weights = answer(solver, losses, jacobian, preference).weights
    assert weights is not None
    for i, corner in enumerate(torch.eye(len(losses), dtype=torch.float64)):
        raised = answer(solver, losses, jacobian, (preference + corner) / 2).weights
        assert raised[i] >= weights[i] - 1e-12, f"{i}: {raised} for {weights}"
        alone = answer(solver, losses, jacobian, 1e-5 * preference + (1 - 1e-5) * corner).weights
        assert (alone[i] > 100 * alone[corner == 0]).all(), f"{i}: {alone}"


def assert_linear_in_preference(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """The direction is the corners' directions, weighted by the preference."""
    corners = torch.eye(len(losses), dtype=torch.float64)
    parts = torch.stack([answer(solver, losses, jacobian, corner).direction for corner in corners])
    found = answer(solver, losses, jacobian, preference).direction
    assert (found - preference @ parts).norm() <= 1e-9 * parts.norm(), f"{found} for {preference @ parts}"


def assert_points_agree(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, within: float = 1e-9
) -> None:
    """Many points (*points, m) in one call are the same as one by one, the next state included."""
    study = sweep(preference)
    together = answer(solver, losses, jacobian, preference, study)
    assert together.direction.isfinite().all()
    for k, p in enumerate(np.ndindex(*losses.shape[:-1])):
        own = replace(study, points=study.points[p], generators=study.generators[k : k + 1])
        alone = answer(solver, losses[p], jacobian[p], preference[p], own)
        _assert_same_direction(together.direction[p], alone.direction, jacobian[p], f"point {p}", within)
        own_weights = None if together.weights is None else together.weights[p]
        _assert_same_weights(own_weights, alone.weights, jacobian[p], f"point {p}", within)
        assert together.status.code[p] == alone.status.code, f"point {p}"
        assert abs(together.status.residual[p] - alone.status.residual) <= within, f"point {p}"
        for many, one in zip(tree_leaves(together.state), tree_leaves(alone.state), strict=True):
            assert not isinstance(many, Tensor) or torch.equal(many[p], one), f"point {p}: {many[p]} and {one}"


def holds_zero(jacobian: Tensor) -> bool:
    """Whether the hull of the gradients holds zero, so that no direction lowers all losses."""
    norms = jacobian.norm(dim=1)
    unit = jacobian / norms.where(norms > 0, 1)[:, None]
    _, distance = nnls(torch.cat([unit, torch.ones(len(unit), 1)], dim=1).T.numpy(), np.eye(1 + unit.shape[1])[-1])
    return distance < 1e-9


def all_zero(jacobian: Tensor) -> bool:
    return not jacobian.any()


def _orders(m: int) -> Iterator[list[int]]:
    """A turn and a reversal, of which all orders are made for m up to 3."""
    yield [*range(1, m), 0]
    if m > 2:
        yield [*range(m - 1, -1, -1)]


def _assert_same_direction(
    found: Tensor, expected: Tensor, jacobian: Tensor, where: str, within: float = ROUNDING
) -> None:
    largest = max(jacobian.norm(dim=1).max(), expected.norm())
    assert (found - expected).norm() <= within * largest, f"{where}: {found} for {expected}"


def _assert_same_weights(
    found: Tensor | None, expected: Tensor | None, jacobian: Tensor, where: str, within: float = ROUNDING
) -> None:
    """Where the gradients are well apart, so that their weights are unique."""
    norms = jacobian.norm(dim=1)
    unit = jacobian / norms.where(norms > 0, 1)[:, None]
    if expected is not None and torch.linalg.matrix_rank(unit, rtol=1e-4) == len(unit):
        assert (found - expected).abs().max() <= within * expected.abs().max(), f"{where}: {found} for {expected}"


def _slopes(found: Answer, jacobian: Tensor) -> Tensor:
    """How fast each loss falls along the direction, beside its gradient's norm and the longest of all."""
    norms = jacobian.norm(dim=1)
    return jacobian @ found.direction / (norms * max(norms.max(), found.direction.norm())).where(norms > 0, 1)

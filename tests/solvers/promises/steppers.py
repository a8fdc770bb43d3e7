"""What the methods promise that ask for the losses elsewhere.

The catalogue's losses are quadratic, so that what a method finds elsewhere is known from the curvatures.
"""

from itertools import permutations

import torch
from torch import Tensor

import paretomtl_solvers as ps
from paretomtl.solver import Aggregation, Solver, Weighting
from tests import asserts
from tests.asserts import ROUNDING, answer
from tests.solvers.promises.kit import (
    AT_ZERO,
    FINITE,
    IGNORES,
    IN_HULL,
    LINEAR,
    NONE_RISES,
    PERMUTATIONS,
    REPEATABLE,
    SCALE,
    Line,
    at_most_three,
    named,
)


def curvatures(jacobian: Tensor) -> Tensor:
    """The Hessians (m, n, n) of the catalogue's losses."""
    norms = jacobian.norm(dim=1)
    along = jacobian / norms.where(norms > 0, 1)[:, None]
    across = torch.linspace(0.5, 1, jacobian.shape[1], dtype=torch.float64)
    return norms[:, None, None] * (along[:, :, None] * along[:, None, :] + torch.diag(across))


def agree(direction: Tensor, expected: Tensor, jacobian: Tensor) -> bool:
    largest = max(jacobian.norm(dim=1).max(), expected.norm())
    return bool((direction - expected).norm() <= ROUNDING * largest)


def assert_mean_and_next_weights(solver, losses, jacobian, preference) -> None:
    """The mean gradient, and weights that stepped down C w by a share of the largest slope so far, to O(mu)."""
    found, C = answer(solver, losses, jacobian, preference), jacobian @ jacobian.T
    assert agree(found.direction, jacobian.mean(dim=0), jacobian)
    slopes = C.mean(dim=1)
    if found.stationary:
        assert slopes.abs().max() <= ROUNDING * C.abs().max()
        return
    w = torch.full_like(losses, 1 / len(losses))
    stepped = w - solver.rate * slopes * w.norm() / slopes.norm()
    shift = torch.linspace(float(stepped.min() - 1), float(stepped.max()), 200_001, dtype=torch.float64)
    sums = (stepped - shift[:, None]).clamp(min=0).sum(dim=1)
    expected = (stepped - shift[(sums - 1).abs().argmin()]).clamp(min=0)
    # where the gradients all but cancel, the losses' curvature shows beside their slopes
    curved = solver.mu * jacobian.norm(dim=1).max() / found.direction.norm()
    assert (found.state.weights - expected).abs().max() <= 1e-4 + 2 * curved, f"{found.state.weights} for {expected}"


def assert_base_twice(solver, losses, jacobian, preference) -> None:
    """The base on the gradients, and once more on their changes; or once on both."""
    unit = jacobian / jacobian.norm(dim=1).where(jacobian.norm(dim=1) > 0, 1)[:, None]
    changes = solver.rho * torch.einsum("mij,mj->mi", curvatures(jacobian), unit)

    def base(matrix: Tensor) -> Tensor:
        state = solver.base.init(asserts.sweep(preference))
        if isinstance(solver.base, Aggregation):
            return solver.base.update(state, losses, matrix, preference)[0]
        seen = (losses, matrix @ matrix.T) if isinstance(solver.base, Weighting) else (losses,)
        return solver.base.update(state, *seen, preference)[0] @ matrix

    expected = base(jacobian + changes) if solver.together else base(jacobian) + base(changes)
    found = answer(solver, losses, jacobian, preference).direction
    assert agree(found, expected, jacobian), f"{found} for {expected}"


def assert_look_ahead(solver, losses, jacobian, preference) -> None:
    """sum m r_i (I - a H_i) g_i, or with (I - a H_i)² in second order."""
    turn = torch.eye(jacobian.shape[1], dtype=torch.float64) - solver.look_ahead * curvatures(jacobian)
    ahead = torch.einsum("mij,mj->mi", turn @ turn if solver.second_order else turn, jacobian)
    expected = len(losses) * preference @ ahead
    found = answer(solver, losses, jacobian, preference).direction
    assert (found - expected).norm() <= ROUNDING * ahead.norm(), f"{found} for {expected}"


def walk(weights: list[Tensor], rate: float, jacobian: Tensor) -> tuple[Tensor, Tensor]:
    """Where the steps on these weighted sums lead from 0, and how far the longest way went."""
    H, x, far = curvatures(jacobian), torch.zeros(jacobian.shape[1], dtype=torch.float64), torch.zeros(())
    for w in weights:
        x = x - rate * (w @ jacobian + torch.einsum("m,mij,j->i", w, H, x))
        far = torch.maximum(far, x.norm())
    return -x, far


def assert_in_turn(solver, losses, jacobian, preference) -> None:
    """A step for each loss, in their order."""
    found = answer(solver, losses, jacobian, preference).direction
    expected, far = walk(list(torch.diag(len(losses) * preference)), solver.rate, jacobian)
    assert (found - expected).norm() <= ROUNDING * far, f"{found} for {expected}"


def assert_in_some_order(solver, losses, jacobian, preference) -> None:
    """A step for each loss, in one order of all."""
    found = answer(solver, losses, jacobian, preference).direction
    steps = torch.diag(len(losses) * preference)
    ways = [walk([steps[t] for t in order], solver.rate, jacobian) for order in permutations(range(len(losses)))]
    assert any((found - way).norm() <= ROUNDING * far for way, far in ways), f"{found} for {ways}"


def assert_bounded_by_steps(solver, losses, jacobian, preference) -> None:
    """Each of the first Adam steps moves no parameter further than its learning rate."""
    found = answer(solver, losses, jacobian, preference).direction
    assert found.abs().max() <= (1 + 1e-9) * solver.groups * solver.rate, f"{found}"


def several(jacobian: Tensor, preference: Tensor) -> bool:
    return len(jacobian) >= 3


# where the changes of the gradients vanish by themselves, a status says nothing of the gradients alone
FLAT = [FINITE, REPEATABLE, PERMUTATIONS, SCALE, assert_base_twice]
LOOK = [FINITE, REPEATABLE, PERMUTATIONS, AT_ZERO, LINEAR, assert_look_ahead]
# an order of the losses is no permutation's friend, and a length of a step no scale's
WALK = [FINITE, REPEATABLE, AT_ZERO]
# at 1e-12 the losses' rounding hides their slopes
SEEN_SCALE = named(asserts.assert_scale_law, "scale law", by=(1e-4, 1e4, 1e12))


def flat(base: Solver, **options) -> ps.FSMTL:
    return ps.FSMTL(base, **options)


TABLE = [
    Line(ps.MARIGOLD(), [FINITE, REPEATABLE, PERMUTATIONS, SEEN_SCALE, IGNORES, assert_mean_and_next_weights]),
    Line(flat(ps.MGDA()), [*FLAT, IGNORES]),
    Line(flat(ps.MGDA(), rho=0.0), [*FLAT, IGNORES, NONE_RISES, IN_HULL]),
    Line(flat(ps.MGDA(), rho=0.5, together=True), [*FLAT, IGNORES]),
    # the catalogue's place is 0, where a distance relative to it is none
    Line(
        flat(ps.MGDA(), rho=2.0, adaptive=True), [FINITE, REPEATABLE, PERMUTATIONS, SCALE, IGNORES, NONE_RISES, IN_HULL]
    ),
    Line(flat(ps.Linear()), [*FLAT, LINEAR]),
    Line(flat(ps.SmoothTchebycheff(0.1)), FLAT),
    Line(flat(ps.FairGrad(2.0)), [FINITE, REPEATABLE, PERMUTATIONS, IGNORES, assert_base_twice]),
    Line(ps.SingleStep(), LOOK),
    Line(ps.SingleStep(0.1, second_order=True), LOOK, at_most_three),
    Line(ps.SequentialReptile(), WALK),
    Line(ps.SequentialReptile(0.1, 7, "given"), WALK),
    Line(ps.SequentialReptile(0.1, order="given"), [*WALK, assert_in_turn]),
    Line(ps.AlternatingGroups(1, 0.01), [*WALK, PERMUTATIONS, IGNORES, assert_bounded_by_steps]),
    Line(ps.AlternatingGroups(), [*WALK, IGNORES, assert_bounded_by_steps]),
    Line(ps.AlternatingGroups(3), [*WALK, IGNORES, assert_bounded_by_steps], several),
    Line(ps.SelectiveGroups(), [*WALK, named(assert_in_some_order, "steps in some order")], at_most_three),
    Line(ps.SelectiveGroups(singletons=0), WALK),
]

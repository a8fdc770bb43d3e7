"""What the methods promise that keep what they saw: moving averages, learned weights, draws."""

from collections.abc import Callable

import torch
from torch import Tensor

import paretomtl_solvers as ps
from paretomtl.solver import Solver
from tests.asserts import answer
from tests.solvers.promises.kit import (
    ALL,
    AT_ZERO,
    IGNORES,
    IN_HULL,
    LINEAR,
    NONE_RISES,
    SCALE,
    SIMPLEX,
    TWINS,
    Line,
    least_norm,
    named,
    scale,
)

CLOSE = 1e-9


def assert_stationary_where_none_counts(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """The status is "stationary" exactly where no gradient is left of the losses that the preference gives a share."""
    assert answer(solver, losses, jacobian, preference).stationary == (not jacobian[preference > 0].any())


def assert_even_is_published(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, published: Callable
) -> None:
    """At the even preference the direction is that of the published formula, coded apart."""
    even = torch.full_like(preference, 1 / len(preference))
    direction, expected = answer(solver, losses, jacobian, even).direction, published(losses, jacobian)
    terms = max(jacobian.norm(dim=1).max(), expected.norm())
    assert (direction - expected).norm() <= CLOSE * terms, f"{direction} for {expected}"


def assert_norms_go_with(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, target: Callable
) -> None:
    """The weighted gradients' norms are in proportion to a target; those that vanish have weight 0."""
    weights = answer(solver, losses, jacobian, preference).weights
    assert weights is not None
    norms = jacobian.norm(dim=1)
    vanish = norms == 0
    if vanish.all():
        return
    assert (weights[vanish] == 0).all()
    expected = torch.where(vanish, 0, target(losses, preference))
    reached = weights * norms
    factor = (reached @ expected) / (expected @ expected) if expected.any() else 0
    assert (reached - factor * expected).norm() <= CLOSE * reached.norm(), f"{reached} for {expected}"


def sum_of_gradients(losses, jacobian):
    return jacobian.sum(dim=0)


def equal_norms_of_logarithms(losses, jacobian, left):
    h = left * jacobian / losses[:, None]
    lengths = h.norm(dim=1)
    return lengths.max() * sum((row / n for row, n in zip(h, lengths, strict=True) if n > 0), torch.zeros_like(h[0]))


def published(formula: Callable, **options) -> Callable:
    name = "published at the even preference"
    return named(assert_even_is_published, name, published=lambda *case: formula(*case, **options))


def norms_go_with(target: Callable) -> Callable:
    return named(assert_norms_go_with, "norms", target=target)


NONE_COUNTS = named(assert_stationary_where_none_counts, "stationary where none counts")
SHARES = [*ALL, NONE_COUNTS]  # of those whose preference multiplies gradients or weights
SEES_NONE = [*ALL, AT_ZERO, IGNORES]  # of those without a preference

TABLE = [
    # the preference has a say in the signs: the direction is linear in it only where all leaks
    Line(ps.GradDrop(), [*SHARES, scale(0)]),
    Line(ps.GradDrop(leak=0.25), [*SHARES, scale(0)]),
    Line(ps.GradDrop(leak=1.0), [*SHARES, scale(0), LINEAR, published(sum_of_gradients)]),
    # gamma is in units of |g|^-2: no scale law without `scale_to_loss`
    Line(ps.MoCo(), SEES_NONE),
    Line(ps.MoCo(rho=0.5), SEES_NONE),
    Line(ps.MoCo(scale_to_loss=True), [*SEES_NONE, scale(-1)]),
    Line(ps.DBMTL(), [*SEES_NONE, scale(0), published(equal_norms_of_logarithms, left=0.1)]),
    Line(ps.DBMTL(beta=0.0), [*SEES_NONE, scale(0), published(equal_norms_of_logarithms, left=1.0)]),
    # on a first call its weights are 1, whatever the preference
    Line(ps.GradNorm(), [*ALL, AT_ZERO, scale(0), TWINS, published(sum_of_gradients)]),
    Line(ps.GradientNormScaling(), [*SEES_NONE, scale(0), TWINS, norms_go_with(lambda losses, r: losses**0)]),
    Line(ps.EMTL(), [*SHARES, scale(0), TWINS, LINEAR, norms_go_with(lambda losses, r: r * losses)]),
    Line(ps.ExcessMTL(), [*SHARES, scale(0), LINEAR, published(sum_of_gradients)]),
    # gamma is in units of |g|^-2: no scale law
    Line(ps.MoDo(), [*SEES_NONE, TWINS, SIMPLEX]),
    Line(ps.MoDo(rho=0.5), [*SEES_NONE, TWINS, SIMPLEX]),
    # on a first call it is the method within
    Line(ps.CRMOGM(), [*ALL, TWINS, NONE_RISES, IN_HULL, IGNORES, *least_norm(None, 0)]),
    Line(ps.CRMOGM(ps.EMTL(), 0.5), [*ALL, TWINS, scale(0), LINEAR, norms_go_with(lambda losses, r: r * losses)]),
    Line(ps.CRMOGM(ps.ParetoMTL(phase_one=0.0), 0.5), [*ALL, SCALE, NONE_RISES]),
]

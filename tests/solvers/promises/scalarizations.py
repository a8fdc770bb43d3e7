"""What the methods promise that weigh the losses, by their course or their gradients' sizes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

import paretomtl_solvers as ps
from paretomtl.solver import Scalarization, Sweep
from tests import asserts
from tests.solvers.promises.kit import (
    FINITE,
    IGNORES,
    LINEAR,
    NEVER,
    POINTS,
    REPEATABLE,
    SCALARIZES,
    SIMPLEX,
    WEIGHS_MORE,
    Line,
    autograd_of,
    named,
)

STEPS = 6
RATE = 0.1  # of numbers that the optimizer trains


def course_of(losses: Tensor) -> Tensor:
    """Losses of several steps, (steps, *points, m), that vary by up to a half; each point and loss in its own way."""
    k = torch.arange(STEPS, dtype=torch.float64).reshape(-1, *[1] * losses.ndim)
    return losses * (1 + 0.5 * torch.sin(2 + (1 + losses) * k))


def answers(solver: Scalarization, course: Tensor, preference: Tensor, study: Sweep | None = None) -> Iterator[Tensor]:
    """The weights at each step of a course, in a study; what the optimizer trains moves against its gradient."""
    state: Any = solver.init(study or asserts.sweep(preference))
    if solver.learned:
        state.requires_grad_()
    for k, losses in enumerate(course):
        weights, state, _ = solver.update(state, losses, preference)
        yield weights
        if solver.learned:
            with torch.no_grad():
                state -= RATE * state.grad
        if solver.observes:
            state = solver.observe(state, course[(k + 1) % STEPS])


def together(solver: Scalarization, course: Tensor, preference: Tensor, study: Sweep | None = None) -> Tensor:
    return torch.stack([*answers(solver, course, preference, study)])


def assert_course(solver: Scalarization, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """Over several steps: finite weights, the same of objectives in another order, and of many points in one call."""
    course = course_of(losses)
    weights = together(solver, course, preference)
    assert weights.isfinite().all(), f"{weights}"
    turned = together(solver, course.roll(1, dims=-1), preference.roll(1))
    assert torch.allclose(turned, weights.roll(1, dims=-1), rtol=1e-9, atol=0), f"{turned} for {weights}"
    assert_points_of_course(solver, losses, jacobian, preference)


def assert_points_of_course(solver: Scalarization, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """Many points in one call are the same as one by one over several steps."""
    courses = torch.stack([course_of(losses), course_of(losses.flip(0))], dim=1)
    r = torch.stack([preference, preference.roll(1)])
    study = asserts.sweep(r)
    both = together(solver, courses, r, study)
    for p in range(2):
        own = replace(study, points=study.points[p], generators=study.generators[p : p + 1])
        alone = together(solver, courses[:, p], r[p], own)
        assert torch.allclose(both[:, p], alone, rtol=1e-12, atol=0), f"point {p}: {both[:, p]} and {alone}"


def assert_scale_of_losses(
    solver: Scalarization,
    losses: Tensor,
    jacobian: Tensor,
    preference: Tensor,
    keeps: Callable[[Tensor, Tensor], Tensor],
    common: bool = False,
    sizes: tuple[float, ...] = (1e-8, 1e-4, 1e4, 1e8),
) -> None:
    """A factor of each loss, or a common one, leaves alone what the weights and the losses together keep."""
    course, m = course_of(losses), len(losses)
    expected = keeps(together(solver, course, preference), course)
    for size in sizes:
        scaled = course * (torch.full((m,), size) if common else torch.logspace(0, 1, m) ** torch.tensor(size).log10())
        kept = keeps(together(solver, scaled, preference), scaled)
        assert torch.allclose(kept, expected, rtol=1e-9, atol=1e-300), f"at {size:g}: {kept} for {expected}"


def weights_alone(weights: Tensor, course: Tensor) -> Tensor:
    return weights


def weighted_losses(weights: Tensor, course: Tensor) -> Tensor:
    return weights * course


def shares(weights: Tensor, course: Tensor) -> Tensor:
    """Of each loss in the weighted sum."""
    return weights * course / (weights * course).sum(dim=-1, keepdim=True)


def scale_of_losses(keeps: Callable, **options) -> Callable:
    name = f"a {'common factor' if options else 'factor of each loss'} leaves {keeps.__name__}"
    return named(assert_scale_of_losses, name, keeps=keeps, **options)


def assert_multiple_of_simplex(solver: Scalarization, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """At every step the weights are m r_i times numbers on the simplex, which the preference has no part in."""
    course, m = course_of(losses), len(losses)
    drawn = together(solver, course, torch.full_like(preference, 1 / m))
    assert (drawn >= 0).all()
    assert (drawn.sum(dim=-1) - 1).abs().max() < 1e-12, f"{drawn}"
    weights = together(solver, course, preference)
    assert torch.allclose(weights, m * preference * drawn, rtol=1e-12, atol=0), f"{weights} for {drawn}"


def assert_sums_to_m(solver: Scalarization, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """At every step the weights of the even preference sum to m, and another one multiplies them by m r_i."""
    course, m = course_of(losses), len(losses)
    even = together(solver, course, torch.full_like(preference, 1 / m))
    assert (even > 0).all()
    assert (even.sum(dim=-1) / m - 1).abs().max() < 1e-12, f"{even}"
    weights = together(solver, course, preference)
    assert torch.allclose(weights, m * preference * even, rtol=1e-12, atol=0), f"{weights} for {even}"


def geometric(losses, preference):
    return losses.pow(preference).prod()


def fair(losses, preference, alpha):
    powers = losses.log() if alpha == 1 else losses.pow(1 - alpha) / (1 - alpha)
    return len(losses) * preference @ powers


def uncertain(losses, preference, half):
    """The objective at s = 0."""
    return len(losses) * half * preference @ losses


# m r_i times what the losses alone say
MULTIPLIES = [*SCALARIZES, LINEAR, WEIGHS_MORE, assert_course]
DRAWS = [FINITE, REPEATABLE, POINTS, NEVER, LINEAR, assert_points_of_course, assert_multiple_of_simplex]

TABLE = [
    # no WEIGHS_MORE: with more of the preference on a small loss the mean itself falls, and with it the weight
    Line(ps.GeometricMean(), [*SCALARIZES, assert_course, autograd_of(geometric), scale_of_losses(shares)]),
    Line(ps.UW(), [*MULTIPLIES, autograd_of(partial(uncertain, half=0.5))]),
    Line(ps.UW("classification"), [*MULTIPLIES, autograd_of(partial(uncertain, half=1.0))]),
    Line(ps.IMTLL(), [*MULTIPLIES, autograd_of(partial(uncertain, half=1.0))]),
    Line(ps.DWA(period=1), [*MULTIPLIES, assert_sums_to_m, scale_of_losses(weights_alone)]),
    Line(ps.DWA(temperature=0.5, period=2), [*MULTIPLIES, assert_sums_to_m, scale_of_losses(weights_alone)]),
    # no PERMUTATIONS, no TWINS: each objective has a draw of its own, by its place in the order
    Line(ps.RLW(), DRAWS),
    Line(ps.RLW("dirichlet"), DRAWS),
    Line(ps.EMAWeighting(), [*MULTIPLIES, scale_of_losses(weighted_losses)]),
    Line(ps.EMAWeighting(beta=0.0), [*MULTIPLIES, scale_of_losses(weighted_losses)]),
    # not below 1, where the spread comes near its floor, 1e-5; and a common factor, for at first the weights are even
    Line(ps.SLAW(), [*MULTIPLIES, assert_sums_to_m, scale_of_losses(weights_alone, common=True, sizes=(1e4, 1e8))]),
    Line(ps.AlphaFairLosses(0.0), [*MULTIPLIES, autograd_of(partial(fair, alpha=0.0))]),
    Line(ps.AlphaFairLosses(), [*MULTIPLIES, autograd_of(partial(fair, alpha=0.5))]),
    Line(
        ps.AlphaFairLosses(1.0),
        [*MULTIPLIES, autograd_of(partial(fair, alpha=1.0)), scale_of_losses(weighted_losses)],
    ),
    Line(ps.AlphaFairLosses(2.0), [*MULTIPLIES, autograd_of(partial(fair, alpha=2.0))]),
    Line(ps.FAMO(), [*SCALARIZES, SIMPLEX, IGNORES, assert_course]),
]

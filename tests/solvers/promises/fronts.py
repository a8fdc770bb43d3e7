"""What the methods that trace a front promise, with MGDA, FairGrad and CoGrad."""

from collections.abc import Callable
from functools import partial

import torch

import paretomtl_solvers as ps
from tests import asserts
from tests.solvers import certificates
from tests.solvers.promises.kit import (
    ALL,
    ALL_FALL,
    AT_ZERO,
    FINITE,
    IGNORES,
    IN_HULL,
    LINEAR,
    NEVER,
    NONE_RISES,
    PERMUTATIONS,
    POINTS,
    REPEATABLE,
    SCALARIZES,
    SCALE,
    SIMPLEX,
    STATIONARY,
    TWINS,
    WEIGHS_MORE,
    WORST,
    Line,
    at_most_three,
    autograd_of,
    gradient_of,
    least_norm,
    loss_and_norm,
    loss_itself,
    named,
    norms,
    scale,
    three,
    two,
    two_or_inside,
)

DESCENT = 0.99  # an eps that EPO's mu stays below, but at corners of three objectives or more: every step descends

JOINT = [FINITE, REPEATABLE, PERMUTATIONS, TWINS, NEVER]  # points together are not as one by one
MGDA = [*ALL, TWINS, NONE_RISES, IN_HULL, IGNORES]
FAIR = [*ALL, TWINS, ALL_FALL, IN_HULL, IGNORES]
EPO = [FINITE, REPEATABLE, SIMPLEX, SCALE, WORST, STATIONARY, POINTS]  # its program may have more than one answer
COGRAD = [FINITE, REPEATABLE, PERMUTATIONS, AT_ZERO, LINEAR]


def smooth(losses, preference, mu):
    return mu * (preference * losses / mu).logsumexp(0)


def pbi(losses, preference, theta):
    u = asserts.unit_rays(preference)
    along = losses @ u
    return along + theta * (losses - along * u).norm()


def cosmos(losses, preference, penalty, ray):
    return preference @ losses - penalty * torch.cosine_similarity(losses, ray(preference), dim=0)


def phn_hvi(losses, preference, penalty, reference):
    """Of a single point, whose hypervolume is a box up to the reference, or to 1.1 times its loss."""
    sides = (1.1 * losses).clamp(min=reference).detach() - losses.detach()
    growth = (sides.prod() / sides) / (sides.prod() / sides).norm()
    return growth @ losses - penalty * torch.cosine_similarity(losses, asserts.unit_rays(preference), dim=0)


def fair(alpha: float) -> list[Callable]:
    power = -2 * alpha / (1 + alpha) if alpha < float("inf") else -2
    return [named(certificates.assert_fair, "fair", alpha=alpha), scale(power)]


def solves(damping: float) -> Callable:
    return named(certificates.assert_tangent, "its system", damping=damping)


def program(balance: bool) -> Callable:
    return named(certificates.assert_epo_program, "its program", balance=balance)


def box(penalty: float, reference: float) -> Callable:
    return autograd_of(partial(phn_hvi, penalty=penalty, reference=reference))


def in_sector(phase: int) -> Callable:
    return named(certificates.assert_least_norm_in_sector, "least norm in its sector", phase=phase)


TABLE = [
    Line(ps.Linear(), [*SCALARIZES, SIMPLEX, WEIGHS_MORE, gradient_of(lambda x, r: r @ x)]),
    Line(ps.Tchebycheff(), [*SCALARIZES, WEIGHS_MORE, gradient_of(lambda x, r: (r * x).max())]),
    Line(ps.AugmentedTchebycheff(), [*SCALARIZES, WEIGHS_MORE, gradient_of(lambda x, r: (r * x).max() + r @ x / 20)]),
    Line(ps.AugmentedTchebycheff(rho=0.0), [*SCALARIZES, WEIGHS_MORE, gradient_of(lambda x, r: (r * x).max())]),
    Line(
        ps.SmoothTchebycheff(0.1), [*SCALARIZES, WEIGHS_MORE, gradient_of(lambda x, r: (r * x * 10).logsumexp(0) / 10)]
    ),
    Line(ps.SmoothTchebycheff(1.0), [*SCALARIZES, WEIGHS_MORE, gradient_of(partial(smooth, mu=1.0))]),
    Line(ps.PBI(), [*SCALARIZES, gradient_of(partial(pbi, theta=5))]),
    Line(ps.PBI(theta=0.0), [*SCALARIZES, gradient_of(partial(pbi, theta=0))]),
    Line(ps.COSMOS(), [*SCALARIZES, autograd_of(partial(cosmos, penalty=2, ray=asserts.unit_rays))]),
    Line(ps.COSMOS(0.5, "published"), [*SCALARIZES, autograd_of(partial(cosmos, penalty=0.5, ray=lambda r: r))]),
    Line(ps.COSMOS(0.0), [*SCALARIZES, SIMPLEX, WEIGHS_MORE, gradient_of(lambda x, r: r @ x)]),
    Line(ps.PHNHVI((1.1, 1.1)), [*JOINT, box(4, 1.1)], two),
    Line(ps.PHNHVI((2.0, 2.0, 2.0), 0.5), [*JOINT, box(0.5, 2)], three),
    Line(ps.HypervolumeAscent((1.1, 1.1), 0.0), [*JOINT, box(0, 1.1)], two),
    Line(ps.HypervolumeAscent((2.0, 2.0, 2.0), 0.0), [*JOINT, box(0, 2)], three),
    Line(ps.HypervolumeAscent((1.1, 1.1), 0.99), [*JOINT, gradient_of(lambda x, r: (r * x).max())], two),
    Line(ps.MOOSVGD(0.0), [FINITE, REPEATABLE, PERMUTATIONS, NEVER, NONE_RISES, IGNORES]),
    Line(ps.MGDA(), [*MGDA, *least_norm(None, 0)]),
    Line(ps.MGDA("l2"), [*MGDA, *least_norm(norms, 1)]),
    Line(ps.MGDA("loss"), [*MGDA, *least_norm(loss_itself, 0)]),
    Line(ps.MGDA("loss+"), [*MGDA, *least_norm(loss_and_norm, 1)]),
    Line(ps.FairGrad(0.0), [*ALL, TWINS, AT_ZERO, IGNORES, *fair(0.0)]),
    Line(ps.FairGrad(0.5), [*FAIR, *fair(0.5)]),
    Line(ps.FairGrad(1.0), [*FAIR, *fair(1.0)]),
    Line(ps.FairGrad(2.0), [*FAIR, *fair(2.0)]),
    Line(ps.FairGrad(5.0), [*FAIR, *fair(5.0)]),
    Line(ps.FairGrad(50.0), [*FAIR, *fair(50.0)]),
    Line(ps.FairGrad(float("inf")), [*FAIR, *fair(float("inf"))]),
    Line(ps.EPO(), [*EPO, program(balance=True)]),
    Line(ps.EPO(DESCENT), [*EPO, NONE_RISES, program(balance=False)], two_or_inside),
    Line(ps.EPO(backend="cvxpy"), [*EPO, program(balance=True)], two),
    Line(ps.EPO(DESCENT, "cvxpy"), [*EPO, NONE_RISES, program(balance=False)], two),
    Line(ps.ParetoMTL(phase_one=1.0), [*ALL, SCALE, in_sector(phase=1)]),
    Line(ps.ParetoMTL(phase_one=0.0), [*ALL, SCALE, NONE_RISES, in_sector(phase=2)]),
    Line(ps.CoGrad(), COGRAD),
    Line(ps.CoGrad(scale_free=True), [*COGRAD, SCALE]),
    Line(ps.CoGrad(hessian="fisher"), COGRAD, at_most_three),
    Line(ps.CoGrad(hessian="fisher", scale_free=True), [FINITE, SCALE], at_most_three),
    Line(ps.CoGrad(hessian="hvp"), COGRAD, at_most_three),
    Line(ps.CoGrad(hessian="hvp", scale_free=True), [FINITE, SCALE], at_most_three),
    Line(ps.ContinuousPareto(), [FINITE, certificates.assert_preferred_falls, solves(damping=0.1)], at_most_three),
    Line(ps.ContinuousPareto(), [REPEATABLE, PERMUTATIONS], two),
    Line(ps.ContinuousPareto(damping=10.0), [solves(damping=10.0)], two),
]

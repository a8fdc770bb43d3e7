"""What the methods promise that look at gradients at a representation."""

import torch

import paretomtl_solvers as ps
from tests import asserts
from tests.solvers.promises.kit import (
    AT_ZERO,
    FINITE,
    IGNORES,
    IN_HULL,
    LINEAR,
    NONE_RISES,
    PERMUTATIONS,
    REPEATABLE,
    Line,
    named,
    scale,
    three,
    two,
)


def assert_as_mgda(solver, losses, jacobian, preference, normalisation="none"):
    """Where the representation is the parameters themselves, the direction is MGDA's."""
    found = asserts.answer(solver, losses, jacobian, preference).direction
    expected = asserts.answer(ps.MGDA(normalisation), losses, jacobian, preference).direction
    assert (found - expected).norm() <= 1e-9 * max(jacobian.norm(dim=1).max(), expected.norm()), f"{found}, {expected}"


def as_mgda(normalisation="none"):
    return named(assert_as_mgda, "as MGDA", normalisation=normalisation)


def assert_kernels_routed(solver, losses, jacobian, preference):
    """Each kernel's direction is its gradient and the released code's share of the others', written with loops.

    A ratio of sums that are rounding is none.
    """
    heads = solver.heads
    here = asserts.closure(losses, jacobian, heads)
    _, rows, _ = here.gradients()
    places = [here.locate(f"{name}.weight").at for name in heads]
    h = [rows[i, place] for i, place in enumerate(places)]
    direction = solver.update(None, here, preference)[0]
    for i, place in enumerate(places):
        expected = h[i].clone()
        for j, other in enumerate(h):
            if j == i or not other.any() or not h[i].any():
                expected = expected + (0.1 * other if j != i else 0)
                continue
            q = torch.cosine_similarity(h[i], other, dim=0, eps=0)
            above, below = h[i].sum() / h[i].norm(), other.sum() / other.norm()
            c = (above / below).clamp(0.1, 5) if abs(below) > 1e-12 else 0.1
            expected = expected + c * (1 - (q if q <= 0 else 0)) * other
        assert (direction[place] - expected).norm() <= 1e-9 * rows.norm(), f"{heads[i]}: {direction[place]}, {expected}"


def assert_one_length(solver, losses, jacobian, preference):
    """With all of the preference on one loss, the direction is along its gradient, and as long as with another.

    That length is the mean of the gradients' lengths, at the first step, where each is its own reference.
    """
    norms = jacobian.norm(dim=1)
    present = norms > 0  # a gradient that vanishes has no part in the mean
    length = norms.sum() / present.sum().clamp(min=1) * len(norms)
    for i, corner in enumerate(torch.eye(len(losses), dtype=torch.float64)):
        found = asserts.answer(solver, losses, jacobian, corner).direction
        expected = length * jacobian[i] / norms[i].where(present[i], 1)
        assert (found - expected).norm() <= 1e-9 * norms.sum(), f"{i}: {found} for {expected}"


# POINTS is not theirs: a stepper steps one point
MGDAUB = [FINITE, REPEATABLE, PERMUTATIONS, NONE_RISES, IN_HULL, IGNORES]
DRGRAD = [FINITE, REPEATABLE, PERMUTATIONS, AT_ZERO, LINEAR, scale(0), assert_kernels_routed]
ROTOGRAD = [FINITE, REPEATABLE, PERMUTATIONS, AT_ZERO, LINEAR, scale(0), assert_one_length]

TABLE: list[Line] = [
    Line(ps.MGDAUB("trunk"), [*MGDAUB, as_mgda(), scale(0)]),
    Line(ps.MGDAUB("trunk", "l2"), [*MGDAUB, as_mgda("l2"), scale(-1)]),
    Line(ps.MGDAUB("trunk", "loss"), [*MGDAUB, as_mgda("loss"), scale(0)]),
    Line(ps.MGDAUB("trunk", "loss+"), [*MGDAUB, as_mgda("loss+"), scale(-1)]),
    Line(ps.MultiBalance("trunk"), [*MGDAUB, as_mgda(), scale(0)]),  # at the first step the average is the gradient
    Line(ps.MultiBalance("trunk", 0.0), [*MGDAUB, as_mgda(), scale(0)]),
    Line(ps.DRGrad(("a", "b")), DRGRAD, two),
    Line(ps.DRGrad(("a", "b", "c")), DRGRAD, three),
    Line(ps.RotoGrad("trunk", ("a", "b")), ROTOGRAD, two),
    Line(ps.RotoGrad("trunk", ("a", "b", "c"), size=2, learning_rate=0.3), ROTOGRAD, three),
]

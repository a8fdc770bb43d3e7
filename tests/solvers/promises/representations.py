"""What the methods promise that look at gradients at a representation."""

import paretomtl_solvers as ps
from tests import asserts
from tests.solvers.promises.kit import (
    FINITE,
    IGNORES,
    IN_HULL,
    NONE_RISES,
    PERMUTATIONS,
    REPEATABLE,
    Line,
    named,
    scale,
)


def assert_as_mgda(solver, losses, jacobian, preference, normalisation="none"):
    """Where the representation is the parameters themselves, the direction is MGDA's."""
    found = asserts.answer(solver, losses, jacobian, preference).direction
    expected = asserts.answer(ps.MGDA(normalisation), losses, jacobian, preference).direction
    assert (found - expected).norm() <= 1e-9 * max(jacobian.norm(dim=1).max(), expected.norm()), f"{found}, {expected}"


def as_mgda(normalisation="none"):
    return named(assert_as_mgda, "as MGDA", normalisation=normalisation)


# POINTS is not theirs: a stepper steps one point
MGDAUB = [FINITE, REPEATABLE, PERMUTATIONS, NONE_RISES, IN_HULL, IGNORES]

TABLE: list[Line] = [
    Line(ps.MGDAUB("trunk"), [*MGDAUB, as_mgda(), scale(0)]),
    Line(ps.MGDAUB("trunk", "l2"), [*MGDAUB, as_mgda("l2"), scale(-1)]),
    Line(ps.MGDAUB("trunk", "loss"), [*MGDAUB, as_mgda("loss"), scale(0)]),
    Line(ps.MGDAUB("trunk", "loss+"), [*MGDAUB, as_mgda("loss+"), scale(-1)]),
    Line(ps.MultiBalance("trunk"), [*MGDAUB, as_mgda(), scale(0)]),  # at the first step the average is the gradient
    Line(ps.MultiBalance("trunk", 0.0), [*MGDAUB, as_mgda(), scale(0)]),
]

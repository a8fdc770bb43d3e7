"""What a line of the table says: a method, its promises, and the cases on which it makes them."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor

from paretomtl.solver import Solver
from tests import asserts
from tests.solvers import certificates


class Line(NamedTuple):
    solver: Solver
    promises: list[Callable]
    on: Callable[[Tensor, Tensor], bool] = lambda jacobian, preference: True  # the cases on which it makes them


def named(check: Callable, name: str, **options) -> Callable:
    """A check with its options, and a name for the test's id."""
    with_options = partial(check, **options)
    with_options.__name__ = name
    return with_options


def norms(losses, jacobian, preference):
    lengths = jacobian.norm(dim=1)
    return lengths.where(lengths > 0, 1)


def loss_itself(losses, jacobian, preference):
    return losses


def loss_and_norm(losses, jacobian, preference):
    return losses * norms(losses, jacobian, preference)


def two(jacobian, preference):
    return len(jacobian) == 2


def three(jacobian, preference):
    return len(jacobian) == 3


def at_most_three(jacobian, preference):
    return len(jacobian) <= 3


def two_or_inside(jacobian, preference):
    return len(jacobian) == 2 or preference.min() > 1e-6


# what a promise says is in its docstring
FINITE, REPEATABLE = asserts.assert_finite, asserts.assert_repeatable
PERMUTATIONS, POINTS = asserts.assert_permutation_equivariant, asserts.assert_points_agree
SIMPLEX, SCALE, TWINS = asserts.assert_on_simplex, asserts.assert_scale_law, asserts.assert_duplicates_share
NONE_RISES, ALL_FALL = asserts.assert_no_loss_rises, asserts.assert_all_losses_fall
WORST, STATIONARY = asserts.assert_worst_does_not_rise, asserts.assert_stationary_says_no_direction
IN_HULL = named(asserts.assert_stationary_where, "stationary where the hull holds zero", is_so=asserts.holds_zero)
AT_ZERO = named(asserts.assert_stationary_where, "stationary where all vanish", is_so=asserts.all_zero)
NEVER = named(asserts.assert_stationary_where, "never stationary", is_so=lambda jacobian: False)
IGNORES, LINEAR = asserts.assert_ignores_preference, asserts.assert_linear_in_preference
WEIGHS_MORE = asserts.assert_more_asked_weighs_more

FEW = {REPEATABLE, PERMUTATIONS, SCALE, TWINS, IGNORES, WEIGHS_MORE}  # several calls a case; two preferences show them
FAULTS = {FINITE: [7], TWINS: [9], SCALE: [11], asserts.assert_stationary_where: [8, 12]}

ALL = [FINITE, REPEATABLE, PERMUTATIONS, POINTS]
SCALARIZES = [*ALL, TWINS, NEVER]


def gradient_of(value: Callable) -> Callable:
    return named(certificates.assert_gradient_of, "gradient of its value", value=value)


def autograd_of(value: Callable) -> Callable:
    return named(certificates.assert_autograd_of, "gradient of its value", value=value)


def least_norm(times, power: int) -> list[Callable]:
    """Of gradients divided by what belongs to them, which scales to a power."""
    checks = [named(SIMPLEX, "simplex", times=times), named(certificates.assert_least_norm, "least norm", times=times)]
    return [*checks, scale(-power)]


def scale(power: float) -> Callable:
    return named(SCALE, "scale law", power=power)

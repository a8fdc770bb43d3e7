import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretomtl.errors import EmptyFrontError
from paretomtl.points.hypervolume_gradient import hypervolume_gradient
from paretomtl.points.score import hypervolume

TWO = np.array([[0.1, 0.8], [0.3, 0.5], [0.7, 0.2]])
THREE = np.array([[0.1, 0.6, 0.5], [0.5, 0.2, 0.4], [0.6, 0.5, 0.1]])
OF_TWO = -np.array([[0.3, 0.2], [0.3, 0.4], [0.3, 0.4]])
OF_THREE = -np.array([[0.3, 0.24, 0.2], [0.33, 0.42, 0.24], [0.18, 0.15, 0.3]])

often = settings(deadline=None, derandomize=True, max_examples=80)


def few_integers(least, most):
    return st.tuples(st.integers(1, 7), st.integers(least, most)).flatmap(
        lambda shape: arrays(np.float64, shape, elements=st.integers(0, 3).map(float))
    )


def differences(losses, reference, step):
    """The central difference quotients of the hypervolume."""
    found = np.zeros(losses.shape)
    for at in np.ndindex(*losses.shape):
        moved = np.zeros(losses.shape)
        moved[at] = step
        above, below = (hypervolume(losses + sign * moved, reference) or 0.0 for sign in (1, -1))
        found[at] = (above - below) / (2 * step)
    return found


def undominated(losses):
    better = (losses[:, None] <= losses).all(axis=-1) & (losses[:, None] < losses).any(axis=-1)
    return ~better.any(axis=0)


@pytest.mark.parametrize(("losses", "expected"), [(TWO, OF_TWO), (THREE, OF_THREE)], ids=["two", "three"])
def test_values(losses, expected):
    reference = [1.1] * losses.shape[1]
    assert hypervolume_gradient(losses, reference) == pytest.approx(expected, abs=1e-12)
    assert hypervolume_gradient(losses, np.array(reference)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("m", [2, 3, 4, 5])
@pytest.mark.parametrize("all_undominated", [True, False])
def test_it_is_the_slope_of_the_hypervolume(m, seed, all_undominated):
    rng = np.random.default_rng(seed)
    losses = rng.uniform(0.1, 1.2, (9, m))
    if all_undominated:
        losses = 1 - losses / np.linalg.norm(losses, axis=1, keepdims=True)
        assert undominated(losses).all()
    reference = np.linspace(0.9, 1.1, m)
    found = hypervolume_gradient(losses, reference)
    assert found == pytest.approx(differences(losses, reference, 1e-6), abs=1e-8)
    inside = (losses < reference).all(axis=1)
    assert ((found < 0).all(axis=1) == (undominated(losses) & inside)).all()
    assert (found < 0).any()


@often
@given(few_integers(2, 4))
def test_of_points_with_a_loss_in_common_the_lower_index_counts_as_the_smaller_one(losses):
    """With points equal, dominated, on the reference and beyond it among them."""
    reference = np.full(losses.shape[1], 3.0)
    found = hypervolume_gradient(losses, reference)
    kept = undominated(losses) & (losses < 3).all(axis=1)
    apart = losses[kept] + 1e-5 * np.arange(kept.sum())[:, None]
    assert (found[~kept] == 0).all()
    if kept.any():
        assert found[kept] == pytest.approx(differences(apart, reference, 1e-6), abs=2e-3)


@often
@given(few_integers(2, 2))
def test_two_objectives_are_three_with_one_that_does_not_vary(losses):
    with_third = np.column_stack([losses, np.zeros(len(losses))])
    of_three = hypervolume_gradient(with_third, [3.5, 3.5, 1.0])[:, :2]
    assert hypervolume_gradient(losses, [3.5, 3.5]) == pytest.approx(of_three, abs=1e-12)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_points_and_objectives_in_another_order(m):
    rng = np.random.default_rng(m)
    losses, reference = rng.uniform(0, 1, (12, m)), rng.uniform(0.8, 1, m)
    found = hypervolume_gradient(losses, reference)
    points, objectives = rng.permutation(12), rng.permutation(m)
    assert hypervolume_gradient(losses[points], reference) == pytest.approx(found[points], abs=1e-12)
    turned = hypervolume_gradient(losses[:, objectives], reference[objectives])
    assert turned == pytest.approx(found[:, objectives], abs=1e-12)


@pytest.mark.parametrize("losses", [TWO, THREE], ids=["two", "three"])
def test_other_units(losses):
    units = np.array([1e-6, 1.0, 1e6])[: losses.shape[1]]
    reference = np.full(len(units), 1.1)
    expected = hypervolume_gradient(losses, reference) * units.prod() / units
    assert hypervolume_gradient(losses * units, reference * units) == pytest.approx(expected, rel=1e-9)
    shifted = hypervolume_gradient(losses - 7, reference - 7)  # losses below 0
    assert shifted == pytest.approx(hypervolume_gradient(losses, reference), abs=1e-12)


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ([1.1, 0.05, 0.05], "on the reference"),
        ([1.2, 0.05, 0.05], "beyond the reference"),
        ([0.7, 0.7, 0.7], "dominated"),
        ([0.1, 0.6, 0.6], "dominated, with losses in common"),
        ([0.1, 0.6, 0.5], "equal to a point before it"),
    ],
)
@pytest.mark.parametrize("m", [2, 3])
def test_a_point_that_adds_nothing(m, extra, why):
    front = THREE if m == 3 else np.array([[0.1, 0.6], [0.5, 0.2], [0.55, 0.15]])
    losses = np.vstack([front, extra[:m]])
    found = hypervolume_gradient(losses, [1.1] * m)
    assert (found[-1] == 0).all(), why
    assert (found[:-1] == hypervolume_gradient(front, [1.1] * m)).all()


@pytest.mark.parametrize("m", [2, 3, 5])
def test_one_point(m):
    losses = np.linspace(0.1, 0.5, m)[None]
    sides = 2 - losses[0]
    assert hypervolume_gradient(losses, [2.0] * m) == pytest.approx(-sides.prod() / sides[None], rel=1e-12)
    assert (hypervolume_gradient(losses + 2, [2.0] * m) == 0).all()


def test_of_equal_points_the_first_has_all():
    losses = np.repeat([[0.5, 0.2]], 3, axis=0)
    assert hypervolume_gradient(losses, [1.0, 1.0]).tolist() == [[-0.8, -0.5], [0, 0], [0, 0]]


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_of_equal_points_the_others_have_no_rounding_either(m):
    """Not 1e-17, which a method that sets lengths to 1 would take for a direction."""
    losses = np.random.default_rng(m).uniform(0.1, 1, (15, m))
    losses = 1 - losses / np.linalg.norm(losses, axis=1, keepdims=True)
    found = hypervolume_gradient(np.vstack([losses, losses]), [1.1] * m)
    assert (found[:15] == hypervolume_gradient(losses, [1.1] * m)).all()
    assert (found[:15] < 0).all()
    assert (found[15:] == 0).all()


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_rounding_raises_nothing_above_zero(m):
    """Of points one unit in the last place apart."""
    rng = np.random.default_rng(m)
    for _ in range(30):
        losses = np.repeat(rng.uniform(0, 1, (1, m)), 6, axis=0)
        losses = np.nextafter(losses, losses + rng.choice([-1, 1], losses.shape))
        assert hypervolume_gradient(losses, [1.1] * m).max() <= 0


def test_of_many_points_on_three_levels_of_one_loss_the_index_decides():
    x, level = np.random.default_rng(0).permutation(60) / 60, np.arange(60) % 3
    losses = np.stack([level / 3, x, 1 - x - level / 50], axis=1)
    apart = losses + np.array([1e-6, 0, 0]) * np.arange(60)[:, None]
    expected = hypervolume_gradient(apart, [2.0] * 3)[:, 0]
    assert (expected < 0).all()
    assert hypervolume_gradient(losses, [2.0] * 3)[:, 0] == pytest.approx(expected, abs=1e-9)


def test_of_equal_losses_the_first_counts_as_the_smaller_one():
    """(0, 0, 1) and (0, 1, 0) up to 2: along the first loss, where they agree, faces of 2 that overlap by 1."""
    losses = np.array([[0.0, 0, 1], [0, 1, 0]])
    assert hypervolume_gradient(losses, [2.0] * 3)[:, 0].tolist() == [-2, -1]
    assert hypervolume_gradient(losses[::-1].copy(), [2.0] * 3)[:, 0].tolist() == [-2, -1]


def test_a_large_set_is_not_changed():
    losses = np.random.default_rng(0).uniform(0, 1, (200, 2))
    given = losses.copy()
    found = hypervolume_gradient(losses, [1.0, 1.0])
    assert (losses == given).all()
    assert found.dtype == np.float64
    assert ((found != 0).all(axis=1) == undominated(losses)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("m", [2, 3])
def test_what_is_not_finite_is_an_error(m, bad):
    losses = np.full((2, m), 0.5)
    losses[1, 0] = bad
    with pytest.raises(ValueError, match=r"losses\[1\] is not finite"):
        hypervolume_gradient(losses, [1.0] * m)
    with pytest.raises(ValueError, match="is not finite"):
        hypervolume_gradient(np.full((2, m), 0.5), [bad] * m)


def test_what_has_the_wrong_shape_is_an_error():
    with pytest.raises(EmptyFrontError, match="no point"):
        hypervolume_gradient(np.zeros((0, 2)), [1.0, 1.0])
    with pytest.raises(ValueError, match="give two objectives or more"):
        hypervolume_gradient(np.zeros((3, 1)), [1.0])
    with pytest.raises(ValueError, match=r"ref_point=.* give 2 numbers"):
        hypervolume_gradient(TWO, [1.0, 1.0, 1.0])


@pytest.mark.parametrize("m", [2, 3, 4])
def test_volumes_beyond_floating_point_are_an_error(m):
    losses = np.array([[-1.7e308] * m, [*[-1.75e308] * (m - 1), 0.0]])
    with pytest.raises(ValueError, match="overflows; scale the losses"):
        hypervolume_gradient(losses, [1.7e308] * m)

"""What a share of several fronts attains."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paretomtl as pm
from paretomtl.points import score

often = settings(deadline=None, derandomize=True, max_examples=60)
LEVELS = (0.0, 25.0, 50.0, 75.0, 100.0)


def attains(points, place):
    """Whether one of the points is no worse in any loss."""
    return bool((np.asarray(points) <= place).all(axis=1).any())


@st.composite
def several(draw):
    m = draw(st.sampled_from([2, 3]))
    rows = st.lists(st.lists(st.integers(0, 4), min_size=m, max_size=m), min_size=1, max_size=6)
    return [np.array(front, dtype=np.float64) for front in draw(st.lists(rows, min_size=1, max_size=6))]


@often
@given(several())
def test_a_percentile_is_what_at_least_that_share_of_the_fronts_attain(fronts):
    found = score.attainment(fronts, LEVELS)
    for level, corners in zip(LEVELS, found, strict=True):
        least = max(1, np.ceil(len(fronts) * level / 100))
        for place in itertools.product(range(5), repeat=fronts[0].shape[1]):
            assert attains(corners, place) == (sum(attains(front, place) for front in fronts) >= least)


@often
@given(several())
def test_the_corners_are_distinct_and_none_dominates_another(fronts):
    for corners in score.attainment(fronts, LEVELS):
        np.testing.assert_array_equal(corners, score.distinct_front(corners))


@often
@given(several())
def test_of_one_front_it_is_its_nondominated_points(fronts):
    for corners in score.attainment(fronts[:1], LEVELS):
        np.testing.assert_array_equal(corners, score.distinct_front(fronts[0]))


def test_three_fronts_by_hand():
    fronts = [np.array([[1.0, 3.0], [3.0, 1.0]]), np.array([[2.0, 2.0]]), np.array([[4.0, 4.0]])]
    best, median, worst = score.attainment(fronts, [0.0, 50.0, 100.0])
    assert best.tolist() == [[1, 3], [2, 2], [3, 1]]
    assert median.tolist() == [[2, 3], [3, 2]]  # at least two of three
    assert worst.tolist() == [[4, 4]]


@pytest.mark.fault(30)
@pytest.mark.fault(31)
def test_points_in_one_place():
    fronts = [np.array([[0.5, 0.5]] * n) for n in (1, 2, 3)]
    assert [corners.tolist() for corners in score.attainment(fronts, [0.0, 50.0, 100.0])] == [[[0.5, 0.5]]] * 3


@pytest.mark.fault(29)
@pytest.mark.parametrize("fronts", [[], [np.empty((0, 2))], [np.ones((1, 2)), np.empty((0, 2))]])
def test_of_nothing_nothing_is_attained(fronts):
    with pytest.raises(pm.EmptyFrontError):
        score.attainment(fronts, [50.0])


def test_fronts_of_other_shapes_and_nan(unchecked):
    with pytest.raises(ValueError, match=r"fronts\[1\] has shape \(1, 3\); give one row a point, 2 columns"):
        score.attainment([np.ones((1, 2)), np.ones((1, 3))], [50.0])
    with pytest.raises(ValueError, match=r"fronts\[0\]\[1\] is not finite"):
        score.attainment([np.array([[1.0, 1.0], [np.nan, 1.0]])], [50.0])

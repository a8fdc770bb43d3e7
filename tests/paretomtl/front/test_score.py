import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretomtl.front import score
from paretomtl.front.score import EmptyFrontError, Score, hypervolume, n_outside, nondominated, spacing

TWO = np.array([[0.1, 0.8], [0.3, 0.5], [0.7, 0.2]])
THREE = np.array([[0.1, 0.6, 0.5], [0.5, 0.2, 0.4], [0.6, 0.5, 0.1]])

few_integers = st.tuples(st.integers(1, 8), st.integers(2, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 3).map(float))
)
any_finite = st.tuples(st.integers(1, 8), st.integers(2, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-1e300, 1e300))
)
often = settings(deadline=None, derandomize=True, max_examples=60)


def dominates(a, b):
    return (a <= b).all() and (a < b).any()


@pytest.mark.parametrize(("losses", "expected"), [(TWO, 0.66), (THREE, 0.588), (TWO[:1], 0.3), (TWO[1:2], 0.48)])
def test_hypervolume_by_hand(losses, expected):
    m = losses.shape[1]
    assert hypervolume(losses, [1.1] * m) == pytest.approx(expected, abs=1e-12)
    assert hypervolume(losses[::-1].copy(), np.full(m, 1.1)) == pytest.approx(expected, abs=1e-12)


@often
@given(few_integers)
def test_hypervolume_counts_the_cells_that_are_dominated(losses):
    m = losses.shape[1]
    cells = np.array(list(itertools.product(range(4), repeat=m)))
    expected = (losses[:, None] <= cells[None]).all(axis=-1).any(axis=0).sum()
    assert hypervolume(losses, [4.0] * m) == pytest.approx(expected)


@pytest.mark.parametrize("figure", [lambda x: hypervolume(x, [1.0, 1.0]), lambda x: n_outside(x, [1.0, 1.0])])
@pytest.mark.fault(29)
def test_indicators_of_an_empty_front_against_a_reference(figure):
    with pytest.raises(EmptyFrontError, match="no point"):
        figure(np.zeros((0, 2)))


@pytest.mark.parametrize("figure", [nondominated, spacing, score.unit_range, score.check_losses])
@pytest.mark.fault(29)
def test_figures_of_an_empty_front(figure):
    with pytest.raises(EmptyFrontError, match="no point"):
        figure(np.zeros((0, 3)))


def test_an_empty_front_is_a_value_error():
    assert issubclass(EmptyFrontError, ValueError)


@pytest.mark.fault(30)
def test_one_point():
    assert hypervolume(np.array([[0.5, 0.2]]), [1.0, 1.0]) == pytest.approx(0.4)
    assert spacing(np.array([[0.5, 0.2]])) is None
    assert nondominated(np.array([[0.5, 0.2]])).tolist() == [True]


@pytest.mark.fault(31)
def test_duplicates_add_nothing_and_all_stay():
    twice = np.concatenate([TWO, TWO])
    assert hypervolume(twice, [1.1, 1.1]) == pytest.approx(0.66)
    assert spacing(twice) == spacing(TWO)
    assert nondominated(twice).all()


@pytest.mark.fault(32)
def test_points_beyond_the_reference_are_counted_and_left_out():
    assert hypervolume(TWO, [0.5, 1.0]) == pytest.approx(0.4 * 0.2 + 0.2 * 0.3)
    assert n_outside(TWO, [0.5, 1.0]) == 1
    assert n_outside(TWO, [1.1, 1.1]) == 0


@pytest.mark.parametrize("reference", [[0.1, 0.8], [0.05, 0.1], [0.1, 5.0]])
@pytest.mark.fault(32)
def test_hypervolume_is_undefined_where_no_point_dominates_the_reference(reference):
    assert hypervolume(TWO, reference) is None
    assert n_outside(TWO, reference) == 3


@pytest.mark.parametrize("reference", [[np.nan, 1.0], [np.inf, 1.0], [1.0], [1.0, 1.0, 1.0], []])
@pytest.mark.parametrize("figure", [hypervolume, n_outside])
@pytest.mark.fault(33)
def test_bad_reference(figure, reference):
    with pytest.raises(ValueError, match=r"ref_point=.*give 2 "):
        figure(TWO, reference)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "figure",
    [lambda x: hypervolume(x, [1.1, 1.1]), lambda x: n_outside(x, [1.1, 1.1]), nondominated, spacing, score.unit_range],
)
@pytest.mark.fault(2)
def test_non_finite_losses_are_refused(figure, bad):
    losses = TWO.copy()
    losses[1, 0] = bad
    with pytest.raises(ValueError, match=r"losses\[1\] is not finite"):
        figure(losses)


@pytest.mark.parametrize("losses", [[0.1, 0.2], 0.3, [[[0.1, 0.2]]]])
@pytest.mark.usefixtures("unchecked")
def test_losses_of_other_shapes(losses):
    with pytest.raises(ValueError, match="one row a point"):
        hypervolume(losses, [1.0, 1.0])


@often
@given(st.one_of(few_integers, any_finite))
def test_nondominated_is_what_no_other_point_dominates(losses):
    expected = [not any(dominates(other, point) for other in losses) for point in losses]
    assert nondominated(losses).tolist() == expected


def test_spacing_by_hand():
    # nearest neighbours by city block: 0.75, 0.75, 1.25
    uneven = np.array([[0.0, 1.0], [0.25, 0.5], [1.0, 0.0]])
    assert spacing(uneven) == pytest.approx(np.std([0.75, 0.75, 1.25]))
    assert spacing(uneven * [10, 0.1] + [3, -2]) == pytest.approx(spacing(uneven))
    assert spacing(np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]])) == pytest.approx(0, abs=1e-15)


def test_spacing_leaves_constant_objectives_out():
    flat = np.array([[0.0, 1.0, 7.0], [0.25, 0.5, 7.0], [1.0, 0.0, 7.0]])
    assert spacing(flat) == pytest.approx(spacing(flat[:, :2]))


@pytest.mark.fault(15)
def test_unit_range_drops_what_does_not_vary():
    losses = np.array([[1.0, 0.3, -4.0], [3.0, 0.3 * (1 + 1e-15), -2.0], [2.0, 0.3, -3.0]])
    assert score.constant(losses).tolist() == [False, True, False]
    np.testing.assert_allclose(score.unit_range(losses), [[0, 0], [1, 1], [0.5, 0.5]])


@pytest.mark.fault(15)
def test_zeros_do_not_vary_and_tiny_losses_may():
    losses = np.array([[0.0, 1e-200], [0.0, 3e-200]])
    assert score.constant(losses).tolist() == [True, False]
    np.testing.assert_allclose(score.unit_range(losses), [[0], [1]])


def test_score_reads_as_a_table():
    figures = Score(0.65999999, (1.1, 2.0), 1, None, None, None, 4, 3, 0, 2, 0)
    lines = [line.split(maxsplit=1) for line in str(figures).splitlines()]
    assert dict(lines) == {
        "hypervolume": "0.66",
        "ref_point": "(1.1, 2)",
        "n_outside": "1",
        "control_error_mean": "undefined",
        "control_error_worst": "undefined",
        "spacing": "undefined",
        "n_points": "4",
        "n_nondominated": "3",
        "n_failed": "0",
        "n_relaxed": "2",
        "n_fallback": "0",
    }
    assert len({line.index(value) for line, (_, value) in zip(str(figures).splitlines(), lines, strict=True)}) == 1

import itertools

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

from paretomtl.errors import EmptyFrontError
from paretomtl.points import score
from paretomtl.points.score import (
    Score,
    count_outside,
    epsilon_additive,
    hypervolume,
    igd_plus,
    is_nondominated,
    largest_gap,
    measure_volume,
    spacing,
)

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


@pytest.mark.parametrize("figure", [lambda x: hypervolume(x, [1.0, 1.0]), lambda x: count_outside(x, [1.0, 1.0])])
@pytest.mark.fault(29)
def test_indicators_of_an_empty_front_against_a_reference(figure):
    with pytest.raises(EmptyFrontError, match="no point"):
        figure(np.zeros((0, 2)))


@pytest.mark.parametrize("figure", [is_nondominated, spacing, largest_gap, score.scale_to_range, score.check_losses])
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
    assert largest_gap(np.array([[0.5, 0.2]])) is None
    assert is_nondominated(np.array([[0.5, 0.2]])).tolist() == [True]


@pytest.mark.fault(31)
def test_duplicates_add_nothing_and_all_stay():
    twice = np.concatenate([TWO, TWO])
    assert hypervolume(twice, [1.1, 1.1]) == pytest.approx(0.66)
    assert spacing(twice) == spacing(TWO)
    assert largest_gap(twice) == largest_gap(TWO)
    assert is_nondominated(twice).all()


@pytest.mark.fault(32)
def test_points_beyond_the_reference_are_counted_and_left_out():
    assert hypervolume(TWO, [0.5, 1.0]) == pytest.approx(0.4 * 0.2 + 0.2 * 0.3)
    assert count_outside(TWO, [0.5, 1.0]) == 1
    assert count_outside(TWO, [1.1, 1.1]) == 0


@pytest.mark.parametrize("reference", [[0.1, 0.8], [0.05, 0.1], [0.1, 5.0]])
@pytest.mark.fault(32)
def test_hypervolume_is_undefined_where_no_point_dominates_the_reference(reference):
    assert hypervolume(TWO, reference) is None
    assert count_outside(TWO, reference) == 3


@pytest.mark.parametrize("reference", [[np.nan, 1.0], [np.inf, 1.0], [1.0], [1.0, 1.0, 1.0], []])
@pytest.mark.parametrize("figure", [hypervolume, count_outside])
@pytest.mark.fault(33)
def test_bad_reference(figure, reference):
    with pytest.raises(ValueError, match=r"ref_point=.*give 2 "):
        figure(TWO, reference)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "figure",
    [
        lambda x: hypervolume(x, [1.1, 1.1]),
        lambda x: count_outside(x, [1.1, 1.1]),
        lambda x: igd_plus(x, TWO),
        lambda x: epsilon_additive(x, TWO),
        is_nondominated,
        spacing,
        largest_gap,
        score.scale_to_range,
    ],
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
    assert is_nondominated(losses).tolist() == expected


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
    assert score.is_constant(losses).tolist() == [False, True, False]
    np.testing.assert_allclose(score.scale_to_range(losses), [[0, 0], [1, 1], [0.5, 0.5]])


@pytest.mark.fault(15)
def test_zeros_do_not_vary_and_tiny_losses_may():
    losses = np.array([[0.0, 1e-200], [0.0, 3e-200]])
    assert score.is_constant(losses).tolist() == [True, False]
    np.testing.assert_allclose(score.scale_to_range(losses), [[0], [1]])


# points and a reference front of two objectives, with their indicators in moocore's documentation
PUBLISHED = np.array([[3.5, 5.5], [3.6, 4.1], [4.1, 3.2], [5.5, 1.5]])
LINE = np.array([[1.0, 6.0], [2.0, 5.0], [3.0, 4.0], [4.0, 3.0], [5.0, 2.0], [6.0, 1.0]])


def test_distance_to_a_reference_front_by_hand():
    assert igd_plus(PUBLISHED, LINE) == pytest.approx(0.9855036468106652)
    assert epsilon_additive(PUBLISHED, LINE) == pytest.approx(2.5)
    corners = np.array([[0.0, 1.0], [1.0, 0.0], [0.3, 0.4]])
    assert igd_plus(np.array([[0.5, 0.5]]), corners) == pytest.approx((0.5 + 0.5 + np.hypot(0.2, 0.1)) / 3)
    assert epsilon_additive(np.array([[0.5, 0.5]]), corners) == pytest.approx(0.5)


@pytest.mark.parametrize("front", [TWO, THREE])
def test_a_front_is_at_no_distance_from_itself_nor_from_what_it_betters(front):
    assert igd_plus(front, front) == epsilon_additive(front, front) == 0
    assert igd_plus(front - 0.1, front) == 0
    assert epsilon_additive(front - 0.1, front) == pytest.approx(-0.1)
    assert igd_plus(front + 0.1, front) == pytest.approx(0.1 * front.shape[1] ** 0.5)
    assert epsilon_additive(front + 0.1, front) == pytest.approx(0.1)


def test_distances_are_in_the_units_of_the_losses():
    assert igd_plus(100 * PUBLISHED, 100 * LINE) == pytest.approx(98.55036468106652)
    assert epsilon_additive(100 * PUBLISHED, 100 * LINE) == pytest.approx(250)


def test_only_the_distinct_nondominated_points_of_a_reference_count():
    more = np.vstack([LINE, LINE[:2], [[9.0, 9.0]]])
    assert igd_plus(PUBLISHED, more) == pytest.approx(igd_plus(PUBLISHED, LINE))
    assert epsilon_additive(PUBLISHED, more) == epsilon_additive(PUBLISHED, LINE)


@pytest.mark.parametrize("figure", [igd_plus, epsilon_additive])
@pytest.mark.parametrize(
    ("reference", "error", "said"),
    [
        pytest.param(np.zeros((0, 2)), EmptyFrontError, "no point in reference", marks=pytest.mark.fault(29)),
        pytest.param(
            [[0.1, 0.2], [np.nan, 0.0]], ValueError, r"reference\[1\] is not finite", marks=pytest.mark.fault(2)
        ),
        pytest.param([[-np.inf, 0.2]], ValueError, r"reference\[0\] is not finite", marks=pytest.mark.fault(2)),
    ],
)
def test_bad_reference_front(figure, reference, error, said):
    with pytest.raises(error, match=said):
        figure(TWO, np.array(reference))
    if error is EmptyFrontError:
        with pytest.raises(error, match="no point in losses"):
            figure(np.zeros((0, 2)), TWO)


@pytest.mark.parametrize("figure", [igd_plus, epsilon_additive])
@pytest.mark.usefixtures("unchecked")
def test_a_reference_front_of_other_objectives(figure):
    with pytest.raises(ValueError, match=r"reference has shape \(3, 3\); give .* 2 columns"):
        figure(TWO, THREE)


def test_largest_gap_by_hand():
    # scaled to its own range, the steps are (1/4, 1/2) and (3/4, 1/2)
    uneven = np.array([[0.0, 1.0], [0.25, 0.5], [1.0, 0.0]])
    assert largest_gap(uneven) == pytest.approx(np.hypot(0.75, 0.5))
    assert largest_gap(uneven * [10, 0.1] + [3, -2]) == pytest.approx(largest_gap(uneven))
    assert largest_gap(np.vstack([uneven, [[0.6, 0.6]]])) == largest_gap(uneven)
    assert largest_gap(np.insert(uneven, 1, 7.0, axis=1)) == pytest.approx(largest_gap(uneven))


def test_largest_gap_within_a_given_range():
    ends = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert largest_gap(ends) == pytest.approx(2**0.5)
    assert largest_gap(ends, (np.array([-1.0, 0.0]), np.array([1.0, 4.0]))) == pytest.approx(np.hypot(1 / 2, 1 / 4))
    assert largest_gap(ends, (np.array([0.0, 3.0]), np.array([4.0, 3.0]))) == pytest.approx(1 / 4)
    assert largest_gap(ends, (np.array([0.0, 3.0]), np.array([0.0, 3.0]))) is None
    with pytest.raises(ValueError, match=r"within\[1\] is not finite"):
        largest_gap(ends, (np.array([0.0, 0.0]), np.array([1.0, np.inf])))


def test_largest_gap_of_two_objectives_is_between_neighbours():
    a = np.sort(np.random.default_rng(3).random(40))
    line = np.stack([a, np.sort(1 - a**2)[::-1]], axis=1)
    scaled = (line - line.min(axis=0)) / np.ptp(line, axis=0)
    steps = np.linalg.norm(np.diff(scaled, axis=0), axis=1)
    assert largest_gap(np.random.default_rng(4).permutation(line)) == pytest.approx(steps.max())


def simplex(n, m, seed=0):
    """Points of which none dominates another."""
    drawn = np.random.default_rng(seed).exponential(size=(n, m))
    return drawn / drawn.sum(axis=1, keepdims=True)


def by_scipy(losses):
    kept = np.unique(losses[is_nondominated(losses)], axis=0)
    if len(kept) < 2:
        return None
    span = np.ptp(kept, axis=0)
    scaled = kept / np.where(span == 0, 1, span)
    return pytest.approx(minimum_spanning_tree(cdist(scaled, scaled)).toarray().max())


@often
@given(few_integers)
def test_largest_gap_is_the_longest_edge_of_a_minimum_spanning_tree(losses):
    assert largest_gap(losses) == by_scipy(losses)


@pytest.mark.parametrize("m", [3, 4, 6])
def test_largest_gap_of_many_points(m):
    assert largest_gap(simplex(60, m)) == by_scipy(simplex(60, m))


@pytest.mark.parametrize(("n", "m"), [(300, 2), (300, 5), (200, 6), (30, 10), (12, 15)])
@pytest.mark.fault(35)
def test_hypervolume_is_exact_where_that_is_quick(n, m):
    losses = simplex(n, m)
    found = measure_volume(losses, [1.0] * m)
    assert found == (hypervolume(losses, [1.0] * m), 0)
    assert found.value == pytest.approx(moocore.hypervolume(losses, ref=[1.0] * m), rel=1e-12)


@pytest.mark.parametrize(
    ("n", "m"), [(720, 6), (120, 8), (60, 10), pytest.param(30, 12, marks=pytest.mark.fault(28)), (13, 20)]
)
@pytest.mark.fault(35)
def test_hypervolume_is_approximate_with_its_error_where_the_exact_one_is_costly(n, m):
    losses = simplex(n, m)
    found = measure_volume(losses, [1.0] * m)
    assert 0 < found.error < 0.05 * found.value
    assert hypervolume(losses, [1.0] * m) == found.value  # the same at each call


@pytest.mark.parametrize("m", [4, 5, 6])
@pytest.mark.parametrize("shape", ["flat", "round", "hollow"])
@pytest.mark.fault(35)
def test_an_approximate_hypervolume_is_off_by_less_than_its_error(monkeypatch, m, shape):
    flat = simplex(60, m, seed=m)
    ball = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    losses = {"flat": flat, "round": ball, "hollow": 1 - ball}[shape]
    reference = np.full(m, 1.2)
    exact = measure_volume(losses, reference)
    monkeypatch.setattr(score, "MOST_EXACT", dict.fromkeys(range(2, 7), 0))
    found = measure_volume(losses, reference)
    assert exact.error == 0 < found.error < 0.01 * exact.value
    assert abs(found.value - exact.value) < found.error


@pytest.mark.fault(17)
@pytest.mark.fault(35)
def test_an_approximate_hypervolume_and_its_error_know_no_scale():
    losses, scale, shift = simplex(60, 10), 10.0 ** np.arange(-5, 5), np.arange(10.0)
    found = measure_volume(losses, np.ones(10))
    assert measure_volume(losses * scale, scale) == pytest.approx(np.array(found) * scale.prod(), rel=1e-9)
    assert measure_volume(losses + shift, 1 + shift) == pytest.approx(np.array(found), rel=1e-9)


@pytest.mark.fault(35)
def test_only_what_makes_the_exact_hypervolume_costly_makes_it_approximate():
    losses = simplex(20, 10)
    more = np.vstack([losses, losses, 0.9 * losses + 0.1, losses + np.eye(10)[0]])
    assert measure_volume(more, np.ones(10)) == pytest.approx(measure_volume(losses, np.ones(10)), rel=1e-12)
    assert measure_volume(more, np.ones(10)).error == 0


FIGURES = Score(
    hypervolume=0.65999999,
    hypervolume_error=None,
    hypervolume_interval=None,
    ref_point=(1.1, 2.0),
    n_outside=1,
    control_error_mean=None,
    control_error_worst=None,
    igd_plus=None,
    epsilon_additive=None,
    spacing=None,
    largest_gap=None,
    n_seeds=1,
    n_points=4,
    n_nondominated=3,
    n_failed=0,
    n_relaxed=2,
    n_fallback=0,
)


def read(figures):
    return dict(line.split(maxsplit=1) for line in str(figures).splitlines())


def test_score_reads_as_a_table():
    assert read(FIGURES) == {
        "hypervolume": "0.66",
        "hypervolume_interval": "not available (one seed)",
        "ref_point": "(1.1, 2)",
        "n_outside": "1",
        "control_error_mean": "undefined",
        "control_error_worst": "undefined",
        "igd_plus": "undefined (no reference front)",
        "epsilon_additive": "undefined (no reference front)",
        "spacing": "undefined",
        "largest_gap": "undefined",
        "n_seeds": "1",
        "n_points": "4",
        "n_nondominated": "3",
        "n_failed": "0",
        "n_relaxed": "2",
        "n_fallback": "0",
    }
    lines = str(FIGURES).splitlines()
    assert len({line.index(value) for line, value in zip(lines, read(FIGURES).values(), strict=True)}) == 1
    assert read(FIGURES._replace(hypervolume=None))["hypervolume"] == "undefined"


@pytest.mark.fault(92)
@pytest.mark.parametrize(
    ("seeds", "interval", "said"),
    [(1, None, "not available (one seed)"), (3, 0.0123456, "0.012346"), (3, None, "not available (undefined)")],
)
def test_an_interval_takes_several_seeds(seeds, interval, said):
    assert read(FIGURES._replace(n_seeds=seeds, hypervolume_interval=interval))["hypervolume_interval"] == said


@pytest.mark.fault(35)
def test_score_says_what_is_approximate():
    figures = FIGURES._replace(hypervolume=0.59118, hypervolume_error=0.001234, igd_plus=0.0, epsilon_additive=-0.25)
    assert read(figures)["hypervolume"] == "0.59118 ± 0.0012 (approximate)"
    assert (read(figures)["igd_plus"], read(figures)["epsilon_additive"]) == ("0", "-0.25")

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from paretomtl.points.seeds import Comparison, assess_tradeoff, compare_paired, interval_half_width, spread_over_seeds

NAMES = ("left", "right")
often = settings(deadline=None, derandomize=True, max_examples=40)


def ids(k):
    return [f"point-{i:03d}" for i in range(k)]


def array(values):
    return np.asarray(values, dtype=float)


def trained(seed, shift, s=4, sd=0.01):
    """Losses of s seeds and their ideals: `shift` (k, m) above them, with noise of its own on each."""
    random = np.random.default_rng(seed)
    shift = array(shift)
    ideals = 0.5 + random.normal(0, sd, (s, shift.shape[1]))
    return 0.5 + shift + random.normal(0, sd, (s, *shift.shape)), ideals


def asked(losses, ideals):
    return assess_tradeoff(ids(losses.shape[1]), [f"loss{i}" for i in range(losses.shape[2])], losses, ideals)


def test_interval_by_hand():
    # t(0.975, 2) = 4.302653; the sd of 1, 2, 3 is 1
    assert interval_half_width(array([1, 2, 3])) == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert interval_half_width(array([[0, 5], [2, 5]])) == pytest.approx(array([12.706205, 0]), rel=1e-6)


def test_interval_agrees_with_scipy():
    samples = np.random.default_rng(0).normal(size=(7, 3, 2))
    low, high = stats.t.interval(0.95, 6, loc=samples.mean(axis=0), scale=stats.sem(samples, axis=0))
    half = interval_half_width(samples)
    assert half == pytest.approx((high - low) / 2)
    assert half == pytest.approx(high - samples.mean(axis=0))


@pytest.mark.fault(92)
@pytest.mark.parametrize("n", [0, 1])
def test_one_seed_has_no_interval(n):
    assert interval_half_width(np.zeros((n, 4))) is None
    assert interval_half_width(np.zeros(n)) is None


@pytest.mark.parametrize("n", [2, 3, 10])
def test_interval_covers_the_mean_as_often_as_it_says(n):
    samples = np.random.default_rng(n).normal(3, 2, (n, 4000))
    covered = np.abs(samples.mean(axis=0) - 3) <= interval_half_width(samples)
    assert 0.93 <= covered.mean() <= 0.97


def test_spread_by_hand():
    found = spread_over_seeds(["a", "b"], NAMES, [array([[1, 4], [2, 4], [3, 4]]), array([[5, 6]])])
    assert found.n == (3, 1)
    assert found.mean.tolist() == [[2, 4], [5, 6]]
    assert found.sd[0].tolist() == [1, 0]
    assert found.half_width[0] == pytest.approx(array([4.302653 / 3**0.5, 0]), rel=1e-6)


@pytest.mark.fault(92)
def test_spread_of_one_seed_or_none_says_so():
    found = spread_over_seeds(ids(3), NAMES, [array([[0.1234, 2]]), np.zeros((0, 2)), array([[0.1, 2], [0.2, 2]])])
    assert np.isnan(found.sd).all(axis=1).tolist() == [True, True, False]
    assert np.isnan(found.half_width).all(axis=1).tolist() == [True, True, False]
    lines = str(found).splitlines()
    assert "95% confidence interval of the mean" in lines[0]
    assert "0.1234 (one seed: no interval)" in lines[2]
    assert lines[3].count("failed at every seed") == 2
    assert "0.15 ± 0.64" in lines[4]
    assert "nan" not in str(found)
    assert "±" not in lines[2]


def test_spread_is_an_aligned_table():
    groups = [array([[0.1200, 1], [0.1210, 2], [0.1220, 3]]), array([[10, 1], [12, 2]])]
    _, header, *rows = str(spread_over_seeds(["a", "a-longer-id"], NAMES, groups)).splitlines()
    assert rows[0].split() == ["a", "3", "0.1210", "±", "0.0025", "2.0", "±", "2.5"]
    at = header.index("right")
    assert all(row[at - 2 : at] == "  " and row[at] != " " for row in rows)


def test_spread_without_points_is_a_header():
    assert str(spread_over_seeds([], NAMES, [])).splitlines()[1:] == ["id  n  left  right"]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("groups", [[np.zeros((2, 2))], [np.zeros((2, 2)), np.zeros((2, 3))], [np.zeros(2)] * 2])
def test_spread_refuses_other_shapes(groups):
    with pytest.raises(ValueError, match=r"groups has shapes .* give 2 groups"):
        spread_over_seeds(["a", "b"], NAMES, groups)


def test_spread_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match=r"groups\[1\]\[0, 1\] is not finite; leave out"):
        spread_over_seeds(["a", "b"], NAMES, [np.zeros((1, 2)), array([[0, np.nan]])])


def test_a_large_difference_is_measurable():
    found = asked(*trained(0, [[0.0, 0.5], [0.2, 0.2], [0.5, 0.0]], s=5))
    assert found.measurable is True
    assert found.why.startswith("measurable: every point is above an ideal by more than seed noise; closest is point-0")
    assert found.why.endswith(", 5 seeds)")


def test_a_point_at_the_ideals_is_no_trade_off():
    found = assess_tradeoff(ids(3), NAMES, *trained(0, [[0.0, 0.5], [0.0, 0.0], [0.5, 0.0]], s=3))
    assert found.measurable is False
    assert "point-001 is within seed noise of the ideals, or better, in every objective (left " in found.why
    assert found.why.endswith(", 3 seeds); 3 seeds only show large differences")


def test_measurable_by_hand():
    # losses less ideals are 0.1, 0.2, 0.3: t = 3.46 where 4.30 is asked at 2.5 %; and 1.1, 1.2, 1.3: t = 20.8
    ideals = array([[1, 1], [2, 2], [3, 3]])
    near, far = array([[1.1, 1], [2.2, 2], [3.3, 3]]), array([[2.1, 1], [3.2, 2], [4.3, 3]])
    found = assess_tradeoff(["near", "far"], NAMES, np.stack([near, far], axis=1), ideals)
    assert found.measurable is False
    assert "near is within seed noise" in found.why
    assert "left +0.20 ± 0.25" in found.why
    assert assess_tradeoff(["far"], NAMES, far[:, None], ideals).measurable is True


@pytest.mark.parametrize("m", [2, 3])
def test_measurable_is_scipys_t_test_shared_by_the_objectives(m):
    seen = set()
    for seed in range(60):
        losses, ideals = trained(seed, np.full((2, m), 0.01))
        p = stats.ttest_1samp(losses - ideals[:, None], 0, axis=0, alternative="greater").pvalue
        expected = bool((p.min(axis=1) < 0.05 / m).all())
        assert asked(losses, ideals).measurable is expected
        seen.add(expected)
    assert seen == {True, False}


@pytest.mark.parametrize(("s", "m", "k"), [(2, 2, 1), (3, 2, 1), (5, 3, 1), (5, 2, 4)])
def test_measurable_is_seldom_wrong_where_a_point_has_all_ideals(s, m, k):
    # the first point has all ideals; the others are far, which is the hardest case for the test
    shift = np.ones((k, m))
    shift[0] = 0
    wrong = np.mean([asked(*trained(seed, shift, s)).measurable for seed in range(800)])
    assert wrong <= 0.065


def test_measurable_sees_large_trade_offs():
    for s, share in ((2, 0.9), (3, 0.95), (5, 0.99)):
        found = [asked(*trained(seed, [[0, 1], [0.6, 0.6], [1, 0]], s)).measurable for seed in range(200)]
        assert np.mean(found) >= share


def test_pairing_by_seed_removes_what_a_seed_does_to_all():
    losses, ideals = trained(0, [[0.0, 0.05], [0.05, 0.0]], s=5, sd=0.001)
    luck = array([-1, 0.5, 2, 0, -0.7])
    assert asked(losses + luck[:, None, None], ideals + luck[:, None]).measurable is True


@pytest.mark.fault(92)
def test_one_seed_measures_no_trade_off():
    assert asked(*trained(0, [[1, 1]], s=1)) == (None, "not available: one seed; explore with seeds=2 or more")


def test_no_point_measures_no_trade_off():
    found = asked(np.zeros((3, 0, 2)), np.zeros((3, 2)))
    assert found == (None, "not available: no point succeeded at every seed")


@pytest.mark.parametrize(("above", "expected"), [(0, False), (1e-12, False), (1e-6, True), (-0.1, False)])
@pytest.mark.parametrize("ideal", [0.7, 70.0])
def test_measurable_without_spread(above, expected, ideal):
    ideals = np.full((3, 2), ideal)
    losses = np.repeat((ideals + array([0, above * ideal]))[:, None], 2, axis=1)
    assert asked(losses, ideals).measurable is expected


def test_measurable_at_ideals_of_zero():
    assert asked(np.zeros((3, 1, 2)), np.zeros((3, 2))).measurable is False
    assert asked(np.full((3, 1, 2), 1e-3), np.zeros((3, 2))).measurable is True


@often
@given(st.integers(0, 10**6), st.floats(0, 0.05), st.floats(1e-3, 1e3))
def test_order_and_units_do_not_change_what_is_measurable(seed, shift, factor):
    losses, ideals = trained(seed, [[0, shift], [shift, shift], [shift, 0]])
    expected = asked(losses, ideals).measurable
    random = np.random.default_rng(seed)
    seeds, points = random.permutation(4), random.permutation(3)
    assert asked(losses[seeds], ideals[seeds]).measurable is expected
    assert asked(losses[:, points], ideals).measurable is expected
    assert asked(losses[:, :, ::-1].copy(), ideals[:, ::-1].copy()).measurable is expected
    scale = array([factor, 1])
    assert asked(losses * scale, ideals * scale).measurable is expected


def test_measurable_refuses_other_shapes_and_what_is_not_finite(unchecked):
    with pytest.raises(ValueError, match=r"losses has shape .* give "):
        assess_tradeoff(ids(2), NAMES, np.zeros((3, 2, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"losses\[0, 0, 0\] is not finite"):
        assess_tradeoff(ids(1), NAMES, np.full((3, 1, 2), np.nan), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"ideals\[0, 0\] is not finite"):
        assess_tradeoff(ids(1), NAMES, np.zeros((3, 1, 2)), np.full((3, 2), np.inf))


def test_compare_by_hand():
    found = compare_paired(array([2, 4, 6]), array([1, 2, 3]))  # differences 1, 2, 3
    assert found.difference == 2
    assert found.half_width == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert (found.p, found.n, found.verdict) == (0.25, 3, "draw")
    assert str(found).startswith("draw: +2.0 ± 2.5 (95% interval, 3 seeds), Wilcoxon p = 0.25; with 3 ")


def test_compare_agrees_with_scipy():
    seen = set()
    for seed in range(40):
        here, there = np.random.default_rng(seed).normal([[1.0], [0.0]], 1, (2, 8))
        found = compare_paired(here, there)
        low, high = stats.ttest_rel(here, there).confidence_interval(0.95)
        expected = "better" if low > 0 else "worse" if high < 0 else "draw"
        assert found.p == pytest.approx(stats.wilcoxon(here, there).pvalue)
        assert found.half_width == pytest.approx((high - low) / 2)
        assert (found.verdict, found.note) == (expected, "")
        seen.add(expected)
    assert seen >= {"better", "draw"}


def test_compare_knows_which_way_is_better():
    high, low = array([1.0, 1.1, 1.2]), array([0.0, 0.1, 0.21])
    assert compare_paired(high, low).verdict == "better"
    assert compare_paired(low, high).verdict == "worse"
    assert compare_paired(high, low, larger_is_better=False).verdict == "worse"
    assert compare_paired(low, high, larger_is_better=False).verdict == "better"


@pytest.mark.fault(92)
def test_compare_of_one_seed_is_not_available():
    found = compare_paired(array([2]), array([1]))
    assert found == Comparison(1.0, None, None, 1, "not available", "one seed; explore with seeds=2 or more")
    assert str(found) == "not available: +1; one seed; explore with seeds=2 or more"


@pytest.mark.fault(94)
@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7])
def test_few_pairs_cannot_reach_five_percent(n):
    there = np.arange(n, dtype=float)
    found = compare_paired(there + 1 + 0.1 * there, there)
    assert found.p == pytest.approx(2 / 2**n)
    assert ("cannot reach 0.05" in found.note) is (n < 6)
    assert n >= 6 or f"its least p is {2 / 2**n:.4g}" in found.note


@pytest.mark.fault(94)
@pytest.mark.parametrize("n", [2, 5, 6, 20])
def test_ties_get_no_smaller_p_than_there_is(n):
    found = compare_paired(np.ones(n), np.zeros(n))
    assert found.p == pytest.approx(2 / 2**n)


@pytest.mark.fault(94)
def test_pairs_without_a_difference_do_not_count_for_the_least_p():
    found = compare_paired(array([1, 2, 3, 4, 5, 0, 0]), np.zeros(7))
    assert found.n == 7
    assert found.p == pytest.approx(0.0625)
    assert "with 5 differing pairs" in found.note


@pytest.mark.parametrize("rounding", [0, 4e-16])
def test_equal_figures_are_a_draw(rounding):
    here = array([0.5, 0.7, 0.9])
    assert compare_paired(here, here * (1 + rounding)) == Comparison(0.0, 0.0, 1.0, 3, "draw", "all pairs are equal")


def test_a_difference_without_spread_counts():
    assert compare_paired(np.full(3, 0.3), np.full(3, 0.2)).verdict == "better"
    assert compare_paired(np.full(3, 0.2), np.full(3, 0.3)).verdict == "worse"


@often
@given(st.integers(0, 10**6), st.floats(0, 2), st.floats(1e-3, 1e3))
def test_order_and_units_do_not_change_a_verdict(seed, shift, factor):
    random = np.random.default_rng(seed)
    here, there = random.normal([[shift], [0.0]], 1, (2, 5))
    order, expected = random.permutation(5), compare_paired(here, there)
    for found in (compare_paired(here[order], there[order]), compare_paired(here * factor, there * factor)):
        assert found.verdict == expected.verdict
        assert found.p == pytest.approx(expected.p)


def test_a_draw_is_found_as_often_as_it_says():
    here, there = np.random.default_rng(0).normal(size=(2, 1000, 4))
    draws = [compare_paired(a, b).verdict == "draw" for a, b in zip(here, there, strict=True)]
    assert 0.93 <= np.mean(draws) <= 0.97


@pytest.mark.parametrize(
    ("here", "there", "message"),
    [
        ([1, 2], [1], "first has shape .* give one figure a seed"),
        ([], [], "first has shape .* give one figure a seed"),
        ([1, np.nan], [1, 2], r"first\[1\] is not finite; leave out the seeds"),
        ([1, 2], [np.inf, 2], r"second\[0\] is not finite; leave out the seeds"),
    ],
)
def test_compare_refuses_what_it_cannot_pair(here, there, message, unchecked):
    with pytest.raises(ValueError, match=message):
        compare_paired(array(here), array(there))


def test_importing_it_does_not_import_scipys_statistics():
    code = "import sys, numpy, jaxtyping, paretomtl.points.seeds; print('scipy.stats' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"

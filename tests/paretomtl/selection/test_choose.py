"""The few models that keep most of a front's hypervolume."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paretomtl as pm
from paretomtl.points.score import hypervolume
from tests.fronts import seeded


def front(rows, ref_point):
    return pm.Front.from_values(np.array(rows, dtype=np.float64), list("abcdef"[: len(ref_point)]), ref_point)


def best(rows, ref_point, k):
    """By trying all."""
    rows = np.array(rows, dtype=np.float64)
    return max(hypervolume(rows[list(c)], ref_point) or 0.0 for c in itertools.combinations(range(len(rows)), k))


@settings(deadline=None, derandomize=True, max_examples=80)
@given(data=st.data(), m=st.integers(2, 3), k=st.integers(1, 4))
@pytest.mark.fault(31)
def test_no_other_choice_of_as_many_loses_less(data, m, k):
    number = st.integers(0, 6).map(float)
    rows = data.draw(st.lists(st.tuples(*[number] * m), min_size=1, max_size=9))
    k, ref_point = min(k, len(rows)), [5.0] * m
    if not any(max(row) < 5 for row in rows):
        with pytest.raises(ValueError, match="no point dominates ref_point"):
            front(rows, ref_point).choose(k)
        return
    made = front(rows, ref_point)
    chosen = made.choose(k)
    assert chosen.hypervolume == pytest.approx(best(rows, ref_point, k))
    assert 1 <= len(chosen.points) <= k
    kept = np.array([p.losses["validate"] for p in chosen.points])
    assert hypervolume(kept, ref_point) == pytest.approx(chosen.hypervolume)
    assert chosen.lost == pytest.approx(1 - chosen.hypervolume / made.hypervolume())
    assert len(np.unique(kept, axis=0)) == len(kept)
    assert "no other choice loses less" in chosen.why


def test_the_plane_of_two_with_many_points():
    x = np.linspace(0.01, 1, 400)
    made = front(np.stack([x, 1 / x / 100], axis=1), (1.5, 1.5))
    few, more = made.choose(3), made.choose(12)
    assert few.hypervolume < more.hypervolume < made.hypervolume()
    assert [p.id for p in few.points] == sorted(p.id for p in few.points)
    assert few.why.startswith(
        f"{', '.join(p.id for p in few.points)} keep {1 - few.lost:.2%} of the front's hypervolume"
    )


def test_many_points_of_four_are_found_greedily_and_improved():
    rows = np.random.default_rng(0).random((60, 4))
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    chosen = front(rows, (1.1,) * 4).choose(4)
    assert "found greedily and improved by exchanges" in chosen.why
    kept = [int(p.id[-3:]) - 1 for p in chosen.points]
    for j, i in itertools.product(range(4), range(60)):  # no exchange betters it
        other = [*kept[:j], *kept[j + 1 :], i]
        assert (hypervolume(rows[other], (1.1,) * 4) or 0) <= chosen.hypervolume * (1 + 1e-9)


def test_as_many_as_there_are():
    chosen = front([(0.2, 0.8), (0.8, 0.2), (0.9, 0.9)], (1.0, 1.0)).choose(3)
    assert [p.id for p in chosen.points] == ["point-001", "point-002"]
    assert chosen.lost == 0.0
    assert "keep 100.00%" in chosen.why
    assert "only 2 points add to it" in chosen.why


def test_of_several_seeds_the_models_nearest_to_the_means(tmp_path):
    made = seeded(
        tmp_path, [(0.1, 0.9), (0.5, 0.5), (0.9, 0.1)], [(0.1, 0.9), (0.4, 0.4), (0.9, 0.1)], ref_point=[1.0, 1.0]
    )
    chosen = made.choose(1)
    assert [p.id.partition("-seed")[0] for p in chosen.points] == ["p2"]
    assert chosen.hypervolume == pytest.approx(0.55**2)


@pytest.mark.fault(29)
def test_an_empty_front_has_nothing_to_choose(tmp_path):
    with pytest.raises(pm.EmptyFrontError):
        seeded(tmp_path, [None, None]).choose(2)


@pytest.mark.parametrize("k", [0, -1])
def test_numbers_of_models_that_make_no_sense(k):
    with pytest.raises(ValueError, match=f"k={k} is not a number of models"):
        front([(0.2, 0.8)], (1.0, 1.0)).choose(k)


@pytest.mark.fault(123)
def test_more_models_than_points():
    with pytest.raises(ValueError, match=r"k=9: the front has 4 points; give at most 4"):
        front([(0.2, 0.8), (0.4, 0.6), (0.6, 0.4), (0.8, 0.2)], (1.0, 1.0)).choose(9)
    with pytest.raises(ValueError, match=r"k=2: the front has 1 point; give at most 1"):
        front([(0.2, 0.8)], (1.0, 1.0)).choose(2)

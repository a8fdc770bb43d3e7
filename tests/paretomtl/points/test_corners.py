"""The range of each loss from the corners, and the rules where they do not tell it."""

from dataclasses import replace

import pytest

from paretomtl.point import Point
from paretomtl.points.corners import find_range

NAMES = ("a", "b", "c")


def corners(*rows, seed=0):
    return [Point(f"ideal-{i + 1}", (), NAMES[i], losses={"validate": row}, seed=seed) for i, row in enumerate(rows)]


WHOLE = corners((0.1, 5.0, 2.0), (1.0, 2.0, 3.0), (0.9, 4.0, 1.0))


def test_the_ideal_is_the_own_corner_and_the_nadir_the_worst_of_the_others():
    found, notes = find_range(WHOLE, NAMES)
    assert found == ((0.1, 2.0, 1.0), (1.0, 5.0, 3.0))
    assert not notes


def test_with_several_seeds_it_is_the_median():
    other = corners((0.12, 6.0, 2.0), (1.2, 2.2, 3.0), (0.9, 4.0, 1.1), seed=1)
    third = corners((0.3, 50.0, 2.0), (9.0, 2.4, 30.0), (0.9, 4.0, 1.2), seed=2)
    found, notes = find_range([*WHOLE, *other, *third], NAMES)
    assert found == ((0.12, 2.2, 1.1), (1.2, 6.0, 3.0))
    assert not notes


def failing(points, k):
    return [replace(p, state="failed", reason="nan in 'b' at step 3") if i == k else p for i, p in enumerate(points)]


@pytest.mark.fault(109)
def test_a_seed_with_a_failed_corner_does_not_count():
    other = corners((0.2, 6.0, 2.0), (1.2, 2.2, 3.0), (0.9, 4.0, 1.1), seed=1)
    found, (note,) = find_range([*WHOLE, *failing(other, 1)], NAMES)
    assert found == find_range(WHOLE, NAMES)[0]
    assert note == "a corner failed (nan in 'b' at step 3): its seed does not count for the range of losses"


@pytest.mark.fault(109)
def test_where_a_corner_failed_in_every_seed_losses_stay_as_they_are():
    found, (note,) = find_range(failing(WHOLE, 1), NAMES)
    assert found == ((0.0,) * 3, (1.0,) * 3)
    assert "a corner failed in every seed (nan in 'b' at step 3), so losses are not normalised" in note
    assert "give normalise=" in note


@pytest.mark.fault(109)
def test_a_dominated_corner_counts_for_the_ideal_alone():
    found, (note,) = find_range(corners((0.3, 9.0, 9.0), (0.2, 2.0, 3.0), (0.9, 4.0, 1.0)), NAMES)
    assert found == ((0.2, 2.0, 1.0), (0.9, 4.0, 3.0))
    assert note.startswith(
        "training 'a' alone ended with larger losses than training another one alone, in 1 of 1 seeds"
    )


@pytest.mark.fault(15)
def test_a_constant_objective_is_left_out():
    found, (note,) = find_range(corners((0.1, 5.0, 2.0), (1.0, 2.0, 2.0), (0.9, 4.0, 2.0)), NAMES)
    assert found == ((0.1, 2.0, 0.0), (1.0, 5.0, 1.0))
    assert note.startswith(
        "loss 'c' is 2 where it is trained alone, and 2 at worst where others are: the same. It is not"
    )


def test_a_range_within_the_noise_of_the_seeds_is_left_out():
    rows = [corners((0.1, 5.0, 2.0), (1.0, 2.0, 2.05), (0.9, 4.0, c), seed=s) for s, c in enumerate((1.9, 2.0, 2.1))]
    found, (note,) = find_range([p for row in rows for p in row], NAMES)
    assert found == ((0.1, 2.0, 0.0), (1.0, 5.0, 1.0))
    assert "within its spread over seeds" in note

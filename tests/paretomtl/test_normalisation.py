"""The range of each loss: read, given, refused."""

import numpy as np
import pytest

import paretomtl as pm
from paretomtl.normalisation import build_normalisation, read_normalisation

NAMES = ("a", "b")
RANGE = pm.Normalisation((0.5, 10.0), (1.5, 30.0))


def test_losses_run_from_0_at_the_ideal_to_1_at_the_nadir():
    np.testing.assert_array_equal(
        RANGE.apply(np.array([RANGE.ideal, RANGE.nadir, (1.0, 15.0)])), [[0, 0], [1, 1], [0.5, 0.25]]
    )
    assert RANGE.convert((2.5, 0.0)) == (2.0, -0.5)


def test_what_a_study_stores_is_read_again():
    assert read_normalisation({"normalisation": RANGE.to_stored()}) == RANGE
    assert read_normalisation({"normalisation": None}) is None
    assert read_normalisation({}) is None


@pytest.mark.parametrize("given", [RANGE, {"b": (10, 30), "a": [0.5, 1.5]}], ids=["of a front", "by name"])
def test_a_range_may_be_given(given):
    assert build_normalisation(given, NAMES) == RANGE


@pytest.mark.parametrize("none", [None, "corners"])
def test_without_numbers_there_is_none_yet(none):
    assert build_normalisation(none, NAMES) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("corner", r"normalise='corner': give 'corners', None, or a range \(ideal, nadir\) for each of \['a', 'b'\]"),
        ({"a": (0, 1)}, "give 'corners', None, or a range"),
        (
            {"a": (0, 1), "b": (2, 2)},
            r"the range of 'b' is \(2, 2\); give two finite numbers, the ideal and the larger",
        ),
        ({"a": (0, 1), "b": (0, float("inf"))}, "the range of 'b' is"),
        ({"a": (0, 1), "b": 3}, "the range of 'b' is 3"),
        ({"a": (0, 1), "b": (1, 2, 3)}, "the range of 'b' is"),
    ],
)
def test_anything_else_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        build_normalisation(given, NAMES)

from dataclasses import replace

import pytest

import paretomtl as pm
from tests.fronts import failed, point, stored


def test_table(tmp_path):
    corner = point("ideal-1", (0.1, 10.0), preference=(1.0, 0.0), corner="a")
    made = stored(tmp_path, [point("p1", (0.5, 1.0), preference=(0.25, 0.75)), failed("p2"), corner])
    assert made.table().splitlines() == [
        "point      r a    r b  validate a  validate b  off ray  status",
        "p1       0.250  0.750      0.5000      1.0000    1.00°  solved",
        "ideal-1  1.000  0.000      0.1000     10.0000           alone",
        "p2       0.500  0.500                                   failed: nan in 'a' at step 3",
    ]


@pytest.mark.parametrize("names", [("a", "b", "c"), ("a", "b", "c", "d")])
def test_table_of_more_objectives(tmp_path, names):
    m = len(names)
    made = stored(tmp_path, [point("p1", (0.5,) * m), failed("p2", m)], names)
    lines = made.table().splitlines()
    assert len(lines) == 3
    assert lines[1].count("0.5000") == m
    assert "failed: nan" in lines[2]


def test_table_shows_measures_and_failed_corners(tmp_path):
    good = point("p1", (0.5, 1.0), values={"validate": (81.25, 3.0)})
    corner = replace(failed("ideal-1"), corner="a")
    objectives = [pm.Objective("a", unit="%", goal="max"), "b"]
    head, first, second = stored(tmp_path, [good, corner], objectives, measured=True).table().splitlines()
    assert "a [%]  b [measure]" in head
    assert "0.5000" in first
    assert "81.25" in first
    assert second.endswith("  failed: nan in 'a' at step 3")

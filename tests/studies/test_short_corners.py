"""The study of short corners, in small."""

from functools import partial

import pytest

import paretomtl_solvers as ps
from studies import short_corners
from studies.short_corners import Trial, rows_of
from tests import toys


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_row_for_each_way_to_know_the_range(monkeypatch):
    monkeypatch.setattr(short_corners, "SEEDS", range(1))
    trial = Trial("toy", partial(toys.two_regressions, ref_point=[3.0, 3.0]), ps.SmoothTchebycheff(), 3, 24, 0.05)
    rows = rows_of(trial)
    assert [row[:2] for row in rows] == [["toy", "none"], ["toy", "short"], ["toy", "whole"]]
    assert [bool(row[2]) for row in rows] == [False, True, False]
    assert all(0 <= float(row[3]) <= 1 and row[4].endswith("°") for row in rows)

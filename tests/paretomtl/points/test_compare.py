"""Fronts of other problems or seeds are not compared."""

import pytest

import paretomtl as pm
from tests.fronts import seeded


@pytest.mark.fault(34)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objectives": ("a", "c")}, r"objectives: .*'b'.* here, .*'c'.* in the other front"),
        ({"objectives": ("a", pm.Objective("b", "m"))}, r"objectives: .*unit=''.* here, .*unit='m'.* in the other"),
        ({"ref_point": [2.0, 3.0]}, r"ref_point: \(2\.0, 2\.0\) here, \(2\.0, 3\.0\) in the other front"),
        ({"splits": ["validate", "test"]}, r"splits: \['validate'\] here, \['validate', 'test'\] in the other"),
    ],
)
def test_fronts_of_other_problems_are_not_compared(tmp_path, changes, said):
    made, other = seeded(tmp_path / "a", [(0.5, 0.5)]), seeded(tmp_path / "b", [(0.5, 0.5)], **changes)
    for figure in (made.compare, made.score):
        with pytest.raises(ValueError, match=said):
            figure(other)


@pytest.mark.fault(34)
def test_fronts_of_other_seeds_are_not_compared(tmp_path):
    made, other = seeded(tmp_path / "a", [(0.5, 0.5)], seed=0), seeded(tmp_path / "b", *[[(0.5, 0.5)]] * 2, seed=0)
    with pytest.raises(ValueError, match=r"seeds \[0\] here, \[0, 1\] in the other front; they are compared in pairs"):
        made.compare(other)
    with pytest.raises(ValueError, match=r"seed=0 here, seed=7 in the other front"):
        made.compare(seeded(tmp_path / "c", [(0.5, 0.5)], seed=7))

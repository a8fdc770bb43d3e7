"""Measures that tell their standard errors: into the record, the table, and a margin."""

import re

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from tests import toys
from tests.one_point import train


def errors_told(model, batches):
    """Mean absolute errors of the two heads, each with its standard error."""
    found = torch.cat([torch.stack(model(x), dim=1) - y for x, y in batches]).abs()
    errors = found.std(dim=0) / len(found) ** 0.5
    return {name: (float(found[:, i].mean()), float(errors[i])) for i, name in enumerate("ab")}


def explored(measure, **asked):
    return pm.explore(toys.two_regressions(measure=measure), ps.Linear(), **{"preferences": 3, "epochs": 1} | asked)


def plain(model, batches):
    return {name: pair[0] for name, pair in errors_told(model, batches).items()}


def test_standard_errors_are_kept_and_read_back(tmp_path):
    front = explored(errors_told, out=tmp_path / "front")
    for p in (*front.points, *front.corners):
        assert set(p.errors) == {"validate"}
        assert min(p.errors["validate"]) > 0
    loaded = pm.Front.load(tmp_path / "front")
    assert [p.errors for p in loaded.points] == [p.errors for p in front.points]
    table = pm.Front.from_csv(tmp_path / "front" / "points.csv", front.ref_point)
    assert [p.errors for p in table.points] == [p.errors for p in front.points]
    assert not pm.verify(tmp_path / "front").damaged


def test_the_values_are_those_of_a_measure_without_errors(tmp_path):
    told, without = explored(errors_told), explored(plain, out=tmp_path / "plain")
    np.testing.assert_array_equal(told.values, without.values)
    assert all(p.errors == {} for p in without.points)
    record = (tmp_path / "plain" / "points" / "point-001.json").read_text()
    assert "errors" not in record  # records of measures without are as they were


def test_a_margin_is_kept_by_the_standard_errors():
    front = explored(errors_told)
    among = np.flatnonzero(front.values[:, 1] > front.values[:, 1].min())
    k = int(among[np.argmin(front.values[among, 0])])
    at_worst = front.values[k, 1] + 1.6448536269514722 * front.points[k].errors["validate"][1]
    loose, tight = (front.select(best="a", subject_to={"b": at_worst + d}, margin=0.95) for d in (1e-9, -1e-9))
    assert loose.point.id == front.points[k].id
    assert tight.point.values["validate"][1] < front.values[k, 1]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ({"a": (1.0, 0.1), "b": 2.0}, r"2\.0 for 'b'; give \(value, standard error\) for every objective"),
        ({"a": (1.0, 0.1, 0.2), "b": (2.0, 0.1)}, "for every objective"),
        ({"a": (1.0, -0.1), "b": (2.0, 0.1)}, "negative standard error"),
        ({"a": (1.0, 0.1), "b": (2.0, float("nan"))}, "nan in the standard error of 'b' on validate"),
    ],
)
@pytest.mark.fault(3)
def test_standard_errors_that_make_no_sense(returned, said):
    point = train(toys.two_regressions(measure=lambda model, batches: returned)).point
    assert point.state == "failed"
    assert re.search(said, point.reason)

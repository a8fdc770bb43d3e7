"""Figures and reports of one seed, of several, and of what is broken."""

import csv
import json

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.show import report
from paretomtl.show.figures import facts as drawn
from paretomtl.show.figures import pair
from tests import toys
from tests.fronts import failed, point, stored
from tests.paretomtl.show.figures.legible import assert_legible


def explored(seeds):
    return pm.explore(toys.two_regressions(), ps.Linear(), preferences=3, epochs=6, seeds=seeds, optimizer=quick)


def quick(parameters):
    return torch.optim.Adam(parameters, lr=0.05)


@pytest.fixture(scope="module")
def front():
    return explored(3)


@pytest.fixture(scope="module")
def one():
    return explored(1)


def test_a_figure_of_several_seeds_has_means_and_intervals(front, tmp_path):
    shown, spread = drawn.collect_front(front, front.points[4]), front.spread()
    assert [m.id for m in shown.marks] == ["point-001", "point-002", "point-003"]
    assert shown.chosen.id == "point-002"
    np.testing.assert_allclose([m.losses for m in shown.marks], spread.mean)
    np.testing.assert_allclose([m.interval for m in shown.marks], spread.half_width)
    assert shown.hypervolume == (front.hypervolume(), 0)
    path = front.plot(tmp_path / "front.svg")
    rows = list(csv.DictReader(path.with_suffix(".csv").read_text().splitlines()))
    np.testing.assert_allclose([[float(row["± a"]), float(row["± b"])] for row in rows[:3]], spread.half_width)
    (axes,) = pair.draw(shown).axes
    ends = np.stack([spread.mean - spread.half_width, spread.mean + spread.half_width])
    for k, (low, high) in enumerate((axes.get_xlim(), axes.get_ylim())):
        assert low < ends[..., k].min() < ends[..., k].max() < high
    assert_legible(pair.draw, shown)
    assert {m.interval for m in drawn.collect_front(front.by_seed()[0]).marks} == {None}


def test_the_report_is_strict_json(front, one, tmp_path):
    empty = stored(tmp_path / "empty", [failed("p1"), failed("p2")])
    broken = stored(tmp_path / "broken", [point("p1", (0.5, 1.0)), point("p2", (1.0, 0.5))])
    (broken.folder / "points" / "p2.json").write_text("{")
    broken = pm.Front.load(broken.folder)
    lone = pm.Front.from_values([[0.5, 1.0]], ["a", "b"], [2.0, 2.0])
    found = [
        json.loads(json.dumps(report.report_as_json(f), allow_nan=False)) for f in (front, one, empty, broken, lone)
    ]
    assert [f["score"] is None for f in found] == [False, False, True, False, False]
    assert [f["spread"] is None for f in found] == [False, True, True, True, True]
    assert [len(f["points"]) for f in found] == [15, 5, 2, 2, 1]
    assert found[0]["tradeoff"]["why"] == front.tradeoff().why
    assert found[0]["score"]["hypervolume_interval"] == front.score().hypervolume_interval
    assert found[3]["points"][1]["state"] == "corrupt"
    assert broken.nondominated().corrupt == broken.corrupt
    assert any("p2 is corrupt: points/p2.json is damaged" in warning for warning in found[3]["warnings"])
    assert "corrupt: points/p2.json is damaged" in report.format_report(broken).splitlines()[2]
    assert "no figures: the front has no point" in report.format_report(empty)
    assert [f["folder"] for f in found[3:]] == [str(broken.folder), None]


@pytest.mark.fault(35)
def test_a_mean_of_approximate_hypervolumes_keeps_their_error(tmp_path):
    names, rows = [f"o{i}" for i in range(12)], np.random.default_rng(0).dirichlet(np.ones(12), size=(2, 20)).tolist()
    made = stored(tmp_path, [point(f"p{k}-seed-{s + 1}", rows[s][k], seed=s) for s in (0, 1) for k in range(20)], names)
    value, error = drawn.collect_front(made).hypervolume
    assert (value, error) == (made.score().hypervolume, made.score().hypervolume_error)
    assert 0 < error < 0.1 * value

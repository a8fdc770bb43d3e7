"""Fronts from and to elsewhere: values, tables, JSON."""

import errno
import json
from functools import partial

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.preference import control_error
from paretomtl.storage import files
from tests import toys
from tests.fronts import facts_of, failed, point, stored

BOTH = [pm.Objective("accuracy", "%", "max"), pm.Objective("cost")]
VALUES = [[90.0, 3.0], [70.0, 1.0], [60.0, 2.0], [50.0, 0.5]]  # the third is dominated
THREE = [[0.1, 0.6, 0.5], [0.5, 0.2, 0.4], [0.6, 0.5, 0.1]]
PLAIN = "a,b\n0.5,1.0\n1.0,0.5\n"


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    problem = toys.two_regressions(test=partial(toys.loader, 3))
    out = tmp_path_factory.mktemp("runs") / "front"
    return pm.explore(problem, ps.Linear(), preferences=3, epochs=2, seeds=2, optimizer=quick, out=out)


def quick(parameters):
    return torch.optim.Adam(parameters, lr=0.05)


def read(tmp_path, content, objectives=None):
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return pm.Front.from_csv(path, [2.0, 2.0], objectives)


# --- values ---


def test_values_are_in_their_own_sense_and_losses_are_small():
    front = pm.Front.from_values(VALUES, BOTH, [0.0, 4.0])
    np.testing.assert_array_equal(front.values, VALUES)
    np.testing.assert_array_equal(front.losses, np.array(VALUES) * [-1, 1])
    assert front.ref_point == (0, 4)
    assert (front.names, front.objectives, front.folder) == (("accuracy", "cost"), tuple(BOTH), None)
    assert [p.id for p in front.points] == [f"point-00{k}" for k in (1, 2, 3, 4)]
    assert repr(front) == "Front(4 points of 'accuracy' and 'cost')"
    # slices between neighbours: 20 wide and 1 high, 20 by 3, 50 by 3.5
    assert front.hypervolume() == pytest.approx(20 * 1 + 20 * 3 + 50 * 3.5)
    assert [p.id for p in front.nondominated().points] == ["point-001", "point-002", "point-004"]
    highest = front.select(best="accuracy")
    assert highest.why.startswith("point-001 has the highest accuracy, 90 %")
    assert front.select(best="cost", subject_to={"accuracy": 65.0}).point.id == "point-002"
    assert front.select(pm.rules.Knee()).point.id == "point-002"
    shifted = pm.Front.from_values(VALUES, BOTH, [55.0, 4.0])
    assert shifted.score().n_outside == 1


@pytest.mark.parametrize("rows", [THREE, [row[:2] for row in THREE]], ids=["three", "two"])
def test_all_but_preferences_works_without_them(tmp_path, rows):
    names = ["a", "b", "c"][: len(rows[0])]
    front = pm.Front.from_values(np.array(rows), names, [1.0] * len(names), ids=["p", "q", "r"])
    with pytest.raises(ValueError, match="this front has no preferences: it was made from values alone"):
        _ = front.preferences
    figures = front.score(front)
    assert (figures.control_error_mean, figures.control_error_worst) == (None, None)
    assert (figures.igd_plus, figures.epsilon_additive, figures.n_points) == (0, 0, 3)
    assert front.control_errors.shape == (0,)
    head, first, *_ = front.table().splitlines()
    assert head.split() == ["point", *(word for name in names for word in ("validate", name)), "off", "ray", "status"]
    assert first.split() == ["p", *(f"{x:.4f}" for x in rows[0])]
    assert front.warnings() == ()
    for kind in (None, "matrix", "parallel"):
        assert front.plot(tmp_path / f"{kind}.svg", front.select(best="a"), kind).stat().st_size > 5_000
    assert front.ideals is None
    assert front.mean() is front
    with pytest.raises(ValueError, match="p has no weights: it was not trained here"):
        front.load_model(front.points[0], toys.TwoHeads)


def test_preferences_are_kept_and_give_control_errors():
    asked = [[1.0, 3.0], [0.5, 0.5], [0.1, 0.9]]
    front = pm.Front.from_values(THREE, ["a", "b", "c"], [1.0] * 3, [[*r, 1.0] for r in asked])
    np.testing.assert_allclose(front.preferences, [[0.2, 0.6, 0.2], [0.25, 0.25, 0.5], [0.05, 0.45, 0.5]])
    np.testing.assert_allclose(front.control_errors, control_error(front.losses, front.preferences))
    # an angle to a ray says nothing of losses below 0
    turned = pm.Front.from_values(VALUES[:3], BOTH, [0.0, 4.0], asked)
    assert len(turned.control_errors) == 0
    assert turned.preferences.shape == (3, 2)


def test_a_front_of_values_to_be_large_is_drawn_without_rays(tmp_path):
    asked = [[0.1, 0.9], [0.4, 0.6], [0.5, 0.5], [0.9, 0.1]]
    path = pm.Front.from_values(VALUES, BOTH, [0.0, 4.0], asked).plot(tmp_path / "front.svg")
    assert "#9a9a9a" in path.read_text()  # of the dominated point
    assert "stroke-dasharray: 0.9" not in path.read_text()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"values": [1.0, 2.0]}, ValueError, r"values has shape \(2,\)"),
        ({"values": [[1.0], [2.0]]}, ValueError, r"values has shape \(2, 1\); give one row a point, 2 columns"),
        ({"values": [[1.0, 2.0], [1.0]]}, ValueError, "inhomogeneous"),
        pytest.param(
            {"values": [[1.0, 2.0], [np.nan, 0.0]]}, ValueError, r"values\[1\] is not fin", marks=pytest.mark.fault(40)
        ),
        ({"values": [[np.inf, 2.0]]}, ValueError, r"values\[0\] is not finite"),
        pytest.param({"values": []}, pm.EmptyFrontError, "no point in values", marks=pytest.mark.fault(29)),
        ({"objectives": "ab"}, TypeError, "one text; give a list of names"),
        ({"objectives": ["a", "a"]}, ValueError, r"objectives=\['a', 'a'\]: give two or more different names"),
        pytest.param(
            {"objectives": ["a"], "values": [[1.0]]}, ValueError, "two or more different", marks=pytest.mark.fault(27)
        ),
        ({"ids": ["p", "p"]}, ValueError, "ids: 1 different ones for 2 points"),
        ({"ids": ["p"]}, ValueError, "ids: 1 different ones for 2 points"),
        pytest.param({"ids": ["../p", "q"]}, ValueError, r"name '\.\./p'", marks=pytest.mark.fault(84)),
        ({"preferences": [[0.5, 0.5]]}, ValueError, "preferences: 1 rows for 2 points"),
        ({"preferences": [[0.5, 0.5], [0.5, -0.5]]}, ValueError, r"preferences\[1\] = .* negative"),
        ({"ref_point": [1.0]}, ValueError, "ref_point=.*give 2 numbers"),
        ({"ref_point": [1.0, np.nan]}, ValueError, "ref_point=.*not finite"),
    ],
)
def test_bad_values_are_refused(changes, error, said):
    given = {"values": [[1.0, 2.0], [2.0, 1.0]], "objectives": ["a", "b"], "ref_point": [3.0, 3.0]}
    assert len(pm.Front.from_values(**given)) == 2
    with pytest.raises(error, match=said):
        pm.Front.from_values(**(given | changes))


# --- tables ---


def test_the_table_of_an_explored_front_is_that_front(explored, tmp_path):
    front = pm.Front.from_csv(explored.folder / "points.csv", [2.0, 2.0])
    assert facts_of(front) == facts_of(explored)
    assert front.study["seeds"] == 2
    assert (front.corners, front.failed, front.folder) == ((), (), None)
    assert front.score() == explored.score()
    assert front.compare(explored).verdict == "draw"
    again = pm.Front.from_csv(front.to_csv(tmp_path / "again.csv"), [2.0, 2.0])
    assert facts_of(again) == facts_of(front)
    thrice = pm.Front.from_csv(again.to_csv(tmp_path / "thrice.csv"), [2.0, 2.0])
    assert (tmp_path / "thrice.csv").read_bytes() == (tmp_path / "again.csv").read_bytes()
    assert thrice.mean().score() == explored.mean().score()


def test_corners_and_failed_rows_are_left_out(tmp_path):
    rows = [point("p1", (0.5, 1.0), preference=(0.1, 0.9)), point("ideal-1", (0.1, 0.9), corner="a"), failed("p2")]
    front = pm.Front.from_csv(stored(tmp_path, rows).folder / "points.csv", [2.0, 2.0])
    assert [(p.id, p.preference) for p in front.points] == [("p1", (0.1, 0.9))]


@pytest.mark.parametrize("asked", [None, [[0.1, 0.9], [0.3, 0.7], [0.5, 0.5], [0.7, 0.3]]])
def test_to_csv_and_back(tmp_path, asked):
    front = pm.Front.from_values(VALUES, BOTH, [0.0, 4.0], asked, ids=["p", "q", "r", "s"])
    back = pm.Front.from_csv(front.to_csv(tmp_path / "front.csv"), [0.0, 4.0], BOTH)
    assert facts_of(back) == facts_of(front)
    assert back.study == front.study


def test_a_part_of_the_objectives_has_no_preferences(tmp_path):
    front = pm.Front.from_values(THREE, ["a", "b", "c"], [1.0] * 3, [[0.2, 0.2, 0.6]] * 3)
    part = pm.Front.from_csv(front.to_csv(tmp_path / "front.csv"), [1.0, 1.0], ["c", "a"])
    np.testing.assert_array_equal(part.losses, np.array(THREE)[:, [2, 0]])
    assert {p.preference for p in part.points} == {()}


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (PLAIN, ["point-001", "point-002"]),
        ("id,a,b\np,0.5,1.0\nq,1.0,0.5\n", ["p", "q"]),
        (b"\xef\xbb\xbf" + PLAIN.encode(), ["point-001", "point-002"]),
        (PLAIN.replace("\n", "\r\n"), ["point-001", "point-002"]),
        (' a , b,id \n 0.5 ,"1.0", p\n\n1.0,5e-1,q \n', ["p", "q"]),
    ],
    ids=["plain", "with ids", "BOM", "CRLF", "spaces"],
)
def test_plain_tables(tmp_path, content, ids):
    front = read(tmp_path, content)
    assert front.names == ("a", "b")
    np.testing.assert_array_equal(front.losses, [[0.5, 1.0], [1.0, 0.5]])
    assert [p.id for p in front.points] == ids


def test_objectives_choose_columns_their_order_and_their_sense(tmp_path):
    objectives = [pm.Objective("b", goal="max"), pm.Objective("a", "s")]
    front = read(tmp_path, "x,a,b\ntext,0.5,1.0\n,1.0,0.5\n", objectives)
    assert front.objectives == tuple(objectives)
    np.testing.assert_array_equal(front.values, [[1.0, 0.5], [0.5, 1.0]])
    np.testing.assert_array_equal(front.losses, [[-1.0, 0.5], [-0.5, 1.0]])


@pytest.mark.fault(87)
def test_names_that_look_like_formulas_come_back(tmp_path):
    names = ["=a", "+b", "-c", "@d"]
    front = pm.Front.from_values([[1.0, 2.0, 3.0, 4.0]], names, [9.0] * 4)
    back = pm.Front.from_csv(front.to_csv(tmp_path / "front.csv"), [9.0] * 4)
    assert back.names == tuple(names)
    plain = front.plot(tmp_path / "front.svg").with_suffix(".csv").read_text().splitlines()[0]
    assert plain.split(",")[2:6] == ["'=a", "'+b", "'-c", "'@d"]
    (tmp_path / "plain.csv").write_text("'=a,'+b,-c\n1,2,3\n")
    assert pm.Front.from_csv(tmp_path / "plain.csv", [9.0] * 3).names == ("=a", "+b", "-c")


# --- JSON ---


def test_to_json_is_one_strict_file_and_the_same_twice(explored, tmp_path, monkeypatch):
    path = explored.to_json(tmp_path / "front.json")
    found = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert found["study"] == explored.study
    assert [p["id"] for p in found["points"]] == [p.id for p in explored.every]
    first = explored.points[0].losses["test"]
    assert found["points"][0]["losses"]["test"] == {"a": first[0], "b": first[1]}
    again = pm.Front.load(explored.folder).to_json(tmp_path / "again.json")
    assert again.read_bytes() == path.read_bytes()
    assert json.loads(pm.Front.from_values(THREE, ["a", "b", "c"], [1.0] * 3).to_json(path).read_text())["study"]

    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(files.os, "fsync", full)
    before = path.read_bytes()
    with pytest.raises(OSError, match=r"no room for .*front\.json"):
        explored.to_json(path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.json", "front.json"]

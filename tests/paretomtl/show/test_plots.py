import csv

import numpy as np
import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.show import FIGURE_KINDS, plots
from paretomtl.show.figures.facts import collect_front
from tests.fronts import front_of, point
from tests.toys import two_regressions

LOSSES = {"point-001": (0.9, 0.2), "point-002": (0.5, 0.5), "point-003": (0.6, 0.6), "point-004": (0.1, 1.2)}
THREE = {
    "point-001": (0.2, 0.6, 0.7),
    "point-002": (0.5, 0.3, 0.6),
    "point-003": (0.6, 0.7, 0.2),
    "point-004": (0.7, 0.7, 0.8),
}


def test_facts_tell_front_dominated_and_chosen_apart():
    front = front_of(LOSSES)
    kinds = {mark.id: mark.kind for mark in collect_front(front, front.points[1]).marks}
    assert kinds == {"point-001": "front", "point-002": "chosen", "point-003": "dominated", "point-004": "front"}


def test_the_staircase_is_the_border_of_what_is_attained():
    steps = collect_front(front_of(LOSSES)).staircase
    # from above the leftmost point, over the corners between neighbours, to the right of the last one
    expected = [[0.1, 1.2], [0.1, 1.2], [0.5, 1.2], [0.5, 0.5], [0.9, 0.5], [0.9, 0.2], [1.0, 0.2]]
    np.testing.assert_allclose(steps, expected)


def test_the_staircase_under_the_reference_is_the_hypervolume():
    losses = {id: numbers for id, numbers in LOSSES.items() if max(numbers) < 1}
    front = front_of(losses)
    steps = collect_front(front).staircase
    heights = 1.0 - steps[:-1, 1]
    area = float((np.diff(steps[:, 0]) * heights).sum())
    assert area == pytest.approx(front.hypervolume())


def test_asked_rays_and_ideals():
    shown = collect_front(front_of(LOSSES))
    np.testing.assert_allclose([m.ray for m in shown.marks], 0.5)
    assert shown.ideals == (0.05, 0.1)
    assert collect_front(front_of(LOSSES, ideals=())).ideals is None
    assert shown.labels == ("a loss [nats]", "b loss [nats]")


def test_a_point_is_dominated_in_all_objectives_or_not_at_all():
    # the second is worse than the first in a and in b, but not in c; the third is worse in all
    front = front_of({"p1": (0.1, 0.1, 0.9), "p2": (0.2, 0.2, 0.1), "p3": (0.3, 0.3, 0.2)}, names="abc")
    assert [mark.kind for mark in collect_front(front).marks] == ["front", "front", "dominated"]
    assert collect_front(front).staircase is None


def test_facts_of_parts():
    shown = collect_front(front_of(LOSSES), front_of(LOSSES).points[1])
    np.testing.assert_allclose(shown.losses(), list(LOSSES.values()))
    np.testing.assert_allclose(shown.losses("chosen", "dominated"), [(0.5, 0.5), (0.6, 0.6)])
    assert shown.chosen == shown.marks[1]
    np.testing.assert_allclose(shown.ends(), [(0.05, 0.1), (0.9, 1.2)])
    np.testing.assert_allclose(collect_front(front_of(LOSSES, ideals=())).ends(), [(0.1, 0.2), (0.9, 1.2)])


@pytest.mark.parametrize("kind", [None, "matrix", "parallel"])
@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
@pytest.mark.parametrize("losses", [LOSSES, THREE], ids=["two", "three"])
def test_draws_each_format_twice_the_same(losses, suffix, kind, tmp_path):
    front = front_of(losses, names="abc"[: len(losses["point-001"])])
    paths = [front.plot(tmp_path / name / f"front.{suffix}", front.select(best="a"), kind) for name in "ab"]
    for first, second in (paths, [path.with_suffix(".csv") for path in paths]):
        assert first.read_bytes() == second.read_bytes()
    assert len(paths[0].read_bytes()) > 5_000
    assert len(list(tmp_path.rglob("*.*"))) == 4


def test_each_kind_is_another_figure_of_the_same_facts(tmp_path):
    front = front_of(THREE, names="abc")
    for name, kind in (("default", None), ("matrix", "matrix"), ("parallel", "parallel")):
        front.plot(tmp_path / f"{name}.svg", kind=kind)
    svgs = {path.stem: path.read_bytes() for path in tmp_path.glob("*.svg")}
    assert svgs["default"] == svgs["matrix"] != svgs["parallel"]
    assert len({path.read_bytes() for path in tmp_path.glob("*.csv")}) == 1


def test_the_csv_beside_holds_what_is_drawn(tmp_path):
    front = front_of(LOSSES)
    path = front.plot(tmp_path / "front.svg", None)
    rows = list(csv.DictReader(path.with_suffix(".csv").read_text().splitlines()))
    drawn = {row["id"]: (float(row["a"]), float(row["b"])) for row in rows if row["id"]}
    assert drawn == LOSSES
    assert [row["mark"] for row in rows if not row["id"]] == ["staircase"] * 7 + ["ideal", "reference"]


def test_the_csv_of_three_objectives(tmp_path):
    path = front_of(THREE, names="abc", ideals=(0.1, 0.2, 0.3)).plot(tmp_path / "front.svg")
    rows = list(csv.reader(path.with_suffix(".csv").read_text().splitlines()))
    assert rows[0] == ["mark", "id", "a", "b", "c", "asked a", "asked b", "asked c", "control_error"]
    assert {len(row) for row in rows} == {9}
    assert rows[1][:5] == ["front", "point-001", "0.2", "0.6", "0.7"]
    assert [(row[0], *map(float, row[2:5])) for row in rows[-2:]] == [("ideal", 0.1, 0.2, 0.3), ("reference", 1, 1, 1)]
    assert [row[0] for row in rows[1:-2]] == ["front", "front", "front", "dominated"]


def test_names_that_look_like_formulas_are_quoted(tmp_path):
    path = front_of({"point-001": (0.5, 0.5)}, names=("=a", "b")).plot(tmp_path / "front.svg")
    assert path.with_suffix(".csv").read_text().splitlines()[0].split(",")[2] == "'=a"


def test_the_chosen_point_is_ringed(tmp_path):
    front = front_of(LOSSES)
    plain, ringed = tmp_path / "plain.svg", tmp_path / "ringed.svg"
    front.plot(plain)
    front.plot(ringed, front.select(best="a"))
    assert "#d9660f" in ringed.read_text()
    assert "#d9660f" not in plain.read_text()


def test_errors_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"'front.jpg': a plot is written as .svg, .pdf, .png"):
        front_of(LOSSES).plot(tmp_path / "front.jpg")
    with pytest.raises(ValueError, match=r"kind='radar' is not one of 'matrix', 'parallel'"):
        front_of(LOSSES).plot(tmp_path / "front.svg", kind="radar")
    with pytest.raises(ValueError, match="point-009 is not a point of this front"):
        collect_front(front_of(LOSSES), point("point-009", (1.0, 1.0)))
    assert not list(tmp_path.iterdir())
    with pytest.raises(pm.EmptyFrontError):
        front_of({}).plot(tmp_path / "front.svg")


@pytest.mark.parametrize("kind", [None, "matrix", "parallel"])
def test_names_with_dollars_are_no_formulas(tmp_path, kind):
    assert front_of(LOSSES, names=("cost $x_$", "b")).plot(tmp_path / "front.svg", kind=kind).exists()


def test_a_real_front_is_drawn(tmp_path):
    front = pm.explore(two_regressions(), ps.Linear(), preferences=3, epochs=2)
    assert front.plot(tmp_path / "front.png").stat().st_size > 5_000


def test_each_kind_that_is_offered_can_be_drawn():
    assert [*FIGURE_KINDS] == [*plots.MAKERS]

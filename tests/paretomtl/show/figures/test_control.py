"""What was asked for against what was reached."""

import csv

import numpy as np
import pytest

import paretomtl as pm
from paretomtl.preference import control_error, ray
from paretomtl.show.figures import control
from tests.fronts import front_of, point, seeded
from tests.paretomtl.show.figures.legible import LONG, SCALES, assert_legible


def values(m=2, n=9, seed=0, names=None, scales=1.0):
    r = np.random.default_rng(seed)
    asked = r.dirichlet(np.ones(m) * 2, size=n)
    rows = scales * ray(asked) * np.exp(r.normal(0, 0.2, (n, m)))
    return pm.Front.from_values(rows, names or [*"abcde"[:m]], [9.0] * m, asked)


def diagonal(axes):
    return [line for line in axes.lines if line.get_label() == "reached as asked"]


def test_the_shares_and_angles_by_hand():
    # a matters three times as much, so its loss is to be a third of b's: the ray is (1, 3)
    front = pm.Front.from_values([[0.2, 0.2], [0.1, 0.3]], ["a", "b"], [1.0, 1.0], [[0.75, 0.25], [0.75, 0.25]])
    shown = control.collect_control(front)
    np.testing.assert_allclose(shown.rays, [[0.25, 0.75]] * 2)
    np.testing.assert_allclose(shown.shares, [[0.5, 0.5], [0.25, 0.75]])
    there = np.degrees(np.arctan(3))
    np.testing.assert_allclose(shown.angles(), [[there, there], [45, there]])
    np.testing.assert_allclose(shown.errors, [there - 45, 0], atol=1e-6)


def test_of_two_objectives_the_angles_differ_by_the_control_error():
    front = values()
    shown = control.collect_control(front)
    asked, reached = shown.angles()
    np.testing.assert_allclose(np.abs(asked - reached), front.control_errors, atol=1e-9)
    np.testing.assert_allclose(shown.errors, front.control_errors)


def test_the_plane_has_a_point_a_model_and_its_error_from_the_diagonal():
    shown = control.collect_control(values())
    (axes,) = control.draw(shown).axes
    asked, reached = shown.angles()
    (points,) = [line for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(points.get_xydata(), np.stack([asked, reached], axis=1))
    segments = np.array(axes.collections[0].get_segments())
    np.testing.assert_allclose(segments[:, 0], np.stack([asked, asked], axis=1))
    np.testing.assert_allclose(segments[:, 1], np.stack([asked, reached], axis=1))
    assert axes.get_xlim() == axes.get_ylim()
    assert len(diagonal(axes)) == 1


def test_of_more_objectives_there_is_a_panel_an_objective_coloured_by_the_error():
    front = values(3)
    shown = control.collect_control(front)
    figure = control.draw(shown)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["a loss", "b loss", "c loss"]
    losses = front.losses / front.losses.sum(axis=1, keepdims=True)
    for i, axes in enumerate(figure.axes[:3]):
        (points,) = axes.collections
        np.testing.assert_allclose(points.get_offsets(), 100 * np.stack([shown.rays[:, i], losses[:, i]], axis=1))
        np.testing.assert_allclose(points.get_array(), front.control_errors)
        assert len(diagonal(axes)) == 1


def test_the_legend_has_mean_and_worst():
    front = values()
    k = int(np.argmax(front.control_errors))
    told = [
        text.get_text() for text in control.draw(control.collect_control(front, front.points[2])).legends[0].get_texts()
    ]
    mean, worst = front.control_errors.mean(), front.control_errors[k]
    assert f"mean control error {mean:.2g}°\nworst {worst:.2g}° ({front.points[k].id})" in told
    assert f"chosen: {front.points[2].id}" in told


def test_of_several_seeds_every_model_is_there(tmp_path):
    front = seeded(tmp_path, [(0.2, 0.8), (0.4, 0.4)], [(0.3, 0.7), (0.5, 0.3)])
    shown = control.collect_control(front)
    assert shown.ids == ("p1-seed-1", "p2-seed-1", "p1-seed-2", "p2-seed-2")
    np.testing.assert_allclose(shown.errors, control_error(front.losses, front.preferences))


def test_points_have_their_numbers_where_they_do_not_cover_one_another(tmp_path):
    def numbers(front):
        return [text.get_text() for text in control.draw(control.collect_control(front)).axes[0].texts]

    front = seeded(tmp_path, [(0.2, 0.8), (0.4, 0.4)], [(0.2, 0.7), (0.41, 0.4)])
    assert numbers(front) == []
    made = pm.Front.from_values([[0.2, 0.8], [0.8, 0.2]], ["a", "b"], [1.0, 1.0], [[0.7, 0.3], [0.3, 0.7]])
    assert numbers(made) == ["1", "2"]


def test_a_point_without_any_loss_is_on_its_ray():
    front = pm.Front.from_values([[0.0, 0.0], [1.0, 1.0]], ["a", "b"], [2.0, 2.0], [[0.8, 0.2], [0.5, 0.5]])
    shown = control.collect_control(front)
    np.testing.assert_allclose(shown.shares, [[0.2, 0.8], [0.5, 0.5]])
    np.testing.assert_allclose(shown.errors, 0, atol=1e-6)
    assert_legible(control.draw, shown)


@pytest.mark.fault(30)
@pytest.mark.fault(31)
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("m", [2, 3])
def test_points_in_one_place(m, n):
    front = pm.Front.from_values([[0.5] * m] * n, [*"abc"[:m]], [1.0] * m, [[1 / m] * m] * n)
    assert_legible(control.draw, control.collect_control(front))


@pytest.mark.parametrize("width", [None, 3.25, 6.75])
@pytest.mark.parametrize("m", [2, 3, 4, 5, 10])
def test_texts_are_in_the_figure_and_apart(m, width):
    front = values(m, 20, m, LONG[:m], SCALES[:m])
    assert_legible(control.draw, control.collect_control(front, front.points[3]), width)
    even = values(m, 9, m, LONG[:m])
    assert_legible(control.draw, control.collect_control(even, even.points[3]), width)


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_files_twice_the_same(tmp_path, suffix, m):
    front = values(m)
    paths = [front.plot(tmp_path / name / f"c.{suffix}", front.select(best="a"), "control", 3.25) for name in "ab"]
    for first, second in (paths, [path.with_suffix(".csv") for path in paths]):
        assert first.read_bytes() == second.read_bytes()


def test_the_csv_beside_holds_what_is_drawn(tmp_path):
    front = values()
    shown = control.collect_control(front)
    path = front.plot(tmp_path / "c.svg", front.select(best="a"), kind="control")
    rows = list(csv.reader(path.with_suffix(".csv").read_text().splitlines()))
    angles = ["angle asked", "angle reached"]
    assert rows[0] == ["mark", "id", "asked a", "asked b", "reached a", "reached b", *angles, "control_error"]
    numbers = np.array([row[2:] for row in rows[1:]], dtype=float)
    np.testing.assert_array_equal(numbers[:, :4], np.hstack([shown.rays, shown.shares]))
    np.testing.assert_array_equal(numbers[:, 4:6], shown.angles().T)
    np.testing.assert_array_equal(numbers[:, 6], shown.errors)
    assert [row[1] for row in rows[1:] if row[0] == "chosen"] == [front.select(best="a").point.id]
    head = values(3).plot(tmp_path / "three.svg", kind="control").with_suffix(".csv").read_text().splitlines()[0]
    assert "angle" not in head


def test_errors_name_the_remedy(tmp_path):
    plain = pm.Front.from_values([[0.5, 0.5]], ["a", "b"], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"and point-001 has none; give preferences= to Front.from_values"):
        plain.plot(tmp_path / "c.svg", kind="control")
    goal = [pm.Objective("accuracy", goal="max"), "b"]
    negative = pm.Front.from_values([[0.9, 0.5]], goal, [0.0, 1.0], [[0.5, 0.5]])
    with pytest.raises(ValueError, match=r"losses of at least 0, as rays are; point-001 has -0.9 in 'accuracy'"):
        negative.plot(tmp_path / "c.svg", kind="control")
    with pytest.raises(ValueError, match="point-999 is not a point of this front"):
        control.collect_control(values(), point("point-999", (1.0, 1.0)))
    assert not list(tmp_path.iterdir())


@pytest.mark.fault(29)
def test_a_front_without_points(tmp_path):
    with pytest.raises(pm.EmptyFrontError):
        front_of({}).plot(tmp_path / "c.svg", kind="control")

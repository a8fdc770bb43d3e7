import csv

import numpy as np
import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.front.front import Front
from paretomtl.front.store import Store
from paretomtl.point import Point
from paretomtl.preference import control_error
from paretomtl.show.plots import facts
from tests.toys import two_regressions

LOSSES = {"point-001": (0.9, 0.2), "point-002": (0.5, 0.5), "point-003": (0.6, 0.6), "point-004": (0.1, 1.2)}


def front_of(losses, names=("a", "b"), ideals=(0.05, 0.1)):
    """A front of given losses, without a folder; each point was asked for the centre."""
    m = len(names)
    centre = np.full(m, 1 / m)

    def point(id, numbers, corner=None):
        angle = float(control_error(np.array(numbers), centre))
        both = {"validate": tuple(numbers)}
        return Point(id, tuple(centre.tolist()), corner, losses=both, values=both, control_error=angle)

    points = [point(id, numbers) for id, numbers in losses.items()]
    points += [
        point(f"ideal-{i}", (ideal,) * m, name) for i, (name, ideal) in enumerate(zip(names, ideals, strict=False))
    ]
    objectives = [{"name": name, "unit": "nats", "goal": "min"} for name in names]
    study = {"objectives": objectives, "ref_point": [1.0] * m, "measured": False, "splits": ["validate"]}
    return Front(Store("nowhere"), study, points)


def test_facts_tell_front_dominated_and_chosen_apart():
    front = front_of(LOSSES)
    kinds = {mark.id: mark.kind for mark in facts(front, front.points[1]).marks}
    assert kinds == {"point-001": "front", "point-002": "chosen", "point-003": "dominated", "point-004": "front"}


def test_the_staircase_is_the_border_of_what_is_attained():
    steps = facts(front_of(LOSSES)).staircase
    # from above the leftmost point, over the corners between neighbours, to the right of the last one
    expected = [[0.1, 1.2], [0.1, 1.2], [0.5, 1.2], [0.5, 0.5], [0.9, 0.5], [0.9, 0.2], [1.0, 0.2]]
    np.testing.assert_allclose(steps, expected)


def test_the_staircase_under_the_reference_is_the_hypervolume():
    losses = {id: numbers for id, numbers in LOSSES.items() if max(numbers) < 1}
    front = front_of(losses)
    steps = facts(front).staircase
    heights = 1.0 - steps[:-1, 1]
    area = float((np.diff(steps[:, 0]) * heights).sum())
    assert area == pytest.approx(front.hypervolume())


def test_asked_rays_and_ideals():
    shown = facts(front_of(LOSSES))
    np.testing.assert_allclose([m.asked for m in shown.marks], 0.5)
    assert shown.ideals == (0.05, 0.1)
    assert facts(front_of(LOSSES, ideals=())).ideals is None
    assert shown.labels == ("a loss [nats]", "b loss [nats]")


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_draws_each_format_twice_the_same(suffix, tmp_path):
    front = front_of(LOSSES)
    first, second = (front.plot(tmp_path / name / f"front.{suffix}") for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert len(first.read_bytes()) > 5_000


def test_the_csv_beside_holds_what_is_drawn(tmp_path):
    front = front_of(LOSSES)
    path = front.plot(tmp_path / "front.svg", None)
    rows = list(csv.DictReader(path.with_suffix(".csv").read_text().splitlines()))
    drawn = {row["id"]: (float(row["a"]), float(row["b"])) for row in rows if row["id"]}
    assert drawn == LOSSES
    assert [row["mark"] for row in rows if not row["id"]] == ["staircase"] * 7 + ["ideal", "reference"]


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
    with pytest.raises(ValueError, match="this front has 3: a, b, c"):
        front_of({"point-001": (1.0, 1.0, 1.0)}, names="abc").plot(tmp_path / "front.svg")
    with pytest.raises(pm.EmptyFrontError):
        front_of({}).plot(tmp_path / "front.svg")


def test_a_real_front_is_drawn(tmp_path):
    front = pm.explore(two_regressions(), ps.Linear(), preferences=3, epochs=2)
    assert front.plot(tmp_path / "front.png").stat().st_size > 5_000

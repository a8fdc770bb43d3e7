"""Preferences placed in rounds by what earlier points have reached."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points import score
from paretomtl.preference import even_design, neighbour_distance
from paretomtl.storage import files as front_files
from paretomtl.storage import schema
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from paretomtl.sweep.here import Here
from paretomtl.sweep.refine import Steps, neighbours, place_preferences
from tests import toys
from tests.folders import differences, files, logged

pytestmark = pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")

CRITERIA = ("hypervolume", "gap")
SGD = partial(torch.optim.SGD, lr=0.1)
explore = partial(pm.explore, toys.two_regressions(), ps.Linear(), epochs=2, optimizer=SGD)


# --- where the next ones go, on fronts that are known ---


def weighted_sum_of_zdt1(r):
    """f2 = 1 - sqrt(f1), at the smallest weighted sum."""
    f1 = min(1.0, (r[1] / (2 * r[0])) ** 2)
    return [f1, 1 - f1**0.5]


def on_ray_of_zdt2(r):
    """f2 = 1 - f1², where r_1 f1 = r_2 f2."""
    slope = r[0] / r[1]
    f1 = (-slope + (slope**2 + 4) ** 0.5) / 2
    return [f1, 1 - f1**2]


def weighted_sum_of_a_sphere(r):
    """1 - u on the unit sphere of u, where the weights are r³: most even weights come to the middle."""
    w = np.array(r) ** 3
    return 1 - w / np.linalg.norm(w)


def refined(refine: pm.Refine, reached, m: int = 2, ref_point=(1.1, 1.1)) -> np.ndarray:
    """All preferences, where every point reaches what it should."""
    asked = refine.first(m)
    while len(asked) < refine.total:
        losses = np.array([reached(r) for r in asked], dtype=np.float64)
        new = place_preferences(refine, asked, np.arange(len(asked)), losses, ref_point)
        assert len(new) == min(refine.each or refine.start // 2, refine.total - len(asked))
        asked = np.concatenate([asked, new])
    return asked


@pytest.mark.parametrize("by", ["gap", "hypervolume"])
@pytest.mark.parametrize("each", [1, None, 5])
@pytest.mark.parametrize("total", [15, 25])
@pytest.mark.parametrize(("front", "share"), [(weighted_sum_of_zdt1, 0.75), (on_ray_of_zdt2, 1.0)])
def test_as_many_as_an_even_design_with_more_hypervolume_and_a_smaller_gap(front, share, total, each, by):
    asked = refined(pm.Refine(5, total, each, by), front)
    losses, evenly = (np.array([front(r) for r in rows]) for rows in (asked, even_design(2, total)))
    unit = (np.zeros(2), np.ones(2))
    assert score.hypervolume(losses, (1.1, 1.1)) > score.hypervolume(evenly, (1.1, 1.1))
    if by == "gap" or front is weighted_sum_of_zdt1:
        assert score.largest_gap(losses, unit) < share * score.largest_gap(evenly, unit)
    np.testing.assert_allclose(asked.sum(axis=1), 1, atol=1e-12)
    assert np.ptp(asked[:, 0]) == pytest.approx(np.ptp(even_design(2, total)[:, 0]))  # no further out, no less far


def test_the_longest_step_is_divided_first_and_at_its_middle():
    asked, losses = np.array([[0.1, 0.9], [0.4, 0.6], [0.9, 0.1]]), np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    (new,) = place_preferences(pm.Refine(3, 4, 1), asked, np.arange(3), losses, (2.0, 2.0))
    assert 0.4 < new[0] < 0.9
    (new,) = place_preferences(pm.Refine(3, 4, 1), asked[[0, 2]], np.arange(2), losses[[0, 2]], (2.0, 2.0))
    np.testing.assert_allclose(new, [11 / 30, 19 / 30])  # a third of the way: one more is to come


def test_by_hypervolume_where_a_straight_front_would_gain_most():
    """The gap is the longest between the last two, which differ in one loss; no hypervolume is to be had there."""
    asked = np.array([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]])
    losses = np.array([[1.0, 0.0], [0.6, 0.4], [0.6, 1.4]])
    volume, gap = (
        place_preferences(pm.Refine(3, 4, 1, by), asked, np.arange(3), losses, (2.0, 2.0)) for by in CRITERIA
    )
    assert volume[0, 0] < 0.5 < gap[0, 0]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("second", [0.15, 0.3, 0.6])
def test_by_hypervolume_points_are_dealt_to_straight_steps_as_no_other_way_gains_more(n, second):
    """Against all ways to deal them out, each measured by the hypervolume of evenly divided steps."""
    corners = np.array([[0.0, 2.0], [1.0, 1.0], [1.0 + second, 1.0 - second]])
    dealt = Steps(np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]]), corners, "hypervolume", (3.0, 3.0)).deal(n, 1e-3)

    def volume(first):
        pieces = [first + 1, n - first + 1]
        rows = [
            start + (end - start) * k / p
            for start, end, p in zip(corners[:-1], corners[1:], pieces, strict=True)
            for k in range(p + 1)
        ]
        return score.hypervolume(np.array(rows), (3.0, 3.0))

    best = max(range(n + 1), key=volume)
    assert sorted(part.pieces for part in dealt) == sorted([best + 1, n - best + 1])


@pytest.mark.parametrize("by", CRITERIA)
@pytest.mark.parametrize(("start", "each"), [pytest.param(6, 3, marks=pytest.mark.slow), (10, 4)])
def test_three_objectives(by, start, each):
    total, front = 30, weighted_sum_of_a_sphere
    asked = refined(pm.Refine(start, total, each, by), front, 3, (1.1, 1.1, 1.1))
    losses, evenly = (np.array([front(r) for r in rows]) for rows in (asked, even_design(3, total)))
    unit, reference = (np.zeros(3), np.ones(3)), (1.1, 1.1, 1.1)
    assert score.largest_gap(losses, unit) < 0.9 * score.largest_gap(evenly, unit)
    assert score.hypervolume(losses, reference) > 1.1 * score.hypervolume(evenly, reference)
    assert asked.min() >= even_design(3, total).min() - 1e-9
    assert len(np.unique(np.round(asked, 6), axis=0)) == total


def test_a_jump_gets_few_points():
    """A sum of losses on a concave front has two ends alone; where it jumps nothing can be found between."""
    asked = refined(pm.Refine(5, 25, 2), lambda r: [1.0, 0.0] if r[0] < 0.61 else [0.0, 1.0])
    distances = np.diff(np.sort(asked[:, 0]))
    assert distances.min() > neighbour_distance(2, 25) / 32
    assert distances.max() < 4 * neighbour_distance(2, 25)  # the others went where there is room


def test_where_points_failed_none_is_placed_again():
    asked = np.array([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]])
    new = place_preferences(pm.Refine(3, 7, 4), asked, np.array([0, 2]), np.array([[1.0, 0.0], [0.0, 1.0]]), (2.0, 2.0))
    every = np.sort(np.concatenate([asked, new])[:, 0])
    assert len(every) == 7
    assert np.diff(every).min() >= neighbour_distance(2, 7) / 32


def test_losses_that_are_all_alike():
    asked = even_design(2, 3)
    new = place_preferences(pm.Refine(3, 5, 2), asked, np.arange(3), np.ones((3, 2)), (2.0, 2.0))
    assert len(np.unique(np.concatenate([asked, new]), axis=0)) == 5


def test_neighbours_have_nobody_between_them():
    assert neighbours(np.sort(even_design(2, 4), axis=0)).tolist() == [[0, 1], [1, 2], [2, 3]]
    corners, centre = np.eye(3), np.full((1, 3), 1 / 3)
    assert {tuple(pair) for pair in neighbours(np.concatenate([corners, centre]))} == {
        (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3),
    }  # fmt: skip
    halves = np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
    pairs = {tuple(pair) for pair in neighbours(np.concatenate([corners, halves]))}
    assert (0, 1) not in pairs
    assert (0, 3) in pairs


# --- a study in rounds ---


def preferences(front: pm.Front) -> dict[str, tuple[float, ...]]:
    return {p.id: p.preference for p in front.points}


def test_a_front_in_rounds(tmp_path):
    front = explore(preferences=pm.Refine(3, 8, 2), out=tmp_path / "f")
    assert [p.id for p in front.points] == [f"point-{k:03d}" for k in range(1, 9)]
    assert [p.corner for p in front.corners] == ["a", "b"]
    np.testing.assert_allclose(front.preferences[:3, 0], [1 / 9, 1 / 2, 8 / 9])
    losses = front.losses[:3]
    new = place_preferences(pm.Refine(3, 8, 2), front.preferences[:3], np.arange(3), losses, (2.0, 2.0))
    np.testing.assert_array_equal(front.preferences[3:5], new)
    asked = json.loads((tmp_path / "f/study.json").read_text())["study"]
    assert asked["refine"] == {"start": 3, "total": 8, "each": 2, "by": "gap"}
    assert [p["preference"] is None for p in asked["points"]] == [False] * 3 + [True] * 5 + [False] * 2
    assert str(verify(tmp_path / "f")) == "every file is as it was written"
    assert "point-008" in front.table()
    assert preferences(pm.Front.load(tmp_path / "f")) == preferences(front)


class Rounds(Here):
    """Notes what it is asked for at once."""

    def __init__(self):
        self.asked = []

    def run(self, study, jobs, store, report) -> None:
        self.asked.append([job.id for job in jobs])
        super().run(study, jobs, store, report)


def test_a_round_is_computed_at_once():
    executor = Rounds()
    explore(preferences=pm.Refine(2, 6, each=2), executor=executor)
    ids = [f"point-{k:03d}" for k in range(1, 7)]
    assert executor.asked == [["ideal-1", "ideal-2"], ids[:2], ids[2:4], ids[4:]]


@pytest.mark.parametrize("last", ["ideal-1", "point-001", "point-004", "point-005", "point-007"])
def test_stopped_in_any_round_and_resumed(tmp_path, last):
    whole = explore(preferences=pm.Refine(3, 7, 2), out=tmp_path / "whole")
    steps = []

    def stop(told: pm.Step) -> None:
        steps.append(told)
        if (told.point, told.step) == (last, 3):
            raise KeyboardInterrupt

    with pytest.raises(pm.Interrupted, match=r"of 9 points are in"):
        explore(preferences=pm.Refine(3, 7, 2), out=tmp_path / "f", callbacks=[stop])
    left = 9 - len(list((tmp_path / "f/points").iterdir()))
    there = str(verify(tmp_path / "f"))
    assert "not computed yet" in there
    assert "damaged" not in there
    explore(preferences=pm.Refine(3, 7, 2), out=tmp_path / "f")
    assert [line["left"] for line in logged(tmp_path / "f", "resumed" if left < 9 else "started")][-1] == left
    assert files(tmp_path / "f") == files(tmp_path / "whole")
    assert len(whole) == 7


def test_a_damaged_record_of_an_early_round_is_computed_again_and_later_ones_stay(tmp_path):
    explore(preferences=pm.Refine(3, 7, 2), out=tmp_path / "f")
    before = files(tmp_path / "f")
    (tmp_path / "f/points/point-002.json").write_bytes(b"{}")
    (tmp_path / "f/points/point-005.json").unlink()
    assert list(verify(tmp_path / "f").damaged) == ["points/point-002.json", "points/point-005.json"]
    corrupt = pm.Front.load(tmp_path / "f")
    assert [p.id for p in corrupt.corrupt] == ["point-002"]
    explore(preferences=pm.Refine(3, 7, 2), out=tmp_path / "f")
    assert files(tmp_path / "f") == before
    assert len(logged(tmp_path / "f", "point")) == 9 + 2


def test_a_damaged_record_whose_preference_is_not_known(tmp_path):
    explore(preferences=pm.Refine(3, 7, 2), out=tmp_path / "f")
    (tmp_path / "f/points/point-006.json").write_bytes(b"{}")
    front = pm.Front.load(tmp_path / "f")
    assert [(p.id, p.preference) for p in front.corrupt] == [("point-006", ())]
    assert front.preferences.shape == (6, 2)
    assert "point-006" in front.table()
    front.to_csv(tmp_path / "table.csv")
    front.to_json(tmp_path / "front.json")


def test_a_record_with_an_impossible_preference_is_corrupt(tmp_path):
    explore(preferences=pm.Refine(3, 4), out=tmp_path / "f")
    store = Store(tmp_path / "f")
    (point,) = store.read_points(["point-004"])
    record = schema.to_record(replace(point, preference=(-1.0, 2.0)), store.names, store.id)
    front_files.write(tmp_path / "f/points/point-004.json", front_files.seal_json(record))
    (read,) = store.read_points(["point-004"])
    assert read.state == "corrupt"
    assert "the preference of point-004 is not 2 numbers of at least 0" in str(read.reason)


def test_several_seeds_share_their_preferences(tmp_path):
    front = explore(preferences=pm.Refine(3, 6, 2), seeds=2, out=tmp_path / "f")
    first, second = front.by_seed()
    np.testing.assert_array_equal(first.preferences, second.preferences)
    assert len(front.mean()) == 6
    losses = (first.losses[:3] + second.losses[:3]) / 2
    new = place_preferences(pm.Refine(3, 6, 2), first.preferences[:3], np.arange(3), losses, (2.0, 2.0))
    np.testing.assert_array_equal(first.preferences[3:5], new)


def test_in_fleets(tmp_path):
    """Two trainings of the same fleets; a fleet is of one round."""
    for name in ("f", "g"):
        explore(preferences=pm.Refine(3, 7, 2), fleet=2, out=tmp_path / name)
    assert files(tmp_path / "f") == files(tmp_path / "g")
    (tmp_path / "g/points/point-006.json").unlink()
    explore(preferences=pm.Refine(3, 7, 2), fleet=2, out=tmp_path / "g")
    assert files(tmp_path / "f") == files(tmp_path / "g")


def fails_at(bad):
    """NaN at the points whose preference is in a range."""
    at = {"now": False}

    def callback(told: pm.Step) -> None:
        at["now"] = bad[0] < told.preference[0] < bad[1]

    def losses(model, batch):
        values = toys.losses(model, batch)
        if at["now"]:
            at["now"] = False
            values["b"] = values["b"] * float("nan")
        return values

    return toys.two_regressions(losses=losses), callback


def refined_where_points_fail(bad: tuple[float, float], out: Path) -> pm.Front:
    problem, callback = fails_at(bad)
    return pm.explore(
        problem, ps.Linear(), preferences=pm.Refine(3, 7, 2), epochs=2, optimizer=SGD, callbacks=[callback], out=out
    )


def test_points_that_fail_are_placed_around(tmp_path):
    with pytest.warns(UserWarning, match="points failed"):
        front = refined_where_points_fail((0.4, 0.6), tmp_path / "f")
    assert "point-002" in {p.id for p in front.failed}
    every = sorted(p.preference[0] for p in (*front.points, *front.failed))
    assert len(every) == 7
    assert np.diff(every).min() > neighbour_distance(2, 7) / 40


@pytest.mark.filterwarnings("ignore:.*points failed:UserWarning")
def test_a_first_round_with_one_success_cannot_be_refined(tmp_path):
    with pytest.warns(UserWarning, match="4 points were not placed: fewer than two of the first round succeeded"):
        front = refined_where_points_fail((0.2, 0.99), tmp_path / "f")
    assert len(front) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((1, 5), r"Refine\(start=1\): give a whole number of at least 2"),
        ((2.0, 5), r"Refine\(start=2.0\): give a whole number"),
        ((5, 5), r"Refine\(start=5, total=5\): total counts the first ones as well"),
        ((2, 5, 0), r"Refine\(each=0\): give a whole number of at least 1"),
        ((2, 5, 1, "area"), r"Refine\(by='area'\): give one of 'gap', 'hypervolume'"),
    ],
)
def test_options_that_mean_nothing(arguments, error, unchecked):
    with pytest.raises(ValueError, match=error):
        pm.Refine(*arguments)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"solver": ps.MGDA()}, "MGDA ignores preferences"),
        ({"solver": ps.HypervolumeAscent((2.0, 2.0)), "fleet": 9}, "moves all of its points together"),
        ({"front_model": pm.FiLM()}, "one network is trained, at preferences that it draws itself"),
    ],
)
def test_studies_that_cannot_be_refined(asked, error):
    asked = {"solver": ps.Linear(), "epochs": 1} | asked
    with pytest.raises(ValueError, match=error):
        pm.explore(toys.two_regressions(), preferences=pm.Refine(3, 9), **asked)


def test_three_objectives_need_three_to_start():
    with pytest.raises(ValueError, match=r"Refine\(start=2\): give at least 3, as many as there are objectives"):
        pm.Refine(2, 9).first(3)


def test_another_way_to_refine_is_another_study(tmp_path):
    explore(preferences=pm.Refine(3, 5), out=tmp_path / "f")
    for other in (pm.Refine(3, 5, by="hypervolume"), pm.Refine(3, 5, 1), 5):
        with pytest.raises(ValueError, match="holds another study") as error:
            explore(preferences=other, out=tmp_path / "f")
        assert any("refine" in line for line in differences(error))

"""A front's warnings: why points are off their ray, which are dominated, and what to do."""

import numpy as np
import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.point import Code
from paretomtl.show.warnings import NAMED, RECORD, Surroundings, find_causes, find_dominated
from paretomtl.training.outcome import ray_warnings
from tests.fronts import failed, point, stored


def around(*statuses, on_ray=False, beside=0.0, best=(0, 0), worst=(1, 1), normalised=False, farthest=1.0, noise=None):
    k = len(statuses)
    beside = np.broadcast_to(np.array(beside, float), (k,))
    best, worst = np.array(best, float), np.array(worst, float)
    noise = None if noise is None else np.array(noise)
    return Surroundings(statuses, [on_ray] * k, beside, best, worst, normalised, farthest, noise)


@pytest.mark.parametrize(
    ("numbers", "causes"),
    [
        (around("trained", "trained", beside=20.0, worst=(1, 5)), {"scale": 2}),
        (around("trained", "trained", beside=20.0, best=(0.4, 0)), {"ideal": 2}),
        (around("trained", "trained", beside=20.0, best=(1, 0)), {"bounds": 2}),  # nothing to gain in a loss
        (around("trained", "still moving", beside=20.0, worst=(1, 5)), {"scale": 2}),
        (around("trained", "still moving", beside=0.0, worst=(1, 5)), {"unknown": 1, "budget": 1}),
        (around("trained", beside=20.0), {"bounds": 1}),
        (around("trained", beside=20.0, best=(0.4, 0), worst=(1, 5), normalised=True), {"bounds": 1}),
        (around("unreachable", beside=20.0), {"bounds": 1}),
        (around("unreachable", beside=np.nan), {"bounds": 1}),
        (around("unreachable"), {"gap": 1}),
        (around("not converged", "still moving", "unreachable"), {"budget": 2, "gap": 1}),
        (around("trained", on_ray=True), {"unseen": 1}),
        (around("still moving", normalised=True, farthest=0.09), {"noise": 1}),
        (around("still moving", normalised=True, farthest=0.3), {"budget": 1}),
        (around("still moving", normalised=True, farthest=0.3, noise=(0.01, 0.2)), {"noise": 1}),
        (around("still moving", normalised=False, farthest=0.05), {"budget": 1}),
        (around("trained", beside=np.nan, worst=(1, 5)), {"unknown": 1}),
        (around("trained", beside=20.0, worst=(1, 0)), {"bounds": 1}),  # a loss that does not vary has no range
    ],
)
@pytest.mark.fault(26)
def test_the_cause_by_the_numbers(numbers, causes):
    assert find_causes(numbers) == causes


def off(id, row, preference, error=20.0, status="trained", **changes):
    warnings = (f"{error:.1f} degrees off the ray asked for ({status})",)
    return point(id, row, preference=preference, control_error=error, status=status, warnings=warnings, **changes)


def test_the_records_own_warning_is_known():
    (text,) = ray_warnings(ps.EPO(), 22.04, Code.STILL_MOVING)
    assert text == "22.0 degrees off the ray asked for (still moving)"
    assert RECORD.search(text)
    assert RECORD.search(f"point-001-seed-1: {text}")  # of a mean over seeds


CORNERS = [
    point("ideal-1", (0.2, 2.0), preference=(1, 0), corner="a"),
    point("ideal-2", (0.5, 0.01), preference=(0, 1), corner="b"),
]


@pytest.mark.fault(17)
def test_losses_of_unlike_ranges_lead_to_normalise(tmp_path):
    rows = [off("p1", (0.21, 0.5), (0.1, 0.9)), off("p2", (0.21, 1.9), (0.95, 0.05), 31.5), point("p3", (0.4, 0.3))]
    (text,) = stored(tmp_path, [rows[0], rows[2], *CORNERS]).warnings()
    assert "normalise" not in text  # this ray passes between the corners
    rows[1] = off("p2", (0.45, 0.1), (0.001, 0.999), 31.5)
    rows[0] = off("p1", (0.21, 1.99), (0.99, 0.01))
    (text,) = stored(tmp_path / "beside", [*rows, *CORNERS]).warnings()
    assert text == (
        "2 of 3 points are up to 31.5 degrees off the ray asked for (p2, trained): the losses' ranges differ 6.6-fold "
        "('a' 0.2 to 0.5, 'b' 0.01 to 2), so rays of raw losses pass beside the front; normalise=\"corners\" "
        "measures each loss from its best to its worst: give preferences= a number and leave normalise= at its default"
    )


def normalised(tmp_path, rows, ideal=(0, 0), nadir=(1, 1), **study):
    return stored(tmp_path, rows, normalisation={"ideal": list(ideal), "nadir": list(nadir)}, **study)


@pytest.mark.fault(26)
def test_rays_out_of_reach_lead_to_the_preferences_within(tmp_path):
    rows = [off("p1", (0.2, 0.8), (0.95, 0.05)), point("p2", (0.5, 0.5)), off("p3", (0.5, 0.45), (0.45, 0.55), 6.0)]
    (text,) = normalised(tmp_path, rows, budget={"epochs": 4}).warnings()
    assert text.startswith("2 of 3 points are up to 20.0 degrees off the ray asked for (p1, trained): for 1 of them, ")
    assert "the ray passes beside the front; points reach preferences of 0.47 to 0.8 for 'a': ask for such" in text
    first = normalised(tmp_path / "one", [rows[1], off("p1", (0.2, 0.8), (0.95, 0.05), status="unreachable")])
    assert first.warnings() == (
        "p1 is 20.0 degrees off the ray asked for (unreachable): the ray passes beside the front; points reach "
        "preferences of 0.5 to 0.8 for 'a': ask for such",
    )


def test_a_training_that_had_not_settled_leads_to_the_budget(tmp_path):
    rows = [point("p1", (0.1, 0.9)), off("p2", (0.4, 0.6), (0.5, 0.5), status="still moving"), point("p3", (0.9, 0.1))]
    (text,) = stored(tmp_path, rows, budget={"epochs": 4}).warnings()
    assert text.endswith(": training had not settled when its steps were over; give more epochs= (now 4)")
    (text,) = stored(tmp_path / "unknown", rows).warnings()
    assert text.endswith("give more epochs= or steps=")


def test_next_to_nothing_to_trade_is_said(tmp_path):
    rows = [off("p1", (0.52, 0.08), (0.5, 0.5)), off("p2", (0.54, 0.01), (0.7, 0.3), 40.0)]
    (text,) = normalised(tmp_path, rows, ideal=(0.5, 0), nadir=(1.5, 1)).warnings()
    assert "there is next to nothing to trade, and any of them will do" in text


def test_a_front_of_seeds_counts_every_model_and_its_mean_says_the_same(tmp_path):
    rows = [off(f"p1-seed-{s + 1}", (0.2, 0.8 + s / 100), (0.9, 0.1), seed=s) for s in range(2)]
    rows += [point(f"p2-seed-{s + 1}", (0.8, 0.2), seed=s) for s in range(2)]
    front = stored(tmp_path, rows)
    (text,) = front.warnings()
    assert text.startswith("2 of 4 points are up to 20.0 degrees off the ray asked for (p1-seed-1, trained)")
    assert not any("seed-1: 20.0 degrees" in text for text in front.mean().warnings())


# --- dominated points ---


def ids(front):
    return [(worse.id, better.id) for worse, better in find_dominated(front)]


def test_dominated_points_are_listed_with_the_one_that_is_better(tmp_path):
    rows = [point("p1", (0.1, 0.9)), point("p2", (0.5, 0.4)), point("p3", (0.6, 0.6)), point("p4", (0.9, 0.1))]
    front = stored(tmp_path, rows)
    assert front.warnings() == (
        "1 of 4 points is dominated by another of the same study (p3 by p2): front.nondominated() leaves it out; "
        "seeds=3 shows whether it is more than noise",
    )
    assert front.nondominated().warnings() == ()


def test_a_hundredth_of_the_range_is_not_told_and_more_is(tmp_path):
    ends = [point("p1", (0.0, 1.0)), point("p2", (1.0, 0.0)), point("p3", (0.5, 0.5))]
    assert ids(stored(tmp_path / "equal", [*ends, point("p4", (0.5, 0.5))])) == []
    assert ids(stored(tmp_path / "near", [*ends, point("p4", (0.6, 0.509))])) == []
    assert ids(stored(tmp_path / "far", [*ends, point("p4", (0.6, 0.511))])) == [("p4", "p3")]


@pytest.mark.parametrize(("noise", "dominated"), [(0.001, True), (0.05, False)])
def test_seeds_say_what_is_noise(tmp_path, noise, dominated):
    losses = {"p1": (0.0, 1.0), "p2": (1.0, 0.0), "p3": (0.5, 0.5), "p4": (0.55, 0.55)}
    rows = [
        point(f"{id}-seed-{s + 1}", (a + s * noise, b + s * noise), seed=s)
        for s in range(2)
        for id, (a, b) in losses.items()
    ]
    expected = [(f"p4-seed-{s}", f"p3-seed-{s}") for s in (1, 2)] if dominated else []
    assert ids(stored(tmp_path, rows)) == expected


def test_no_more_than_a_few_dominated_points_are_named(tmp_path):
    rows = [point("p0", (0.0, 0.0)), *(point(f"p{k}", (k / 10, k / 10), status="still moving") for k in range(1, 7))]
    (text,) = stored(tmp_path, rows, budget={"steps": 5}).warnings()
    assert text.count(" by p0") == NAMED
    assert text.endswith("most of them had not settled: give more steps= (now 5)")


def test_points_from_elsewhere_are_not_compared():
    assert pm.Front.from_values([[0.5, 0.5], [1.0, 1.0]], ["a", "b"], [2.0, 2.0]).warnings() == ()


def test_the_largest_consequence_comes_first(tmp_path):
    rows = [point("p1", (0.1, 0.9)), off("p2", (0.4, 0.6), (0.6, 0.4)), point("p3", (0.9, 0.8), warnings=("odd",))]
    front = stored(tmp_path, [*rows, failed("p4")], notes=["a note"], ref_point=[0.5, 2.0])
    starts = ("1 of 4 points failed", "p2 is 20.0 degrees", "1 of 3 points is dominated", "1 of 3 points does not dom")
    assert [text.startswith(start) for text, start in zip(front.warnings(), starts, strict=False)] == [True] * 4
    assert front.warnings()[4:] == ("a note", "p3: odd")

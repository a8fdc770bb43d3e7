"""Asking: the preference that an aspiration leads to, and what the points let expect there."""

from functools import partial

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.preference import control_error, even_design, ray
from paretomtl.selection.ask import Ask
from studies.analytic import fonseca
from tests.fronts import asked, point

ENOUGH = 1e-3  # of the achievement function
# on the front, at .6 c_1 + .4 c_2 and at .3 c_1 + .1 c_2 + .6 c_3, whose squared distances from the centres these are
ON_IT = {2: 1 - np.exp([-0.64, -1.44]), 3: 1 - np.exp([-1.0, -1.8, -0.2])}
ASPIRATIONS = {
    "attainable": ((0.5, 0.9, 0.8), None),
    "not": ((0.3, 0.3, 0.3), None),
    "on the front": (None, None),
    "not, reserved": ((0.3, 0.3, 0.3), (0.9, 0.5, 0.6)),
    "attainable, reserved": ((0.7, 0.8, 0.8), (0.8, 0.99, 0.9)),
    "on the front, reserved": (None, (0.95, 0.9, 0.9)),
}


def aims(case, m):
    aspiration, reservation = ASPIRATIONS[case]
    return tuple(ON_IT[m] if aspiration is None else aspiration[:m]), reservation and reservation[:m]


def lattice(m, n):
    if m == 2:
        first = np.linspace(0, 1, n + 1)
        return np.stack([first, 1 - first], axis=1)
    i, j = np.triu_indices(n + 1)
    return np.stack([i, j - i, n - j], axis=1) / n


def least(score, m):
    """The losses of Fonseca's front with the least score: its Pareto set is the segment, or triangle, of the centres.

    The best of a lattice of it is looked at more closely, again and again.
    """
    centres = np.array([[1.0] * 10, [-1.0] * 10, [-1.0, 1.0] * 5])[:m] / np.sqrt(10)
    steps = lattice(m, 30)
    best, radius = np.full(m, 1 / m), 1.0
    for _ in range(8):
        shares = np.clip(best + radius * (steps - 1 / m), 0, None)
        shares /= shares.sum(axis=1, keepdims=True)
        losses = 1 - np.exp(-np.square((shares @ centres)[:, None] - centres[None]).sum(axis=2))
        k = score(losses).argmin()
        best, radius = shares[k], radius / 4
    return losses[k]


def achievement(losses, aspiration, reservation):
    """Wierzbicki's function; without reservation misses are measured from 0, where these rays begin."""
    way = np.subtract(reservation, aspiration) if reservation is not None else np.array(aspiration)
    return ((losses - np.array(aspiration)) / way).max(axis=1)


def solved(r, id, corner=None):
    """A point as a method that follows rays ends: the least max_j r_j l_j of the front."""
    losses = least(lambda front: np.max(r * front, axis=1) + 1e-9 * front.sum(axis=1), len(r))
    off = float(control_error(losses, np.array(r)))
    fields = {"preference": tuple(map(float, r)), "corner": corner, "control_error": off}
    return point(id, tuple(losses.tolist()), status="unreachable" if off > 0.05 else "solved", **fields)


def front_of(points, m=2, **study):
    fields = {
        "objectives": [{"name": f"f{j + 1}", "unit": "", "goal": "min"} for j in range(m)],
        "ref_point": [1.1] * m,
        "points": asked(points),
        "splits": ["validate"],
        "notes": [],
        "measured": False,
        "seeds": 1,
    }
    return pm.Front(fields | study, points)


def fonsecas(m, n):
    """A front of an even design, and its corners."""
    points = [solved(r, f"point-{k + 1:03d}") for k, r in enumerate(even_design(m, n))]
    return [*points, *(solved(np.eye(m)[j], f"ideal-{j + 1}", f"f{j + 1}") for j in range(m))]


def named(row, m):
    return None if row is None else {f"f{j + 1}": float(row[j]) for j in range(m)}


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("case", ASPIRATIONS)
def test_three_rounds_come_to_the_truth(m, case):
    """Where each point is the best on its ray."""
    aspiration, reservation = aims(case, m)
    points = fonsecas(m, 5 if m == 2 else 7)
    for k in range(3):
        answer = front_of(points, m).ask(named(aspiration, m), reservation=named(reservation, m))
        points.append(solved(np.array([*answer.preference.values()]), f"new-{k}"))
    miss = partial(achievement, aspiration=aspiration, reservation=reservation)
    assert miss(front_of(points, m).losses).min() == pytest.approx(miss(least(miss, m)[None])[0], abs=ENOUGH)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("case", ASPIRATIONS)
def test_three_trainings_come_to_the_truth(tmp_path, unchecked, request, m, case):
    """Ask, train, look again: by EPO, each training an addition to the study of the folder."""
    if (m, case) == (3, "attainable, reserved"):
        reason = "off by .010 after three: the line meets the front at its edge, where few points tell its shape"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    aspiration, reservation = aims(case, m)
    optimizer = partial(torch.optim.Adam, lr=0.02)
    explore = partial(
        pm.explore, fonseca(objectives=m), ps.EPO(), steps=300, optimizer=optimizer, out=tmp_path / "front"
    )
    front = explore(preferences=5 if m == 2 else 7)
    for _ in range(3):
        answer = front.ask(named(aspiration, m), reservation=named(reservation, m))
        front = explore(preferences=[answer.preference])
    miss = partial(achievement, aspiration=aspiration, reservation=reservation)
    assert miss(front.losses).min() == pytest.approx(miss(least(miss, m)[None])[0], abs=ENOUGH)


# --- what the answer says ---


@pytest.fixture(scope="module")
def front():
    return front_of(fonsecas(2, 9))


def test_the_ray_through_the_aspiration(front):
    answer = front.ask({"f1": 0.5, "f2": 0.6})
    assert isinstance(answer, Ask)
    assert answer.preference == pytest.approx({"f1": 6 / 11, "f2": 5 / 11})
    assert answer.losses == answer.values
    assert answer.losses["f1"] / answer.losses["f2"] == pytest.approx(5 / 6)
    assert answer.achievement == pytest.approx(answer.losses["f1"] / 0.5 - 1)
    assert not answer.is_attainable
    assert answer.nearest.id == "point-006"
    assert answer.errors == pytest.approx(dict(zip(front.names, front.map().error, strict=True)))
    assert "f1 0.5, f2 0.6 is aspired to: the ray of preference f1 0.545, f2 0.455 leads there. It is out of reach" in (
        answer.why
    )
    assert "which misses it by 0.0" in answer.why
    assert "was trained at this preference" not in answer.why
    assert front.ask({"f1": 0.3, "f2": 0.3}).why.endswith("point-005 was trained at this preference already.")
    assert "The nearest point is point-006 (f1 0." in answer.why


def test_what_a_point_betters_is_attainable(front):
    answer = front.ask({"f1": 0.7, "f2": 0.7})
    assert answer.is_attainable
    assert answer.achievement == pytest.approx(0.6321 / 0.7 - 1, abs=1e-4)
    assert "It can be attained: expected is f1 0.6321, f2 0.6321, which betters it by 0.0679 in f1" in answer.why


def test_what_only_a_place_between_points_attains(front):
    aim = {"f1": 0.6, "f2": 0.665}
    assert not (front.losses <= [*aim.values()]).all(axis=1).any()
    assert front.ask(aim).is_attainable


def test_beyond_the_points_their_end_is_the_nearest():
    """There are no corners, and the line passes beside: the preference goes on, and nothing is made up for it."""
    inner = front_of([solved(r, f"p{k}") for k, r in enumerate([(0.4, 0.6), (0.5, 0.5), (0.6, 0.4)])])
    answer = inner.ask({"f1": 0.1, "f2": 0.9})
    assert answer.preference == pytest.approx({"f1": 0.9, "f2": 0.1})
    assert answer.losses == pytest.approx(dict(zip(inner.names, inner.losses[-1], strict=True)))
    assert "at their end, for the line passes beside them and what is beyond is unknown" in answer.why
    one = front_of([solved((0.5, 0.5), "p0")]).ask({"f1": 0.3, "f2": 0.5})
    assert one.nearest.id == "p0"
    assert one.errors is None
    assert "unknown" in one.why


def test_a_normalised_study_is_asked_in_its_units():
    """The ray begins at the ideal, and half of what there is to gain in each is the even preference."""
    first = np.linspace(0, 1, 2001)
    truth = np.stack([3 * first + 1, 5 + (1 - first) ** 2], axis=1)
    rows = even_design(2, 9)
    ends = {"ideal": [1.0, 5.0], "nadir": truth.max(axis=0).tolist()}
    units = (truth - ends["ideal"]) / np.subtract(ends["nadir"], ends["ideal"])
    points = []
    for k, r in enumerate(rows):
        best = np.max(r * units, axis=1).argmin()
        off = float(control_error(units[best], r))
        points.append(point(f"p{k}", tuple(truth[best].tolist()), preference=tuple(r.tolist()), control_error=off))
    normalised = front_of(points, normalisation=ends)
    middle = np.add(ends["ideal"], ends["nadir"]) / 2
    answer = normalised.ask(named(middle, 2))
    assert answer.preference == pytest.approx({"f1": 0.5, "f2": 0.5})
    assert answer.losses == pytest.approx(dict(zip(normalised.names, normalised.losses[4], strict=True)), abs=1e-3)
    beyond = normalised.ask({"f1": 0.9, "f2": 5.5})
    assert "no ray passes through the ideal, so misses are in ranges of the front" in beyond.why
    assert not beyond.is_attainable
    assert 1 > beyond.preference["f1"] > 0.5


@pytest.mark.parametrize(
    ("data", "aspiration", "is_said"), [(True, 0.02, True), (True, 0.3, False), (False, 0.02, False)]
)
def test_a_place_that_noisy_training_cannot_tell_apart_is_said(data, aspiration, is_said):
    first = np.geomspace(0.01, 0.9, 9)
    rows = np.stack([first, (1 - np.sqrt(first)) ** 2], axis=1)
    points = [
        point(f"p{k}", tuple(1 + row), preference=tuple(ray(row)), control_error=0.0) for k, row in enumerate(rows)
    ]
    noisy = {"data": {"train": {"length": 1, "first_and_last": "x"}}} if data else {}
    front = front_of(points, normalisation={"ideal": [1.0, 1.0], "nadir": [2.0, 2.0]}, **noisy)
    answer = front.ask({"f1": 1 + aspiration, "f2": 1 + (1 - aspiration**0.5) ** 2})
    assert ("f1 is then within 5% of its range from its ideal" in answer.why) == is_said


def test_points_on_no_rays_lend_their_preferences():
    """Linear's on a convex front: weights of 1/2 end where the losses are 1/4 each, and the map is inverted."""
    shares = np.linspace(0.1, 0.9, 9)
    rows = [((1 - r) ** 2, r**2) for r in shares]
    points = [
        point(
            f"p{k}", row, preference=(r, 1 - r), control_error=float(control_error(np.array(row), np.array([r, 1 - r])))
        )
        for k, (r, row) in enumerate(zip(shares.tolist(), rows, strict=True))
    ]
    front = front_of(points)
    assert np.median(front.control_errors) > 5
    answer = front.ask({"f1": 0.1, "f2": 0.3}, reservation={"f1": 0.2, "f2": 0.4})
    exact = 1 - np.sqrt(answer.losses["f1"])
    assert answer.preference["f1"] == pytest.approx(exact, abs=0.01)
    assert "the points are not on their rays (" in answer.why
    assert "so the preference is a mean of those nearby" in answer.why


def test_seeds_are_averaged_and_the_nearest_is_a_model():
    rows = [("p1-seed-1", (0.2, 0.8), 0), ("p1-seed-2", (0.4, 1.0), 1), ("p2-seed-1", (0.8, 0.2), 0)]
    rows += [("p2-seed-2", (1.0, 0.4), 1)]
    points = [
        point(id, row, seed=seed, preference=(0.75, 0.25) if id[:2] == "p1" else (0.25, 0.75)) for id, row, seed in rows
    ]
    answer = front_of(points, seeds=2).ask({"f1": 0.3, "f2": 0.9})
    assert answer.is_attainable
    assert answer.nearest.id in ("p1-seed-1", "p1-seed-2")


def test_rays_that_miss_the_front_open_it():
    """A front in two pieces: what lies straight between their ends is not expected once a ray there has missed."""
    ends = [point("p1", (0.2, 0.9), preference=(9 / 11, 2 / 11)), point("p2", (0.9, 0.2), preference=(2 / 11, 9 / 11))]
    aim = {"f1": 0.6, "f2": 0.6}
    assert front_of(ends).ask(aim).is_attainable
    missed = point("p3", (0.9, 0.2), preference=(0.5, 0.5), control_error=30.0, status="unreachable")
    answer = front_of([*ends, missed]).ask(aim)
    assert not answer.is_attainable
    assert answer.preference != {"f1": 0.5, "f2": 0.5}  # it was trained, and led nowhere


# --- classes, and a point to start from ---


def test_objectives_left_out_are_kept(front):
    at = front.points[2]
    answer = front.ask({"f1": 0.5}, at=at)
    assert answer == front.ask({"f1": 0.5, "f2": "keep"}, at=at)
    assert answer.preference == front.ask({"f1": 0.5, "f2": at.losses["validate"][1]}).preference
    assert f"From {at.id}, f1 0.5, f2 {at.losses['validate'][1]:.4g} (keep) is aspired to" in answer.why
    pick = front.select(pm.rules.MinMaxRegret())
    assert front.ask({"f1": 0.5}, at=pick) == front.ask({"f1": 0.5}, at=pick.point)


def test_classes(front):
    at = front.points[4]
    assert front.ask({"f1": "improve", "f2": "free"}, at=at).losses["f1"] == pytest.approx(0, abs=1e-3)
    improved = front.ask({"f1": "improve", "f2": "keep"}, at=at)
    now = dict(zip(front.names, at.losses["validate"], strict=True))
    assert improved.losses["f1"] < now["f1"]
    assert now["f2"] < improved.losses["f2"]
    assert "(improve)" in improved.why
    kept = front.ask({"f1": "keep", "f2": "keep"}, at=at)
    assert kept.losses == pytest.approx(now)
    assert kept.is_attainable


# --- measures ---


def measured(values, losses, goal="max", **more):
    """A front whose second measure is no loss."""
    points = [
        point(f"p{k}", loss, values={"validate": value}, preference=tuple(map(float, r)), control_error=0.0)
        for k, (loss, value, r) in enumerate(zip(losses, values, even_design(2, len(values)), strict=True))
    ]
    objectives = [{"name": "f1", "unit": "", "goal": "min"}, {"name": "accuracy", "unit": "%", "goal": goal}]
    return front_of(points, measured=True, objectives=objectives, **more)


LOSSES = [(float(x), float(1 - x)) for x in np.linspace(0.9, 0.1, 9)]


def test_an_aspiration_in_measures():
    front = measured([(a, 100 - 50 * b) for a, b in LOSSES], LOSSES)
    answer = front.ask({"f1": 0.5, "accuracy": 75.0})
    assert answer.preference == pytest.approx({"f1": 0.5, "accuracy": 0.5})
    assert answer.values == pytest.approx({"f1": 0.5, "accuracy": 75.0})
    assert answer.losses == pytest.approx({"f1": 0.5, "accuracy": 0.5})
    assert answer.is_attainable
    better = front.ask({"f1": 0.5, "accuracy": 70.0})
    assert better.is_attainable
    assert "betters it by" in better.why


def test_a_measure_beyond_the_points_is_taken_at_their_end():
    front = measured([(a, 100 - 50 * b) for a, b in LOSSES], LOSSES)
    answer = front.ask({"f1": 0.5, "accuracy": 99.0})
    assert "accuracy 99 % is beyond what the points show, 95 % at best; that is taken in its place." in answer.why
    assert answer.preference == front.ask({"f1": 0.5, "accuracy": 95.0}).preference
    assert "40 % at" not in answer.why
    assert "55 % at worst" in front.ask({"f1": 0.5, "accuracy": 40.0}).why


def test_a_measure_that_does_not_follow_its_loss():
    rough = [(a, 100 - 50 * b if k % 2 else 60.0 + k) for k, (a, b) in enumerate(LOSSES)]
    answer = measured(rough, LOSSES).ask({"f1": 0.5, "accuracy": 75.0})
    assert (
        "The measure of accuracy does not follow its loss: a monotone curve through the points is off by" in answer.why
    )


# --- what bad input gets ---


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (({"f1": 0.5},), "aspiration has no number for 'f2'; give one for each, or at="),
        (({"f1": 0.5, "f3": 1.0},), "aspiration names 'f3'; the objectives are 'f1', 'f2'"),
        (({"f1": 0.5, "f2": float("nan")},), r"aspiration\['f2'\] = nan is not a finite number"),
        (({"f1": 0.5, "f2": "better"},), r"aspiration\['f2'\] = 'better'; give a number, or one of 'improve', 'keep'"),
        (({"f1": 0.5, "f2": "keep"},), r"aspiration\['f2'\] = 'keep' says what to change from a point; give at="),
        ((0.5,), r"aspiration=0.5: give a number by objective, such as \{'f1': 0.5, 'f2': 0.5\}"),
        (({"f1": 0.5, "f2": 0.5}, {"f1": 0.7}), "reservation has no number for 'f2'; give one for each$"),
        (({"f1": 0.5, "f2": 0.5}, {"f1": 0.7, "f2": "free"}), r"reservation\['f2'\] = 'free'; give a number$"),
        (({"f1": 0.5, "f2": 0.5}, {"f1": 0.7, "f2": 0.4}), r"reservation\['f2'\] = 0.4 is not worse than .* above it"),
        (({"f1": 0.5}, None, "point-001"), "at='point-001' is a str; give one of front.points"),
        (({"f1": 0.5}, None, point("other", (0.1, 0.2))), "at='other' is not a point of this front"),
    ],
)
def test_what_is_wrong_is_named(front, arguments, error):
    aspiration, reservation, at = (*arguments, None, None)[:3]
    with pytest.raises((ValueError, TypeError), match=error):
        front.ask(aspiration, reservation=reservation, at=at)


def test_a_front_of_values_alone_or_of_nothing():
    with pytest.raises(ValueError, match="this front has no preferences: it was made from values alone"):
        pm.Front.from_values([[0.1, 0.2]], ["a", "b"], [1, 1]).ask({"a": 0.1, "b": 0.1})
    with pytest.raises(pm.EmptyFrontError, match="no point to ask from"):
        front_of([]).ask({"f1": 0.1, "f2": 0.1})

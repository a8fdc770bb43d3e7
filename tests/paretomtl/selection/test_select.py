import copy
import itertools
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretomtl.errors import EmptyFrontError, NoFeasiblePointError
from paretomtl.objective import Objective
from paretomtl.point import Point
from paretomtl.selection.rules import Constraint, Knee
from paretomtl.selection.select import Candidates, Noise, list_candidates

CONVEX = [(0.0, 1.0), (0.1, 0.4), (0.5, 0.1), (1.0, 0.0)]
CERTAIN = Noise(None, None, np.ones(1, dtype=int))
often = settings(deadline=None, derandomize=True, max_examples=60)


def point(name, row, **changes):
    fields = {"preference": (1 / len(row),) * len(row), "values": {"validate": tuple(map(float, row))}}
    return Point(name, **(fields | changes))


def points(rows):
    return [point(f"p{k}", row) for k, row in enumerate(rows)]


def objectives(m, goals=()):
    return [Objective("abcde"[i], goal=goals[i] if goals else "min") for i in range(m)]


def choose(rule, given_points, described=None):
    """The choice among points, or among rows of measures."""
    if not isinstance(given_points[0], Point):
        given_points = points(given_points)
    described = described or objectives(len(given_points[0].preference))
    return rule.choose(list_candidates(given_points, described))


def told(choice):
    return choice.point and choice.point.id, choice.why, [r.point.id for r in choice.runners_up]


def dominated(row, rows, signs):
    costs, cost = np.array(rows) * signs, np.array(row) * signs
    return bool(((costs <= cost).all(axis=1) & (costs < cost).any(axis=1)).any())


class Case(NamedTuple):
    rows: list
    described: list
    signs: np.ndarray

    @property
    def points(self):
        return points(self.rows)


@st.composite
def cases(draw):
    """Few measures with many ties and dominated points, of either sense."""
    m = draw(st.integers(2, 3))
    rows = draw(st.lists(st.tuples(*[st.integers(0, 5).map(float)] * m), min_size=1, max_size=9))
    described = objectives(m, draw(st.tuples(*[st.sampled_from(["min", "max"])] * m)))
    return Case(rows, described, np.array([o.sign for o in described]))


@st.composite
def bounds(draw, m):
    return {name: float(draw(st.integers(0, 5))) for name in draw(st.sets(st.sampled_from("abcde"[:m])))}


@often
@given(cases(), st.data())
def test_constraint_is_the_best_that_is_feasible_and_never_dominated(case, data):
    rule = Constraint(data.draw(st.sampled_from([o.name for o in case.described])), data.draw(bounds(len(case.signs))))
    names = [o.name for o in case.described]
    keeps = [
        all(
            s * row[i] <= s * rule.subject_to.get(n, s * 9)
            for i, (n, s) in enumerate(zip(names, case.signs, strict=True))
        )
        for row in case.rows
    ]
    if not any(keeps):
        with pytest.raises(NoFeasiblePointError) as caught:
            choose(rule, case.points, case.described)
        assert not dominated(caught.value.nearest.values["validate"], case.rows, case.signs)
        return
    choice = choose(rule, case.points, case.described)
    i, feasible = names.index(rule.best), [row for row, kept in zip(case.rows, keeps, strict=True) if kept]
    for chosen in (choice.point, *(r.point for r in choice.runners_up)):
        assert chosen.values["validate"] in feasible
        assert not dominated(chosen.values["validate"], case.rows, case.signs)
    sign = case.signs[i]
    best = [sign * p.values["validate"][i] for p in (choice.point, *(r.point for r in choice.runners_up))]
    assert best[0] == min(sign * row[i] for row in feasible)
    assert best == sorted(best)
    assert choice.point not in choice.runners_up


@often
@given(cases())
def test_knee_is_never_dominated(case):
    choice = choose(Knee(), case.points, case.described)
    for chosen in (choice.point, *(r.point for r in choice.runners_up)):
        assert chosen is None or not dominated(chosen.values["validate"], case.rows, case.signs)
    assert choice.why.startswith(choice.point.id if choice.point else "no knee")


@pytest.mark.parametrize("rule", [Knee(), Constraint("a"), Constraint("b", {"a": 2.0})])
@often
@given(case=cases(), data=st.data())
@pytest.mark.fault(39)
def test_the_order_of_the_points_does_not_matter(rule, case, data):
    def answer(given_points):
        try:
            return told(choose(rule, given_points, case.described))
        except NoFeasiblePointError as error:
            return str(error), error.nearest.id

    assert answer(case.points) == answer(data.draw(st.permutations(case.points)))


@often
@given(case=cases(), data=st.data())
@pytest.mark.fault(38)
def test_units_do_not_change_the_knee(case, data):
    m = len(case.signs)
    scale = np.array(data.draw(st.tuples(*[st.sampled_from([0.7, 3.0, 1e-3, 1e3])] * m)))
    shift = np.array(data.draw(st.tuples(*[st.sampled_from([0.0, 5.0, -0.1])] * m)))
    other = np.array(case.rows) * scale + shift
    first, second = choose(Knee(), case.points, case.described), choose(Knee(), points(other), case.described)
    assert (first.point is None) == (second.point is None)
    assert told(first)[::2] == told(second)[::2]


@pytest.mark.parametrize("scale", [(1, 1), (1, 3), (3, 1), (10, 0.1)])
@pytest.mark.fault(38)
@pytest.mark.fault(39)
def test_units_do_not_break_a_tie(scale):
    symmetric = np.array([(0.0, 1.0), (0.1, 0.4), (0.4, 0.1), (1.0, 0.0)]) * scale
    assert choose(Knee(), symmetric.tolist()).point.id == "p1"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.fault(39)
def test_ties_go_to_the_earlier_id(order):
    same = [point("p2", (1, 1)), point("p10", (1, 1)), point("p1", (1, 1))]
    assert told(choose(Constraint("a"), [same[i] for i in order]))[::2] == ("p1", ["p10", "p2"])
    ends = [point("e1", (0, 9)), point("e2", (9, 0))]
    assert choose(Knee(), [*ends, *(same[i] for i in order)]).point.id == "p1"


def test_constraint_by_hand():
    choice = choose(Constraint("b", {"a": 0.5}), CONVEX)
    assert told(choice)[::2] == ("p2", ["p1", "p0"])
    assert choose(Constraint("a"), CONVEX).point.id == "p0"
    assert choose(Constraint("a", {"a": 1.0, "b": 0.4}), CONVEX).point.id == "p1"


def test_a_bound_is_kept_by_a_point_on_it():
    assert choose(Constraint("a", {"b": 0.4}), CONVEX).point.id == "p1"


def test_bounds_and_best_are_in_the_sense_of_the_measure():
    described = [Objective("error"), Objective("accuracy", "%", "max")]
    rows = [(0.1, 70), (0.3, 80), (0.5, 90), (0.6, 85)]
    kept = choose(Constraint("error", {"accuracy": 80.0}), rows, described)
    assert told(kept)[::2] == ("p1", ["p2"])
    assert "accuracy ≥ 80" in kept.why
    highest = choose(Constraint("accuracy", {"error": 0.4}), rows, described)
    assert highest.point.id == "p1"
    assert "highest accuracy, 80 %" in highest.why
    assert "error ≤ 0.4" in highest.why
    with pytest.raises(NoFeasiblePointError, match=r"accuracy ≥ 95.*p2 with accuracy = 90"):
        choose(Constraint("error", {"accuracy": 95.0}), rows, described)


def test_why_names_the_point_its_value_and_the_runner_up():
    described = [Objective("a", "nats"), Objective("b")]
    assert choose(Constraint("a", {"b": 0.4}), CONVEX, described).why == (
        "p1 has the lowest a, 0.1 nats, of the 3 points with b ≤ 0.4; next is p2 with 0.5 nats"
    )
    assert choose(Constraint("a"), CONVEX[:1]).why == "p0 has the lowest a, 0, of the 1 point that none dominates"
    knee = choose(Knee(), CONVEX, described)
    assert knee.why.startswith("p1 (a 0.1 nats, b 0.4) is the knee of the 4 points")
    assert knee.why.endswith("0.50 of the front's range below the line through its ends; next is p2 with 0.40")
    assert knee.runners_up[0].point.id == "p2"


@pytest.mark.parametrize("rule", [Constraint("c"), Constraint("a", {"c": 1.0})])
def test_unknown_objectives(rule):
    with pytest.raises(ValueError, match="objective 'c' is not one of 'a', 'b'"):
        choose(rule, CONVEX)


@pytest.mark.parametrize("bound", [np.nan, np.inf, -np.inf])
def test_bounds_that_are_not_finite(bound):
    with pytest.raises(ValueError, match=r"subject_to\['b'\] = .* is not a finite number"):
        choose(Constraint("a", {"b": bound}), CONVEX)


@pytest.mark.fault(36)
def test_no_feasible_point_tells_the_nearest():
    with pytest.raises(
        NoFeasiblePointError, match=r"no point of the front has a ≤ 0\.05 and b ≤ 0\.3; nearest"
    ) as caught:
        choose(Constraint("a", {"a": 0.05, "b": 0.3}), CONVEX)
    assert caught.value.nearest.id == "p1"  # 0.1 of the range over; p2 is 0.45 over, p0 0.7
    assert str(caught.value).endswith("nearest is p1 with a = 0.1, b = 0.4")


@pytest.mark.fault(36)
def test_nearest_is_measured_in_ranges_of_the_front():
    rows = [(a * 1000, b) for a, b in CONVEX]
    with pytest.raises(NoFeasiblePointError) as caught:
        choose(Constraint("a", {"a": 50.0, "b": 0.3}), rows)
    assert caught.value.nearest.id == "p1"


@pytest.mark.fault(36)
def test_nearest_is_judged_by_the_bound_that_it_breaks_most():
    rows = [(0.0, 1.0), (0.1, 0.6), (0.4, 0.4), (1.0, 0.0)]  # 0.9, 0.5, 0.3, 0.9 at worst; p1 is nearer in the sum
    with pytest.raises(NoFeasiblePointError) as caught:
        choose(Constraint("a", {"a": 0.1, "b": 0.1}), rows)
    assert caught.value.nearest.id == "p2"


@pytest.mark.fault(30)
def test_one_point():
    assert choose(Constraint("a"), [(1, 2)]).point.id == "p0"
    with pytest.raises(NoFeasiblePointError, match="nearest is p0 with a = 1"):
        choose(Constraint("b", {"a": 0.5}), [(1, 2)])


@pytest.mark.parametrize(
    "rows", [[(1, 2)], [(1, 2), (2, 1)], [(1, 2), (2, 1), (1, 2)], [(0, 0), (1, 2), (2, 1), (3, 3)]]
)
@pytest.mark.fault(30)
def test_knee_needs_three_distinct_points(rows):
    choice = choose(Knee(), rows)
    assert choice.point is None
    assert choice.runners_up == ()
    assert "undefined" in choice.why


def curve(power, n=11):
    return [(t, (1 - t**power) ** (1 / power)) for t in np.linspace(0, 1, n)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (curve(1), "is flat"),
        ([(10 * a, 3 - b) for a, b in curve(1)[::-1]], None),
        (curve(1.02), "is flat"),
        (curve(2), "bulges away"),
        ([(0, 0, 1), (0, 1, 0), (1, 0, 0), (1 / 3, 1 / 3, 1 / 3)], "is flat"),
        ([(0, 0, 1), (0, 1, 0), (1, 0, 0), (3**-0.5,) * 3], "bulges away"),
    ],
    ids=["line", "one point", "nearly a line", "circle", "plane", "sphere"],
)
@pytest.mark.fault(37)
def test_no_knee_where_the_front_does_not_bulge_towards_the_ideal(rows, said):
    choice = choose(Knee(), rows)
    assert choice.point is None
    assert choice.runners_up == ()
    assert choice.why.startswith("no knee")
    assert said is None or said in choice.why


@pytest.mark.fault(37)
def test_no_knee_where_one_objective_alone_varies():
    # distinct and not dominated, but b differs by rounding only: there is nothing to trade off
    choice = choose(Knee(), [(0.0, 1 + 2e-15), (0.5, 1 + 1e-15), (1.0, 1.0)])
    assert choice.point is None


def test_knee_by_hand():
    assert told(choose(Knee(), CONVEX))[::2] == ("p1", ["p2", "p0", "p3"])
    described = [Objective("a"), Objective("b", goal="max")]
    assert choose(Knee(), [(a, 5 - 2 * b) for a, b in CONVEX], described).point.id == "p1"


def test_knee_of_three_objectives():
    # squared distances to the corners of a triangle; p3 is its centre. Each end is worst in both other objectives
    rows = [(0, 3, 3), (3, 0, 3), (3, 3, 0), (1, 1, 1), (0.75, 0.75, 2.25), (0.75, 2.25, 0.75)]
    assert choose(Knee(), rows).point.id == "p3"


def test_knee_leaves_constant_objectives_out():
    assert choose(Knee(), [(a, 7.0, b) for a, b in CONVEX]).point.id == "p1"


@pytest.mark.parametrize("state", [{"state": "failed", "values": {}}, {"state": "failed"}])
def test_failed_points_are_not_chosen(state):
    better = point("a0", (0.0, 0.0), **state)
    assert choose(Constraint("a"), [better, *points(CONVEX)]).point.id == "p0"


@pytest.mark.parametrize("given_points", [[], [point("p0", (0, 0), state="failed", values={})]])
@pytest.mark.fault(29)
def test_no_point_to_choose_from(given_points):
    with pytest.raises(EmptyFrontError, match="no point to choose from"):
        list_candidates(given_points, objectives(2))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.fault(3)
def test_a_measure_that_is_not_finite_never_wins(bad):
    with pytest.raises(ValueError, match="not finite"):
        choose(Constraint("a"), [(0.0, bad), (1.0, 1.0)])


def test_choices_are_made_on_validation_measures():
    swapped = [
        point("p0", (0, 1), values={"validate": (0.0, 1.0), "test": (1.0, 0.0)}, losses={"validate": (5.0, 5.0)}),
        point("p1", (1, 0), values={"validate": (1.0, 0.0), "test": (0.0, 1.0)}, losses={"validate": (0.0, 0.0)}),
    ]
    assert choose(Constraint("a"), swapped).point.id == "p0"


def test_costs_turn_measures_to_smaller_is_better():
    among = Candidates(points([(1, 2)]), np.array([[1.0, 2.0]]), objectives(2, ("max", "min")), CERTAIN)
    np.testing.assert_array_equal(among.costs, [[-1, 2]])


def test_choosing_changes_nothing():
    given_points = points(CONVEX)
    before = copy.deepcopy(given_points)
    choose(Knee(), given_points)
    choose(Constraint("a", {"b": 0.4}), given_points)
    assert given_points == before

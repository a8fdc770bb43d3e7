"""What every rule promises, on fronts with many ties and dominated points."""

from dataclasses import fields
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from paretomtl.objective import Objective
from paretomtl.point import Point
from paretomtl.selection.rules import (
    RULES,
    Constraint,
    Lexicographic,
    NoFeasiblePoint,
    ReferencePoint,
    Weights,
)
from paretomtl.selection.select import list_candidates

often = settings(deadline=None, derandomize=True, max_examples=60)
SCALES, SHIFTS = (0.7, 3.0, 1e-3, 1e3), (0.0, 5.0, -0.1)


class Case(NamedTuple):
    rows: np.ndarray
    described: list
    asked: dict  # bounds, aspirations or tolerances
    weights: dict
    order: list

    def moved(self, scale, shift):
        """The same front in other units."""
        names = [o.name for o in self.described]
        asked = {n: self.asked[n] * a + b for n, a, b in zip(names, scale, shift, strict=True)}
        return self._replace(rows=self.rows * scale + shift, asked=asked)


@st.composite
def cases(draw):
    m = draw(st.integers(2, 4))
    rows = draw(st.lists(st.tuples(*[st.integers(0, 5).map(float)] * m), min_size=1, max_size=9))
    goals = draw(st.tuples(*[st.sampled_from(["min", "max"])] * m))
    described = [Objective("abcde"[i], goal=goals[i]) for i in range(m)]
    names = [o.name for o in described]
    asked = {name: float(draw(st.integers(0, 5))) for name in names}
    weights = {name: float(draw(st.integers(0, 3))) for name in names}
    if not any(weights.values()):
        weights[names[0]] = 1.0
    return Case(np.array(rows), described, asked, weights, draw(st.permutations(names)))


def constraint(case, scale):
    bounded = {name: case.asked[name] for name in case.order[1:]}
    return Constraint(case.order[0], bounded)


def lexicographic(case, scale):
    return Lexicographic(case.order, within={case.order[0]: 2.0 * scale[case.order[0]]})


CASES = {
    "Constraint": constraint,
    "Lexicographic": lexicographic,
    "ReferencePoint": lambda case, scale: ReferencePoint(case.asked),
    "Weights linear": lambda case, scale: Weights(case.weights),
    "Weights tchebycheff": lambda case, scale: Weights(case.weights, "tchebycheff"),
}
CASES |= {kind.__name__: lambda case, scale, kind=kind: kind() for kind in RULES if not fields(kind)}
each_rule = pytest.mark.parametrize("name", CASES)


def made(rows, ids=None):
    ids = [f"p{k:02d}" for k in range(len(rows))] if ids is None else ids
    return [Point(id, (), values={"validate": tuple(map(float, row))}) for id, row in zip(ids, rows, strict=True)]


def answer(name, case, points=None, scale=None):
    """The id that is chosen, and those of the runners-up; the nearest point, where no point is feasible."""
    scale = dict(zip([o.name for o in case.described], np.ones(9) if scale is None else scale, strict=False))
    try:
        choice = CASES[name](case, scale).choose(list_candidates(points or made(case.rows), case.described))
    except NoFeasiblePoint as error:
        return "none", error.nearest.id, []
    return "chosen", choice.point and choice.point.id, [r.point.id for r in choice.runners_up]


def row_of(case, id):
    return case.rows[int(id[1:])]


def test_every_rule_has_a_case():
    assert {name.partition(" ")[0] for name in CASES} == {kind.__name__ for kind in RULES}


@each_rule
@often
@given(case=cases())
def test_no_choice_is_dominated_or_infeasible(name, case):
    how, id, runners_up = answer(name, case)
    signs = np.array([o.sign for o in case.described])
    costs = case.rows * signs
    for k in [*([id] if id else []), *runners_up]:
        own = row_of(case, k) * signs
        assert not ((costs <= own).all(axis=1) & (costs < own).any(axis=1)).any()
        if name == "Constraint" and how == "chosen":
            bounds = [case.asked[o.name] * o.sign if o.name in case.order[1:] else np.inf for o in case.described]
            assert (own <= bounds).all()
    assert len({id, *runners_up}) == 1 + len(runners_up)
    assert id is not None or name == "Knee"


@each_rule
@often
@given(case=cases(), data=st.data())
@pytest.mark.fault(39)
def test_the_order_of_the_points_does_not_matter(name, case, data):
    assert answer(name, case) == answer(name, case, data.draw(st.permutations(made(case.rows))))


@each_rule
@often
@given(case=cases(), data=st.data())
@pytest.mark.fault(31)
def test_a_duplicate_does_not_matter(name, case, data):
    k = data.draw(st.integers(0, len(case.rows) - 1))
    more = [*made(case.rows), *made(case.rows[[k]], ["p99"])]
    assert answer(name, case)[:2] == answer(name, case, more)[:2]


@each_rule
@often
@given(case=cases(), data=st.data())
def test_a_dominated_point_does_not_matter(name, case, data):
    k = data.draw(st.integers(0, len(case.rows) - 1))
    worse = np.array([data.draw(st.integers(0, 3)) for _ in case.described])
    assume(worse.any())
    row = case.rows[k] + worse * [o.sign for o in case.described]
    assert answer(name, case) == answer(name, case, [*made(case.rows), *made([row], ["a-first"])])


@each_rule
@often
@given(case=cases(), data=st.data())
@pytest.mark.fault(38)
def test_units_do_not_matter(name, case, data):
    m = len(case.described)
    scale = np.array(data.draw(st.tuples(*[st.sampled_from(SCALES)] * m)))
    shift = np.array(data.draw(st.tuples(*[st.sampled_from(SHIFTS)] * m)))
    assert answer(name, case) == answer(name, case.moved(scale, np.zeros(m)), scale=scale)
    assert answer(name, case) == answer(name, case.moved(scale, shift), scale=scale)


@each_rule
@pytest.mark.fault(39)
def test_ties_go_to_the_earlier_id(name):
    rows = np.array([(4.0, 0.0), (1.0, 1.0), (0.0, 4.0), (1.0, 1.0)])
    described = [Objective("a"), Objective("b")]
    case = Case(rows, described, {"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0}, ["a", "b"])
    points = made(rows, ["p4", "p3", "p1", "p2"])
    assert answer(name, case, points)[1] == "p2"


@each_rule
@pytest.mark.fault(30)
def test_one_point_and_equal_points(name):
    described = [Objective("a"), Objective("b", goal="max")]
    for rows in ([(1.0, 2.0)], [(1.0, 2.0)] * 3):
        case = Case(np.array(rows), described, {"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 0.0}, ["a", "b"])
        assert answer(name, case)[:2] == ("chosen", None if name == "Knee" else "p00")


@each_rule
def test_each_choice_says_why_with_its_numbers(name):
    rows = [(0.0, 10.0), (1.0, 4.0), (5.0, 1.0), (10.0, 0.0)]
    described = [Objective("a", "nats"), Objective("b")]
    case = Case(np.array(rows), described, {"a": 2.0, "b": 5.0}, {"a": 1.0, "b": 1.0}, ["a", "b"])
    choice = CASES[name](case, {"a": 1.0}).choose(list_candidates(made(rows), described))
    assert choice.point.id == "p01"
    assert choice.why.startswith("p01 ")
    assert " 1 nats" in choice.why or " 4" in choice.why
    first = choice.runners_up[0]
    values = dict(zip("ab", np.subtract(rows[int(first.point.id[1:])], rows[1]), strict=True))
    assert first.gains == {n: -v for n, v in values.items() if v < 0}
    assert first.gives_up == {n: v for n, v in values.items() if v > 0}
    assert str(first).startswith(f"{first.point.id} gains ")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("bad", [np.nan, np.inf, "1", None, True])
def test_numbers_that_are_none(bad):
    among = list_candidates(made([(0.0, 1.0), (1.0, 0.0)]), [Objective("a"), Objective("b")])
    for rule, field in (
        (ReferencePoint({"a": bad, "b": 1.0}), r"aspirations\['a'\]"),
        (Weights({"a": bad, "b": 1.0}), r"weights\['a'\]"),
        (Constraint("a", {"a": bad}), r"subject_to\['a'\]"),
    ):
        with pytest.raises(ValueError, match=f"{field} = .* is not a finite number"):
            rule.choose(among)
    with pytest.raises(ValueError, match=r"within\['a'\] = .* is not a finite number"):
        Lexicographic(["a", "b"], {"a": bad})

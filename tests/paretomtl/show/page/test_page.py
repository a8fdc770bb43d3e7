"""The explorer, in a browser: its choices are those of `front.select`; everything answers to mouse and keys."""

import dataclasses
import json
import re
import shlex
import time
from pathlib import Path

import numpy as np
import pytest

import paretomtl as pm
from paretomtl.cli.commands import build_parser
from paretomtl.cli.rule_options import parse_amounts
from paretomtl.preference import even_design
from paretomtl.selection.pick import candidates_of
from paretomtl.selection.rules import (
    RULES,
    Constraint,
    Knee,
    Lexicographic,
    MinMaxRegret,
    NoFeasiblePoint,
    ReferencePoint,
    Weights,
)
from paretomtl.show.page import page
from tests.fronts import asked, front_of, point, stored
from tests.paretomtl.show.page.browser import Opened, chromium

THREE = {"p1": (0.2, 0.6, 0.7), "p2": (0.5, 0.3, 0.6), "p3": (0.6, 0.7, 0.2), "p4": (0.7, 0.7, 0.8)}
TWO = {f"p{k}": (round(0.1 * k, 1), round(0.9 / k, 3)) for k in range(1, 10)}
HOSTILE = ("<script>alert(1)</script>", "b'\"`${alert(2)}", "</script><img src=x onerror=alert(3)>")


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the page of a front; at the end of the test, nothing may have left it."""
    pages = []

    def open_(front, pick=None, kind=None, **settings):
        path = front.plot(tmp_path / f"page-{len(pages)}.html", pick, kind)
        pages.append(Opened(browser, path, **settings))
        return pages[-1]

    yield open_
    for one in pages:
        one.close()


def made(values, objectives, errors=None, ideals=None, seeds=1):
    """A front of measures, one row a point (and seed), with what is known of their errors and of single objectives."""
    signs = np.array([o.sign for o in objectives])
    rows = []
    for k, row in enumerate(values.tolist()):
        id = f"p{k // seeds:03d}" + (f"-seed-{k % seeds + 1}" if seeds > 1 else "")
        losses = {"validate": tuple((np.array(row) * signs).tolist())}
        known = {} if errors is None else {"validate": tuple(errors[k].tolist())}
        rows.append(point(id, row, losses=losses, errors=known, seed=k % seeds))
    for o, ideal in zip(objectives, [] if ideals is None else ideals.tolist(), strict=False):
        rows.append(point(f"ideal-{o.name}", (ideal,) * len(objectives), corner=o.name))
    study = {
        "objectives": [dataclasses.asdict(o) for o in objectives],
        "ref_point": [9.0] * len(objectives),
        "points": asked(rows),
        "splits": ["validate"],
        "notes": [],
        "measured": True,
        "seeds": seeds,
    }
    return pm.Front(study, rows, folder=Path("nowhere"))


def drawn(seed):
    """A front by chance: of 2 to 5 objectives (or 9) and both goals, with ties, duplicates, dominated and flat ones."""
    dice = np.random.default_rng(seed)
    m, n, seeds = 9 if seed % 12 == 11 else 2 + seed % 4, int(dice.integers(1, 30)), 3 if seed % 5 == 4 else 1
    objectives = [
        pm.Objective("abcdefghi"[j], "%" if j == 1 else "", str(dice.choice(["min", "max"]))) for j in range(m)
    ]
    shape = [
        lambda: dice.integers(0, 5, (n, m)).astype(float),  # ties and duplicates
        lambda: dice.dirichlet(np.ones(m), n) ** dice.uniform(0.3, 2),  # a front, bulging one way or the other
        lambda: dice.dirichlet(np.ones(m), n).round(1) * 10.0 ** dice.integers(-4, 5, m),
        lambda: np.abs(dice.normal(size=(n, m))) * np.where(np.arange(m) == m - 1, 0, 1) + 0.1,  # the last one is flat
    ][seed // 4 % 4]
    values = shape() * [o.sign for o in objectives] + dice.choice([0, 3.7])
    if n > 2:
        values[1] = values[0]
    if seeds > 1:
        values = np.repeat(values, seeds, axis=0) + 0.05 * dice.normal(size=(n * seeds, m))
    errors = np.abs(0.05 * dice.normal(size=values.shape)) if seed % 3 == 0 else None
    ideals = values.min(axis=0) - dice.normal(size=m) * 0.2 if seed % 2 else None
    front = made(values, objectives, errors, ideals if seeds == 1 else None, seeds)
    if seed % 10 == 9:  # of the first point one seed alone succeeded, so that its spread is unknown
        front = pm.Front(front.study, [front.points[0], *front.points[seeds:]], folder=Path("nowhere"))
    return front


def without_settings():
    """The rules that need no argument."""
    return [kind for kind in RULES if not dataclasses.fields(kind)]


def rules_for(front, dice):
    """Rules by chance, each as Python's and as the page's."""
    names, m = front.names, len(front.names)
    values = front.mean().values
    low, high = values.min(axis=0), values.max(axis=0)

    def numbers():
        return [float(np.round(x, 3)) for x in dice.uniform(low - 0.1, high + 0.1)]

    def some(given):
        return [x if dice.random() < 0.7 else None for x in given]

    def named(given):
        return {name: x for name, x in zip(names, given, strict=True) if x is not None}

    best, bounds = int(dice.integers(m)), some(numbers())
    for margin in (None, 0.9, 0.95, 0.99):
        js = {"kind": "Constraint", "best": best, "bounds": bounds, "margin": None if margin is None else str(margin)}
        yield Constraint(names[best], named(bounds), margin), js
    tight = [float(x) for x in np.where([o.sign > 0 for o in front.objectives], low, high)]
    yield Constraint(names[0], named(tight)), {"kind": "Constraint", "best": 0, "bounds": tight, "margin": None}
    yield Constraint(names[0]), {"kind": "Constraint", "best": 0, "bounds": [None] * m, "margin": None}
    for kind in without_settings():
        yield kind(), {"kind": kind.__name__}
    for aspirations in (numbers(), tight):
        yield ReferencePoint(named(aspirations)), {"kind": "ReferencePoint", "aspirations": aspirations}
    weights = [float(x) for x in dice.integers(0, 4, m)]
    weights[0] += 1.0
    for kind in ("linear", "tchebycheff"):
        yield Weights(named(weights), kind), {"kind": "Weights", "weights": weights, "sum": kind == "linear"}
    order = dice.permutation(m)[: dice.integers(1, m + 1)].tolist()
    tolerances = [float(np.round(x, 2)) if j in order else None for j, x in enumerate(dice.uniform(0, 0.5, m))]
    js = {"kind": "Lexicographic", "order": order}
    none = [None] * m
    order_names = [names[j] for j in order]
    yield Lexicographic(order_names, named(tolerances)), js | {"within": tolerances, "errors": none}
    errors = [None if x is None else 4.0 * x for x in tolerances]
    yield Lexicographic(order_names, {}, named(errors)), js | {"within": none, "errors": errors}


def answer(candidates, rule):
    """What Python chooses, as the page says it."""
    try:
        choice = rule.choose(candidates)
    except NoFeasiblePoint as error:
        return {"kind": "infeasible", "id": None, "nearest": error.nearest.id, "why": str(error), "runners": []}
    except ValueError as error:
        if "unknown" in str(error):
            return {"kind": "refused", "id": None}
        raise
    runners = [[str(r), r.gains, r.gives_up] for r in choice.runners_up]
    if choice.point is None:
        return {"kind": "none", "id": None, "nearest": None, "why": choice.why, "runners": []}
    return {"kind": "chosen", "id": choice.point.id, "nearest": None, "why": choice.why, "runners": runners}


EVALUATE = """(cases) => cases.map(([raw, rules]) => rules.map((rule) => {
  const found = paretomtl.choose(raw, rule);
  if (found.kind === "refused") return { kind: "refused", id: null };
  const names = raw.objectives.map((o) => o.name);
  const named = (row) => Object.fromEntries(names.map((n, j) => [n, row[j]]).filter(([, x]) => x !== null));
  const runners = found.runnersUp.map((r) => [paretomtl.runnerUp(r, names), named(r.gains), named(r.givesUp)]);
  return { kind: found.kind, id: found.id, nearest: found.nearest ?? null, why: found.why, runners };
}))"""


@pytest.fixture(scope="module")
def any_page(browser, tmp_path_factory):
    """A page whose rules are asked about other fronts."""
    one = Opened(browser, front_of(THREE, names="abc").plot(tmp_path_factory.mktemp("page") / "any.html"))
    yield one.page
    one.close()


@pytest.mark.fault(30)
@pytest.mark.fault(36)
def test_each_rule_chooses_as_python_does_and_says_the_same(any_page):
    fronts = [drawn(seed) for seed in range(50)]
    rules = [[*rules_for(front, np.random.default_rng(k))] for k, front in enumerate(fronts)]
    cases = [
        [page.collect_page(front)._asdict(), [js for _, js in pairs]]
        for front, pairs in zip(fronts, rules, strict=True)
    ]
    found = any_page.evaluate(EVALUATE, cases)
    seen = set()
    for k, (front, pairs) in enumerate(zip(fronts, rules, strict=True)):
        candidates = candidates_of(front, "validate")
        for (rule, _), there in zip(pairs, found[k], strict=True):
            expected = answer(candidates, rule)
            assert there == expected, f"front {k}, {rule}"
            seen.add((type(rule).__name__, expected["kind"]))
    always = {(kind.__name__, "chosen") for kind in RULES}
    refused = {("Constraint", "refused"), ("Lexicographic", "refused")}
    assert seen == {*always, *refused, ("Constraint", "infeasible"), ("Knee", "none")}


def test_what_the_page_says_is_what_select_says(any_page):
    """Of one seed, `front.select` adds nothing to the rule's words."""
    for seed in (0, 1, 2, 3):
        front = drawn(seed)
        [[there]] = any_page.evaluate(EVALUATE, [[page.collect_page(front)._asdict(), [{"kind": "MinMaxRegret"}]]])
        pick = front.select(MinMaxRegret())
        assert (there["id"], there["why"]) == (pick.point.id, pick.why)


def test_the_lines_of_python_are_the_rules(any_page):
    for seed in range(12):
        front = drawn(seed)
        for rule, js in rules_for(front, np.random.default_rng(seed)):
            line = any_page.evaluate("([rule, names]) => paretomtl.pythonRule(rule, names)", [js, front.names])
            again = eval(line, {"pm": pm})
            if isinstance(rule, Constraint) and not rule.subject_to:
                rule = dataclasses.replace(rule, margin=None)  # nothing to keep
            if isinstance(rule, Lexicographic):
                rule = dataclasses.replace(
                    rule,
                    within={n: x for n, x in rule.within.items() if x},
                    standard_errors={n: x for n, x in rule.standard_errors.items() if x},
                )
            assert again == rule


def test_every_rule_is_in_the_menu(opened):
    one = opened(front_of(TWO, ideals=()))
    assert one.page.evaluate("Object.keys(paretomtl.rules)") == [kind.__name__ for kind in RULES]
    assert one.page.locator("#kind option").all_inner_texts() == [kind.label for kind in RULES]
    for kind in RULES:
        one.choose(kind.__name__)
        assert one.text("#about") == kind.about


NUMBERS = [0.5, 2.5, -0.125, 0.375, 1e-5, 123456.5, 1234567.0, 99999.5, 0.00012345, -0.0, 0.0, 1e22, 5e-324, 1 / 3]


def test_numbers_are_written_as_python_writes_them(any_page):
    dice = np.random.default_rng(0)
    numbers = [*NUMBERS, *(dice.normal(size=300) * 10.0 ** dice.integers(-8, 9, 300)).tolist()]
    numbers += (dice.integers(-4000, 4000, 300) / 16).tolist()  # exact ties
    how = "[...[3, 4, 6, 8].map((d) => general(x, d)), fixed(x, 2), fixed(x, 3), percent(x), nineDecimals(x)]"
    script = f"(numbers) => {{ {page._read_asset('numbers.js')}; return numbers.map((x) => {how}); }}"
    written = any_page.evaluate(script, numbers)
    for x, (g3, g4, g6, g8, f2, f3, percent, nine) in zip(numbers, written, strict=True):
        assert (g3, g4, g6, g8) == (f"{x:.3g}", f"{x:.4g}", f"{x:g}", f"{x:.8g}")
        assert (f2, f3) == (f"{x:.2f}", f"{x:.3f}") or abs(x) > 1e21
        assert percent == f"{x:.0%}" or abs(x) > 1e18
        assert nine == np.round(x, 9)


# --- by hand ---


def test_a_bound_is_dragged_and_filters_every_view(opened):
    one = opened(front_of(TWO, ideals=()))
    assert one.text("#left") == "all 9 points, no bounds yet"
    handle = one.page.get_by_role("slider", name="bound on a")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    one.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    one.page.mouse.down()
    one.page.mouse.move(box["x"] + box["width"] / 2, box["y"] - 100, steps=5)
    one.page.mouse.up()
    one.settle()
    bound = float(handle.get_attribute("aria-valuenow"))
    kept = sum(a <= bound for a, _ in TWO.values())
    assert 0 < kept < 9
    assert one.text("#left") == f"{kept} of 9 points keep the bounds"
    assert one.page.evaluate("paretomtl.state.kept.filter(Boolean).length") == kept
    one.choose("Constraint")
    one.page.get_by_label("best", exact=True).select_option("b")
    one.settle()
    pick = front_of(TWO, ideals=()).select(best="b", subject_to={"a": bound})
    assert (one.chosen(), one.text("#choice .why")) == (pick.point.id, pick.why)
    one.page.get_by_role("button", name="Clear bounds").click()
    one.settle()
    assert one.text("#left") == "all 9 points, no bounds yet"


def test_a_bound_is_moved_by_keys(opened):
    front = front_of(TWO, ideals=())
    one = opened(front)
    one.choose("Constraint")
    handle = one.page.get_by_role("slider", name="bound on b")
    handle.focus()
    assert handle.get_attribute("aria-valuetext") == "no bound"
    for key in ("PageUp", "PageUp", "PageUp", "ArrowUp", "ArrowDown", "ArrowUp"):
        handle.press(key)
    one.settle()
    bound = float(handle.get_attribute("aria-valuenow"))
    assert bound == pytest.approx(0.9 - 0.31 * 0.8, abs=0.002)
    assert handle.get_attribute("aria-valuetext").startswith("b ≤ 0.65")
    kept = sum(b <= bound for _, b in TWO.values())
    assert one.text("#left") == f"{kept} of 9 points keep the bounds"
    pick = front.select(best="a", subject_to={"b": bound})
    assert (one.chosen(), one.text("#choice .why")) == (pick.point.id, pick.why)
    line = f'pm.Front.load("nowhere").select(pm.rules.Constraint("a", {{"b": {bound}}})).load(build)'
    assert one.text(".python code") == line
    handle.press("End")
    one.settle()
    assert one.text("#left").startswith("1 of 9")  # the best one keeps its best
    handle.press("Home")
    one.settle()
    assert handle.get_attribute("aria-valuetext") == "no bound"


def test_bounds_that_none_keeps_name_the_nearest(opened):
    front = front_of(TWO, ideals=())
    one = opened(front)
    one.choose("Constraint")
    for name, bound in (("a", 0.15), ("b", 0.2)):
        one.page.get_by_label(f"{name} ≤").fill(str(bound))
    one.settle()
    assert one.text("#left") == "0 of 9 points keep the bounds"
    with pytest.raises(NoFeasiblePoint) as error:
        front.select(best="a", subject_to={"a": 0.15, "b": 0.2})
    assert one.chosen() is None
    assert one.text("#choice .why") == str(error.value)
    one.page.get_by_role("button", name="the nearest").click()
    one.settle()
    assert one.chosen() == error.value.nearest.id
    assert "picked by hand" in one.text("#choice")


def test_every_rule_from_its_form(opened):
    values = np.array([(0.9, 1.0), (0.8, 0.4), (0.6, 0.15), (0.1, 0.0)])
    objectives = [pm.Objective("accuracy", "%", "max"), pm.Objective("gap")]
    front = made(values, objectives, errors=np.full((4, 2), 0.06))
    one = opened(front)
    get = one.page.get_by_label
    one.choose("Constraint")
    get("gap ≤").fill("0.5")
    get("margin").select_option("0.99")
    one.settle()
    assert one.text("#choice .why") == front.select(Constraint("accuracy", {"gap": 0.5}, margin=0.99)).why
    one.choose("ReferencePoint")
    get("aspiration for accuracy").fill("0.7")
    get("aspiration for gap").fill("0.1")
    one.settle()
    assert one.text("#choice .why") == front.select(ReferencePoint({"accuracy": 0.7, "gap": 0.1})).why
    get("aspiration for gap").fill("")
    one.settle()
    assert one.text("#choice .why") == "give a number for gap: an aspiration for each objective"
    one.choose("Weights")
    get("weight of gap").fill("3")
    one.page.locator("#settings select").select_option("tchebycheff")
    one.settle()
    assert one.text("#choice .why") == front.select(Weights({"accuracy": 1.0, "gap": 3.0}, "tchebycheff")).why
    get("weight of gap").fill("-3")
    one.settle()
    assert one.text("#choice .why") == "weights must be at least 0, and not all 0"
    one.choose("Lexicographic")
    get("unit of the tolerance for accuracy").select_option("errors")
    get("tolerance for accuracy", exact=True).fill("2")
    one.settle()
    rule = Lexicographic(["accuracy", "gap"], standard_errors={"accuracy": 2.0})
    assert one.text("#choice .why") == front.select(rule).why
    one.page.get_by_role("button", name="gap earlier").press("Enter")
    one.settle()
    assert one.text("#choice .why") == front.select(Lexicographic(["gap", "accuracy"])).why
    for kind in without_settings():
        one.choose(kind.__name__)
        pick = front.select(kind())
        assert one.text("#choice .why") == pick.why
        assert one.page.locator(".others .other").all_inner_texts() == [str(r) for r in pick.runners_up]


@pytest.mark.fault(37)
def test_no_knee_is_said(opened):
    line = front_of({f"p{k}": (k / 4, 1 - k / 4) for k in range(5)}, ideals=())
    one = opened(line)
    one.choose("Knee")
    assert one.chosen() is None
    assert one.text("#choice .why") == line.select(Knee()).why
    assert one.text("#choice .why").startswith("no knee: the front is flat")


def test_a_point_is_highlighted_in_all_views_and_picked(opened):
    front = front_of(THREE, names="abc", ideals=())
    one = opened(front)
    drawn_in = {
        id: f"document.querySelector('#{id} canvas:last-of-type').toDataURL()" for id in ("parallel", "requested")
    }
    before = {id: one.page.evaluate(script) for id, script in drawn_in.items()}
    x, y = one.page.evaluate("""() => {
      const box = document.getElementById("scatter").getBoundingClientRect();
      const { state } = paretomtl, i = state.places.get("p2"), plot = state.plots[0];
      const [x, y] = plot.spot(plot.panels[0], i);
      return [box.x + x, box.y + y];
    }""")
    one.page.mouse.move(x, y)
    one.settle()
    assert one.page.evaluate("paretomtl.state.hover") == 1
    assert one.text("#scatter .tip").split() == ["p2", "a", "0.5", "nats", "b", "0.3", "nats", "c", "0.6", "nats"]
    for id, script in drawn_in.items():
        assert one.page.evaluate(script) != before[id]
    one.page.mouse.click(x, y)
    one.settle()
    assert one.chosen() == "p2"
    assert one.text(".python code").endswith('p.id == "p2"), build)')
    one.page.get_by_role("button", name="Back to the rule").click()
    one.settle()
    assert one.chosen() == front.select(MinMaxRegret()).point.id


def test_dominated_points_come_and_go(opened):
    one = opened(front_of(THREE, names="abc", ideals=()))
    assert one.text("#left") == "all 4 points, no bounds yet"
    one.page.get_by_label("show 1 dominated").uncheck()
    one.settle()
    assert one.text("#left") == "all 3 points, no bounds yet"
    one.page.locator("#scatter").focus()
    for _ in range(4):
        one.page.keyboard.press("ArrowRight")
        one.settle()
        assert one.page.evaluate("paretomtl.state.hover") != 3


CONTROLS = """() => [...document.querySelectorAll("a, button, input, select, summary, [tabindex='0']")]
  .filter((e) => e.checkVisibility() && !e.disabled).length"""
WATCH = """() => {
  window.reached = new Map();
  addEventListener("focusin", ({ target }) => reached.set(target, getComputedStyle(target).outlineStyle));
}"""


def test_keys_reach_every_control(opened, tmp_path):
    one = opened(network_front(tmp_path, 3))
    one.page.evaluate(WATCH)
    for kind in ("Constraint", "Lexicographic"):
        one.choose(kind)
        wanted = one.page.evaluate(CONTROLS)
        one.page.evaluate("document.activeElement.blur(); reached.clear()")
        for _ in range(wanted + 5):
            one.page.keyboard.press("Tab")
        rings = one.page.evaluate("[...reached.values()]")
        assert len(rings) >= wanted
        assert set(rings) == {"solid"}  # each shows that it has the focus


def test_keys_go_from_point_to_point_and_choose(opened):
    one = opened(front_of(TWO, ideals=()))
    one.page.locator("#scatter").focus()
    start = one.chosen()
    one.page.keyboard.press("ArrowRight")
    one.settle()
    after = f"p{int(start[1:]) + 1}"
    assert one.text("#live").startswith(f"{after}: a ")
    one.page.keyboard.press("Enter")
    one.settle()
    assert one.chosen() == after


def test_the_line_of_python_is_copied(opened):
    one = opened(front_of(TWO, ideals=()))
    one.page.evaluate("window.setTimeout = () => 0")  # the button says so for two seconds: here for good
    one.page.get_by_role("button", name="Copy").first.click()
    one.page.get_by_role("button", name="Copied").wait_for()
    assert one.page.evaluate("navigator.clipboard.readText()") == one.text(".python code")
    assert one.text(".python code").startswith('pm.Front.load("nowhere").select(pm.rules.')


def test_the_line_of_python_chooses_the_same(opened):
    front = pm.Front.from_values(list(TWO.values()), ["a", "b"], [1.0, 1.0], ids=list(TWO))
    one = opened(front)
    for kind in RULES:
        one.choose(kind.__name__)
        point = eval(one.text(".python code"), {"pm": pm, "front": front})
        assert point.id == one.chosen()


# --- what it is given ---


def test_a_pick_is_chosen_from_the_start(opened):
    front = front_of(TWO, ideals=())
    one = opened(front, front.select(best="b"))
    assert one.chosen() == "p9"
    assert "picked by hand" in one.text("#choice")


def test_the_kind_comes_first(opened):
    front = front_of(TWO, ideals=())
    for kind, first in ((None, "scatter-view"), ("parallel", "parallel-view"), ("control", "requested-view")):
        one = opened(front, kind=kind)
        assert one.page.locator(".views section").first.get_attribute("id") == first


@pytest.mark.fault(87)
def test_names_are_texts_and_run_nothing(opened, tmp_path):
    front = front_of({"p1": (0.1, 0.2, 0.9), "p2": (0.2, 0.1, 0.5)}, names=HOSTILE, ideals=())
    ids = [dataclasses.replace(p, id=f"\"'{p.id}</script><b>{{{{script}}}}\u2028") for p in front.points]
    one = opened(pm.Front(front.study, ids, folder=Path("no\"'<b>where")))
    text = one.path.read_text()
    assert text.count("<script") == text.count("</script>") == 2
    assert "\u2028" not in text
    assert one.page.locator("body script, body img, body b:not(.tip b, .ordered b)").count() == 2
    for kind in ("Constraint", "Lexicographic"):
        one.choose(kind)
        assert HOSTILE[0] in one.text("#rule")
    one.page.locator("#table summary").click()
    one.page.locator("#table td").first.wait_for()  # drawn once the table tells that it is open
    assert "{{script}}" in one.text("#table")


def network_front(tmp_path, m):
    r = even_design(m, 12)
    losses = 1.5 - r**2
    network = "0" * 64
    return stored(
        tmp_path, [point(f"p{k:02d}", row, preference=tuple(map(float, p)), network=network)
                   for k, (row, p) in enumerate(zip(losses.tolist(), r, strict=True))], "abcde"[:m])  # fmt: skip


@pytest.mark.parametrize("m", [2, 3])
def test_preferences_of_one_network(opened, tmp_path, m):
    from scipy.interpolate import LinearNDInterpolator

    front = network_front(tmp_path, m)
    one = opened(front)
    found = front.map()
    if m == 2:
        one.page.locator("#preference-0").fill("0.33")
        r = np.array([0.33, 0.67])
        order = np.argsort(found.preferences[:, 0])
        expected = [np.interp(0.33, found.preferences[order, 0], found.losses[order, j]) for j in range(2)]
    else:
        for j, part in enumerate((20, 30, 50)):
            one.page.locator(f"#preference-{j}").fill(str(part))
        r = np.array([0.2, 0.3, 0.5])
        expected = LinearNDInterpolator(found.preferences[:, :-1], found.losses)(r[:-1])[0]
    one.settle()
    cells = one.page.locator("#map tbody tr").all_inner_texts()
    table = [row.split("\t") for row in cells]
    assert [float(row[1]) for row in table] == pytest.approx(r, abs=1e-3)
    np.testing.assert_allclose([float(row[2]) for row in table], expected, rtol=1e-3)
    assert [row[3] for row in table] == [f"{x:.2g}" for x in found.error]
    assert "losses are interpolated between the points of this front, not computed" in one.text("#map")
    line = one.text("#map code")
    assert line == f'pm.Front.load("{front.folder}").model_at({r.tolist()}, build)'
    assert one.page.evaluate("paretomtl.state.mapped") == pytest.approx(expected)


def test_no_preferences_to_move_where_points_were_trained_apart(opened):
    one = opened(front_of(TWO))
    assert not one.page.locator("#map-view").is_visible()


@pytest.mark.fault(15)
@pytest.mark.fault(30)
@pytest.mark.fault(31)
@pytest.mark.parametrize(
    "rows",
    [[(0.5, 2.0)], [(0.5, 2.0)] * 3, [(0.1, 7.0), (0.2, 7.0), (0.3, 7.0)], [(0.0, 0.0), (0.0, 0.0)]],
    ids=["one point", "equal points", "a flat objective", "zeros"],
)
def test_small_fronts_have_words_and_no_nan(opened, rows):
    front = front_of({f"p{k}": row for k, row in enumerate(rows)}, ideals=())
    one = opened(front)
    for kind in RULES:
        one.choose(kind.__name__)
        assert not re.search(r"NaN|nan|undefined(?! on)|Infinity|\binf\b|null", one.text("body"))
        assert (one.chosen() is None) == (kind is Knee)
    for handle in one.page.get_by_role("slider").all():
        handle.press("End")
    one.settle()
    assert not re.search(r"NaN|Infinity", one.text("body"))


def test_asking_writes_the_command_that_says_how(opened, tmp_path):
    """For a name and a folder that a shell would read otherwise, too; the command is what `paretomtl ask` takes."""
    names = ("left", "-it's $HOME")
    front = front_of(TWO, names=names)
    front = pm.Front(front.study, front.every, folder=tmp_path / "a b")
    one = opened(front)
    assert one.page.locator("#asking .copy").count() == 0
    one.page.get_by_label("level to ask for, left").fill("0.25")
    one.settle()
    words = shlex.split(one.text("#asking code"))
    assert words == ["paretomtl", "ask", str(tmp_path / "a b"), "--aspire", "left=0.25", "--at", one.chosen()]
    one.page.get_by_label(f"level to ask for, {names[1]}").fill("3e-1")
    one.settle()
    one.page.locator("#asking .copy").click()
    line = one.page.evaluate("navigator.clipboard.readText()")
    args = build_parser("ask").parse_args(shlex.split(line)[1:])
    assert args.folder == tmp_path / "a b"
    assert parse_amounts("--aspire", args.aspire) == {"left": 0.25, names[1]: 0.3}
    assert args.at is None
    assert one.text("#asking h3") == "On the command line"


def test_asking_of_a_front_without_a_folder_is_a_line_of_python(opened):
    values = np.array([*TWO.values()])
    front = pm.Front.from_values(values, ["a", "b"], [2.0, 2.0], even_design(2, len(values)))
    one = opened(front)
    for name in "ab":
        one.page.get_by_label(f"level to ask for, {name}").fill("1")
    one.settle()
    assert eval(one.text("#asking code"), {"front": front}).preference == front.ask({"a": 1.0, "b": 1.0}).preference
    one.page.get_by_label("level to ask for, b").fill("")
    one.settle()
    kept = next(p for p in front.points if p.id == one.chosen())
    assert eval(one.text("#asking code"), {"front": front}) == front.ask({"a": 1.0}, at=kept)
    assert not opened(pm.Front.from_values(values, ["a", "b"], [2.0, 2.0])).page.locator("#asking-view").is_visible()


def test_a_page_has_no_width_and_one_front(tmp_path):
    with pytest.raises(ValueError, match=r"width=3.25: a page is as wide as its window"):
        front_of(TWO).plot(tmp_path / "front.html", width=3.25)
    with pytest.raises(ValueError, match=r"a plot is written as .svg, .pdf, .png, not '.html'"):
        pm.plot_fronts({"one": front_of(TWO)}, tmp_path / "fronts.html")
    assert not list(tmp_path.iterdir())


def test_an_empty_front_has_no_page(tmp_path):
    with pytest.raises(pm.EmptyFrontError):
        front_of({}).plot(tmp_path / "front.html")
    assert not list(tmp_path.iterdir())


def test_measures_that_are_not_the_losses(opened):
    """Then neither the reference nor rays can be drawn among them."""
    points = [point(f"p{k}", (0.1 * k, 1 / k), values={"validate": (90.0 + k, 1.0 * k)}) for k in range(1, 5)]
    objectives = [pm.Objective("accuracy", "%", "max"), pm.Objective("gap")]
    study = made(np.ones((1, 2)), objectives).study
    one = opened(pm.Front(study, points, folder=Path("nowhere")))
    assert "reference" in one.text("#scatter-note")
    assert "reference" not in one.text("#legend")
    assert one.page.get_by_role("slider", name="bound on accuracy, at least").count() == 1
    one.choose("Constraint")
    assert one.page.get_by_label("accuracy ≥").count() == 1


def test_several_seeds_are_shown_as_means(opened):
    front = drawn(4)
    one = opened(front)
    assert "means over 3 seeds" in one.text("#summary")
    one.choose("MinMaxRegret")
    mean = candidates_of(front, "validate")
    choice = MinMaxRegret().choose(mean)
    assert (one.chosen(), one.text("#choice .why")) == (choice.point.id, choice.why)
    assert "how many of the seeds choose the same" in one.text("#choice")


# --- on screens and on paper ---


@pytest.mark.parametrize(("m", "scheme"), [(2, "light"), (3, "dark"), (5, "light")])
def test_a_phone_needs_no_scrolling_sideways(opened, m, scheme):
    names = ("a name of many words, that goes on", "accuracy_of_the_segmentation_head", "c", "d" * 60, "e")[:m]
    dice = np.random.default_rng(0)
    rows = {f"point-{k:03d}": tuple(row) for k, row in enumerate(dice.dirichlet(np.ones(m), 30).tolist())}
    front = front_of(rows, names=names, ideals=(0.01,) * m)
    one = opened(front, viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True)
    for kind in ("Constraint", "Lexicographic", "ReferencePoint"):
        one.choose(kind)
        assert one.page.evaluate("document.scrollingElement.scrollWidth") <= 390
    dark = one.page.evaluate("getComputedStyle(document.documentElement).colorScheme")
    assert dark == scheme
    one.page.locator("#theme").click()
    assert one.page.evaluate("getComputedStyle(document.documentElement).colorScheme") != scheme
    one.page.locator("#table summary").click()
    assert one.page.evaluate("document.scrollingElement.scrollWidth") <= 390


def luminance(colour):
    channels = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.dot(
        np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4), [0.2126, 0.7152, 0.0722]
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(opened, scheme):
    """AA: 4.5 for texts, 3 for what is drawn."""
    one = opened(front_of(TWO), color_scheme=scheme)
    style = "(name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()"
    colour = {name: one.page.evaluate(style, name) for name in
              ("paper", "ground", "soft", "ink", "muted", "front", "dominated", "chosen", "map", "edge")}  # fmt: skip

    def contrast(first, second):
        low, high = sorted((luminance(colour[first]), luminance(colour[second])))
        return (high + 0.05) / (low + 0.05)

    texts = {"ink": ("paper", "soft"), "muted": ("paper", "ground"), "chosen": ("paper",)}
    for text, grounds in texts.items():
        assert min(contrast(text, ground) for ground in grounds) >= 4.5, text
    for mark in ("front", "dominated", "chosen", "map", "edge"):
        assert contrast(mark, "paper") >= 3, mark


def test_on_paper_it_is_light_and_without_controls(opened):
    one = opened(front_of(TWO), color_scheme="dark")
    one.page.emulate_media(media="print")
    one.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    scheme = "getComputedStyle(document.documentElement).colorScheme"
    assert one.page.evaluate(scheme) == "light"
    assert not one.page.locator("#rule-view").is_visible()
    assert one.page.locator("#choice").is_visible()
    one.page.emulate_media(media="screen")
    one.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert one.page.evaluate(scheme) == "dark"


def test_five_thousand_points(opened, capsys):
    dice = np.random.default_rng(0)
    values = dice.dirichlet(np.ones(4), 5000) + 0.02 * dice.random((5000, 4))
    preferences = dice.dirichlet(np.ones(4), 5000)
    front = pm.Front.from_values(values, ["left", "right", "up", "down"], [2.0] * 4, preferences)
    begun = time.perf_counter()
    one = opened(front)
    loaded = time.perf_counter() - begun
    size = one.path.stat().st_size
    assert size < 2_000_000
    one.choose("Constraint")
    took = one.page.evaluate("""async () => {
      const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      const took = [];
      for (let k = 1; k <= 10; k++) {
        const begun = performance.now();
        paretomtl.state.setBound(0, paretomtl.state.boundAt(k / 20, 0));
        await frame();
        took.push(performance.now() - begun);
      }
      return took.sort((a, b) => a - b);
    }""")
    bound = one.page.evaluate("paretomtl.state.bounds[0]")
    assert one.text("#left") == f"{int((values[:, 0] <= bound).sum())} of 5000 points keep the bounds"
    assert one.text("#choice .why") == front.select(best="left", subject_to={"left": bound}).why
    with capsys.disabled():
        print(f"\n5,000 points x 4: {size / 1e6:.2f} MB, written and opened in {loaded:.1f} s, "
              f"a step of a drag in {took[5]:.0f} ms (at most {took[-1]:.0f})")  # fmt: skip


def test_the_same_front_gives_the_same_bytes(tmp_path):
    paths = [front_of(TWO).plot(tmp_path / name / "front.html") for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].with_suffix(".csv").exists()
    shown = json.loads(re.search(r'id="data">(.*?)</script>', paths[0].read_text()).group(1))
    assert shown["ids"] == list(TWO)
    assert shown["folder"] == "nowhere"

"""Every rule is offered: in `RULES`, on the command line, on the page and in the docs."""

import argparse
import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from paretomtl.cli import rule_options
from paretomtl.selection import rules
from paretomtl.selection.rules import RULES, Rule, RuleOption
from paretomtl.show.page import page

DOCS = (Path(__file__).parents[4] / "docs/choosing.md").read_text(encoding="utf-8")
SCRIPTS = Path(page.__file__).parent
TEXTS = {bool: [], str: ["a"], float: ["0.9"], dict: ["a=1"], list: ["a"]}  # by the type of an option's value
of_each = pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)


def complaints(modules: Iterable[ModuleType], offered: Sequence[type[Rule]], docs: str, scripts: Path) -> list[str]:
    """List what the rules of the modules lack."""
    lacks = []
    for module in modules:
        for name, kind in vars(module).items():
            if name.startswith("_") or not inspect.isclass(kind) or not issubclass(kind, Rule):
                continue
            if kind.__module__ != module.__name__:
                continue
            if kind not in offered:
                lacks.append(f"{name} is not in RULES of paretomtl/selection/rules/__init__.py")
            lacks += [f"{name} has no {field}" for field in ("option", "label", "about") if not hasattr(kind, field)]
            script = scripts / f"{page.twin_of(kind)}.js"
            if not script.exists() or f"\nRULES.{name} = " not in script.read_text(encoding="utf-8"):
                lacks.append(f"{name} has no twin on the page: RULES.{name} in paretomtl/show/page/rules/{script.name}")
            if f"\n| `{name}(" not in docs:
                lacks.append(f"{name} has no row in docs/choosing.md")
    return lacks


def read(*arguments):
    """The rule that a command line selects."""
    parser = argparse.ArgumentParser()
    rule_options.add(parser, required=False)
    return rule_options.rule(parser.parse_args(arguments))


def test_every_rule_is_offered_everywhere():
    modules = [importlib.import_module(f"{rules.__name__}.{m.name}") for m in pkgutil.iter_modules(rules.__path__)]
    assert complaints(modules, RULES, DOCS, SCRIPTS) == []
    assert len(modules) == len(RULES) == len(set(RULES))
    assert {kind.__name__ for kind in RULES} < set(rules.__all__)
    twins = {f"{page.twin_of(kind)}.js" for kind in RULES}
    assert {f"rules/{path.name}" for path in (SCRIPTS / "rules").iterdir()} == twins


def test_a_rule_that_is_not_offered_is_found(tmp_path):
    made_up = ModuleType("made_up")

    class Forgotten(Rule):
        def choose(self, among):
            return among.chosen([0], "the first")

    Forgotten.__module__ = "made_up"
    made_up.Forgotten, made_up._Own, made_up.Knee = Forgotten, Forgotten, rules.Knee
    assert complaints([made_up], RULES, DOCS, SCRIPTS) == [
        "Forgotten is not in RULES of paretomtl/selection/rules/__init__.py",
        "Forgotten has no option",
        "Forgotten has no label",
        "Forgotten has no about",
        "Forgotten has no twin on the page: RULES.Forgotten in paretomtl/show/page/rules/made_up.js",
        "Forgotten has no row in docs/choosing.md",
    ]
    Forgotten.option, Forgotten.label, Forgotten.about = (
        RuleOption("--forgotten", "the first"),
        "First",
        "The first point.",
    )
    docs = f"{DOCS}\n| `Forgotten()` | the first |"
    (tmp_path / "rules").mkdir()
    script = tmp_path / "rules/made_up.js"
    script.write_text("// A twin of another name.\n\nRULES.Other = {};\n")
    (complaint,) = complaints([made_up], [*RULES, Forgotten], docs, tmp_path)
    assert "no twin on the page" in complaint
    script.write_text("// The first.\n\nRULES.Forgotten = {};\n")
    assert complaints([made_up], [*RULES, Forgotten], docs, tmp_path) == []


@of_each
def test_every_rule_has_its_option_on_the_command_line(kind):
    flag = [kind.option.flag, *TEXTS[kind.option.value]]
    assert isinstance(read(*flag), kind)
    assert dataclasses.fields(kind) or read(*flag) == kind()
    for option in kind.settings:
        rule = read(*flag, option.flag, *TEXTS[option.value])
        assert isinstance(rule, kind)
        assert rule != read(*flag)


def test_no_option_selects_no_rule():
    assert read() is None


@of_each
def test_every_rule_says_what_it_is_in_a_sentence(kind):
    assert kind.about[0].isupper()
    assert kind.about.endswith(".")
    assert len({other.label for other in RULES}) == len({other.option.flag for other in RULES}) == len(RULES)

"""The options of the command line that select a rule, as the rules declare them."""

import argparse
from collections.abc import Sequence
from typing import Any

from paretomtl.errors import UsageError
from paretomtl.selection.rules import RULES, Rule, RuleOption


def add(parser: argparse.ArgumentParser, required: bool) -> None:
    """Give a command the options of all rules."""
    group = parser.add_mutually_exclusive_group(required=required)
    for kind in RULES:
        _add_option(group, kind.option)
    for kind in RULES:
        for option in kind.settings:
            _add_option(parser, option)


def rule(options: argparse.Namespace) -> Rule | None:
    """Return the rule that the options select; None where they select none."""
    for kind in RULES:
        for option in kind.settings:
            if getattr(options, option.name) and not getattr(options, kind.option.name):
                raise UsageError(f"{option.flag} goes with {kind.option.flag}")
    for kind in RULES:
        if getattr(options, kind.option.name) not in (None, False, []):
            return kind.from_options({o.name: _parse_value(o, options) for o in (kind.option, *kind.settings)})
    return None


def _add_option(parser: Any, option: RuleOption) -> None:
    how: dict[str, Any] = {"metavar": option.metavar, "type": option.value}
    if option.value is bool:
        how = {"action": "store_true"}
    elif option.value in (dict, list):
        how = {"metavar": option.metavar, "action": "append", "default": []}
    parser.add_argument(option.flag, help=option.help, **how)


def _parse_value(option: RuleOption, options: argparse.Namespace) -> Any:
    value = getattr(options, option.name)
    if option.value is dict:
        return parse_amounts(option.flag, value)
    if option.value is list:
        amounts = parse_amounts(option.flag, [text for text in value if "=" in text])
        names = [text.rpartition("=")[0] or text for text in value]
        return [(name, amounts.get(name)) for name in names]
    return value


def parse_amounts(flag: str, texts: Sequence[str], words: Sequence[str] = ()) -> dict[str, Any]:
    """Parse OBJECTIVE=NUMBER texts; some words may stand for a number."""
    amounts = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if name in amounts:
            raise UsageError(f"{flag} gives {name!r} twice")
        try:
            amounts[name] = number if number in words else float(number)
        except ValueError:
            name = ""
        if not name:
            also = f", or one of {', '.join(words)} for the number" if words else ""
            raise UsageError(f"{flag} {text!r}: write OBJECTIVE=NUMBER, such as left=0.35{also}")
    return amounts

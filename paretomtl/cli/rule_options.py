"""The options of the command line that say how to choose."""

import argparse
from collections.abc import Sequence
from typing import Any

from paretomtl.errors import UsageError
from paretomtl.selection.rules import Constraint, Knee, Lexicographic, MinMaxRegret, ReferencePoint, Rule, Weights


def add(parser: argparse.ArgumentParser, required: bool) -> None:
    """Give a command the options."""
    rule = parser.add_mutually_exclusive_group(required=required)
    rule.add_argument("--best", metavar="OBJECTIVE", help="the best in this one …")
    rule.add_argument("--knee", action="store_true", help="where leaving costs most for what it gains")
    rule.add_argument("--regret", action="store_true", help="where the worst regret, of all objectives, is least")
    again: dict[str, Any] = {"action": "append", "default": []}
    rule.add_argument("--aspire", metavar="OBJECTIVE=VALUE", help="nearest to these, one for each objective", **again)
    rule.add_argument("--weigh", metavar="OBJECTIVE=WEIGHT", help="the least weighted sum, of the range …", **again)
    rule.add_argument(
        "--order", metavar="OBJECTIVE[=WITHIN]", help="the best in the last, within so much of the best before", **again
    )
    parser.add_argument("--subject-to", metavar="OBJECTIVE=BOUND", help="… of those no worse than this …", **again)
    parser.add_argument("--margin", type=float, metavar="LEVEL", help="… at this level of confidence, such as 0.95")
    parser.add_argument("--tchebycheff", action="store_true", help="… or the least weighted maximum")


def rule(asked: argparse.Namespace) -> Rule | None:
    """The rule that was asked for; None where none was."""
    for option, value, goes_with in (
        ("--subject-to", asked.subject_to, "best"),
        ("--margin", asked.margin, "best"),
        ("--tchebycheff", asked.tchebycheff, "weigh"),
    ):
        if value and not getattr(asked, goes_with):
            raise UsageError(f"{option} goes with --{goes_with}")
    if asked.best is not None:
        return Constraint(asked.best, _numbers("--subject-to", asked.subject_to), asked.margin)
    if asked.aspire:
        return ReferencePoint(_numbers("--aspire", asked.aspire))
    if asked.weigh:
        return Weights(_numbers("--weigh", asked.weigh), "tchebycheff" if asked.tchebycheff else "linear")
    if asked.order:
        names = [text.rpartition("=")[0] or text for text in asked.order]
        return Lexicographic(names, _numbers("--order", [text for text in asked.order if "=" in text]))
    return Knee() if asked.knee else MinMaxRegret() if asked.regret else None


def _numbers(option: str, texts: Sequence[str]) -> dict[str, float]:
    """What an option gives each objective."""
    found = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if name in found:
            raise UsageError(f"{option} gives {name!r} twice")
        try:
            found[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise UsageError(f"{option} {text!r}: write OBJECTIVE=NUMBER, such as left=0.35")
    return found

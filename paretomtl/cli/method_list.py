"""What `paretomtl methods` says of each method: facts first, read from its class and its module's docstring."""

import inspect
import re
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from itertools import zip_longest
from textwrap import wrap as wrap_text
from typing import Any, NamedTuple

from paretomtl.solver import Aggregation, Scalarization, Solver, Stepper, Weighting

wrap = partial(wrap_text, break_on_hyphens=False)  # "worst-off" is one word
KINDS = (Scalarization, Weighting, Aggregation, Stepper)
PAPER = re.compile(r"\(([^()]*\b(?:19|20)\d\d\b[^()]*)\)")
HEADER = ("name", "class", "preference", "state", "confidence", "about")
NARROWEST, NARROWEST_ABOUT, WIDEST_PREFERENCE = 100, 48, 16  # in letters: the terminal and two columns


class MethodFacts(NamedTuple):
    """A method in words.

    Args:
        name: the name that `paretomtl run --method` takes.
        kind: which of the four classes of methods it is one of.
        paper: authors, venue and year; empty where the method is older than papers about it.
        about: one sentence.
        options: each option's default, as Python writes it; None where it has to be given.
        preference: what a preference asks for; "none" where the method ignores it.
        needs: what it needs beside differentiable losses.
        cost: what a step takes beside one pass forward; m losses, n shared parameters.
        state: whether a step depends on earlier ones.
        heads: the gradient of a parameter that only one loss depends on.
        confidence: what the formula rests on.
    """

    name: str
    kind: str
    paper: str
    about: str
    options: dict[str, str | None]
    preference: str
    needs: list[str]
    cost: str
    state: bool
    heads: str
    confidence: str


def describe(name: str, method: type[Solver]) -> MethodFacts:
    """Return the facts of a method."""
    options = {field.name: _default(field) for field in (fields(method) if is_dataclass(method) else ())}
    conditions = {
        "a fleet, or a front model with several preferences a step": _value(method, "joint"),
        "losses of at least 0": _value(method, "nonnegative") and not method.needs.startswith("positive losses"),
        method.needs: method.needs,
    }
    required = [f"the option `{option}`" for option, default in options.items() if default is None]
    return MethodFacts(
        name=name,
        kind=next(kind.__name__ for kind in KINDS if issubclass(method, kind)),
        paper=find_paper(sys.modules[method.__module__].__doc__ or ""),
        about=(inspect.getdoc(method) or "").partition("\n")[0],
        options=options,
        preference=method.preference_means if _value(method, "uses_preference") else "none",
        needs=[*(need for need, holds in conditions.items() if holds), *required],
        cost=method.cost,
        state=bool(_value(method, "stateful")),
        heads=method.head_gradient,
        confidence=method.confidence,
    )


def find_paper(text: str) -> str:
    """Return what a docstring's first paragraph has in parentheses with a year."""
    papers = PAPER.search(" ".join(text.partition("\n\n")[0].split()))
    return papers[1] if papers else ""


def format_methods(methods: Sequence[MethodFacts], not_reproduced: Sequence[Any], width: int | None = None) -> str:
    """Format a table, a row a method, and below it the papers without one.

    With a width, that of a terminal, no line is longer: what a method does stands below its row where there is little
    room beside it.
    """
    rows = [HEADER, *((m.name, m.kind, m.preference, _yes(m.state), m.confidence, m.about) for m in methods)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if width is not None:
        width = max(width, NARROWEST)
        widths[2] = min(widths[2], WIDEST_PREFERENCE)
        widths[-1] = width - sum(widths[:-1]) - 2 * len(widths[:-1])
    lines = [line for row in rows for line in _format_row(row, widths)]
    if not_reproduced:
        lines += ["", "Not reproduced:"]
    for paper in not_reproduced:
        lines += _wrap(f"{paper.name} ({paper.paper}): {paper.why}. Nearest: {paper.nearest}.", width, 0)
    return "\n".join(lines)


def _format_row(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    below = widths[-1] < NARROWEST_ABOUT
    cells = [wrap(cell, width) for cell, width in zip(row[:-1], widths, strict=False)]
    if not below:
        cells.append(wrap(row[-1], widths[-1]))
    lines = [
        "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=False)).rstrip()
        for parts in zip_longest(*cells, fillvalue="")
    ]
    return [*lines, *(_wrap(row[-1], sum(widths) + 2 * len(widths[:-1]), 4) if below else [])]


def _wrap(text: str, width: int | None, indent: int) -> list[str]:
    """Return the lines of a text; without a width, one."""
    if width is None:
        return [text]
    return wrap(text, width, initial_indent=" " * indent, subsequent_indent=" " * max(indent, 2))


def _default(field: Any) -> str | None:
    if field.default is not MISSING:
        return repr(field.default)
    return None if field.default_factory is MISSING else repr(field.default_factory())


def _value(method: type[Solver], name: str) -> Any:
    """Return a class variable, or a property's value with all options at their defaults; None where one has none."""
    value = getattr(method, name)
    if not isinstance(value, property):
        return value
    try:
        return getattr(object.__new__(method), name)  # a dataclass has its defaults on the class
    except AttributeError:
        return None


def _yes(value: bool) -> str:
    return "yes" if value else "no"

"""The errors: one root, one file, names that say so, and a page that has them all."""

import ast
import builtins
import re
from pathlib import Path

import pytest

import paretomtl as pm
from paretomtl import errors
from paretomtl_solvers import qp

ROOT = Path(pm.__file__).parents[1]
SOURCES = sorted([*(ROOT / "paretomtl").rglob("*.py"), *(ROOT / "solvers").rglob("*.py")])
BUILTIN = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)}
OURS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
SOLVERS = {"ProgramError": qp.ProgramError, "InfeasibleError": qp.InfeasibleError}
ALIASES = {"NoFeasiblePoint": "NoFeasiblePointError"}
NO_ERROR = {"Interrupted"}  # a KeyboardInterrupt
PAGE = (ROOT / "docs" / "errors.md").read_text()
ROWS = {
    name: (re.findall(r"`(\w+)`", bases), means.strip(), remedy.strip())
    for name, bases, means, remedy in re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|$", PAGE, re.MULTILINE)
}


def is_error(base: str) -> bool:
    return base in BUILTIN or base in OURS or base.endswith(("Error", "Exception"))


def defined() -> dict[str, str]:
    """Every class of ours on an exception, and the file that it is in."""
    return {
        node.name: path.relative_to(ROOT).as_posix()
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any(is_error(ast.unparse(base).rpartition(".")[2]) for base in node.bases)
    }


def named(made: ast.expr) -> list[str]:
    """The classes of which a `raise` makes one; what is raised again, or made by a function, has a small letter."""
    if isinstance(made, ast.IfExp):
        return named(made.body) + named(made.orelse)
    name = ast.unparse(made.func if isinstance(made, ast.Call) else made).rpartition(".")[2]
    return [name] if name[0].isupper() else []


def raised() -> set[str]:
    nodes = [node for path in SOURCES for node in ast.walk(ast.parse(path.read_text()))]
    return {name for node in nodes if isinstance(node, ast.Raise) and node.exc is not None for name in named(node.exc)}


def test_every_error_is_in_one_file():
    elsewhere = {name: file for name, file in defined().items() if file != "paretomtl/errors.py"}
    assert elsewhere == {
        "Interrupted": "paretomtl/sweep/interrupt.py",
        "ProgramError": "solvers/paretomtl_solvers/qp.py",
        "InfeasibleError": "solvers/paretomtl_solvers/qp.py",
    }


def test_nothing_else_is_raised():
    assert raised() - BUILTIN <= OURS.keys() | SOLVERS.keys() | NO_ERROR
    assert {"DamagedFileError", "ProgramError", "UsageError"} <= raised()  # so it looks where they are


@pytest.mark.parametrize("name", sorted((OURS | SOLVERS).keys() - ALIASES.keys()))
def test_an_error_stands_on_the_root_and_on_the_page(name):
    kind = (OURS | SOLVERS)[name]
    assert issubclass(kind, pm.ParetomtlError)
    assert kind.__name__ == name
    assert name.endswith("Error")
    assert kind.__doc__
    bases, means, remedy = ROWS[name]
    assert bases == [base.__name__ for base in kind.__bases__ if base not in (pm.ParetomtlError, Exception)]
    assert means
    assert remedy


def test_the_page_has_nothing_else():
    assert ROWS.keys() == (OURS | SOLVERS).keys() - ALIASES.keys()
    assert {name: OURS[name].__name__ for name in ALIASES} == ALIASES
    for name in (*ALIASES, *NO_ERROR):
        assert f"`pm.{name}`" in PAGE
    assert pm.errors is errors
    assert issubclass(pm.Interrupted, KeyboardInterrupt)
    assert not issubclass(pm.Interrupted, Exception)

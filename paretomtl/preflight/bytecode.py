"""What a function's bytecode says: its digest, the names that it reads, and those that it changes."""

import contextlib
import dis
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from paretomtl.preflight.values import Digester, digest

CHANGING = {"append", "appendleft", "extend", "insert", "update", "setdefault", "clear", "popitem", "discard"}


class Names(NamedTuple):
    """The names in a function and in the functions within it.

    Attributes:
        every: all names, of globals and of attributes.
        loaded: globals that are read.
        written: globals that are assigned to.
        changed: globals on which a method is called that changes containers.
        counted: variables of an enclosing function that are assigned to.
        imported: modules that are imported within.
    """

    every: set[str]
    loaded: set[str]
    written: set[str]
    changed: set[str]
    counted: set[str]
    imported: set[str]


def read_names(code: CodeType) -> Names:
    """Return the names in bytecode."""
    codes = list(_codes(code))
    names = Names({name for each in codes for name in each.co_names}, set(), set(), set(), set(), set())
    for each in codes:
        before = None
        for step in dis.get_instructions(each):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names.loaded.add(step.argval)
            elif step.opname == "STORE_GLOBAL":
                names.written.add(step.argval)
            elif step.opname == "IMPORT_NAME":
                names.imported.add(step.argval)
            elif step.opname == "STORE_DEREF":
                names.counted.add(step.argval)
            elif before and step.opname in ("LOAD_METHOD", "LOAD_ATTR") and step.argval in CHANGING:
                names.changed.add(before)
            before = step.argval if step.opname == "LOAD_GLOBAL" else None
    return names


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _codes(part)


def digest_code(code: CodeType) -> str:
    """Return the digest of bytecode: its instructions and their arguments, without docstring and line numbers."""
    steps, place = [], {}  # a jump is noted as the step that it leads to, for a NOP may only mark a line
    for step in dis.get_instructions(code):
        place[step.offset] = len(steps)
        if step.opname not in ("NOP", "EXTENDED_ARG", "CACHE"):
            steps.append(step)
    parts = [code.co_varnames, code.co_freevars, code.co_cellvars, code.co_argcount, code.co_posonlyargcount,
             code.co_kwonlyargcount, code.co_flags & 15, code.co_exceptiontable]  # fmt: skip
    jumps = {*dis.hasjrel, *dis.hasjabs}
    for step in steps:
        parts += [step.opname, place.get(step.argval) if step.opcode in jumps else step.argval]
    constants = Digester()
    return digest(*(digest_code(part) if isinstance(part, CodeType) else constants(part).digest for part in parts))


def closure_cells(f: FunctionType) -> dict[str, Any]:
    """Return the variables of enclosing functions that a function reads, those that it assigns to left out."""
    cells, counted = {}, read_names(f.__code__).counted if f.__closure__ else set()
    for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not filled yet
            if name not in counted and name != "__class__":  # of `super()`: the class that the function is of
                cells[name] = cell.cell_contents
    return cells


def default_arguments(f: FunctionType) -> dict[str, Any]:
    """Return the default values of a function's arguments, by name."""
    names = f.__code__.co_varnames[: f.__code__.co_argcount]
    defaults = f.__defaults__ or ()
    return {**dict(zip(names[len(names) - len(defaults) :], defaults, strict=True)), **(f.__kwdefaults__ or {})}

"""The fingerprint of a study's code, in digests, so that a resume can name the function that has changed.

No value is ever stored, for a global may be an API key.
"""

import contextlib
import dataclasses
import dis
import functools
import hashlib
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import CodeType, EllipsisType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any

import numpy as np
import torch

SCALARS = (NoneType, EllipsisType, bool, int, float, complex, str, bytes)
CALLABLES = (FunctionType, MethodType, functools.partial, type)
PARTS_OF = {property: ("fget", "fset", "fdel"), staticmethod: ("__func__",), classmethod: ("__func__",),
               functools.cached_property: ("func",), slice: ("start", "stop", "step")}  # fmt: skip
ENGINE, MAIN = ("paretomtl", "paretomtl_solvers"), ("__main__", "__mp_main__")


def fingerprint_code(roots: Mapping[str, Any]) -> dict[str, str]:
    """Return digests of the user's own functions, classes and constants that the roots reach, by name.

    Installed code is left out, for its version is stored. Comments and layout do not change a digest.
    """
    walk = _Walk()
    for root, value in roots.items():
        bearer = value.__self__ if isinstance(value, MethodType) else value
        arguments = None if bearer is None or _name(bearer) else _digest_simple(bearer, deep=True)
        if arguments:
            walk.add(f"{root}: arguments", arguments)
        walk.reach(value)
    return walk.digests()


def describe_value(value: Any) -> str:
    """Return how an optimizer factory or a solver is written in a file; without strings, which may be secrets."""
    if isinstance(value, functools.partial):
        parts = [_format_argument(part) for part in value.args] + [
            f"{k}={_format_argument(part)}" for k, part in value.keywords.items()
        ]
        return f"{describe_value(value.func)}({', '.join(parts)})"
    name = _name(value.__func__ if isinstance(value, MethodType) else value)
    if name:
        return name
    if type(value).__module__.partition(".")[0] in ENGINE:
        return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    return f"{_name(type(value))}({', '.join(f'{f.name}={_format_argument(getattr(value, f.name))}' for f in fields)})"


class _Walk:
    """A walk over all that the roots reach, each object once."""

    def __init__(self):
        self._digests: dict[str, set[str]] = {}
        self._written: set[str] = set()
        self._seen: dict[int, Any] = {}  # by id; the objects are held, so that no id is used again

    def add(self, key: str, digest: str) -> None:
        self._digests.setdefault(key, set()).add(digest)

    def digests(self) -> dict[str, str]:
        """Return one digest a name; lambdas share one. Globals that functions write to are state and left out."""
        code = {key: sorted(each) for key, each in sorted(self._digests.items()) if key not in self._written}
        return {key: (each[0] if len(each) == 1 else digest(*each))[:12] for key, each in code.items()}

    def reach(self, value: Any) -> None:
        left = [value]
        while left:  # no recursion: chains of functions may be long
            value = left.pop()
            if type(value) not in SCALARS and id(value) not in self._seen:
                self._seen[id(value)] = value
                left += self._reach_from(value)

    def _reach_from(self, value: Any) -> list[Any]:
        if isinstance(value, FunctionType):
            return self._reach_function(value)
        if isinstance(value, type):
            return self._reach_class(value)
        if isinstance(value, functools.partial):
            return [value.func, *value.args, *value.keywords.values()]
        if isinstance(value, MethodType):
            return [value.__func__, value.__self__]
        inside = [part for part in vars(value).values() if isinstance(part, CALLABLES)] if _stateful(value) else []
        return [*inside, *(_parts(value) or ()), getattr(value, "__dict__", {}).get("__wrapped__"), type(value)]

    def _reach_function(self, f: FunctionType) -> list[Any]:
        space, cells = f.__globals__, _closure_cells(f)
        wrapped = vars(f).get("__wrapped__")
        if not is_users_own(space):  # a decorator of a library, perhaps, around what is the user's own
            return [wrapped, *(part for part in cells.values() if isinstance(part, CALLABLES))]
        module, codes = _module(space["__name__"]), list(_codes(f.__code__))
        names = {name for each in codes for name in each.co_names}
        steps = [step for each in codes for step in dis.get_instructions(each)]
        loaded = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        written = {step.argval for step in steps if step.opname == "STORE_GLOBAL"}
        counted = {step.argval for step in steps if step.opname == "STORE_DEREF"}  # state, too
        self._written |= {f"{module}.{name}" for name in written}
        meanings, left = self._globals(space, loaded - written, names, set())
        defaults, keywords = f.__defaults__ or (), f.__kwdefaults__ or {}
        arguments = {**{str(i): part for i, part in enumerate(defaults)}, **keywords}
        closed = {name: part for name, part in cells.items() if name not in counted}
        # a wrapper bears the name of what it wraps; its code has its own
        name = f.__code__.co_qualname if wrapped is not None else f.__qualname__
        self.add(
            f"{module}.{name}",
            digest(_code(f.__code__), _digest_items(arguments), _digest_items(closed), *sorted(meanings)),
        )
        return [*left, *arguments.values(), *cells.values(), wrapped]

    def _globals(self, space: dict, names: set[str], attributes: set[str], done: set[int]) -> tuple[list, list]:
        """Return what names mean in a module, and the objects to reach next; add constants under their names."""
        module, meanings, left = _module(space["__name__"]), [], []
        for name in sorted(name for name in names & space.keys() if not _dunder(name)):
            value = space[name]
            left.append(value)
            if _name(value) is None:
                self.add(f"{module}.{name}", _digest_value(value))
            else:  # the name alone does not tell that it now stands for another function
                meanings.append(digest(f"{module}.{name}", _digest_value(value)))
            if isinstance(value, ModuleType) and is_users_own(vars(value)) and id(value) not in done:
                done.add(id(value))
                more, reached = self._globals(vars(value), attributes, attributes, done)
                meanings, left = meanings + more, left + reached
        return meanings, left

    def _reach_class(self, cls: type) -> list[Any]:
        if not _own_class(cls):
            return []
        members = {
            name: member
            for name, member in vars(cls).items()
            if not _dunder(name) or (isinstance(member, (FunctionType, *PARTS_OF)) and "annotate" not in name)
        }
        bases = [str(_name(base)) for base in (type(cls), *cls.__bases__)]
        self.add(str(_name(cls)), digest(*bases, _digest_items(members)))
        return [*members.values(), *cls.__bases__, type(cls)]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _codes(part)


def _code(code: CodeType) -> str:
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
    return digest(*(_code(part) if isinstance(part, CodeType) else _digest_value(part) for part in parts))


def _digest_simple(value: Any, deep: bool = False, within: tuple[int, ...] = ()) -> str | None:
    """Return the digest of a simple value, or of the name of a function, class or module; None for anything else.

    Args:
        deep: whether an instance of a user's class is digested by the simple values that it holds.
        within: ids of the containers around the value, for one may hold itself.
    """
    if type(value) in SCALARS or isinstance(value, (np.generic, torch.dtype, torch.device)):
        return digest(type(value).__name__, hex(value) if type(value) is int else repr(value))
    if id(value) in within:
        return digest("within itself")
    within = (*within, id(value))
    if isinstance(value, Enum):
        return digest(str(_name(type(value))), str(value.name), _digest_value(value.value, deep, within))
    if isinstance(value, functools.partial):
        arguments = {**{str(i): part for i, part in enumerate(value.args)}, **value.keywords}
        return digest("partial", _digest_value(value.func, True, within), _digest_items(arguments, True, within))
    if name := _name(value):
        return digest("name", name)
    if deep and _stateful(value):
        held = {name: part for name, part in vars(value).items() if _digest_simple(part, True, within)}
        return digest(str(_name(type(value))), _digest_items(held, True, within))
    if (parts := _parts(value)) is None:
        return None
    digests = []
    for part in parts:
        if (each := _digest_simple(part, deep, within)) is None:
            return None
        digests.append(each)
    ordered = not isinstance(value, (dict, set, frozenset))
    return digest(str(_name(type(value))), *(digests if ordered else sorted(digests)))


def _digest_value(value: Any, deep: bool = False, within: tuple[int, ...] = ()) -> str:
    return _digest_simple(value, deep, within) or digest("some", str(_name(type(value))))


def _digest_items(values: Mapping[str, Any], deep: bool = False, within: tuple[int, ...] = ()) -> str:
    return digest(*(digest(name, _digest_value(values[name], deep, within)) for name in sorted(values)))


def _parts(value: Any) -> list[Any] | None:
    """Return the parts of a container or a descriptor; None for anything else."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, (tuple, list, set, frozenset)):
        return list(value)
    return [getattr(value, part) for part in PARTS_OF[type(value)]] if type(value) in PARTS_OF else None


def digest(*parts: str | bytes) -> str:
    """Return the SHA-256 of parts, each with its length, so that no two lists of parts share a digest."""
    hasher = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else part.encode(errors="surrogatepass")
        hasher.update(len(raw).to_bytes(8, "big") + raw)
    return hasher.hexdigest()


def _name(value: Any) -> str | None:
    """Return the full name of a module, a class or a function of any kind; None for anything else."""
    if isinstance(value, ModuleType):
        return _module(value.__name__)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    return (
        f"{_module(getattr(value, '__module__', None))}.{name}" if callable(value) and isinstance(name, str) else None
    )


def _module(name: str | None) -> str:
    """Return a module's name; for the running script, the name by which it could be imported."""
    if name not in MAIN:
        return str(name)
    main = vars(sys.modules[name])
    spec, file = main.get("__spec__"), main.get("__file__")
    return spec.name if spec else Path(file).stem if file else "__main__"


def is_users_own(space: Mapping[str, Any]) -> bool:
    """Whether the globals of a module are the user's: neither installed nor ours."""
    name = space.get("__name__") or ""
    file = space.get("__file__") or next(iter(space.get("__path__") or ()), None)
    return name in MAIN or (name.partition(".")[0] not in ENGINE and bool(file) and not _installed(str(file)))


@functools.cache
def _installed(file: str) -> bool:
    path = Path(file).resolve()
    homes = {sysconfig.get_paths()[kind] for kind in ("purelib", "platlib", "stdlib", "platstdlib")}
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or any(
        path.is_relative_to(Path(home).resolve()) for home in homes
    )


def _own_class(cls: type) -> bool:
    return is_users_own(vars(sys.modules[cls.__module__])) if cls.__module__ in sys.modules else False


def _stateful(value: Any) -> bool:
    """Whether a value is an instance of a user's class that holds values."""
    return _own_class(type(value)) and not isinstance(value, (type, Enum)) and hasattr(value, "__dict__")


def _closure_cells(f: FunctionType) -> dict[str, Any]:
    cells = {}
    for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not filled yet
            cells[name] = cell.cell_contents
    return cells


def _dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _format_argument(value: Any) -> str:
    if isinstance(value, (str, bytes)):
        return "…"
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(_format_argument, value))})"
    plain = value is None or isinstance(value, (bool, int, float, complex))
    return repr(value) if plain else describe_value(value) if isinstance(value, CALLABLES) else type(value).__qualname__

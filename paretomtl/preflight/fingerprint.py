"""The fingerprint of a study's code, in digests, so that a resume can name the function that has changed.

Code is known by its bytecode and values by their content, neither by the name of a file: modules of the user have
numbers, in the order in which the roots reach them. No value is ever stored, for a global may be an API key.
"""

import dataclasses
import functools
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import EnumMeta
from types import FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from paretomtl.preflight.bytecode import closure_cells, default_arguments, digest_code, read_names
from paretomtl.preflight.names import (
    ENGINE,
    LAMBDA,
    importable_name,
    is_dunder,
    is_own_class,
    is_users_own,
    look_up,
    module_of,
    name_of,
    place_of,
    shorten_lambda,
)
from paretomtl.preflight.values import CONTAINERS, PARTS_OF, SCALARS, Digester, digest, fields_of

CALLABLES = (FunctionType, MethodType, functools.partial, type)
ENVIRONMENT = ("environ", "environb", "getenv")  # of the module os
BINDING = "= "  # begins the key of a name that stands for a function, which has a key of its own
CHANGES = "it changes while the study runs"
LEFT_OUT = {"_abc_impl"}  # of a class: what Python keeps there


class Fingerprint(NamedTuple):
    """The fingerprint of code.

    Attributes:
        code: the digest of each function, class, constant and argument. "1.losses" is losses of the first module, and
            "1.f: k" the argument or the variable k of f; "= losses" is what that name stands for.
        measure: the same of what the measure alone reaches.
        modules: the names of the modules, in the order of their numbers.
        unknown: by key, why it cannot be known.
        values: the keys of values, in distinction from those of code.
        state: the keys of the values that have no digest, for they change.
    """

    code: dict[str, str]
    measure: dict[str, str]
    modules: list[str]
    unknown: dict[str, str]
    values: frozenset[str]
    state: list[str]

    def without_state(self, before: "Fingerprint") -> "Fingerprint":
        """Leave out the values that have changed since an earlier fingerprint, for they are a program's state."""
        earlier = {name_key(key, before.modules): known for key, known in (before.code | before.measure).items()}
        now = {key: known for key, known in (self.code | self.measure).items() if key in self.values}
        state = {key for key, known in now.items() if earlier.get(name_key(key, self.modules), known) != known}
        code, measure = ({k: v for k, v in part.items() if k not in state} for part in (self.code, self.measure))
        unknown = self.unknown | dict.fromkeys(sorted(state), CHANGES)
        return self._replace(code=code, measure=measure, unknown=unknown, state=sorted(state))


def name_key(key: str, modules: list[str]) -> str:
    """Return a key as a person reads it, with the name of its module in place of the number."""
    number, dot, rest = key.removeprefix(BINDING).partition(".")
    return (
        f"{modules[int(number) - 1]}.{rest}"
        if dot and number.isdecimal() and 0 < int(number) <= len(modules)
        else key.removeprefix(BINDING)
    )


def number_of(key: str) -> int:
    """Return the number of a key's module; 0 for a key without a module."""
    number, dot, _ = key.removeprefix(BINDING).partition(".")
    return int(number) if dot and number.isdecimal() else 0


def fingerprint_code(roots: Mapping[str, Any], measure: Any = None, modules: Sequence[str] = ()) -> Fingerprint:
    """Return digests of the user's own functions, classes and constants that the roots reach.

    Installed code is left out, for its version is stored. Comments and layout do not change a digest.

    Args:
        roots: what the code is reached from, by name.
        measure: the measure, whose own code is kept apart.
        modules: where not all roots are known: the modules that all of them reach, in the order of their numbers, for
            those that only the measure reaches have the next ones.
    """
    walk = _Walk()
    walk.reach_roots(roots)
    walk.modules += modules[len(walk.modules) :]
    digests, walk.digests = walk.digests, {}
    walk.reach_roots({} if measure is None else {"measure": measure})
    state = walk.written | walk.changed
    code, measured = ({k: _join(v) for k, v in sorted(d.items()) if k not in state} for d in (digests, walk.digests))
    unknown = walk.unknown | dict.fromkeys(walk.changed, CHANGES)
    unknown = {key: why for key, why in sorted(unknown.items()) if key not in walk.written}
    return Fingerprint(code, measured, walk.modules, unknown, frozenset(walk.values), [])


def _join(digests: set[str]) -> str:
    """Return one digest of those under one key, which lambdas share."""
    return (digest(*sorted(digests)) if len(digests) > 1 else next(iter(digests)))[:12]


def describe_value(value: Any) -> str:
    """Return how an optimizer factory or a solver is written in a file; without strings, which may be secrets."""
    if isinstance(value, functools.partial):
        parts = [_format_argument(part) for part in value.args] + [
            f"{k}={_format_argument(part)}" for k, part in value.keywords.items()
        ]
        return f"{describe_value(value.func)}({', '.join(parts)})"
    name = _written_name(value.__func__ if isinstance(value, MethodType) else value)
    if name:
        return name
    if type(value).__module__.partition(".")[0] in ENGINE:
        return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    arguments = ", ".join(f"{f.name}={_format_argument(getattr(value, f.name))}" for f in fields)
    return f"{_written_name(type(value))}({arguments})"


class _Walk:
    """A walk over all that the roots reach, each object once."""

    def __init__(self):
        self.modules: list[str] = []
        self.unknown: dict[str, str] = {}
        self.values: set[str] = set()  # keys of values
        self.written: set[str] = set()  # keys of globals that functions assign to
        self.changed: set[str] = set()  # keys of global containers that functions change
        self.digests: dict[str, set[str]] = {}
        self._seen: dict[int, Any] = {}  # by id; the objects are held, so that no id is used again
        self._known = Digester(self._refer)

    def reach_roots(self, roots: Mapping[str, Any]) -> None:
        for root, value in roots.items():
            bearer = value.__self__ if isinstance(value, MethodType) else value
            if value is None:
                continue
            if name_of(bearer) is None:
                self._add_value(f"{root}: arguments", bearer)
            else:
                self._add_value(f"{BINDING}{root}", value)
            self._reach(value)

    def _reach(self, value: Any) -> None:
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
        wrapped = (look_up(value, "__dict__") or {}).get("__wrapped__")
        return [*(fields_of(value) or {}).values(), *_parts(value), wrapped, type(value)]

    def _reach_function(self, f: FunctionType) -> list[Any]:
        space, cells, wrapped = f.__globals__, closure_cells(f), vars(f).get("__wrapped__")
        if not is_users_own(space):  # a decorator of a library, perhaps, around what is the user's own
            return [wrapped, *(part for part in cells.values() if isinstance(part, CALLABLES))]
        # a wrapper bears the name of what it wraps; its code has its own
        place = shorten_lambda(f.__code__.co_qualname if wrapped is not None else f.__qualname__)
        key, names = self._key(space["__name__"], place), read_names(f.__code__)
        self.written |= {self._key(space["__name__"], name) for name in names.written}
        changed = {name for name in names.changed if isinstance(space.get(name), CONTAINERS)}
        self.changed |= {self._key(space["__name__"], name) for name in changed}
        meanings, left = self._globals(key, space, names.loaded - names.written, names.every, set())
        bound = default_arguments(f) | cells
        for module in map(sys.modules.get, sorted(names.imported)):
            if module is not None and is_users_own(vars(module)):
                more, reached = self._globals(key, vars(module), names.every, names.every, {id(module)})
                meanings, left = meanings + more, left + reached
        code = {name: part for name, part in bound.items() if _is_plain(part)}
        for name in sorted(bound.keys() - code):
            self._add_value(f"{key}: {name}", bound[name])
        self._add(key, digest(digest_code(f.__code__), self._digest_items(code), *sorted(meanings)))
        return [*left, *bound.values(), wrapped]

    def _globals(
        self, reader: str, space: dict, names: set[str], attributes: set[str], done: set[int]
    ) -> tuple[list, list]:
        """Return what names mean in a module, and the objects to reach next; add constants under their names."""
        meanings, left = [], []
        for name in sorted(name for name in names & space.keys() if not is_dunder(name)):
            value = space[name]
            if _reads_environment(value, attributes):
                self.unknown[reader] = "it reads the environment"
                continue
            left.append(value)
            if _is_plain(value):  # the name alone does not tell that it now stands for another function
                meanings.append(digest(name, self._known(value).digest))
            else:
                binding = "" if name_of(value) is None else BINDING
                self._add_value(f"{binding}{self._key(space['__name__'], name)}", value)
            if isinstance(value, ModuleType) and is_users_own(vars(value)) and id(value) not in done:
                done.add(id(value))
                more, reached = self._globals(reader, vars(value), attributes, attributes, done)
                meanings, left = meanings + more, left + reached
        return meanings, left

    def _reach_class(self, cls: type) -> list[Any]:
        if not is_own_class(cls):
            return []
        key = self._key(cls.__module__, shorten_lambda(cls.__qualname__))
        members = {
            name: member
            for name, member in vars(cls).items()
            if (not is_dunder(name) and name not in LEFT_OUT)
            or (isinstance(member, (FunctionType, *PARTS_OF)) and "annotate" not in name)
        }
        if isinstance(cls, EnumMeta):
            members = {
                name: member for name, member in members.items() if isinstance(member, (FunctionType, *PARTS_OF))
            }
            members |= {name: getattr(member, "value", None) for name, member in cls.__members__.items()}
        code = {name: member for name, member in members.items() if isinstance(member, (FunctionType, type, *PARTS_OF))}
        for name in sorted(members.keys() - code):
            if not hasattr(type(members[name]), "__get__"):  # a descriptor of a library has no content
                self._add_value(f"{key}.{name}", members[name])
        bases = [self._known(base).digest for base in (type(cls), *cls.__bases__)]
        self._add(key, digest(*bases, self._digest_items(code)))
        return [*members.values(), *cls.__bases__, type(cls)]

    def _refer(self, value: Any) -> tuple[str, Mapping[str, Any]]:
        """Return the name of a function, class or module, and what makes it another one than its namesakes."""
        module, place = module_of(value), place_of(value)
        if _is_users(value):
            module = str(self._number(str(module)))
        name = str(module) if isinstance(value, ModuleType) else f"{module}.{place}"
        if isinstance(value, FunctionType) and is_users_own(value.__globals__):
            cells = closure_cells(value)
            if place == LAMBDA or cells:
                return f"{name} {digest_code(value.__code__)}", cells | default_arguments(value)
        wrapped = None if isinstance(value, type) else (look_up(value, "__dict__") or {}).get("__wrapped__")
        return name, {} if wrapped is None else {"__wrapped__": wrapped}

    def _number(self, module: str) -> int:
        if module not in self.modules:
            self.modules.append(module)
        return self.modules.index(module) + 1

    def _key(self, module: str, place: str) -> str:
        return f"{self._number(importable_name(module))}.{place}"

    def _add(self, key: str, known: str) -> None:
        self.digests.setdefault(key, set()).add(known)

    def _add_value(self, key: str, value: Any) -> None:
        self.values.add(key)
        known = self._known(value)
        self._add(key, known.digest)
        if known.unknown:
            self.unknown[key] = f"it holds a {known.unknown[0]}"

    def _digest_items(self, values: Mapping[str, Any]) -> str:
        return digest(*(digest(name, self._known(values[name]).digest) for name in sorted(values)))


def _is_users(value: Any) -> bool:
    """Whether a module, a class or a function of any kind is the user's."""
    if isinstance(value, FunctionType) and is_users_own(value.__globals__):
        return True  # else a library's wrapper, perhaps, around what is the user's own
    module = value if isinstance(value, ModuleType) else sys.modules.get(str(look_up(value, "__module__")))
    return module is not None and is_users_own(vars(module))


def _is_plain(value: Any) -> bool:
    """Whether a value is code that its name tells all about: no lambda, and bound to no values."""
    named = name_of(value) is not None and not isinstance(value, MethodType) and place_of(value) != LAMBDA
    return named and not (isinstance(value, FunctionType) and closure_cells(value))


def _parts(value: Any) -> Iterable[Any]:
    """Return the parts of a container or a descriptor, where they may be or hold code."""
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=lambda part: str(name_of(part)))
    if isinstance(value, CONTAINERS):
        return list(value)
    return [getattr(value, part) for part in PARTS_OF[type(value)]] if type(value) in PARTS_OF else []


def _reads_environment(value: Any, attributes: set[str]) -> bool:
    if value is os:
        return not attributes.isdisjoint(ENVIRONMENT)
    return any(value is getattr(os, name, None) for name in ENVIRONMENT)


def _written_name(value: Any) -> str | None:
    """Return the name by which a file knows code: without the module where it is the user's, who may rename it."""
    return place_of(value) if place_of(value) and _is_users(value) else name_of(value)


def _format_argument(value: Any) -> str:
    if isinstance(value, (str, bytes)):
        return "…"
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(_format_argument, value))})"
    plain = value is None or isinstance(value, (bool, int, float, complex))
    return repr(value) if plain else describe_value(value) if isinstance(value, CALLABLES) else type(value).__qualname__

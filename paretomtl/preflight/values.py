"""Digests of values: numbers, arrays and tensors by their bytes, objects by their fields.

No value is ever stored, for one may be an API key.
"""

import dataclasses
import functools
import hashlib
import inspect
import logging
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from operator import itemgetter
from pathlib import PurePath
from re import Pattern
from types import EllipsisType, MethodType, NoneType, SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset

from paretomtl.preflight.names import is_dunder, is_own_class, look_up, name_of

SCALARS = (NoneType, EllipsisType, bool, int, float, complex, str, bytes)
WRITTEN = (np.generic, torch.dtype, torch.device, torch.layout, torch.memory_format, np.dtype, range, PurePath, date,
           time, timedelta, tzinfo, Decimal, Fraction, Pattern, UUID, types.UnionType)  # fmt: skip
"""Values that their `repr` tells all about."""
PARTS_OF = {property: ("fget", "fset", "fdel"), staticmethod: ("__func__",), classmethod: ("__func__",),
               functools.cached_property: ("func",), slice: ("start", "stop", "step")}  # fmt: skip
NUMBERS = {int, float, bool}
ARRAYS = (torch.Tensor, nn.Parameter, np.ndarray)
CONTAINERS = (dict, types.MappingProxyType, tuple, list, set, frozenset, deque)
MODULE_STATE = vars(nn.Module()).keys() - {"_parameters", "_buffers", "_modules", "training"}  # hooks, mostly


def digest(*parts: str | bytes | memoryview) -> str:
    """Return the SHA-256 of parts, each with its length, so that no two lists of parts share a digest."""
    hasher = hashlib.sha256()
    for part in parts:
        raw = part.encode(errors="surrogatepass") if isinstance(part, str) else memoryview(part)
        hasher.update(len(raw).to_bytes(8, "big"))
        hasher.update(raw)
    return hasher.hexdigest()


def raw_bytes(tensor: torch.Tensor) -> memoryview:
    """Return the numbers of a tensor as bytes, in order."""
    dense = tensor.detach().cpu()
    dense = dense if dense.layout == torch.strided else dense.to_dense()
    return dense.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().data


def raw_numbers(array: np.ndarray) -> memoryview:
    """Return the numbers of an array as bytes, in order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


class Known(NamedTuple):
    """The digest of a value, and the types of what is in it that cannot be known."""

    digest: str
    unknown: tuple[str, ...]


class Digester:
    """Digests of many values; each array is read once.

    Args:
        refer: returns what stands for a function, a class or a module: its name, and the values that it is bound to.
    """

    def __init__(self, refer: "Callable[[Any], tuple[str, Mapping[str, Any]]] | None" = None):
        self._refer = refer or (lambda value: (str(name_of(value)), {}))
        self._arrays: dict[int, tuple[Any, str]] = {}  # by id; the arrays are held, so that no id is used again

    def __call__(self, value: Any) -> Known:
        """Return the digest of a value."""
        reading = _Reading(self._refer, self._arrays)
        try:
            return Known(reading.read(value), tuple(dict.fromkeys(reading.unknown)))
        except Exception:  # objects may raise anything when they are looked at, and may be nested too deeply
            return Known(digest("unknown", str(name_of(type(value)))), (type(value).__qualname__,))


class _Reading:
    """The reading of one value: an object that is met again has the digest that it had before."""

    def __init__(self, refer: Callable[[Any], tuple[str, Mapping[str, Any]]], arrays: dict[int, tuple[Any, str]]):
        self._refer, self._arrays = refer, arrays
        self._known: dict[int, str] = {}
        self._held: list[Any] = []  # so that no id is used again
        self.unknown: list[str] = []

    def read(self, value: Any) -> str:
        kind = type(value)
        if kind in ARRAYS:
            return digest(kind.__name__, str(self._content(value)))
        if kind in SCALARS:
            return digest(kind.__name__, hex(value) if kind is int else repr(value))
        if id(value) not in self._known:
            self._held.append(value)
            self._known[id(value)] = digest("within itself")
            self._known[id(value)] = self._read_new(value)
        return self._known[id(value)]

    def _read_new(self, value: Any) -> str:
        if isinstance(value, WRITTEN) or (type(value).__module__ == "typing" and not isinstance(value, type)):
            return digest(type(value).__name__, repr(value))
        if isinstance(value, Enum):
            return digest(self._name(type(value)), str(value.name), self.read(value.value))
        if isinstance(value, functools.partial):
            return digest("partial", self.read(value.func), *map(self.read, value.args), self._items(value.keywords))
        if isinstance(value, MethodType):
            return digest("method", self.read(value.__func__), self.read(value.__self__))
        if name_of(value):
            name, bound = self._refer(value)
            return digest("name", name, self._items(bound))
        if type(value) in PARTS_OF:
            return digest(self._name(type(value)), *(self.read(getattr(value, part)) for part in PARTS_OF[type(value)]))
        return self._read_object(value)

    def _name(self, kind: type) -> str:
        return self._refer(kind)[0]

    def _items(self, values: Mapping[str, Any]) -> str:
        return digest(*(digest(name, self.read(values[name])) for name in sorted(values)))

    def _read_object(self, value: Any) -> str:
        """Return the digest of an object: of its type, of what it contains, and of its fields."""
        content, fields = self._content(value), fields_of(value)
        if content is None and fields is None:
            self.unknown.append(type(value).__qualname__)
        return digest(self._name(type(value)), content or "", self._items(fields or {}))

    def _content(self, value: Any) -> str | None:
        """Return the digest of what a container, an array or a tensor contains; None for anything else."""
        if isinstance(value, (torch.Tensor, np.ndarray)):
            if id(value) not in self._arrays:
                self._arrays[id(value)] = (value, self._array(value))
            return self._arrays[id(value)][1]
        if isinstance(value, torch.Generator):
            return digest("generator")  # the engine seeds it
        if isinstance(value, logging.Logger):
            return digest(value.name)
        if isinstance(value, (dict, types.MappingProxyType)):
            items = sorted(((self._alone(key), part) for key, part in value.items()), key=itemgetter(0))
            return digest(*(digest(key, self.read(part)) for key, part in items))
        if isinstance(value, (set, frozenset)):
            return digest(*sorted(map(self._alone, value)))
        if not isinstance(value, CONTAINERS):
            return None
        if type(value) in (list, tuple) and value and {*map(type, value)} <= NUMBERS:  # long ones are read at once
            with suppress(ValueError):  # an int of thousands of digits
                return digest("numbers", repr(value))
        return digest(*map(self.read, value))

    def _alone(self, value: Any) -> str:
        """Return the digest of a key or of an element, which does not depend on what was read before it."""
        if type(value) in SCALARS:
            return self.read(value)
        reading = _Reading(self._refer, self._arrays)
        reading._known = {key: known for key, known in self._known.items() if known == digest("within itself")}
        result = reading.read(value)
        self._held += reading._held
        self.unknown += reading.unknown
        return result

    def _array(self, value: torch.Tensor | np.ndarray) -> str:
        if isinstance(value, torch.Tensor):
            shape = "none yet" if is_lazy(value) else repr(tuple(value.shape))
            return digest(str(value.dtype), shape, b"" if value.is_meta or is_lazy(value) else raw_bytes(value))
        mask = [self.read(np.ma.getmaskarray(value))] if isinstance(value, np.ma.MaskedArray) else []
        plain = np.asarray(value)
        content = self.read(plain.tolist()) if plain.dtype.hasobject else raw_numbers(plain)
        return digest(plain.dtype.str, repr(plain.shape), content, *mask)


def fields_of(value: Any) -> dict[str, Any] | None:
    """Return the fields of an object whose fields are all that it is; None for any other."""
    kind = type(value)
    fields = {name: part for name, part in (look_up(value, "__dict__") or {}).items() if not is_dunder(name)}
    if isinstance(value, DataLoader):
        names = ("dataset", "batch_size", "drop_last", "collate_fn")
        return {name: getattr(value, name, None) for name in names} | {"sampler": type(value.sampler)}
    if isinstance(value, nn.Module):
        return {name: part for name, part in fields.items() if name not in MODULE_STATE}
    if is_own_class(kind) or isinstance(value, (SimpleNamespace, Dataset)) or dataclasses.is_dataclass(value):
        return fields | {name: getattr(value, name) for name in _slots(kind) if hasattr(value, name)}
    made_in_python = kind.__flags__ & (1 << 9)  # of a class that a `class` statement made
    bare = kind is object or (made_in_python and hasattr(value, "__dict__") and not fields and not list(_slots(kind)))
    return {} if bare else None


def _slots(kind: type) -> Iterable[str]:
    return (name for cls in kind.__mro__ for name, part in vars(cls).items() if inspect.ismemberdescriptor(part))

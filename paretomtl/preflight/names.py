"""Names of code: what is the user's own, and by which name a function, a class or a module is known."""

import functools
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from paretomtl.conditioned.kinds import MAIN, importable_name

ENGINE = ("paretomtl", "paretomtl_solvers")
LAMBDA = "<lambda>"


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


def is_own_class(cls: type) -> bool:
    """Whether a class is the user's."""
    return is_users_own(vars(sys.modules[cls.__module__])) if cls.__module__ in sys.modules else False


def module_of(value: Any) -> str | None:
    """Return the name of the module of a module, a class or a function of any kind; None for anything else."""
    if isinstance(value, ModuleType):
        return importable_name(value.__name__)
    return None if place_of(value) is None else importable_name(str(look_up(value, "__module__")))


def place_of(value: Any) -> str | None:
    """Return the name of a class or a function within its module; None for anything else.

    All lambdas have one name. An object of a user's class that has a name is no function, but its fields.
    """
    if not callable(value) or (not isinstance(value, (type, FunctionType)) and is_own_class(type(value))):
        return None
    name = look_up(value, "__qualname__") or look_up(value, "__name__")
    return shorten_lambda(name) if isinstance(name, str) else None


def look_up(value: Any, attribute: str) -> Any:
    """Return an attribute; None without one, and where it cannot be looked at, for objects may raise anything."""
    try:
        return getattr(value, attribute, None)
    except Exception:
        return None


def shorten_lambda(name: str) -> str:
    """Return a qualified name, of a lambda without the place where it stands."""
    return LAMBDA if name.endswith(LAMBDA) else name


def name_of(value: Any) -> str | None:
    """Return the full name of a module, a class or a function of any kind; None for anything else."""
    module, place = module_of(value), place_of(value)
    return module if isinstance(value, ModuleType) or place is None else f"{module}.{place}"


def is_dunder(name: str) -> bool:
    """Whether a name is one of Python's own, such as `__init__`."""
    return name.startswith("__") and name.endswith("__")

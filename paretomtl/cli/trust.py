"""Which code `resume` may run: what the user names, and never what lies in the front's folder.

A front's folder may come from anyone, and so may the command in it. The command says which code began the front; only
the user's word lets that code run.
"""

import contextlib
import os
import pkgutil
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from reprlib import repr as shortened
from types import ModuleType
from typing import Any

from paretomtl.errors import UsageError
from paretomtl.options import FLAGS, is_imported, is_number, is_text, is_whole
from paretomtl.preflight.fingerprint import ENGINE
from paretomtl.storage.store import Store

METADATA = (".dist-info", ".egg-info")  # folders in which Python looks for entry points, which name modules
LONGEST_VALUE = 300  # characters of a value of a flag
FITS = {int: lambda value: is_whole(value, least=0), float: is_number, None: lambda value: type(value) is bool}


def read_command(store: Store) -> dict[str, Any]:
    """Return the command line that a folder stores, checked: each value is one that a flag can have.

    Raises:
        UsageError: the folder stores no command line of `paretomtl run`, or one that it never wrote.
    """
    command = store.command
    if not isinstance(command, Mapping) or not {"problem", "method", "preferences"} <= command.keys():
        raise UsageError(
            f"{store.folder} does not say how it was begun with `paretomtl run MODULE:PROBLEM`; run that again, "
            "or the same study file, or call the same explore(…) again with this out="
        )
    fits = {flag.name: FITS.get(flag.type, is_text) for flag in FLAGS} | {"problem": is_imported}
    n = len(store.study["points"])
    for name, value in command.items():
        # None is a flag that was left out; a study has at least one point for each preference and each seed
        if value is None:
            continue
        fitting = name in fits and fits[name](value) and len(str(value)) <= LONGEST_VALUE
        if not fitting or (name in ("preferences", "seeds") and value > n):
            raise UsageError(
                f"{store.folder} says that it was begun with {shortened(name)} = {shortened(value)}, which "
                "`paretomtl run` never stores; begin a new front with `paretomtl run`"
            )
    return dict(command)


def code_names(command: Mapping[str, Any]) -> list[str]:
    """Return each MODULE:NAME that a command imports."""
    front_model = command.get("front_model")
    return [command["problem"], *([front_model] if front_model and ":" in front_model else [])]


def format_resume(folder: Path, names: Sequence[str]) -> str:
    """Return the command line that resumes a folder and names the code that may run."""
    return shlex.join(["paretomtl", "resume", str(folder), *names])


def check_trust(folder: Path, names: Sequence[str], allowed: Sequence[str], trust: bool) -> list[str]:
    """Check that the code that a folder names may run; return the file of each module. Nothing is imported.

    Args:
        folder: the front's folder.
        names: each MODULE:NAME that the folder names.
        allowed: each MODULE:NAME on the command line.
        trust: whether the user allows what the folder names.

    Raises:
        UsageError: a module is in the folder or cannot be resolved, or the user has not allowed it.
    """
    if any(place.name.lower().endswith(METADATA) for place in (folder, folder.resolve())):
        raise UsageError(f"{folder} has the name of a package's metadata, which Python reads; rename the folder")
    if _lies_in(os.curdir, folder):  # what is imported here could come from there
        raise UsageError(
            f"{folder} is where you are; start from the folder of {names[0].partition(':')[0]!r}: no code is run "
            "from a front's folder"
        )
    files = [locate(name, folder, in_namespace=not trust) for name in names]
    if allowed and set(allowed) != set(names):
        raise UsageError(
            f"{folder} was begun with {' and '.join(names)}, not with {shortened(' '.join(allowed))}; nothing was "
            f"imported. If you trust it, write: {format_resume(folder, names)}"
        )
    if not allowed and not trust:
        places = " and ".join(f"{name} ({file})" for name, file in zip(names, files, strict=True))
        raise UsageError(
            f"{folder} names the code that it was begun with: {places}. A folder may come from anyone, so nothing was "
            f"imported. If you trust this code, name it (or give --trust): {format_resume(folder, names)}"
        )
    return files


def locate(name: str, folder: Path, in_namespace: bool) -> str:
    """Return the file of the module of MODULE:NAME, which has to lie outside a front's folder; nothing is imported.

    Args:
        name: MODULE:NAME.
        folder: the front's folder.
        in_namespace: whether a package above the module may lack an __init__.py. Python joins folders of one name from
            all over its path to such a package, so that the name alone says little about the place.

    Raises:
        UsageError: the module is none that could hold a user's code, or it may lie in the folder.
    """
    module = name.partition(":")[0]
    parts = module.split(".")
    if parts[0] in sys.stdlib_module_names or parts[0] in ENGINE:
        raise UsageError(f"{name!r}: {parts[0]!r} holds no code of a study; begin a new front with `paretomtl run`")
    spec: ModuleSpec | None = None
    for k in range(len(parts)):
        prefix = ".".join(parts[: k + 1])
        spec = _find_in(prefix, spec.submodule_search_locations or ()) if spec else _find_spec(prefix)
        if spec is None:
            raise UsageError(f"{name!r}: there is no module {prefix!r} here or in the environment")
        if _is_inside(spec, folder):
            raise UsageError(f"module {prefix!r} lies in the front's folder {folder}; code is never run from there")
        if not spec.has_location and not in_namespace:
            raise UsageError(
                f"{name!r}: {prefix!r} is a folder without __init__.py, which Python joins with others of that name; "
                f"add an empty __init__.py, or name the code yourself: {format_resume(folder, [name])}"
            )
    assert spec is not None
    if not spec.has_location:
        raise UsageError(f"{name!r}: {module!r} is a folder without __init__.py, which holds no {name!r}")
    return str(spec.origin)


@contextlib.contextmanager
def no_imports_from(folder: Path) -> Iterator[None]:
    """Refuse every import of a module that lies in a folder, also one by the modules that are imported."""
    guard = _Guard(folder)
    sys.meta_path.insert(0, guard)
    try:
        yield
    finally:
        sys.meta_path.remove(guard)


class _Guard(MetaPathFinder):
    """Finds what the other finders find, if it lies outside a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = _find_spec(fullname, path, target)
        if spec is not None and _is_inside(spec, self.folder):
            raise ImportError(f"module {fullname!r} lies in the front's folder {self.folder}; it is never imported")
        return spec


def _find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
    """Find a module as Python's import does."""
    for finder in [*sys.meta_path]:
        find = None if isinstance(finder, _Guard) else getattr(finder, "find_spec", None)
        spec = find and find(name, path, target)
        if spec is not None:
            return spec
    return None


def _find_in(name: str, folders: Iterable[str]) -> ModuleSpec | None:
    """Find a module in the folders of its package, which need not be imported."""
    portions: list[str] = []
    for folder in folders:
        finder = pkgutil.get_importer(folder)
        spec = None if finder is None else finder.find_spec(name, None)
        if spec is not None and spec.loader is not None:
            return spec
        portions += [] if spec is None else spec.submodule_search_locations or []
    if not portions:
        return None
    namespace = ModuleSpec(name, None, is_package=True)
    namespace.submodule_search_locations = portions
    return namespace


def _is_inside(spec: ModuleSpec, folder: Path) -> bool:
    file = [spec.origin] if spec.has_location and spec.origin else []
    return any(_lies_in(place, folder) for place in (*file, *(spec.submodule_search_locations or ())))


def _lies_in(place: str, folder: Path) -> bool:
    """Whether a path is in a folder, links resolved; by the file system's own identity of folders."""
    identity = os.stat(folder)
    path = Path(place).resolve()
    for above in (path, *path.parents):
        with contextlib.suppress(OSError, ValueError):  # such as a name within a zip
            if os.path.samestat(os.stat(above), identity):
                return True
    return False

"""Study files: the options of `paretomtl run` as a TOML file that can be kept.

A file is data: nothing in it is evaluated, and what it names is imported by the command line, not here.
"""

import inspect
import tomllib
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any

from paretomtl.errors import StudyFileError
from paretomtl.options import BUDGETS, KEYS, Named, Options, to_named
from paretomtl.preference import Refine

if TYPE_CHECKING:
    import torch

NAMED = ("problem", "method", "optimizer", "front_model")  # keys whose value is a name, or a table with one
MOST_FILE_BYTES = 2**20  # bytes; a study file has a few hundred


def read_study_file(path: Path) -> Options:
    """Read the options of a study file; `out` is relative to the file's folder.

    Raises:
        StudyFileError: with the file, the key, its value and what to give instead.
    """
    table = _parse(path)
    for key, value in table.items():
        if key not in KEYS:
            raise StudyFileError(f"{path}: there is no key {key!r}{_near(key, KEYS)}; the keys are {', '.join(KEYS)}")
        option = KEYS[key]
        assert option.fits is not None
        if not option.fits(value):
            raise StudyFileError(f"{path}: {key} = {shortened(value)}: {option.remedy}")
    for key, option in KEYS.items():
        if option.required and key not in table:
            raise StudyFileError(f"{path}: {key} is missing; {option.remedy}")
    budgets = [f"{key} = {table[key]}" for key in BUDGETS if key in table]
    if len(budgets) != 1:
        reason = ", ".join(budgets) or "epochs and steps are missing"
        raise StudyFileError(f"{path}: {reason}; give one of epochs and steps")
    options = table | {"out": path.parent / table["out"]}
    options |= {key: to_named(table[key]) for key in NAMED if key in table}
    if isinstance(table["preferences"], dict):
        options["preferences"] = _build_refine(path, table["preferences"])
    elif isinstance(table["preferences"], list):
        options["preferences"] = [[float(entry) for entry in row] for row in table["preferences"]]
    if "clip" in table:
        options["clip"] = float(table["clip"])
    if isinstance(table.get("ray"), bool):
        options["ray"] = {} if table["ray"] else None
    return Options(**options)


def _build_refine(path: Path, arguments: dict[str, Any]) -> Refine:
    try:
        return build("preferences", Refine, arguments)
    except ValueError as error:
        raise StudyFileError(f"{path}: preferences = {arguments}: {error}") from error


def _parse(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise StudyFileError(f"{path} is not a file; give the path of a study file, such as study.toml")
    size = path.stat().st_size
    if size > MOST_FILE_BYTES:
        raise StudyFileError(
            f"{path} has {size} bytes, no study file has more than {MOST_FILE_BYTES}; give a study file"
        )
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))  # some editors put a mark in front
    except UnicodeDecodeError as error:
        raise StudyFileError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # the second where brackets are nested without end
        raise StudyFileError(f"{path} is not TOML: {error}") from error


def _near(name: str, names: Collection[str]) -> str:
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def build(kind: str, factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a class or function with the keyword arguments that a file has under the key `kind`.

    Raises:
        StudyFileError: an argument is missing, or is none of the factory's.
    """
    _check_arguments(kind, factory, arguments)
    return factory(**arguments)


def build_optimizer(named: Named) -> "partial[torch.optim.Optimizer]":
    """Return an optimizer of torch.optim with its arguments, to be called with the parameters.

    Raises:
        StudyFileError: no such optimizer, or arguments that it refuses when it is built for a parameter of zeros.
    """
    import torch

    base = torch.optim.Optimizer
    classes = {name: value for name, value in vars(torch.optim).items() if isinstance(value, type)}
    known = {name: kind for name, kind in classes.items() if issubclass(kind, base) and kind is not base}
    if named.name not in known:
        near = _near(named.name, known)
        raise StudyFileError(f"optimizer = {named.name!r} is not in torch.optim{near}; there are {', '.join(known)}")
    optimizer = known[named.name]
    parameters = [torch.zeros(1, 1, requires_grad=True)]  # some optimizers take nothing of fewer dimensions
    _check_arguments("optimizer", optimizer, named.arguments, parameters)
    try:
        optimizer(parameters, **named.arguments)
    except Exception as error:  # an IndexError for betas of one entry, and whatever else torch has
        raise StudyFileError(f"optimizer = {named.name} with {named.arguments}: {error}; change that value") from error
    return partial(optimizer, **named.arguments)


def _check_arguments(kind: str, factory: Callable[..., Any], arguments: Mapping[str, Any], *before: Any) -> None:
    """Raise if arguments do not fit the signature, after those `before` that no file gives."""
    name = getattr(factory, "__name__", repr(factory))
    names = list(inspect.signature(factory).parameters)[len(before) :]
    try:
        inspect.signature(factory).bind(*before, **arguments)
    except TypeError as error:
        near = "".join(_near(key, names) for key in arguments if key not in names)
        allowed = ", ".join(names) or "none"
        raise StudyFileError(f"{kind} = {name} with {arguments}: {error}{near}; its arguments are {allowed}") from error

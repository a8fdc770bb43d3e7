"""Study files: what `paretomtl run` is told on the command line, as a TOML file that can be kept.

A file is data: nothing in it is evaluated, and what it names is imported by the command line, not here.
"""

import inspect
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, NamedTuple

import torch

from paretomtl.errors import StudyFileError
from paretomtl.preference import Refine

NAMED = ("problem", "method", "optimizer", "front_model")  # keys whose value is a name, or a table with one
LARGEST = 2**20  # bytes; a study file has a few hundred


class Named(NamedTuple):
    """A name and the keyword arguments that go with it."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What a study file asks for.

    Args:
        problem, method, optimizer: by name, not yet imported; see `build` and `build_optimizer`.
        preferences, epochs, steps, seed, device, clip, fleet: as in `explore`.
        out: the folder for the front.
        seeds: how often each point is trained, each time with another seed.
        ray: arguments of `RayTune`; None computes here.
        front_model: by name; None trains one model a preference.
    """

    problem: Named
    method: Named
    preferences: int | list[list[float]] | Refine
    epochs: int | None
    steps: int | None
    out: Path
    optimizer: Named = field(default_factory=lambda: Named("Adam", {"lr": 1e-3}))
    seed: int = 0
    seeds: int = 1
    device: str = "cpu"
    clip: float | None = None
    ray: dict[str, Any] | None = None
    front_model: Named | None = None
    fleet: int | None = None


def _is_whole(value: Any, least: int = 1) -> bool:
    return type(value) is int and value >= least  # a bool is an int as well, and none is meant


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # no NaN either, and what every float can hold


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_named(value: Any) -> bool:
    return _is_text(value.get("name") if isinstance(value, dict) else value)


def _is_imported(value: Any) -> bool:
    module, colon, name = _named(value).name.partition(":") if _is_named(value) else ("", "", "")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), name))


def _is_preferences(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value)
    rows = value if isinstance(value, list) else []
    lists = bool(rows) and all(isinstance(row, list) and row and all(map(_is_number, row)) for row in rows)
    return _is_whole(value) or lists


# Of each key, whether a value will do, and what to give instead.
KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "problem": (
        _is_imported,
        'give MODULE:PROBLEM, such as "mine:problem", or a table such as { name = "mine:problem", size = "small" }',
    ),
    "method": (_is_named, 'give a name, such as "EPO", or a table such as { name = "EPO", eps = 1e-4 }'),
    "optimizer": (_is_named, 'give a name of torch.optim, or a table such as { name = "Adam", lr = 1e-3 }'),
    "preferences": (
        _is_preferences,
        "give a number of them, such as 9, a table such as { start = 5, total = 25 }, or a list such as "
        "[[0.2, 0.8], [0.5, 0.5]]",
    ),
    "epochs": (_is_whole, "give a whole number of at least 1"),
    "steps": (_is_whole, "give a whole number of at least 1"),
    "out": (_is_text, 'give a folder, such as "runs/mine"'),
    "seed": (partial(_is_whole, least=0), "give a whole number of at least 0"),
    "seeds": (_is_whole, "give a whole number of at least 1"),
    "device": (_is_text, 'give "cpu", "cuda" or "auto"'),
    "clip": (lambda value: _is_number(value) and value > 0, "give a positive number, such as 1.0"),
    "fleet": (partial(_is_whole, least=2), "give a whole number of at least 2"),
    "ray": (lambda value: isinstance(value, bool | dict), "give true, or a table such as { workers = 2 }"),
    "front_model": (
        _is_named,
        'give a name, such as "FiLM", or a table such as { name = "LowRank", rank = 8, sampling = { n = 4 } }',
    ),
}


def read(path: Path) -> Settings:
    """The settings of a study file; `out` is relative to the file's folder.

    Raises:
        StudyFileError: it names the file, the key, its value and what to give instead.
    """
    found = _parse(path)
    for key, value in found.items():
        if key not in KEYS:
            raise StudyFileError(f"{path}: there is no key {key!r}{_near(key, KEYS)}; the keys are {', '.join(KEYS)}")
        fits, remedy = KEYS[key]
        if not fits(value):
            raise StudyFileError(f"{path}: {key} = {shortened(value)}: {remedy}")
    for key in ("problem", "method", "preferences", "out"):
        if key not in found:
            raise StudyFileError(f"{path}: {key} is missing; {KEYS[key][1]}")
    if ("epochs" in found) == ("steps" in found):
        given = ", ".join(f"{key} = {found[key]}" for key in ("epochs", "steps") if key in found)
        raise StudyFileError(f"{path}: {given or 'epochs and steps are missing'}; give one of epochs and steps")
    settings: dict[str, Any] = {"epochs": None, "steps": None} | found | {"out": path.parent / found["out"]}
    settings |= {key: _named(found[key]) for key in NAMED if key in found}
    if isinstance(found["preferences"], dict):
        settings["preferences"] = _refine(path, found["preferences"])
    elif isinstance(found["preferences"], list):
        settings["preferences"] = [[float(entry) for entry in row] for row in found["preferences"]]
    if "clip" in found:
        settings["clip"] = float(found["clip"])
    if isinstance(found.get("ray"), bool):
        settings["ray"] = {} if found["ray"] else None
    return Settings(**settings)


def _refine(path: Path, arguments: dict[str, Any]) -> Refine:
    try:
        return build("preferences", Refine, arguments)
    except ValueError as error:
        raise StudyFileError(f"{path}: preferences = {arguments}: {error}") from error


def _parse(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise StudyFileError(f"{path} is not a file; give the path of a study file, such as study.toml")
    size = path.stat().st_size
    if size > LARGEST:
        raise StudyFileError(f"{path} has {size} bytes, no study file has more than {LARGEST}; give a study file")
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))  # some editors put a mark in front
    except UnicodeDecodeError as error:
        raise StudyFileError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # the second where brackets are nested without end
        raise StudyFileError(f"{path} is not TOML: {error}") from error


def _named(value: Any) -> Named:
    table = {"name": value} if isinstance(value, str) else value
    return Named(table["name"], {key: argument for key, argument in table.items() if key != "name"})


def _near(name: str, names: Collection[str]) -> str:
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def build(kind: str, made: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """What a class or function makes of the keyword arguments of a file; `kind` is the key that they are under.

    Raises:
        StudyFileError: an argument that it does not take, or one that is missing.
    """
    _bind(kind, made, arguments)
    return made(**arguments)


def build_optimizer(named: Named) -> "partial[torch.optim.Optimizer]":
    """An optimizer of torch.optim with its arguments, still to be given the parameters.

    Raises:
        StudyFileError: no such optimizer, or arguments that it refuses, which is tried on a parameter of its own.
    """
    base = torch.optim.Optimizer
    classes = {name: found for name, found in vars(torch.optim).items() if isinstance(found, type)}
    known = {name: found for name, found in classes.items() if issubclass(found, base) and found is not base}
    if named.name not in known:
        near = _near(named.name, known)
        raise StudyFileError(f"optimizer = {named.name!r} is not in torch.optim{near}; there are {', '.join(known)}")
    made = known[named.name]
    parameters = [torch.zeros(1, 1, requires_grad=True)]  # some optimizers take nothing of fewer dimensions
    _bind("optimizer", made, named.arguments, parameters)
    try:
        made(parameters, **named.arguments)
    except Exception as error:  # an IndexError for betas of one entry, and whatever else torch has
        raise StudyFileError(f"optimizer = {named.name} with {named.arguments}: {error}; change that value") from error
    return partial(made, **named.arguments)


def _bind(kind: str, made: Callable[..., Any], arguments: Mapping[str, Any], *before: Any) -> None:
    """Refuse arguments that do not fit the signature, after those `before` that no file gives."""
    name = getattr(made, "__name__", repr(made))
    taken = list(inspect.signature(made).parameters)[len(before) :]
    try:
        inspect.signature(made).bind(*before, **arguments)
    except TypeError as error:
        near = "".join(_near(key, taken) for key in arguments if key not in taken)
        allowed = ", ".join(taken) or "none"
        raise StudyFileError(f"{kind} = {name} with {arguments}: {error}{near}; its arguments are {allowed}") from error

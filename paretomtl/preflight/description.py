"""What a study is, in words that can be stored and compared: so that resuming another one is refused."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from paretomtl.conditioned.kinds import to_options
from paretomtl.preflight import fingerprint
from paretomtl.training.study import Study

LONGEST = 100  # characters of a value in a difference
MOST = 12  # differences that are told
ARGUMENTS = ": arguments"
DESCRIBED = ("optimizer", "solver")  # their numbers are shown, so that their arguments need not be told of again


def describe(study: Study, notes: Sequence[str] = (), data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A study as it is stored: all that a reader needs and a resume compares, nothing of when and where.

    Code and data are known by their digests alone, and nothing of the environment is kept: what is secret stays so.

    Args:
        study: what is asked for.
        notes: what the dry run found worth saying.
        data: the fingerprint of each split.
    """
    problem = study.problem
    roots = {name: getattr(problem, name) for name in ("model", "losses", "measure", "project")}
    roots |= {
        name: getattr(problem, name) for name in ("train", "validate", "test") if callable(getattr(problem, name))
    }
    roots |= {"optimizer": study.optimizer, "solver": type(study.solver)}
    together: dict[str, Any] = {} if study.fleet is None else {"fleet": study.fleet}
    if study.refine is not None:
        together |= {"refine": asdict(study.refine)}
    if study.walk is not None:
        toward = zip(problem.names, study.preferences[0].tolist(), strict=True)
        together |= {"walk": asdict(study.walk) | {f"toward {name!r}": r for name, r in toward}}
    if study.front_model is not None:
        together |= {"front_model": to_options(study.front_model), "bounded": problem.project is not None}
    return together | {
        "objectives": [asdict(o) for o in problem.described],
        "ref_point": list(problem.ref_point),
        "solver": fingerprint.describe_value(study.solver),
        "optimizer": None if study.walk is not None else fingerprint.describe_value(study.optimizer),
        "points": _points(study),
        "budget": {"steps": study.steps} if study.epochs is None else {"epochs": study.epochs},
        "seed": study.seed,
        "seeds": study.seeds,
        "device": study.device,
        "clip": study.clip,
        "splits": [s for s in ("validate", "test") if s == "validate" or getattr(problem, s) is not None],
        "measured": problem.measure is not None,
        "code": fingerprint.fingerprint_code(roots),
        "data": dict(data or {}),
        "notes": list(notes),
        "versions": {name: version(name) for name in ("paretomtl", "torch", "numpy")}
        | {"python": platform.python_version()},
    }


def _points(study: Study) -> list[dict[str, Any]]:
    """All points; the preferences of later rounds, and of a walk's, are not known yet."""
    known = {} if study.walk is not None else {job.id: job.preference.tolist() for job in study.jobs}
    names = study.problem.names
    return [
        {"id": id, "preference": known.get(id), "corner": None if corner is None else names[corner], "seed": seed}
        for id, _, corner, seed in study.places
    ]


def describe_difference(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """What differs between a stored study and the one asked for, a line each; empty where they are one."""
    found = []
    untold = {"notes"} if "front_model" in stored and "front_model" in asked else {"notes", "bounded"}
    for key in sorted({*stored, *asked} - untold):
        there, here = stored.get(key), asked.get(key)
        if there == here:
            continue
        shown = [f"  the arguments of the {name}:" for name in DESCRIBED if stored.get(name) != asked.get(name)]
        lines = [line for line in _differing_lines(key, there, here) if not line.startswith(tuple(shown))]
        told = lines or shown or (key == "points" and stored.get("seeds") != asked.get("seeds"))
        found += lines if told else [f"  {key}: changed"]
    more = [f"  … and {len(found) - MOST} more"] if len(found) > MOST else []
    return "\n".join([*found[:MOST], *more])


def _differing_lines(key: str, there: Any, here: Any) -> Iterator[str]:
    if key == "front_model" and (there is None or here is None or there["kind"] != here["kind"]):
        yield _format_change(key, *(None if x is None else _format_front_model(x) for x in (there, here)))
    elif type(there) is not type(here):
        yield _format_change(key, there, here)
    elif key == "code":
        for part in sorted({*there, *here}):
            yield from _code_lines(part, there.get(part), here.get(part))
    elif key == "data":
        for split in sorted({*there, *here}):
            yield from _data_lines(split, there.get(split), here.get(split))
    elif key == "points":
        yield from _preference_lines(there, here)
    elif key == "objectives":
        for i in range(max(len(there), len(here))):
            one, other = ((rows[i] if i < len(rows) else {}) for rows in (there, here))
            if not one or not other or one["name"] != other["name"]:
                yield _format_change(f"objective {i + 1}", one.get("name"), other.get("name"))
            else:
                yield from _entry_lines(one, other, f"{one['name']!r} ")
    elif key == "front_model":
        yield from _entry_lines(_flat_options(there), _flat_options(here), f"front_model {there['kind']}, ")
    elif key in ("versions", "budget", "walk"):
        yield from _entry_lines(there, here)
    else:
        yield _format_change(key, there, here)


def _code_lines(part: str, there: str | None, here: str | None) -> Iterator[str]:
    what = f"the arguments of the {part.removesuffix(ARGUMENTS)}" if part.endswith(ARGUMENTS) else f"the code of {part}"
    if there is None:
        yield f"  {what}: not known there, used here"
    elif here is None:
        yield f"  {what}: used there, not here"
    elif there != here:
        yield f"  {what}: changed"


def _data_lines(split: str, there: Mapping[str, Any] | None, here: Mapping[str, Any] | None) -> Iterator[str]:
    if there is None or here is None:
        yield _format_change(f"the data of {split}", *("none" if known is None else "some" for known in (there, here)))
    elif there["length"] != here["length"]:
        yield _format_change(f"the data of {split}", *(f"length {known['length']}" for known in (there, here)))
    elif there != here:
        yield f"  the data of {split}: the first or the last item, or the batch size, changed"


def _preference_lines(there: Sequence[Mapping[str, Any]], here: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What differs between the preferences; that there are other seeds of the same is told by `seeds`."""
    one, other = ([p for p in rows if p["seed"] == 0] for rows in (there, here))
    if len(one) != len(other):
        yield _format_change("preferences", *(f"{len(rows)} points" for rows in (one, other)))
    for mine, theirs in zip(one, other, strict=False):
        if (mine["preference"], mine["corner"]) != (theirs["preference"], theirs["corner"]):
            shown = (f"{p['preference']}{' alone' if p['corner'] else ''}" for p in (mine, theirs))
            yield _format_change(f"preferences, {mine['id']}", *shown)
            return


def _entry_lines(there: Mapping[str, Any], here: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key in sorted({*there, *here}):
        if there.get(key) != here.get(key):
            yield _format_change(f"{before}{key}", there.get(key), here.get(key))


def _flat_options(front_model: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a front model; those of its sampling beside its own."""
    found = {key: value for key, value in front_model.items() if key not in ("kind", "sampling")}
    return found | {f"sampling {key}": value for key, value in front_model["sampling"].items()}


def _format_front_model(front_model: Mapping[str, Any]) -> str:
    """A front model as it would be written, without its sampling."""
    own = [
        f"{key}={value!r}"
        for key, value in sorted(_flat_options(front_model).items())
        if not key.startswith("sampling ")
    ]
    return f"{front_model['kind']}({', '.join([*own, '…'])})"


def _format_change(what: str, there: Any, here: Any) -> str:
    return f"  {what}: {_shorten(there)} there, {_shorten(here)} here"


def _shorten(value: Any) -> str:
    text = str(value) or "none"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"

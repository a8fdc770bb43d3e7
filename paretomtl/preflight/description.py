"""The description of a study that is stored and compared, so that a resume with another study is refused."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from paretomtl.conditioned.kinds import to_options
from paretomtl.errors import escape_controls
from paretomtl.preflight import fingerprint
from paretomtl.training.study import Study

LONGEST_VALUE = 100  # characters of a value in a difference
SAME_RESULTS = {"0.1.0", "0.2.0"}  # versions that compute the same bytes, so that one resumes what another began
MOST_DIFFERENCES = 12  # differences that are shown
ARGUMENTS = ": arguments"
WITH_ARGUMENTS = ("optimizer", "solver")  # a change of these shows their arguments, so "arguments changed" is left out


def describe(study: Study, notes: Sequence[str] = (), data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a study as it is stored: all that a reader needs and a resume compares, without time and place.

    Code and data are stored as digests only, and the environment not at all, so that secrets stay secret.

    Args:
        study: the study.
        notes: the notes of the dry run.
        data: the fingerprint of each split.
    """
    problem = study.problem
    roots = {name: getattr(problem, name) for name in ("model", "losses", "measure", "project")}
    roots |= {
        name: getattr(problem, name) for name in ("train", "validate", "test") if callable(getattr(problem, name))
    }
    roots |= {"optimizer": study.optimizer, "solver": type(study.solver)}
    roots |= {} if study.front_model is None else {"front_model": type(study.front_model)}
    extras: dict[str, Any] = {} if study.fleet is None else {"fleet": study.fleet}
    if study.refine is not None:
        extras |= {"refine": asdict(study.refine)}
    if study.walk is not None:
        toward = zip(problem.names, study.preferences[0].tolist(), strict=True)
        extras |= {"walk": asdict(study.walk) | {f"toward {name!r}": r for name, r in toward}}
    if study.front_model is not None:
        extras |= {"front_model": to_options(study.front_model), "bounded": problem.project is not None}
    return extras | {
        "objectives": [asdict(o) for o in problem.described],
        "ref_point": list(problem.ref_point),
        "solver": fingerprint.describe_value(study.solver),
        "optimizer": None if study.walk is not None else fingerprint.describe_value(study.optimizer),
        "points": _describe_points(study),
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


def _describe_points(study: Study) -> list[dict[str, Any]]:
    """Describe all points; None for the preferences of later rounds and of a walk, which are not known yet."""
    known = {} if study.walk is not None else {job.id: job.preference.tolist() for job in study.jobs}
    names = study.problem.names
    return [
        {"id": id, "preference": known.get(id), "corner": None if corner is None else names[corner], "seed": seed}
        for id, _, corner, seed in study.places
    ]


def describe_difference(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> str:
    """Return what differs between a stored study and the requested one, a line each; empty where they are the same."""
    if {stored.get("versions", {}).get("paretomtl"), version("paretomtl")} <= SAME_RESULTS:
        stored = {**stored, "versions": {**stored["versions"], "paretomtl": version("paretomtl")}}
    lines = []
    ignored = {"notes"} if "front_model" in stored and "front_model" in requested else {"notes", "bounded"}
    for key in sorted({*stored, *requested} - ignored):
        old, new = stored.get(key), requested.get(key)
        if old == new:
            continue
        shown = [f"  the arguments of the {n}:" for n in WITH_ARGUMENTS if stored.get(n) != requested.get(n)]
        own = [line for line in _differing_lines(key, old, new) if not line.startswith(tuple(shown))]
        explained = own or shown or (key == "points" and stored.get("seeds") != requested.get("seeds"))
        lines += own if explained else [f"  {key}: changed"]
    more = [f"  … and {len(lines) - MOST_DIFFERENCES} more"] if len(lines) > MOST_DIFFERENCES else []
    return "\n".join([*map(escape_controls, lines[:MOST_DIFFERENCES]), *more])


def _differing_lines(key: str, old: Any, new: Any) -> Iterator[str]:
    if key == "front_model" and (old is None or new is None or old["kind"] != new["kind"]):
        yield _format_change(key, *(None if x is None else _format_front_model(x) for x in (old, new)))
    elif type(old) is not type(new):
        yield _format_change(key, old, new)
    elif key == "code":
        for part in sorted({*old, *new}):
            yield from _code_lines(part, old.get(part), new.get(part))
    elif key == "data":
        for split in sorted({*old, *new}):
            yield from _data_lines(split, old.get(split), new.get(split))
    elif key == "points":
        yield from _preference_lines(old, new)
    elif key == "objectives":
        for i in range(max(len(old), len(new))):
            one, other = ((rows[i] if i < len(rows) else {}) for rows in (old, new))
            if not one or not other or one["name"] != other["name"]:
                yield _format_change(f"objective {i + 1}", one.get("name"), other.get("name"))
            else:
                yield from _entry_lines(one, other, f"{one['name']!r} ")
    elif key == "front_model":
        yield from _entry_lines(_flat_options(old), _flat_options(new), f"front_model {old['kind']}, ")
    elif key in ("versions", "budget", "walk"):
        yield from _entry_lines(old, new)
    else:
        yield _format_change(key, old, new)


def _code_lines(part: str, old: str | None, new: str | None) -> Iterator[str]:
    what = f"the arguments of the {part.removesuffix(ARGUMENTS)}" if part.endswith(ARGUMENTS) else f"the code of {part}"
    if old is None:
        yield f"  {what}: not known there, used here"
    elif new is None:
        yield f"  {what}: used there, not here"
    elif old != new:
        yield f"  {what}: changed"


def _data_lines(split: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Iterator[str]:
    if old is None or new is None:
        yield _format_change(f"the data of {split}", *("none" if known is None else "some" for known in (old, new)))
    elif old["length"] != new["length"]:
        yield _format_change(f"the data of {split}", *(f"length {known['length']}" for known in (old, new)))
    elif old != new:
        yield f"  the data of {split}: the first or the last item, or the batch size, changed"


def _preference_lines(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the number of points or the first preference that differs; `seeds` shows whether there are other seeds."""
    one, other = ([p for p in rows if p["seed"] == 0] for rows in (old, new))
    if len(one) != len(other):
        yield _format_change("preferences", *(f"{len(rows)} points" for rows in (one, other)))
    for first, second in zip(one, other, strict=False):
        if (first["preference"], first["corner"]) != (second["preference"], second["corner"]):
            shown = (f"{p['preference']}{' alone' if p['corner'] else ''}" for p in (first, second))
            yield _format_change(f"preferences, {first['id']}", *shown)
            return


def _entry_lines(old: Mapping[str, Any], new: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield _format_change(f"{before}{key}", old.get(key), new.get(key))


def _flat_options(front_model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a front model and of its sampling, in one dict."""
    own = {key: value for key, value in front_model.items() if key not in ("kind", "sampling")}
    return own | {f"sampling {key}": value for key, value in front_model["sampling"].items()}


def _format_front_model(front_model: Mapping[str, Any]) -> str:
    """Write a front model as a call, without its sampling."""
    own = [
        f"{key}={value!r}"
        for key, value in sorted(_flat_options(front_model).items())
        if not key.startswith("sampling ")
    ]
    return f"{front_model['kind']}({', '.join([*own, '…'])})"


def _format_change(what: str, old: Any, new: Any) -> str:
    return f"  {what}: {_shorten(old)} there, {_shorten(new)} here"


def _shorten(value: Any) -> str:
    text = str(value) or "none"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"

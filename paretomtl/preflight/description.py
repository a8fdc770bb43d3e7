"""The description of a study that is stored and compared, so that a resume with another study is refused."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import torch

from paretomtl.conditioned.kinds import to_options
from paretomtl.errors import escape_controls
from paretomtl.normalisation import CORNERS
from paretomtl.preflight import fingerprint
from paretomtl.preflight.fingerprint import BINDING, Fingerprint, name_key
from paretomtl.preflight.values import Digester
from paretomtl.problem import Problem
from paretomtl.storage.schema import GROWING, growing
from paretomtl.training.numerics import read_numerics
from paretomtl.training.study import Study

RULE = 2  # by which code is known; rule 1, of studies that name none, knew it by the names of its modules

LONGEST_VALUE = 100  # characters of a value in a difference
SAME_RESULTS = {"0.1.0", "0.2.0", "0.3.0"}  # versions that train to the same weights: one resumes what another began
SAME_EXACT_RESULTS = SAME_RESULTS - {"0.3.0"}  # on exact problems; 0.3.0 polishes points otherwise
MOST_DIFFERENCES = 12  # differences that are shown
ARGUMENTS = ": arguments"
WITH_ARGUMENTS = ("optimizer", "solver", "front_model")  # a change of these shows all of it by itself
KINDS = ("walk", "refine", "front_model")  # of studies whose points hang together
NOT_COMPARED = {"normalisation", "notes", "modules", "unknown", "state", "grows", "rule"}
CODE = ("code", "measure_code", "numerics")  # rule 1 does not know these, or otherwise


def fingerprint_study(study: Study) -> Fingerprint:
    """Return the fingerprint of a study's code."""
    problem = study.problem
    roots = roots_of(problem) | {"optimizer": study.optimizer, "solver": study.solver}
    roots |= {} if study.front_model is None else {"front_model": type(study.front_model)}
    return fingerprint.fingerprint_code(roots, problem.measure)


def list_growing(study: Study) -> list[str]:
    """List what of a study can grow without a change of the points that are there."""
    if study.walk is not None:
        return ["ref_point"]
    if study.refine is not None:  # later preferences are placed by the losses of all seeds
        return ["ref_point"] if study.refine.by == "gap" else []
    if study.front_model is not None:  # its best weights may be told by their hypervolume
        return ["seeds"]
    return [what for what in GROWING if what != "preferences" or not _depends_on_others(study)]


def _depends_on_others(study: Study) -> bool:
    """Whether a point depends on the other preferences of the study, by the state in which its method begins."""
    if study.solver.joint:
        return True
    sweep, known = study.sweep(study.jobs[0], study.steps or 1), Digester()
    more = torch.cat([sweep.preferences, sweep.preferences.flip(-1)[:1] / 2 + 0.5 / sweep.preferences.shape[-1]])
    try:
        states = [known(study.solver.init(each)) for each in (sweep, replace(sweep, preferences=more))]
    except Exception:  # the dry run says what it lacks
        return True
    return states[0].digest != states[1].digest or bool(states[0].unknown)


def describe(
    study: Study,
    notes: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    before: Fingerprint | None = None,
) -> dict[str, Any]:
    """Return a study as it is stored: all that a reader needs and a resume compares, without time and place.

    Code and data are stored as digests only, and the environment not at all, so that secrets stay secret.

    Args:
        study: the study.
        notes: the notes of the dry run.
        data: the fingerprint of each split.
        before: the fingerprint of the code before the dry run; values that changed in it are state.
    """
    problem, code = study.problem, fingerprint_study(study)
    code = code if before is None else code.without_state(before)
    extras: dict[str, Any] = {} if study.fleet is None else {"fleet": study.fleet}
    if study.refine is not None:
        extras |= {"refine": asdict(study.refine)}
    if study.walk is not None:
        toward = zip(problem.names, study.preferences[0].tolist(), strict=True)
        extras |= {"walk": asdict(study.walk) | {f"toward {name!r}": r for name, r in toward}}
    if study.front_model is not None:
        extras |= {"front_model": to_options(study.front_model), "bounded": problem.project is not None}
    if changes := read_numerics().changes():
        extras |= {"numerics": changes}
    return extras | {
        "objectives": [asdict(o) for o in problem.described],
        "ref_point": None if problem.ref_point is None else list(problem.ref_point),
        "solver": fingerprint.describe_value(study.solver),
        "optimizer": None if study.walk is not None else fingerprint.describe_value(study.optimizer),
        "points": _describe_points(study),
        "normalise": _describe_normalise(study),
        "normalisation": None if study.normalisation is None else study.normalisation.to_stored(),
        "budget": {"steps": study.steps} if study.epochs is None else {"epochs": study.epochs},
        "seed": study.seed,
        "seeds": study.seeds,
        "device": study.device,
        "clip": study.clip,
        "splits": [s for s in ("validate", "test") if s == "validate" or getattr(problem, s) is not None],
        "measured": problem.measure is not None,
        "rule": RULE,
        "code": code.code,
        "measure_code": code.measure,
        "modules": code.modules,
        "state": code.state,
        "unknown": [f"{name_part(key, code.modules)} changed: {why}" for key, why in code.unknown.items()],
        "grows": list_growing(study),
        "data": dict(data or {}),
        "notes": list(notes),
        "versions": {name: version(name) for name in ("paretomtl", "torch", "numpy")}
        | {"python": platform.python_version()},
    }


def _describe_normalise(study: Study) -> str | dict[str, Any] | None:
    """Describe where the range of each loss is from: "corners", the numbers given, or None."""
    if study.normalise == CORNERS:
        return CORNERS if study.corners else None
    return None if study.normalisation is None else study.normalisation.to_stored()


def roots_of(problem: Problem) -> dict[str, Any]:
    """Return what the user's code of a problem is reached from, by field; without the measure."""
    data = [name for name in ("train", "validate", "test") if callable(getattr(problem, name))]
    return {name: getattr(problem, name) for name in ("model", "losses", "project", *data)}


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
    stored = _make_comparable(stored, requested)
    state = {*stored.get("state", []), *requested["state"]}  # what changes in one run may seem to stay in another
    stored, requested = _leave_out(state, stored), _leave_out(state, requested)
    lines = []
    ignored = NOT_COMPARED | (set() if "front_model" in stored and "front_model" in requested else {"bounded"})
    for key in sorted({*stored, *requested} - ignored, key=lambda key: (key in CODE, key)):  # code has many lines
        old, new = stored.get(key), requested.get(key)
        if old == new:
            continue
        differing = [name for name in WITH_ARGUMENTS if stored.get(name) != requested.get(name)]
        shown = [text.format(name) for name in differing for text in ("  the arguments of the {}:", "  what {} stands")]
        modules = (stored.get("modules", []), requested["modules"])
        own = [line for line in _differing_lines(key, old, new, modules) if not line.startswith(tuple(shown))]
        if key == "points" and all(stored.get(kind) == requested.get(kind) for kind in KINDS):
            own += [f"  {why}" for why in [_find_obstacle(stored, requested)] if why]
        lines += own if own or shown else [f"  {key}: changed"]
    more = [f"  … and {len(lines) - MOST_DIFFERENCES} more"] if len(lines) > MOST_DIFFERENCES else []
    return "\n".join([*map(escape_controls, lines[:MOST_DIFFERENCES]), *more])


def _leave_out(state: set[str], study: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study without what is state in its code."""
    parts = {key: study[key] for key in ("code", "measure_code") if key in study}
    return {**study, **{key: {k: v for k, v in part.items() if k not in state} for key, part in parts.items()}}


def _make_comparable(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored study with what an earlier version wrote otherwise as this one writes it."""
    stored = dict(stored)
    is_exact = bool(stored.get("code")) and not stored.get("data")  # schema 1 knew neither
    same = SAME_EXACT_RESULTS if is_exact else SAME_RESULTS
    if {stored.get("versions", {}).get("paretomtl"), version("paretomtl")} <= same:
        stored["versions"] = {**stored["versions"], "paretomtl": version("paretomtl")}
    if not is_code_comparable(stored):
        stored |= {key: requested[key] for key in CODE if key in requested}
        for key in ("optimizer", "solver"):  # rule 1 wrote the module of the user's own, too
            own = requested.get(key)
            stored[key] = own if own and str(stored.get(key)).endswith(f".{own}") else stored.get(key)
    return stored


def find_growth(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a stored study that grow to those requested; empty where none does, or may."""
    growth = {}
    if stored["points"] != requested["points"] and not _find_obstacle(stored, requested):
        growth = {"points": requested["points"], "seeds": requested["seeds"]}
    if stored["ref_point"] != requested["ref_point"] and "ref_point" in _both_growing(stored, requested):
        growth |= {"ref_point": requested["ref_point"]}
    return growth


def _both_growing(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> set[str]:
    return {*growing(stored)} & {*growing(requested)}


def _find_obstacle(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> str | None:
    """Return why the points of a stored study cannot grow to those requested, with the remedy; None if they can."""
    old, new = stored["points"], {point["id"]: point for point in requested["points"]}
    is_other = any(new.get(point["id"]) != point for point in old)
    if is_other and ("preferences" in _both_growing(stored, requested) or not _adds_preferences(stored, requested)):
        if len(new) <= len(old):
            return "what is there stays where preferences or seeds are added, and none left out"
        return "to add preferences, give them as a list; those that are there stay"
    more = [point for point in requested["points"] if point not in old]
    lacking = {"seeds" if point["seed"] >= stored["seeds"] else "preferences" for point in more}
    lacking = {"preferences"} if is_other else lacking - _both_growing(stored, requested)
    if lacking:
        kind = next((key for key in KINDS if stored.get(key)), None)
        why = (
            f"with {kind} all of its points hang together"
            if kind
            else "for its method, each point depends on the others"
        )
        remedy = "; front.model_at(…) serves any preference" if kind == "front_model" else ""
        return f"such a study cannot grow by {' and '.join(sorted(lacking))}: {why}{remedy}"
    size, n = stored.get("fleet"), sum(point["seed"] == 0 and point["corner"] is None for point in old)
    if size and n % size and any(point["seed"] == 0 for point in more):
        return (
            f"with fleet={size} it cannot grow by preferences: the {n} there leave a fleet unfilled, which would change"
        )
    return None


def _adds_preferences(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> bool:
    """Whether a preference is requested that a study does not have."""
    old = [point["preference"] for point in stored["points"]]
    return any(point["preference"] is not None and point["preference"] not in old for point in requested["points"])


def is_code_comparable(stored: Mapping[str, Any]) -> bool:
    """Whether the digests of a stored study's code are of the present rule, or there are none."""
    return stored.get("rule") == RULE or not stored.get("code")


def list_unknown(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> list[str]:
    """List what of a resumed study cannot be compared, a sentence each."""
    if not is_code_comparable(stored):
        return ["cannot tell whether the code changed: an earlier version of paretomtl recorded it by another rule"]
    return [
        f"cannot tell whether {what}" for what in dict.fromkeys([*stored.get("unknown", []), *requested["unknown"]])
    ]


def _differing_lines(key: str, old: Any, new: Any, modules: tuple[list[str], list[str]]) -> Iterator[str]:
    if key == "front_model" and (old is None or new is None or old["kind"] != new["kind"]):
        yield _format_change(key, *(None if x is None else _format_front_model(x) for x in (old, new)))
    elif key == "numerics":
        yield from _entry_lines(old or {}, new or {}, "torch's ")
    elif type(old) is not type(new):
        yield _format_change(key, old, new)
    elif key in ("code", "measure_code"):
        yield from _code_lines(old, new, modules)
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
        if key == "budget":
            yield "  another budget is another study: its points end elsewhere"
    else:
        yield _format_change(key, old, new)


def _code_lines(old: Mapping[str, str], new: Mapping[str, str], modules: tuple[list[str], list[str]]) -> Iterator[str]:
    """Yield the parts of the code that changed; what a name stands for only where nothing else explains it."""
    if not old:  # schema 1 stored none
        yield "  the code: not known there"
        return
    changed = [part for part in sorted({*old, *new}) if old.get(part) != new.get(part)]
    for part in [part for part in changed if not part.startswith(BINDING)] or changed:
        what, before, after = name_part(part, modules[part in new]), old.get(part), new.get(part)
        known = "not known there, used here" if before is None else "used there, not here"
        yield f"  {what}: {'changed' if before and after else known}"


def name_part(part: str, modules: list[str]) -> str:
    """Return what a key of the code is, as a person reads it."""
    name = name_key(part, modules)
    if part.endswith(ARGUMENTS):
        return f"the arguments of the {name.removesuffix(ARGUMENTS)}"
    code, colon, argument = name.partition(": ")
    if colon:
        return f"the value of {argument} in {code}"
    return f"what {name} stands for" if part.startswith(BINDING) else f"the code of {name}"


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

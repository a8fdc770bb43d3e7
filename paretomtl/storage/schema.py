"""What front.json, study.json and a point's record may hold; and how files of older versions are read.

Schema 1 had no study.json, no seals and one seed; `points` and `preferences` were separate lists.
Schema 2 seals each file by its hash, names the study in each record, and adds code, data and several seeds.
Schema 3 names a study by what cannot grow, so that records stay when it grows; words statuses by what was certified;
and adds the angle to the ray in training.
"""

import dataclasses
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from paretomtl.errors import DamagedFileError, escape_controls
from paretomtl.normalisation import CORNERS, Normalisation
from paretomtl.objective import Objective, check_reference
from paretomtl.point import Code, Point
from paretomtl.storage.files import (
    check_name,
    encode_json,
    has_whole_seal,
    parse_json,
    seal_error,
    sha256,
    unseal_json,
)

SCHEMA = 3
GROWING = ("preferences", "seeds", "ref_point")  # what of a study can grow, each where its points do not depend on it
BESIDE = (
    "normalisation",
    "notes",
    "modules",
    "unknown",
    "state",
    "grows",
    "points",
    "seeds",
    "ref_point",
    "measured",
    "measure_code",
)
"""What the id of a study does not cover of its own; `_list_fixed` adds what cannot grow."""
MOST_POINTS = 100_000
SPLITS = ("validate", "test")
BY_OBJECTIVE = ("losses", "values")  # fields of a record that are {split: {objective: number}}
# words of schemas 1 and 2 that say more than was certified, and what they say now
STATUSES_OF_2 = {"solved": "trained", "suspected": "trained", "unreachable": "not converged"}
ERRORS = "errors"  # one more such field, only in records of problems whose measure returns standard errors
LARGEST_NUMBER = sys.float_info.max
MOST_COUNT = 2**63
LONGEST_TEXT = 300  # characters of a reason: an invalid value may be of any length
SCHEMA_LINE = re.compile(rb'^ "schema": ([0-9]{1,9})(?=,?\n)', re.MULTILINE)
HASHED = ("weights", "network", "recordings")  # fields of a record that name a file by its hash
HASH = re.compile(r"[0-9a-f]{64}")


def study_id(study: Mapping[str, Any], schema: int = SCHEMA) -> str:
    """Return the id of a study: a hash of what cannot grow; before schema 3, of all but the notes of the dry run."""
    beside = BESIDE if schema > 2 else ("notes",)
    covered = {key: value for key, value in study.items() if key not in beside}
    return sha256(encode_json(covered | (_list_fixed(study) if schema > 2 else {})))[:16]


def _list_fixed(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a study cannot grow, for its points depend on it."""
    fixed = {what: study[what] for what in ("seeds", "ref_point") if what not in growing(study)}
    if "preferences" not in growing(study):
        first = [point for point in study["points"] if point["seed"] == 0]
        fixed["points"] = [[point["preference"], point["corner"]] for point in first]
    return fixed


def growing(study: Mapping[str, Any]) -> Sequence[str]:
    """Return what of a study can grow; one of an earlier schema says it only by its kind."""
    by_kind = ("ref_point",) if study.get("walk") else () if study.get("refine") else ("seeds",)
    alone = not any(study.get(kind) for kind in ("walk", "refine", "front_model"))
    return study.get("grows", GROWING if alone else by_kind)


def check_schema(content: Mapping[str, Any], path: Any) -> int:
    """Return the schema of a file, if this version can read it."""
    schema = content.get("schema")
    if type(schema) is not int or schema < 1:
        raise DamagedFileError(f"{path}: schema {str(schema)[:40]!r} is not one of ours")
    if schema > SCHEMA:
        by = content.get("version")
        known = isinstance(by, str) and by.isprintable() and len(by) <= 40
        raise ValueError(
            f"{path}: schema {str(schema)[:40]} was written by paretomtl {by if known else 'of a later version'}; "
            f"this version reads up to schema {SCHEMA}: upgrade paretomtl to read it"
        )
    return schema


def open_json(data: bytes, path: Any) -> dict[str, Any]:
    """Parse one of our files; its seal is checked first, before anything takes memory, then its schema."""
    if has_whole_seal(data) is False and not _is_newer(data):
        raise seal_error(path)
    content = parse_json(data, path)
    try:
        schema = check_schema(content, path)
    except DamagedFileError:
        raise
    except ValueError as newer:
        try:
            unseal_json(content, data, path)
        except DamagedFileError:
            raise DamagedFileError(
                f"{newer}, unless it is damaged: it has no seal as this version makes them"
            ) from newer
        raise
    return content if schema == 1 else unseal_json(content, data, path)


def _is_newer(data: bytes) -> bool:
    """Whether a file says that a later version wrote it, which may seal its files in another way."""
    line = SCHEMA_LINE.search(data)
    return line is not None and int(line[1]) > SCHEMA


def read_study(content: Mapping[str, Any], path: Any) -> dict[str, Any]:
    """Read the study of front.json or study.json, checked, in the present schema."""
    study = content.get("study")
    try:
        if not isinstance(study, dict):
            raise ValueError("study is missing")
        if content["schema"] == 1:
            study = _from_schema_1(study)
        check_study(study)
        if content["schema"] > 1 and content.get("id") != study_id(study, content["schema"]):
            raise ValueError("its id is not that of its study")
        _check_simple(content.get("command"), "command")
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise DamagedFileError(f"{path} is damaged: {_describe_fault(error)}") from error
    return study


def _from_schema_1(study: dict[str, Any]) -> dict[str, Any]:
    study = dict(study)
    preferences, ids = study.pop("preferences"), study.pop("points")
    names = [o["name"] for o in study["objectives"]]
    points = [
        {"id": id, "preference": row, "corner": None, "seed": 0}
        for id, row in zip(ids[: len(preferences)], preferences, strict=True)
    ]
    for i, id in enumerate(ids[len(preferences) :]):
        alone = [float(j == i) for j in range(len(names))]
        points.append({"id": id, "preference": alone, "corner": names[i], "seed": 0})
    return study | {"points": points, "seeds": 1, "code": {}, "data": {}, "optimizer": None}


def check_study(study: Mapping[str, Any]) -> None:
    """Raise a ValueError, TypeError or KeyError if a study could not be read again."""
    objectives = [Objective(**o) for o in _check_list(study["objectives"], "objectives")]
    for o in objectives:
        _check_type(o.unit, str, "an objective's unit")
        _check_number(o.scale, "an objective's scale")
    names = [o.name for o in objectives]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"objectives {names} are not two or more different names")
    points = _check_list(study["points"], "points")
    if study["ref_point"] is not None or not any(point["corner"] for point in points):  # which will tell it
        check_reference(_check_numbers(study["ref_point"], "ref_point"), len(names))
    if len(points) > MOST_POINTS:
        raise ValueError(f"{len(points)} points, more than {MOST_POINTS}")
    placed_later = study.get("refine") is not None or study.get("walk") is not None
    for point in points:
        _check_entry(point, names, placed_later)
    if len({point["id"] for point in points}) < len(points):
        raise ValueError("two points have one id")
    splits = _check_list(study["splits"], "splits")
    if splits not in ([SPLITS[0]], list(SPLITS)):
        raise ValueError(f"splits {splits} are not {SPLITS[0]}, or {' and '.join(SPLITS)}")
    for note in _check_list(study["notes"], "notes"):
        _check_type(note, str, "a note")
    _check_type(study["measured"], bool, "measured")
    if not 1 <= _check_type(study["seeds"], int, "seeds") <= MOST_POINTS:
        raise ValueError(f"seeds is {study['seeds']}")
    if any(point["seed"] >= study["seeds"] for point in points):
        raise ValueError(f"a point's seed is not below the number of seeds, {study['seeds']}")
    _check_normalisation(study, len(names))
    if study.get("front_model") is not None:
        _check_front_model(_check_type(study["front_model"], dict, "front_model"))
        _check_type(study["bounded"], bool, "bounded")
    if study.get("fleet") is not None and _check_type(study["fleet"], int, "fleet") < 2:
        raise ValueError(f"fleet is {study['fleet']}")
    for key in ("code", "measure_code", "numerics", "budget", "versions", "refine", "walk"):
        _check_simple(study.get(key), key)
    for key in ("modules", "unknown", "state", "grows"):
        for text in _check_list(study.get(key, []), key):
            _check_type(text, str, f"a text of {key}")
    for split, facts in _check_type(study.get("data", {}), dict, "data").items():
        _check_simple(_check_type(facts, dict, "data"), f"the data of {split[:40]}")
        if not {"length", "first_and_last"} <= facts.keys():
            raise ValueError(f"the data of {split[:40]} are not known by their length and their ends")


def _check_normalisation(study: Mapping[str, Any], m: int) -> None:
    """Check the range of each loss, and where it is from; studies of earlier versions have neither."""
    normalise = study.get("normalise")
    for stored in (None if normalise == CORNERS else normalise, study.get("normalisation")):
        if stored is None:
            continue
        ideal, nadir = (
            _check_numbers(_check_type(stored, dict, "normalisation")[end], end) for end in Normalisation._fields
        )
        if not len(ideal) == len(nadir) == m or any(low >= high for low, high in zip(ideal, nadir, strict=True)):
            raise ValueError("the normalisation is not an ideal and a larger nadir for each objective")
        for note in _check_list(stored.get("notes", []), "notes"):
            _check_type(note, str, "a note")


def _check_entry(point: Any, names: Sequence[str], placed_later: bool) -> None:
    """Check a point's entry in a study."""
    check_name(_check_type(_check_type(point, dict, "a point")["id"], str, "a point's id"))
    if point["preference"] is None and point["corner"] is None and placed_later:
        pass  # earlier points determine its preference, which only its record holds
    else:
        _check_preference(_check_numbers(point["preference"], "preference"), len(names), point["id"])
    if point["corner"] is not None and point["corner"] not in names:
        raise ValueError(f"the corner of {point['id']} is none of the objectives")
    if _check_type(point["seed"], int, "a point's seed") < 0:
        raise ValueError(f"the seed of {point['id']} is negative")


def expected_ids(study: Mapping[str, Any], points: Sequence[Point]) -> list[str]:
    """Return the ids of the points of a complete study; a walk has none after the point where it ended or failed."""
    ids = [point["id"] for point in study["points"]]
    if study.get("walk") is None:
        return ids
    last = [ids.index(p.id) for p in points if p.state == "failed" or p.status == Code.ENDED.word]
    return ids[: min(last) + 1] if last else ids


def _check_preference(preference: Sequence[float], m: int, id: str) -> None:
    if len(preference) != m or min(preference) < 0 or not 0 < sum(preference) <= LARGEST_NUMBER:
        raise ValueError(f"the preference of {id} is not {m} numbers of at least 0, not all 0")


def _check_front_model(stored: dict[str, Any]) -> None:
    """Check a front model without its class; the class checks its own options when it is made again."""
    _check_type(stored.get("kind"), str, "front_model kind")
    _check_type(stored.get("sampling"), dict, "front_model sampling")
    for options in (stored, stored["sampling"]):
        for key, value in options.items():
            several = value if isinstance(value, list) else [value]
            _check_simple({} if key == "sampling" else dict(enumerate(several)), f"front_model {key[:40]}")


def _check_simple(mapping: Any, field: str) -> None:
    """Check that a mapping, if there is one, holds only texts, numbers and None."""
    for value in () if mapping is None else _check_type(mapping, dict, field).values():
        if value is not None and type(value) not in (str, int, float, bool):
            raise ValueError(f"{field} holds a {type(value).__name__}")


def to_record(point: Point, names: Sequence[str], study: str, schema: int = SCHEMA) -> dict[str, Any]:
    """Return a point as a record; numbers have the names of their objectives, so that a record can be read alone."""
    record = {"schema": schema, "study": study, **dataclasses.asdict(point)}
    for optional in ("network", ERRORS, "ray_angle", "recordings"):  # absent from records without them
        if record[optional] in (None, {}) or (optional == "ray_angle" and schema < 3):
            del record[optional]
    record["preference"] = dict(zip(names, point.preference, strict=True))
    for part in (*BY_OBJECTIVE, *([ERRORS] if point.errors else [])):
        record[part] = {s: dict(zip(names, row, strict=True)) for s, row in record[part].items()}
    return record


def read_record(
    record: dict[str, Any],
    entry: Mapping[str, Any],
    names: Sequence[str],
    splits: Sequence[str],
    study: str,
    path: Any,
) -> Point:
    """Read the point of a record, checked against its entry in the study."""
    try:
        if record["schema"] > 1 and record["study"] != study:
            raise ValueError(f"it belongs to study {record['study']!r}, not to {study!r}")
        fields = {key: value for key, value in record.items() if key not in ("schema", "study")}
        fields["preference"] = _read_by_name(record["preference"], names, "preference")
        for part in (*BY_OBJECTIVE, *([ERRORS] if ERRORS in record else [])):
            fields[part] = {
                s: _read_by_name(by_name, names, part) for s, by_name in _check_splits(record[part], part).items()
            }
        if record["schema"] < 3:
            fields["status"] = STATUSES_OF_2.get(record["status"], record["status"])
        fields["warnings"] = tuple(
            _check_type(text, str, "a warning") for text in _check_list(record["warnings"], "warnings")
        )
        point = Point(**fields)
        _check_point(point, splits)
        for key in ("id", "corner", "seed"):
            if getattr(point, key) != entry[key]:
                raise ValueError(f"its {key} is {getattr(point, key)!r}, not {entry[key]!r}")
        if entry["preference"] is None:
            _check_preference(point.preference, len(names), point.id)
        elif point.preference != tuple(entry["preference"]):
            raise ValueError(f"its preference is {point.preference}, not {tuple(entry['preference'])}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedFileError(f"{path} is not this point's record: {_describe_fault(error)}") from error
    return point


def _check_point(point: Point, splits: Sequence[str]) -> None:
    if point.state not in ("done", "failed"):
        raise ValueError(f"state {point.state!r}")
    for key in ("status", "reason", "trace", *HASHED):
        if getattr(point, key) is not None:
            _check_type(getattr(point, key), str, key)
    for key in HASHED:
        if getattr(point, key) is not None and not HASH.fullmatch(getattr(point, key)):
            raise ValueError(f"{key} {getattr(point, key)[:80]!r} is no SHA-256")
    for key in ("control_error", "residual", "ray_angle"):
        if getattr(point, key) is not None:
            _check_number(getattr(point, key), key)
    for key, count in _check_type(point.counts, dict, "counts").items():
        if not 0 <= _check_type(count, int, f"count {key}") < MOST_COUNT:
            raise ValueError(f"count {key} is {str(count)[:40]}")
    for part in BY_OBJECTIVE:
        if point.state == "done" and set(getattr(point, part)) != set(splits):
            raise ValueError(f"it is done, but has no {part} on exactly {' and '.join(splits)}")
    if point.errors and set(point.errors) != set(point.values):
        raise ValueError(f"it has {ERRORS} on {' and '.join(point.errors)} alone")
    if any(error < 0 for row in point.errors.values() for error in row):
        raise ValueError("a standard error is negative")
    if point.state == "done" and point.corner is None:
        _check_number(point.control_error, "control_error")


def _read_by_name(mapping: Any, names: Sequence[str], field: str) -> tuple[float, ...]:
    if set(_check_type(mapping, dict, field)) != set(names):
        raise ValueError(f"{field} has the names {sorted(mapping)[:20]}, not {list(names)}")
    return tuple(_check_number(mapping[name], field) for name in names)


def _check_splits(by_split: Any, field: str) -> dict[str, Any]:
    if not set(_check_type(by_split, dict, field)) <= set(SPLITS):
        raise ValueError(f"{field} has the splits {sorted(by_split)[:20]}")
    return by_split


def _check_numbers(values: Any, field: str) -> list[float]:
    return [_check_number(value, field) for value in _check_list(values, field)]


def _check_number(value: Any, field: str) -> float:
    if type(value) not in (int, float) or not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        raise ValueError(f"{field} holds {str(value)[:40]!r}, which is not a finite number")
    return float(value)


def _check_list(value: Any, field: str) -> list[Any]:
    return _check_type(value, list, field)


def _check_type(value: Any, kind: Callable, field: str) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{field} is {str(value)[:40]!r}, not of type {kind.__name__}")
    return value


def _describe_fault(error: Exception) -> str:
    text = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
    return escape_controls(text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…")

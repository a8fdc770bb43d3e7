"""Exchange of fronts with the outside: arrays, CSV tables, JSON."""

import dataclasses
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from paretomtl.objective import Objective, check_reference
from paretomtl.point import Point
from paretomtl.points import replicates
from paretomtl.points.score import check_losses
from paretomtl.preference import normalise
from paretomtl.storage import files, schema, table

StudyAndPoints = tuple[dict[str, Any], list[Point]]  # a study, as far as known, and its points


def from_values(
    values: Any,
    objectives: Sequence[str | Objective],
    ref_point: Sequence[float],
    preferences: Any = None,
    ids: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    errors: Any = None,
) -> StudyAndPoints:
    """Make a study without models, and its points; see `Front.from_values`."""
    objectives = as_objectives(objectives)
    names = [o.name for o in objectives]
    rows = check_losses(values, "values", len(names))
    signs = np.array([o.sign for o in objectives], dtype=np.float64)
    point_ids = [f"point-{k + 1:03d}" for k in range(len(rows))] if ids is None else [*map(str, ids)]
    if len(point_ids) != len(rows) or len(set(point_ids)) < len(point_ids):
        raise ValueError(f"ids: {len(set(point_ids))} different ones for {len(rows)} points; give one each")
    requested: list[tuple[float, ...]] = [()] * len(rows)
    if preferences is not None:
        if len(preferences) != len(rows):
            raise ValueError(f"preferences: {len(preferences)} rows for {len(rows)} points; give one each")
        requested = [_check_preference(r, len(names), f"preferences[{k}]") for k, r in enumerate(preferences)]
    point_seeds = [0] * len(rows) if seeds is None else list(seeds)
    points = [
        _make_point(id, r, value, value * signs, seed)
        for id, r, value, seed in zip(point_ids, requested, rows, point_seeds, strict=True)
    ]
    if errors is not None:
        points = [
            dataclasses.replace(p, errors={"validate": tuple(row)})
            for p, row in zip(points, _check_errors(errors, rows).tolist(), strict=True)
        ]
    study = {
        "objectives": [dataclasses.asdict(o) for o in objectives],
        "ref_point": (check_reference(ref_point, len(names)) * signs).tolist(),
        "points": [{"id": p.id, "preference": list(p.preference), "corner": None, "seed": p.seed} for p in points],
        "splits": ["validate"],
        "notes": [],
        "measured": any(o.goal == "max" for o in objectives),
        "seeds": max(point_seeds) + 1,
    }
    return study, points


def _check_errors(errors: Any, values: np.ndarray) -> np.ndarray:
    """Return standard errors as an array, checked against the values they belong to."""
    rows = check_losses(errors, "errors", values.shape[1])
    if rows.shape != values.shape or (rows < 0).any():
        raise ValueError(f"errors: shape {rows.shape}, least {rows.min():g}; give one of at least 0 for each value")
    return rows


def as_objectives(objectives: Sequence[str | Objective]) -> list[Objective]:
    """Return the objectives as `Objective`s: two or more, with different names."""
    if isinstance(objectives, str):
        raise TypeError(f"objectives={objectives!r} is one text; give a list of names")
    objectives = [o if isinstance(o, Objective) else Objective(o) for o in objectives]
    names = [o.name for o in objectives]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"objectives={names}: give two or more different names")
    return objectives


def _check_preference(row: Any, m: int, where: str) -> tuple[float, ...]:
    """Check a preference and normalise it; one on the simplex stays as it is, so that files are read as written."""
    on_simplex, array = normalise(row, m, where), np.asarray(row, dtype=np.float64)
    return tuple((array if np.allclose(array, on_simplex, rtol=0, atol=1e-12) else on_simplex).tolist())


def _make_point(id: str, r: tuple[float, ...], value: np.ndarray, loss: np.ndarray, seed: int) -> Point:
    return Point(
        files.check_name(id),
        r,
        losses={"validate": tuple(loss.tolist())},
        values={"validate": tuple(value.tolist())},
        control_error=replicates.ray_error(loss, r) if (loss >= 0).all() else None,
        seed=seed,
    )


def from_csv(
    path: str | Path, ref_point: Sequence[float], objectives: Sequence[str | Objective] | None
) -> StudyAndPoints:
    """Read a study without models, and its points; see `Front.from_csv`."""
    head, rows = table.read_columns(path)
    prefix = "value validate "
    if "state" in head and any(name.startswith(prefix) for name in head):
        rows = _select_points(head, rows)
    else:
        prefix = ""
    if objectives is None:
        objectives = [name[len(prefix) :] for name in head if name.startswith(prefix) and (prefix or name != "id")]
    names = [o.name if isinstance(o, Objective) else o for o in objectives]
    missing = [name for name in names if prefix + name not in head]
    if missing:
        present = ", ".join(map(repr, head)) or "none"
        raise ValueError(f"{path}: there is no column {prefix + missing[0]!r}; it has {present}")
    values = table.parse_numbers(path, rows, head, [prefix + name for name in names])
    if not values:
        raise ValueError(f"{path}: there is no point in it")
    columns = [f"preference {name}" for name in names]
    existing = {name for name in head if prefix and name.startswith("preference ")}
    # A preference among other objectives says nothing about these.
    known = existing == set(columns) and any(row[head.index(name)] for name in columns for _, row in rows)
    preferences = table.parse_numbers(path, rows, head, columns) if known else None
    ids = [row[head.index("id")] for _, row in rows] if "id" in head else None
    seeds = None
    if prefix and "seed" in head:
        cells = [number for (number,) in table.parse_numbers(path, rows, head, ["seed"])]
        seeds = [int(number) for number in cells]
        if seeds != cells or not all(0 <= seed < schema.MOST_POINTS for seed in seeds):
            raise ValueError(f"{path}: a seed is not a whole number of at least 0")
    columns = [f"error validate {name}" for name in names]
    errors = table.parse_numbers(path, rows, head, columns) if prefix and set(columns) <= set(head) else None
    return from_values(np.array(values, dtype=np.float64), objectives, ref_point, preferences, ids, seeds, errors)


def _select_points(head: list[str], rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Return the rows of a points.csv that are points of the front: successful ones, without corners."""
    corner, state = head.index("corner") if "corner" in head else None, head.index("state")
    return [(k, row) for k, row in rows if row[state] == "done" and (corner is None or not row[corner])]


def to_csv(path: str | Path, points: Sequence[Point], names: Sequence[str]) -> Path:
    """Write points as a table."""
    path = Path(path)
    files.write(path, table.format_csv(points, names).encode())
    return path


def to_json(path: str | Path, study: Mapping[str, Any], points: Sequence[Point], names: Sequence[str]) -> Path:
    """Write a study and its points as one JSON file."""
    path = Path(path)
    records = []
    for point in points:
        record = dataclasses.asdict(point)
        record["preference"] = dict(zip(names, point.preference, strict=False))
        for part in (*schema.BY_OBJECTIVE, schema.ERRORS):
            record[part] = {s: dict(zip(names, row, strict=True)) for s, row in record[part].items()}
        records.append(record)
    head = {"schema": schema.SCHEMA, "version": version("paretomtl")}
    files.write(path, files.encode_json(head | {"study": dict(study), "points": records}))
    return path

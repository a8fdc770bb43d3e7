"""Fronts from the results of other tools: Optuna's studies, pymoo's results, Ray's trials, pandas' tables.

No tool is imported to read its results: the readers use the attributes that the tool documents.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from paretomtl.errors import EmptyFrontError
from paretomtl.interop import exchange
from paretomtl.interop.exchange import StudyAndPoints
from paretomtl.objective import Objective
from paretomtl.point import Point
from paretomtl.storage import schema, table

Objectives = Sequence[str | Objective]
STATES = {"FAIL": "failed", "PRUNED": "pruned", "RUNNING": "running", "WAITING": "waiting"}  # states of Optuna's trials
MEASURE_PREFIX = "value/"  # before the names of measures in the reports of `pm.trainable`
VALUE_PREFIX = "value validate "  # before the names of measures in points.csv
NUMBER_KINDS = "iuf"  # numpy's kinds of real numbers
MISSING = "missing"


# --- Optuna ---


def from_optuna(study: Any, ref_point: Sequence[float], objectives: Objectives | None) -> StudyAndPoints:
    """Make a study without models, and its points; see `Front.from_optuna`."""
    _check_kind(study, "study", "an optuna.Study", "directions", "get_trials")
    goals = ["max" if direction.name == "MAXIMIZE" else "min" for direction in study.directions]
    if len(goals) < 2:
        raise ValueError("the study has one objective, so there is nothing to trade off; give a study of two or more")
    trials = study.get_trials(deepcopy=False)
    _check_size(len(trials), "the study", "trials")
    objectives, columns = _match_objectives(study, goals, objectives)
    reasons = [_exclusion_reason(trial) for trial in trials]
    included = [trial for trial, reason in zip(trials, reasons, strict=True) if reason is None]
    return _make_study(
        "trials",
        [[trial.values[k] for k in columns] for trial in included],
        [f"trial {trial.number}" for trial in included],
        objectives,
        ref_point,
        ids=[f"trial-{trial.number:04d}" for trial in included],
        left_out=Counter(reason for reason in reasons if reason),
    )


def _exclusion_reason(trial: Any) -> str | None:
    """Return why a trial is left out of the front; None if it is a point."""
    if trial.state.name != "COMPLETE":
        return STATES.get(trial.state.name, trial.state.name.lower())
    if hasattr(trial, "constraints"):
        bounds = trial.constraints.values()
    else:  # before Optuna 5
        bounds = trial.system_attrs.get("constraints") or ()
    return None if all(bound <= 0 for bound in bounds) else "infeasible"


def _match_objectives(
    study: Any, goals: Sequence[Any], objectives: Objectives | None
) -> tuple[list[Objective], list[int]]:
    """Return the objectives, and the index of each in the study."""
    known = study.metric_names
    if objectives is None and known is None:
        raise ValueError(
            f"the study has no metric names; give objectives=, a name for each of its {len(goals)} directions in their "
            "order, or call its set_metric_names"
        )
    specs = known if objectives is None else objectives
    requested = [o.name for o in exchange.as_objectives(specs)]
    names = requested if known is None else list(known)
    if len(names) != len(goals):
        raise ValueError(f"objectives={requested}: give {len(goals)} names, one for each direction of the study")
    missing = [name for name in requested if name not in names]
    if missing:
        raise ValueError(f"the study has no metric {missing[0]!r}; it has {table.shorten_list([*map(repr, names)])}")
    columns = [names.index(name) for name in requested]
    objectives = [
        o if isinstance(o, Objective) else Objective(o, goal=goals[k]) for o, k in zip(specs, columns, strict=True)
    ]
    for o, k in zip(objectives, columns, strict=True):
        if o.goal != goals[k]:
            raise ValueError(f"objective {o.name!r}: goal={o.goal!r}, but {goals[k]!r} is the study's direction")
    return objectives, columns


# --- pymoo ---


def from_pymoo(result: Any, ref_point: Sequence[float], objectives: Objectives) -> StudyAndPoints:
    """Make a study without models, and its points; see `Front.from_pymoo`."""
    _check_kind(result, "result", "what pymoo's minimize returned", "F", "opt")
    objectives = exchange.as_objectives(objectives)
    if result.F is None:
        raise EmptyFrontError("the result has no F: pymoo found no feasible solution; nothing can be said of the front")
    losses = np.asarray(result.F)
    if losses.ndim == 1:  # a single solution
        losses = losses[None]
    if losses.ndim == 2 and losses.shape[1] == 1:
        raise ValueError("the result has one objective, so there is nothing to trade off")
    if losses.ndim != 2 or losses.shape[1] != len(objectives):
        names = [o.name for o in objectives]
        raise ValueError(f"objectives={names}: F has shape {losses.shape}; give a name for each of its columns")
    _check_size(len(losses), "the result", "solutions")
    if losses.dtype.kind not in NUMBER_KINDS:
        raise ValueError(f"F holds {losses.dtype}; give a result whose F holds numbers")
    feasible = _find_feasible(result, len(losses))
    signs = np.array([o.sign for o in objectives])
    return _make_study(
        "solutions",
        (losses[feasible] * signs).tolist(),
        [f"F[{k}]" for k in np.flatnonzero(feasible)],
        objectives,
        ref_point,
        left_out=+Counter({"infeasible": int((~feasible).sum())}),
    )


def _find_feasible(result: Any, n: int) -> Bool[np.ndarray, " n"]:
    """Mark the feasible solutions; with `return_least_infeasible`, pymoo also returns infeasible ones."""
    if result.opt is None or len(result.opt) != n:
        return np.ones(n, dtype=bool)
    return np.array([bool(np.all(one.FEAS)) for one in result.opt])


# --- Ray ---


def from_ray(result_grid: Any, ref_point: Sequence[float], objectives: Objectives) -> StudyAndPoints:
    """Make a study without models, and its points; see `Front.from_ray`."""
    _check_kind(result_grid, "result_grid", "what Tuner.fit returned", "num_errors", "__getitem__")
    objectives = exchange.as_objectives(objectives)
    names = [o.name for o in objectives]
    n = len(result_grid)
    _check_size(n, "the result grid", "trials")
    reports = {k: result_grid[k].metrics or {} for k in range(n) if result_grid[k].error is None}
    for name in names:
        if reports and all(_metric(metrics, name) is MISSING for metrics in reports.values()):
            reported = [repr(key) for key in next(iter(reports.values()))]
            raise ValueError(f"no trial reports {name!r}; the first one reports {table.shorten_list(reported)}")
    ids = {k: str(metrics.get("trial_id", f"trial-{k:04d}")) for k, metrics in reports.items()}
    return _make_study(
        "trials",
        [[_metric(metrics, name) for name in names] for metrics in reports.values()],
        [f"trial {k} ({id})" for k, id in ids.items()],
        objectives,
        ref_point,
        preferences=_read_preferences([*reports.values()], names),
        ids=[*ids.values()],
        left_out=+Counter({"failed": n - len(reports)}),
    )


def _metric(metrics: Mapping[str, Any], name: str) -> Any:
    return metrics.get(name, metrics.get(MEASURE_PREFIX + name, MISSING))


def _read_preferences(reports: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[list[Any]] | None:
    """Return the preferences in the trials' configs; None unless each trial has one among exactly these objectives."""
    rows = []
    for metrics in reports:
        preference = (metrics.get("config") or {}).get("preference")
        if not isinstance(preference, Mapping):
            # `pm.trainable` reports in the order of its problem, which is also that of a list of numbers
            order = [key.removeprefix(MEASURE_PREFIX) for key in metrics if key.startswith(MEASURE_PREFIX)] or names
            if not isinstance(preference, (list, tuple, np.ndarray)) or len(preference) != len(order):
                return None
            preference = dict(zip(order, preference, strict=True))
        if set(preference) != set(names):
            return None
        rows.append([preference[name] for name in names])
    return rows


# --- pandas ---


def from_frame(frame: Any, ref_point: Sequence[float], objectives: Objectives | None) -> StudyAndPoints:
    """Make a study without models, and its points; see `Front.from_frame`."""
    _check_kind(frame, "frame", "a pandas.DataFrame", "columns", "index", "isna")
    n = len(frame)
    _check_size(n, "the frame", "rows")
    head = list(frame.columns)
    if len(set(head)) < len(head):
        twice = [repr(name) for name, times in Counter(head).items() if times > 1]
        raise ValueError(f"two columns of the frame have one name: {table.shorten_list(twice)}")
    is_ours = "state" in head and any(name == "corner" or str(name).startswith(VALUE_PREFIX) for name in head)
    prefix, left_out = VALUE_PREFIX if is_ours else "", Counter()
    if is_ours:
        left_out.update(state for state in frame["state"].astype(str).tolist() if state != "done")
        frame = frame[frame["state"] == "done"]
        if "corner" in head:  # corners are no points of the front, as in from_csv
            frame = frame[_is_blank(frame["corner"])]
    _check_nonempty(len(frame), "rows", left_out)
    objectives = exchange.as_objectives(_default_objectives(frame, head, prefix) if objectives is None else objectives)
    names = [o.name for o in objectives]
    labels = [f"row {label}" for label in frame.index.tolist()]
    preference_columns = [f"preference {name}" for name in names]
    # A preference among other objectives says nothing about these.
    has_preferences = {name for name in head if str(name).startswith("preference ")} == set(preference_columns)
    return _make_study(
        "rows",
        _read_numbers(frame, [prefix + name for name in names], labels),
        labels,
        objectives,
        ref_point,
        preferences=_read_optional_numbers(frame, preference_columns, labels) if has_preferences else None,
        ids=_read_ids(frame, labels) if "id" in head else None,
        seeds=_read_seeds(frame, labels) if "seed" in head else None,
        errors=_read_optional_numbers(frame, [f"error validate {name}" for name in names], labels) if is_ours else None,
        left_out=left_out,
    )


def _default_objectives(frame: Any, head: Sequence[Any], prefix: str) -> list[Any]:
    """Return the names of a frame's objectives, where the user gives none."""
    if prefix:
        return [str(name).removeprefix(prefix) for name in head if str(name).startswith(prefix)]
    free = [name for name in head if name not in ("id", "seed") and not str(name).startswith("preference ")]
    return [name for name in free if _holds_numbers(frame[name])]


def _holds_numbers(column: Any) -> bool:
    return getattr(column.dtype, "kind", "O") in NUMBER_KINDS


def _read_numbers(frame: Any, columns: Sequence[str], labels: Sequence[str]) -> list[list[float]]:
    """Return columns as rows of finite numbers."""
    for name in columns:
        if name not in frame.columns:
            existing = [repr(other) for other in frame.columns]
            raise ValueError(f"the frame has no column {name!r}; it has {table.shorten_list(existing)}")
        if not _holds_numbers(frame[name]):
            raise ValueError(f"column {name!r} of the frame holds {frame[name].dtype}; give a column of numbers")
    arrays = [frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in columns]
    rows = np.stack(arrays, axis=1).tolist()
    _check_finite("rows", rows, labels, columns)
    return rows


def _read_optional_numbers(frame: Any, columns: Sequence[str], labels: Sequence[str]) -> list[list[float]] | None:
    """Return columns as rows of numbers; None if the frame lacks one, or if all are blank."""
    if not set(columns) <= set(frame.columns) or all(_is_blank(frame[name]).all() for name in columns):
        return None
    return _read_numbers(frame, columns, labels)


def _read_ids(frame: Any, labels: Sequence[str]) -> list[str]:
    missing = [label for label, blank in zip(labels, _is_blank(frame["id"]), strict=True) if blank]
    if missing:
        raise ValueError(f"every row needs an id, or none has one; there is none in {table.shorten_list(missing)}")
    return [str(id) for id in frame["id"].tolist()]


def _read_seeds(frame: Any, labels: Sequence[str]) -> list[int]:
    seeds = [seed for (seed,) in _read_numbers(frame, ["seed"], labels)]
    odd = [
        f"{label}: {seed:g}"
        for label, seed in zip(labels, seeds, strict=True)
        if seed != int(seed) or not 0 <= seed < schema.MOST_POINTS
    ]
    if odd:
        raise ValueError(
            f"a seed is a whole number from 0 to {schema.MOST_POINTS - 1}, not so in {table.shorten_list(odd)}"
        )
    return [int(seed) for seed in seeds]


def _is_blank(column: Any) -> Any:
    return column.isna() | (column == "")


def to_frame(points: Sequence[Point], names: Sequence[str]) -> Any:
    """Return points as a DataFrame; see `Front.to_frame`."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_frame needs pandas: pip install pandas") from error
    columns, rows = table.table_cells(points, names)
    return pandas.DataFrame(rows, columns=columns)


# --- shared by all readers ---


def _make_study(
    noun: str,
    rows: Sequence[Sequence[Any]],
    labels: Sequence[str],
    objectives: Sequence[Objective],
    ref_point: Sequence[float],
    *,
    preferences: Any = None,
    ids: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    errors: Any = None,
    left_out: Counter[str],
) -> StudyAndPoints:
    """Make points of rows of values, all numbers checked; a note counts the rows left out, with reasons."""
    _check_nonempty(len(rows), noun, left_out)
    _check_finite(noun, rows, labels, [o.name for o in objectives])
    study, points = exchange.from_values(rows, objectives, ref_point, preferences, ids, seeds, errors)
    if left_out:
        n = left_out.total()
        study["notes"].append(f"{n} of {len(rows) + n} {noun} left out: {_format_exclusions(left_out)}")
    return study, points


def _format_exclusions(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} {why}" for why, count in sorted(left_out.items()))


def _check_nonempty(n: int, noun: str, left_out: Counter[str]) -> None:
    if not n:
        why = f" ({_format_exclusions(left_out)})" if left_out else ""
        raise EmptyFrontError(f"there is no point among the {noun}{why}, so nothing can be said of the front")


def _check_kind(value: Any, name: str, kind: str, *needed: str) -> None:
    if isinstance(value, type) or not all(hasattr(value, attribute) for attribute in needed):
        raise TypeError(f"{name}= is of type {type(value).__name__}; give {kind}")


def _check_size(n: int, where: str, noun: str) -> None:
    if n > schema.MOST_POINTS:
        raise ValueError(f"{where} has {n:,} {noun}; a front has at most {schema.MOST_POINTS:,} points")


def _check_finite(noun: str, rows: Iterable[Sequence[Any]], labels: Sequence[str], names: Sequence[str]) -> None:
    faults = []
    for label, row in zip(labels, rows, strict=True):
        odd = [f"{name} is {str(x)[:40]}" for name, x in zip(names, row, strict=True) if not _is_finite(x)]
        if odd:
            faults.append(f"{label}: {', '.join(odd)}")
    if faults:
        raise ValueError(f"all {noun} need finite numbers; {table.shorten_list(faults)}. Mend these, or leave them out")


def _is_finite(x: Any) -> bool:
    """Whether `x` is a finite number; a bool is not."""
    if isinstance(x, bool) or not isinstance(x, (int, float, np.integer, np.floating)):
        return False
    try:
        return math.isfinite(x)
    except OverflowError:  # an integer beyond all floats
        return False

"""Fronts of what other tools found: Optuna's studies, pymoo's results, Ray's trials, tables of pandas.

None of them is imported to read from it: what is given is asked for what its tool documents.
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

Described = Sequence[str | Objective]
STATES = {"FAIL": "failed", "PRUNED": "pruned", "RUNNING": "running", "WAITING": "waiting"}  # of Optuna's trials
MEASURED = "value/"  # before the names of what `pm.trainable` reports of its measures
NUMBERED = "value validate "  # before the names of the measures in points.csv
KINDS = "iuf"  # of numpy's types: those of real numbers
MISSING = "missing"


# --- Optuna ---


def from_optuna(study: Any, ref_point: Sequence[float], objectives: Described | None) -> StudyAndPoints:
    """A study without models, and its points; see `Front.from_optuna`."""
    _check_kind(study, "study", "an optuna.Study", "directions", "get_trials")
    goals = ["max" if direction.name == "MAXIMIZE" else "min" for direction in study.directions]
    if len(goals) < 2:
        raise ValueError("the study has one objective, so there is nothing to trade off; give a study of two or more")
    trials = study.get_trials(deepcopy=False)
    _check_size(len(trials), "the study", "trials")
    described, columns = _study_objectives(study, goals, objectives)
    states = [_exclusion_reason(trial) for trial in trials]
    kept = [trial for trial, state in zip(trials, states, strict=True) if state is None]
    return _study_and_points(
        "trials",
        [[trial.values[k] for k in columns] for trial in kept],
        [f"trial {trial.number}" for trial in kept],
        described,
        ref_point,
        ids=[f"trial-{trial.number:04d}" for trial in kept],
        left_out=Counter(state for state in states if state),
    )


def _exclusion_reason(trial: Any) -> str | None:
    """Why a trial is no point of the front; None for one that is."""
    if trial.state.name != "COMPLETE":
        return STATES.get(trial.state.name, trial.state.name.lower())
    if hasattr(trial, "constraints"):
        bounds = trial.constraints.values()
    else:  # before Optuna 5
        bounds = trial.system_attrs.get("constraints") or ()
    return None if all(bound <= 0 for bound in bounds) else "infeasible"


def _study_objectives(
    study: Any, goals: Sequence[Any], objectives: Described | None
) -> tuple[list[Objective], list[int]]:
    """The objectives, and the place of each among the study's."""
    known = study.metric_names
    if objectives is None and known is None:
        raise ValueError(
            f"the study has no metric names; give objectives=, a name for each of its {len(goals)} directions in their "
            "order, or call its set_metric_names"
        )
    given = known if objectives is None else objectives
    asked = [o.name for o in exchange.as_objectives(given)]
    names = asked if known is None else list(known)
    if len(names) != len(goals):
        raise ValueError(f"objectives={asked}: give {len(goals)} names, one for each direction of the study")
    missing = [name for name in asked if name not in names]
    if missing:
        raise ValueError(f"the study has no metric {missing[0]!r}; it has {table.shorten_list([*map(repr, names)])}")
    columns = [names.index(name) for name in asked]
    described = [
        o if isinstance(o, Objective) else Objective(o, goal=goals[k]) for o, k in zip(given, columns, strict=True)
    ]
    for o, k in zip(described, columns, strict=True):
        if o.goal != goals[k]:
            raise ValueError(f"objective {o.name!r}: goal={o.goal!r}, but {goals[k]!r} is the study's direction")
    return described, columns


# --- pymoo ---


def from_pymoo(result: Any, ref_point: Sequence[float], objectives: Described) -> StudyAndPoints:
    """A study without models, and its points; see `Front.from_pymoo`."""
    _check_kind(result, "result", "what pymoo's minimize returned", "F", "opt")
    described = exchange.as_objectives(objectives)
    if result.F is None:
        raise EmptyFrontError("the result has no F: pymoo found no feasible solution; nothing can be said of the front")
    losses = np.asarray(result.F)
    if losses.ndim == 1:  # a single solution
        losses = losses[None]
    if losses.ndim == 2 and losses.shape[1] == 1:
        raise ValueError("the result has one objective, so there is nothing to trade off")
    if losses.ndim != 2 or losses.shape[1] != len(described):
        names = [o.name for o in described]
        raise ValueError(f"objectives={names}: F has shape {losses.shape}; give a name for each of its columns")
    _check_size(len(losses), "the result", "solutions")
    if losses.dtype.kind not in KINDS:
        raise ValueError(f"F holds {losses.dtype}; give a result whose F holds numbers")
    feasible = _feasible(result, len(losses))
    signs = np.array([o.sign for o in described])
    return _study_and_points(
        "solutions",
        (losses[feasible] * signs).tolist(),
        [f"F[{k}]" for k in np.flatnonzero(feasible)],
        described,
        ref_point,
        left_out=+Counter({"infeasible": int((~feasible).sum())}),
    )


def _feasible(result: Any, n: int) -> Bool[np.ndarray, " n"]:
    """Which solutions keep the constraints; `return_least_infeasible` has pymoo hand back some that do not."""
    if result.opt is None or len(result.opt) != n:
        return np.ones(n, dtype=bool)
    return np.array([bool(np.all(one.FEAS)) for one in result.opt])


# --- Ray ---


def from_ray(result_grid: Any, ref_point: Sequence[float], objectives: Described) -> StudyAndPoints:
    """A study without models, and its points; see `Front.from_ray`."""
    _check_kind(result_grid, "result_grid", "what Tuner.fit returned", "num_errors", "__getitem__")
    described = exchange.as_objectives(objectives)
    names = [o.name for o in described]
    n = len(result_grid)
    _check_size(n, "the result grid", "trials")
    kept = {k: result_grid[k].metrics or {} for k in range(n) if result_grid[k].error is None}
    for name in names:
        if kept and all(_metric(metrics, name) is MISSING for metrics in kept.values()):
            there = [repr(key) for key in next(iter(kept.values()))]
            raise ValueError(f"no trial reports {name!r}; the first one reports {table.shorten_list(there)}")
    ids = {k: str(metrics.get("trial_id", f"trial-{k:04d}")) for k, metrics in kept.items()}
    return _study_and_points(
        "trials",
        [[_metric(metrics, name) for name in names] for metrics in kept.values()],
        [f"trial {k} ({id})" for k, id in ids.items()],
        described,
        ref_point,
        preferences=_reported_preferences([*kept.values()], names),
        ids=[*ids.values()],
        left_out=+Counter({"failed": n - len(kept)}),
    )


def _metric(metrics: Mapping[str, Any], name: str) -> Any:
    return metrics.get(name, metrics.get(MEASURED + name, MISSING))


def _reported_preferences(reports: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[list[Any]] | None:
    """The preferences in the trials' configs, if all have one; of other objectives than these, nothing was asked."""
    rows = []
    for metrics in reports:
        given = (metrics.get("config") or {}).get("preference")
        if not isinstance(given, Mapping):
            # `pm.trainable` reports in the order of its problem, which is also that of a list of numbers
            order = [key.removeprefix(MEASURED) for key in metrics if key.startswith(MEASURED)] or names
            if not isinstance(given, (list, tuple, np.ndarray)) or len(given) != len(order):
                return None
            given = dict(zip(order, given, strict=True))
        if set(given) != set(names):
            return None
        rows.append([given[name] for name in names])
    return rows


# --- pandas ---


def from_frame(frame: Any, ref_point: Sequence[float], objectives: Described | None) -> StudyAndPoints:
    """A study without models, and its points; see `Front.from_frame`."""
    _check_kind(frame, "frame", "a pandas.DataFrame", "columns", "index", "isna")
    n = len(frame)
    _check_size(n, "the frame", "rows")
    head = list(frame.columns)
    if len(set(head)) < len(head):
        twice = [repr(name) for name, times in Counter(head).items() if times > 1]
        raise ValueError(f"two columns of the frame have one name: {table.shorten_list(twice)}")
    ours = "state" in head and any(name == "corner" or str(name).startswith(NUMBERED) for name in head)
    prefix, left_out = NUMBERED if ours else "", Counter()
    if ours:
        left_out.update(state for state in frame["state"].astype(str).tolist() if state != "done")
        frame = frame[frame["state"] == "done"]
        if "corner" in head:  # no point of the front, as in from_csv
            frame = frame[_blank(frame["corner"])]
    _check_some(len(frame), "rows", left_out)
    described = exchange.as_objectives(_columns(frame, head, prefix) if objectives is None else objectives)
    names = [o.name for o in described]
    labels = [f"row {label}" for label in frame.index.tolist()]
    asked = [f"preference {name}" for name in names]
    known = {name for name in head if str(name).startswith("preference ")} == set(asked)  # of fewer, nothing was asked
    return _study_and_points(
        "rows",
        _numbers(frame, [prefix + name for name in names], labels),
        labels,
        described,
        ref_point,
        preferences=_optional_numbers(frame, asked, labels) if known else None,
        ids=_ids(frame, labels) if "id" in head else None,
        seeds=_seeds(frame, labels) if "seed" in head else None,
        errors=_optional_numbers(frame, [f"error validate {name}" for name in names], labels) if ours else None,
        left_out=left_out,
    )


def _columns(frame: Any, head: Sequence[Any], prefix: str) -> list[Any]:
    """The objectives of a frame, where none are given."""
    if prefix:
        return [str(name).removeprefix(prefix) for name in head if str(name).startswith(prefix)]
    free = [name for name in head if name not in ("id", "seed") and not str(name).startswith("preference ")]
    return [name for name in free if _holds_numbers(frame[name])]


def _holds_numbers(column: Any) -> bool:
    return getattr(column.dtype, "kind", "O") in KINDS


def _numbers(frame: Any, columns: Sequence[str], labels: Sequence[str]) -> list[list[float]]:
    """Columns as rows of numbers; NaN where there is none."""
    for name in columns:
        if name not in frame.columns:
            there = [repr(other) for other in frame.columns]
            raise ValueError(f"the frame has no column {name!r}; it has {table.shorten_list(there)}")
        if not _holds_numbers(frame[name]):
            raise ValueError(f"column {name!r} of the frame holds {frame[name].dtype}; give a column of numbers")
    found = [frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in columns]
    rows = np.stack(found, axis=1).tolist()
    _check_finite("rows", rows, labels, columns)
    return rows


def _optional_numbers(frame: Any, columns: Sequence[str], labels: Sequence[str]) -> list[list[float]] | None:
    """Columns as rows of numbers, if the frame has them, and anything in them."""
    if not set(columns) <= set(frame.columns) or all(_blank(frame[name]).all() for name in columns):
        return None
    return _numbers(frame, columns, labels)


def _ids(frame: Any, labels: Sequence[str]) -> list[str]:
    missing = [label for label, blank in zip(labels, _blank(frame["id"]), strict=True) if blank]
    if missing:
        raise ValueError(f"every row needs an id, or none has one; there is none in {table.shorten_list(missing)}")
    return [str(id) for id in frame["id"].tolist()]


def _seeds(frame: Any, labels: Sequence[str]) -> list[int]:
    found = [seed for (seed,) in _numbers(frame, ["seed"], labels)]
    odd = [
        f"{label}: {seed:g}"
        for label, seed in zip(labels, found, strict=True)
        if seed != int(seed) or not 0 <= seed < schema.MOST_POINTS
    ]
    if odd:
        raise ValueError(
            f"a seed is a whole number from 0 to {schema.MOST_POINTS - 1}, not so in {table.shorten_list(odd)}"
        )
    return [int(seed) for seed in found]


def _blank(column: Any) -> Any:
    return column.isna() | (column == "")


def to_frame(points: Sequence[Point], names: Sequence[str]) -> Any:
    """Points as a table; see `Front.to_frame`."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_frame needs pandas: pip install pandas") from error
    columns, rows = table.table_cells(points, names)
    return pandas.DataFrame(rows, columns=columns)


# --- what all have in common ---


def _study_and_points(
    what: str,
    rows: Sequence[Sequence[Any]],
    labels: Sequence[str],
    described: Sequence[Objective],
    ref_point: Sequence[float],
    *,
    preferences: Any = None,
    ids: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    errors: Any = None,
    left_out: Counter[str],
) -> StudyAndPoints:
    """Rows of values as points, each number checked; and in a note, how many were left out, and why."""
    _check_some(len(rows), what, left_out)
    _check_finite(what, rows, labels, [o.name for o in described])
    study, points = exchange.from_values(rows, described, ref_point, preferences, ids, seeds, errors)
    if left_out:
        n = left_out.total()
        study["notes"].append(f"{n} of {len(rows) + n} {what} left out: {_exclusion_notes(left_out)}")
    return study, points


def _exclusion_notes(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} {why}" for why, count in sorted(left_out.items()))


def _check_some(n: int, what: str, left_out: Counter[str]) -> None:
    if not n:
        why = f" ({_exclusion_notes(left_out)})" if left_out else ""
        raise EmptyFrontError(f"there is no point among the {what}{why}, so nothing can be said of the front")


def _check_kind(given: Any, name: str, kind: str, *needed: str) -> None:
    if isinstance(given, type) or not all(hasattr(given, attribute) for attribute in needed):
        raise TypeError(f"{name}= is of type {type(given).__name__}; give {kind}")


def _check_size(n: int, where: str, what: str) -> None:
    if n > schema.MOST_POINTS:
        raise ValueError(f"{where} has {n:,} {what}; a front has at most {schema.MOST_POINTS:,} points")


def _check_finite(what: str, rows: Iterable[Sequence[Any]], labels: Sequence[str], names: Sequence[str]) -> None:
    refused = []
    for label, row in zip(labels, rows, strict=True):
        odd = [f"{name} is {str(x)[:40]}" for name, x in zip(names, row, strict=True) if not _finite(x)]
        if odd:
            refused.append(f"{label}: {', '.join(odd)}")
    if refused:
        raise ValueError(
            f"all {what} need finite numbers; {table.shorten_list(refused)}. Mend these, or leave them out"
        )


def _finite(x: Any) -> bool:
    """Whether it is a finite number; a truth value is none."""
    if isinstance(x, bool) or not isinstance(x, (int, float, np.integer, np.floating)):
        return False
    try:
        return math.isfinite(x)
    except OverflowError:  # a whole number beyond all floats
        return False

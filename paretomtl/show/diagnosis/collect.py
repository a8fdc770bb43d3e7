"""Collect the facts of a diagnosis from what was measured and recorded."""

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations
from typing import Any

import numpy as np
from jaxtyping import Float

from paretomtl.diagnosis.groups import group_tasks
from paretomtl.diagnosis.transfer import Estimate, Records, Transfer, summarise
from paretomtl.show.diagnosis.facts import Curve, DiagnosisFacts, Difference, Factor, HeatMap, Panel, Strip, TaskFinding

COLUMNS = 60  # of a heat map, at most: with more, steps are averaged
LEVELS = 50  # of the mean of the gap curves
MOST_GROUPS = 3
FACTORS = (  # recorder, key and title
    ("noise", "scale", "noise scale"),
    ("noise", "debiased_coherence", "coherence of gradients, debiased"),
    ("curvature", "sharpness", "largest eigenvalue of the Hessian"),
    ("fisher", "trace", "trace of the Fisher information"),
)


def collect_diagnosis(
    transfers: Sequence[Transfer],
    joint: Sequence[Records],
    alone: Sequence[Sequence[Records]],
    notes: Sequence[str],
    effects: Mapping[str, Float[np.ndarray, "2 m"]],
) -> DiagnosisFacts:
    """Collect what the report shows.

    Args:
        transfers: what training together did to each task.
        joint: the records of the joint training, one a seed.
        alone: for each task those of its own training, one a seed.
        notes: sentences on conflict.
        effects: by method, each task's mean difference to the joint training, and half of its interval.
    """
    names = tuple(transfer.task for transfer in transfers)
    cosines = _collect_tables(joint, "conflict", "cosines", len(names))
    affinity = _collect_tables(joint, "affinity", "affinity", len(names))
    pairs, ordered = (list(kind(range(len(names)), 2)) for kind in (combinations, permutations))
    return DiagnosisFacts(
        names,
        transfers[0].end.n,
        summarise(transfers),
        [_collect_task(transfer) for transfer in transfers],
        list(notes),
        None if cosines is None else _make_heat_map("cosine of gradients", *cosines, names, " · ", pairs, limit=1.0),
        None if affinity is None else _make_heat_map("affinity", *affinity, names, " → ", ordered),
        [] if affinity is None else _describe_groups(affinity[1], names),
        [_collect_gap(transfer) for transfer in transfers],
        [factor for names_of in FACTORS if (factor := _collect_factor(*names_of, names, joint, alone)) is not None],
        {
            name: [Difference(method, *map(float, table[:, i])) for method, table in effects.items()]
            for i, name in enumerate(names)
        },
    )


def _collect_task(transfer: Transfer) -> TaskFinding:
    labels = ("validation loss at the end", "at equal training loss", "training loss at the end")
    estimates = (transfer.end, transfer.gap, transfer.train)
    return TaskFinding(
        transfer.task, transfer.verdict, [_to_difference(*pair) for pair in zip(labels, estimates, strict=True)]
    )


def _to_difference(label: str, estimate: Estimate) -> Difference:
    half = np.nan if estimate.half_width is None else estimate.half_width
    return Difference(label, estimate.mean if estimate.n else np.nan, half)


# --- heat maps ---


def _collect_tables(
    records: Sequence[Records], recorder: str, key: str, m: int
) -> tuple[list[int], Float[np.ndarray, "k m m"]] | None:
    """Return the steps and the mean tables over the seeds, at the steps that all seeds have; None without any."""
    found = [{entry["step"]: entry[key] for entry in one.get(recorder, ())} for one in records]
    steps = sorted(set.intersection(*map(set, found)))
    if not steps:
        return None
    tables = np.array([[one[step] for step in steps] for one in found], dtype=float)
    if tables.shape[2:] != (m, m):
        raise ValueError(f"the records of {recorder} have tables of {tables.shape[2:]}; they are of {m} tasks")
    return steps, _mean(tables)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of what is defined; NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)


def _make_heat_map(
    title: str,
    steps: list[int],
    tables: Float[np.ndarray, "k m m"],
    names: Sequence[str],
    between: str,
    pairs: Sequence[tuple[int, int]],
    limit: float | None = None,
) -> HeatMap:
    parts = np.array_split(np.arange(len(steps)), min(COLUMNS, len(steps)))
    strips = [
        Strip(
            (names[i], names[j]),
            between,
            np.array([_mean(tables[part, i, j]) for part in parts]),
            float(_mean(tables[:, i, j])),
        )
        for i, j in pairs
    ]
    if limit is None:
        sizes = np.abs([strip.values for strip in strips])
        sizes = sizes[np.isfinite(sizes)]
        limit = float(np.quantile(sizes, 0.98)) if len(sizes) else 0.0  # a few large values would pale all others
    return HeatMap(title, [steps[part[0]] for part in parts], strips, limit or 1.0)


def _describe_groups(tables: Float[np.ndarray, "k m m"], names: Sequence[str]) -> list[str]:
    """Say which tasks to train together, by the mean affinity; for each number of groups one sentence."""
    table, sentences = _mean(tables), []
    for groups in range(1, min(MOST_GROUPS, len(names) - 1) + 1):
        try:
            found = group_tasks(table, groups)
        except ValueError as error:
            return [f"No groups: {error}."]
        texts = [" + ".join(names[i] for i in group) for group in found.groups]
        if len(texts) == groups:  # fewer are the same as before
            count = "one group" if groups == 1 else f"{groups} groups"
            sentences.append(f"{count}: {'; '.join(texts)} (score {found.score:.3g})")
    return sentences


# --- panels ---


def _collect_gap(transfer: Transfer) -> Panel:
    curves = [curve for curve in transfer.curves if len(curve.gap)]
    n = len(transfer.curves)
    lines = [Curve("joint", False, curve.train[::-1], curve.gap[::-1]) for curve in curves]
    if not lines:
        return Panel(transfer.task, [], "undefined: the two trainings have no training loss in common")
    if len(lines) == 1:
        lines = [lines[0]._replace(mean=True)]
    low, high = max(line.x[0] for line in lines), min(line.x[-1] for line in lines)
    if len(lines) > 1 and low <= high:
        x = np.linspace(low, high, LEVELS if low < high else 1)
        mean = np.mean([np.interp(x, line.x, line.y) for line in lines], axis=0)
        lines.append(Curve("joint", True, x, mean))
    left_out = n - len(curves)
    return Panel(transfer.task, lines, f"undefined in {left_out} of {n} seeds" if left_out else None)


def _collect_factor(
    recorder: str,
    key: str,
    title: str,
    names: Sequence[str],
    joint: Sequence[Records],
    alone: Sequence[Sequence[Records]],
) -> Factor | None:
    panels = []
    for i, name in enumerate(names):
        curves = []
        for kind, runs in (("alone", alone[i]), ("joint", joint)):
            lines = [_read_curve(one.get(recorder, ()), key, i, name) for one in runs]
            curves += _add_mean(kind, [line for line in lines if len(line)])
        panels.append(Panel(name, curves, None if curves else "not recorded"))
    return Factor(title, panels) if any(panel.curves for panel in panels) else None


def _read_curve(entries: Sequence[Mapping[str, Any]], key: str, i: int, name: str) -> Float[np.ndarray, "k 2"]:
    """Return steps and values of a task, where they are defined; the values are by task, in a list or a dict."""
    rows = []
    for entry in entries:
        values = entry[key]
        value = values.get(name) if isinstance(values, Mapping) else values[i]
        if value is not None and np.isfinite(float(value)):
            rows.append((entry["step"], float(value)))
    return np.array(rows, dtype=float).reshape(-1, 2)


def _add_mean(kind: str, lines: Sequence[Float[np.ndarray, "_ 2"]]) -> list[Curve]:
    """Return the curves, and their mean at the steps that all have; of one curve, itself."""
    if len(lines) == 1:
        return [Curve(kind, True, *lines[0].T)]
    curves = [Curve(kind, False, *line.T) for line in lines]
    steps = sorted(set.intersection(*(set(line[:, 0]) for line in lines))) if lines else []
    if steps:
        rows = [[dict(line.tolist())[step] for step in steps] for line in lines]
        curves.append(Curve(kind, True, np.array(steps), np.mean(rows, axis=0)))
    return curves

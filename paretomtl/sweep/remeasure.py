"""Measuring the points of a front again, from their stored weights: after a failure, or with another measure."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from paretomtl.errors import DamagedFileError
from paretomtl.normalisation import read_normalisation
from paretomtl.point import Point
from paretomtl.points.replicates import ray_error
from paretomtl.preflight.description import describe_difference, find_growth
from paretomtl.preflight.known_data import fingerprint_data
from paretomtl.preflight.measure_again import describe_with_measure, fingerprint_problem
from paretomtl.preflight.measure_check import check_measuring, first_batches
from paretomtl.problem import Problem
from paretomtl.storage.schema import SCHEMA
from paretomtl.storage.store import Store
from paretomtl.sweep.interrupt import catch_signals, hold_interrupt
from paretomtl.training.measuring import measure_splits
from paretomtl.training.outcome import unmeasured_point
from paretomtl.training.seeds import INITIAL, MEASURING, OPENING, reproducible, reseed, seed_of

OF_MEASURE = ("objectives", "measured", "measure_code")  # parts of a study that another measure changes
SHOWN = "{:.6g}"  # numbers that look alike have not changed


class Remeasured(NamedTuple):
    """What measuring a front again has changed.

    points: the number of points that were measured.
    failed: the points that cannot be measured, with the reason.
    changes: a line for each change: of the study, of a point's state, and of each of its numbers.
    """

    points: int
    failed: dict[str, str]
    changes: tuple[str, ...]

    def __str__(self) -> str:
        """Format a line a change, and a summary."""
        lines = [*self.changes, *(f"failed: {id}: {reason}" for id, reason in self.failed.items())]
        return "\n".join([*lines, f"{self.points} points measured; {len(self.changes) or 'no'} changes"])


def remeasure(folder: str | Path, problem: Problem) -> Remeasured:
    """Measure all points of a front again from their weights, and write their records and front.json anew.

    The problem may have another measure, with other goals and units, than the one that the front was made with; the
    study is then stored with it, so that `explore` with this problem goes on from there. Points that are done, and
    points whose measuring failed, have weights. Nothing is written before all points are measured.

    Args:
        folder: the front's folder.
        problem: the problem that the points were trained for.

    Raises:
        ValueError: the problem differs in more than its measure; or its measure fails on the first batches.
        DamagedFileError: a record or weights are not as they were written.
    """
    store = Store(folder)
    if store.schema < SCHEMA:
        raise ValueError(f"{folder} is of schema {store.schema}; call `paretomtl migrate {folder}` first")
    study = store.study
    with reproducible():
        reseed(seed_of(study["seed"], 0, OPENING))
        splits = problem.open()
    data = {} if problem.deterministic else fingerprint_data(splits)
    before = fingerprint_problem(study, problem)
    describe_with_measure(study, problem, data, before)  # another problem is refused before any of its code runs
    with catch_signals():
        _rehearse(problem, splits, study)
        renewed = store.described_by(describe_with_measure(study, problem, data, before))
        points = _read_points(store, renewed)
        if not any(point.weights for point in points):
            raise ValueError(f"{folder} holds no point with weights; there is nothing to measure")
        after = [p if p.weights is None else _measure(p, store, problem, splits) for p in points]
        with hold_interrupt():
            for point in after:
                renewed.write_point(point, None)
            renewed.write_front(after)
            renewed.write_study()  # last: until it is written, a call that was killed can be repeated
            changes = (
                *(line.strip() for line in describe_difference(study, renewed.study).splitlines()),
                *(line for old, new in zip(points, after, strict=True) for line in _changes(old, new, store.names)),
            )
            store.log("measured", points=sum(p.weights is not None for p in after), changes=len(changes))
    failed = {p.id: str(p.reason) for p in after if p.state == "failed" and p.weights is not None}
    return Remeasured(sum(p.weights is not None for p in after), failed, changes)


def remeasure_if_changed(folder: str | Path | None, problem: Problem, description: Mapping[str, Any]) -> None:
    """Measure the points of a folder again where the requested study differs from the stored one by its measure alone.

    Args:
        folder: the front's folder, if there is one.
        problem: the requested problem.
        description: the requested study, as `describe` returns it.
    """
    if folder is None:
        return
    try:
        store = Store(Path(str(folder)))
        stored = store.study
    except (OSError, ValueError):  # no folder yet, or one that cannot be read, which shows later
        return
    if store.schema < SCHEMA:
        return
    grown = {**stored, **find_growth(stored, description)}
    measure = {key: description[key] for key in OF_MEASURE if key in description}
    if [o["scale"] for o in stored["objectives"]] != [o["scale"] for o in description["objectives"]]:
        return  # of the losses
    is_measure = describe_difference(grown, description) and not describe_difference({**grown, **measure}, description)
    if is_measure and any(point.weights for point in store.read_points()):
        result = remeasure(store.folder, problem)
        print(f"another measure: {result.points} points of {store.folder} are measured again", file=sys.stderr)


def _read_points(store: Store, renewed: Store) -> list[Point]:
    """Read the points; those that a call which was killed has rewritten belong to the renewed study already."""
    rewritten = {p.id: p for p in renewed.read_points()}
    points = [rewritten[p.id] if p.state == "corrupt" else p for p in store.read_points()]
    for point in points:
        if point.state == "corrupt":
            raise DamagedFileError(f"{point.reason}; nothing was changed. Call explore again, which computes it anew")
    return points


def _device(study: Any) -> str:
    """Return the device of the study, or the CPU where it is absent."""
    absent = torch.device(study["device"]).type == "cuda" and not torch.cuda.is_available()
    return "cpu" if absent else study["device"]


def _rehearse(problem: Problem, splits: dict[str, Iterable[Any]], study: Any) -> None:
    """Raise if a new model cannot be measured on the first batches."""
    device = _device(study)
    with reproducible():
        reseed(seed_of(study["seed"], 0, INITIAL))
        model = problem.model().to(device)
        for split, batches in splits.items():
            if split != "train":
                check_measuring(problem, model, first_batches(batches, split, device), split)


def _measure(point: Point, store: Store, problem: Problem, splits: dict[str, Iterable[Any]]) -> Point:
    """Return a point with new measures; failed, with the reason, where that fails."""
    study = store.study
    assert point.weights is not None
    weights = store.read_weights(point.weights)
    with reproducible():
        reseed(seed_of(study["seed"], point.seed, INITIAL))
        model = problem.model().to(_device(study))
        _load(model, weights, point)
        reseed(seed_of(study["seed"], point.seed, MEASURING))
        try:
            measures = measure_splits(problem, model, splits, _device(study))
        except Exception as error:
            return unmeasured_point(point, error)
    units = None if point.corner is not None else read_normalisation(study)
    angle = ray_error(measures.losses["validate"], point.preference, units)
    return replace(point, state="done", **measures._asdict(), control_error=angle, reason=None, trace=None)


def _load(model: nn.Module, weights: dict[str, Any], point: Point) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = " ".join(str(error).split())
        raise ValueError(f"the weights of {point.id} do not fit the problem's model: {first}") from error


def _changes(old: Point, new: Point, names: list[str]) -> list[str]:
    lines = [f"{old.id}: {old.state} → {new.state}"] if old.state != new.state else []
    for what, before, after in (("loss", old.losses, new.losses), ("measure", old.values, new.values)):
        for split in after if before else ():
            for name, *pair in zip(names, before.get(split, ()), after[split], strict=False):
                one, other = (SHOWN.format(number) for number in pair)
                if one != other:
                    lines.append(f"{old.id}: the {what} {name!r} on {split}: {one} → {other}")
    return lines

"""How a study meets the one that its folder holds: it takes over what is fixed there, and grows by the rest."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from paretomtl.normalisation import read_normalisation
from paretomtl.point import Point
from paretomtl.points.corners import find_range
from paretomtl.preference import is_same
from paretomtl.preflight.description import list_growing
from paretomtl.storage.store import Store
from paretomtl.training.study import Study

MARGIN = 0.1  # of the corners' range, by which the reference lies beyond their worst losses


def align(study: Study, out: str | Path | None) -> Study:
    """Return a study as its folder would have it: points in that order, its corners, and what they have told.

    A list of preferences is an addition: those of the folder stay, and rows that are not there follow. A number is the
    whole of an even design, which has to hold those of the folder, or be among them.

    A study that does not fit to the folder is returned as it is; what differs shows when they are compared.
    """
    stored = None
    if out is not None:
        with suppress(OSError, ValueError):  # no folder yet, or one that cannot be read, which shows later
            stored = Store(Path(str(out))).study
    if stored is None:
        return study
    first = [point for point in stored["points"] if point["seed"] == 0]
    study = replace(study, first_numbered=any(point["id"].endswith("-seed-1") for point in first))
    if study.problem.ref_point is None and stored["ref_point"] is not None:
        study = replace(study, problem=replace(study.problem, ref_point=stored["ref_point"]))
    study = _align_preferences(study, first)
    if "normalise" not in stored and study.awaits_corners:  # begun by a version that left losses as they are
        return replace(study, normalise=None)
    return replace(study, normalisation=read_normalisation(stored)) if study.awaits_corners else study


def _align_preferences(study: Study, first: Sequence[Mapping[str, Any]]) -> Study:
    """Return a study with the preferences of its folder's first seed in that order, and its corners."""
    if "preferences" not in list_growing(study):
        return study
    kept = [point["preference"] for point in first if point["corner"] is None]
    if not kept or not all(kept):  # an earlier version's, of a walk or of rounds
        return study
    rows, is_even = study.preferences.tolist(), study.corners
    new = [row for row in rows if not any(is_same(row, other) for other in kept)]
    if is_even and new and not all(any(is_same(row, other) for other in rows) for row in kept):
        return study
    corners = is_even or any(point["corner"] for point in first)
    return replace(study, preferences=np.array([*kept, *new]), corners=corners)


def check_reference_known(description: dict[str, Any]) -> None:
    """Raise where the reference is to be fixed from the corners, and there are none, or the points depend on it."""
    if description["ref_point"] is not None:
        return
    if not any(point["corner"] for point in description["points"]):
        raise ValueError(
            "ref_point=None is fixed from the corners, which are trained where preferences= is a number, one by one or "
            "in a fleet; give ref_point, one number an objective, or preferences=K"
        )
    if "ref_point" not in description["grows"]:
        by = "front_model= keeps its best network" if description.get("front_model") else "Refine places preferences"
        raise ValueError(
            f"ref_point=None: {by} by the hypervolume, whose reference that is; give one number an objective"
        )


def awaits_corners(study: Study) -> bool:
    """Whether the corners are to tell the reference or the range of each loss."""
    return study.problem.ref_point is None or study.awaits_corners


def fix_by_corners(study: Study, store: Store) -> Study:
    """Fix the reference and the range of each loss by the corners, where they are to tell them, and store both.

    Raises:
        ValueError: a corner that is to tell the reference has failed.
    """
    corners = [point for point in store.read_points() if point.corner is not None]
    if study.problem.ref_point is None:
        reference = _find_reference(corners, study)
        study = replace(study, problem=replace(study.problem, ref_point=reference))
        store.grow({**store.study, "ref_point": list(reference)}, store.command)
        store.log("reference", text=str(reference))
        print(f"ref_point={reference}, fixed from the corners", file=sys.stderr)
    if study.awaits_corners:
        normalisation, notes = find_range(corners, study.problem.names)
        study = replace(study, normalisation=normalisation)
        store.grow({**store.study, "normalisation": {**normalisation.to_stored(), "notes": notes}}, store.command)
        store.log("normalisation", text=str(normalisation))
    return study


def _find_reference(corners: Sequence[Point], study: Study) -> tuple[float, ...]:
    """Return the reference that the corners of the first seed tell."""
    first = [point for point in corners if point.seed == 0]
    failed = [f"{point.id} ({point.reason})" for point in first if point.state != "done"]
    if failed or len(first) < len(study.problem.names):
        raise ValueError(
            f"ref_point=None is fixed from the corners, and {', '.join(failed) or 'one'} failed; give ref_point, one "
            "number an objective"
        )
    losses = np.array([point.losses["validate"] for point in first])
    nadir, span = losses.max(axis=0), np.ptp(losses, axis=0)
    return tuple((nadir + MARGIN * np.where(span > 0, span, np.abs(nadir))).tolist())

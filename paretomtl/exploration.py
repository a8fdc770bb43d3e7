"""`explore`: the one verb that joins problem, solver, preferences, executor and front."""

import platform
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from paretomtl.front.front import Front
from paretomtl.front.score import EmptyFrontError
from paretomtl.front.store import Scratch, Store
from paretomtl.preference import design
from paretomtl.problem import Problem
from paretomtl.solver import Solver
from paretomtl.sweep.here import Done, Executor, Here
from paretomtl.sweep.progress import Progress
from paretomtl.training.dry_run import dry_run, resolve_device
from paretomtl.training.study import Step, Study, adam


def explore(
    problem: Problem,
    solver: Solver,
    *,
    preferences: "int | Sequence | np.ndarray",
    epochs: int | None = None,
    steps: int | None = None,
    optimizer: Callable[[Any], Any] = adam,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "cpu",
    callbacks: Sequence[Callable[[Step], None]] = (),
    clip: float | None = None,
    executor: Executor | None = None,
) -> Front:
    """Train one model per preference and return the front.

    Args:
        problem: what is to be solved.
        solver: the method, such as `paretomtl_solvers.EPO()`.
        preferences: a number, for an even design and the corners trained apart as ideals; or a list of preferences.
        epochs, steps: the budget of each point; one of the two.
        optimizer: `(parameters) -> optimizer` or `-> (optimizer, scheduler)`; a scheduler steps after every step.
        seed: of initial weights and data order, which all points share.
        out: the folder for the front; without it, a temporary one that lives as long as the front.
        device: "cpu", "cuda", "cuda:1", or "auto".
        callbacks: called with a `Step` after each step, where the point is trained.
        clip: the largest norm of each loss's gradient on the shared parameters, for methods that see gradients.
        executor: where points are computed; here by default, on Ray with `pm.RayTune()`.

    Raises:
        EmptyFrontError: every point failed; their records are kept.
        ValueError, TypeError: what a dry run of one batch reveals, before any work.
    """
    asked = design(preferences, problem.names)
    study = Study(
        problem,
        solver,
        asked.preferences,
        asked.even,
        epochs,
        steps,
        optimizer,
        seed,
        resolve_device(device),
        tuple(callbacks),
        clip,
    )
    notes = [*asked.notes, *dry_run(study)]
    keep = Scratch() if out is None else None
    store = Store(keep.folder / "front" if keep else Path(str(out)))
    store.create()
    description = describe(study, notes)
    store.write_front(description, [])
    store.log("started", points=len(study.jobs))
    _run(executor or Here(), study, store)
    points = store.read_points(problem.names, description["points"])
    store.write_front(description, points)
    front = Front.load(store.folder, keep)
    told = front.warnings()
    for warning in told:
        store.log("warning", text=warning)
    store.log("ended", done=len(front.points) + len(front.corners), failed=len(front.failed))
    for warning in told:
        warnings.warn(warning, stacklevel=2)
    if not front.points:
        reasons = "; ".join(dict.fromkeys(str(p.reason) for p in front.failed))
        kept = "" if out is None else f". Their records are in {store.folder}"
        raise EmptyFrontError(f"all points failed: {reasons}{kept}")
    return front


def _run(executor: Executor, study: Study, store: Store) -> None:
    progress = Progress(type(study.solver).__name__, len(study.jobs), study.problem.ref_point)  # type: ignore[arg-type]

    def report(news: Done | float) -> None:
        if isinstance(news, Done):
            store.log("point", id=news.point.id, state=news.point.state, seconds=news.seconds, host=news.host)
        progress(news)

    try:
        executor.run(study, study.jobs, store, report)
    finally:
        progress.close()


def describe(study: Study, notes: Sequence[str]) -> dict[str, Any]:
    """A study as it is stored in front.json: all that a reader needs, nothing of when and where."""
    problem = study.problem
    return {
        "objectives": [asdict(o) for o in problem.described],
        "ref_point": list(problem.ref_point),
        "solver": repr(study.solver),
        "preferences": study.preferences.tolist(),
        "points": [job.id for job in study.jobs],
        "budget": {"steps": study.steps} if study.epochs is None else {"epochs": study.epochs},
        "seed": study.seed,
        "device": study.device,
        "clip": study.clip,
        "splits": [s for s in ("validate", "test") if s == "validate" or getattr(problem, s) is not None],
        "measured": problem.measure is not None,
        "notes": list(notes),
        "versions": {name: version(name) for name in ("paretomtl", "torch", "numpy")}
        | {"python": platform.python_version()},
    }

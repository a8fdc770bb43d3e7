"""`explore`: the verb that joins problem, solver, preferences, executor and front, and goes on where it stopped."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from paretomtl.conditioned.front_model import FrontModel
from paretomtl.front import Front
from paretomtl.normalisation import CORNERS, Normalisation, build_normalisation
from paretomtl.point import Point
from paretomtl.preference import Refine, build_design
from paretomtl.preflight.description import describe, fingerprint_study
from paretomtl.preflight.dry_run import dry_run
from paretomtl.problem import Problem
from paretomtl.solver import Solver
from paretomtl.storage.store import Store
from paretomtl.sweep.executor import Executor
from paretomtl.sweep.growth import align
from paretomtl.sweep.here import Here
from paretomtl.sweep.keeping import call_back, create_or_resume, reporting
from paretomtl.sweep.refine import plan_rounds
from paretomtl.sweep.remeasure import remeasure_if_changed
from paretomtl.training.study import Step, Study, adam, choose_mode


def explore(
    problem: Problem,
    solver: Solver,
    *,
    preferences: "int | Sequence | np.ndarray | Refine",
    epochs: int | None = None,
    steps: int | None = None,
    optimizer: Callable[[Any], Any] = adam,
    seed: int = 0,
    seeds: int = 1,
    out: str | Path | None = None,
    device: str = "cpu",
    callbacks: Sequence[Callable[[Step], None]] = (),
    clip: float | None = None,
    executor: Executor | None = None,
    front_model: FrontModel | None = None,
    fleet: int | None = None,
    normalise: Literal["corners"] | Mapping[str, Sequence[float]] | Normalisation | None = "corners",
    command: Mapping[str, Any] | None = None,
) -> Front:
    """Train one model per preference, or one network for all, and return the front.

    If `out` holds a part of this very study, as after a kill, only what is absent or damaged is computed. The result is
    that of a run that was never stopped. More `seeds`, more preferences, another `ref_point` and another measure are
    additions: what is there stays, and the rest is computed.

    Args:
        problem: the problem to solve.
        solver: the method, such as `paretomtl_solvers.EPO()`.
        preferences: a number, for an even design and the corners trained apart as ideals; or `pm.Refine(5, 25)`, which
            lays out the first and places the others in the front's largest gaps; or a list of preferences.
        epochs, steps: the budget of each point; one of the two.
        optimizer: `(parameters) -> optimizer` or `-> (optimizer, scheduler)`; a scheduler steps after every step.
        seed: the seed of initial weights and data order, which all points share.
        seeds: how often each point is trained, each time with other initial weights and another order of the data.
        out: the folder for the front; without it, a temporary one that lives as long as the front.
        device: "cpu", "cuda", "cuda:1", or "auto".
        callbacks: called with a `Step` after each step, where the point is trained. A `pm.Callback` also gets each
            finished point and the whole front, in this process.
        clip: the largest norm of each loss's gradient on the shared parameters, for methods that see gradients.
        executor: where points are computed: in this process by default, on Ray with `pm.RayTune()`.
        front_model: one network for the whole front, such as `pm.FiLM()`, instead of one for each preference. It draws
            the preferences that it is trained at; it is measured and written out at `preferences`. Corners are trained
            apart, for a quarter of the steps, where they tell the range of losses.
        fleet: the largest number of points to train in one program, such as 25, for small networks, whose steps are
            mostly overhead. It needs an optimizer that treats each number on its own, as Adam and SGD do, and a model
            without dropout and BatchNorm.
        normalise: the units in which the method gets the losses, and in which a preference asks for a ray. "corners":
            of what there is to gain, from a loss's ideal, where it is trained alone, to its nadir, the worst where
            others are; so an even design trains the corners first. A range (ideal, nadir) for each name, or the
            `normalisation` of a front: the same without corners. None: losses as they are, as with "corners" where
            `preferences` is a list.
        command: the flags of the command line that started the study, stored for `paretomtl resume`.

    Raises:
        EmptyFrontError: every point failed; their records are stored.
        ValueError, TypeError: the rehearsal on the first batches failed, before any step; or `out` holds another study.
        OSError: a file cannot be written; those written before are whole.
        Interrupted: Ctrl-C or SIGTERM; it is a KeyboardInterrupt.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem= is a {type(problem).__name__}; give a pm.Problem(objectives, model, losses, …)")
    executor = executor or Here()
    design = build_design(preferences, problem.names)
    study = Study(
        problem=problem,
        solver=solver,
        preferences=design.preferences,
        corners=design.even,
        mode=choose_mode(front_model, fleet),
        epochs=epochs,
        steps=steps,
        optimizer=optimizer,
        seed=seed,
        device=executor.device(device),
        callbacks=tuple(callbacks),
        clip=clip,
        seeds=seeds,
        refine=preferences if isinstance(preferences, Refine) else None,
        normalise=CORNERS if normalise == CORNERS else None,
        normalisation=build_normalisation(normalise, problem.names),
    )
    study = align(study, out)
    before = fingerprint_study(study)
    findings = dry_run(study)
    description = describe(study, [*design.notes, *findings.notes], findings.data, before)
    remeasure_if_changed(out, problem, description)
    front = create_or_resume(description, out, partial(_run, executor, study), "explore", command)
    call_back(study, "end", front, None if out is None else Store(Path(str(out))))
    return front


def _run(executor: Executor, study: Study, store: Store, points: list[Point]) -> None:
    existing = {p.id for p in points}
    if len(existing) == len(study.places):
        return
    with reporting(study, store, len(existing)) as report, executor.opened():
        for part, jobs in plan_rounds(study, store, existing):
            if jobs:
                executor.run(part, jobs, store, report)

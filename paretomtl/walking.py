"""`walk`: from one solution along the front, point by point; each point is recorded at once.

The next point follows from the weights of the last one and from nothing else, so a walk that was stopped goes on from
the recorded points, to the same bytes.
"""

import socket
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.front import Front
from paretomtl.point import Code, Point
from paretomtl.preference import normalise
from paretomtl.preflight.description import describe, fingerprint_study
from paretomtl.preflight.dry_run import dry_run, resolve_device
from paretomtl.problem import Problem
from paretomtl.solver import Walker
from paretomtl.storage.store import Store
from paretomtl.storage.weight_files import hash_weights
from paretomtl.sweep.executor import ComputedPoint
from paretomtl.sweep.growth import align
from paretomtl.sweep.interrupt import hold_interrupt
from paretomtl.sweep.keeping import create_or_resume, reporting
from paretomtl.sweep.remeasure import remeasure_if_changed
from paretomtl.training.seeds import reproducible
from paretomtl.training.study import Study, WalkPlan
from paretomtl.training.walk import WalkRun
from paretomtl.training.weights import describe_layout_difference, layout_of, weights_of


def walk(
    problem: Problem,
    solver: Walker,
    model: nn.Module,
    *,
    toward: str | Mapping[str, float] | Sequence[float],
    points: int = 10,
    by: float | None = None,
    hessian_batches: int | None = None,
    out: str | Path | None = None,
    device: str = "cpu",
) -> Front:
    """Walk along the front from a trained model, and return the front of the points on the way.

    The first point is the model itself, brought onto the front. From each point to the next, a step along the front
    lowers the chosen loss or weighted sum, and a correction brings the model back onto the front. Losses and gradients
    are those of all of train, in eval mode. The preference of a point is the vector of weights for which the weighted
    sum of the losses is stationary there. Where `out` holds a part of this walk, the walk goes on from there.

    Args:
        problem: the problem that the model was trained for.
        solver: the method, such as `paretomtl_solvers.ContinuousPareto()`.
        model: a model near the front, such as `pick.load(build)`; it is not changed.
        toward: what is to fall: a loss, by its name; or a preference, for its weighted sum of the losses.
        points: the most points, the first one included; the walk ends earlier, with a warning, where the front ends.
        by: about how much the value falls from point to point, on train; by default 5 % of it.
        hessian_batches: the number of train's batches for Hessian-vector products, which cost the most; by default all.
        out: the folder for the front; without it, a temporary one that lives as long as the front.
        device: "cpu", "cuda", "cuda:1", or "auto".

    Raises:
        ValueError, TypeError: an argument is wrong, which shows before any work; or `out` holds something else.
        EmptyFrontError, OSError, Interrupted: as `explore` does.
    """
    if not isinstance(solver, Walker):
        raise TypeError(f"solver={solver!r} does not walk along the front; give one that does: ContinuousPareto()")
    r = _parse_toward(toward, problem.names)
    start = _check_start(problem, model)
    study = Study(
        problem=problem,
        solver=solver,
        preferences=r[None],
        corners=False,
        mode=WalkPlan(points, by, hessian_batches, hash_weights(start)),
        steps=points,
        device=resolve_device(device),
    )
    study, before = align(study, out), fingerprint_study(study)
    findings = dry_run(study)
    with reproducible():
        run = WalkRun(study, study.open(), start)
    description = describe(study, findings.notes, findings.data, before)
    remeasure_if_changed(out, problem, description)
    return create_or_resume(description, out, partial(_compute, study, run), "walk")


def _parse_toward(
    toward: str | Mapping[str, float] | Sequence[float], names: tuple[str, ...]
) -> Float[np.ndarray, " m"]:
    if isinstance(toward, str):
        toward = {toward: 1.0}
    if isinstance(toward, Mapping):
        unknown = [name for name in toward if name not in names]
        if unknown:
            raise ValueError(f"toward: {unknown[0]!r} is none of the objectives {list(names)}")
        toward = [toward.get(name, 0.0) for name in names]
    return normalise(toward, len(names), where="toward")


def _check_start(problem: Problem, model: nn.Module) -> dict[str, Tensor]:
    """Return the weights to start from; raise if they do not fit the problem's model."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model={model!r} is no torch.nn.Module; give a trained model, such as pick.load(build)")
    weights = weights_of(model)
    with reproducible():
        expected, layout = layout_of(problem.model().state_dict()), layout_of(weights)
    if layout != expected:
        raise ValueError(f"model is not one that problem.model() makes: {describe_layout_difference(layout, expected)}")
    return weights


def _compute(study: Study, run: WalkRun, store: Store, existing: list[Point]) -> None:
    """Compute the missing points, each from the weights of the one before it."""
    points, last = {p.id: p for p in existing}, None
    ids = [id for id, *_ in study.places]
    with reporting(study, store, len(existing)) as report, reproducible():
        for k, id in enumerate(ids):
            point = points.get(id)
            if point is None:
                start = time.perf_counter()
                if last is not None:
                    run.go_to(store.read_weights(last))
                trained = run.next(id, first=last is None, final=k == len(ids) - 1)
                with hold_interrupt():
                    point = store.write_point(trained.point, trained.weights)
                report(ComputedPoint(point, round(time.perf_counter() - start, 3), socket.gethostname()))
            if point.state != "done" or point.status == Code.ENDED.word:
                return
            last = point.weights

"""`walk`: from one solution along the front, point by point, each recorded as it is found.

The next point follows from the weights of the last one and from nothing else, so a walk that was stopped goes on from
what is recorded, to the same bytes.
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
from paretomtl.preflight.description import describe
from paretomtl.preflight.dry_run import dry_run, resolve_device
from paretomtl.problem import Problem
from paretomtl.solver import Walker
from paretomtl.storage.store import Store, hash_weights
from paretomtl.sweep.here import ComputedPoint
from paretomtl.sweep.interrupt import hold_interrupt
from paretomtl.sweep.keeping import create_or_resume, reporting
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

    The model is brought onto the front first; that is the first point. From each to the next a step along the front
    lowers what is asked for, and a correction brings the model back onto the front. Losses and gradients are those of
    all of train, in eval mode. The preference of a point are the weights by which the losses' weighted sum is
    stationary there. Where `out` holds a part of this very walk, it goes on from there.

    Args:
        problem: what the model was trained for.
        solver: the method, such as `paretomtl_solvers.ContinuousPareto()`.
        model: near the front, such as `pick.load(build)`; it is left as it is.
        toward: what is to fall: a loss; or a preference, whose weighted sum of the losses it is.
        points: how many at most, the first included; the walk ends before, and says so, where the front does.
        by: how much what is asked for falls from point to point, about, on train; by default 5 % of what it is.
        hessian_batches: how many of train's batches Hessian-vector products are taken on, which cost the most; by
            default all.
        out: the folder for the front; without it, a temporary one that lives as long as the front.
        device: "cpu", "cuda", "cuda:1", or "auto".

    Raises:
        ValueError, TypeError: what can be seen before any work; or `out` holds something else.
        EmptyFrontError, OSError, Interrupted: as `explore` does.
    """
    if not isinstance(solver, Walker):
        raise TypeError(f"solver={solver!r} does not walk along the front; give one that does: ContinuousPareto()")
    r = _preference(toward, problem.names)
    start = _start(problem, model)
    asked = WalkPlan(points, by, hessian_batches, hash_weights(start))
    study = Study(problem, solver, r[None], False, None, points, device=resolve_device(device), walk=asked)
    found = dry_run(study)
    with reproducible():
        way = WalkRun(study, study.open(), start)
    return create_or_resume(describe(study, found.notes, found.data), out, partial(_compute, study, way), "walk")


def _preference(toward: str | Mapping[str, float] | Sequence[float], names: tuple[str, ...]) -> Float[np.ndarray, " m"]:
    if isinstance(toward, str):
        toward = {toward: 1.0}
    if isinstance(toward, Mapping):
        unknown = [name for name in toward if name not in names]
        if unknown:
            raise ValueError(f"toward: {unknown[0]!r} is none of the objectives {list(names)}")
        toward = [toward.get(name, 0.0) for name in names]
    return normalise(toward, len(names), where="toward")


def _start(problem: Problem, model: nn.Module) -> dict[str, Tensor]:
    """The weights to start from, checked to be those of the problem's model."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model={model!r} is no torch.nn.Module; give a trained model, such as pick.load(build)")
    weights = weights_of(model)
    with reproducible():
        there, given = layout_of(problem.model().state_dict()), layout_of(weights)
    if there != given:
        raise ValueError(f"model is not one that problem.model() makes: {describe_layout_difference(given, there)}")
    return weights


def _compute(study: Study, way: WalkRun, store: Store, there: list[Point]) -> None:
    """Compute what is absent, each point from the weights of the one before it."""
    known, last = {p.id: p for p in there}, None
    ids = [id for id, *_ in study.places]
    with reporting(study, store, len(there)) as report, reproducible():
        for k, id in enumerate(ids):
            point = known.get(id)
            if point is None:
                begun = time.perf_counter()
                if last is not None:
                    way.go_to(store.read_weights(last))
                trained = way.next(id, first=last is None, final=k == len(ids) - 1)
                with hold_interrupt():
                    point = store.write_point(trained.point, trained.weights)
                report(ComputedPoint(point, round(time.perf_counter() - begun, 3), socket.gethostname()))
            if point.state != "done" or point.status == Code.ENDED.word:
                return
            last = point.weights

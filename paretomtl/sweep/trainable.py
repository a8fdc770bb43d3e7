"""`trainable`: a study as a function for Ray's own `tune.Tuner`, its schedulers and its search algorithms."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from paretomtl.front.store import Store
from paretomtl.preference import normalised
from paretomtl.problem import Problem
from paretomtl.solver import Solver
from paretomtl.sweep.here import compute
from paretomtl.sweep.ray_cluster import tune
from paretomtl.training.description import describe
from paretomtl.training.dry_run import resolve_device
from paretomtl.training.study import Study, adam


def trainable(
    problem: Problem,
    solver: Solver,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    optimizer: Callable[[Any], Any] = adam,
    seed: int = 0,
    device: str = "cpu",
) -> Callable[[dict[str, Any]], None]:
    """A function for `tune.Tuner` that trains the point of `config["preference"]`.

    It reports `loss/NAME`, `value/NAME`, `control_error` and `status`, with a checkpoint that holds the point's record
    and weights as a front's folder does. A point that fails, on a NaN for one, fails its trial.

    Args:
        problem, solver: what is solved, and how.
        epochs, steps, optimizer, seed, device: as in `explore`.
    """
    m = len(problem.names)
    study = Study(
        problem, solver, np.full((1, m), 1 / m), False, epochs, steps, optimizer, seed, resolve_device(device)
    )
    return tune.with_parameters(_train_preference, study=study)


def _train_preference(config: dict[str, Any], study: Study) -> None:
    names = study.problem.names
    study = replace(study, preferences=normalised(config["preference"], len(names))[None])
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch) / "point")
        store.create(describe(study))
        done = next(compute(study, study.jobs[:1], study.open(), store))
        if done.point.state == "failed":
            raise RuntimeError(f"preference {config['preference']}: {done.point.reason}")
        metrics = {f"loss/{n}": x for n, x in zip(names, done.point.losses["validate"], strict=True)}
        metrics |= {f"value/{n}": x for n, x in zip(names, done.point.values["validate"], strict=True)}
        metrics |= {"control_error": done.point.control_error, "status": done.point.status}
        tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(store.folder))

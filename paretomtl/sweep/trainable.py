"""`trainable`: a study as a function for Ray's own `tune.Tuner`, its schedulers and its search algorithms."""

import inspect
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paretomtl.point import Point
from paretomtl.preference import build_design
from paretomtl.preflight.description import describe
from paretomtl.preflight.dry_run import resolve_device
from paretomtl.problem import Problem
from paretomtl.solver import Solver
from paretomtl.storage import checkpoints
from paretomtl.storage.schema import study_id
from paretomtl.storage.store import Store
from paretomtl.sweep.keeper import FileCheckpointer
from paretomtl.sweep.ray_cluster import tune
from paretomtl.training.loop import Run, pending_point
from paretomtl.training.measuring import SplitMeasures, measure
from paretomtl.training.seeds import MEASURING, reproducible, reseed, seed_of
from paretomtl.training.study import Study, adam

REPORTS = 10  # of a trial whose budget is in steps; else one an epoch
KEPT = "kept"  # where a checkpoint of Ray's has what its training has come to


def trainable(
    problem: Problem,
    solver: Solver,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    optimizer: Callable[..., Any] = adam,
    seed: int = 0,
    device: str = "cpu",
) -> Callable[[dict[str, Any]], None]:
    """A function for `tune.Tuner` that trains the point of `config["preference"]`, a list or a mapping by objective.

    After each epoch (ten times where the budget is in steps) it reports `loss/NAME` and `value/NAME` on the validation
    split, with a checkpoint from which it goes on: after a failure, after `Tuner.restore`, or where a scheduler has it
    go on from another trial's. At the end it also reports `control_error` and `status`, and its checkpoint holds the
    point's record and weights as a front's folder does. A point that fails, on a NaN for one, fails its trial.

    Args:
        problem, solver: what is solved, and how.
        optimizer: as in `explore`; or `(parameters, config) -> …`, for what else `param_space` is to vary.
        epochs, steps, seed, device: as in `explore`.
    """
    m = len(problem.names)
    study = Study(
        problem, solver, np.full((1, m), 1 / m), False, epochs, steps, seed=seed, device=resolve_device(device)
    )
    return tune.with_parameters(_train, study=study, optimizer=optimizer)


def _train(config: dict[str, Any], study: Study, optimizer: Callable[..., Any]) -> None:
    if _is_done():
        return  # a scheduler paused it after its last report
    whatever = study_id(describe(study))  # the preference of this trial
    study = replace(study, preferences=_preference(config, study.problem), optimizer=_optimizer(config, optimizer))
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch) / "point")
        store.create(describe(study))
        job, splits = study.jobs[0], study.open()
        asked, run = (
            pending_point(study.problem, job),
            _ReportingRun(study, job, splits, keeper=_TrialCheckpointer(store, whatever)),
        )
        try:
            with reproducible():
                trained = run.train(asked)
        except Exception as error:
            reason = run.failed(asked, error).point.reason
            raise RuntimeError(f"preference {config['preference']}: {reason}") from error
        point = store.write_point(trained.point, trained.weights)
        tune.report(
            _metrics(study.problem, _measure_point(point))
            | {"control_error": point.control_error, "status": point.status},
            checkpoint=tune.Checkpoint.from_directory(store.folder),
        )


def _is_done() -> bool:
    """Whether the checkpoint to go on from is that of a last report, with the point's record."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return False
    with checkpoint.as_directory() as folder:
        return not (Path(folder) / KEPT).is_dir()


def _preference(config: Mapping[str, Any], problem: Problem) -> np.ndarray:
    if "preference" not in config:
        raise ValueError(f"param_space has {list(config)}; give a preference as well, such as [0.3, 0.7]")
    return build_design([config["preference"]], problem.names).preferences


def _optimizer(config: Mapping[str, Any], optimizer: Callable[..., Any]) -> Callable[[Any], Any]:
    """The optimizer, with what the trial's config has for it."""
    more = [name for name in config if name != "preference"]
    needed = [p for p in inspect.signature(optimizer).parameters.values() if p.default is p.empty]
    if len(needed) > 1 and needed[1].kind in (needed[1].POSITIONAL_ONLY, needed[1].POSITIONAL_OR_KEYWORD):
        return partial(_configure_optimizer, optimizer=optimizer, config=dict(config))
    if more:
        raise ValueError(
            f"param_space has {more}, which nothing takes; give optimizer=lambda parameters, config: … to use them"
        )
    return optimizer


def _configure_optimizer(parameters: Any, optimizer: Callable[..., Any], config: dict[str, Any]) -> Any:
    return optimizer(parameters, config)


def _measure_point(point: Point) -> SplitMeasures:
    return SplitMeasures(point.losses["validate"], point.values["validate"])


def _metrics(problem: Problem, found: SplitMeasures) -> dict[str, float]:
    metrics = {f"loss/{name}": x for name, x in zip(problem.names, found.losses, strict=True)}
    return metrics | {f"value/{name}": x for name, x in zip(problem.names, found.values, strict=True)}


class _ReportingRun(Run):
    """The training of a point that reports on the way."""

    @property
    def asked(self) -> list:
        """None by name: another trial's preference may go on from here."""
        return []

    def keep(self) -> None:
        """Report, if it is time; called between two steps."""
        parts = self.study.epochs or REPORTS
        steps = self.counts["steps"]
        if steps not in {self.budget * k // parts for k in range(1, parts)}:
            return
        with reproducible():  # so that the training does not notice
            reseed(seed_of(self.study.seed, self.job.seed, MEASURING))
            found = measure(self.problem, self.model, self.splits["validate"], self.study.device, "validate")
        assert isinstance(self.keeper, _TrialCheckpointer)
        self.keeper.metrics = _metrics(self.problem, found)
        self.keeper.keep(self)
        if self.keeper.metrics:  # no checkpoint could be written
            tune.report(self.keeper.metrics)


class _TrialCheckpointer(FileCheckpointer):
    """Checkpoints that go with the metrics of a report."""

    def __init__(self, store: Store, study: str):
        super().__init__(store, 0.0)
        self.metrics: dict[str, float] = {}
        self._study = study

    @property
    def study(self) -> str:
        """That of all trials: one may go on where another was, which had another preference."""
        return self._study

    def put(self, name: str, files: dict[str, bytes]) -> None:
        """Report them."""
        del name
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / KEPT
            folder.mkdir()
            for file, data in files.items():
                (folder / file).write_bytes(data)
            metrics, self.metrics = self.metrics, {}
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(scratch))

    def get(self, file: str, most: int) -> bytes:
        """From the checkpoint that Ray has for this trial."""
        checkpoint = tune.get_checkpoint()
        if checkpoint is None:
            raise FileNotFoundError(file)
        with checkpoint.as_directory() as folder:
            return checkpoints.reader_of(Path(folder) / KEPT)(file, most)

    def drop(self, name: str) -> None:
        """The last report goes without it."""

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
from paretomtl.training.loop import Run
from paretomtl.training.measuring import SplitMeasures, measure
from paretomtl.training.numerics import Numerics, read_numerics, set_numerics
from paretomtl.training.outcome import pending_point
from paretomtl.training.seeds import MEASURING, reproducible, reseed, seed_of
from paretomtl.training.study import Study, adam

REPORTS = 10  # of a trial whose budget is in steps; else one an epoch
STATE = "kept"  # the folder of a training's state in a checkpoint of Ray's


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
    """Return a function for `tune.Tuner` that trains the point of `config["preference"]`, a list or a mapping.

    After each epoch (ten times if the budget is in steps) a trial reports `loss/NAME` and `value/NAME` on the
    validation split, with a checkpoint. It goes on from there after a failure, after `Tuner.restore`, or when a
    scheduler starts it from another trial's checkpoint. The last report adds `control_error` and `status`; its
    checkpoint holds the point's record and weights as a front's folder does. A point that fails, on a NaN for one,
    fails its trial.

    Args:
        problem, solver: as in `explore`.
        optimizer: as in `explore`; or `(parameters, config) -> …`, for what else `param_space` varies.
        epochs, steps, seed, device: as in `explore`.
    """
    m = len(problem.names)
    study = Study(
        problem=problem,
        solver=solver,
        preferences=np.full((1, m), 1 / m),
        corners=False,
        epochs=epochs,
        steps=steps,
        seed=seed,
        device=resolve_device(device),
    )
    if problem.ref_point is None:
        raise ValueError(
            "ref_point=None is fixed from the corners, which trials have not; give one number an objective"
        )
    shared = study_id(describe(study))  # by all trials, whatever their preference
    return tune.with_parameters(_train, study=study, optimizer=optimizer, shared=shared, numerics=read_numerics())


def _train(
    config: dict[str, Any], study: Study, optimizer: Callable[..., Any], shared: str, numerics: Numerics
) -> None:
    set_numerics(numerics)
    if _is_done():
        return  # a scheduler paused it after its last report
    study = replace(study, preferences=_preference(config, study.problem), optimizer=_optimizer(config, optimizer))
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch) / "point")
        store.create(describe(study))
        job, splits = study.jobs[0], study.open()
        pending, run = (
            pending_point(study.problem, job),
            _ReportingRun(study, job, splits, keeper=_TrialCheckpointer(store, shared)),
        )
        try:
            with reproducible():
                trained = run.train(pending)
        except Exception as error:
            reason = run.failed(pending, error).point.reason
            raise RuntimeError(f"preference {config['preference']}: {reason}") from error
        if trained.point.state == "failed":
            raise RuntimeError(f"preference {config['preference']}: {trained.point.reason}")
        point = store.write_point(*trained)
        tune.report(
            _metrics(study.problem, _measure_point(point))
            | {"control_error": point.control_error, "status": point.status},
            checkpoint=tune.Checkpoint.from_directory(store.folder),
        )


def _is_done() -> bool:
    """Whether the trial's checkpoint is that of its last report, with the point's record."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return False
    with checkpoint.as_directory() as folder:
        return not (Path(folder) / STATE).is_dir()


def _preference(config: Mapping[str, Any], problem: Problem) -> np.ndarray:
    if "preference" not in config:
        raise ValueError(f"param_space has {list(config)}; give a preference as well, such as [0.3, 0.7]")
    return build_design([config["preference"]], problem.names).preferences


def _optimizer(config: Mapping[str, Any], optimizer: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return the optimizer; one that takes the trial's config gets it."""
    varied = [name for name in config if name != "preference"]
    needed = [p for p in inspect.signature(optimizer).parameters.values() if p.default is p.empty]
    if len(needed) > 1 and needed[1].kind in (needed[1].POSITIONAL_ONLY, needed[1].POSITIONAL_OR_KEYWORD):
        return partial(_configure_optimizer, optimizer=optimizer, config=dict(config))
    if varied:
        raise ValueError(
            f"param_space has {varied}, which nothing takes; give optimizer=lambda parameters, config: … to use them"
        )
    return optimizer


def _configure_optimizer(parameters: Any, optimizer: Callable[..., Any], config: dict[str, Any]) -> Any:
    return optimizer(parameters, config)


def _measure_point(point: Point) -> SplitMeasures:
    return SplitMeasures(point.losses["validate"], point.values["validate"])


def _metrics(problem: Problem, measures: SplitMeasures) -> dict[str, float]:
    metrics = {f"loss/{name}": x for name, x in zip(problem.names, measures.losses, strict=True)}
    return metrics | {f"value/{name}": x for name, x in zip(problem.names, measures.values, strict=True)}


class _ReportingRun(Run):
    """The training of a point, with reports to Ray."""

    @property
    def jobs_key(self) -> list:
        """Nothing: a trial with another preference may go on from this checkpoint."""
        return []

    def keep(self) -> None:
        """Report at the end of an epoch, or of a tenth of the steps; called between two steps."""
        parts = self.study.epochs or REPORTS
        steps = self.counts["steps"]
        if steps not in {self.budget * k // parts for k in range(1, parts)}:
            return
        with reproducible():  # measuring leaves the training's generators alone
            reseed(seed_of(self.study.seed, self.job.seed, MEASURING))
            measures = measure(self.problem, self.model, self.splits["validate"], self.study.device, "validate")
        assert isinstance(self.keeper, _TrialCheckpointer)
        self.keeper.metrics = _metrics(self.problem, measures)
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
        """The id that all trials share: one may go on from another's checkpoint."""
        return self._study

    def put(self, name: str, files: dict[str, bytes]) -> None:
        """Report the metrics, with the files as a checkpoint."""
        del name
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / STATE
            folder.mkdir()
            for file, data in files.items():
                (folder / file).write_bytes(data)
            metrics, self.metrics = self.metrics, {}
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(scratch))

    def get(self, file: str, most: int) -> bytes:
        """Read a file of the checkpoint that Ray has for this trial."""
        checkpoint = tune.get_checkpoint()
        if checkpoint is None:
            raise FileNotFoundError(file)
        with checkpoint.as_directory() as folder:
            return checkpoints.make_reader(Path(folder) / STATE)(file, most)

    def drop(self, name: str) -> None:
        """Do nothing: the last report has no such checkpoint."""

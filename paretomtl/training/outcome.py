"""The outcome of one point's training: its record and weights, or the reason why it failed."""

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from paretomtl.autograd.finite import check_weights
from paretomtl.autograd.labels import LabelCounts
from paretomtl.autograd.loss_function import closure
from paretomtl.autograd.stationarity import is_at_rest, is_stationary
from paretomtl.errors import NonFiniteError, StepError
from paretomtl.normalisation import CORNERS
from paretomtl.point import OFF_RAY, Code, Point
from paretomtl.preference import control_error
from paretomtl.problem import Problem
from paretomtl.recorder import Moment
from paretomtl.solver import Closure, EpochMeans, Scalarization, Solver, Status, Sweep, solved_status, status_of
from paretomtl.training import memory
from paretomtl.training.batches import Splits
from paretomtl.training.measuring import DeviceBatches, measure_splits
from paretomtl.training.recordings import Recordings
from paretomtl.training.seeds import MEASURING, reseed, seed_of
from paretomtl.training.study import Job, Step, Study
from paretomtl.training.watch import Norms, is_moving
from paretomtl.training.weights import weights_of

MOST_FINISH_STEPS = 5  # of a method's `finish`, in steps of the training
OTHERS = 1e-4  # weight of the other losses where a corner spares them, relative to its own
RARELY = 0.05  # the largest share of relaxed programs or fallbacks that goes without a warning

STATUS_COUNTS = {"relaxed": Code.RELAXED, "fell_back": Code.FELL_BACK}  # steps that a point counts by their status

Tick = Callable[[float], None]  # called with the share of the steps that is done


class TrainedPoint(NamedTuple):
    """A point, its weights, and what was recorded of its training.

    Attributes:
        point: the point.
        weights: None for a point that failed before its training was over.
        recordings: the records by recorder; None without recorders.
    """

    point: Point
    weights: dict[str, Tensor] | None
    recordings: dict[str, list[dict[str, Any]]] | None = None


@dataclass(frozen=True)
class SingleObjective(Scalarization):
    """The method that trains the corners, whatever the study's: a corner's preference is its weights.

    Args:
        spares_others: whether the other losses keep the weight `OTHERS`, at the scale of the first batch that has all
            labels. So where they do not conflict with the corner's own, they end as low as they can, and their worst
            over the corners is what its training must cost them: a head that nobody trains would cost more.
    """

    spares_others: bool = False

    linear: ClassVar[bool] = True

    def init(self, sweep: Sweep) -> Tensor | None:
        """Return the weights of the first batch, not known yet."""
        shape = (*sweep.points.shape, sweep.preferences.shape[-1])
        return torch.full(shape, torch.nan, dtype=torch.float64) if self.spares_others else None

    def update(self, state: Any, losses: Tensor, preference: Tensor) -> tuple[Tensor, Any, Status]:
        """Return the preference as the weights, and those of the other losses where they are spared."""
        if state is None or state.shape != losses.shape:
            return preference, state, solved_status(losses)
        if state.isnan().any():
            sizes = losses.abs().double().cpu()
            own = (preference.cpu() * sizes).sum(dim=-1, keepdim=True)
            state = (OTHERS * own / sizes).nan_to_num(OTHERS, OTHERS, OTHERS)
        return torch.where(preference > 0, preference, state.to(preference)), state, solved_status(losses)

    def finish(self, closure: Closure, state: Any, preference: Tensor) -> Status:
        """Return "stationary" where the objective's own gradient is so, bounds taken out, else "not converged"."""
        at_rest = is_at_rest(closure, [int(preference.argmax())])
        return status_of(Code.STATIONARY if at_rest else Code.NOT_CONVERGED)


class Outcome:
    """One point while it is trained: counts, warnings and epoch means so far, from which its record follows.

    Attributes:
        training: whether its steps have begun and its record is not made yet.
        labels: the frequencies of labels; in a fleet all points share them.
        place: the index of the point in `norms`; in a fleet one `Norms` holds all points.
    """

    norms: Norms
    labels: LabelCounts
    place: tuple[int, ...] = ()

    def __init__(self, study: Study, job: Job, splits: Splits):
        self.study, self.job, self.splits, self.problem = study, job, splits, study.problem
        self.solver: Solver = (
            study.solver_in_units if job.corner is None else SingleObjective(study.normalise == CORNERS)
        )
        self.units = study.units if job.corner is None else None
        self.preference = torch.tensor(job.preference)
        self._clear()

    def _clear(self) -> None:
        """Reset all that the steps change."""
        self.training = False
        self.counts: dict[str, int] = dict.fromkeys(("steps", "finish_steps", "skipped", *STATUS_COUNTS), 0)
        self.warnings: list[str] = []
        self.epochs: list[EpochMeans] = []
        self.norms, self.labels = Norms(len(self.problem.names)), LabelCounts(len(self.problem.names))
        self.state: Any = None
        self.status: Status = solved_status(self.preference)
        self.recordings = Recordings(self.study.recorders)

    def conclude(self, pending: Point, model: nn.Module) -> TrainedPoint:
        """Let the method finish a trained model, measure it, and return its point.

        Where measuring fails, the point fails, and has its weights: it can be measured again.
        """
        status = self._finish(model)
        self.training = False
        self._add_step_warnings()
        check_weights(model)
        if not math.isfinite(status.residual):
            raise NonFiniteError(f"{float(status.residual)} in the residual of {type(self.solver).__name__}")
        reseed(seed_of(self.study.seed, self.job.seed, MEASURING))
        point = Point(
            pending.id, pending.preference, pending.corner, "done",
            status=Code(int(status.code)).word,
            residual=float(status.residual),
            counts=dict(self.counts),
            warnings=tuple(self.warnings),
            seed=pending.seed,
            ray_angle=self._ray_angle(),
        )  # fmt: skip
        try:
            measures = measure_splits(self.problem, model, self.splits, self.study.device)
        except Exception as reason:
            return TrainedPoint(unmeasured_point(point, reason), weights_of(model), self.recordings.content)
        error = self._measure_angle(np.array(measures.losses["validate"]))
        warnings = (*point.warnings, *ray_warnings(self.solver, error, Code(int(status.code))))
        point = replace(point, **measures._asdict(), control_error=error, warnings=warnings)
        return TrainedPoint(point, weights_of(model), self.recordings.content)

    def _finish(self, model: nn.Module) -> Status:
        if self.problem.deterministic:
            exact = closure(self.problem, model, units=self.units)
            exact.most_moves = MOST_FINISH_STEPS * (self.study.steps or 0)
            status = self.solver.finish(exact, self.state, self.preference)
            if status is None:
                code = Code.STATIONARY if is_stationary(exact) else Code.NOT_CONVERGED
                status = self.status._replace(code=torch.tensor(int(code)))
            self.counts["finish_steps"] = exact.moves
            return status
        code = Code.STILL_MOVING if is_moving(self.epochs) else Code.TRAINED
        return self.status._replace(code=torch.tensor(int(code)))

    def _ray_angle(self) -> float | None:
        """Return the degrees between the ray and the last epoch's mean losses, for a method that promises a ray.

        None in the first epoch, whose mean is mostly of losses on their way.
        """
        if len(self.epochs) < 2 or not self.solver.follows_ray:
            return None
        return self._measure_angle(self.epochs[-1].losses.numpy())

    def _measure_angle(self, losses: np.ndarray) -> float:
        """Return the degrees between the ray and losses; of a corner, which tells the units, in the losses' own."""
        seen = losses if self.job.corner is not None else self.study.normalised(losses)
        return float(control_error(seen, self.job.preference))

    def failed(self, pending: Point, error: Exception) -> TrainedPoint:
        """Return the failed point, with the error and the warnings before it."""
        if self.training:
            self._add_step_warnings()
        step = self.counts["steps"] if self.training else None
        point = failed_point(pending, error, step, self.counts, self.warnings)
        return TrainedPoint(point, None, self.recordings.content)

    def _add_step_warnings(self) -> None:
        self.warnings += self.labels.warnings_of(self.problem.names)
        self.warnings += self.norms.warnings_of(self.problem.names, self.place)
        self.warnings += step_warnings(self.solver, self.counts, self.counts["steps"])
        self.warnings += self.recordings.warnings

    def record(self, model: nn.Module, batch: Any, epoch: int) -> None:
        """Let the study's recorders look at a step that was taken."""
        step = self.counts["steps"]
        validate = DeviceBatches(self.splits["validate"], self.study.device)
        self.recordings.take(step, lambda: Moment(self.problem, model, batch, validate, epoch, step))

    def call_back(self, epoch: int, losses: Mapping[int, Tensor | None], weights: Mapping[int, float]) -> None:
        """Call the study's callbacks with a step; losses and weights are by objective."""
        if not self.study.callbacks:
            return
        names = self.problem.names
        step = Step(
            point=self.job.id,
            preference=self.job.preference,
            epoch=epoch,
            step=self.counts["steps"],
            losses={names[i]: float(loss.detach()) for i, loss in losses.items() if loss is not None},
            weights={names[i]: weight for i, weight in weights.items()},
        )
        for callback in self.study.callbacks:
            callback(step)


def pending_point(problem: Problem, job: Job) -> Point:
    """Return the point of a job before it is trained."""
    corner = None if job.corner is None else problem.names[job.corner]
    return Point(job.id, tuple(job.preference.tolist()), corner, seed=job.seed)


def failed_point(
    pending: Point, error: Exception, step: int | None, counts: dict[str, int], warnings: Sequence[str]
) -> Point:
    """Return the failed point of a pending one.

    Args:
        pending: the point that was to be trained.
        error: the reason.
        step: the step of the error; None outside of the steps.
        counts, warnings: those of the steps before it.
    """
    first = (str(error).splitlines() or [""])[0]
    at = f" at step {step}" if isinstance(error, StepError) and step is not None else ""
    out_of_memory = memory.out_of_memory_reason(error)
    reason = f"{first}{at}" if isinstance(error, StepError) else out_of_memory or f"{type(error).__name__}: {first}"
    trace = None if isinstance(error, StepError) else "".join(traceback.format_exception(error)).strip()
    if out_of_memory:
        memory.forget(error)
    return Point(
        pending.id, pending.preference, pending.corner, "failed",
        counts=dict(counts), warnings=tuple(warnings), reason=reason, trace=trace, seed=pending.seed,
    )  # fmt: skip


def unmeasured_point(trained: Point, error: Exception) -> Point:
    """Return a trained point whose measuring failed: failed, with the reason, and all that a second try needs."""
    failed = failed_point(trained, error, None, trained.counts, trained.warnings)
    measures: dict[str, Any] = {"losses": {}, "values": {}, "errors": {}, "control_error": None}
    return replace(trained, state="failed", reason=failed.reason, trace=failed.trace, **measures)


def step_warnings(solver: Solver, counts: dict[str, int], steps: int) -> list[str]:
    """Return warnings if more than a few steps were relaxed or fell back."""
    warnings = []
    for name, what in (("relaxed", "relaxed the program of"), ("fell_back", "fell back on stand-in weights on")):
        share = counts[name] / max(steps, 1)
        if share > RARELY:
            warnings.append(f"{type(solver).__name__} {what} {share:.0%} of the steps")
    return warnings


def ray_warnings(solver: Solver, error: float, code: Code) -> list[str]:
    """Return a warning if a method that promises a ray ended far from it."""
    far = solver.follows_ray and error > OFF_RAY
    return [f"{error:.1f} degrees off the ray asked for ({code.word})"] if far else []


def to_float64(values: Tensor) -> np.ndarray:
    """Return a tensor as a float64 array."""
    return values.detach().double().cpu().numpy()

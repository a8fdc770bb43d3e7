"""Training one point: from a study and a job to a point and its weights.

Whatever goes wrong inside, in our code or in the user's, ends in a point that is "failed" with its reason; the rest of
the front goes on.
"""

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from paretomtl.autograd.gradients import StepResult, descend, follow, renormalise
from paretomtl.autograd.loss_function import closure
from paretomtl.errors import NonFiniteError
from paretomtl.point import Code, Point
from paretomtl.preference import control_error
from paretomtl.problem import Problem
from paretomtl.solver import EpochMeans, Scalarization, Solver, Status, Stepper, solved_status
from paretomtl.training import memory
from paretomtl.training.batches import Batches, Splits
from paretomtl.training.checkpoint import Checkpointer, Resumable, describe_jobs, learner_state, restore_learner
from paretomtl.training.measuring import measure_splits
from paretomtl.training.seeds import INITIAL, MEASURING, reproducible, reseed, seed_of
from paretomtl.training.study import Job, Step, Study
from paretomtl.training.watch import Means, Norms, Stall

OFF_RAY = 5.0  # degrees of control error from which a point carries a warning

RARELY = 0.05  # of the steps: a relaxed program or a fallback more often than this is worth a warning

COUNTED = {"relaxed": Code.RELAXED, "fell_back": Code.FELL_BACK}  # steps that a point counts

WATCHED = ("means", "norms", "stalled")  # what of `paretomtl.training.watch` a run has
Tick = Callable[[float], None]


class TrainedPoint(NamedTuple):
    """A point, and its weights where it did not fail."""

    point: Point
    weights: dict[str, Tensor] | None


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of its weights and buffers, on the CPU."""
    return {key: value.detach().to("cpu", copy=True) for key, value in model.state_dict().items()}


def pending_point(problem: Problem, job: Job) -> Point:
    """The point of a job, before it is trained."""
    corner = None if job.corner is None else problem.names[job.corner]
    return Point(job.id, tuple(job.preference.tolist()), corner, seed=job.seed)


def train_point(
    study: Study, job: Job, splits: Splits, tick: Tick | None = None, keeper: Checkpointer | None = None
) -> TrainedPoint:
    """Train and measure one point.

    Args:
        study: what is asked for.
        job: which of its points.
        splits: the problem's data, opened.
        tick: told the share of the steps done, now and then.
        keeper: of its checkpoints.
    """
    asked = pending_point(study.problem, job)
    run = Run(study, job, splits, tick, keeper)
    try:
        with reproducible():
            return run.train(asked)
    except Exception as error:
        return run.failed(asked, error)


def to_float64(values: Tensor) -> np.ndarray:
    """As numpy keeps them, in float64."""
    return values.detach().double().cpu().numpy()


def _loss_values(losses: dict[int, Tensor]) -> np.ndarray:
    return np.array([float(loss.detach()) for loss in losses.values()])


class SingleObjective(Scalarization):
    """How the corners are trained, whatever the study's method: their preference, one loss alone, is the weights."""

    def update(self, state: Any, losses: Tensor, preference: Tensor) -> tuple[Tensor, Any, Status]:
        """The weights of one loss alone."""
        return preference, state, solved_status(losses)


class Run(Resumable):
    """The training of one point: the loop's variables, so that a failure can say how far it came."""

    place: tuple[int, ...] = ()  # among the points that its `norms` are kept of

    def __init__(
        self, study: Study, job: Job, splits: Splits, tick: Tick | None = None, keeper: Checkpointer | None = None
    ):
        self.study, self.job, self.splits, self.tick, self.keeper = study, job, splits, tick, keeper
        self.name, self.problem = job.id, study.problem
        self.solver: Solver = study.solver if job.corner is None else SingleObjective()
        self.preference = torch.tensor(job.preference)
        self._clear()

    def _clear(self) -> None:
        """What its steps change."""
        m = len(self.problem.names)
        self.training = False
        self.counts: dict[str, int] = dict.fromkeys(("steps", "finish_steps", "skipped", *COUNTED), 0)
        self.warnings: list[str] = []
        self.epochs: list[EpochMeans] = []
        self.means, self.norms, self.stalled = Means(m), Norms(m), Stall()
        self.state: Any = None
        self.status: Status = solved_status(self.preference)

    @property
    def asked(self) -> list:
        """Its job."""
        return describe_jobs([self.job])

    def begin(self) -> None:
        """A new model, and all that trains it."""
        self._clear()
        reseed(seed_of(self.study.seed, self.job.seed, INITIAL))
        self.model = self.problem.model().to(self.study.device)
        self.training = True
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer, self.scheduler = self.study.build(self.parameters)
        self.budget = self.study.budget(self.splits)
        if self.job.corner is None:
            self.state = self.solver.init(self.study.sweep(self.job, self.budget))
        self.batches = Batches(self.study, self.job.seed, self.splits, self.budget, self.warnings)

    def checkpoint(self) -> dict[str, Any]:
        """The model, its optimizer, the method's state, and what the loop keeps an eye on."""
        return {
            "learner": learner_state(self.model, self.optimizer, self.scheduler),
            "batches": self.batches.checkpoint(),
            "state": self.state,
            "status": tuple(self.status),
            "counts": self.counts,
            "warnings": self.warnings,
            "epochs": pack_epochs(self.epochs),
            **{name: getattr(self, name).checkpoint() for name in WATCHED},
        }

    def restore(self, found: dict[str, Any]) -> None:
        """All of it, as it was."""
        restore_learner(found["learner"], self.model, self.optimizer, self.scheduler)
        self.batches.restore(found["batches"])
        self.state, self.status = found["state"], Status(*found["status"])
        self.counts, self.warnings[:] = found["counts"], found["warnings"]
        self.epochs = unpack_epochs(found["epochs"])
        for name in WATCHED:
            getattr(self, name).restore(found[name])

    def train(self, asked: Point) -> TrainedPoint:
        """From a new model to its point, or from a checkpoint."""
        self.start()
        self._steps(self.model)
        return self.ended(asked, self.model)

    def ended(self, asked: Point, model: nn.Module) -> TrainedPoint:
        """The point of a trained model: what the method makes of its end, and the measures."""
        status = self._finish(model)
        self.training = False
        self.warn_of_steps()
        reseed(seed_of(self.study.seed, self.job.seed, MEASURING))
        found = measure_splits(self.problem, model, self.splits, self.study.device)
        if not math.isfinite(status.residual):
            raise NonFiniteError(f"{float(status.residual)} in the residual of {type(self.solver).__name__}")
        error = float(control_error(np.array(found.losses["validate"]), self.job.preference))
        self.warnings += ray_warnings(self.solver, error, Code(int(status.code)))
        point = Point(
            asked.id, asked.preference, asked.corner, "done",
            **found._asdict(),
            control_error=error,
            status=Code(int(status.code)).word,
            residual=float(status.residual),
            counts=dict(self.counts),
            warnings=tuple(self.warnings),
            seed=asked.seed,
        )  # fmt: skip
        return TrainedPoint(point, weights_of(model))

    def _steps(self, model: nn.Module) -> None:
        for epoch, batch in self.batches:
            if epoch > len(self.epochs):
                end_epoch(self.problem, self.means, self.epochs)
            model.train()
            self.optimizer.zero_grad(set_to_none=True)
            losses = self.problem.loss_list(model, batch)
            weights = self._backward(model, batch, losses, self.parameters)
            if self.problem.deterministic and self.status.code == Code.STATIONARY:
                break  # before a step that would be rounding
            if weights is not None:
                self.optimizer.step()
                if self.scheduler is not None:
                    self.scheduler.step()
                if self.problem.project is not None:
                    self.problem.project(model)
                self.call_back(epoch, dict(enumerate(losses)), weights)
            self.counts["steps"] += 1
            if self.tick is not None:
                self.tick(self.counts["steps"] / self.budget)
            if self.problem.deterministic and self.solver.follows_ray and self._stalls():
                break
            self.keep()
        end_epoch(self.problem, self.means, self.epochs, partial=self.study.epochs is None)

    def _stalls(self) -> bool:
        return bool(self.stalled(self.status.residual.cpu().numpy()))

    def _backward(
        self, model: nn.Module, batch: Any, losses: list[Tensor | None], parameters: list[nn.Parameter]
    ) -> dict[int, float] | None:
        """Fill the gradients; the weights by objective if the method has weights; None where no loss has a share."""
        there = {i: loss for i, loss in enumerate(losses) if loss is not None}
        missing = [name for i, name in enumerate(self.problem.names) if i not in there]
        check_state(self.solver, missing)
        if not self.preference[list(there)].any():
            self.counts["skipped"] += 1
            self.means.add(list(there), _loss_values(there))
            return None
        r = renormalise(self.preference, list(there))
        taken = self._descend(model, batch, there, r, parameters)
        self.state, self.status = taken.state, taken.status
        for name, code in COUNTED.items():
            self.counts[name] += int(self.status.code == code)
        if taken.norms is not None:
            self.norms.add(self.counts["steps"], list(there), to_float64(taken.norms))
        weights = None if taken.weights is None else to_float64(taken.weights)
        if not self.problem.deterministic:  # exact losses need no means
            self.means.add(list(there), _loss_values(there), weights)
        return {} if weights is None else dict(zip(there, weights.tolist(), strict=True))

    def _descend(
        self, model: nn.Module, batch: Any, there: dict[int, Tensor], r: Tensor, parameters: list
    ) -> StepResult:
        names, losses = [self.problem.names[i] for i in there], list(there.values())
        if isinstance(self.solver, Stepper):
            again = closure(self.problem, model, batch)
            return follow(self.solver, self.state, again, losses, r, parameters, names)
        clip = None if self.job.corner is not None else self.study.clip
        return descend(self.solver, self.state, losses, r, parameters, names, clip=clip)

    def failed(self, asked: Point, error: Exception) -> TrainedPoint:
        """The point that an error made of it, with what led there."""
        if self.training:
            self.warn_of_steps()
        step = self.counts["steps"] if self.training else None
        return TrainedPoint(failed_point(asked, error, step, self.counts, self.warnings), None)

    def warn_of_steps(self) -> None:
        """What happened on the way that whoever reads the point should know."""
        self.warnings += self.norms.told(self.problem.names, self.place)
        self.warnings += step_warnings(self.solver, self.counts, self.counts["steps"])

    def _finish(self, model: nn.Module) -> Status:
        if self.problem.deterministic:
            exact = closure(self.problem, model)
            status = self.solver.finish(exact, self.state, self.preference) or self.status
            self.counts["finish_steps"] = exact.moves
            return status
        code = Code.SUSPECTED if self.solver.suspect(self.epochs, self.preference) else Code.SOLVED
        return self.status._replace(code=torch.tensor(int(code)))

    def call_back(self, epoch: int, losses: Mapping[int, Tensor | None], weights: Mapping[int, float]) -> None:
        """Tell the callbacks of a step."""
        if not self.study.callbacks:
            return
        names = self.problem.names
        told = Step(
            point=self.job.id,
            preference=self.job.preference,
            epoch=epoch,
            step=self.counts["steps"],
            losses={names[i]: float(loss.detach()) for i, loss in losses.items() if loss is not None},
            weights={names[i]: weight for i, weight in weights.items()},
        )
        for callback in self.study.callbacks:
            callback(told)


def check_state(solver: Solver, missing: Sequence[str]) -> None:
    """An error where labels are missing that a method with a state cannot go without."""
    if missing and solver.stateful:
        raise ValueError(f"{type(solver).__name__} carries its state from step to step and cannot go without {missing}")


def end_epoch(problem: Problem, means: Means, epochs: list[EpochMeans], partial: bool = False) -> None:
    """Close an epoch's means; an objective that had no label in all of it is an error."""
    if problem.deterministic or (partial and epochs and not means.seen.all()):
        return
    check_seen(problem.names, means.seen.tolist(), len(epochs))
    epochs.append(means.close())


def pack_epochs(epochs: Sequence[EpochMeans]) -> tuple[Tensor, Tensor] | None:
    """All epochs' means in two tensors."""
    if not epochs:
        return None
    return torch.stack([epoch.losses for epoch in epochs]), torch.stack([epoch.weights for epoch in epochs])


def unpack_epochs(found: tuple[Tensor, Tensor] | None) -> list[EpochMeans]:
    """The means of each epoch."""
    return [] if found is None else [EpochMeans(*means) for means in zip(*found, strict=True)]


def check_seen(names: Sequence[str], seen: Sequence[int], epoch: int) -> None:
    """An error where an objective had no label in an epoch."""
    for name, count in zip(names, seen, strict=True):
        if not count:
            raise ValueError(f"no batch of train had a label for {name!r} in epoch {epoch}")


def step_warnings(solver: Solver, counts: dict[str, int], steps: int) -> list[str]:
    """Warnings where more than a few of the steps were not solved as stated."""
    found = []
    for name, what in (("relaxed", "relaxed the program of"), ("fell_back", "fell back on min-norm weights on")):
        share = counts[name] / max(steps, 1)
        if share > RARELY:
            found.append(f"{type(solver).__name__} {what} {share:.0%} of the steps")
    return found


def ray_warnings(solver: Solver, error: float, code: Code) -> list[str]:
    """A warning where a method that promises a ray ended far from it."""
    far = solver.follows_ray and error > OFF_RAY
    return [f"{error:.1f} degrees off the ray asked for ({code.word})"] if far else []


def failed_point(
    asked: Point, error: Exception, step: int | None, counts: dict[str, int], warnings: Sequence[str]
) -> Point:
    """The point that an error made of one that was asked for; the step, if it was reached in training."""
    first = (str(error).splitlines() or [""])[0]
    at = f" at step {step}" if isinstance(error, NonFiniteError) and step is not None else ""
    out_of_memory = memory.out_of_memory_reason(error)
    reason = (
        f"{first}{at}" if isinstance(error, NonFiniteError) else out_of_memory or f"{type(error).__name__}: {first}"
    )
    trace = None if isinstance(error, NonFiniteError) else "".join(traceback.format_exception(error)).strip()
    if out_of_memory:
        memory.forget(error)
    return Point(
        asked.id, asked.preference, asked.corner, "failed",
        counts=dict(counts), warnings=tuple(warnings), reason=reason, trace=trace, seed=asked.seed,
    )  # fmt: skip

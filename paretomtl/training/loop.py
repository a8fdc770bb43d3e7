"""The training of one point alone: from a study and a job to a point and its weights.

Any error, in our code or in the user's, makes a point that is "failed", with its reason; the rest of the front goes on.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paretomtl.autograd.bounds import Within, within_model
from paretomtl.autograd.finite import check_gradients
from paretomtl.autograd.gradients import StepResult, descend, descend_collected, follow
from paretomtl.autograd.labels import Collected, check_labels, is_linear
from paretomtl.autograd.loss_function import closure
from paretomtl.autograd.units import convert
from paretomtl.point import Code, Point
from paretomtl.solver import Status, Stepper
from paretomtl.training.batches import BatchStream, Splits
from paretomtl.training.checkpoint import (
    Checkpointer,
    Resumable,
    describe_jobs,
    learner_state,
    pack_epochs,
    restore_learner,
    unpack_epochs,
)
from paretomtl.training.outcome import (
    STATUS_COUNTS,
    Outcome,
    Tick,
    TrainedPoint,
    pending_point,
    to_float64,
)
from paretomtl.training.seeds import INITIAL, reproducible, reseed, seed_of
from paretomtl.training.study import Job, Study
from paretomtl.training.watch import TRACKERS, Means, Stall, end_epoch


def train_point(
    study: Study, job: Job, splits: Splits, tick: Tick | None = None, keeper: Checkpointer | None = None
) -> TrainedPoint:
    """Train and measure one point.

    Args:
        study: the exploration.
        job: the point of it to train.
        splits: the problem's data, opened.
        tick: called now and then with the share of the steps that is done.
        keeper: stores checkpoints.
    """
    pending = pending_point(study.problem, job)
    run = Run(study, job, splits, tick, keeper)
    try:
        with reproducible():
            return run.train(pending)
    except Exception as error:
        return run.failed(pending, error)


def _loss_values(losses: dict[int, Tensor]) -> np.ndarray:
    return np.array([float(loss.detach()) for loss in losses.values()])


class Run(Outcome, Resumable):
    """The training of one point; the loop's variables are attributes, so that a failure can say how far it came."""

    def __init__(
        self, study: Study, job: Job, splits: Splits, tick: Tick | None = None, keeper: Checkpointer | None = None
    ):
        self.tick, self.keeper, self.name = tick, keeper, job.id
        super().__init__(study, job, splits)

    def _clear(self) -> None:
        super()._clear()
        self.means, self.stalled = Means(len(self.problem.names)), Stall()
        self.collected = Collected(len(self.problem.names))

    @property
    def jobs_key(self) -> list:
        """The job, in a list."""
        return describe_jobs([self.job])

    def begin(self) -> None:
        """Make a new model, its optimizer, and the method's state."""
        self._clear()
        reseed(seed_of(self.study.seed, self.job.seed, INITIAL))
        self.model = self.problem.model().to(self.study.device)
        self.training = True
        self.trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.parameters = list(self.trained.values())
        self.budget = self.study.budget(self.splits, self.job)
        self.schedule_steps = min(self.study.haste(self.job), self.study.budget(self.splits))  # of each step
        self.state = self.solver.init(self.study.sweep(self.job, self.budget))
        learned = [self.state.requires_grad_()] if self.solver.learned else []
        self.optimizer, self.scheduler = self.study.build([*self.parameters, *learned])
        self.batches = BatchStream(self.study, self.job.seed, self.splits, self.budget, self.warnings)

    def checkpoint(self) -> dict[str, Any]:
        """Return the model, its optimizer, the method's state, and what the loop counts and tracks."""
        return {
            "learner": learner_state(self.model, self.optimizer, self.scheduler),
            "batches": self.batches.checkpoint(),
            "state": self.state,
            "status": tuple(self.status),
            "counts": self.counts,
            "warnings": self.warnings,
            "epochs": pack_epochs(self.epochs),
            "collected": self.collected.checkpoint(),
            "recordings": self.recordings.checkpoint(),
            **{name: getattr(self, name).checkpoint() for name in TRACKERS},
        }

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Restore the training that `checkpoint` returned."""
        restore_learner(checkpoint["learner"], self.model, self.optimizer, self.scheduler)
        self.batches.restore(checkpoint["batches"])
        if self.solver.learned:  # the optimizer holds this very tensor
            with torch.no_grad():
                self.state.copy_(checkpoint["state"])
        else:
            self.state = checkpoint["state"]
        self.status = Status(*checkpoint["status"])
        self.counts, self.warnings[:] = checkpoint["counts"], checkpoint["warnings"]
        self.epochs = unpack_epochs(checkpoint["epochs"])
        self.collected.restore(checkpoint["collected"])
        if "recordings" in checkpoint:  # not in those of earlier versions
            self.recordings.restore(checkpoint["recordings"])
        for name in TRACKERS:
            getattr(self, name).restore(checkpoint[name])

    def train(self, pending: Point) -> TrainedPoint:
        """Train the point, from a new model or from a checkpoint."""
        self.start()
        self._take_steps(self.model)
        return self.conclude(pending, self.model)

    def _take_steps(self, model: nn.Module) -> None:
        for epoch, batch in self.batches:
            if epoch > len(self.epochs):
                end_epoch(self.problem, self.means, self.epochs)
            model.train()
            self.optimizer.zero_grad(set_to_none=True)
            losses, counts, _ = self.problem.counted_losses(model, batch)
            step = self._backward(model, batch, losses, counts)
            if self.problem.deterministic and self.status.code == Code.STATIONARY:
                break  # before a step that would be rounding
            if step is not None:
                check_gradients(self.trained)
                self.optimizer.step()
                self._step_scheduler()
                if self.problem.project is not None:
                    self.problem.project(model)
                if self.solver.observes:
                    again = closure(self.problem, model, batch, units=self.units)
                    self.state = self.solver.observe(self.state, again())
                self.call_back(epoch, *step)
                self.record(model, batch, epoch)
            self.counts["steps"] += 1
            if self.tick is not None:
                self.tick(self.counts["steps"] / self.budget)
            if self.problem.deterministic and self.solver.follows_ray and self._has_stalled():
                break
            self.keep()
        is_partial = self.study.epochs is None or self.study.haste(self.job) > 1
        end_epoch(self.problem, self.means, self.epochs, partial=is_partial)

    def _step_scheduler(self) -> None:
        if self.scheduler is not None:
            for _ in range(self.schedule_steps):
                self.scheduler.step()

    def _has_stalled(self) -> bool:
        return bool(self.stalled(self.status.residual.cpu().numpy()))

    def _backward(
        self, model: nn.Module, batch: Any, losses: list[Tensor | None], counts: list[float]
    ) -> tuple[dict[int, Tensor], dict[int, float]] | None:
        """Fill the gradients; return the step's losses and weights by objective.

        There are no weights where the method has none. Without a step it returns None: the preference gives no
        labelled loss a share, or labels are still to come.
        """
        labelled = {i: loss for i, loss in enumerate(losses) if loss is not None}
        present = list(labelled)
        if present and (isinstance(self.solver, Stepper) or self.solver.observes):
            check_labels(self.solver, self.problem.names, present)
        preference = self.labels.shares(self.solver, self.preference, present)
        self.labels.add(present)
        if labelled and not self.problem.deterministic:  # exact losses need no means
            self.means.add(present, _loss_values(labelled), np.array([counts[i] for i in present]))
        if not present or (is_linear(self.solver) and not preference.any()):
            self.counts["skipped"] += 1
            return None
        if is_linear(self.solver) or (len(present) == len(losses) and self.collected.is_empty):
            return self._count(labelled, self._descend(model, batch, labelled, preference))
        self.collected.add(labelled, counts, self.parameters, self.problem.names)
        if not self.collected.is_complete:
            self.counts["collected"] = self.counts.get("collected", 0) + 1
            return None
        return self._descend_collected()

    def _descend(self, model: nn.Module, batch: Any, labelled: dict[int, Tensor], r: Tensor) -> StepResult:
        names, losses = [self.problem.names[i] for i in labelled], convert(labelled, self.units)
        if isinstance(self.solver, Stepper):
            again = closure(self.problem, model, batch, units=self.units)
            return follow(self.solver, self.state, again, losses, r, self.parameters, names)
        return descend(self.solver, self.state, losses, r, self.parameters, names, clip=self._clip, within=self._within)

    def _descend_collected(self) -> tuple[dict[int, Tensor], dict[int, float]]:
        losses, gradients = self.collected.means()
        result = descend_collected(
            self.solver, self.state, convert(dict(enumerate(losses)), self.units),
            gradients if self.units is None else self.units.convert_gradients(gradients),
            self.preference, self.parameters, self.problem.names, clip=self._clip, within=self._within,
        )  # fmt: skip
        self.collected.clear()
        return self._count(dict(enumerate(losses)), result)

    @property
    def _within(self) -> Within | None:
        project = self.problem.project
        return None if project is None else partial(within_model, project, self.model)

    @property
    def _clip(self) -> float | None:
        return None if self.job.corner is not None else self.study.clip

    def _count(self, losses: dict[int, Tensor], result: StepResult) -> tuple[dict[int, Tensor], dict[int, float]]:
        """Keep the state and the status of a step, add it to the counts and means, and return its losses, weights."""
        self.state, self.status = result.state, result.status
        for name, code in STATUS_COUNTS.items():
            self.counts[name] += int(self.status.code == code)
        if result.norms is not None:
            self.norms.add(self.counts["steps"], list(losses), to_float64(result.norms))
        if result.weights is None:
            return losses, {}
        weights = to_float64(result.weights)
        if not self.problem.deterministic:
            self.means.add_weights(list(losses), weights)
        return losses, dict(zip(losses, weights.tolist(), strict=True))

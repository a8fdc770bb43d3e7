"""A fleet: many points of one architecture trained in one program, with stacked weights and one solver call for all.

It pays where a step is so short that calling torch takes most of it. Each point gets the numbers that it would get
alone, but for rounding: it sees the same batches, and its optimizer treats each number on its own, so that points
never mix. `paretomtl.preflight.fleet_check` refuses studies for which that does not hold.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.autograd.bounds import within_model
from paretomtl.autograd.finite import check_gradients
from paretomtl.autograd.gradients import StepResult, descend
from paretomtl.autograd.labels import LabelCounts, check_labels
from paretomtl.autograd.loss_function import SeparateLosses
from paretomtl.autograd.units import convert
from paretomtl.errors import NoLabelError, StepError
from paretomtl.point import Code
from paretomtl.solver import EpochMeans, Status
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
from paretomtl.training.rows import evaluate_points, narrow_rows, stack_weights, take_rows
from paretomtl.training.seeds import INITIAL, reproducible, reseed, seed_of
from paretomtl.training.study import Job, Study
from paretomtl.training.watch import TRACKERS, Means, Norms, Stall, end_epoch


def train_fleet(
    study: Study, jobs: Sequence[Job], splits: Splits, tick: Tick | None = None, keeper: Checkpointer | None = None
) -> Iterator[TrainedPoint]:
    """Train and measure points that share a seed, each as it would be alone.

    Args:
        study: the exploration.
        jobs: the points of it to train, all preferences or all corners.
        splits: the problem's data, opened.
        tick: called now and then with the share of the steps that is done.
        keeper: stores checkpoints.
    """
    fleet = Fleet(study, jobs, splits, tick, keeper)
    error = None
    try:
        with reproducible():
            fleet.train()
    except Exception as raised:
        error = raised
    for k in range(len(jobs)):
        yield fleet.conclude(k, error)


class Fleet(Resumable):
    """Points in one program; the rows of weights are the points still in training, in the order of `live`."""

    def __init__(
        self,
        study: Study,
        jobs: Sequence[Job],
        splits: Splits,
        tick: Tick | None = None,
        keeper: Checkpointer | None = None,
    ):
        self.study, self.jobs, self.splits, self.tick, self.keeper = study, jobs, splits, tick, keeper
        self.name, self.problem = jobs[0].id, study.problem
        self.preferences = torch.tensor(np.stack([job.preference for job in jobs]))
        self._clear()

    def _clear(self) -> None:
        """Reset all that the steps change."""
        self.outcomes = [Outcome(self.study, job, self.splits) for job in self.jobs]
        self.solver = self.outcomes[0].solver
        m, points = len(self.problem.names), (len(self.jobs),)
        self.means, self.norms, self.stalled = Means(m, points), Norms(m, points), Stall(points)
        self.labels = LabelCounts(m)
        for k, outcome in enumerate(self.outcomes):
            outcome.norms, outcome.labels, outcome.place = self.norms, self.labels, (k,)
        self.steps, self.skipped = 0, 0
        self.counts = {name: np.zeros(points, int) for name in STATUS_COUNTS}
        self.epochs: list[EpochMeans] = []
        self.warnings: list[str] = []
        self.live = list(range(len(self.jobs)))
        self.rows: dict[str, nn.Parameter] = {}
        self.left: dict[int, dict[str, Tensor]] = {}  # weights of the points that have left the program
        self.errors: dict[int, Exception] = {}
        self.state: Any = None
        self.status: Status | None = None

    @property
    def jobs_key(self) -> list:
        """All jobs of the fleet."""
        return describe_jobs(self.jobs)

    def begin(self) -> None:
        """Make a new model, a row of its weights for each point, the optimizer, and the method's state."""
        self._clear()
        reseed(seed_of(self.study.seed, self.jobs[0].seed, INITIAL))
        self.model = self.problem.model().to(self.study.device)
        self.evaluate = SeparateLosses(self.problem, self.model, [])
        self.rows = stack_weights(self.model, len(self.jobs))
        self.optimizer, self.scheduler = self.study.build(list(self.rows.values()))
        self.budget = self.study.budget(self.splits)
        self.state = self.solver.init(self.study.sweep(self.jobs, self.budget))
        self.batches = BatchStream(self.study, self.jobs[0].seed, self.splits, self.budget, self.warnings)
        for outcome in self.outcomes:
            outcome.training = True

    def checkpoint(self) -> dict[str, Any]:
        """Return the rows and what trains them, the points that have left, and what the loop counts and tracks."""
        return {
            "live": self.live,
            "rows": {name: p.detach() for name, p in self.rows.items()},
            "learner": learner_state(self.model, self.optimizer, self.scheduler),
            "batches": self.batches.checkpoint(),
            "state": self.state,
            "status": None if self.status is None else tuple(self.status),
            "left": {k: self._checkpoint_point(k) for k in self.left},
            "errors": {k: str(error) for k, error in self.errors.items()},
            "recordings": [outcome.recordings.checkpoint() for outcome in self.outcomes],
            "steps": self.steps,
            "skipped": self.skipped,
            "counts": self.counts,
            "warnings": self.warnings,
            "epochs": pack_epochs(self.epochs),
            **{name: getattr(self, name).checkpoint() for name in TRACKERS},
        }

    def _checkpoint_point(self, k: int) -> dict[str, Any]:
        """Return the weights and the outcome of a point that has left."""
        outcome = self.outcomes[k]
        return {
            "weights": self.left[k],
            "state": outcome.state,
            "status": tuple(outcome.status),
            "counts": outcome.counts,
            "epochs": len(outcome.epochs),
        }

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Restore the training that `checkpoint` returned."""
        self.live = checkpoint["live"]
        if len(self.live) < len(self.jobs):
            self.rows = narrow_rows(self.rows, self.optimizer, self.live)
        with torch.no_grad():
            for name, p in self.rows.items():
                p.copy_(checkpoint["rows"][name])
        restore_learner(checkpoint["learner"], self.model, self.optimizer, self.scheduler)
        self.batches.restore(checkpoint["batches"])
        self.state, self.status = checkpoint["state"], checkpoint["status"] and Status(*checkpoint["status"])
        self.steps, self.skipped, self.counts = checkpoint["steps"], checkpoint["skipped"], checkpoint["counts"]
        self.warnings[:] = checkpoint["warnings"]
        self.epochs = unpack_epochs(checkpoint["epochs"])
        for name in TRACKERS:
            getattr(self, name).restore(checkpoint[name])
        for outcome, recordings in zip(self.outcomes, checkpoint.get("recordings", ()), strict=False):
            outcome.recordings.restore(recordings)  # which checkpoints of earlier versions have not
        # any other error ends the whole fleet
        self.errors = {k: StepError(text) for k, text in checkpoint["errors"].items()}
        for k, part in checkpoint["left"].items():
            outcome, self.left[k] = self.outcomes[k], part["weights"]
            outcome.state, outcome.status, outcome.counts = part["state"], Status(*part["status"]), part["counts"]
            outcome.epochs = means_of_point(self.epochs[: part["epochs"]], k)

    def train(self) -> None:
        """Take all steps; `conclude` then makes the points."""
        self.start()
        for epoch, batch in self.batches:
            if epoch > len(self.epochs):
                end_epoch(self.problem, self.means, self.epochs)
            self.model.train()
            result = self._backward(batch)
            if not self.live:
                return
            if result is not None:
                self.optimizer.step()
                if self.scheduler is not None:
                    self.scheduler.step()
                self._project()
                if self.solver.observes:
                    self._observe(batch)
                self._call_back(epoch, *result)
                self._record(batch, epoch)
            self.steps += 1
            if self.tick is not None:
                self.tick(self.steps / self.budget)
            if self.problem.deterministic and self.solver.follows_ray:
                assert self.status is not None
                stalled = self.stalled(self._spread(to_float64(self.status.residual)))[self.live]
                self._leave([k for k, over in zip(self.live, stalled, strict=True) if over])
                if not self.live:
                    return
            self.keep()
        end_epoch(self.problem, self.means, self.epochs, partial=self.study.epochs is None)
        self._leave(self.live)

    def _backward(self, batch: Any) -> tuple[list[int], list[Tensor], StepResult] | None:
        """Fill the gradients; return the labelled objectives, their losses and the result, or None without a label."""
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                losses = self._losses(batch)
            except NoLabelError:
                self.skipped += 1
                self.labels.add([])
                return None
            present = list(self.evaluate.labels)
            r = self._shares(present)
            clip = None if self.jobs[0].corner is not None else self.study.clip
            names = [self.problem.names[i] for i in present]
            try:
                within = None if self.problem.project is None else self._within
                seen = convert(dict(zip(present, losses, strict=True)), self.outcomes[0].units)
                result = descend(
                    self.solver, self.state, seen, r, list(self.rows.values()), names, clip=clip, within=within
                )
                check_gradients(self.rows, stacked=True)
            except StepError as error:
                if error.point is None:
                    raise
                self._fail(error.point, error)
                if not self.live:
                    return None
                continue
            self._count(present, losses, result)
            if self.problem.deterministic:
                losses, result = self._drop_stationary(losses, result)
            return present, losses, result

    def _losses(self, batch: Any) -> list[Float[Tensor, " p"]]:
        self.evaluate.labels.clear()
        return list(evaluate_points(self.evaluate, self.rows, batch))

    def _shares(self, present: list[int]) -> Float[Tensor, "p k"]:
        """Return the preferences for the objectives that have a label."""
        check_labels(self.solver, self.problem.names, present)
        shares = self.labels.shares(self.solver, self.preferences[self.live], present)
        check_shares(shares, self.problem.names, present)
        return shares

    def _count(self, present: list[int], losses: list[Tensor], result: StepResult) -> None:
        """Keep the state and the status of a step, and add it to the counts and the running means."""
        self.state, self.status = result.state, result.status
        for name, code in STATUS_COUNTS.items():
            self.counts[name][self.live] += (result.status.code == code).cpu().numpy()
        if result.norms is not None:
            self.norms.add(self.steps, present, self._spread(to_float64(result.norms)))
        self.labels.add(present)
        if not self.problem.deterministic:
            counts = np.array([self.evaluate.counts[i] for i in present])
            self.means.add(present, self._spread(to_float64(torch.stack(losses, dim=-1))), counts)
            if result.weights is not None:
                self.means.add_weights(present, self._spread(to_float64(result.weights)))

    def _spread(self, values: np.ndarray) -> np.ndarray:
        """Spread the rows of the points in training over all points; rows of the others are 0 and never read."""
        rows = np.zeros((len(self.jobs), *values.shape[1:]))
        rows[self.live] = values
        return rows

    def _drop_stationary(self, losses: list[Tensor], result: StepResult) -> tuple[list[Tensor], StepResult]:
        """Take stationary points out of the program, before a step that would be rounding."""
        stationary = (result.status.code == Code.STATIONARY).tolist()
        if not any(stationary):
            return losses, result
        moving = [k for k, stays in enumerate(stationary) if not stays]
        self._leave([k for k, stays in zip(self.live, stationary, strict=True) if stays])
        weights = None if result.weights is None else result.weights[moving]
        return [loss[moving] for loss in losses], result._replace(weights=weights)

    def _fail(self, row: int, error: StepError) -> None:
        self.errors[self.live[row]] = error
        self._leave([self.live[row]])

    def _leave(self, points: Sequence[int]) -> None:
        """Take points out of the program, and keep the weights and the outcome of each."""
        if not points:
            return
        for k in points:
            row, outcome = self.live.index(k), self.outcomes[k]
            self.left[k] = {name: p.detach()[row].clone() for name, p in self.rows.items()}
            outcome.state = take_rows(self.state, row)
            if self.status is not None:
                outcome.status = Status(self.status.code[row], self.status.residual[row])
            outcome.counts |= {"steps": self.steps, "skipped": self.skipped}
            outcome.counts |= {name: int(counts[k]) for name, counts in self.counts.items()}
            outcome.epochs = means_of_point(self.epochs, k)
        keep = [row for row, k in enumerate(self.live) if k not in points]
        self.live = [self.live[row] for row in keep]
        if self.live:
            self.state = take_rows(self.state, keep)
            if self.status is not None:
                self.status = Status(self.status.code[keep], self.status.residual[keep])
            self.rows = narrow_rows(self.rows, self.optimizer, keep)

    @torch.no_grad()
    def _observe(self, batch: Any) -> None:
        """Show the method the losses after its step."""
        losses = self._losses(batch)
        seen = convert(dict(enumerate(losses)), self.outcomes[0].units)
        self.state = self.solver.observe(self.state, torch.stack(seen, dim=-1))

    def _project(self) -> None:
        """Apply the problem's bounds, point by point."""
        if self.problem.project is None:
            return
        for row in range(len(self.live)):
            self._load({name: p[row] for name, p in self.rows.items()})
            self.problem.project(self.model)
            with torch.no_grad():
                for name, p in self.rows.items():
                    p[row] = self.model.get_parameter(name)

    def _within(self, parameters: Sequence[Tensor], values: Float[Tensor, "p n"]) -> Float[Tensor, "p n"]:
        """Return values of some rows of weights, brought within the problem's bounds point by point."""
        assert self.problem.project is not None
        names = {id(p): name for name, p in self.rows.items()}
        own = [self.model.get_parameter(names[id(p)]) for p in parameters]
        bounded = []
        for row, flat in enumerate(values):
            self._load({name: p[row] for name, p in self.rows.items()})
            bounded.append(within_model(self.problem.project, self.model, own, flat))
        return torch.stack(bounded)

    @torch.no_grad()
    def _load(self, weights: dict[str, Tensor]) -> None:
        """Load one point's weights into the model."""
        for name, value in weights.items():
            self.model.get_parameter(name).copy_(value)

    def _call_back(self, epoch: int, present: list[int], losses: list[Tensor], result: StepResult) -> None:
        if not self.study.callbacks:
            return
        for row, k in enumerate(self.live):
            weights = {} if result.weights is None else dict(zip(present, result.weights[row].tolist(), strict=True))
            self.outcomes[k].counts["steps"] = self.steps
            self.outcomes[k].call_back(epoch, {i: x[row] for i, x in zip(present, losses, strict=True)}, weights)

    def _record(self, batch: Any, epoch: int) -> None:
        """Let the recorders look at each point, one after the other, in the plain model."""
        if not self.study.recorders:
            return
        for row, k in enumerate(self.live):
            self._load({name: p[row] for name, p in self.rows.items()})
            self.outcomes[k].counts["steps"] = self.steps
            self.outcomes[k].record(self.model, batch, epoch)

    def conclude(self, k: int, error: Exception | None) -> TrainedPoint:
        """Return the measured point of a job; a failed one if `error` ended the fleet before the point had left."""
        outcome, pending = self.outcomes[k], pending_point(self.problem, self.jobs[k])
        outcome.warnings += self.warnings
        cause = self.errors.get(k, None if k in self.left else error)
        if cause is None:
            try:
                with reproducible():
                    self._load(self.left[k])
                    return outcome.conclude(pending, self.model)
            except Exception as late:
                cause = late
        if k not in self.left:
            outcome.counts["steps"] = self.steps
        return outcome.failed(pending, cause)


def check_shares(shares: Float[Tensor, "p k"], names: Sequence[str], present: Sequence[int]) -> None:
    """Raise where a batch lacks labels, and a point gives none of the others a share: alone it would skip the batch."""
    if not shares.any(dim=1).all():
        missing = [name for i, name in enumerate(names) if i not in present]
        raise ValueError(
            f"a batch has no label of {missing}, and a point to which nothing else matters cannot skip it in a fleet; "
            "leave fleet= out"
        )


def means_of_point(epochs: Sequence[EpochMeans], k: int) -> list[EpochMeans]:
    """Return the epochs' means of one point."""
    return [EpochMeans(*(part[k] for part in epoch)) for epoch in epochs]

"""Training one point: from a study and a job to a point and its weights.

Whatever goes wrong inside, in our code or in the user's, ends in a point that is "failed" with its reason; the rest of
the front goes on.
"""

import itertools
import math
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from paretomtl.gradients import Losses, NonFinite, descend
from paretomtl.point import Point
from paretomtl.preference import control_error
from paretomtl.problem import Problem
from paretomtl.solver import Code, EpochMeans, Scalarization, Solver, Status, solved
from paretomtl.training.measuring import measure, to_device
from paretomtl.training.seeds import INITIAL, MEASURING, reproducible, reseed, reseed_loader, seed_of
from paretomtl.training.study import Job, Step, Study

STALL = 100  # steps of a deterministic problem without a smaller residual, after which more of the same is no use
OFF_RAY = 5.0  # degrees of control error from which a point carries a warning

Splits = dict[str, Iterable[Any]]
Tick = Callable[[float], None]


class Trained(NamedTuple):
    """A point, and its weights where it did not fail."""

    point: Point
    weights: dict[str, Tensor] | None


def train_point(study: Study, job: Job, splits: Splits, tick: Tick | None = None) -> Trained:
    """Train and measure one point.

    Args:
        study: what is asked for.
        job: which of its points.
        splits: the problem's data, opened.
        tick: told the share of the steps done, now and then.
    """
    corner = None if job.corner is None else study.problem.names[job.corner]
    asked = Point(job.id, tuple(job.preference.tolist()), corner)
    run = _Run(study, job, splits, tick)
    try:
        with reproducible():
            return run.train(asked)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        at = f" at step {run.step}" if isinstance(error, NonFinite) and run.training else ""
        reason = f"{first}{at}" if isinstance(error, NonFinite) else f"{type(error).__name__}: {first}"
        return Trained(_failed(asked, reason, error, run), None)


def _failed(asked: Point, reason: str, error: Exception, run: "_Run") -> Point:
    trace = None if isinstance(error, NonFinite) else "".join(traceback.format_exception(error)).strip()
    return Point(
        asked.id, asked.preference, asked.corner, "failed",
        counts=dict(run.counts), warnings=tuple(run.warnings), reason=reason, trace=trace,
    )  # fmt: skip


class _Alone(Scalarization):
    """One loss alone: how the corners are trained, whatever the study's method."""

    def __init__(self, i: int):
        self._i = i

    def update(self, state: Any, losses: Tensor, preference: Tensor) -> tuple[Tensor, Any, Status]:
        return torch.eye(len(preference), dtype=torch.float64)[self._i], state, solved(losses)


class _Run:
    """The training of one point: the loop's variables, so that a failure can say how far it came."""

    def __init__(self, study: Study, job: Job, splits: Splits, tick: Tick | None):
        self.study, self.job, self.splits, self.tick = study, job, splits, tick
        self.problem: Problem = study.problem
        self.solver: Solver = study.solver if job.corner is None else _Alone(job.corner)
        self.step, self.training = 0, False
        self.counts: dict[str, int] = dict.fromkeys(("steps", "finish_steps", "skipped", "relaxed", "fell_back"), 0)
        self.warnings: list[str] = []
        self.epochs: list[EpochMeans] = []

    def train(self, asked: Point) -> Trained:
        reseed(seed_of(self.study.seed, 0, INITIAL))
        model = self.problem.model().to(self.study.device)
        self.training = True
        status = self._steps(model)
        self.training = False
        reseed(seed_of(self.study.seed, 0, MEASURING))
        measured = {
            split: measure(self.problem, model, batches, self.study.device, split)
            for split, batches in self.splits.items()
            if split != "train"
        }
        losses = {split: m.losses for split, m in measured.items()}
        if not math.isfinite(status.residual):
            raise NonFinite(f"{float(status.residual)} in the residual of {type(self.solver).__name__}")
        error = float(control_error(np.array(losses["validate"]), self.job.preference))
        if self.solver.follows_ray and error > OFF_RAY:
            self.warnings.append(f"{error:.1f} degrees off the ray asked for ({Code(int(status.code)).word})")
        point = Point(
            asked.id, asked.preference, asked.corner, "done",
            losses=losses,
            values={split: m.values for split, m in measured.items()},
            control_error=error,
            status=Code(int(status.code)).word,
            residual=float(status.residual),
            counts=dict(self.counts),
            warnings=tuple(self.warnings),
        )  # fmt: skip
        return Trained(point, {key: value.detach().cpu() for key, value in model.state_dict().items()})

    def _steps(self, model: nn.Module) -> Status:
        parameters = [p for p in model.parameters() if p.requires_grad]
        built = self.study.optimizer(parameters)
        optimizer, scheduler = built if isinstance(built, tuple) else (built, None)
        preference = torch.tensor(self.job.preference)
        state = self.solver.init(self.study.sweep(self.job, self._budget()))
        status, stalled = None, _Stall()
        means = _Means(len(self.problem.names))
        for epoch, batch in self._batches():
            if epoch > len(self.epochs):
                self._end_epoch(means)
            model.train()
            optimizer.zero_grad(set_to_none=True)
            losses = self.problem.loss_list(model, batch)
            present = [i for i, loss in enumerate(losses) if loss is not None]
            self._check_labels(present)
            if present:
                status, state, weights = self._descend(state, losses, present, preference, parameters)
                means.add(present, losses, weights)
                if self.problem.deterministic and status.code == Code.STATIONARY:
                    break  # before a step that would be rounding
                optimizer.step()
                if scheduler is not None:
                    scheduler.step()
                if self.problem.project is not None:
                    self.problem.project(model)
                self._call_back(epoch, losses, present, weights)
            self.step += 1
            self.counts["steps"] += 1
            if self.tick is not None:
                self.tick(self.step / self._budget())
            if self.problem.deterministic and status is not None and stalled(status):
                break
        self._end_epoch(means, partial=self.study.epochs is None)
        assert status is not None
        return self._finish(model, state, status, preference)

    def _descend(self, state, losses, present, preference, parameters):
        r = preference if len(present) == len(losses) else _renormalised(preference, present)
        names = [self.problem.names[i] for i in present]
        weights, state, status = descend(self.solver, state, [losses[i] for i in present], r, parameters, names)
        for code, name in ((Code.RELAXED, "relaxed"), (Code.FELL_BACK, "fell_back")):
            self.counts[name] += int((status.code == code).sum())
        return status, state, weights

    def _finish(self, model: nn.Module, state: Any, status: Status, preference: Tensor) -> Status:
        if self.problem.deterministic:
            closure = Losses(self.problem, model)
            status = self.solver.finish(closure, state, preference) or status
            self.counts["finish_steps"] = closure.moves
            return status
        suspected = self.solver.suspect(self.epochs, preference)
        code = torch.tensor(int(Code.SUSPECTED if suspected else Code.SOLVED))
        return Status(code, status.residual)

    def _check_labels(self, present: list[int]) -> None:
        if len(present) == len(self.problem.names):
            return
        missing = [name for i, name in enumerate(self.problem.names) if i not in present]
        if self.solver.stateful:
            raise ValueError(
                f"{type(self.solver).__name__} carries its state from step to step and cannot go without {missing}"
            )
        if not present:
            self.counts["skipped"] += 1

    def _end_epoch(self, means: "_Means", partial: bool = False) -> None:
        """Close an epoch's means; an objective that had no label in all of it is an error."""
        if self.problem.deterministic or (partial and self.epochs and not all(means.seen)):
            return
        for name, seen in zip(self.problem.names, means.seen, strict=True):
            if not seen:
                raise ValueError(f"no batch of train had a label for {name!r} in epoch {len(self.epochs)}")
        self.epochs.append(means.close())

    def _call_back(self, epoch: int, losses: list, present: list[int], weights: Tensor) -> None:
        if not self.study.callbacks:
            return
        names = [self.problem.names[i] for i in present]
        told = Step(
            self.job.id, self.job.preference, epoch, self.step,
            {name: float(losses[i].detach()) for name, i in zip(names, present, strict=True)},
            dict(zip(names, weights.tolist(), strict=True)),
        )  # fmt: skip
        for callback in self.study.callbacks:
            callback(told)

    def _budget(self) -> int:
        if self.study.steps is not None:
            return self.study.steps
        assert self.study.epochs is not None
        return self.study.epochs * len(self.splits["train"])  # type: ignore[arg-type]

    def _batches(self) -> Iterator[tuple[int, Any]]:
        """(epoch, batch) until the budget is spent; every epoch starts from its own seed."""
        if self.problem.deterministic:
            yield from ((0, None) for _ in range(self._budget()))
            return
        train, left = self.splits["train"], self._budget()
        for epoch in itertools.count():
            seed = seed_of(self.study.seed, 0, epoch)
            reseed(seed)
            if reseed_loader(train, seed) and epoch == 0:
                self.warnings.append("train shuffles without a generator of its own; it was given the study's seed")
            before = left
            for batch in itertools.islice(train, left):
                yield epoch, to_device(batch, self.study.device)
                left -= 1
            if left == 0:
                return
            if left == before:
                raise ValueError(f"train gave no batch in epoch {epoch}")


class _Means:
    """Running means of losses and weights over an epoch, per objective, over the batches that have its label."""

    def __init__(self, m: int):
        self.m = m
        self._clear()

    def _clear(self):
        self.losses = torch.zeros(self.m, dtype=torch.float64)
        self.weights, self.seen = self.losses.clone(), [0] * self.m

    def add(self, present: list[int], losses: list, weights: Tensor) -> None:
        for i, weight in zip(present, weights.tolist(), strict=True):
            self.losses[i] += float(losses[i].detach())
            self.weights[i] += weight
            self.seen[i] += 1

    def close(self) -> EpochMeans:
        seen = torch.tensor(self.seen, dtype=torch.float64)
        means = EpochMeans(self.losses / seen, self.weights / seen)
        self._clear()
        return means


class _Stall:
    """True once the residual has not fallen for `STALL` steps and is not 0."""

    def __init__(self):
        self.best, self.since = float("inf"), 0

    def __call__(self, status: Status) -> bool:
        residual = float(status.residual)
        self.since = 0 if residual < self.best or residual == 0 else self.since + 1
        self.best = min(self.best, residual)
        return self.since >= STALL


def _renormalised(preference: Tensor, present: list[int]) -> Tensor:
    """The preference over the objectives that a batch has labels for; equal where none of these matters."""
    part = preference[present]
    return part / part.sum() if part.sum() > 0 else torch.full_like(part, 1 / len(part))

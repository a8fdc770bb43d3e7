"""A fleet: many points of one architecture trained in one program, their weights stacked; one solver call for all.

It pays where a step is so short that calling torch takes most of it. Each point's numbers are those of the point
trained alone, but for rounding: it sees the same batches, and optimizers that treat each number on its own never mix
rows; others are refused.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._pytree import tree_map

from paretomtl.autograd.gradients import StepResult, descend, renormalise
from paretomtl.autograd.loss_function import SeparateLosses
from paretomtl.conditioned.losses import UNFIT, vmapped_attention
from paretomtl.conditioned.rehearsal import CLOSE
from paretomtl.errors import NoLabelError, NonFiniteError
from paretomtl.point import Code
from paretomtl.solver import EpochMeans, Status, Stepper
from paretomtl.training.batches import Batches, Splits
from paretomtl.training.checkpoint import Checkpointer, Resumable, describe_jobs, learner_state, restore_learner
from paretomtl.training.loop import (
    COUNTED,
    WATCHED,
    Run,
    Tick,
    TrainedPoint,
    check_state,
    end_epoch,
    pack_epochs,
    pending_point,
    to_float64,
    unpack_epochs,
)
from paretomtl.training.seeds import INITIAL, reproducible, reseed, seed_of
from paretomtl.training.study import Job, Study
from paretomtl.training.watch import Means, Norms, Stall

TRIED = 3  # steps in which an optimizer is watched


def train_fleet(
    study: Study, jobs: Sequence[Job], splits: Splits, tick: Tick | None = None, keeper: Checkpointer | None = None
) -> Iterator[TrainedPoint]:
    """Train and measure points that share a seed, each as it would be alone.

    Args:
        study: what is asked for.
        jobs: which of its points; preferences or corners.
        splits: the problem's data, opened.
        tick: told the share of the steps done, now and then.
        keeper: of its checkpoints.
    """
    fleet = Fleet(study, jobs, splits, tick, keeper)
    error = None
    try:
        with reproducible():
            fleet.train()
    except Exception as raised:
        error = raised
    for k in range(len(jobs)):
        yield fleet.ended(k, error)


class Fleet(Resumable):
    """Points in one program; rows of weights are those of the points still in training, in the order of `live`."""

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
        """What its steps change."""
        self.runs = [Run(self.study, job, self.splits) for job in self.jobs]
        self.solver = self.runs[0].solver
        m, points = len(self.problem.names), (len(self.jobs),)
        self.means, self.norms, self.stalled = Means(m, points), Norms(m, points), Stall(points)
        for k, run in enumerate(self.runs):
            run.norms, run.place = self.norms, (k,)
        self.steps, self.skipped = 0, 0
        self.counts = {name: np.zeros(points, int) for name in COUNTED}
        self.epochs: list[EpochMeans] = []
        self.warnings: list[str] = []
        self.live = list(range(len(self.jobs)))
        self.rows: dict[str, nn.Parameter] = {}
        self.left: dict[int, dict[str, Tensor]] = {}  # weights of those that are no longer in training
        self.errors: dict[int, Exception] = {}
        self.state: Any = None
        self.status: Status | None = None

    @property
    def asked(self) -> list:
        """All of its jobs."""
        return describe_jobs(self.jobs)

    def begin(self) -> None:
        """A new model, its weights once a point, and all that trains them."""
        self._clear()
        reseed(seed_of(self.study.seed, self.jobs[0].seed, INITIAL))
        self.model = self.problem.model().to(self.study.device)
        self.evaluate = SeparateLosses(self.problem, self.model, [])
        self.rows = stack_weights(self.model, len(self.jobs))
        self.optimizer, self.scheduler = self.study.build(list(self.rows.values()))
        self.budget = self.study.budget(self.splits)
        if self.jobs[0].corner is None:
            self.state = self.solver.init(self.study.sweep(self.jobs, self.budget))
        self.batches = Batches(self.study, self.jobs[0].seed, self.splits, self.budget, self.warnings)
        for run in self.runs:
            run.training = True

    def checkpoint(self) -> dict[str, Any]:
        """The rows and what trains them, what is left of the points that are out, and what the loop keeps an eye on."""
        return {
            "live": self.live,
            "rows": {name: p.detach() for name, p in self.rows.items()},
            "learner": learner_state(self.model, self.optimizer, self.scheduler),
            "batches": self.batches.checkpoint(),
            "state": self.state,
            "status": None if self.status is None else tuple(self.status),
            "left": {k: self._checkpoint_of(k) for k in self.left},
            "errors": {k: str(error) for k, error in self.errors.items()},
            "steps": self.steps,
            "skipped": self.skipped,
            "counts": self.counts,
            "warnings": self.warnings,
            "epochs": pack_epochs(self.epochs),
            **{name: getattr(self, name).checkpoint() for name in WATCHED},
        }

    def _checkpoint_of(self, k: int) -> dict[str, Any]:
        """A point that is out: its weights, and what it has come to."""
        run = self.runs[k]
        mine = {"state": run.state, "status": tuple(run.status), "counts": run.counts, "epochs": len(run.epochs)}
        return {"weights": self.left[k], **mine}

    def restore(self, found: dict[str, Any]) -> None:
        """All of it, as it was."""
        self.live = found["live"]
        if len(self.live) < len(self.jobs):
            self.rows = narrow_rows(self.rows, self.optimizer, self.live)
        with torch.no_grad():
            for name, p in self.rows.items():
                p.copy_(found["rows"][name])
        restore_learner(found["learner"], self.model, self.optimizer, self.scheduler)
        self.batches.restore(found["batches"])
        self.state, self.status = found["state"], found["status"] and Status(*found["status"])
        self.steps, self.skipped, self.counts = found["steps"], found["skipped"], found["counts"]
        self.warnings[:] = found["warnings"]
        self.epochs = unpack_epochs(found["epochs"])
        for name in WATCHED:
            getattr(self, name).restore(found[name])
        self.errors = {k: NonFiniteError(text) for k, text in found["errors"].items()}  # others end the whole fleet
        for k, mine in found["left"].items():
            run, self.left[k] = self.runs[k], mine["weights"]
            run.state, run.status, run.counts = mine["state"], Status(*mine["status"]), mine["counts"]
            run.epochs = means_of_point(self.epochs[: mine["epochs"]], k)

    def train(self) -> None:
        """All steps; what is left of each point is for `ended`."""
        self.start()
        for epoch, batch in self.batches:
            if epoch > len(self.epochs):
                end_epoch(self.problem, self.means, self.epochs)
            self.model.train()
            taken = self._backward(batch)
            if not self.live:
                return
            if taken is not None:
                self.optimizer.step()
                if self.scheduler is not None:
                    self.scheduler.step()
                self._project()
                self._call_back(epoch, *taken)
            self.steps += 1
            if self.tick is not None:
                self.tick(self.steps / self.budget)
            if self.problem.deterministic and self.solver.follows_ray:
                assert self.status is not None
                stalled = self.stalled(self._all(to_float64(self.status.residual)))[self.live]
                self._leave([k for k, late in zip(self.live, stalled, strict=True) if late])
                if not self.live:
                    return
            self.keep()
        end_epoch(self.problem, self.means, self.epochs, partial=self.study.epochs is None)
        self._leave(self.live)

    def _backward(self, batch: Any) -> tuple[list[int], list[Tensor], StepResult] | None:
        """Fill the gradients; which objectives were there, their losses, the answer; None where there is no label."""
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                losses = self._losses(batch)
            except NoLabelError:
                check_state(self.solver, list(self.problem.names))
                self.skipped += 1
                return None
            there = list(self.evaluate.there)
            r = self._shares(there)
            clip = None if self.jobs[0].corner is not None else self.study.clip
            names = [self.problem.names[i] for i in there]
            try:
                taken = descend(self.solver, self.state, losses, r, list(self.rows.values()), names, clip=clip)
            except NonFiniteError as error:
                if error.point is None:
                    raise
                self._fail(error.point, error)
                if not self.live:
                    return None
                continue
            self._note(there, losses, taken)
            if self.problem.deterministic:
                losses, taken = self._stop(losses, taken)
            return there, losses, taken

    def _losses(self, batch: Any) -> list[Float[Tensor, " p"]]:
        self.evaluate.there.clear()
        return list(evaluate_rows(self.evaluate, self.rows, batch))

    def _shares(self, there: list[int]) -> Float[Tensor, "p k"]:
        """The preferences among the objectives that have a label."""
        r = self.preferences[self.live]
        missing = [name for i, name in enumerate(self.problem.names) if i not in there]
        check_state(self.solver, missing)
        if missing and not r[:, there].any(dim=1).all():
            raise ValueError(
                f"a batch has no label of {missing}, and a point to which nothing else matters cannot skip it in a "
                "fleet; leave fleet= out"
            )
        return renormalise(r, there)

    def _note(self, there: list[int], losses: list[Tensor], taken: StepResult) -> None:
        self.state, self.status = taken.state, taken.status
        for name, code in COUNTED.items():
            self.counts[name][self.live] += (taken.status.code == code).cpu().numpy()
        if taken.norms is not None:
            self.norms.add(self.steps, there, self._all(to_float64(taken.norms)))
        if not self.problem.deterministic:
            weights = None if taken.weights is None else self._all(to_float64(taken.weights))
            self.means.add(there, self._all(to_float64(torch.stack(losses, dim=-1))), weights)

    def _all(self, values: np.ndarray) -> np.ndarray:
        """The rows of those in training among all points; those of the others are never read."""
        found = np.zeros((len(self.jobs), *values.shape[1:]))
        found[self.live] = values
        return found

    def _stop(self, losses: list[Tensor], taken: StepResult) -> tuple[list[Tensor], StepResult]:
        """Let points go that have nowhere to go, before a step that would be rounding."""
        stationary = (taken.status.code == Code.STATIONARY).tolist()
        if not any(stationary):
            return losses, taken
        going = [k for k, stays in enumerate(stationary) if not stays]
        self._leave([k for k, stays in zip(self.live, stationary, strict=True) if stays])
        weights = None if taken.weights is None else taken.weights[going]
        return [loss[going] for loss in losses], taken._replace(weights=weights)

    def _fail(self, row: int, error: NonFiniteError) -> None:
        self.errors[self.live[row]] = error
        self._leave([self.live[row]])

    def _leave(self, points: Sequence[int]) -> None:
        """Take points out of the program, with what each has come to."""
        if not points:
            return
        for k in points:
            row, run = self.live.index(k), self.runs[k]
            self.left[k] = {name: p.detach()[row].clone() for name, p in self.rows.items()}
            run.state = _take_rows(self.state, row)
            if self.status is not None:
                run.status = Status(self.status.code[row], self.status.residual[row])
            run.counts |= {"steps": self.steps, "skipped": self.skipped}
            run.counts |= {name: int(counts[k]) for name, counts in self.counts.items()}
            run.epochs = means_of_point(self.epochs, k)
        keep = [row for row, k in enumerate(self.live) if k not in points]
        self.live = [self.live[row] for row in keep]
        if self.live:
            self.state = _take_rows(self.state, keep)
            if self.status is not None:
                self.status = Status(self.status.code[keep], self.status.residual[keep])
            self.rows = narrow_rows(self.rows, self.optimizer, keep)

    def _project(self) -> None:
        if self.problem.project is None:
            return
        for row in range(len(self.live)):
            self._put({name: p[row] for name, p in self.rows.items()})
            self.problem.project(self.model)
            with torch.no_grad():
                for name, p in self.rows.items():
                    p[row] = self.model.get_parameter(name)

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, value in weights.items():
            self.model.get_parameter(name).copy_(value)

    def _call_back(self, epoch: int, there: list[int], losses: list[Tensor], taken: StepResult) -> None:
        if not self.study.callbacks:
            return
        for row, k in enumerate(self.live):
            weights = {} if taken.weights is None else dict(zip(there, taken.weights[row].tolist(), strict=True))
            self.runs[k].counts["steps"] = self.steps
            self.runs[k].call_back(epoch, {i: x[row] for i, x in zip(there, losses, strict=True)}, weights)

    def ended(self, k: int, error: Exception | None) -> TrainedPoint:
        """The point of a job, measured; or why it failed."""
        run, asked = self.runs[k], pending_point(self.problem, self.jobs[k])
        run.warnings += self.warnings
        raised = self.errors.get(k, None if k in self.left else error)
        if raised is None:
            try:
                with reproducible():
                    self._put(self.left[k])
                    return run.ended(asked, self.model)
            except Exception as late:
                raised = late
        if k not in self.left:
            run.counts["steps"] = self.steps
        return run.failed(asked, raised)


def means_of_point(epochs: Sequence[EpochMeans], k: int) -> list[EpochMeans]:
    """The epochs' means of one point."""
    return [EpochMeans(epoch.losses[k], epoch.weights[k]) for epoch in epochs]


def _take_rows(state: Any, rows: int | list[int]) -> Any:
    """Rows of a solver's state, whose tensors lead with the points."""
    return tree_map(lambda x: x[rows] if isinstance(x, Tensor) else x, state)


def stack_weights(model: nn.Module, n: int) -> dict[str, nn.Parameter]:
    """The trained parameters n times, (n, *shape) each, by their names."""
    return {
        name: nn.Parameter(p.detach().expand(n, *p.shape).clone())
        for name, p in model.named_parameters()
        if p.requires_grad
    }


def evaluate_rows(
    evaluate: SeparateLosses, rows: dict[str, nn.Parameter], batch: Any
) -> tuple[Float[Tensor, " p"], ...]:
    """The losses of a batch at each row of weights."""
    named: dict[str, Any] = {f"model.{name}": p for name, p in rows.items()}
    with vmapped_attention(next(iter(named.values()))):
        return torch.vmap(lambda weights: functional_call(evaluate, weights, (batch,)), randomness="error")(named)


def narrow_rows(
    rows: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, keep: list[int]
) -> dict[str, nn.Parameter]:
    """Fewer rows of weights, in an optimizer that goes on with them, and with their gradients."""
    new: dict[int, nn.Parameter] = {}
    for p in rows.values():
        fewer = nn.Parameter(p.detach()[keep].clone())
        fewer.grad = None if p.grad is None else p.grad[keep]
        new[id(p)] = fewer
        if p in optimizer.state:
            optimizer.state[fewer] = {
                key: value[keep] if isinstance(value, Tensor) and value.shape == p.shape else value
                for key, value in optimizer.state.pop(p).items()
            }
    for group in optimizer.param_groups:
        group["params"] = [new[id(p)] for p in group["params"]]
    return {name: new[id(p)] for name, p in rows.items()}


def rehearse_fleet(study: Study, model: nn.Module, batch: Any) -> None:
    """Whether points of this study can be trained in one program.

    Raises:
        ValueError: they cannot; with the reason.
    """
    if isinstance(study.solver, Stepper):
        raise _refusal(f"{type(study.solver).__name__} asks for one network's losses at other weights")
    for name, layer in model.named_modules():
        chance = isinstance(layer, _DropoutNd) and layer.p > 0
        if chance or isinstance(layer, _BatchNorm):
            raise _refusal(f"{name!r} is a {type(layer).__name__}, which would mix points or treat them unalike")
    evaluate, rows = SeparateLosses(study.problem, model, []), stack_weights(model, 2)
    try:
        found = evaluate_rows(evaluate, rows, batch)
        alone = evaluate(batch)
    except NoLabelError:
        return
    except UNFIT as error:
        raise _refusal(
            f"torch cannot call it at several weights at once: {(str(error).splitlines() or [''])[0]}"
        ) from error
    for name, row, loss in zip([study.problem.names[i] for i in evaluate.there], found, alone, strict=True):
        near = torch.isclose(row, loss.expand(2), rtol=CLOSE, equal_nan=True)
        if not near.all():
            raise _refusal(
                f"at several weights at once loss {name!r} is {row.tolist()}, and alone {float(loss.detach())}"
            )
    _check_optimizer(study, model)


def _refusal(why: str) -> ValueError:
    return ValueError(f"fleet: {why}; leave fleet= out")


def _check_optimizer(study: Study, model: nn.Module) -> None:
    """An error where points would not move as they do alone, as where a step is scaled by a layer's norm.

    In double precision, where weights that decay for one and not for the other differ by more than rounding.
    """
    draw = torch.Generator().manual_seed(0)
    plain = [p.detach().double().cpu() for p in model.parameters() if p.requires_grad]
    alone = [[nn.Parameter(p + torch.randn(p.shape, generator=draw, dtype=p.dtype)) for p in plain] for _ in range(2)]
    rows = [nn.Parameter(torch.stack([p.detach() for p in pair])) for pair in zip(*alone, strict=True)]
    optimizers = [study.build(parameters)[0] for parameters in (*alone, rows)]
    for _ in range(TRIED):
        for row, *pair in zip(rows, *alone, strict=True):
            for p in pair:
                p.grad = torch.randn(p.shape, generator=draw, dtype=p.dtype)
            row.grad = torch.stack([p.grad for p in pair])
        for optimizer in optimizers:
            optimizer.step()
    for row, *pair in zip(rows, *alone, strict=True):
        if not torch.allclose(row, torch.stack([p.detach() for p in pair]), rtol=1e-9, atol=1e-12):
            raise _refusal(f"{type(optimizers[-1]).__name__} does not treat each number of a weight on its own")

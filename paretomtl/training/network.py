"""Training one network for the whole front: from a study and a seed to points, and the network that they come of."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from paretomtl.autograd.gradients import check_finite
from paretomtl.conditioned.bounds import write_out
from paretomtl.conditioned.front_model import Conditioned
from paretomtl.conditioned.losses import ConditionedStep, can_deal, count_samples, deal_batch, supports_vmap, take_step
from paretomtl.conditioned.sampling import Preferences
from paretomtl.errors import NoLabelError
from paretomtl.point import Code, Point
from paretomtl.points import score
from paretomtl.preference import control_error, even_design
from paretomtl.problem import Problem
from paretomtl.solver import Sweep
from paretomtl.training import loop as apart
from paretomtl.training.batches import Batches, Splits
from paretomtl.training.calibration import calibrate
from paretomtl.training.checkpoint import Checkpointer, Resumable, describe_jobs, learner_state, restore_learner
from paretomtl.training.measuring import DeviceBatches, batch_length, measure_splits
from paretomtl.training.seeds import INITIAL, MEASURING, SAMPLING, reproducible, reseed, seed_of
from paretomtl.training.study import Job, Step, Study
from paretomtl.training.weights import layout_of

CHECKS = 6  # looks at the validation split, evenly over the second half of the training
CHANGED = ("step", "epoch", "seen", "counts", "warnings", "best", "best_weights", "vmapped")  # by the steps
COUNTED = ("steps", "best_step", "skipped", "relaxed", "fell_back")
ENOUGH = 100  # samples a preference of a batch of the validation split; where it has fewer, all see all of it
WATCHED = 5  # preferences, or two an objective if that is more, at which it is looked at


class LearnedNetwork(NamedTuple):
    """A trained network: its weights and buffers, the counts of its steps, and what happened on the way."""

    weights: dict[str, Tensor]
    counts: dict[str, int]
    warnings: tuple[str, ...]


def network_id(study: Study, seed: int) -> str:
    """What the network of a seed is called."""
    return "network" if study.seeds == 1 else f"network-seed-{seed + 1}"


class NetworkRun(Resumable):
    """The training of one network, for the jobs of one seed.

    Args:
        study, jobs, splits: what is asked for.
        tick: told the share of the steps done, now and then.
        keeper: of its checkpoints.
    """

    def __init__(
        self,
        study: Study,
        jobs: Sequence[Job],
        splits: Splits,
        tick: apart.Tick | None = None,
        keeper: Checkpointer | None = None,
    ):
        assert study.front_model is not None
        self.study, self.jobs, self.splits, self.tick, self.keeper = study, jobs, splits, tick, keeper
        self.problem, self.seed = study.problem, jobs[0].seed
        self.sampling = study.front_model.sampling
        self.name = network_id(study, self.seed)
        self._clear()

    def _clear(self) -> None:
        """What its steps change."""
        self.counts: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self.warnings: list[str] = []
        self.step: int | None = None
        self.best: float | None = None
        self.best_weights: dict[str, Tensor] = {}
        self.seen, self.epoch = 0, 0  # preferences, over all steps
        self.labels: set[int] = set()  # seen in this epoch
        self.vmapped: bool | None = None

    @property
    def asked(self) -> list:
        """All jobs of its seed, whatever is left of them: it is the same network."""
        return describe_jobs([job for job in self.study.jobs if job.seed == self.seed])

    def begin(self) -> None:
        """A new network, and all that trains it."""
        self._clear()
        self.network = self._network()
        self.budget = self.study.budget(self.splits)
        self.optimizer, self.scheduler = self.study.build([p for p in self.network.parameters() if p.requires_grad])
        seed = seed_of(self.study.seed, self.seed, SAMPLING)
        self.preferences = Preferences(self.sampling, len(self.problem.names), seed)
        self.step, self.best_weights = 0, apart.weights_of(self.network)
        self.batches = Batches(self.study, self.seed, self.splits, self.budget, self.warnings)

    def checkpoint(self) -> dict[str, Any]:
        """The network and what trains it, the best so far, and what is counted; solvers keep no state here."""
        return {
            "learner": learner_state(self.network, self.optimizer, self.scheduler),
            "batches": self.batches.checkpoint(),
            "drawn": self.preferences.drawn,
            "labels": sorted(self.labels),
            **{name: getattr(self, name) for name in CHANGED},
        }

    def restore(self, found: dict[str, Any]) -> None:
        """All of it, as it was."""
        restore_learner(found["learner"], self.network, self.optimizer, self.scheduler)
        self.batches.restore(found["batches"])
        self.preferences.skip(found["drawn"])
        self.labels, warnings = set(found["labels"]), self.warnings
        for name in CHANGED:
            setattr(self, name, found[name])
        warnings[:] = found["warnings"]
        self.warnings = warnings  # the list that the batches know

    def learn(self) -> LearnedNetwork | list[apart.TrainedPoint]:
        """Train the network; where that fails, all points failed."""
        try:
            with reproducible():
                return self._learn()
        except Exception as error:
            told = [*self.warnings, *apart.step_warnings(self.study.solver, self.counts, self.seen)]
            asked = [apart.pending_point(self.problem, job) for job in self.jobs]
            return [
                apart.TrainedPoint(apart.failed_point(point, error, self.step, self.counts, told), None)
                for point in asked
            ]

    def _network(self) -> Conditioned:
        reseed(seed_of(self.study.seed, self.seed, INITIAL))
        assert self.study.front_model is not None
        plain = self.problem.model().to(self.study.device)
        return self.study.front_model.attach(plain, len(self.problem.names))

    def _learn(self) -> LearnedNetwork:
        self.start()
        assert self.step is not None
        network = self.network
        for epoch, batch in self.batches:
            if epoch > self.epoch:
                self._end_epoch(self.epoch)
                self.epoch = epoch
            network.train()
            self.optimizer.zero_grad(set_to_none=True)
            try:
                r, taken = self._taken(batch)
            except NoLabelError:
                self.counts["skipped"] += 1
            else:
                self.optimizer.step()
                if self.scheduler is not None:
                    self.scheduler.step()
                self._count(taken)
                self._call_back(epoch, r, taken)
            self.step += 1
            self.counts["steps"] = self.step
            if self.tick is not None:
                self.tick(self.step / self.budget)
            if self._due() and self._better(network):
                self.best_weights = apart.weights_of(network)
            self.keep()
        self._end_epoch(self.epoch, partial=self.study.epochs is None)
        self.step = None
        told = apart.step_warnings(self.study.solver, self.counts, self.seen)
        return LearnedNetwork(self.best_weights, self.counts, (*self.warnings, *told))

    def _taken(self, batch: Any) -> tuple[Float[Tensor, "p m"], ConditionedStep]:
        """A batch at the next preferences: these, and what became of them; the gradients are set."""
        sampling, study = self.sampling, self.study
        size = None if sampling.each == "batch" else count_samples(batch)
        r = self.preferences.draw(sampling.in_step(size)).to(study.device)
        self.seen += len(r)
        state = study.solver.init(self._sweep(len(r), self.budget))
        if self.vmapped is None:
            dealt_out = sampling.each == "part" and not self.problem.deterministic
            self.vmapped = not dealt_out and supports_vmap(self.network, self.problem, batch, r)
        return r, take_step(
            self.network, self.problem, study.solver, state, batch, r, sampling.each, self.vmapped, study.clip
        )

    def _count(self, taken: ConditionedStep) -> None:
        self.labels |= set(taken.there)
        for code, name in ((Code.RELAXED, "relaxed"), (Code.FELL_BACK, "fell_back")):
            self.counts[name] += int((taken.status.code == code).sum())

    def _end_epoch(self, epoch: int, partial: bool = False) -> None:
        """Close an epoch; an objective that had no label in all of it is an error, as for a point trained apart."""
        seen, self.labels = self.labels, set()
        if partial and epoch > 0:
            return
        apart.check_seen(self.problem.names, [i in seen for i in range(len(self.problem.names))], epoch)

    def _sweep(self, n: int, steps: int) -> Sweep:
        return Sweep(
            preferences=torch.tensor(self.study.preferences),
            points=torch.zeros(n, dtype=torch.int64),
            steps=steps,
            deterministic=self.problem.deterministic,
            generators=(),
        )

    def _due(self) -> bool:
        """Whether the network is looked at after this step: evenly over the second half, and after the last."""
        assert self.step is not None
        return self.step in {self.budget - round(k * self.budget / (2 * CHECKS)) for k in range(CHECKS)}

    def _better(self, network: Conditioned) -> bool:
        """Whether the network is the best so far on the validation split, in what its method is after.

        That is a small largest r_i l_i, on average, where it promises a ray: off their rays points can have a larger
        hypervolume. Else it is the hypervolume.

        Raises:
            NonFinite: a loss is; such a network is not passed over in silence for an earlier one.
        """
        asked = even_design(len(self.problem.names), max(WATCHED, 2 * len(self.problem.names)))
        network.eval()
        seen, rows = mean_losses_over(
            network, self.problem, DeviceBatches(self.splits["validate"], self.study.device), asked
        )
        check_finite(torch.tensor(rows).sum(dim=0), self.problem.names, before="the loss ", after=" on validate")
        if not len(rows):
            figure = 0.0
        elif self.study.solver.follows_ray:
            figure = -float((asked[seen] * rows).max(axis=1).mean())
        else:
            figure = score.hypervolume(rows, self.problem.ref_point) or 0.0
        if self.best is not None and figure < self.best:
            return False
        self.best, self.counts["best_step"] = figure, self.counts["steps"]
        return True

    def _call_back(self, epoch: int, r: Float[Tensor, "p m"], taken: ConditionedStep) -> None:
        if not self.study.callbacks:
            return
        names = [self.problem.names[i] for i in taken.there]
        told = Step(
            point=self.name,
            preference=r.mean(dim=0).cpu().numpy(),
            epoch=epoch,
            step=self.counts["steps"],
            losses=dict(zip(names, taken.losses.tolist(), strict=True)),
            weights={} if taken.weights is None else dict(zip(names, taken.weights.tolist(), strict=True)),
        )
        for callback in self.study.callbacks:
            callback(told)

    def fits(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether weights are of such a network, as those that a front's folder names may not be."""
        with reproducible():
            return layout_of(self._network().state_dict()) == layout_of(weights)

    def points(self, learned: LearnedNetwork) -> Iterator[apart.TrainedPoint]:
        """The plain network at each preference asked for, measured."""
        with reproducible():
            network = self._network()
            network.load_state_dict(learned.weights)
        for job in self.jobs:
            asked = apart.pending_point(self.problem, job)
            try:
                with reproducible():
                    trained = self._point(asked, job, network, learned)
            except Exception as error:
                trained = apart.TrainedPoint(
                    apart.failed_point(asked, error, None, learned.counts, learned.warnings), None
                )
            yield trained

    def _point(self, asked: Point, job: Job, network: Conditioned, learned: LearnedNetwork) -> apart.TrainedPoint:
        model = write_out(network, self.problem, job.preference)
        calibrate(self.problem, model, self.splits.get("train"), self.study.device, self.study.seed, self.seed)
        reseed(seed_of(self.study.seed, self.seed, MEASURING))
        found = measure_splits(self.problem, model, self.splits, self.study.device)
        error = float(control_error(np.array(found.losses["validate"]), job.preference))
        far = apart.ray_warnings(self.study.solver, error, Code.SUSPECTED)
        point = Point(
            asked.id, asked.preference, None, "done",
            **found._asdict(),
            control_error=error,
            status=(Code.SUSPECTED if far else Code.SOLVED).word,
            counts=dict(learned.counts),
            warnings=(*learned.warnings, *far),
            seed=asked.seed,
        )  # fmt: skip
        return apart.TrainedPoint(point, apart.weights_of(model))


@torch.no_grad()
def mean_losses_over(
    network: Conditioned, problem: Problem, data: DeviceBatches, asked: Float[np.ndarray, "k m"]
) -> tuple[Bool[np.ndarray, " k"], Float[np.ndarray, "n m"]]:
    """Which preferences were seen with all labels, and their mean losses, by one pass over the data.

    The data are dealt out to the preferences, by batches or else by samples; where there are few, all see all of them.
    """
    models = [write_out(network, problem, r) for r in asked]
    totals, weights = np.zeros(asked.shape), np.zeros(asked.shape)
    for i, batch in enumerate(data):
        for j, part in [(i % len(asked), batch)] if len(data) >= len(asked) else _shares(batch, len(asked)):
            for objective, loss in enumerate(problem.loss_list(models[j], part)):
                if loss is not None:
                    totals[j, objective] += batch_length(part) * float(loss)
                    weights[j, objective] += batch_length(part)
    seen = np.asarray((weights > 0).all(axis=1))
    return seen, totals[seen] / weights[seen]


def _shares(batch: Any, k: int) -> Iterable[tuple[int, Any]]:
    if batch is not None and can_deal(batch) and (count_samples(batch) or 0) >= ENOUGH * k:
        return enumerate(deal_batch(batch, k))
    return [(j, batch) for j in range(k)]

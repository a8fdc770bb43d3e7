"""The training of one network for the whole front: from a study and a seed to the network and its points."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from paretomtl.autograd.finite import check_gradients, check_weights
from paretomtl.autograd.gradients import check_finite
from paretomtl.autograd.labels import LabelCounts
from paretomtl.conditioned.bounds import write_out
from paretomtl.conditioned.front_model import Conditioned
from paretomtl.conditioned.losses import ConditionedStep, can_deal, count_samples, deal_batch, supports_vmap, take_step
from paretomtl.conditioned.sampling import Preferences
from paretomtl.errors import NoLabelError
from paretomtl.point import Code, Point
from paretomtl.points import score
from paretomtl.preference import control_error, even_design
from paretomtl.problem import Problem
from paretomtl.recorder import Moment
from paretomtl.solver import Sweep
from paretomtl.training.batches import BatchStream, Splits
from paretomtl.training.calibration import calibrate
from paretomtl.training.checkpoint import Checkpointer, Resumable, describe_jobs, learner_state, restore_learner
from paretomtl.training.measuring import DeviceBatches, measure_splits
from paretomtl.training.outcome import (
    Tick,
    TrainedPoint,
    failed_point,
    pending_point,
    ray_warnings,
    step_warnings,
    unmeasured_point,
)
from paretomtl.training.recordings import Recordings
from paretomtl.training.seeds import INITIAL, MEASURING, SAMPLING, reproducible, reseed, seed_of
from paretomtl.training.study import Job, Step, Study
from paretomtl.training.watch import check_seen
from paretomtl.training.weights import layout_of, weights_of

CHECKS = 6  # evaluations on the validation split, evenly over the second half of the training
STEP_STATE = ("step", "epoch", "seen", "counts", "warnings", "best", "best_weights", "vmapped")  # changed by steps
COUNTS = ("steps", "best_step", "skipped", "relaxed", "fell_back")
SAMPLES_EACH = 100  # samples that a preference needs of a validation batch; with fewer, each gets the whole batch
CHECK_PREFERENCES = 5  # preferences of an evaluation, or two an objective if that is more


class LearnedNetwork(NamedTuple):
    """A trained network: its weights and buffers, the counts of its steps, its warnings and its recordings."""

    weights: dict[str, Tensor]
    counts: dict[str, int]
    warnings: tuple[str, ...]
    recordings: dict[str, list[dict[str, Any]]] | None = None


def network_id(study: Study, seed: int) -> str:
    """Return the name of a seed's network."""
    return f"network{study.suffix(seed)}"


class NetworkRun(Resumable):
    """The training of one network, for the jobs of one seed.

    Args:
        study, jobs, splits: the exploration, the seed's points and the problem's data.
        tick: called now and then with the share of the steps that is done.
        keeper: stores checkpoints.
    """

    def __init__(
        self,
        study: Study,
        jobs: Sequence[Job],
        splits: Splits,
        tick: Tick | None = None,
        keeper: Checkpointer | None = None,
    ):
        assert study.front_model is not None
        self.study, self.jobs, self.splits, self.tick, self.keeper = study, jobs, splits, tick, keeper
        self.problem, self.seed = study.problem, jobs[0].seed
        self.sampling, self.solver, self.units = study.front_model.sampling, study.solver_in_units, study.units
        self.name = network_id(study, self.seed)
        self._clear()

    def _clear(self) -> None:
        """Reset all that the steps change."""
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)
        self.warnings: list[str] = []
        self.step: int | None = None
        self.best: float | None = None
        self.best_weights: dict[str, Tensor] = {}
        self.seen, self.epoch = 0, 0  # preferences over all steps; the epoch in work
        self.labels: set[int] = set()  # objectives with a label in this epoch
        self.label_counts = LabelCounts(len(self.problem.names))
        self.vmapped: bool | None = None
        self.recordings = Recordings(self.study.recorders)

    @property
    def jobs_key(self) -> list:
        """All jobs of the seed, also those that are done: they share the network."""
        return describe_jobs([job for job in self.study.jobs if job.seed == self.seed and job.corner is None])

    def begin(self) -> None:
        """Make a new network, its optimizer, and the stream of preferences."""
        self._clear()
        self.network = self._make_network()
        self.budget = self.study.budget(self.splits)
        self.trained = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        self.optimizer, self.scheduler = self.study.build(list(self.trained.values()))
        seed = seed_of(self.study.seed, self.seed, SAMPLING)
        self.preferences = Preferences(self.sampling, len(self.problem.names), seed)
        self.step, self.best_weights = 0, weights_of(self.network)
        self.batches = BatchStream(self.study, self.seed, self.splits, self.budget, self.warnings)

    def checkpoint(self) -> dict[str, Any]:
        """Return the network and what trains it, the best weights, and the counts; solvers have no state here."""
        return {
            "learner": learner_state(self.network, self.optimizer, self.scheduler),
            "batches": self.batches.checkpoint(),
            "drawn": self.preferences.drawn,
            "labels": sorted(self.labels),
            "label_counts": self.label_counts.checkpoint(),
            "recordings": self.recordings.checkpoint(),
            **{name: getattr(self, name) for name in STEP_STATE},
        }

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Restore the training that `checkpoint` returned."""
        restore_learner(checkpoint["learner"], self.network, self.optimizer, self.scheduler)
        self.batches.restore(checkpoint["batches"])
        self.preferences.skip(checkpoint["drawn"])
        self.labels, warnings = set(checkpoint["labels"]), self.warnings
        self.label_counts.restore(checkpoint["label_counts"])
        if "recordings" in checkpoint:  # not in those of earlier versions
            self.recordings.restore(checkpoint["recordings"])
        for name in STEP_STATE:
            setattr(self, name, checkpoint[name])
        warnings[:] = checkpoint["warnings"]
        self.warnings = warnings  # the list that the batches add to

    def learn(self) -> LearnedNetwork | list[TrainedPoint]:
        """Train the network; return all points as failed where that fails."""
        try:
            with reproducible():
                return self._learn()
        except Exception as error:
            warnings = self._all_warnings()
            pending = [pending_point(self.problem, job) for job in self.jobs]
            return [
                TrainedPoint(failed_point(point, error, self.step, self.counts, warnings), None) for point in pending
            ]

    def _make_network(self) -> Conditioned:
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
                r, result = self._take_step(batch)
            except NoLabelError:
                self.counts["skipped"] += 1
                self.label_counts.add([])
            else:
                check_gradients(self.trained)
                self.optimizer.step()
                if self.scheduler is not None:
                    self.scheduler.step()
                self._count(result)
                self._call_back(epoch, r, result)
                self.recordings.take(self.step, partial(self._see, batch, epoch))
            self.step += 1
            self.counts["steps"] = self.step
            if self.tick is not None:
                self.tick(self.step / self.budget)
            if self._check_due() and self._improves(network):
                check_weights(network)
                self.best_weights = weights_of(network)
            self.keep()
        self._end_epoch(self.epoch, partial=self.study.epochs is None)
        self.step = None
        return LearnedNetwork(self.best_weights, self.counts, tuple(self._all_warnings()), self.recordings.content)

    def _see(self, batch: Any, epoch: int) -> Moment:
        """Return what recorders see: the plain network at the even preference."""
        assert self.step is not None
        m = len(self.problem.names)
        plain = write_out(self.network, self.problem, np.full(m, 1 / m))
        validate = DeviceBatches(self.splits["validate"], self.study.device)
        return Moment(self.problem, plain, batch, validate, epoch, self.step)

    def _all_warnings(self) -> list[str]:
        labels = self.label_counts.warnings_of(self.problem.names)
        steps = step_warnings(self.study.solver, self.counts, self.seen)
        return [*self.warnings, *labels, *steps, *self.recordings.warnings]

    def _take_step(self, batch: Any) -> tuple[Float[Tensor, "p m"], ConditionedStep]:
        """Fill the gradients from a batch at the next preferences; return these and the result."""
        sampling, study = self.sampling, self.study
        size = None if sampling.each == "batch" else count_samples(batch)
        r = self.preferences.draw(sampling.in_step(size)).to(study.device)
        self.seen += len(r)
        state = self.solver.init(self._make_sweep(len(r), self.budget))
        if self.vmapped is None:
            dealt = sampling.each == "part" and not self.problem.deterministic
            self.vmapped = not dealt and supports_vmap(self.network, self.problem, batch, r)
        return r, take_step(
            self.network, self.problem, self.solver, state, batch, r, sampling.each, self.vmapped, study.clip,
            self.label_counts, self.units,
        )  # fmt: skip

    def _count(self, result: ConditionedStep) -> None:
        self.labels |= set(result.labels)
        for code, name in ((Code.RELAXED, "relaxed"), (Code.FELL_BACK, "fell_back")):
            self.counts[name] += int((result.status.code == code).sum())

    def _end_epoch(self, epoch: int, partial: bool = False) -> None:
        """Close an epoch; raise if an objective had no label in it, as for a point that is trained alone."""
        seen, self.labels = self.labels, set()
        if partial and epoch > 0:
            return
        check_seen(self.problem.names, [i in seen for i in range(len(self.problem.names))], epoch)

    def _make_sweep(self, n: int, steps: int) -> Sweep:
        return Sweep(
            preferences=torch.tensor(self.study.preferences),
            points=torch.zeros(n, dtype=torch.int64),
            steps=steps,
            deterministic=self.problem.deterministic,
            generators=(),
        )

    def _check_due(self) -> bool:
        """Whether the network is evaluated after this step: evenly over the second half, and after the last one."""
        assert self.step is not None
        return self.step in {self.budget - round(k * self.budget / (2 * CHECKS)) for k in range(CHECKS)}

    def _improves(self, network: Conditioned) -> bool:
        """Whether the network is the best so far on the validation split; record it if so.

        Where the method promises a ray, the figure of merit is the largest r_i l_i, averaged and made small: off their
        rays points can have a larger hypervolume. Elsewhere it is the hypervolume.

        Raises:
            NonFiniteError: a loss is not finite; falling back silently on earlier weights would hide it.
        """
        preferences = even_design(len(self.problem.names), max(CHECK_PREFERENCES, 2 * len(self.problem.names)))
        network.eval()
        seen, rows = mean_losses_over(
            network, self.problem, DeviceBatches(self.splits["validate"], self.study.device), preferences
        )
        check_finite(torch.tensor(rows).sum(dim=0), self.problem.names, before="the loss ", after=" on validate")
        if not len(rows):
            figure = 0.0
        elif self.study.solver.follows_ray:
            figure = -float((preferences[seen] * self.study.normalised(rows)).max(axis=1).mean())
        else:
            figure = score.hypervolume(rows, self.problem.reference) or 0.0
        if self.best is not None and figure < self.best:
            return False
        self.best, self.counts["best_step"] = figure, self.counts["steps"]
        return True

    def _call_back(self, epoch: int, r: Float[Tensor, "p m"], result: ConditionedStep) -> None:
        if not self.study.callbacks:
            return
        names = [self.problem.names[i] for i in result.labels]
        step = Step(
            point=self.name,
            preference=r.mean(dim=0).cpu().numpy(),
            epoch=epoch,
            step=self.counts["steps"],
            losses=dict(zip(names, result.losses.tolist(), strict=True)),
            weights={} if result.weights is None else dict(zip(names, result.weights.tolist(), strict=True)),
        )
        for callback in self.study.callbacks:
            callback(step)

    def fits(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether weights have the layout of this network; those in a foreign folder may not."""
        with reproducible():
            return layout_of(self._make_network().state_dict()) == layout_of(weights)

    def points(self, learned: LearnedNetwork) -> Iterator[TrainedPoint]:
        """Write out the plain network at each job's preference, measure it, and yield its point."""
        with reproducible():
            network = self._make_network()
            network.load_state_dict(learned.weights)
        for job in self.jobs:
            pending = pending_point(self.problem, job)
            try:
                with reproducible():
                    trained = self._measure_point(pending, job, network, learned)
            except Exception as error:
                trained = TrainedPoint(failed_point(pending, error, None, learned.counts, learned.warnings), None)
            yield trained._replace(recordings=learned.recordings)

    def _measure_point(self, pending: Point, job: Job, network: Conditioned, learned: LearnedNetwork) -> TrainedPoint:
        model = write_out(network, self.problem, job.preference)
        calibrate(self.problem, model, self.splits.get("train"), self.study.device, self.study.seed, self.seed)
        check_weights(model)
        reseed(seed_of(self.study.seed, self.seed, MEASURING))
        point = Point(
            pending.id, pending.preference, None, "done",
            status=Code.TRAINED.word,
            counts=dict(learned.counts),
            warnings=learned.warnings,
            seed=pending.seed,
        )  # fmt: skip
        try:
            measures = measure_splits(self.problem, model, self.splits, self.study.device)
        except Exception as reason:
            return TrainedPoint(unmeasured_point(point, reason), weights_of(model))
        error = float(control_error(self.study.normalised(np.array(measures.losses["validate"])), job.preference))
        off_ray = ray_warnings(self.study.solver, error, Code.TRAINED)
        point = replace(
            point,
            **measures._asdict(),
            control_error=error,
            warnings=(*learned.warnings, *off_ray),
            ray_angle=error if self.study.solver.follows_ray else None,
        )
        return TrainedPoint(point, weights_of(model))


@torch.no_grad()
def mean_losses_over(
    network: Conditioned, problem: Problem, data: DeviceBatches, preferences: Float[np.ndarray, "k m"]
) -> tuple[Bool[np.ndarray, " k"], Float[np.ndarray, "n m"]]:
    """Return which preferences saw all labels in one pass over the data, and their mean losses.

    The data are dealt out to the preferences, by batches or else by samples; where there are few, each gets all.
    """
    models, k = [write_out(network, problem, r) for r in preferences], len(preferences)
    totals, weights = np.zeros(preferences.shape), np.zeros(preferences.shape)
    for i, batch in enumerate(data):
        for j, part in [(i % k, batch)] if len(data) >= k else _deal(batch, k):
            losses, counts, _ = problem.counted_losses(models[j], part)
            for objective, (loss, count) in enumerate(zip(losses, counts, strict=True)):
                if loss is not None:
                    totals[j, objective] += count * float(loss.detach())
                    weights[j, objective] += count
    seen = np.asarray((weights > 0).all(axis=1))
    return seen, totals[seen] / weights[seen]


def _deal(batch: Any, k: int) -> Iterable[tuple[int, Any]]:
    if batch is not None and can_deal(batch) and (count_samples(batch) or 0) >= SAMPLES_EACH * k:
        return enumerate(deal_batch(batch, k))
    return [(j, batch) for j in range(k)]

"""Recorders: the estimators of this package, every so many steps of a training.

Their gradients are on all trained parameters that more than one loss depends on, in eval mode, at the batch of the
step. What needs smaller batches takes parts of it. At its default frequency each adds less than 15 % to the training of
a small convolutional network with two losses, and all together less than 40 %.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from paretomtl.autograd.loss_function import BatchLosses, closure
from paretomtl.diagnosis.affinity import affinity
from paretomtl.diagnosis.coherence import coherence
from paretomtl.diagnosis.conflict import conflict
from paretomtl.diagnosis.curvature import hessian_top
from paretomtl.diagnosis.fisher import Kind, fisher_trace
from paretomtl.diagnosis.noise import noise_scale
from paretomtl.problem import batch_length
from paretomtl.recorder import Moment, Recorder

PARTS = 8  # of a batch, where estimators need several gradients of one task


@dataclass(frozen=True)
class LossRecorder(Recorder):
    """Records each task's training loss, and its mean on the validation split.

    Args:
        every: steps between two records.
        probe: batches at which the training loss is taken, the same ones each time; None for the batch of the step,
            whose noise the running minimum of a curve would take for progress.
    """

    every: int = 100
    probe: Sequence[Any] | None = None

    name: ClassVar[str] = "loss"
    cost: ClassVar[str] = "a forward pass over the batch, and one over the validation split"

    @torch.no_grad()
    def record(self, moment: Moment) -> Mapping[str, Any]:
        """Return losses by task; None for those without a label."""
        device = next(moment.model.parameters()).device
        probe = tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, self.probe)
        train = [moment.batch] if probe is None else probe
        batches = {"train": train, "validate": moment.validate}
        return {split: moment.problem.mean_losses(moment.model, part) for split, part in batches.items()}


@dataclass(frozen=True)
class ConflictRecorder(Recorder):
    """Records the conflict between the tasks' gradients, and for comparison that between halves of the batch."""

    every: int = 20

    name: ClassVar[str] = "conflict"
    cost: ClassVar[str] = "2 m backward passes, with m losses"

    def record(self, moment: Moment) -> Mapping[str, Any]:
        """Return the conflict between tasks, and each task's cosine between the halves."""
        halves = [_shared_gradients(_closure(moment, part)) for part in _split(moment.batch, 2)]
        gradients = torch.stack(halves).mean(0) if moment.batch is not None else halves[0]
        seen = conflict(gradients @ gradients.mT)
        return {
            "cosines": seen.cosines,
            "negative": seen.negative,
            "magnitude_ratio": seen.magnitude_ratio,
            "direction": seen.direction,
            "magnitude_variance": seen.magnitude_variance,
            "within": [float(torch.cosine_similarity(a, b, dim=0)) for a, b in zip(halves[0], halves[-1], strict=True)],
        }


@dataclass(frozen=True)
class NoiseRecorder(Recorder):
    """Records each task's noise scale and coherence, from parts of the batch."""

    every: int = 100

    name: ClassVar[str] = "noise"
    cost: ClassVar[str] = f"m backward passes over the batch, in {PARTS} parts"

    def record(self, moment: Moment) -> Mapping[str, Any]:
        """Return the estimates by task."""
        parts = _split(moment.batch, PARTS)
        if len(parts) < 2:
            raise ValueError("noise needs a batch with two samples or more")
        size = batch_length(parts[0])
        gradients = torch.stack([_shared_gradients(_closure(moment, part)) for part in parts], dim=1)
        scales = [noise_scale(rows, rows.mean(0), size, size * len(rows)) for rows in gradients]
        coherences = [coherence(rows) for rows in gradients]
        return {
            "trace": [scale.trace for scale in scales],
            "squared_norm": [scale.squared_norm for scale in scales],
            "scale": [scale.scale for scale in scales],
            "coherence": [seen.value for seen in coherences],
            "debiased_coherence": [seen.debiased for seen in coherences],
        }


@dataclass(frozen=True)
class CurvatureRecorder(Recorder):
    """Records the largest eigenvalue of the Hessian of each task's loss."""

    every: int = 2000
    tolerance: float = 0.01

    name: ClassVar[str] = "curvature"
    cost: ClassVar[str] = "some 20 to 100 products with the Hessian a task, each of two backward passes"

    def record(self, moment: Moment) -> Mapping[str, Any]:
        """Return the eigenvalues by task."""
        losses = _closure(moment, moment.batch)
        alone = torch.eye(len(losses()), dtype=losses.parameters.dtype, device=losses.parameters.device)
        return {"sharpness": [hessian_top(losses, weights, tolerance=self.tolerance) for weights in alone]}


@dataclass(frozen=True)
class FisherRecorder(Recorder):
    """Records the trace of the Fisher information of each task.

    Args:
        tasks: by task, `(model, kind, inputs)`: a function from the model to a module of that task's outputs alone, the
            kind of its labels as in `fisher_trace`, and a function from a batch to the inputs.
        samples: samples of the batch to take.
    """

    tasks: Mapping[str, tuple[Callable[[nn.Module], nn.Module], Kind, Callable[[Any], Tensor]]]
    every: int = 100
    samples: int = 64

    name: ClassVar[str] = "fisher"
    cost: ClassVar[str] = "a backward pass a task over the samples"

    def record(self, moment: Moment) -> Mapping[str, Any]:
        """Return the traces by task."""
        return {
            "trace": {
                task: fisher_trace(outputs(moment.model), inputs(moment.batch)[: self.samples], kind)
                for task, (outputs, kind, inputs) in self.tasks.items()
            }
        }


@dataclass(frozen=True)
class AffinityRecorder(Recorder):
    """Records which task's step lowers which task's loss, at the training's learning rate (TAG: every 10 steps)."""

    learning_rate: float
    every: int = 25

    name: ClassVar[str] = "affinity"
    cost: ClassVar[str] = "m backward passes and m forward passes, with m losses"

    def record(self, moment: Moment) -> Mapping[str, Any]:
        """Return the affinities, a row for the task that takes the step."""
        return {"affinity": affinity(moment.problem, moment.model, moment.batch, learning_rate=self.learning_rate)}


def _closure(moment: Moment, batch: Any) -> BatchLosses:
    return closure(moment.problem, moment.model, batch, noisy=False)


def _shared_gradients(losses: BatchLosses) -> Float[Tensor, "m n"]:
    """Return the gradients of the losses on the shared parameters, in float64."""
    _, jacobian, shared = losses.gradients()
    return jacobian[:, shared].double()


def _split(batch: Any, parts: int) -> list[Any]:
    """Split a batch into parts of one size, leaving out what is over; the batch itself where it cannot be split."""
    leaves = tree_leaves(batch)
    lengths = {len(leaf) if isinstance(leaf, Tensor) and leaf.ndim else 0 for leaf in leaves}
    size = min(lengths, default=0) // parts if len(lengths) == 1 else 0
    if not size:
        return [batch]
    return [tree_map(lambda x, k=k: x[k * size : (k + 1) * size], batch) for k in range(parts)]

"""TAG: which task's step lowers which task's loss (Fifty et al., NeurIPS 2021).

affinity[i, j] = (1 - L_j(shared - lr g_i, head_j) / L_j(shared, head_j)) / lr: the relative fall of loss j per unit of
the learning rate, after a step of task i on the shared parameters. Heads stay where they are. As lr goes to 0 it tends
to g_i . g_j / L_j. The mean over every so many steps of a training is what `group_tasks` takes.

CoGrad's transference (Yang et al., SIGIR 2023), the exact fall of loss j, is affinity[i, j] L_j lr where it looks as
far ahead; `paretomtl_solvers.CoGrad` has it for its own step.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.autograd.loss_function import closure
from paretomtl.problem import Problem


def affinity(problem: Problem, model: nn.Module, batch: Any = None, *, learning_rate: float) -> Float[Tensor, "m m"]:
    """Return the affinity of each task (row) for each other (column), at one batch; the model stays as it is.

    Args:
        problem: the problem that defines the losses; the batch has labels of all of them.
        model: the model.
        batch: a batch of its data; None for a deterministic problem.
        learning_rate: the length of the step, that of the training.

    Raises:
        ValueError: the learning rate is not positive, a label is missing, or a loss is not positive.
    """
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate={learning_rate!r}: give a positive number, that of the training")
    again = closure(problem, model, batch)
    losses, jacobian, shared = again.gradients()
    if len(losses) < len(problem.names):
        raise ValueError(f"the batch has labels of {len(losses)} of {len(problem.names)} objectives; give one with all")
    for name, loss in zip(problem.names, losses.tolist(), strict=True):
        if not 0 < loss < float("inf"):
            raise ValueError(f"loss {name!r} is {loss:g}; an affinity is relative to a positive loss")
    at = again.parameters
    rows = [again(at - learning_rate * torch.where(shared, g, 0).to(at)) for g in jacobian]
    return (1 - torch.stack(rows).double() / losses.double()) / learning_rate


def mean_affinity(records: Iterable[Mapping[str, Sequence[Mapping[str, Any]]]]) -> Float[np.ndarray, "m m"]:
    """Return the mean of the affinities that `AffinityRecorder` recorded, over the steps and then over the trainings.

    Args:
        records: those of one training or several, such as `[front.recordings(point) for point in front.points]`.

    Raises:
        ValueError: a training has no affinities, or a pair of tasks has no finite one.
    """
    means = []
    for record in records:
        if not record.get("affinity"):
            raise ValueError("a training has no recorded affinities; give the run an AffinityRecorder")
        tables = np.array([entry["affinity"] for entry in record["affinity"]], dtype=float)
        finite = np.isfinite(tables)
        if not finite.any(axis=0).all():
            raise ValueError("a pair of tasks has no finite affinity at any step; look at the losses and the gradients")
        means.append(np.where(finite, tables, 0).sum(axis=0) / finite.sum(axis=0))
    if not means:
        raise ValueError("records has no training; give one or more")
    return np.mean(means, axis=0)

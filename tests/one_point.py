"""One point, trained without a front around it; what it may be compared with; batches that lack labels."""

from functools import partial

import numpy as np
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.training.loop import train_point
from paretomtl.training.outcome import TrainedPoint
from paretomtl.training.study import Study
from tests import toys

SGD = partial(torch.optim.SGD, lr=0.1)


def train(problem: pm.Problem, solver=None, preference=(0.5, 0.5), job=0, tick=None, **options) -> TrainedPoint:
    """Train two epochs of SGD, unless the options say something else."""
    options = {"optimizer": SGD, "epochs": None if "steps" in options else 2} | options
    study = Study(
        problem=problem, solver=solver or ps.Linear(), preferences=np.array([preference]), corners=True, **options
    )
    return train_point(study, study.jobs[job], problem.open(), tick)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def apart(one: nn.Module, other: nn.Module) -> float:
    """The largest difference of two models' parameters."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((p - q).detach().abs().max()) for p, q in pairs)


def labelled(model, batch):
    """The toy's losses of a batch (x, y, names of the objectives that have a label)."""
    x, y, names = batch
    return {name: loss if name in names else None for name, loss in toys.losses(model, (x, y)).items()}


def marked(*names: str, seed: int = 1) -> list:
    return [(x, y, n) for (x, y), n in zip(toys.loader(seed), names, strict=False)]


def partly(*names: str) -> pm.Problem:
    """The toy with these labels in its batches."""
    return toys.two_regressions(losses=labelled, train=marked(*names), validate=marked("ab", "ab", seed=2))

"""Running statistics at one preference: while a network is trained at many, its statistics mix."""

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from paretomtl.problem import Problem
from paretomtl.training.measuring import DeviceBatches
from paretomtl.training.seeds import CALIBRATING, reproducible, reseed, reseed_loader, seed_of

BATCHES = 50  # training batches: enough for means and variances


def running_layers(model: nn.Module) -> list[_BatchNorm]:
    """Return the layers that keep running statistics."""
    return [x for x in model.modules() if isinstance(x, _BatchNorm) and x.track_running_stats]


@torch.no_grad()
def calibrate(
    problem: Problem, model: nn.Module, train: Iterable[Any] | None, device: Any, seed: int = 0, replicate: int = 0
) -> None:
    """Set the running statistics to those of the first training batches; leave the model in eval mode."""
    layers = running_layers(model)
    if not layers or train is None:
        return
    before = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over the batches
        layer.train()
    with reproducible():
        reseed(seed_of(seed, replicate, CALIBRATING))
        reseed_loader(train, seed_of(seed, replicate, CALIBRATING))
        for batch in itertools.islice(DeviceBatches(train, device), BATCHES):
            problem.loss_list(model, batch)
    for layer, momentum in zip(layers, before, strict=True):
        layer.momentum = momentum
    model.eval()

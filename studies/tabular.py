"""Tables of numbers as the data of a problem: rows in three parts, whole batches of them, and a small network."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

Parts = Mapping[str, tuple[Tensor, ...]]


class Bottleneck(nn.Module):
    """A few units that all tasks share, and a head of one number for each task."""

    def __init__(self, inputs: int, units: int, tasks: int):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(inputs, units), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(units, 1) for _ in range(tasks))

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, d) to the heads' numbers (N, tasks)."""
        z = self.trunk(features)
        return torch.cat([head(z) for head in self.heads], dim=1)


def divide(n: int, validate: int, test: int) -> dict[str, np.ndarray]:
    """Divide n rows at random, always alike, into those to train on, to validate on and to test on."""
    order = np.random.default_rng(0).permutation(n)
    return {
        "validate": order[:validate],
        "test": order[validate : validate + test],
        "train": order[validate + test :],
    }


def standardise(table: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return columns less the mean of the training rows, over their deviation; 0 for a column constant in them."""
    rows = table[train]
    deviation = rows.std(axis=0)
    return (table - rows.mean(axis=0)) / np.where(deviation > 0, deviation, np.inf)


def batches(parts: Callable[[], Parts], split: str, batch: int) -> Iterable[Any]:
    """Return the batches of a split: shuffled for training, by a generator that the study seeds; else a single one."""
    tensors = parts()[split]
    if split != "train":
        return [tensors]
    generator = torch.Generator()
    sampler = BatchSampler(RandomSampler(tensors[0], generator=generator), batch, drop_last=True)
    # whole batches are indexed at once: one row at a time would take longer than the training
    return DataLoader(TensorDataset(*tensors), batch_size=None, sampler=sampler, generator=generator)

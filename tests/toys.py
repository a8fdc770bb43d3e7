"""Small problems for the tests: quick to train, with a real trade-off."""

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import paretomtl as pm
from paretomtl.solver import solved_status
from paretomtl.training.seeds import INITIAL, reproducible, reseed, seed_of


class TwoHeads(nn.Module):
    """A trunk of one shared unit and a head for each of two regressions, which pull the unit apart."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(4, 1)
        self.a, self.b = nn.Linear(1, 1), nn.Linear(1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.trunk(x)
        return self.a(z)[:, 0], self.b(z)[:, 0]


class Dropping(TwoHeads):
    """The same with dropout."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(nn.functional.dropout(x, 0.5, self.training))


def losses(model: TwoHeads, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    x, y = batch
    a, b = model(x)
    return {"a": (a - y[:, 0]).square().mean(), "b": (b - y[:, 1]).square().mean()}


def regression(seed: int, n: int = 64) -> TensorDataset:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=g)
    return TensorDataset(x, torch.stack([x[:, 0], x[:, 1]], dim=1) + 0.1 * torch.randn(n, 2, generator=g))


def loader(seed: int, shuffle: bool = False) -> DataLoader:
    return DataLoader(regression(seed), 16, shuffle=shuffle, generator=torch.Generator() if shuffle else None)


def two_regressions(**changes: Any) -> pm.Problem:
    """Two regressions through one shared unit: 4 batches of 16 an epoch; `changes` replace fields of the problem."""
    fields = {
        "objectives": ["a", "b"],
        "model": TwoHeads,
        "losses": losses,
        "train": partial(loader, 1, True),
        "validate": partial(loader, 2),
        "ref_point": [2.0, 2.0],
    }
    return pm.Problem(**(fields | changes))


def initial() -> TwoHeads:
    """The model as every point of a study with seed 0 finds it."""
    with reproducible():
        reseed(seed_of(0, 0, INITIAL))
        return TwoHeads()


def named(value: object) -> str:
    """An id for a test, the same in each process: no address in memory stands in it."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


@dataclass(frozen=True)
class Turned(pm.Aggregation):
    """A direction that no weights give: the weighted gradient, its entries scaled by their place."""

    def update(self, state: Any, losses: Tensor, jacobian: Tensor, preference: Tensor) -> tuple[Tensor, Any, pm.Status]:
        direction = torch.einsum("...m,...mn->...n", preference.to(jacobian), jacobian)
        return direction * torch.linspace(0.5, 1.5, direction.shape[-1]).to(direction), state, solved_status(losses)

"""What the fronts in `0.1` were explored for; their study.json keeps digests of this code, so it must stay as it is.

All numbers are small binary fractions, and so are the learning rate and the preferences: no step of SGD rounds, and
every machine computes the same bits, whatever its vector units.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import paretomtl as pm
import paretomtl_solvers as ps

SGD = partial(torch.optim.SGD, lr=0.5)


class Place(nn.Module):
    """A place in the plane; it starts at one drawn from a grid."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.randint(-8, 9, (2,)).double() / 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.place - x


def losses(model: nn.Module, batch: list[Tensor]) -> dict[str, Tensor]:
    """How far the place is from the samples, and from their mirror images."""
    (x,) = batch
    return {"near": model(x).square().mean(), "mirrored": model(-x).square().mean()}


def measure(model: nn.Module, batches: Iterable[Any]) -> dict[str, tuple[float, float]]:
    """How near it is, which is to be large, and how far from the mirror images; each with a standard error."""
    found = [losses(model, batch) for batch in batches]
    near, mirrored = (sum(float(each[name]) for each in found) / len(found) for name in ("near", "mirrored"))
    return {"near": (4 - near, 0.25), "mirrored": (mirrored, 0.125)}


def samples(shift: float) -> TensorDataset:
    return TensorDataset(torch.tensor([[0.5, 1.0], [1.0, 2.0], [1.5, 0.5], [1.0, 0.5]]).double() + shift)


def train() -> DataLoader:
    return DataLoader(samples(0.0), 2, shuffle=True, generator=torch.Generator())


def validate() -> DataLoader:
    return DataLoader(samples(0.59375), 2)


def test() -> DataLoader:
    return DataLoader(samples(-0.125), 2)


def problem() -> pm.Problem:
    return pm.Problem(["near", "mirrored"], Place, losses, [16.0, 16.0], train, validate)


def measured() -> pm.Problem:
    objectives = [pm.Objective("near", goal="max", unit="m²"), "mirrored"]
    return pm.Problem(objectives, Place, losses, [16.0, 16.0], train, validate, test, measure)


STUDIES: dict[str, dict[str, Any]] = {
    "plain": {"problem": measured(), "solver": ps.EPO(), "preferences": 3, "epochs": 200},  # by the default optimizer
    "apart": {"preferences": 3, "epochs": 2},
    "seeds": {"preferences": [[0.25, 0.75], [0.5, 0.5]], "epochs": 1, "seeds": 3},
    "front-model": {
        "preferences": 3,
        "epochs": 2,
        "front_model": pm.LowRank(sampling=pm.Sampling("batch", n=2, ends=1.0)),  # it sees the ends alone, 0 and 1
    },
    "fleet": {"preferences": 3, "epochs": 2, "fleet": 2},
    "refined": {"preferences": pm.Refine(3, 5), "epochs": 1},
}
COMMAND = "tests.old_fronts.problem:problem --method Linear --preferences 3 --steps 2 --lr 0.125"


def explore(name: str, **more: Any) -> pm.Front:
    """Explore one of the studies."""
    asked = {"problem": problem(), "solver": ps.Linear(), **STUDIES[name], **more}
    if name != "plain":
        asked["optimizer"] = SGD
    return pm.explore(**asked)

"""A fleet against the same points one by one: whole sweeps, side by side, in turns; run by `make bench` alone."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.preference import even_design
from paretomtl.training.fleet import train_fleet
from paretomtl.training.loop import train_point
from paretomtl.training.study import FleetPlan, Study

pytestmark = pytest.mark.bench
INPUTS, HIDDEN, POINTS, EPOCHS, TURNS = 64, 120, 50, 4, 3


class MLP(nn.Module):
    """About 23,000 parameters."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
        self.a, self.b = nn.Linear(HIDDEN, 1), nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.trunk(x)
        return self.a(z)[:, 0], self.b(z)[:, 0]


def losses(model: MLP, batch: list[Tensor]) -> dict[str, Tensor]:
    x, a, b = batch
    found = model(x)
    return {"a": (found[0] - a).square().mean(), "b": (found[1] - b).square().mean()}


def data(seed: int, n: int, batch: int) -> DataLoader:
    x = torch.randn(n, INPUTS, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(x, x[:, 0].sin(), x[:, 1].cos()), batch)


def problem() -> pm.Problem:
    return pm.Problem(
        ["a", "b"], MLP, losses, [4.0, 4.0], train=partial(data, 0, 640, 32), validate=partial(data, 1, 128, 128)
    )


@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()], ids=lambda solver: type(solver).__name__)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_fleet_against_one_by_one(solver, device):
    """From new models to measured points, epochs of 20 batches."""
    study = Study(
        problem=problem(), solver=solver, preferences=even_design(2, POINTS), corners=False, mode=FleetPlan(POINTS),
        epochs=EPOCHS, device=device,
    )  # fmt: skip
    splits = study.open()

    def alone() -> list[pm.Point]:
        return [train_point(study, job, splits).point for job in study.jobs]

    def together() -> list[pm.Point]:
        return [trained.point for trained in train_fleet(study, study.jobs, splits)]

    times: dict[Callable[[], list[pm.Point]], list[float]] = {alone: [], together: []}
    for _ in range(TURNS):
        for train, taken in times.items():
            start = time.perf_counter()
            points = train()
            taken.append(time.perf_counter() - start)
            assert all(p.state == "done" for p in points)
    one, other = map(statistics.median, times.values())
    steps = EPOCHS * 20 * POINTS
    print(
        f"\n| {POINTS} points by {type(solver).__name__} on {device}: a point's step in a fleet, alone | "
        f"{other / steps * 1e6:.0f} us | {one / steps * 1e6:.0f} us | {one / other:.2f} |"
    )
    assert one / other >= 3

"""What recorders cost at their default frequencies: a step of the training and a record take turns.

The step is the cheapest there is: linear scalarization, by one backward pass, of the LeNet on digit pairs in batches of
256. What a record takes in such steps, divided by the steps between two records, is its share of a long training. A
median over turns is of ratios of neighbours, so that a busy machine slows both alike. Whole trainings take turns too.
"""

import statistics
import time
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.training.loop import train_point
from paretomtl.training.study import Study
from studies import data
from studies.digit_pairs import BATCH, LeNet, digit_pairs

diagnosis = pm.diagnosis
pytestmark = pytest.mark.bench
TURNS, LR = 5, 1e-3  # the first turn is not counted: caches, lazy imports
MOST, MOST_TOGETHER = 0.15, 0.40


class Side(nn.Module):
    """The logits of one side."""

    def __init__(self, model: LeNet, index: int):
        super().__init__()
        self.model, self.index = model, index

    def forward(self, pictures: Tensor) -> Tensor:
        return self.model(pictures)[self.index]


def side(index: int, model: Any) -> nn.Module:
    return Side(model, index)


def pictures(batch: Any) -> Tensor:
    return batch[0]


RECORDERS = (
    diagnosis.LossRecorder(),
    diagnosis.ConflictRecorder(),
    diagnosis.NoiseRecorder(),
    diagnosis.CurvatureRecorder(),
    diagnosis.FisherRecorder(
        {name: (partial(side, k), "classes", pictures) for k, name in enumerate(["left", "right"])}
    ),
    diagnosis.AffinityRecorder(LR),
)


@pytest.fixture(scope="module")
def problem() -> pm.Problem:
    try:
        data.mnist()
    except data.Missing as error:
        pytest.skip(str(error))
    return digit_pairs("demo", batch=BATCH)


def test_each_recorder_at_its_default_frequency(problem):
    """A record costs so many steps; over the steps between two of them, that is the overhead."""
    splits = problem.open()
    torch.manual_seed(0)
    model = problem.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    batches = iter(splits["train"])
    ratios: dict[str, list[float]] = {recorder.name: [] for recorder in RECORDERS}
    for turn in range(TURNS):
        batch = next(batches)
        for recorder in RECORDERS:
            model.train()
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            sum(problem.loss_list(model, batch), torch.zeros(())).backward()
            optimizer.step()
            step = time.perf_counter() - start
            model.eval()
            start = time.perf_counter()
            recorder.record(pm.Moment(problem, model, batch, splits["validate"], 0, turn))
            ratios[recorder.name].append((time.perf_counter() - start) / step)
    overheads = {r.name: statistics.median(ratios[r.name][1:]) / r.every for r in RECORDERS}
    print("\n| recorder | every | a record, in steps | overhead |\n| --- | --- | --- | --- |")
    for recorder in RECORDERS:
        overhead = overheads[recorder.name]
        print(f"| {recorder.name} | {recorder.every} | {overhead * recorder.every:.1f} | {overhead:.1%} |")
    print(f"| all together | | | {sum(overheads.values()):.1%} |")
    assert max(overheads.values()) <= MOST
    assert sum(overheads.values()) <= MOST_TOGETHER


def test_a_training_with_recorders_against_one_without(problem):
    """A hundred steps, two and a half epochs, which are too few for the recorder of the curvature."""
    splits, steps = problem.open(), 100
    some = [recorder for recorder in RECORDERS if recorder.every <= steps]

    def seconds(recorders: Any) -> float:
        study = Study(
            problem=problem, solver=ps.Linear(), preferences=np.array([[0.5, 0.5]]), corners=False, steps=steps,
            optimizer=partial(torch.optim.Adam, lr=LR), callbacks=tuple(recorders),
        )  # fmt: skip
        start = time.perf_counter()
        point = train_point(study, study.jobs[0], splits).point
        assert point.state == "done"
        assert not [text for text in point.warnings if "recorder" in text]
        return time.perf_counter() - start

    ratios = [seconds(some) / seconds([]) for _ in range(4)]
    print(f"\n| {len(some)} recorders together, {steps} steps | {statistics.median(ratios[1:]):.2f} |")
    assert statistics.median(ratios[1:]) <= 1 + MOST_TOGETHER

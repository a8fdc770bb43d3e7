"""A diagnosis that fails is a warning: recorders on models and losses that do not fit them."""

import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from tests import toys

diagnosis = pm.diagnosis


class Mixing(toys.TwoHeads):
    """The toy's model with a BatchNorm, which may be without running statistics."""

    def __init__(self, track: bool = True):
        super().__init__()
        self.norm = nn.BatchNorm1d(4, track_running_stats=track)

    def forward(self, x):
        return super().forward(self.norm(x))


class First(nn.Module):
    """The first output of a model."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)[0]


def inputs(batch: Any) -> torch.Tensor:
    return batch[0]


FISHER = diagnosis.FisherRecorder({"a": (First, "numbers", inputs)}, every=4)


def train(callbacks: Any, steps: int = 6, **problem: Any) -> tuple[pm.Front, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        front = pm.explore(
            toys.two_regressions(**problem), ps.Linear(), preferences=[[0.5, 0.5]], steps=steps, callbacks=callbacks,
            optimizer=partial(torch.optim.SGD, lr=0.05), normalise=None,
        )  # fmt: skip
    return front, [str(warning.message) for warning in caught]


def once_differentiable(model: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
    """Squared distances by a function of torch's that has no second derivative."""
    x, y = batch
    a, b = (torch.cdist(output[:, None, None], y[:, k, None, None], p=1) for k, output in enumerate(model(x)))
    return {"a": a.square().mean(), "b": b.square().mean()}


def below_zero(model: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
    return {name: loss - 100 for name, loss in toys.losses(model, batch).items()}


@pytest.mark.fault(126)
@pytest.mark.parametrize(
    ("recorder", "problem", "reason"),
    [
        (diagnosis.CurvatureRecorder(), {"losses": once_differentiable}, "derivative"),
        (diagnosis.AffinityRecorder(0.1), {"losses": below_zero}, "an affinity is relative to a positive loss"),
        (FISHER, {"model": partial(Mixing, False)}, ""),
    ],
    ids=["curvature", "affinity", "fisher"],
)
def test_a_recorder_that_does_not_fit_is_a_warning_and_the_training_is_the_same(recorder, problem, reason):
    front, said = train([recorder, diagnosis.LossRecorder(every=3)], **problem)
    plain, _ = train([], **problem)
    [text] = [text for text in said if "recorder" in text]
    assert f"recorder {recorder.name!r} failed at step 0, and is left out: " in text
    assert reason in text
    assert len(front.recordings(front.points[0])["loss"]) == 2
    np.testing.assert_array_equal(front.losses, plain.losses)


def test_batchnorm_has_the_statistics_of_eval_mode_and_they_stay_as_they_are():
    every = [
        diagnosis.LossRecorder(2), diagnosis.ConflictRecorder(2), diagnosis.NoiseRecorder(2),
        diagnosis.CurvatureRecorder(3), diagnosis.AffinityRecorder(0.05, 2), FISHER,
    ]  # fmt: skip
    front, said = train(every, model=Mixing)
    plain, _ = train([], model=Mixing)
    assert not [text for text in said if "recorder" in text]
    np.testing.assert_array_equal(front.losses, plain.losses)
    seen = front.recordings(front.points[0])
    assert all(seen[recorder.name] for recorder in every)


def test_dropout_is_off_for_recorders():
    """Two records of one step are alike, though random numbers were drawn between them."""
    front, _ = train([diagnosis.ConflictRecorder(1), Again(1)], steps=1, model=toys.Dropping)
    seen = front.recordings(front.points[0])
    assert seen["conflict"] == seen["again"]


class Again(diagnosis.ConflictRecorder):
    """The same recorder once more, after draws of its own."""

    name = "again"

    def record(self, moment: pm.Moment) -> Any:
        torch.rand(7)
        return super().record(moment)


def test_one_task_is_no_problem():
    with pytest.raises(ValueError, match="with fewer than two there is nothing to trade off"):
        pm.Problem(["a"], toys.TwoHeads, toys.losses, [9.0], [None], [None])

"""Recorders: what they record of every kind of training, that they change none, and what outlives a stop."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.sweep.here import Here
from tests import toys
from tests.folders import files

diagnosis = pm.diagnosis
SGD = partial(torch.optim.SGD, lr=0.05)
EVERY = (
    diagnosis.LossRecorder(every=4),
    diagnosis.ConflictRecorder(every=3),
    diagnosis.NoiseRecorder(every=4),
    diagnosis.CurvatureRecorder(every=6),
    diagnosis.AffinityRecorder(0.05, every=2),
)
KINDS: dict[str, dict[str, Any]] = {
    "alone": {},
    "fleet": {"fleet": 4},
    "front model": {"front_model": pm.FiLM(hidden=4), "solver": ps.Linear()},
}
of_every_kind = pytest.mark.parametrize("kind", KINDS)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning"),
    pytest.mark.filterwarnings("ignore:no trade-off on:UserWarning"),
]


def explore(kind: str = "alone", callbacks: Any = EVERY, problem: pm.Problem | None = None, **options: Any) -> pm.Front:
    fixed = {"solver": ps.MGDA(), "preferences": [[0.5, 0.5]], "steps": 10, "optimizer": SGD}
    if kind == "fleet":
        fixed |= {"solver": ps.Linear(), "preferences": [[0.3, 0.7], [0.6, 0.4]]}
    return pm.explore(problem or toys.two_regressions(), callbacks=callbacks, **(fixed | KINDS[kind] | options))


@dataclass
class Stop:
    """A callback that ends all before a step."""

    at: int

    def __call__(self, step: pm.Step) -> None:
        if step.step == self.at:
            raise KeyboardInterrupt


def records(front: pm.Front) -> dict[str, list[dict]]:
    return front.recordings(front.points[0])


@of_every_kind
def test_each_recorder_records_at_its_own_steps(kind, tmp_path):
    seen = records(explore(kind, out=tmp_path / "front"))
    assert {name: [entry["step"] for entry in entries] for name, entries in seen.items()} == {
        "loss": [0, 4, 8], "conflict": [0, 3, 6, 9], "noise": [0, 4, 8], "curvature": [0, 6],
        "affinity": [0, 2, 4, 6, 8],
    }  # fmt: skip
    assert seen["conflict"][0]["epoch"] == 0
    assert np.shape(seen["conflict"][0]["cosines"]) == (2, 2)
    assert np.shape(seen["affinity"][0]["affinity"]) == (2, 2)
    for name, numbers in (("loss", "validate"), ("noise", "trace"), ("noise", "coherence"), ("curvature", "sharpness")):
        assert len(seen[name][0][numbers]) == 2


@of_every_kind
def test_a_training_is_the_same_with_and_without_recorders(kind, tmp_path):
    explore(kind, out=tmp_path / "with")
    explore(kind, callbacks=(), out=tmp_path / "without")
    watched, plain = files(tmp_path / "with"), files(tmp_path / "without")
    assert {name for name in watched if name.startswith("weights")} == {
        name for name in plain if name.startswith("weights")
    }


def test_dropout_and_random_numbers_of_a_training_are_left_alone():
    problem = toys.two_regressions(model=Dropped)
    fronts = [explore(callbacks=callbacks, problem=problem) for callbacks in ((), EVERY)]
    np.testing.assert_array_equal(fronts[0].losses, fronts[1].losses)


class Dropped(toys.TwoHeads):
    """The toy's model, with dropout on its inputs."""

    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 0.3, self.training))


@of_every_kind
def test_a_training_that_was_stopped_ends_with_the_same_records(kind, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "front"
    explore(kind, callbacks=(*EVERY, Stop(99)), out=whole)
    with pytest.raises(KeyboardInterrupt):
        explore(kind, callbacks=(*EVERY, Stop(7)), out=out, executor=Here(checkpoint_seconds=0))
    explore(kind, callbacks=(*EVERY, Stop(99)), out=out)
    assert files(out) == files(whole)


def test_the_conflict_of_one_task_twice_is_none():
    def losses(model, batch):
        a = toys.losses(model, batch)["a"]
        return {"a": a, "b": 2 * a}

    seen = records(explore(problem=toys.two_regressions(losses=losses), solver=ps.Linear()))
    entry = seen["conflict"][-1]
    assert np.allclose(entry["cosines"], 1)
    assert entry["negative"] == 0
    assert entry["magnitude_ratio"] == pytest.approx(0.5)
    assert np.allclose(seen["affinity"][-1]["affinity"][1], seen["affinity"][-1]["affinity"][1][0], rtol=1e-5)


def test_the_recorded_validation_loss_is_that_of_the_model_after_the_step():
    front = explore(callbacks=[diagnosis.LossRecorder(every=1)], steps=5)
    assert records(front)["loss"][-1]["validate"] == pytest.approx(front.losses[0].tolist())


@dataclass(frozen=True)
class Broken(pm.Recorder):
    """Works for some steps, and then does not."""

    every: int = 1
    name: ClassVar[str] = "broken"
    cost: ClassVar[str] = "none"

    def record(self, moment: pm.Moment) -> Mapping[str, Any]:
        if moment.step == 3:
            raise RuntimeError("it broke\nin a second line")
        return {"step twice": 2 * moment.step, "not finite": float("nan")}


@of_every_kind
def test_a_recorder_that_fails_is_a_warning_and_the_training_goes_on(kind, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        front = explore(kind, callbacks=(Broken(), diagnosis.LossRecorder(every=5)), out=tmp_path / "front")
    point = front.points[0]
    assert point.state == "done"
    assert "recorder 'broken' failed at step 3, and is left out: it broke" in point.warnings
    seen = front.recordings(point)
    assert [entry["step twice"] for entry in seen["broken"]] == [0, 2, 4]
    assert seen["broken"][0]["not finite"] is None
    assert len(seen["loss"]) == 2


@pytest.mark.filterwarnings("ignore:1 of 1 points failed:UserWarning")
def test_a_point_that_fails_has_what_was_recorded_before(tmp_path):
    def losses(model, batch):
        a = toys.losses(model, batch)
        losses.calls += 1
        return a if losses.calls < 40 else {name: loss * torch.nan for name, loss in a.items()}

    losses.calls = 0
    with pytest.raises(pm.EmptyFrontError):
        explore(
            problem=toys.two_regressions(losses=losses), callbacks=[Broken(every=2)], out=tmp_path / "front", steps=200
        )
    [path] = (tmp_path / "front" / "recordings").glob("*.json")
    assert json.loads(path.read_text())["broken"]


def test_records_are_verified_and_damage_is_computed_anew(tmp_path):
    out = tmp_path / "front"
    explore(out=out)
    whole = files(out)
    assert not pm.verify(out).damaged
    [path] = (out / "recordings").glob("*.json")
    path.write_text(path.read_text().replace("0", "1", 1))
    assert f"recordings/{path.name}" in pm.verify(out).damaged
    with pytest.raises(ValueError, match="the file is damaged"):
        records(pm.Front.load(out))
    explore(out=out)
    assert files(out) == whole
    path.unlink()
    assert pm.verify(out).damaged == {f"recordings/{path.name}": "missing"}


def test_a_front_without_recorders_has_no_folder_of_records(tmp_path):
    front = explore(callbacks=(), out=tmp_path / "front")
    assert not (tmp_path / "front" / "recordings").exists()
    with pytest.raises(ValueError, match=r"nothing was recorded of point-001; explore with callbacks=\[pm.diagnosis"):
        records(front)


def test_recorders_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="every=0: give a whole number of steps of at least 1"):
        diagnosis.LossRecorder(every=0)
    with pytest.raises(ValueError, match=r"callbacks has the recorders \['loss', 'loss'\]; give one of each name"):
        explore(callbacks=[diagnosis.LossRecorder(1), diagnosis.LossRecorder(2)])


def test_noise_of_a_single_sample_is_a_warning():
    problem = toys.two_regressions(train=[tuple(x[:1] for x in next(iter(toys.loader(1, True))))])
    with pytest.warns(UserWarning, match="noise needs a batch with two samples or more"):
        explore(problem=problem, callbacks=[diagnosis.NoiseRecorder()])


def test_an_exact_problem_is_recorded_too():
    from studies.analytic import quadratics

    front = pm.explore(
        quadratics(3), ps.MGDA(), preferences=1, steps=5, optimizer=SGD,
        callbacks=[diagnosis.ConflictRecorder(1), diagnosis.CurvatureRecorder(1), diagnosis.LossRecorder(1)],
    )  # fmt: skip
    seen = records(front)
    assert seen["conflict"][0]["within"] == pytest.approx([1, 1])
    assert all(value > 0 for value in seen["curvature"][0]["sharpness"])


@dataclass(frozen=True)
class Head:
    """The outputs of one task of the toy, from its model."""

    index: int

    def __call__(self, model: nn.Module) -> nn.Module:
        return OneHead(model, self.index)


class OneHead(nn.Module):
    """A model with several outputs, and one of them."""

    def __init__(self, model: nn.Module, index: int):
        super().__init__()
        self.model, self.index = model, index

    def forward(self, x):
        return self.model(x)[self.index]


def test_fisher_traces_by_task():
    recorder = diagnosis.FisherRecorder({"a": (Head(0), "numbers", first), "b": (Head(1), "numbers", first)}, every=5)
    seen = records(explore(callbacks=[recorder]))["fisher"]
    assert len(seen) == 2
    assert all(value > 0 for value in seen[0]["trace"].values())


def first(batch: Any) -> torch.Tensor:
    return batch[0]


def test_a_loop_of_ones_own_records_as_explore_does():
    """With `Descent`, from the same weights."""
    problem = toys.two_regressions()
    expected = records(explore(callbacks=EVERY, solver=ps.MGDA(), steps=4))
    model, recordings = toys.initial(), pm.Recordings(EVERY)
    optimizer, descent = SGD(model.parameters()), pm.Descent(ps.MGDA(), preference={"a": 0.5, "b": 0.5})
    loader, validate = problem.open()["train"], list(problem.open()["validate"])
    for step, batch in enumerate(loader):
        optimizer.zero_grad()
        descent.backward(problem.losses(model, batch))
        optimizer.step()
        recordings.take(step, lambda batch=batch, step=step: pm.Moment(problem, model, batch, validate, 0, step))
    assert model.training
    assert recordings.entries["conflict"][0]["step"] == 0
    assert {name: len(entries) for name, entries in recordings.entries.items()} == {
        name: len(entries) for name, entries in expected.items()
    }
    assert all(seconds > 0 for seconds in recordings.seconds.values())


def test_gradients_in_the_making_are_left_alone():
    problem, recordings = toys.two_regressions(), pm.Recordings(EVERY)
    model, batch = toys.initial(), next(iter(toys.loader(1)))
    sum(problem.losses(model, batch).values()).backward()
    before = [p.grad.clone() for p in model.parameters()]
    recordings.take(0, lambda: pm.Moment(problem, model, batch, [batch], 0, 0))
    assert not recordings.failed
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), before, strict=True))

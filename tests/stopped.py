"""Trainings that are stopped in the middle, and gone on with from a checkpoint kept after every step."""

from dataclasses import dataclass, field, replace

import numpy as np

import paretomtl as pm
from paretomtl.storage.store import Store
from paretomtl.sweep.keeper import FileCheckpointer
from paretomtl.training.fleet import train_fleet
from paretomtl.training.loop import train_point
from paretomtl.training.network import LearnedNetwork, NetworkRun
from paretomtl.training.outcome import TrainedPoint
from paretomtl.training.study import Study, choose_mode
from tests.one_point import SGD, same


class Front(Store):
    """A front's folder that is not there: its id, and what is logged."""

    def __init__(self):
        super().__init__("nowhere")
        self.id, self.told = "a study", []

    def log(self, event, **facts):
        self.told.append(facts["text"])


class Elsewhere(FileCheckpointer):
    """Keeps files in memory, as another executor may keep them in a place of its own."""

    def __init__(self, seconds=0.0):
        super().__init__(Front(), seconds)
        self.kept: dict[str, dict[str, bytes]] = {}
        self.told = self.store.told

    def put(self, name, files):
        self.kept[name] = dict(files)

    def get(self, file, most):
        found = {file: data for files in self.kept.values() for file, data in files.items()}
        if file not in found:
            raise FileNotFoundError(file)
        assert len(found[file]) <= most
        return found[file]

    def drop(self, name):
        self.kept.pop(name, None)


@dataclass
class Steps:
    """A callback: which steps were done, by the first point that is told of each; an end to all before one."""

    last: int | None = None
    done: list[int] = field(default_factory=list)

    def __call__(self, told: pm.Step) -> None:
        if told.step == self.last:
            raise KeyboardInterrupt
        if told.step not in self.done:
            self.done.append(told.step)


def study_of(
    problem: pm.Problem, solver: pm.Solver, preferences=((0.3, 0.7),), front_model=None, fleet=None, **options
) -> Study:
    """A study of two epochs of SGD, unless the options say something else."""
    options = {"optimizer": SGD, "epochs": None if "steps" in options else 2} | options
    return Study(
        problem=problem, solver=solver, preferences=np.array(preferences), corners=False,
        mode=choose_mode(front_model, fleet), **options,
    )  # fmt: skip


def outcome(study: Study, keeper=None) -> list[TrainedPoint]:
    """What is trained together first: a point, a fleet, or a network and its points."""
    splits = study.open()
    if study.fleet is not None:
        return list(train_fleet(study, study.fleets[0], splits, None, keeper))
    if study.front_model is None:
        return [train_point(study, study.jobs[0], splits, None, keeper)]
    training = NetworkRun(study, study.tasks(study.jobs)[0], splits, None, keeper)
    learned = training.learn()
    return list(training.points(learned)) if isinstance(learned, LearnedNetwork) else learned


def assert_equal(found: list[TrainedPoint], expected: list[TrainedPoint]) -> None:
    """Records and weights, to the last bit."""
    for one, other in zip(found, expected, strict=True):
        assert one.point == other.point
        assert (one.weights is None) == (other.weights is None)
        assert one.weights is None or same(one.weights, other.weights)


def assert_goes_on(study: Study, last: int, keeper=None) -> list[TrainedPoint]:
    """Stopped before a step, it goes on with that step and ends as if it had not been stopped; how that is."""
    steps, keeper = Steps(), keeper or Elsewhere()
    whole = outcome(replace(study, callbacks=(steps,)))
    before, after = Steps(last), Steps()
    try:
        outcome(replace(study, callbacks=(before,)), keeper)
        raise AssertionError(f"it was not stopped before step {last}, only did {before.done}")
    except KeyboardInterrupt:
        pass
    assert_equal(outcome(replace(study, callbacks=(after,)), keeper), whole)
    assert keeper.told == []
    assert before.done + after.done == steps.done
    assert after.done[0] == last
    return whole

"""Callbacks: told of steps where a point is trained, of points and of the front where `explore` is called."""

import json

import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from tests import toys

RUN = {"preferences": [[0.3, 0.7], [0.6, 0.4]], "epochs": 2}


def explore(callbacks, **changes):
    return pm.explore(toys.two_regressions(), ps.Linear(), callbacks=callbacks, **RUN | changes)


class Note(pm.Callback):
    def __init__(self):
        self.seen = []

    def step(self, step: pm.Step) -> None:
        self.seen.append((step.point, step.step))

    def point(self, point: pm.Point) -> None:
        self.seen.append(point)

    def end(self, front: pm.Front) -> None:
        self.seen.append(front)


def test_what_a_callback_is_told_in_its_order():
    note, plain = Note(), []
    front = explore([note, plain.append])
    n = front.points[0].counts["steps"]
    steps = {p.id: [(p.id, k) for k in range(n)] for p in front.points}
    expected = [item for p in front.points for item in (*steps[p.id], p)] + [front]
    assert note.seen == expected
    assert [(step.point, step.step) for step in plain] == [item for p in front.points for item in steps[p.id]]


def test_each_part_is_there_to_be_written_over():
    class OnlyEnds(pm.Callback):
        def end(self, front):
            self.front = front

    ends = OnlyEnds()
    assert explore([ends]) is ends.front
    assert explore([pm.Callback()]).points


def test_points_that_are_there_are_not_told_again(tmp_path):
    explore([], out=tmp_path / "front")
    note = Note()
    front = explore([note], out=tmp_path / "front")
    assert note.seen == [front]


@pytest.mark.fault(59)
def test_a_step_that_raises_fails_the_point_with_the_trace():
    class Fails(Note):
        def step(self, step):
            if step.point == "point-002":
                raise RuntimeError("enough")

    fails = Fails()
    with pytest.warns(UserWarning, match="1 of 2 points failed"):
        front = explore([fails])
    assert [(p.id, p.state) for p in fails.seen[:-1]] == [("point-001", "done"), ("point-002", "failed")]
    assert "enough" in front.failed[0].reason
    assert "in step" in front.failed[0].trace


@pytest.mark.fault(59)
@pytest.mark.parametrize("what", ["point", "end"])
def test_what_comes_after_a_point_costs_no_model(tmp_path, what):
    def raises(self, of):
        raise RuntimeError("enough")

    callback = type("Fails", (pm.Callback,), {what: raises})()
    with pytest.warns(UserWarning, match=f"Fails.{what} raised RuntimeError: enough"):
        front = explore([callback], out=tmp_path / "front")
    assert len(front.points) == 2
    log = [json.loads(line) for line in (tmp_path / "front" / "log.jsonl").read_text().splitlines()]
    told = [entry["text"] for entry in log if entry["event"] == "warning" and "raised" in entry["text"]]
    assert told == [f"Fails.{what} raised RuntimeError: enough"] * (2 if what == "point" else 1)
    assert not pm.verify(tmp_path / "front").damaged


@pytest.mark.parametrize("wrong", ["text", 3, Note])
def test_what_cannot_be_called_is_refused_before_any_work(unchecked, wrong):
    with pytest.raises(
        TypeError, match=r"callbacks\[1\]=.* cannot be called; give a function of a Step, or a Callback"
    ):
        explore([print, wrong])

"""Points measured again from their weights: after a failure, and with another measure; nothing else may change."""

import os
import shutil
import sys
from functools import partial

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.sweep import remeasure as module
from tests import toys
from tests.folders import files

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* points failed:UserWarning"),
    pytest.mark.filterwarnings("ignore:cannot tell whether .* reads the environment:UserWarning"),
]


def absolute_errors(model, batches):
    """Mean absolute errors of the two heads."""
    errors = torch.cat([torch.stack(model(x), dim=1) - y for x, y in batches]).abs().mean(dim=0)
    return {"a": float(errors[0]), "b": float(errors[1])}


def accuracies(model, batches):
    """How often the signs agree."""
    right = torch.cat([(torch.stack(model(x), dim=1) > 0) == (y > 0) for x, y in batches]).float().mean(dim=0)
    return {"a": float(right[0]), "b": float(right[1])}


CALLS = 0  # what a function writes to is state, and no part of a study


def late(model, batches):
    """A measure that fails at the calls in $FAILING, the rehearsal's not among them."""
    global CALLS
    CALLS += 1
    if str(CALLS) in os.environ["FAILING"].split():
        raise OSError("no room")
    return absolute_errors(model, batches)


@pytest.fixture
def failing(monkeypatch):
    """Of two corners and three points, in that order, a corner and the second point cannot be measured.

    Returns a function that sets the calls that fail.
    """
    monkeypatch.setattr(sys.modules[__name__], "CALLS", 0)
    monkeypatch.setenv("FAILING", "3 5")
    return partial(monkeypatch.setenv, "FAILING")


PLAIN, ABSOLUTE = toys.two_regressions(), toys.two_regressions(measure=absolute_errors)
MAXIMISED = [pm.Objective("a", goal="max", unit="%"), pm.Objective("b", goal="max", unit="%")]
explore = partial(pm.explore, solver=ps.Linear(), preferences=3, epochs=1)


@pytest.mark.fault(100)
@pytest.mark.parametrize(
    ("normalise", "calls", "lost"),
    [(None, "3 5", ["point-002", "ideal-1"]), ("corners", "4 6", ["point-001", "point-003"])],
)
def test_what_could_not_be_measured_is_measured_again(tmp_path, failing, normalise, calls, lost):
    explore = partial(pm.explore, solver=ps.Linear(), preferences=3, epochs=1, normalise=normalise)
    problem, out = toys.two_regressions(measure=late), tmp_path / "front"
    failing(calls)
    with pytest.warns(UserWarning, match=r"2 of 5 points failed .*the weights of 2 are kept: paretomtl measure DIR"):
        front = explore(problem, out=out)
    assert [p.id for p in front.failed] == lost
    assert all(p.weights for p in front.failed)
    weights = files(out / "weights")
    result = pm.remeasure(out, problem)
    assert result == (5, {}, tuple(f"{id}: failed → done" for id in lost))
    whole = explore(toys.two_regressions(measure=absolute_errors))
    again = pm.Front.load(out)
    assert (again.points, again.corners) == (whole.points, whole.corners)
    assert files(out / "weights") == weights
    assert str(pm.verify(out)) == "every file is as it was written"
    assert explore(problem, out=out).points == whole.points  # nothing is left to compute
    assert CALLS == 1 + 5 + 1 + 5 + 1


@pytest.mark.filterwarnings("ignore:a corner failed")
@pytest.mark.fault(100)
def test_what_still_fails_is_failed_with_its_weights(tmp_path, failing):
    problem, out = toys.two_regressions(measure=late), tmp_path / "front"
    explore(problem, out=out)
    failing("8 9")
    result = pm.remeasure(out, problem)
    assert result.failed == dict.fromkeys(["point-001", "point-002"], "OSError: no room")
    assert result.changes == ("point-001: done → failed", "ideal-2: failed → done")
    failing("")
    assert pm.remeasure(out, problem).failed == {}
    assert pm.Front.load(out).failed == ()
    assert pm.Front.load(out).normalisation == ((0.0, 0.0), (1.0, 1.0))  # as the points were trained


def test_the_same_measure_again_changes_no_byte(tmp_path):
    out = tmp_path / "front"
    explore(toys.two_regressions(test=toys.loader(3), measure=absolute_errors), out=out, seeds=2)
    before = files(out)
    result = pm.remeasure(out, toys.two_regressions(test=toys.loader(3), measure=absolute_errors))
    assert (result.points, result.changes) == (10, ())
    assert files(out) == before


@pytest.mark.fault(100)
def test_another_measure_gives_the_front_that_it_would_have_given(tmp_path):
    out, whole = tmp_path / "front", tmp_path / "whole"
    explore(PLAIN, out=out)
    before = files(out)
    problem = toys.two_regressions(objectives=MAXIMISED, measure=accuracies)
    result = pm.remeasure(out, problem)
    assert "measured: False there, True here" in result.changes
    assert any(line.startswith("point-001: the measure 'a' on validate: ") for line in result.changes)
    assert not any(": the loss " in line for line in result.changes)
    explore(problem, out=whole)
    assert files(out) == files(whole)
    assert len(explore(problem, out=out)) == 3
    explore(PLAIN, out=out)  # measures them again, as before
    assert files(out) == before


def test_back_to_the_measure_of_before_is_back_to_its_bytes(tmp_path):
    out = tmp_path / "front"
    explore(PLAIN, out=out)
    before = files(out)
    pm.remeasure(out, ABSOLUTE)
    pm.remeasure(out, PLAIN)
    assert files(out) == before


@pytest.mark.parametrize("kind", ["front model", "walk"])
def test_points_of_one_network_and_of_a_walk(tmp_path, kind):
    out = tmp_path / "front"
    if kind == "walk":
        front = explore(PLAIN)
        model = front.load_model(front.points[1], toys.TwoHeads)
        pm.walk(PLAIN, ps.ContinuousPareto(), model, toward="a", points=2, out=out)
    else:
        explore(PLAIN, front_model=pm.FiLM(hidden=8), out=out)
    before = pm.Front.load(out)
    assert pm.remeasure(out, PLAIN).changes == ()
    assert pm.Front.load(out).points == before.points
    assert pm.remeasure(out, ABSOLUTE).failed == {}
    after = pm.Front.load(out)
    assert [p.weights for p in after.points] == [p.weights for p in before.points]
    assert (after.losses == before.losses).all()
    assert (after.values != before.values).all()


@pytest.mark.fault(79)
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ref_point": [3.0, 2.0]}, "ref_point"),
        ({"losses": lambda model, batch: toys.losses(model, batch)}, "the code of"),
        ({"train": partial(toys.loader, 5, True)}, "the data of train"),
        ({"validate": partial(toys.loader, 5)}, "the data of validate"),
        ({"test": partial(toys.loader, 5)}, "splits"),
        ({"objectives": ["a", "c"]}, "objective 2"),
        ({"objectives": ["a", pm.Objective("b", scale=2.0)]}, "'b' scale"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_more_than_another_measure_is_refused(tmp_path, changes, named):
    out = tmp_path / "front"
    explore(PLAIN, out=out)
    before = files(out)
    with pytest.raises(ValueError, match="in more than its measure") as caught:
        pm.remeasure(out, toys.two_regressions(**changes))
    assert named in str(caught.value)
    assert files(out) == before


@pytest.mark.fault(100)
def test_a_measure_that_is_wrong_changes_nothing(tmp_path):
    out = tmp_path / "front"
    explore(PLAIN, out=out)
    before = files(out)
    with pytest.raises(ValueError, match=r"measure returned the keys \['a'\]"):
        pm.remeasure(out, toys.two_regressions(measure=lambda model, batches: {"a": 1.0}))
    assert files(out) == before


@pytest.mark.fault(78)
def test_damaged_weights_are_refused(tmp_path):
    out = tmp_path / "front"
    front = explore(PLAIN, out=out)
    path = out / "weights" / f"{front.points[1].weights}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    before = files(out)
    with pytest.raises(pm.errors.DamagedFileError, match="SHA-256"):
        pm.remeasure(out, ABSOLUTE)
    assert files(out) == before


@pytest.mark.parametrize("after", range(1, 8))
def test_a_kill_between_two_files_is_mended_by_the_same_call(tmp_path, monkeypatch, after):
    """Five records, then front.json (with points.csv), then study.json."""
    out, whole = tmp_path / "front", tmp_path / "whole"
    explore(PLAIN, out=out)
    shutil.copytree(out, whole)
    pm.remeasure(whole, ABSOLUTE)
    left = [after - 1]

    def killing(method):
        def write(*arguments):
            if not left[0]:
                raise SystemExit("killed")
            left[0] -= 1
            return method(*arguments)

        return write

    with monkeypatch.context() as patch:
        for name in ("write_point", "write_front", "write_study"):
            patch.setattr(module.Store, name, killing(getattr(module.Store, name)))
        with pytest.raises(SystemExit):
            pm.remeasure(out, ABSOLUTE)
    pm.remeasure(out, ABSOLUTE)
    assert files(out) == files(whole)
    assert not pm.verify(out).damaged


def test_a_front_without_weights(tmp_path):
    out = tmp_path / "front"
    nan = toys.two_regressions(losses=lambda m, b: {n: x * torch.nan for n, x in toys.losses(m, b).items()})
    with pytest.warns(UserWarning, match="nan"), pytest.raises(pm.EmptyFrontError):
        explore(nan, out=out)
    with pytest.raises(ValueError, match="no point with weights; there is nothing to measure"):
        pm.remeasure(out, nan)

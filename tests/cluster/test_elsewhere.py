"""Fronts of what Ray's own Tuner found, with a function of one's own and with `pm.trainable`."""

from functools import partial

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.sweep import ray_cluster  # noqa: F401 - before ray, whose settings it makes
from tests import toys
from tests.fronts import assert_usable

from ray import tune  # isort: skip

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*degrees off the ray:UserWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",  # Tune leaves its logs open
)
ACCURATE = [pm.Objective("accuracy", "%", "max"), "seconds"]


@pytest.fixture(autouse=True)
def quiet(running, monkeypatch):
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")


def found(config):
    """An accuracy and the seconds that it takes, better at the second report."""
    x = config["x"]
    if x < 0:
        raise RuntimeError("x is below 0")
    for late in (1.0, 0.0):
        tune.report({"accuracy": 100 - 2 * (x - 5) ** 2 - late, "seconds": np.float32(1 + x), "fast": x < 2})


def reported(config):
    """What its config has for it."""
    tune.report(config["report"])


def run(tmp_path, trainable, space):
    return tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(name="run", storage_path=str(tmp_path / "ray"), verbose=0),
    ).fit()


def test_what_a_tuner_found(tmp_path):
    results = run(tmp_path, found, {"x": tune.grid_search([0.0, 2.0, -1.0, 4.0, 7.0])})
    front = pm.Front.from_ray(results, [40.0, 12.0], ACCURATE)
    np.testing.assert_array_equal(front.values, [[50, 1], [82, 3], [98, 5], [92, 8]])
    ids = [result.metrics["trial_id"] for result in results]
    assert [p.id for p in front.points] == [*ids[:2], *ids[3:]]
    assert front.warnings() == ("1 of 5 trials left out: 1 failed",)
    assert front.select(best="accuracy", subject_to={"seconds": 4.0}).point.id == ids[1]
    with pytest.raises(ValueError, match="this front has no preferences"):
        _ = front.preferences
    assert_usable(front, tmp_path)
    with pytest.raises(
        ValueError, match="no trial reports 'cost'; the first one reports 'accuracy'; 'seconds'; 'fast'"
    ):
        pm.Front.from_ray(results, [0.0, 9.0], ["accuracy", "cost"])
    with pytest.raises(ValueError, match=rf"finite numbers; trial 0 \({ids[0]}\): fast is True; trial 1 .*; trial 3 "):
        pm.Front.from_ray(results, [0.0, 9.0], ["accuracy", "fast"])


def test_what_a_tuner_made_of_trainable(tmp_path):
    asked = [[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]]
    space = {"preference": tune.grid_search([asked[0], {"b": 0.5, "a": 0.5}, asked[2]])}
    sgd = partial(torch.optim.SGD, lr=0.1)
    results = run(tmp_path, pm.trainable(toys.two_regressions(), ps.Linear(), epochs=2, optimizer=sgd), space)
    here = pm.explore(toys.two_regressions(), ps.Linear(), preferences=asked, epochs=2, optimizer=sgd)
    front = pm.Front.from_ray(results, here.ref_point, ["a", "b"])
    for part in ("values", "losses", "preferences", "control_errors"):
        np.testing.assert_array_equal(getattr(front, part), getattr(here, part))
    assert front.hypervolume() == here.hypervolume()
    turned = pm.Front.from_ray(results, here.ref_point, ["b", "a"])  # a list stays in the order of the problem
    np.testing.assert_array_equal(turned.preferences, here.preferences[:, ::-1])
    np.testing.assert_array_equal(turned.values, here.values[:, ::-1])
    part = pm.Front.from_ray(results, [90.0, 9.0], ["control_error", "a"])
    assert {p.preference for p in part.points} == {()}


@pytest.mark.fault(40)
def test_trials_that_are_not_finite_are_refused_by_number(tmp_path):
    reports = [{"a": 1.0, "b": 2.0}, {"a": np.nan, "b": -np.inf}, {"a": 1.0}, {"a": "1", "b": 2.0}]
    results = run(tmp_path, reported, {"report": tune.grid_search(reports)})
    said = (
        r"all trials need finite numbers; trial 1 \(\w+\): a is nan, b is -inf; trial 2 \(\w+\): b is missing; trial 3 "
    )
    with pytest.raises(ValueError, match=said):
        pm.Front.from_ray(results, [9.0, 9.0], ["a", "b"])


@pytest.mark.fault(29)
def test_a_tuner_without_a_trial_that_succeeded_is_no_front(tmp_path):
    results = run(tmp_path, found, {"x": -1.0})
    with pytest.raises(pm.EmptyFrontError, match=r"no point among the trials \(1 failed\)"):
        pm.Front.from_ray(results, [0.0, 9.0], ACCURATE)
    with pytest.raises(TypeError, match=r"result_grid= is of type list; give what Tuner\.fit returned"):
        pm.Front.from_ray(list(results), [0.0, 9.0], ACCURATE)

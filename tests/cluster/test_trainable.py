"""A study in the hands of Ray's own Tuner: schedulers, search algorithms, failures, restoring."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.storage.store import Store
from paretomtl.sweep import ray_cluster  # noqa: F401 - before ray, whose settings it makes
from tests import toys

import ray  # isort: skip
from ray import tune  # isort: skip
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining  # isort: skip
from ray.tune.search import ConcurrencyLimiter, Searcher  # isort: skip

pytestmark = [
    pytest.mark.slow,  # minutes of Ray's start-ups; test_ray_tune and test_elsewhere use trainable as well
    pytest.mark.filterwarnings(
        "ignore:.*degrees off the ray:UserWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",  # Tune leaves its logs open
    ),
]
SGD = partial(torch.optim.SGD, lr=0.1)


@pytest.fixture(autouse=True)
def quiet(running, monkeypatch):
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")


class Reports(tune.Callback):
    """All that trials report."""

    def __init__(self):
        self.seen: list[dict] = []

    def on_trial_result(self, iteration, trials, trial, result, **info):
        self.seen.append({"trial": trial.trial_id, **result})


def run(tmp_path, space: dict, *, problem=None, callbacks=(), max_failures=0, optimizer=SGD, epochs=4, **tuning):
    return tune.Tuner(
        pm.trainable(problem or toys.two_regressions(), ps.Linear(), epochs=epochs, optimizer=optimizer),
        param_space=space,
        tune_config=tune.TuneConfig(reuse_actors=True, **tuning),
        run_config=tune.RunConfig(
            name="run", storage_path=str(tmp_path / "ray"), verbose=0, callbacks=list(callbacks),
            failure_config=tune.FailureConfig(max_failures=max_failures),
        ),
    ).fit()  # fmt: skip


def test_a_scheduler_stops_the_worse_trials_early(tmp_path):
    told = Reports()
    results = run(
        tmp_path,
        {"preference": tune.grid_search([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.05, 0.95]])},
        callbacks=[told], scheduler=ASHAScheduler("training_iteration", "loss/a", "min", max_t=4, grace_period=1),
    )  # fmt: skip
    assert results.num_errors == 0
    steps = sorted(result.metrics["training_iteration"] for result in results)
    assert steps[0] < 4 == steps[-1]
    best = results.get_best_result("loss/a", "min")
    assert best.config["preference"] == [0.9, 0.1]
    assert all({"loss/a", "loss/b", "value/a", "value/b"} <= report.keys() for report in told.seen)
    with best.checkpoint.as_directory() as folder:
        (point,) = Store(folder).read_points(["point-001"])
    front = pm.explore(toys.two_regressions(), ps.Linear(), preferences=[[0.9, 0.1]], epochs=4, optimizer=SGD)
    assert (point.losses, point.weights) == (front.points[0].losses, front.points[0].weights)


class Halving(Searcher):
    """Halves the way to what is best for loss 'a', from what it has been told."""

    def __init__(self):
        super().__init__(metric="loss/a", mode="min")
        self.given: dict[str, float] = {}
        self.found: list[tuple[float, float]] = []

    def suggest(self, trial_id):
        share = 0.5 if not self.found else (1 + min(self.found)[1]) / 2
        self.given[trial_id] = share
        return {"preference": {"a": share, "b": 1 - share}, "lr": 0.1}

    def on_trial_complete(self, trial_id, result=None, error=False):
        assert result is not None
        self.found.append((result["loss/a"], self.given[trial_id]))


def test_a_search_algorithm_and_what_it_varies_beside_the_preference(tmp_path):
    search = Halving()
    results = run(
        tmp_path, {}, epochs=2, search_alg=ConcurrencyLimiter(search, 1), num_samples=3, metric="loss/a", mode="min",
        optimizer=lambda parameters, config: torch.optim.SGD(parameters, lr=config["lr"]),
    )  # fmt: skip
    assert results.num_errors == 0
    assert [share for _, share in search.found] == [0.5, 0.75, 0.875]
    here = pm.explore(toys.two_regressions(), ps.Linear(), preferences=[[0.875, 0.125]], epochs=2, optimizer=SGD)
    assert search.found[-1][0] == here.losses[0, 0]


def test_what_nothing_takes_is_an_error(tmp_path):
    (result,) = run(tmp_path, {"preference": [0.5, 0.5], "lr": 0.1})
    assert "param_space has ['lr'], which nothing takes; give optimizer=lambda parameters, config" in str(result.error)


@dataclass(frozen=True)
class Deadly:
    """Losses that kill their process once, at a number of calls, and count the processes' calls."""

    folder: str
    at: int

    def __call__(self, model, batch):
        if model.training:
            counter = Path(self.folder, str(os.getpid()))
            counter.open("ab").write(b".")
            if counter.stat().st_size == self.at and len(list(Path(self.folder).iterdir())) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        return toys.losses(model, batch)


@pytest.mark.fault(61)
def test_a_trial_whose_worker_dies_goes_on_from_its_checkpoint(tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    problem = toys.two_regressions(losses=Deadly(str(calls), 11))
    (result,) = run(tmp_path, {"preference": [0.3, 0.7]}, problem=problem, max_failures=1)
    assert result.error is None
    first, second = sorted(len(p.read_bytes()) for p in calls.iterdir())
    assert sorted([first, second]) == [8, 11]  # of 16 steps: 8 had their checkpoint, and were not taken again
    front = pm.explore(toys.two_regressions(), ps.Linear(), preferences=[[0.3, 0.7]], epochs=4, optimizer=SGD)
    assert result.metrics["loss/a"] == front.losses[0, 0]


def test_a_population_goes_on_from_one_another_at_other_preferences(tmp_path):
    told = Reports()
    population = PopulationBasedTraining(
        "training_iteration", "loss/a", "min", perturbation_interval=2, synch=True, quantile_fraction=0.5,
        hyperparam_mutations={"preference": [[0.95, 0.05], [0.6, 0.4]]}, resample_probability=1.0, log_config=False,
    )  # fmt: skip
    results = run(
        tmp_path, {"preference": tune.grid_search([[0.9, 0.1], [0.1, 0.9]])}, epochs=4, callbacks=[told],
        scheduler=population,
    )  # fmt: skip
    assert results.num_errors == 0
    assert {tuple(result.config["preference"]) for result in results} - {(0.9, 0.1), (0.1, 0.9)}
    assert [report["training_iteration"] for report in told.seen if report["trial"].endswith("0")][-1] == 4


DRIVER = """
    import os, sys
    sys.path[:0] = {path!r}
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "0"
    from pathlib import Path
    from tests.cluster.test_trainable import run, slow_problem, tune
    import ray
    ray.init(address={address!r}, log_to_driver=False)
    run(Path({folder!r}), {{"preference": tune.grid_search({asked!r})}}, problem=slow_problem())
"""


def slowly(model, batch):
    time.sleep(0.05)
    return toys.losses(model, batch)


def slow_problem() -> pm.Problem:
    return toys.two_regressions(losses=slowly)


@pytest.mark.fault(63)
@pytest.mark.fault(82)
def test_a_tuner_is_restored_after_its_driver_was_killed(tmp_path):
    """Ray's own pickles are read by whoever calls `Tuner.restore`, and by nobody else."""
    asked = [[0.1, 0.9], [0.3, 0.7], [0.6, 0.4], [0.9, 0.1]]
    address = ray.get_runtime_context().gcs_address
    code = DRIVER.format(path=sys.path, address=address, folder=str(tmp_path), asked=asked)
    driver = subprocess.Popen([sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], stderr=subprocess.PIPE)
    experiment = tmp_path / "ray" / "run"
    # Ray writes what it knows of the trials beside them; killed before that, it would begin anew
    while len(list(experiment.glob("*/checkpoint_*"))) < 3 or not list(experiment.glob("experiment_state*.json")):
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.05)
    driver.kill()
    driver.communicate()
    tuner = tune.Tuner.restore(
        str(experiment), pm.trainable(slow_problem(), ps.Linear(), epochs=4, optimizer=SGD),
        resume_unfinished=True, resume_errored=True, restart_errored=False,
    )  # fmt: skip
    results = tuner.fit()
    assert results.num_errors == 0
    front = pm.explore(slow_problem(), ps.Linear(), preferences=asked, epochs=4, optimizer=SGD)
    found = {round(result.config["preference"][0], 9): result.metrics["loss/a"] for result in results}
    assert found == {round(point.preference[0], 9): point.losses["validate"][0] for point in front.points}

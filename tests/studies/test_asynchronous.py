"""Tasks that do not wait: in step, and with a simulated staleness, they reach the optimum of the convex problem."""

import numpy as np
import pytest

from studies import asynchronous
from studies.asynchronous import draw_tasks, main, simulated, solve, synchronous

TASKS = draw_tasks(m=5, features=6)


@pytest.fixture(scope="module")
def best():
    return solve(TASKS)


def off(W, best) -> float:
    return np.linalg.norm(W - best) / np.linalg.norm(best)


def test_the_optimum_is_certified_by_a_subgradient(best):
    """Minus the gradient over c is U V' on the range of W, and no longer than 1 beside it."""
    errors = np.einsum("mnd,dm->mn", TASKS.inputs, best) - TASKS.targets
    G = -np.einsum("mnd,mn->dm", TASKS.inputs, errors) / TASKS.targets.shape[1] / TASKS.pull
    U, s, Vt = np.linalg.svd(best)
    k = int((s > 1e-6).sum())
    assert 0 < k < 5  # some of the singular values are shrunk to 0
    np.testing.assert_allclose(U[:, :k].T @ G @ Vt[:k].T, np.eye(k), rtol=0, atol=1e-8)
    assert np.linalg.norm(G, 2) <= 1 + 1e-8
    assert TASKS.residual(best) < 1e-10
    assert TASKS.residual(best + 0.01) > 1e-3
    around = best + 1e-3 * np.random.default_rng(0).normal(size=(20, *best.shape))
    assert all(TASKS.objective(W) > TASKS.objective(best) for W in around)


def test_in_step_they_reach_the_optimum(best):
    assert off(synchronous(TASKS, 1500).weights, best) < 1e-7


@pytest.mark.parametrize("staleness", [0, 20])
def test_stale_weights_reach_the_optimum(best, staleness):
    run = simulated(TASKS, 600, staleness)
    assert max(run.staleness) == staleness
    assert len(run.staleness) == 600 * 5
    assert off(run.weights, best) < 1e-3
    assert off(simulated(TASKS, 60, staleness).weights, best) > off(run.weights, best)


def test_without_the_trace_norm_each_task_is_its_own_least_squares():
    alone = TASKS._replace(pull=0.0)
    W = solve(alone)
    for x, y, w in zip(TASKS.inputs, TASKS.targets, W.T, strict=True):
        assert w == pytest.approx(np.linalg.lstsq(x, y)[0], abs=1e-8)


def test_the_table(monkeypatch, capsys):
    monkeypatch.setattr(asynchronous, "draw_tasks", lambda: TASKS)
    assert main(["--rounds", "50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("optimum: ")
    assert [line.split(" | ")[0] for line in lines[3:]] == [
        "| synchronous", *(f"| simulated, staleness up to {s}" for s in (0, 12, 60)),
    ]  # fmt: skip

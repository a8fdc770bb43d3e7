"""Tasks that do not wait for one another, on workers that are really apart."""

import numpy as np
import pytest

from studies.asynchronous import draw_tasks, on_ray, solve

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ray leaves its logs open


def test_workers_with_stale_weights_reach_the_optimum(running):
    tasks = draw_tasks(m=4, features=4)
    best, run = solve(tasks), on_ray(tasks, 300)
    print(f"\nstaleness: mean {np.mean(run.staleness):.2f}, most {max(run.staleness)}")
    assert len(run.staleness) == 300 * 4
    assert max(run.staleness) >= 1  # another worker's answer came in between
    assert np.linalg.norm(run.weights - best) <= 1e-3 * np.linalg.norm(best)

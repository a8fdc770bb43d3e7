"""AMTL: tasks that do not wait for one another (Baytas et al., ICDM 2016), on regressions with a shared subspace.

    python -m studies.asynchronous
    python -m studies.asynchronous --ray

Task t has data of its own and a vector w_t; the vectors together, W (d, m), are asked to be of low rank:

    min_W  sum_t |X_t w_t - y_t|² / 2 n + c |W|_*        |W|_*: the sum of the singular values

A server holds V (d, m) with W = prox(V), the singular values of V each shrunk by c a. A worker reads its column of W,
takes a gradient step, and brings it back; meanwhile others have changed V:

    v_t <- v_t + b (w_t - a grad f_t(w_t) - v_t)        w_t: of the V that the worker read

All of them at once, on a fresh V, are proximal gradient descent, the synchronous limit. Each row of the table has as
many steps of a task. Its columns: the staleness, how many updates V had between a worker's reading and its answer; the
objective above the optimum's, as a share; and the distance of W from the optimum, as a share. The optimum is from
accelerated proximal gradient descent; its certificate is the residual |W - prox(W - a grad f(W))| / a.

Rows: synchronous; simulated, with random tasks and a staleness of up to as many updates as asked for; and on Ray, with
workers that are really apart. On Ray the order of the answers is the machine's, so that the numbers differ from run to
run; where they lead does not.
"""

import argparse
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

TASKS, ROWS, FEATURES, RANK = 12, 30, 20, 3
NOISE, PULL = 0.5, 0.3  # of the targets; c, the weight of the trace norm
RELAXATION = 0.5  # b; below 1 for the stale ones
ROUNDS = 1000  # steps of each task


class Tasks(NamedTuple):
    """The regressions; c, the weight of the trace norm; and a, 1 over the largest curvature of a task."""

    inputs: Float[np.ndarray, "m n d"]
    targets: Float[np.ndarray, "m n"]
    pull: float
    step: float

    def objective(self, W: Float[np.ndarray, "d m"]) -> float:
        """Return the value that is minimised."""
        errors = np.einsum("mnd,dm->mn", self.inputs, W) - self.targets
        losses = np.square(errors).sum() / 2 / self.targets.shape[1]
        return float(losses + self.pull * np.linalg.norm(W, "nuc"))

    def prox(self, V: Float[np.ndarray, "d m"]) -> Float[np.ndarray, "d m"]:
        """Return V with its singular values shrunk by c a."""
        U, s, Vt = np.linalg.svd(V, full_matrices=False)
        return (U * np.maximum(s - self.pull * self.step, 0)) @ Vt

    def forward(self, W: Float[np.ndarray, "d m"]) -> Float[np.ndarray, "d m"]:
        """Return every task's gradient step."""
        errors = np.einsum("mnd,dm->mn", self.inputs, W) - self.targets
        return W - self.step * np.einsum("mnd,mn->dm", self.inputs, errors) / self.targets.shape[1]

    def residual(self, W: Float[np.ndarray, "d m"]) -> float:
        """Return how far W is from a minimiser: 0 at one alone."""
        return float(np.linalg.norm(W - self.prox(self.forward(W))) / self.step)


class Run(NamedTuple):
    """What a run came to: W, and the staleness of each update."""

    weights: Float[np.ndarray, "d m"]
    staleness: list[int]


def advance(x: np.ndarray, y: np.ndarray, w: np.ndarray, step: float) -> np.ndarray:
    """Return w after a gradient step on one task: all that a worker does."""
    return w - step * x.T @ (x @ w - y) / len(y)


def draw_tasks(m: int = TASKS, features: int = FEATURES, seed: int = 0) -> Tasks:
    """Draw regressions whose true vectors lie in one subspace of few dimensions."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(features, RANK)) @ rng.normal(size=(RANK, m)) / np.sqrt(RANK)
    inputs = rng.normal(size=(m, ROWS, features)) * rng.uniform(0.5, 1, (m, 1, 1))
    targets = np.einsum("mnd,dm->mn", inputs, truth) + NOISE * rng.normal(size=(m, ROWS))
    return Tasks(inputs, targets, PULL, ROWS / float(np.linalg.norm(inputs, 2, axis=(1, 2)).max()) ** 2)


def solve(tasks: Tasks, most: int = 100_000, residual: float = 1e-10) -> Float[np.ndarray, "d m"]:
    """Return the minimiser, by accelerated proximal gradient descent with restarts.

    Raises:
        ArithmeticError: the residual does not become that small.
    """
    W = Z = np.zeros((tasks.inputs.shape[2], len(tasks.inputs)))
    speed = 1.0
    for _ in range(most):
        following = tasks.prox(tasks.forward(Z))
        faster = (1 + np.sqrt(1 + 4 * speed**2)) / 2
        if np.vdot(Z - following, following - W) > 0:  # overshot
            speed, faster, Z = 1.0, 1.0, following
        else:
            Z = following + (speed - 1) / faster * (following - W)
        W, speed = following, faster
        if tasks.residual(W) < residual:
            return W
    raise ArithmeticError(f"a residual of {tasks.residual(W):.2g} after {most} steps")


def synchronous(tasks: Tasks, rounds: int) -> Run:
    """All tasks at once, on a fresh V."""
    V = np.zeros((tasks.inputs.shape[2], len(tasks.inputs)))
    for _ in range(rounds):
        V = V + RELAXATION * (tasks.forward(tasks.prox(V)) - V)
    return Run(tasks.prox(V), [0] * rounds)


def simulated(tasks: Tasks, rounds: int, staleness: int, seed: int = 0) -> Run:
    """One random task at a time, on a V of up to `staleness` updates ago."""
    rng, m = np.random.default_rng(seed), len(tasks.inputs)
    V, stale = np.zeros((tasks.inputs.shape[2], m)), []
    past = deque([tasks.prox(V)], maxlen=staleness + 1)
    for _ in range(rounds * m):
        t, age = rng.integers(m), min(int(rng.integers(staleness + 1)), len(past) - 1)
        w = past[-1 - age][:, t]
        V[:, t] += RELAXATION * (advance(tasks.inputs[t], tasks.targets[t], w, tasks.step) - V[:, t])
        past.append(tasks.prox(V))
        stale.append(age)
    return Run(tasks.prox(V), stale)


def on_ray(tasks: Tasks, rounds: int, workers: int = 2) -> Run:
    """As many tasks at a time as there are workers, each an actor on Ray with its share of the tasks' data."""
    from paretomtl.sweep.ray_cluster import connect, ray

    m = len(tasks.inputs)
    with connect(None, workers, {"cpu": 1}):
        worker = ray.remote(num_cpus=1)(Worker)
        shares = [range(k, m, workers) for k in range(workers)]
        actors: Any = [worker.remote(tasks.inputs[list(s)], tasks.targets[list(s)], tasks.step) for s in shares]
        V, stale, updates = np.zeros((tasks.inputs.shape[2], m)), [], 0
        queues = [turns(share, rounds) for share in shares]
        pending: dict[Any, tuple[int, int, int]] = {}

        def send(k: int) -> None:
            turn = next(queues[k], None)
            if turn is not None:
                t = shares[k][turn]
                pending[actors[k].advance.remote(turn, tasks.prox(V)[:, t])] = (k, t, updates)

        for k in range(workers):
            send(k)
        while pending:
            ready, _ = ray.wait(list(pending), num_returns=1)
            k, t, read = pending.pop(ready[0])
            V[:, t] += RELAXATION * (ray.get(ready[0]) - V[:, t])
            stale.append(updates - read)
            updates += 1
            send(k)
        for actor in actors:
            ray.kill(actor)
    return Run(tasks.prox(V), stale)


def turns(share: range, rounds: int) -> Iterator[int]:
    """Return which task of a worker's share is next, for so many rounds."""
    return (turn for _ in range(rounds) for turn in range(len(share)))


class Worker:
    """A worker with the data of its tasks; it never sees others'."""

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, step: float):
        self.inputs, self.targets, self.step = inputs, targets, step

    def advance(self, turn: int, w: np.ndarray) -> np.ndarray:
        """Return a task's vector after a gradient step."""
        return advance(self.inputs[turn], self.targets[turn], w, self.step)


def row_of(name: str, run: Run, tasks: Tasks, best: Float[np.ndarray, "d m"]) -> list[str]:
    """Return a row of the table."""
    optimum = tasks.objective(best)
    return [
        name,
        f"{np.mean(run.staleness):.1f}, {max(run.staleness)}",
        f"{max(tasks.objective(run.weights) / optimum - 1, 0):.1e}",
        f"{np.linalg.norm(run.weights - best) / np.linalg.norm(best):.1e}",
        f"{tasks.residual(run.weights):.1e}",
        str(np.linalg.matrix_rank(run.weights, tol=1e-6)),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m studies.asynchronous", description="Tasks that do not wait.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="steps of each task")
    parser.add_argument("--ray", action="store_true", help="also on Ray, with two workers")
    options = parser.parse_args(arguments)
    from studies.conditioned_fronts import markdown  # which brings torch: no worker needs it

    tasks = draw_tasks()
    best = solve(tasks)
    runs: dict[str, Callable[[], Run]] = {"synchronous": lambda: synchronous(tasks, options.rounds)}
    for staleness in (0, TASKS, 5 * TASKS):
        runs[f"simulated, staleness up to {staleness}"] = lambda s=staleness: simulated(tasks, options.rounds, s)
    if options.ray:
        runs["on Ray, 2 workers"] = lambda: on_ray(tasks, options.rounds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves its logs open
        rows = [row_of(name, run(), tasks, best) for name, run in runs.items()]
    print(f"optimum: {tasks.objective(best):.6f}, residual {tasks.residual(best):.1e}, "
          f"rank {np.linalg.matrix_rank(best, tol=1e-6)} of {TASKS}; {options.rounds} steps of each task")  # fmt: skip
    print(markdown(["", "staleness: mean, most", "above the optimum", "off it", "residual", "rank"], rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

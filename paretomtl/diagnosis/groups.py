"""Groups of tasks to train together, exactly (Fifty et al., NeurIPS 2021; from transfer gains: principled grouping)."""

from collections.abc import Iterable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

ALONE = -1e6  # the score of a task in a group of its own: taken only where nothing else is left
MOST = 12  # tasks; the program has a variable for each task of each of the 2^K - 1 groups


class Grouping(NamedTuple):
    """Groups of tasks; they may overlap, and a task is served by the group in which its score is the best.

    Attributes:
        groups: the tasks' indices, a tuple a group.
        score: the mean over the tasks of the score in the best group.
        served_by: for each task the index of its group.
    """

    groups: list[tuple[int, ...]]
    score: float
    served_by: list[int]


def group_tasks(affinity: Iterable[Iterable[float]], groups: int, alone: float = ALONE) -> Grouping:
    """Return at most so many groups that cover all tasks with the best score; exact, by a mixed-integer program.

    A task's score in a group is the mean of the affinities that the other members have for it.

    Args:
        affinity: of each task (row) for each other (column): from `affinity`, averaged over a training, or measured
            gains from training with the other. The diagonal is not read.
        groups: the largest number of groups.
        alone: the score of a task by itself; 0 for gains relative to training alone.

    Raises:
        ValueError: the table is not square or not finite, or there are too many tasks.
    """
    table = np.array([[float(value) for value in row] for row in affinity])
    k = len(table)
    if table.shape != (k, k) or k < 2:
        raise ValueError(f"affinity has the shape {table.shape}; give a row and a column for each of two tasks or more")
    if not np.isfinite(table[~np.eye(k, dtype=bool)]).all():
        raise ValueError("affinity has a value that is not finite; measure it at steps where all losses are")
    if k > MOST:
        raise ValueError(f"affinity is of {k} tasks; the exact grouping is for at most {MOST}")
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"groups={groups!r}: give a whole number of at least 1")
    candidates = [group for size in range(1, k + 1) for group in combinations(range(k), size)]
    chosen = [candidates[i] for i in _solve([_scores(table, group, alone) for group in candidates], groups, k)]
    scores = np.array([_scores(table, group, alone) for group in chosen])
    served_by = scores.argmax(axis=0).tolist()
    used = sorted(set(served_by))  # a group that serves no task is of no use
    return Grouping(
        [chosen[i] for i in used], float(scores.max(axis=0).mean()), [used.index(group) for group in served_by]
    )


def _scores(table: np.ndarray, group: tuple[int, ...], alone: float) -> np.ndarray:
    """Return the score of each task in a group; -inf for those that are not in it."""
    scores = np.full(len(table), -np.inf)
    for j in group:
        others = [i for i in group if i != j]
        scores[j] = table[others, j].mean() if others else alone
    return scores


def _solve(scores: list[np.ndarray], groups: int, k: int) -> list[int]:
    """Return the groups to take: each task is served by one of them, and their number is bounded."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    pairs = [(s, t) for s, row in enumerate(scores) for t in range(k) if row[t] > -np.inf]
    n, first = len(scores), len(scores)  # whether a group is taken; then whether a task is served by a group
    cost = np.concatenate([np.zeros(n), [-scores[s][t] for s, t in pairs]])
    rows, columns, values = [], [], []
    for i, (s, t) in enumerate(pairs):
        rows += [t, k + i, k + i]  # each task is served once; by a group that is taken
        columns += [first + i, first + i, s]
        values += [1.0, 1.0, -1.0]
    last = k + len(pairs)
    rows += [last] * n
    columns += list(range(n))
    values += [1.0] * n
    matrix = coo_array((values, (rows, columns)), shape=(last + 1, n + len(pairs)))
    lower: Any = np.concatenate([np.ones(k), np.full(len(pairs), -np.inf), [0]])  # scipy's stubs know numbers alone
    upper: Any = np.concatenate([np.ones(k), np.zeros(len(pairs)), [groups]])
    integer = np.concatenate([np.ones(n), np.zeros(len(pairs))])
    result = milp(cost, integrality=integer, bounds=Bounds(0, 1), constraints=LinearConstraint(matrix, lower, upper))
    if result.x is None:
        raise ArithmeticError(f"the program of the groups was not solved: {result.message}")
    return np.flatnonzero(result.x[:n] > 0.5).tolist()

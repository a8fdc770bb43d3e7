"""Census income: three tasks about one person, on a hidden layer of four units, which is too few for all.

The data are the first 20,000 people of Census-Income KDD (1994 and 1995): 14,000 to train on, 3,000 to validate on and
3,000 to test on, at random. Tasks: an income above 50,000 dollars (6 %), never married, and at least some college.
Inputs are the other columns, without the survey's weight; some of them say much about a task, such as "child 18 or
older". Scales and kinds come from the training rows alone.

paretomtl run studies.census:census --method Linear --preferences 10 --steps 300 --out runs/census
"""

from collections.abc import Sequence
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

import paretomtl as pm
from studies import data
from studies.tabular import Bottleneck, Parts, batches, divide, standardise

PEOPLE, HELD_OUT = 20_000, 3_000
UNITS, BATCH = 4, 512
EDUCATION, MARITAL, WEIGHT, INCOME = 4, 7, 24, 41  # columns
NUMBERS = (0, 5, 16, 17, 18, 30, 39)  # age, wage, capital gains, losses, dividends, size of the employer, weeks worked
TASKS = ("income", "never married", "college")
COLLEGE = ("Some college", "Associates", "Bachelors", "Masters", "Prof school", "Doctorate")


def labels(rows: Sequence[Sequence[str]]) -> np.ndarray:
    """Return 1 or 0 for each person and task."""
    return np.array(
        [
            [r[INCOME].startswith("50000+"), r[MARITAL] == "Never married", r[EDUCATION].startswith(COLLEGE)]
            for r in rows
        ]
    ).astype(np.float32)


def features(rows: Sequence[Sequence[str]], train: np.ndarray) -> np.ndarray:
    """Return standardised numbers, and 1 or 0 for each kind that a training row has."""
    table = np.array(rows, dtype=str)
    parts = [standardise(table[:, NUMBERS].astype(np.float64), train)]
    for column in range(table.shape[1]):
        if column not in (EDUCATION, MARITAL, WEIGHT, INCOME, *NUMBERS):
            parts.append(table[:, [column]] == np.unique(table[train, column]))
    return np.hstack(parts).astype(np.float32)


@cache
def people() -> Parts:
    """Return the features (N, d) and the labels (N, 3) of every split."""
    rows = data.census(PEOPLE)
    split_rows = divide(len(rows), HELD_OUT, HELD_OUT)
    x, y = torch.from_numpy(features(rows, split_rows["train"])), torch.from_numpy(labels(rows))
    return {split: (x[part], y[part]) for split, part in split_rows.items()}


def losses(model: Bottleneck, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Return the mean cross-entropy of each task, in nats."""
    x, y = batch
    each = binary_cross_entropy_with_logits(model(x), y, reduction="none").mean(dim=0)
    return dict(zip(TASKS, each.unbind(), strict=True))


def census() -> pm.Problem:
    """Return the problem."""
    return pm.Problem(
        objectives=[pm.Objective(name, unit="nats") for name in TASKS],
        model=partial(Bottleneck, people()["train"][0].shape[1], UNITS, len(TASKS)),
        losses=losses,
        train=partial(batches, people, "train", BATCH),
        validate=partial(batches, people, "validate", BATCH),
        test=partial(batches, people, "test", BATCH),
        ref_point=[1.0, 1.0, 1.0],
    )

"""The task sets of `studies.trajectories`: small data, networks of one shared part, and a linear head for each task."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

import paretomtl as pm
from paretomtl.diagnosis.fisher import Kind
from studies import census, data, digit_pairs, reviews, river
from studies.tabular import Parts, batches, divide

WORDS, TEXTS = 1_000, 8_000
DEPARTMENTS = ("Tops", "Dresses", "Bottoms", "Intimate", "Jackets", "Trend")
SITES = river.SITES[:3]


class Task(NamedTuple):
    """A task: its kind of labels, and how many numbers its head has."""

    name: str
    kind: Kind
    outputs: int


class TaskSet(NamedTuple):
    """Tasks that share inputs.

    trunk: builds the shared layers, whose outputs have `units` numbers.
    parts: returns inputs and labels (N, tasks) of every split.
    rate: Adam's, tuned.
    """

    name: str
    tasks: tuple[Task, ...]
    trunk: Callable[[], nn.Module]
    units: int
    parts: Callable[[], Parts]
    batch: int
    rate: float


class Network(nn.Module):
    """Shared layers and a linear head for each task."""

    def __init__(self, trunk: Callable[[], nn.Module], units: int, outputs: Sequence[int]):
        super().__init__()
        self.trunk, self.heads = trunk(), nn.ModuleList(nn.Linear(units, n) for n in outputs)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Return the outputs (N, numbers) of each head."""
        z = self.trunk(inputs.float())
        return [head(z) for head in self.heads]


class OneTask(nn.Module):
    """The outputs of a network's task alone."""

    def __init__(self, task: int, network: nn.Module):
        super().__init__()
        self.task, self.network = task, network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs (N, numbers)."""
        return self.network(inputs)[self.task]


def loss_of(kind: Kind, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats, or the mean squared error."""
    if kind == "classes":
        return cross_entropy(outputs, labels.long())
    if kind == "yes or no":
        return binary_cross_entropy_with_logits(outputs[:, 0], labels.float())
    return mse_loss(outputs[:, 0], labels.float())


def losses(tasks: Sequence[Task], model: nn.Module, batch: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the loss of each task."""
    inputs, labels = batch
    columns = zip(tasks, model(inputs), labels.unbind(1), strict=True)
    return {task.name: loss_of(task.kind, outputs, column) for task, outputs, column in columns}


def problem_of(task_set: TaskSet) -> pm.Problem:
    """Return the problem of a task set."""
    tasks, parts = task_set.tasks, task_set.parts
    return pm.Problem(
        objectives=[pm.Objective(t.name, unit="" if t.kind == "numbers" else "nats") for t in tasks],
        model=partial(Network, task_set.trunk, task_set.units, [t.outputs for t in tasks]),
        losses=partial(losses, tasks),
        train=partial(batches, parts, "train", task_set.batch),
        validate=partial(batches, parts, "validate", task_set.batch),
        test=partial(batches, parts, "test", task_set.batch),
        ref_point=[3.0] * len(tasks),
    )


# --- the sets ---


def lenet() -> nn.Module:
    """Build the shared layers of the scarce LeNet, in which tasks compete."""
    return digit_pairs.LeNet("scarce").trunk


@cache
def pictures(kind: digit_pairs.Kind) -> Parts:
    """Return overlapping pictures and the classes of both: 2,000 train, 500 validate, 2,000 test."""
    parts = {}
    for split, n in zip(digit_pairs.SPLITS, (2_000, 500, 2_000), strict=True):
        seen, labels = digit_pairs.pairs(split, n, kind)
        parts[split] = torch.from_numpy(seen).float()[:, None] / 255, torch.from_numpy(labels)
    return parts


def tanh_layer(inputs: int, units: int) -> nn.Module:
    """Build one shared layer."""
    return nn.Sequential(nn.Linear(inputs, units), nn.Tanh())


def first_rows(parts: Parts, n: int, columns: int) -> Parts:
    """Keep n rows to train on, and the labels' first columns."""
    kept = {split: (x, y[:, :columns]) for split, (x, y) in parts.items()}
    x, y = kept["train"]
    return kept | {"train": (x[:n], y[:n])}


@cache
def people() -> Parts:
    """Return the census: 2,000 people to train on."""
    return first_rows(census.people(), 2_000, 3)


@cache
def hours() -> Parts:
    """Return the river: 1,000 hours to train on."""
    return first_rows(river.hours(), 1_000, len(SITES))


@cache
def texts() -> Parts:
    """Return which words a review has, and its stars less one, recommendation and department.

    4,000 texts train, 2,000 validate, 2,000 test; the 1,000 words are those that most training texts have.
    """
    columns = data.clothing()
    rows = zip(*(columns[c] for c in ("Review Text", "Rating", "Recommended IND", "Department Name")), strict=True)
    different = {row[0]: row[1:] for row in rows if all(cell is not None for cell in row)}
    words = [reviews.words_of(text) for text in list(different)[:TEXTS]]
    labels = torch.tensor([[s - 1, r, DEPARTMENTS.index(d)] for s, r, d in list(different.values())[:TEXTS]])
    split_rows = divide(len(words), len(words) // 4, len(words) // 4)
    known = reviews.frequent((words[k] for k in split_rows["train"]), reviews.LEAST, WORDS)
    seen = reviews.presence(words, known)
    return {split: (seen[k], labels[k]) for split, k in split_rows.items()}


def pair_tasks() -> tuple[Task, ...]:
    """Return the tasks of overlapping pictures."""
    return Task("left", "classes", 10), Task("right", "classes", 10)


def features_of(parts: Callable[[], Parts], units: int) -> nn.Module:
    """Build the shared layer for inputs of these data."""
    return tanh_layer(parts()["train"][0].shape[1], units)


TASK_SETS = (
    TaskSet("Fashion pairs", pair_tasks(), lenet, 16, partial(pictures, "fashion"), 64, 1e-2),
    TaskSet("mixed pairs", pair_tasks(), lenet, 16, partial(pictures, "mixed"), 64, 1e-2),
    TaskSet(
        "Census", tuple(Task(name, "yes or no", 1) for name in census.TASKS), partial(features_of, people, 8), 8,
        people, 128, 1e-2,
    ),
    TaskSet(
        "RF1", tuple(Task(name, "numbers", 1) for name in SITES), partial(features_of, hours, 8), 8, hours, 128, 3e-2
    ),
    TaskSet(
        "clothing reviews",
        (Task("rating", "classes", 5), Task("recommended", "yes or no", 1), Task("department", "classes", 6)),
        partial(tanh_layer, WORDS, 8), 8, texts, 128, 3e-3,
    ),
)  # fmt: skip


def named(name: str) -> TaskSet:
    """Return a task set."""
    known = {s.name: s for s in TASK_SETS}
    if name not in known:
        raise ValueError(f"task_set={name!r} is not one of {', '.join(known)}")
    return known[name]

"""Digits: a small network that learns from labels, or from one label in 20, and from a convolutional network.

At size demo the data are UCI's 1,797 digits of 8×8 pixels, 300 to validate on and 300 to test on; at size full MNIST's
first 10,000 training digits, 5,000 to validate on and 10,000 to test on, at half of their resolution, 14×14. The
teacher has two convolutions and sees every label. The student has a hidden layer of eight units; with few labels it has
those of one training digit in 20 (of one in 10 at size demo), at random, and all of the pictures.

paretomtl run studies/student_digits.toml
"""

from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

import paretomtl as pm
from studies import data, small_digits
from studies.distilled import Course, all_present, train, train_or_load
from studies.tabular import Parts

UNITS = 8
TEACHER = {"channels": 16, "hidden": 128, "peak": 1e-2}
TEMPERATURE = 1.0

Size = Literal["demo", "full"]
Labels = Literal["all", "few"]


class Setting(NamedTuple):
    """The pictures' side, digits a step, both networks' epochs, and the share of labels that are there if few are."""

    side: int
    batch: int
    epochs: int
    student_epochs: int
    share: float


SIZES: dict[str, Setting] = {"demo": Setting(8, 128, 40, 15, 0.1), "full": Setting(14, 256, 15, 10, 0.05)}
HALF = {"train": 10_000, "validate": 5_000, "test": 10_000}  # digits of MNIST, at half resolution


@cache
def digits(size: Size) -> Parts:
    """Return the pictures (N, side²) in [0, 1] and the labels (N,) of every split."""
    if size == "demo":
        return small_digits.digits()
    parts = {}
    for split, n in HALF.items():
        pictures, labels = (torch.from_numpy(part[:n]) for part in data.mnist()[split])
        parts[split] = (avg_pool2d(pictures[:, None].float() / 255, 2).flatten(1), labels)
    return parts


@cache
def parts_of(size: Size, labels: Labels) -> Parts:
    """Return the splits; where labels are few, which of the training digits have one."""
    parts = {}
    for split, (pictures, label) in digits(size).items():
        present = all_present(len(label))
        if split == "train" and labels == "few":
            draw = np.random.default_rng(0).permutation(len(label))
            present = torch.from_numpy(draw < round(SIZES[size].share * len(label)))
        parts[split] = (pictures, pictures, label, present)
    return parts


class Convolutions(nn.Module):
    """The teacher: two convolutions and a hidden layer."""

    def __init__(self, side: int):
        super().__init__()
        channels, hidden = TEACHER["channels"], TEACHER["hidden"]
        self.side = side
        self.net = nn.Sequential(
            nn.Conv2d(1, channels, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(2 * channels * ((side + 3) // 4) ** 2, hidden), nn.ReLU(), nn.Linear(hidden, 10),
        )  # fmt: skip

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, side²) to logits (N, 10)."""
        return self.net(pictures.view(-1, 1, self.side, self.side))


def few_units(side: int) -> nn.Module:
    """Build the student."""
    return nn.Sequential(nn.Linear(side**2, UNITS), nn.ReLU(), nn.Linear(UNITS, 10))


def course(size: Size, labels: Labels, folder: str | Path | None = None) -> Course:
    """Return the student's data and teacher."""
    if size not in SIZES:
        raise ValueError(f"size={size!r} is not one of {', '.join(SIZES)}")
    if labels not in ("all", "few"):
        raise ValueError(f"labels={labels!r} is not one of all, few")
    setting, (pictures, label) = SIZES[size], digits(size)["train"]
    fit = partial(
        train, inputs=pictures, labels=label, epochs=setting.epochs, peak=TEACHER["peak"], batch=setting.batch
    )
    model = train_or_load(
        None if folder is None else Path(folder) / f"digits-{size}.safetensors",
        partial(Convolutions, setting.side),
        fit,
        {**TEACHER, **setting._asdict(), "digits": len(label)},
    )
    student = partial(few_units, setting.side)
    return Course(
        partial(parts_of, size, labels), pm.distillation.Teacher(model), student, setting.student_epochs,
        setting.batch, (1.5, 1.5),
    )  # fmt: skip


def student_digits(
    size: Size = "demo", labels: Labels = "all", temperature: float = TEMPERATURE, folder: str | Path | None = None
) -> pm.Problem:
    """Return the problem.

    Args:
        size: "demo", 8×8 pixels, or "full", MNIST at half resolution.
        labels: whether the student has all labels, or few.
        temperature: the temperature of both networks in the teacher's loss.
        folder: where the teacher is stored; by default nowhere, and it is trained anew.
    """
    return course(size, labels, folder).problem(temperature)

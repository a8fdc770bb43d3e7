"""Digit pairs (MultiMNIST): two overlapping pictures, two tasks, one small LeNet.

    python -m studies.digit_pairs --out runs/digits        explore, score, plot

The recipe: base pictures of MNIST (or Fashion-MNIST), 50,000 / 10,000 / 10,000 for train / validate / test; pairs are
drawn within each, never across. The left one lies at (0, 0) and the right one at (8, 8) of 36×36, maximum where they
overlap, divided by 255. The net is Pareto-MTL's LeNet (Lin et al., NeurIPS 2019).
"""

import argparse
import sys
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import paretomtl as pm
import paretomtl_solvers as ps
from studies import data

SPLITS = ("train", "validate", "test")
SIZES = {
    "tiny": (1_600, 500, 500),
    "demo": (10_000, 2_000, 2_000),
    "small": (20_000, 4_000, 4_000),
    "full": (108_000, 12_000, 20_000),
}
KINDS = {"digits": ("mnist", "mnist"), "fashion": ("fashion", "fashion"), "mixed": ("mnist", "fashion")}
WIDTHS = {"published": (10, 20, 50), "scarce": (4, 6, 16)}  # channels, channels, hidden
BATCH = 256
SIDE, SHIFT = 36, 8

Size = Literal["tiny", "demo", "small", "full"]
Kind = Literal["digits", "fashion", "mixed"]
Width = Literal["published", "scarce"]


class LeNet(nn.Module):
    """Pareto-MTL's LeNet for 36×36 pictures: a shared trunk and a head for each side."""

    def __init__(self, width: Width = "published"):
        super().__init__()
        first, second, hidden = WIDTHS[width]
        self.trunk = nn.Sequential(
            nn.Conv2d(1, first, 9), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(second * 25, hidden), nn.ReLU(),
        )  # fmt: skip
        self.left, self.right = nn.Linear(hidden, 10), nn.Linear(hidden, 10)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (N, 1, 36, 36) to the logits (N, 10) of the left and of the right one."""
        z = self.trunk(pictures)
        return self.left(z), self.right(z)


def losses(model: LeNet, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """The mean cross-entropy of each side, in nats."""
    pictures, labels = batch
    left, right = model(pictures)
    return {"left": cross_entropy(left, labels[:, 0]), "right": cross_entropy(right, labels[:, 1])}


class Pairs(NamedTuple):
    """Pictures (N, 36, 36), uint8, and the labels of left and right (N, 2)."""

    pictures: np.ndarray
    labels: np.ndarray


@cache
def pairs(split: str, n: int, kind: Kind = "digits", seed: int = 0) -> Pairs:
    """N pairs of a split, drawn with replacement by a generator of that split's own."""
    left, right = (getattr(data, name)()[split] for name in KINDS[kind])
    generator = np.random.default_rng([seed, SPLITS.index(split)])
    i, j = generator.integers(len(left.pictures), size=n), generator.integers(len(right.pictures), size=n)
    canvas = np.zeros((n, SIDE, SIDE), np.uint8)
    canvas[:, :28, :28] = left.pictures[i]
    corner = canvas[:, SHIFT:, SHIFT:]
    np.maximum(corner, right.pictures[j], out=corner)
    return Pairs(canvas, np.stack([left.labels[i], right.labels[j]], axis=1))


def loader(split: str, n: int, kind: Kind, batch: int) -> DataLoader:
    """Batches of a split; shuffled for training, by a generator that the study seeds."""
    pictures, labels = pairs(split, n, kind)
    tensors = TensorDataset(torch.from_numpy(pictures).float()[:, None] / 255, torch.from_numpy(labels))
    train = split == "train"
    return DataLoader(tensors, batch if train else 1000, shuffle=train, generator=torch.Generator() if train else None)


def digit_pairs(
    size: Size = "demo", kind: Kind = "digits", width: Width = "published", batch: int = BATCH
) -> pm.Problem:
    """The problem.

    Args:
        size: pairs for train / validate / test: tiny 1,600/500/500, demo 10,000/2,000/2,000, small
            20,000/4,000/4,000, full 108,000/12,000/20,000.
        kind: digits on digits, fashion on fashion, or mixed: a digit on the left, fashion on the right.
        width: the published net of 31,910 parameters; or scarce, whose small capacity makes the tasks compete.
        batch: pairs a step of training.
    """
    n = dict(zip(SPLITS, SIZES[size], strict=True))
    return pm.Problem(
        objectives=[pm.Objective("left", unit="nats"), pm.Objective("right", unit="nats")],
        model=partial(LeNet, width),
        losses=losses,
        train=partial(loader, "train", n["train"], kind, batch),
        validate=partial(loader, "validate", n["validate"], kind, batch),
        test=partial(loader, "test", n["test"], kind, batch),
        ref_point=[2.0, 2.0],
    )


PREFERENCES, STEPS, SMALL_BATCH, LR = 5, 100, 64, 3e-3  # few steps of small batches: a minute for the whole front


def quick() -> pm.Problem:
    """Return the problem in small batches, for a front in a minute or two."""
    return digit_pairs(batch=SMALL_BATCH)


def main(arguments: list[str] | None = None) -> int:
    """Explore a front by EPO, print it and draw it."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.digit_pairs", description="A front of two tasks on pairs of real digits."
    )
    parser.add_argument("--size", choices=SIZES, default="demo")
    parser.add_argument("--kind", choices=KINDS, default="digits")
    parser.add_argument("--width", choices=WIDTHS, default="published")
    parser.add_argument("--batch", type=int, default=SMALL_BATCH)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--preferences", type=int, default=PREFERENCES)
    parser.add_argument("--ray", action="store_true", help="compute the points on Ray, with two workers")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the front")
    options = parser.parse_args(arguments)
    try:
        front = pm.explore(
            digit_pairs(options.size, options.kind, options.width, options.batch),
            ps.EPO(),
            preferences=options.preferences,
            steps=options.steps,
            optimizer=partial(torch.optim.Adam, lr=LR),
            out=options.out,
            executor=pm.RayTune(workers=2) if options.ray else None,
        )
    except data.Missing as error:
        print(error, file=sys.stderr)
        return 1
    print(front.table(), front.score(), sep="\n\n")
    front.plot(options.out / "front.svg")
    return 0


if __name__ == "__main__":
    # by its real name, under which workers find what cannot travel by value
    from studies.digit_pairs import main as run

    raise SystemExit(run())

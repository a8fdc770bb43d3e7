"""Small digits: parity, digit class and the size of the weights, three objectives of unlike kind.

The data are UCI's 1,797 digits of 8×8 pixels: 1,197 to train on, 300 to validate on, 300 to test on. One loss runs from
.1 to .7 nats, one from .1 to 2.3 nats, and one, without a unit, from 0 to .1.

paretomtl run studies.small_digits:small_digits --method Linear --preferences 10 --steps 300 --out runs/small-digits
"""

from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

import paretomtl as pm
from studies import data
from studies.tabular import Parts, batches, divide

HIDDEN, BATCH = 32, 128
HELD_OUT = 300  # digits to validate on, and as many to test on
GREYEST = 16


class TwoHeads(nn.Module):
    """A hidden layer that both tasks share, and a head for each."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU())
        self.parity, self.digit = nn.Linear(HIDDEN, 1), nn.Linear(HIDDEN, 10)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (N, 64) to the logits of being odd (N,) and of the classes (N, 10)."""
        z = self.trunk(pictures)
        return self.parity(z)[:, 0], self.digit(z)


@cache
def digits() -> Parts:
    """Return the pictures (N, 64) in [0, 1] and the labels (N,) of every split."""
    pictures, labels = data.small_digits()
    x, y = torch.from_numpy(pictures).float().flatten(1) / GREYEST, torch.from_numpy(labels)
    return {split: (x[rows], y[rows]) for split, rows in divide(len(y), HELD_OUT, HELD_OUT).items()}


def losses(model: TwoHeads, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Return the mean cross-entropies of parity and of the class, in nats, and the mean size of a weight."""
    pictures, labels = batch
    parity, digit = model(pictures)
    weights = [p for p in model.parameters() if p.ndim > 1]
    return {
        "parity": binary_cross_entropy_with_logits(parity, (labels % 2).to(parity)),
        "digit": cross_entropy(digit, labels),
        "weights": torch.cat([w.flatten() for w in weights]).abs().mean(),
    }


def small_digits() -> pm.Problem:
    """Return the problem."""
    return pm.Problem(
        objectives=[pm.Objective("parity", unit="nats"), pm.Objective("digit", unit="nats"), "weights"],
        model=TwoHeads,
        losses=losses,
        train=partial(batches, digits, "train", BATCH),
        validate=partial(batches, digits, "validate", BATCH),
        test=partial(batches, digits, "test", BATCH),
        ref_point=[1.0, 3.0, 0.2],
    )

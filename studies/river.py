"""RF1: the flow of a river network at eight sites, 48 hours ahead, on a hidden layer of eight units.

The data are 9,005 hours without a gap, at random: 6,005 to train on, 1,500 to validate on and 1,500 to test on. Hours
next to each other are much alike, so figures on unseen hours flatter; they compare methods, and forecast nothing.

paretomtl run studies.river:river --method Linear --preferences 12 --steps 300 --out runs/river
"""

from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

import paretomtl as pm
from studies import data
from studies.tabular import Bottleneck, Parts, batches, divide, standardise

HELD_OUT, UNITS, BATCH = 1_500, 8, 256
AHEAD = "_48H__0"  # the end of a target's name
SITES = ("CHSI2", "NASI2", "EADM7", "SCLM7", "CLKM7", "VALI2", "NAPM7", "DLDI4")


@cache
def hours() -> Parts:
    """Return the readings (N, 64) and the later flows (N, 8) of every split, standardised by the training hours."""
    columns = data.river()
    rows = divide(len(columns[SITES[0] + AHEAD]), HELD_OUT, HELD_OUT)
    readings = np.stack([values for name, values in columns.items() if not name.endswith(AHEAD)], axis=1)
    flows = np.stack([columns[site + AHEAD] for site in SITES], axis=1)
    x, y = (torch.from_numpy(standardise(table, rows["train"])).float() for table in (readings, flows))
    return {split: (x[part], y[part]) for split, part in rows.items()}


def losses(model: Bottleneck, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Return the mean squared error at each site; 1 is that of the mean flow."""
    x, y = batch
    return dict(zip(SITES, (model(x) - y).square().mean(dim=0).unbind(), strict=True))


def river() -> pm.Problem:
    """Return the problem."""
    return pm.Problem(
        objectives=SITES,
        model=partial(Bottleneck, hours()["train"][0].shape[1], UNITS, len(SITES)),
        losses=losses,
        train=partial(batches, hours, "train", BATCH),
        validate=partial(batches, hours, "validate", BATCH),
        test=partial(batches, hours, "test", BATCH),
        ref_point=[2.0] * len(SITES),
    )

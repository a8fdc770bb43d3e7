"""A rocket injector's design: a problem from engineering, whose front is known from a search.

paretomtl run studies.rocket:rocket_injector --method EPO --preferences 10 --steps 1000 --out runs/rocket
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

import paretomtl as pm
from paretomtl.points.score import hypervolume, is_nondominated

NAMES = ("face temperature", "combustion length", "tip temperature")
# The suite's ideal and nadir. The ideal is rounded down by under 2e-9: its third entry is 1.8e-10 above a value that is
# reached, and a loss below 0 is an error to methods that follow rays.
IDEAL = np.array([0.008893413, 0.004879999, -0.431500001])
NADIR = np.array([0.98949120096, 0.956587924661, 0.987530948586])
REFERENCE = (1.0, 1.0, 1.0)
START = 0.1  # standard deviation of z at the start
DIVISIONS, HALVINGS = 20, 2  # of [0, 1] in each variable: at first, and their halvings for the truth


class Injector(nn.Module):
    """Four design variables x = sigmoid(z) in (0, 1); z is unbounded and starts at N(0, START² I), in float64.

    Where the front has a variable at its bound, x comes near the bound but does not reach it.
    """

    def __init__(self):
        super().__init__()
        self.z = nn.Parameter(START * torch.randn(4, dtype=torch.float64))

    def forward(self) -> Tensor:
        """Return x: the hydrogen's flow angle and area, the oxygen's area, the thickness of the oxidizer's post tip."""
        return torch.sigmoid(self.z)


class Boxed(nn.Module):
    """The same four variables x, without the sigmoid, starting at N(.5, START² I); `into_box` keeps them in [0, 1]."""

    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(0.5 + START * torch.randn(4, dtype=torch.float64))

    def forward(self) -> Tensor:
        """Return x; see `Injector`."""
        return self.x


def into_box(model: Boxed) -> None:
    """Clamp every variable to its bounds."""
    with torch.no_grad():
        model.x.clamp_(0, 1)


def rocket_injector(box: bool = False) -> pm.Problem:
    """RE3-4-7 or RE37, Tanabe and Ishibuchi's rocket injector (Applied Soft Computing 89, 2020): small and irregular.

    The objectives are polynomials that Vaidyanathan et al. (AIAA 2003-0296) fitted to simulations: the highest
    temperature of the injector's face, the combustion length, and the highest temperature of the post tip. Losses are
    (f - ideal) / (nadir - ideal) with the suite's points, at least 0; the front reaches 1.01, 1.11 and 1.08.

    The reference is LibMOON's (1, 1, 1); points beyond it do not count. The truth is a lattice of 80 divisions, some
    35,000 points; of 400 of them, none can be bettered by more than .003 in all losses at once. The lattice's
    hypervolume of .57980 is a lower bound, .3 % below the true .5815: another halving makes it .58066, one more .58109.

    Args:
        box: keep x in its box by clamping instead of a sigmoid. A front model needs this: where one network serves all
            preferences, a sigmoid that saturates on the way to one of them stays saturated for all.
    """

    def losses(model: Injector | Boxed, batch: None) -> dict[str, Tensor]:
        del batch
        values = [
            (value - low) / (high - low)
            for value, low, high in zip(objectives(*model().unbind()), IDEAL.tolist(), NADIR.tolist(), strict=True)
        ]
        return dict(zip(NAMES, values, strict=True))

    return pm.Problem(
        objectives=NAMES,
        model=Boxed if box else Injector,
        losses=losses,
        project=into_box if box else None,
        ref_point=REFERENCE,
        deterministic=True,
        truth=_truth(),
    )


def objectives(a, h, o, t) -> tuple:
    """Return the three polynomials of RE37, at numbers, arrays or tensors.

    Args:
        a: the hydrogen's flow angle; like the other variables it is scaled to [0, 1].
        h: the hydrogen's area.
        o: the oxygen's area.
        t: the thickness of the oxidizer's post tip.
    """
    face = (
        0.692
        + a * (0.477 - 0.167 * a - 0.0129 * h - 0.0634 * o - 0.0521 * t)
        + h * (-0.687 + 0.0796 * h - 0.0257 * o + 0.00156 * t)
        + o * (-0.08 + 0.0877 * o + 0.00198 * t)
        + t * (-0.065 + 0.0184 * t)
    )
    length = (
        0.153
        + a * (-0.322 + 0.175 * a + 0.0185 * h - 0.251 * o + 0.0134 * t)
        + h * (0.396 - 0.0701 * h + 0.179 * o + 0.0296 * t)
        + o * (0.424 + 0.015 * o + 0.0752 * t)
        + t * (0.0226 + 0.0192 * t)
    )
    tip = (
        0.37
        + a * (-0.205 - 0.135 * a + 0.0141 * h + 0.208 * o + 0.353 * t)
        + a * (0.202 * a * h - 0.281 * a * o - 0.342 * h * h - 0.281 * h * o - 0.184 * t * t)
        + h * (0.0307 + 0.0998 * h - 0.0301 * o - 0.245 * h * o + 0.281 * o * o)
        + o * (0.108 - 0.226 * o - 0.0497 * t)
        + t * (1.019 - 0.423 * t)
    )
    return face, length, tip


def lattice_front(halvings: int = HALVINGS) -> np.ndarray:
    """Return the non-dominated losses (N, 3) of a lattice of [0, 1]^4 that is refined around them.

    Each halving looks at the non-dominated places and all their neighbours, at half the distance. The first one finds
    as much as a search of the whole lattice of 40 divisions.
    """
    n, around = DIVISIONS, np.indices((3,) * 4).reshape(4, -1) - 1
    places, front = _best(np.indices((n + 1,) * 4).reshape(4, -1), n)
    for _ in range(halvings):
        n *= 2
        nearby = (2 * places[:, :, None] + around[:, None, :]).reshape(4, -1)
        inside = nearby[:, ((nearby >= 0) & (nearby <= n)).all(axis=0)]
        once = np.unique(np.ravel_multi_index(tuple(inside), (n + 1,) * 4))
        places, front = _best(np.stack(np.unravel_index(once, (n + 1,) * 4)), n)
    return front


def _best(places: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the non-dominated places, of (4, N) in units of 1/n, and their losses (N, 3)."""
    front = (np.stack(objectives(*places / n), axis=1) - IDEAL) / (NADIR - IDEAL)
    best = is_nondominated(front)
    return places[:, best], front[best]


@cache
def _truth() -> pm.Truth:
    front = lattice_front()
    volume = hypervolume(front, REFERENCE)
    assert volume is not None
    return pm.Truth(front, front.min(axis=0), front.max(axis=0), float(volume))

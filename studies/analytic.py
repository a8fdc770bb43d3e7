"""Problems whose front is known, so that a study can state its distance to the truth.

paretomtl run studies.analytic:fonseca --method EPO --preferences 10 --steps 1000 --out runs/fonseca
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

import paretomtl as pm
from paretomtl.front.score import hypervolume

REFERENCE = 1.1
START = 0.1  # standard deviation of the start


class Place(nn.Module):
    """A place x in R^n, started at N(0, START² I), in float64."""

    def __init__(self, n: int):
        super().__init__()
        self.x = nn.Parameter(START * torch.randn(n, dtype=torch.float64))


def fonseca(n: int = 10, objectives: int = 2) -> pm.Problem:
    """Fonseca and Fleming's problem: f_i = 1 - exp(-|x - c_i|²), a concave front (Evolutionary Computation 3(1), 1995).

    Args:
        n: variables.
        objectives: 2, with centres c = ±(1, …, 1)/sqrt(n); or 3, the third alternating -1, +1, … over sqrt(n). The
            Pareto set is the segment, or the triangle, of the centres.
    """
    centres = torch.from_numpy(_centres(n, objectives))
    names = [f"f{i + 1}" for i in range(objectives)]

    def losses(model: Place, batch: None) -> dict[str, Tensor]:
        del batch
        squares = (model.x - centres).square().sum(dim=1)
        return dict(zip(names, (1 - torch.exp(-squares)).unbind(), strict=True))

    return pm.Problem(
        objectives=names,
        model=lambda: Place(n),
        losses=losses,
        ref_point=[REFERENCE] * objectives,
        deterministic=True,
        truth=_truth(n, objectives),
    )


def fonseca3() -> pm.Problem:
    """`fonseca` with three objectives, for the command line."""
    return fonseca(objectives=3)


def _centres(n: int, objectives: int) -> np.ndarray:
    if objectives not in (2, 3):
        raise ValueError(f"objectives={objectives}: fonseca has 2 or 3")
    if n < 2:
        raise ValueError(f"n={n}: give at least 2 variables")
    ones, alternating = np.ones(n), np.where(np.arange(n) % 2 == 0, -1.0, 1.0)
    return np.stack([ones, -ones, alternating][:objectives]) / np.sqrt(n)


@cache
def _truth(n: int, objectives: int) -> pm.Truth:
    """The image of a lattice on the Pareto set: 100,001 points on the segment, 20,301 on the triangle.

    A lattice's hypervolume is a lower bound: 5e-6 below the true one at two objectives, under 1 % at three.
    """
    centres, lattice = _centres(n, objectives), _lattice(objectives, 100_000 if objectives == 2 else 200)
    # |sum_k w_k c_k - c_i|² from the centres' distances D alone (sum w = 1): (D w)_i - w' D w / 2
    distances = np.square(centres[:, None] - centres[None]).sum(axis=-1)
    mixed = lattice @ distances
    squares = mixed - 0.5 * (mixed * lattice).sum(axis=1, keepdims=True)
    front = 1 - np.exp(-np.maximum(squares, 0))
    volume = hypervolume(front, [REFERENCE] * objectives)
    assert volume is not None
    return pm.Truth(front, front.min(axis=0), front.max(axis=0), volume)


def _lattice(m: int, divisions: int) -> np.ndarray:
    """All points of the simplex whose coordinates are multiples of 1 / divisions, for m = 2 and 3."""
    if m == 2:
        a = np.arange(divisions + 1)
        return np.stack([a, divisions - a], axis=1) / divisions
    i, j = np.meshgrid(np.arange(divisions + 1), np.arange(divisions + 1), indexing="ij")
    i, j = i[i + j <= divisions], j[i + j <= divisions]
    return np.stack([i, j, divisions - i - j], axis=1) / divisions

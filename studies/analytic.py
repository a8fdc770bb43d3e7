"""Problems whose front is known, so that a study can state its distance to the truth.

paretomtl run studies.analytic:fonseca --method EPO --preferences 10 --steps 1000 --out runs/fonseca

| problem | objectives | front |
| --- | --- | --- |
| `fonseca` | 2 | concave |
| `fonseca3` | 3 | concave between its first two corners |
| `zdt1` | 2 | convex |
| `zdt2` | 2 | concave |
| `zdt3` | 2 | five pieces |
| `dtlz2` | 3 | concave |
| `dtlz7` | 3 | four pieces |
| `quadratics`, `quadratics3` | 2, 3 | convex |
| `linear_regression` | 2 | concave |

Linear scalarization reaches all of these convex fronts, and only the ends of the concave ones.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

import paretomtl as pm
from paretomtl.points.score import hypervolume

REFERENCE = 1.1
START = 0.1  # standard deviation of the start
LOWEST = 1e-6  # x_1 of zdt1
NOISE = 0.1  # share of a target's variance that no feature explains, in linear_regression


class Place(nn.Module):
    """A place x in R^n, starting at N(0, START² I), in float64."""

    def __init__(self, n: int):
        super().__init__()
        self.x = nn.Parameter(START * torch.randn(n, dtype=torch.float64))


class Boxed(nn.Module):
    """A place x in [0, 1]^n with x_1 >= lowest, starting at U(0, 1)^n, in float64."""

    def __init__(self, n: int, lowest: float = 0.0):
        super().__init__()
        self.lowest = lowest
        self.x = nn.Parameter(torch.rand(n, dtype=torch.float64))
        into_box(self)


def into_box(model: Boxed) -> None:
    """Clamp every variable to its bounds."""
    with torch.no_grad():
        model.x.clamp_(0, 1)
        model.x[0].clamp_(min=model.lowest)


class OneUnit(nn.Module):
    """A linear unit of two features that two tasks share, and a scalar head for each, in float64, without biases."""

    def __init__(self):
        super().__init__()
        self.unit = nn.Linear(2, 1, bias=False, dtype=torch.float64)
        self.heads = nn.ModuleList(nn.Linear(1, 1, bias=False, dtype=torch.float64) for _ in range(2))


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
        truth=_fonseca_truth(n, objectives),
    )


def fonseca3() -> pm.Problem:
    """`fonseca` with three objectives, for the command line."""
    return fonseca(objectives=3)


def zdt1(n: int = 30) -> pm.Problem:
    """Zitzler, Deb and Thiele's first problem, whose front is convex (Evolutionary Computation 8(2), 2000).

    f1 = x_1 and f2 = g (1 - sqrt(x_1 / g)), g = 1 + 9 mean(x_2, …, x_n), in the box [0, 1]^n; the front has g = 1. At
    x_1 = 0, where a clamped step can end, f2's gradient is infinite. So x_1 stays at 1e-6 or above; the problem and its
    truth leave out f2's last .001.

    Args:
        n: variables, at least 2.
    """
    return _zdt(n, power=0.5, lowest=LOWEST)


def zdt2(n: int = 30) -> pm.Problem:
    """Zitzler, Deb and Thiele's second problem, whose front is concave (Evolutionary Computation 8(2), 2000).

    As `zdt1`, with f2 = g (1 - (x_1 / g)²), and x_1 down to 0. There f2 is flat in x_1, so a step clamped to x_1 = 0
    does not come back for f2's sake.

    Args:
        n: variables, at least 2.
    """
    return _zdt(n, power=2, lowest=0)


def zdt3(n: int = 30) -> pm.Problem:
    """Zitzler, Deb and Thiele's third problem, whose front is five pieces (Evolutionary Computation 8(2), 2000).

    f2 = g (1 - sqrt(x_1 / g) - x_1 / g sin(10 pi x_1)) + 1, raised by 1 since it falls below 0, which a ray needs not;
    else as `zdt1`. A ray may pass between two pieces, and many a place is best near by and nowhere else.

    Args:
        n: variables, at least 2.
    """
    _check_variables(n)

    def losses(model: Boxed, batch: None) -> dict[str, Tensor]:
        del batch
        first, g = model.x[0], 1 + 9 * model.x[1:].mean()
        return {"f1": first, "f2": 1 + g * (1 - (first / g).sqrt() - first / g * torch.sin(10 * torch.pi * first))}

    return _in_box(n, losses, [REFERENCE, REFERENCE + 1], _zdt3_truth(), LOWEST)


def _check_variables(n: int, least: int = 2) -> None:
    if n < least:
        raise ValueError(f"n={n}: give at least {least} variables")


def _in_box(
    n: int,
    losses: Callable[[Boxed, None], dict[str, Tensor]],
    ref_point: list[float],
    truth: pm.Truth,
    lowest: float = 0.0,
) -> pm.Problem:
    """Return a problem of n variables in the box, whose objectives are f1, f2, …"""
    return pm.Problem(
        objectives=[f"f{i + 1}" for i in range(len(ref_point))],
        model=lambda: Boxed(n, lowest),
        losses=losses,
        ref_point=ref_point,
        project=into_box,
        deterministic=True,
        truth=truth,
    )


def _zdt(n: int, power: float, lowest: float) -> pm.Problem:
    _check_variables(n)

    def losses(model: Boxed, batch: None) -> dict[str, Tensor]:
        del batch
        first, g = model.x[0], 1 + 9 * model.x[1:].mean()
        return {"f1": first, "f2": g * (1 - (first / g) ** power)}

    return _in_box(n, losses, [REFERENCE] * 2, _zdt_truth(power, lowest), lowest)


def dtlz2(n: int = 12) -> pm.Problem:
    """Deb, Thiele, Laumanns and Zitzler's second problem (CEC 2002): the front is the unit sphere's positive eighth.

    f1 = (1 + g) cos(a) cos(b), f2 = (1 + g) cos(a) sin(b), f3 = (1 + g) sin(a), with the angles a, b = x_1 pi/2,
    x_2 pi/2 in radians and g = sum_{i > 2} (x_i - 1/2)², in the box [0, 1]^n; the front has g = 0. Where two losses are
    0 the third is flat in the angles.

    Args:
        n: variables, at least 3.
    """
    _check_variables(n, least=3)

    def losses(model: Boxed, batch: None) -> dict[str, Tensor]:
        del batch
        a, b = (model.x[:2] * (torch.pi / 2)).unbind()
        radius = 1 + (model.x[2:] - 0.5).square().sum()
        return {
            "f1": radius * a.cos() * b.cos(),
            "f2": radius * a.cos() * b.sin(),
            "f3": radius * a.sin(),
        }

    return _in_box(n, losses, [REFERENCE] * 3, _dtlz2_truth())


def dtlz7(n: int = 22) -> pm.Problem:
    """Deb, Thiele, Laumanns and Zitzler's seventh problem (CEC 2002), whose front is four pieces.

    f1 = x_1, f2 = x_2 and f3 = (1 + g) (3 - sum_i f_i / (1 + g) (1 + sin(3 pi f_i))), g = 1 + 9 mean(x_3, …, x_n), in
    the box [0, 1]^n; the front has g = 1.

    Args:
        n: variables, at least 3.
    """
    _check_variables(n, least=3)

    def losses(model: Boxed, batch: None) -> dict[str, Tensor]:
        del batch
        first, g = model.x[:2], 1 + 9 * model.x[2:].mean()
        height = 3 - (first / (1 + g) * (1 + torch.sin(3 * torch.pi * first))).sum()
        return {"f1": first[0], "f2": first[1], "f3": (1 + g) * height}

    return _in_box(n, losses, [REFERENCE, REFERENCE, 6 * REFERENCE], _dtlz7_truth())


def quadratics(n: int = 10, objectives: int = 2) -> pm.Problem:
    """Quadratics f_i = (x - c_i)' H_i (x - c_i) / 2, strictly convex: linear scalarization reaches all of the front.

    H_1 = diag(.1, …, .9) in even steps, H_2 is the same reversed, H_3 = diag(.5, …, .5). The Pareto set is
    x(w) = (sum_i w_i H_i)^-1 sum_i w_i H_i c_i, the minimiser of sum_i w_i f_i, over the simplex.

    Args:
        n: variables, at least 2.
        objectives: 2 or 3; the centres are those of `fonseca`.
    """
    centres, curvatures = (torch.from_numpy(array) for array in (_centres(n, objectives), _curvatures(n, objectives)))
    names = [f"f{i + 1}" for i in range(objectives)]

    def losses(model: Place, batch: None) -> dict[str, Tensor]:
        del batch
        values = (curvatures * (model.x - centres).square()).sum(dim=1) / 2
        return dict(zip(names, values.unbind(), strict=True))

    return pm.Problem(
        objectives=names,
        model=lambda: Place(n),
        losses=losses,
        ref_point=[REFERENCE] * objectives,
        deterministic=True,
        truth=_quadratics_truth(n, objectives),
    )


def quadratics3() -> pm.Problem:
    """`quadratics` with three objectives, for the command line."""
    return quadratics(objectives=3)


def linear_regression() -> pm.Problem:
    """Two linear regressions on one unit, too few for both, after Hu et al. (NeurIPS 2023): the front is concave.

    Task i predicts y_i by a_i (w · x): w (2,) is shared, the head a_i is its own. y_i is feature i plus a noise that no
    feature explains, .9 and .1 of its variance of 1; the loss is the mean squared error over four rows. Each
    task has inputs of its own, in which the feature that it does not need has twice the other's variance.

    With the best heads at w = (cos t, sin t), l_i = .1 + .9 s_i, s_1 = 2 sin²t / (cos²t + 2 sin²t), and s_2 is the same
    with sine and cosine swapped. So s_2 = 4 (1 - s_1) / (4 - 3 s_1), which is concave: whatever the weights, the least
    weighted sum is at an end. With the same inputs for both tasks the front is convex; a concave one then takes three
    tasks or more, as in the paper.
    """
    inputs, targets = (torch.from_numpy(array) for array in _rows())
    names = ["first", "second"]

    def losses(model: OneUnit, batch: None) -> dict[str, Tensor]:
        del batch
        return {
            name: (head(model.unit(x)).squeeze(dim=1) - y).square().mean()
            for name, head, x, y in zip(names, model.heads, inputs, targets, strict=True)
        }

    return pm.Problem(
        objectives=names,
        model=OneUnit,
        losses=losses,
        ref_point=[REFERENCE] * 2,
        deterministic=True,
        truth=_linear_regression_truth(),
    )


def _centres(n: int, objectives: int) -> np.ndarray:
    if objectives not in (2, 3):
        raise ValueError(f"objectives={objectives}: give 2 or 3")
    if n < 2:
        raise ValueError(f"n={n}: give at least 2 variables")
    ones, alternating = np.ones(n), np.where(np.arange(n) % 2 == 0, -1.0, 1.0)
    return np.stack([ones, -ones, alternating][:objectives]) / np.sqrt(n)


def _curvatures(n: int, objectives: int) -> np.ndarray:
    """Return the diagonals of H, (objectives, n)."""
    rising = np.linspace(0.1, 0.9, n)
    return np.stack([rising, rising[::-1], np.full(n, 0.5)][:objectives])


def _rows() -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs (2 tasks, 4 rows, 2 features) and targets (2, 4) of the regressions."""
    # orthogonal columns of ±1: two features and the noise have no correlation in the sample itself
    first, second, noise = np.array([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
    wide = np.sqrt(2)
    inputs = np.array([[first, wide * second], [wide * first, second]]).swapaxes(1, 2)
    return inputs, np.sqrt(1 - NOISE) * np.stack([first, second]) + np.sqrt(NOISE) * noise


@cache
def _fonseca_truth(n: int, objectives: int) -> pm.Truth:
    centres, lattice = _centres(n, objectives), _lattice(objectives)
    # |sum_k w_k c_k - c_i|² from the centres' distances D alone (sum w = 1): (D w)_i - w' D w / 2
    distances = np.square(centres[:, None] - centres[None]).sum(axis=-1)
    mixed = lattice @ distances
    squares = mixed - 0.5 * (mixed * lattice).sum(axis=1, keepdims=True)
    return _truth(1 - np.exp(-np.maximum(squares, 0)))


@cache
def _zdt_truth(power: float, lowest: float) -> pm.Truth:
    first = np.linspace(lowest, 1, 100_001)
    # under the reference, over f2 = 1 - f1^p from the lowest f1 to 1, and over f2 = 0 from there to the reference
    margin = REFERENCE - 1
    volume = margin * (1 - lowest) + (1 - lowest ** (power + 1)) / (power + 1) + margin * REFERENCE
    return _truth(np.stack([first, 1 - first**power], axis=1), volume)


@cache
def _zdt3_truth() -> pm.Truth:
    x = np.linspace(LOWEST, 1, 100_001)
    curve = np.stack([x, 2 - np.sqrt(x) - x * np.sin(10 * np.pi * x)], axis=1)
    best = np.minimum.accumulate(curve[:, 1])  # a place of the curve is on the front where it is lower than all before
    return _truth(curve[np.append(True, curve[1:, 1] < best[:-1])], [REFERENCE, REFERENCE + 1])


@cache
def _dtlz7_truth() -> pm.Truth:
    # f3 is a sum, so a place is on the front where each of x_1 and x_2 is the best of those below it
    x = np.linspace(0, 1, 20_001)
    falls = x * (1 + np.sin(3 * np.pi * x))
    best = np.maximum.accumulate(falls)
    x = x[np.append(True, falls[1:] > best[:-1])][::50]
    first, second = (grid.ravel() for grid in np.meshgrid(x, x))
    height = 6 - sum(part * (1 + np.sin(3 * np.pi * part)) for part in (first, second))
    return _truth(np.stack([first, second, height], axis=1), [REFERENCE, REFERENCE, 6 * REFERENCE])


@cache
def _dtlz2_truth() -> pm.Truth:
    lattice = _lattice(3)
    return _truth(lattice / np.linalg.norm(lattice, axis=1, keepdims=True), REFERENCE**3 - np.pi / 6)


@cache
def _quadratics_truth(n: int, objectives: int) -> pm.Truth:
    centres, curvatures, lattice = _centres(n, objectives), _curvatures(n, objectives), _lattice(objectives)
    x = lattice @ (curvatures * centres) / (lattice @ curvatures)
    return _truth(np.stack([(x - c) ** 2 @ h / 2 for c, h in zip(centres, curvatures, strict=True)], axis=1))


@cache
def _linear_regression_truth() -> pm.Truth:
    t = np.linspace(0, np.pi / 2, 100_001)
    wanted = np.square([np.cos(t), np.sin(t)])
    unwanted = 2 * wanted[::-1]
    area = 4 / 3 - 4 / 9 * np.log(4)  # under s_2, for s_1 from 0 to 1
    signal = 1 - NOISE
    front = NOISE + signal * unwanted / (wanted + unwanted)
    return _truth(front.T, (REFERENCE - NOISE) ** 2 - signal**2 * area)


def _truth(front: np.ndarray, volume: float | list[float] | None = None) -> pm.Truth:
    """Return the truth from a lattice's image (N, m).

    By default, and where a reference is given in its place, the volume is the lattice's own, a lower bound: 5e-6 below
    the true one at two objectives, under 1 % at three.
    """
    if volume is None or isinstance(volume, list):
        volume = hypervolume(front, volume or [REFERENCE] * front.shape[1])
    assert volume is not None
    return pm.Truth(front, front.min(axis=0), front.max(axis=0), float(volume))


def _lattice(m: int) -> np.ndarray:
    """Return even points of the simplex: 100,001 at m = 2, 20,301 at m = 3."""
    if m == 2:
        a = np.linspace(0, 1, 100_001)
        return np.stack([a, 1 - a], axis=1)
    divisions = 200
    i, j = np.meshgrid(np.arange(divisions + 1), np.arange(divisions + 1), indexing="ij")
    i, j = i[i + j <= divisions], j[i + j <= divisions]
    return np.stack([i, j, divisions - i - j], axis=1) / divisions

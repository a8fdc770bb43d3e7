"""Methods that both have give the same direction, over the catalogue of Jacobians and random ones.

A method joins by a line of `PAIRS`. TorchJD's are taken with tolerances tightened and without regularisation, to 1e-5
of the longer direction; and as they are by default, to 1e-3. Where the two differ for a reason, the method's list names
the Jacobian and the reason; a name at which all of a method's lines agree fails.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import paretomtl as pm
import paretomtl_solvers as ps
from tests.catalogue import JACOBIANS

pytest.importorskip("torchjd", reason="TorchJD is not installed: make test-integrations")
from scipy.optimize import least_squares
from torchjd import aggregation as theirs
from torchjd.aggregation import _fairgrad

TIGHT, LOOSE = 1e-5, 1e-3
ZERO = 1e-7


class Pair(NamedTuple):
    """A method that both have.

    Attributes:
        ours: the method.
        theirs: makes TorchJD's for m losses.
        tolerance: how far apart the two may be.
        factor: ours is so many times theirs, by m.
        error: how far off TorchJD's may be by its own certificate, from the Jacobian and its direction.
        differs: the Jacobians at which they differ, with the reason.
    """

    ours: pm.Solver
    theirs: Callable[[int], Any]
    tolerance: float = TIGHT
    factor: Callable[[int], float] = lambda m: 1.0
    error: Callable[[Tensor, Tensor], float] = lambda jacobian, direction: 0.0
    differs: Mapping[str, str] = {}


def frank_wolfe_error(jacobian: Tensor, direction: Tensor) -> float:
    """Bound the distance of a point of the hull from its min-norm point, by the gap at which Frank-Wolfe stops."""
    return float((direction @ direction - (jacobian @ direction).min()).clamp(min=0).sqrt())


class TightFairGrad(theirs.FairGrad):
    """TorchJD's, whose solver has tolerances that it gives no option for."""

    def forward(self, matrix: Tensor) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_fairgrad, "least_squares", partial(least_squares, ftol=1e-15, xtol=1e-15, gtol=1e-15))
            return super().forward(matrix)


def tight_fairgrad(alpha: float, m: int) -> theirs.FairGrad:
    return TightFairGrad(alpha, max_iters=1_000)


UNSOLVABLE = "no positive weights solve it; ours are the min-norm ones, stationary, TorchJD's where its solver stopped"
UNSCALED = "TorchJD solves the equations as they are, from weights of 1/m, and stops short"
FAIR = dict.fromkeys(
    ("opposed", "opposed, unequal", "opposed and another", "a zero row", "three, a zero row", "around zero",
     "five around zero"), UNSOLVABLE
) | dict.fromkeys(
    ("two, tiny", "three, tiny", "nearly opposed", "norms 1e4 apart", "norms 1e6 apart", "three, norms 1e6 apart",
     "eight, norms 1e3 apart"), UNSCALED
)  # fmt: skip

PAIRS = [
    Pair(ps.Linear(), lambda m: theirs.Mean()),
    Pair(ps.Linear(), lambda m: theirs.Sum(), factor=lambda m: 1 / m),
    Pair(ps.MGDA(), lambda m: theirs.MGDA(epsilon=1e-12, max_iters=2_000), error=frank_wolfe_error),
    Pair(ps.MGDA(), lambda m: theirs.MGDA(), LOOSE, error=frank_wolfe_error),
    *(
        Pair(ps.FairGrad(alpha), partial(make, alpha), tolerance, differs=FAIR)
        for alpha in (0.5, 1.0, 2.0, 5.0)
        for make, tolerance in ((tight_fairgrad, TIGHT), (lambda alpha, m: theirs.FairGrad(alpha), LOOSE))
    ),
]


def jacobians() -> Iterator[tuple[str, Tensor]]:
    for name, rows in JACOBIANS.items():
        yield name, torch.tensor(rows, dtype=torch.float64)
    rng = np.random.default_rng(0)
    for m in (2, 3, 5, 8):
        for n in (m, 3 * m, 50):
            for spread in (1, 10):
                rows = rng.normal(size=(m, n)) * np.geomspace(1, spread, m)[:, None]
                yield f"random, {m} by {n}, norms {spread} apart", torch.from_numpy(rows)


def answer(solver: pm.Solver, jacobian: Tensor) -> Tensor:
    """The direction of ours, at losses of 1 and an even preference."""
    m = len(jacobian)
    losses, even = torch.ones(m, dtype=torch.float64), torch.full((m,), 1 / m, dtype=torch.float64)
    if isinstance(solver, pm.Aggregation):
        return solver(losses, jacobian, even)
    weights = (
        solver(losses, even) if isinstance(solver, pm.Scalarization) else solver(losses, jacobian @ jacobian.T, even)
    )
    return weights @ jacobian


@cache
def distances(k: int) -> dict[str, tuple[float, float]]:
    """For each Jacobian, how far apart the two of a pair are, and how far they may be."""
    return {name: compare(PAIRS[k], jacobian) for name, jacobian in jacobians()}


def compare(pair: Pair, jacobian: Tensor) -> tuple[float, float]:
    """The distance of the two directions, and how much is allowed, both over the longer direction's norm.

    Directions shorter than `ZERO` of the longest gradient count as zero. The distance is infinite where TorchJD raises.
    """
    m, mine = len(jacobian), answer(pair.ours, jacobian)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = pair.theirs(m)(jacobian)
    except Exception:
        return float("inf"), pair.tolerance
    other = pair.factor(m) * raw
    size = max(float(mine.norm()), float(other.norm()), ZERO * float(jacobian.norm(dim=1).max()))
    if size == 0:
        return 0.0, pair.tolerance
    return float((mine - other).norm()) / size, max(pair.tolerance, pair.error(jacobian, raw) / size)


def name_of(k: int) -> str:
    pair = PAIRS[k]
    return f"{pair.ours} {pair.theirs(2)} {pair.tolerance:g}"


@pytest.mark.parametrize("k", range(len(PAIRS)), ids=name_of)
def test_both_give_the_same_direction(k):
    pair = PAIRS[k]
    apart = {
        name: f"{distance:.1e}, and {allowed:.1e} is allowed"
        for name, (distance, allowed) in distances(k).items()
        if not distance <= allowed and name not in pair.differs
    }
    assert not apart, "\n".join(f"{name!r}: {why}" for name, why in apart.items())
    close = [distance <= pair.tolerance for distance, _ in distances(k).values()]
    assert sum(close) >= len(close) / 2


def test_only_what_differs_is_listed():
    listed, apart = set(), set()
    for k, pair in enumerate(PAIRS):
        method = type(pair.ours).__name__
        listed |= {(method, name) for name in pair.differs}
        apart |= {(method, name) for name, (distance, allowed) in distances(k).items() if not distance <= allowed}
    assert listed <= apart
    assert {name for _, name in listed} <= {name for name, _ in jacobians()}

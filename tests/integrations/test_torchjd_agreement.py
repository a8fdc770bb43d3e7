"""Methods that both have give the same direction, over the catalogue of Jacobians and random ones.

A method joins by a line of `PAIRS`. TorchJD's are taken with tolerances tightened and without regularisation, to 1e-5
of the longer direction; and as they are by default, to 1e-3. Where the two differ for a reason, the method's list names
the Jacobian and the reason; a name at which all of a method's lines agree fails.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl_solvers.draws import next_generators
from tests.catalogue import JACOBIANS

pytest.importorskip("torchjd", reason="TorchJD is not installed: make test-integrations")
from scipy.optimize import least_squares
from torchjd import aggregation as theirs
from torchjd.aggregation import _fairgrad
from torchjd.linalg import QuadprogProjector

TIGHT, LOOSE = 1e-5, 1e-3
ZERO = 1e-7  # a direction's norm over the longest gradient's: below, it is zero
TINY = 1e-300  # in place of 0, by which TorchJD would divide


class Pair(NamedTuple):
    """A method that both have.

    Attributes:
        ours: the method.
        theirs: makes TorchJD's for m losses.
        tolerance: how far apart the two may be.
        factor: ours is so many times theirs, by m.
        error: how far off TorchJD's may be by its own certificate, from the Jacobian and its direction.
        differs: the Jacobians at which they differ, with the reason.
        gramian: what ours gets for the Gramian.
        steps: the number of steps that are compared, each on another Jacobian; for methods with a state.
    """

    ours: pm.Solver
    theirs: Callable[[int], Any]
    tolerance: float = TIGHT
    factor: Callable[[int], float] = lambda m: 1.0
    error: Callable[[Tensor, Tensor], float] = lambda jacobian, direction: 0.0
    differs: Mapping[str, str] = {}
    gramian: Callable[[Tensor], Tensor] = lambda gramian: gramian
    steps: int = 1


# --- TorchJD's, tightened ---


class TightFairGrad(theirs.FairGrad):
    """TorchJD's, whose solver has tolerances that it gives no option for."""

    def forward(self, matrix: Tensor) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_fairgrad, "least_squares", partial(least_squares, ftol=1e-15, xtol=1e-15, gtol=1e-15))
            return super().forward(matrix)


class TightCAGrad(theirs.CAGrad):
    """TorchJD's, whose solver has tolerances that it gives no option for."""

    def forward(self, matrix: Tensor) -> Tensor:
        solve, tolerances = cp.Problem.solve, dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-14)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cp.Problem, "solve", lambda problem, solver: solve(problem, solver, **tolerances))
            return super().forward(matrix)


def tight_nash_mtl(m: int) -> theirs.NashMTL:
    """TorchJD's, with more iterations, whose stop is not at a residual of 1e-3 but where nothing changes."""
    method = theirs.NashMTL(m, max_norm=0, optim_niter=50)
    weighting = method.weighting
    weighting._stop_criteria = lambda gtg, alpha: bool(np.linalg.norm(weighting.alpha_param.value - alpha) < 1e-10)
    return method


class InOrder(torch.nn.Module):
    """A method of TorchJD that draws orders, with the order of the rows in place of a drawn one."""

    def __init__(self, method: Any):
        super().__init__()
        self.method = method

    def forward(self, matrix: Tensor) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randperm", torch.arange)
            return self.method(matrix)

    def __str__(self) -> str:
        return str(self.method)


class SameDraws(theirs.GradDrop):
    """TorchJD's, with the numbers that ours draws first."""

    def forward(self, matrix: Tensor) -> Tensor:
        [generator], _ = next_generators(begin(ps.GradDrop(), len(matrix)).draws)
        uniform = torch.rand(matrix.shape[1], generator=generator, dtype=torch.float64)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "rand", lambda *shape, **options: uniform)
            return super().forward(matrix)


class Weighted(torch.nn.Module):
    """A weighting of TorchJD, that has no aggregator."""

    def __init__(self, weighting: Any):
        super().__init__()
        self.weighting = weighting

    def forward(self, matrix: Tensor) -> Tensor:
        return self.weighting(matrix @ matrix.T) @ matrix

    def __str__(self) -> str:
        return type(self.weighting).__name__


def frank_wolfe_error(jacobian: Tensor, direction: Tensor, pull: float = 0.0) -> float:
    """Bound the distance of a point of the hull from its min-norm point, by the gap at which Frank-Wolfe stops.

    With a pull the point is that of SDMGrad: the mean, so many times, is added and the sum is divided by its weights.
    """
    whole = (1 + pull) * direction
    inside = whole - pull * jacobian.mean(dim=0)
    return float((inside @ whole - (jacobian @ whole).min()).clamp(min=0).sqrt()) / (1 + pull)


def projector() -> QuadprogProjector:
    return QuadprogProjector(norm_eps=TINY, reg_eps=1e-13)


def regularised(gramian: Tensor) -> Tensor:
    """The Gramian as TorchJD's default projector has it."""
    trace = gramian.trace()
    return (gramian / trace if trace > 0 else gramian) + 1e-4 * torch.eye(len(gramian), dtype=gramian.dtype)


# --- the table ---


def because(**names: str) -> dict[str, str]:
    """The Jacobians of each reason, which are written between semicolons, with the reason."""
    return {name: REASONS[reason] for reason, together in names.items() for name in together.split("; ")}


REASONS = {
    "unsolvable": "no positive weights solve it: ours are min-norm ones, stationary, theirs where the solver stopped",
    "unscaled": "their solver stops short, on equations whose entries are far apart or far from 1",
    "cut": "they count a Gramian of trace below 1e-4, or a direction so much shorter than the Jacobian, as zero",
    "free": "many directions are as good: ours is the mean gradient, theirs adds one that rounding tells",
    "rounding": "they divide by what is zero but for rounding",
    "regularised": "they add 1e-4 of the trace to the diagonal, which counts where gradients are short or opposed",
    "singular": "no direction projects equally: their least squares are of the gradients, ours of their unit vectors",
    "undefined": "theirs is NaN or an error",
}

FAIR = because(
    unsolvable="opposed; opposed, unequal; opposed and another; a zero row; three, a zero row; around zero; "
    "five around zero",
    unscaled="two, tiny; three, tiny; nearly opposed; norms 1e4 apart; norms 1e6 apart; three, norms 1e6 apart; "
    "eight, norms 1e3 apart",
)
NASH = because(
    unsolvable="opposed, unequal; opposed and another; a zero row; three, a zero row; five around zero",
    undefined="two, all zero; three, all zero",
    unscaled="nearly opposed; nearly collinear; duplicates; norms 1e4 apart; norms 1e6 apart; two, tiny; two, huge; "
    "three, nearly collinear; three, norms 1e6 apart; three, tiny; three, huge; five, two alike twice; "
    "eight, norms 1e3 apart; random, 2 by 2, norms 10 apart; random, 3 by 3, norms 10 apart",
)
CAGRAD = because(
    free="a zero row; three, a zero row",
    rounding="opposed, unequal; opposed and another; five around zero; eight, norms 1e3 apart",
)
CAGRAD_CUT = because(
    cut="a zero row; three, a zero row; opposed and another; norms 1e4 apart; norms 1e6 apart; two, tiny; three, tiny; "
    "three, norms 1e6 apart",
)
CONE = because(rounding="norms 1e4 apart; norms 1e6 apart")
CONE_REGULARISED = because(
    cut="two, tiny",
    regularised="opposed, unequal; opposed and another; five around zero; norms 1e4 apart; "
    "norms 1e6 apart; three, norms 1e6 apart; eight, norms 1e3 apart; three, all conflicting; "
    "random, 2 by 2, norms 10 apart; random, 2 by 6, norms 10 apart; random, 3 by 3, norms 10 apart; "
    "random, 3 by 9, norms 10 apart; random, 5 by 5, norms 10 apart; "
    "random, 8 by 8, norms 1 apart; random, 8 by 8, norms 10 apart; random, 8 by 24, norms 10 apart; "
    "random, 8 by 50, norms 10 apart",
)
ALIGNED = because(rounding="three, nearly collinear; three, norms 1e6 apart")
IMPARTIAL = because(
    singular="parallel; three, parallel; three in the plane; five in the plane; opposed, unequal; "
    "opposed and another; around zero; five around zero; eight in a half-space",
)
UPGRAD_CUT = because(cut="three, tiny")
UPGRAD_REGULARISED = because(regularised="around zero; random, 5 by 15, norms 10 apart")
CONE_CUT = because(cut="two, tiny")
VACCINE = because(rounding="opposed, unequal; opposed and another; three, a zero row")
VACCINE_CUT = because(cut="norms 1e6 apart; three, norms 1e6 apart; two, tiny; three, tiny")

PAIRS = [
    Pair(ps.Linear(), lambda m: theirs.Mean()),
    Pair(ps.Linear(), lambda m: theirs.Sum(), factor=lambda m: 1 / m),
    Pair(ps.MGDA(), lambda m: theirs.MGDA(epsilon=1e-12, max_iters=2_000), error=frank_wolfe_error),
    Pair(ps.MGDA(), lambda m: theirs.MGDA(), LOOSE, error=frank_wolfe_error),
    *(
        Pair(ps.FairGrad(alpha), partial(make, alpha), tolerance, differs=FAIR)
        for alpha in (0.5, 1.0, 2.0, 5.0)
        for make, tolerance in (
            (lambda alpha, m: TightFairGrad(alpha, max_iters=1_000), TIGHT),
            (lambda alpha, m: theirs.FairGrad(alpha), LOOSE),
        )
    ),
    *(Pair(ps.CAGrad(c), lambda m, c=c: TightCAGrad(c, norm_eps=TINY), differs=CAGRAD) for c in (0.2, 0.5, 1.5)),
    Pair(ps.CAGrad(0.5), lambda m: theirs.CAGrad(0.5), LOOSE, differs=CAGRAD_CUT),
    Pair(ps.NashMTL(), tight_nash_mtl, differs=NASH),
    Pair(ps.NashMTL(), lambda m: theirs.NashMTL(m, max_norm=0), LOOSE, differs=NASH),
    Pair(ps.UPGrad(), lambda m: theirs.UPGrad(projector=projector()), differs=CONE),
    Pair(ps.UPGrad(), lambda m: theirs.UPGrad(), gramian=regularised, differs=CONE_CUT | UPGRAD_CUT),
    Pair(ps.UPGrad(), lambda m: theirs.UPGrad(), LOOSE, differs=CONE_REGULARISED | UPGRAD_CUT | UPGRAD_REGULARISED),
    Pair(ps.DualProj(), lambda m: theirs.DualProj(projector=projector()), differs=CONE),
    Pair(ps.DualProj(), lambda m: theirs.DualProj(), gramian=regularised, differs=CONE_CUT),
    Pair(ps.DualProj(), lambda m: theirs.DualProj(), LOOSE, differs=CONE_REGULARISED),
    *(
        Pair(ps.AlignedMTL(s), lambda m, s=s: theirs.AlignedMTL(scale_mode=s), factor=float, differs=ALIGNED)
        for s in ("min", "median", "rmse")
    ),
    Pair(ps.IMTLG(), lambda m: theirs.IMTLG(), differs=IMPARTIAL),
    Pair(ps.ConFIG(), lambda m: theirs.ConFIG(), differs=because(rounding="opposed, unequal")),
    Pair(ps.PCGrad(), lambda m: InOrder(theirs.PCGrad())),
    *(
        Pair(ps.GradVac(beta=b), lambda m, b=b: InOrder(theirs.GradVac(b, eps=TINY)), differs=VACCINE, steps=3)
        for b in (0.01, 0.5)
    ),
    Pair(ps.GradVac(beta=0.5), lambda m: InOrder(theirs.GradVac()), LOOSE, differs=VACCINE | VACCINE_CUT, steps=3),
    Pair(ps.GradDrop(), lambda m: SameDraws()),
    # by default TorchJD takes 20 steps of a rate of 10, which do not settle: it is for noise
    Pair(
        ps.SDMGrad(0.3), lambda m: Weighted(theirs.SDMGradWeighting(0.5 / m, n_iter=500, lambda_=0.3)),
        error=partial(frank_wolfe_error, pull=0.3),
    ),
]  # fmt: skip


def jacobians() -> Iterator[tuple[str, Tensor]]:
    for name, rows in JACOBIANS.items():
        yield name, torch.tensor(rows, dtype=torch.float64)
    rng = np.random.default_rng(0)
    for m in (2, 3, 5, 8):
        for n in (m, 3 * m, 50):
            for spread in (1, 10):
                rows = rng.normal(size=(m, n)) * np.geomspace(1, spread, m)[:, None]
                yield f"random, {m} by {n}, norms {spread} apart", torch.from_numpy(rows)


def begin(solver: pm.Solver, m: int) -> Any:
    """The state of ours before the first step, of one point at an even preference."""
    even, generator = torch.full((1, m), 1 / m, dtype=torch.float64), torch.Generator().manual_seed(0)
    return solver.init(pm.Sweep(even, torch.tensor(0), 1, deterministic=False, generators=(generator,)))


def directions(solver: pm.Solver, jacobians: list[Tensor], gramian_of: Callable[[Tensor], Tensor]) -> Tensor:
    """The directions of ours, one after the other, at losses of 1 and an even preference; orders are not drawn."""
    m = len(jacobians[0])
    losses, even = torch.ones(m, dtype=torch.float64), torch.full((m,), 1 / m, dtype=torch.float64)
    state, rows = begin(solver, m) if isinstance(solver, pm.Aggregation) else None, []
    for jacobian in jacobians:
        if isinstance(solver, pm.Scalarization):
            row = solver(losses, even) @ jacobian
        elif isinstance(solver, pm.Weighting):
            weights, state, _ = solver.update(state, losses, gramian_of(jacobian @ jacobian.T), even)
            row = weights @ jacobian
        else:
            row, state, _ = solver.update(state, losses, jacobian, even)
        rows.append(row)
    return torch.cat(rows)


def compare(pair: Pair, jacobian: Tensor) -> tuple[float, float]:
    """The distance of the two directions, and how much is allowed, both over the longer direction's norm.

    Directions shorter than `ZERO` of the longest gradient count as zero. The distance is infinite where TorchJD raises.
    """
    m, later = (
        len(jacobian),
        [jacobian.flip(0), jacobian @ torch.diag(torch.linspace(-1, 1, jacobian.shape[1]).double())],
    )
    seen = [jacobian, *later][: pair.steps]
    mine = directions(pair.ours, seen, pair.gramian)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            method = pair.theirs(m)
            raw = torch.cat([method(each) for each in seen])
    except Exception:
        return float("inf"), pair.tolerance
    other = pair.factor(m) * raw
    size = max(float(mine.norm()), float(other.norm()), ZERO * float(jacobian.norm(dim=1).max()))
    if size == 0:
        return 0.0, pair.tolerance
    return float((mine - other).norm()) / size, max(pair.tolerance, pair.error(jacobian, raw) / size)


@cache
def distances(k: int) -> dict[str, tuple[float, float]]:
    """For each Jacobian, how far apart the two of a pair are, and how far they may be."""
    return {name: compare(PAIRS[k], jacobian) for name, jacobian in jacobians()}


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

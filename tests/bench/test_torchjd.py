"""A whole step with each method that TorchJD has too, beside TorchJD's own; with `--write`, into docs/torchjd.csv.

The network is 128 - H - H - H with a head for each of T losses: 17 thousand parameters at H = 64, 2.2 million at 1024.
A step is forward, backward and SGD. Ours is `pm.Descent`. TorchJD's is the fastest of its ways: `mtl_backward` and
`jac_to_grad`, with and without their options, or its autogram engine, where the method allows it; for a scalarizer
`backward` itself. Both and the plain `sum(losses).backward()` take turns, step by step in one run. What is compared are
medians of CPU time, so that a busy machine slows none more than the others.
"""

import csv
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps

pytest.importorskip("torchjd", reason="TorchJD is not installed: make bench")
from torchjd import aggregation, scalarization
from torchjd.aggregation import GramianWeightedAggregator
from torchjd.autogram import Engine
from torchjd.autojac import jac_to_grad, mtl_backward

pytestmark = pytest.mark.bench
CSV = Path(__file__).parents[2] / "docs" / "torchjd.csv"
BATCH, INPUTS = 128, 128
TRIAL = 6  # steps of each way of TorchJD's, to find the fastest
ROUNDS = {64: 100, 1024: 14}  # steps that are compared
Step = Callable[[], None]
Backward = Callable[[torch.Tensor, list[torch.Tensor]], object]  # from the trunk's output and the losses


class Match(NamedTuple):
    """A method that both have: ours, and what makes TorchJD's for T losses.

    Attributes:
        most: ours over theirs, at most, at H = 64; at H = 1024 it is 1.05.
    """

    ours: pm.Solver
    theirs: Callable[[int], Any]
    most: float = 1.05


MATCHES = [
    Match(ps.Linear(), lambda T: aggregation.Mean()),
    Match(ps.MGDA(), lambda T: aggregation.MGDA(), 0.8),
    Match(ps.CAGrad(0.5), lambda T: aggregation.CAGrad(0.5), 0.8),
    Match(ps.NashMTL(), lambda T: aggregation.NashMTL(T), 0.8),
    Match(ps.FairGrad(2.0), lambda T: aggregation.FairGrad(2.0), 0.8),
    Match(ps.UPGrad(), lambda T: aggregation.UPGrad()),
    Match(ps.DualProj(), lambda T: aggregation.DualProj()),
    Match(ps.AlignedMTL(), lambda T: aggregation.AlignedMTL()),
    Match(ps.IMTLG(), lambda T: aggregation.IMTLG()),
    Match(ps.ConFIG(), lambda T: aggregation.ConFIG()),
    Match(ps.PCGrad(), lambda T: aggregation.PCGrad()),
    Match(ps.GradVac(), lambda T: aggregation.GradVac()),
    Match(ps.GradDrop(), lambda T: aggregation.GradDrop()),
    Match(ps.Linear(), lambda T: scalarization.Mean()),
    Match(ps.GeometricMean(), lambda T: scalarization.GeometricMean()),
    Match(ps.SmoothTchebycheff(0.1), lambda T: scalarization.STCH(0.1)),
    Match(ps.PBI(5.0), lambda T: scalarization.PBI(5.0, torch.ones(T))),
    Match(ps.COSMOS(2.0), lambda T: scalarization.COSMOS(2.0, torch.ones(T) / T)),
    Match(ps.UW(), lambda T: scalarization.UW(T)),
    Match(ps.IMTLL(), lambda T: scalarization.IMTLL(T)),
    Match(ps.DWA(period=100), lambda T: scalarization.DWA()),
    Match(ps.RLW(), lambda T: scalarization.Random()),
]


class Network(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        sizes = (INPUTS, width, width, width)
        layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(heads))


class Bench:
    """Steps on one network and batch; every way has a network of its own with the same weights."""

    def __init__(self, width: int, heads: int):
        self.width, self.heads = width, heads
        g = torch.Generator().manual_seed(0)
        self.x, self.y = (torch.randn(BATCH, n, generator=g) for n in (INPUTS, heads))

    def network(self) -> Network:
        torch.manual_seed(0)
        return Network(self.width, self.heads)

    def step(self, model: Network, backward: Backward, learned: Iterable[torch.Tensor] = ()) -> Step:
        optimizer = torch.optim.SGD([*model.parameters(), *learned], lr=1e-4)

        def step() -> None:
            optimizer.zero_grad()
            z = model.trunk(self.x)
            losses = [(head(z)[:, 0] - y).square().mean() for head, y in zip(model.heads, self.y.T, strict=True)]
            backward(z, losses)
            optimizer.step()

        return step

    def plain(self) -> Step:
        return self.step(self.network(), lambda z, losses: sum(losses).backward())

    def ours(self, solver: pm.Solver) -> Step:
        names = [f"loss {k}" for k in range(self.heads)]
        descent = pm.Descent(solver, dict.fromkeys(names, 1.0))
        backward = lambda z, losses: descent.backward(dict(zip(names, losses, strict=True)))  # noqa: E731
        return self.step(self.network(), backward, descent.learned)

    def theirs(self, make: Callable[[int], Any]) -> dict[str, Step]:
        ways: dict[str, Step] = {}
        if isinstance(make(self.heads), scalarization.Scalarizer):
            scalarizer = make(self.heads)
            combine = lambda z, losses: scalarizer(torch.stack(losses)).backward()  # noqa: E731
            return {"backward": self.step(self.network(), combine, scalarizer.parameters())}
        gramian = isinstance(make(self.heads), GramianWeightedAggregator)
        for chunk in (None, 1):
            for optimize in (False, True) if gramian else (False,):
                way = "mtl_backward" + ", one by one" * (chunk == 1) + ", summed Gramians" * optimize
                ways[way] = self._autojac(make(self.heads), chunk, optimize)
        if gramian:
            ways["autogram"] = self._autogram(make(self.heads))
        return ways

    def _autojac(self, aggregator: Any, chunk: int | None, optimize: bool) -> Step:
        model = self.network()
        options = {"optimize_gramian_computation": True} if optimize else {}

        def backward(z: torch.Tensor, losses: list[torch.Tensor]) -> None:
            mtl_backward(losses, features=z, parallel_chunk_size=chunk)
            jac_to_grad(model.trunk.parameters(), aggregator, **options)

        return self.step(model, backward)

    def _autogram(self, aggregator: Any) -> Step:
        """The Gramian is that of the trunk; the heads' gradients are weighted as well, which costs nothing more."""
        model = self.network()
        engine = Engine(model.trunk, batch_dim=None)

        def backward(z: torch.Tensor, losses: list[torch.Tensor]) -> None:
            stacked = torch.stack(losses)
            stacked.backward(aggregator.gramian_weighting(engine.compute_gramian(stacked)))

        return self.step(model, backward)


def interleaved(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """The median milliseconds of each, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for name in list(steps) * rounds:
        start = time.process_time()
        steps[name]()
        times[name].append(time.process_time() - start)
    return {name: 1e3 * statistics.median(taken[2:]) for name, taken in times.items()}  # after caches and lazy imports


def measure(match: Match, width: int, heads: int) -> dict[str, Any]:
    bench = Bench(width, heads)
    ways = bench.theirs(match.theirs)
    trial = interleaved(ways, TRIAL)
    way = min(trial, key=trial.__getitem__)
    steps = {"plain": bench.plain(), "ours": bench.ours(match.ours), "theirs": ways[way]}
    ms = interleaved(steps, ROUNDS[width])
    return {
        "method": type(match.ours).__name__,
        "torchjd": str(match.theirs(heads)),
        "H": width,
        "T": heads,
        "plain ms": f"{ms['plain']:.3f}",
        "ours over plain": f"{ms['ours'] / ms['plain']:.2f}",
        "torchjd over plain": f"{ms['theirs'] / ms['plain']:.2f}",
        "ours over torchjd": f"{ms['ours'] / ms['theirs']:.2f}",
        "most": match.most if width == 64 else 1.05,
        "torchjd's way": way,
    }


@pytest.fixture(scope="module")
def table(request):
    rows: list[dict[str, Any]] = []
    yield rows
    if rows and request.config.getoption("--write"):
        with CSV.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("heads", [2, 4, 8])
@pytest.mark.parametrize("width", [64, 1024])
@pytest.mark.parametrize("match", MATCHES, ids=lambda match: f"{match.ours} {match.theirs(2)}")
def test_a_step_costs_no_more_than_torchjds(match, width, heads, table):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TorchJD's solvers
        row = measure(match, width, heads)
    table.append(row)
    print("\n| " + " | ".join(map(str, row.values())) + " |")
    assert float(row["ours over torchjd"]) <= row["most"]

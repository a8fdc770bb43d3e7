"""Scalarizations that both have weigh the losses alike, over the catalogue of losses and random ones.

A scalarizer of TorchJD returns one loss; its gradient with respect to the losses are the weights. A method joins by a
function that returns both, and its name in `PAIRS`.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import paretomtl as pm
import paretomtl_solvers as ps
from tests.catalogue import LOSSES, PREFERENCES

pytest.importorskip("torchjd", reason="TorchJD is not installed: make test-integrations")
from torchjd import scalarization as theirs

RNG = np.random.default_rng(0)
CASES = {
    f"{m}, {name}, {r}": (torch.tensor(losses).double(), torch.tensor(preference).double())
    for m in LOSSES
    for name, losses in LOSSES[m].items()
    for r, preference in PREFERENCES[m].items()
} | {
    f"random, {m}, {k}": (torch.from_numpy(RNG.uniform(0.1, 3, m)), torch.from_numpy(RNG.dirichlet(np.ones(m))))
    for m in (2, 3, 8)
    for k in range(5)
}


def gradient(scalarizer: Callable[[Tensor], Tensor], losses: Tensor) -> Tensor:
    leaf = losses.clone().requires_grad_()
    return torch.autograd.grad(scalarizer(leaf), leaf)[0]


def even(losses: Tensor) -> Tensor:
    return torch.full_like(losses, 1 / len(losses))


def begin(solver: pm.Solver, losses: Tensor) -> object:
    generator = torch.Generator().manual_seed(0)
    sweep = pm.Sweep(even(losses)[None], torch.tensor(0), 9, deterministic=False, generators=(generator,))
    return solver.init(sweep)


def constant(losses: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    return ps.Linear()(losses, r), gradient(theirs.Constant(r), losses)


def mean(losses: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    return ps.Linear()(losses, even(losses)), gradient(theirs.Mean(), losses)


def geometric_mean(losses: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    return ps.GeometricMean()(losses, even(losses)), gradient(theirs.GeometricMean(), losses)


def smooth_tchebycheff(losses: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    ideal = tuple((losses / 2).tolist())
    return ps.SmoothTchebycheff(0.1, ideal)(losses, r), gradient(
        theirs.STCH(0.1, r, torch.tensor(ideal).double()), losses
    )


def pbi(losses: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """TorchJD's weights are the ray; on it, where the distance has a kink, its slope is that of rounding."""
    ray, losses = 1 / r.clamp(min=1e-6), losses + 1e-2 * torch.linspace(0, 1, len(losses)).to(losses)
    return ps.PBI(5.0)(losses, r), gradient(theirs.PBI(5.0, ray), losses)


def cosmos(losses: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    return ps.COSMOS(2.0, "published")(losses, r), gradient(theirs.COSMOS(2.0, r), losses)


def rlw(losses: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """It draws from a generator of its own: what is compared is the rule, at the same numbers."""
    draws = torch.randn(len(losses), dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", lambda *shape, **options: draws)
        return ps.RLW().update(begin(ps.RLW(), losses), losses, even(losses))[0], gradient(theirs.Random(), losses)


def learned(solver: pm.Solver, scalarizer: torch.nn.Module, losses: Tensor) -> tuple[Tensor, Tensor]:
    """The weights and the learned numbers' gradients, at numbers away from 0."""
    [parameter] = scalarizer.double().parameters()
    numbers = torch.linspace(-0.5, 0.7, len(losses), dtype=torch.float64)
    state = numbers.clone().requires_grad_()
    with torch.no_grad():
        parameter.copy_(numbers)
    weights = solver.update(state, losses, even(losses))[0]
    leaf = losses.clone().requires_grad_()
    return torch.cat([weights, state.grad]), torch.cat(torch.autograd.grad(scalarizer(leaf), (leaf, parameter)))


def uw(losses: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    return learned(ps.UW(), theirs.UW(len(losses)), losses)


def imtl_l(losses: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    return learned(ps.IMTLL(), theirs.IMTLL(len(losses)), losses)


def dwa(losses: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """The weights of the third epoch; two steps an epoch."""
    solver, scalarizer = ps.DWA(period=2), theirs.DWA()
    state, factors = begin(solver, losses), torch.linspace(1, 0.3, len(losses), dtype=torch.float64)
    for epoch in range(3):
        for step in range(2):
            batch = losses * factors**epoch * (1 + 0.1 * step)
            ours, state, _ = solver.update(state, batch, even(losses))
            weights = gradient(scalarizer, batch)
        scalarizer.step()
    return ours, weights


def famo(losses: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """The weights after three steps that lower the losses unlike."""
    solver, scalarizer = ps.FAMO(), theirs.FAMO(len(losses)).double()
    state, factors = begin(solver, losses), torch.linspace(0.95, 0.6, len(losses), dtype=torch.float64)
    for step in range(4):
        batch = losses * factors**step
        ours, state, _ = solver.update(state, batch, r)
        weights = gradient(scalarizer, batch)
        state = solver.observe(state, batch * factors)
        scalarizer.update(batch * factors)
    return ours, weights


PAIRS = [constant, mean, geometric_mean, smooth_tchebycheff, pbi, cosmos, rlw, uw, imtl_l, dwa, famo]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.__name__)
def test_both_weigh_the_losses_alike(pair):
    apart = {}
    for case, (losses, r) in CASES.items():
        ours, weights = pair(losses, r)
        apart[case] = float((ours - weights).norm() / max(ours.norm(), weights.norm()))
    assert {case: distance for case, distance in apart.items() if not distance <= 1e-5} == {}

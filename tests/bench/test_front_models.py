"""A training step of each front model against the plain network's, optimizer included; run by `make bench` alone."""

from typing import Any

import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.conditioned.losses import take_step
from paretomtl.conditioned.sampling import Preferences
from studies.analytic import fonseca
from studies.digit_pairs import LeNet, digit_pairs, losses
from tests.bench.test_bench import TURN, side_by_side

pytestmark = pytest.mark.bench
CALLS = 2 * TURN
ONE = pm.Sampling("batch", n=1)
# What a step costs at least, over the plain network's: measured on the parts alone.
FLOORS: dict[str, tuple[pm.FrontModel, float]] = {
    "hypernetwork": (pm.Hypernetwork(sampling=ONE), 1.2),
    "hypernetwork, chunks": (pm.Hypernetwork(form="chunks", sampling=ONE), 1.02),
    "hypernetwork, low-rank": (pm.Hypernetwork(form="low-rank", sampling=ONE), 1.2),
    "low-rank": (pm.LowRank(sampling=ONE), 1.02),
    "full rank": (pm.LowRank(rank=None, sampling=ONE), 1.05),
    "FiLM": (pm.FiLM(sampling=ONE), 1.0),
    "FiLM, a preference a sample": (pm.FiLM(), 1.01),
    "Inputs, a preference a sample": (pm.Inputs(), 1.01),
}


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(256, 1, 36, 36), torch.randint(10, (256, 2))


def conditioned_step(problem: pm.Problem, plain: nn.Module, front_model: pm.FrontModel, solver: pm.Solver, data: Any):
    network = front_model.attach(plain, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
    sampling = front_model.sampling
    preferences = Preferences(sampling, 2, 0)

    def call():
        optimizer.zero_grad(set_to_none=True)
        r = preferences.draw(sampling.in_step(None if data is None else len(data[0])))
        take_step(network, problem, solver, None, data, r, sampling.each, vmapped=data is None)
        optimizer.step()

    return call


@pytest.mark.parametrize("name", FLOORS)
def test_a_step_against_the_plain_networks(name):
    front_model, floor = FLOORS[name]
    data, plain = batch(), LeNet()
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-4, fused=True)

    def plain_step():
        optimizer.zero_grad(set_to_none=True)
        found = losses(plain, data)
        (0.5 * found["left"] + 0.5 * found["right"]).backward()
        optimizer.step()

    ours = conditioned_step(digit_pairs("demo"), LeNet(), front_model, ps.Linear(), data)
    ratio = 1 / side_by_side(f"{name}: a step, the plain network's; floor 1/{floor}", ours, plain_step, CALLS)
    assert ratio < 1.3 * floor


def test_epos_step_against_linears():
    problem = fonseca(10)
    several = pm.Hypernetwork(sampling=pm.Sampling(n=256))
    epo, linear = (
        conditioned_step(problem, problem.model(), several, solver, None) for solver in (ps.EPO(), ps.Linear())
    )
    ratio = 1 / side_by_side("hypernetwork, 256 preferences: a step by EPO, by Linear", epo, linear, 3 * TURN)
    assert ratio < 3

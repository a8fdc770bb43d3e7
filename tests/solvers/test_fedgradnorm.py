"""FedGradNorm: GradNorm at a server, on gradients gathered from clients, is GradNorm in one process."""

from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

import paretomtl_solvers as ps
from tests.solvers.steps import even, start, tensor

CENTRES = ((1.0, 0.0, 0.5), (-1.0, 2.0, 0.0))
CURVATURES = ((1.0, 2.0, 0.5), (0.3, 5.0, 1.0))
STEPS, RATE = 20, 0.05


def client(k, x):
    """A client's loss and gradient."""
    by = tensor(CURVATURES[k]) * (x - tensor(CENTRES[k]))
    return 0.5 * by @ (x - tensor(CENTRES[k])), by


def train(gather):
    """The model and the weights of every step; `gather` brings the clients' losses and gradients together."""
    solver, x, course = ps.GradNorm(alpha=0.9), torch.zeros(3, dtype=torch.float64), []
    state = start(solver, even(2))
    for _ in range(STEPS):
        losses, jacobian = gather(x)
        weights, state, _ = solver.update(state, losses, jacobian @ jacobian.mT, even(2))
        x = x - RATE * weights @ jacobian
        course.append(weights)
    return torch.cat([x, *course])


def gather_here(x):
    losses, gradients = zip(*(client(k, x) for k in range(2)), strict=True)
    return torch.stack(losses), torch.stack(gradients)


def gather_from_all(x):
    """Each process computes its own client's part alone."""
    loss, gradient = client(distributed.get_rank(), x)
    parts = [torch.empty(4, dtype=torch.float64) for _ in range(2)]
    distributed.all_gather(parts, torch.cat([loss[None], gradient]))
    together = torch.stack(parts)
    return together[:, 0], together[:, 1:]


def run_client(rank: int, folder: str):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        torch.save(train(gather_from_all), Path(folder) / f"{rank}.pt")
    finally:
        distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_available(), reason="torch without distributed")
def test_two_clients_are_as_one_process(tmp_path):
    multiprocessing.spawn(run_client, (str(tmp_path),), nprocs=2)
    expected = train(gather_here)
    assert (expected[3:] - 1).abs().max() > 0.05  # the weights moved
    for rank in range(2):
        assert torch.equal(torch.load(tmp_path / f"{rank}.pt"), expected)

"""Random numbers of methods that draw: a seed and a count of draws for each point, as tensors that a state can hold."""

import torch
from jaxtyping import Int
from torch import Tensor

from paretomtl.solver import Sweep

MIX = 0x9E3779B97F4A7C15  # odd, so that no two steps of a point have one seed
LARGEST = 2**62


def first_draws(sweep: Sweep) -> Int[Tensor, "*points 2"]:
    """Return each point's seed, by its generator, and the number of its draws so far, 0."""
    seeds = [int(torch.randint(LARGEST, (), generator=g.clone_state())) for g in sweep.generators]
    return torch.stack([torch.tensor(seeds), torch.zeros(len(seeds), dtype=torch.int64)], dim=-1).reshape(
        *sweep.points.shape, 2
    )


def next_generators(draws: Int[Tensor, "*points 2"]) -> tuple[list[torch.Generator], Int[Tensor, "*points 2"]]:
    """Return a new generator for each point's next draw, in order, and the draws with that one counted."""
    generators = [
        torch.Generator().manual_seed((seed + MIX * count) % LARGEST) for seed, count in draws.reshape(-1, 2).tolist()
    ]
    return generators, draws + torch.tensor([0, 1])

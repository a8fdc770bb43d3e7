"""Generated weights within the bounds of a problem's `project`."""

import copy

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.conditioned.front_model import Conditioned, Generated
from paretomtl.problem import Problem


def apply_bounds(network: Conditioned, problem: Problem, generated: Generated) -> Generated:
    """The weights as `project` leaves them, row by row.

    Gradients pass as if it were not there, but for what would push a weight that is beyond its bound further out.
    """
    if problem.project is None:
        return generated
    model = copy.deepcopy(network.plain)
    held = dict(model.named_parameters())
    rows: dict[str, list[Tensor]] = {name: [] for name in generated}
    with torch.no_grad():
        for k in range(len(next(iter(generated.values())))):
            for name, row in generated.items():
                held[name].copy_(row[k])
            problem.project(model)
            for name in generated:
                rows[name].append(held[name].clone())
    return {name: _straight_through(row, torch.stack(rows[name])) for name, row in generated.items()}


def write_out(network: Conditioned, problem: Problem, r: Float[np.ndarray, " m"]) -> nn.Module:
    """The plain network at a preference, its weights within their bounds."""
    model = network.at(r)
    if problem.project is not None:
        with torch.no_grad():
            problem.project(model)
    return model


def _straight_through(row: Tensor, within: Tensor) -> Tensor:
    beyond = row.detach() - within
    found = row - beyond
    if found.requires_grad:
        found.register_hook(lambda gradient: gradient.masked_fill(gradient * beyond < 0, 0))
    return found

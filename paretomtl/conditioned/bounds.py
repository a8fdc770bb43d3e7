"""Generated weights, kept within the bounds of a problem's `project`."""

import copy

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.conditioned.front_model import Conditioned, Generated
from paretomtl.problem import Problem


def apply_bounds(network: Conditioned, problem: Problem, generated: Generated) -> Generated:
    """Apply `project` to the weights, row by row.

    Gradients pass unchanged, except those that would push a weight further beyond its bound.
    """
    if problem.project is None:
        return generated
    model = copy.deepcopy(network.plain)
    parameters = dict(model.named_parameters())
    rows: dict[str, list[Tensor]] = {name: [] for name in generated}
    with torch.no_grad():
        for k in range(len(next(iter(generated.values())))):
            for name, row in generated.items():
                parameters[name].copy_(row[k])
            problem.project(model)
            for name in generated:
                rows[name].append(parameters[name].clone())
    return {name: _pass_gradient(row, torch.stack(rows[name])) for name, row in generated.items()}


def write_out(network: Conditioned, problem: Problem, r: Float[np.ndarray, " m"]) -> nn.Module:
    """Return the plain network at a preference, its weights within their bounds."""
    model = network.at(r)
    if problem.project is not None:
        with torch.no_grad():
            problem.project(model)
    return model


def _pass_gradient(row: Tensor, bounded: Tensor) -> Tensor:
    """Return the bounded values with the gradient of the row, less what would push it further beyond its bound."""
    beyond = row.detach() - bounded
    result = row - beyond
    if result.requires_grad:
        result.register_hook(lambda gradient: gradient.masked_fill(gradient * beyond < 0, 0))
    return result

"""A method's first state, and its steps, whatever its class."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from paretomtl.solver import Aggregation, Solver, Status, Sweep, Weighting

J_B = ((1, 2, 0), (-1, 1, 1), (0.5, -1, 2))
L_B = (0.5, 0.4, 0.2)


def tensor(values) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def even(m: int) -> Tensor:
    return torch.full((m,), 1 / m, dtype=torch.float64)


def start(solver: Solver, preference: Tensor) -> Any:
    """The first state, in a study of these preferences (*points, m)."""
    points = preference.shape[:-1]
    count = int(np.prod(points))
    generators = tuple(torch.Generator().manual_seed(k) for k in range(count))
    rows = preference.reshape(count, -1)
    return solver.init(Sweep(rows, torch.arange(count).reshape(points), 10, True, generators))


def step(
    solver: Solver, state: Any, losses: Tensor, jacobian: Tensor, preference: Tensor
) -> tuple[Tensor, Any, Status]:
    """The direction, the next state and the status."""
    if isinstance(solver, Aggregation):
        return solver.update(state, losses, jacobian, preference)
    assert isinstance(solver, Weighting)
    weights, state, status = solver.update(state, losses, (jacobian @ jacobian.mT).double(), preference)
    return (weights.to(jacobian)[..., None, :] @ jacobian)[..., 0, :], state, status

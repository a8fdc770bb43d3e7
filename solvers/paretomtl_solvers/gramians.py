"""What methods that weigh by a Gramian share: each point by itself, in float64, at a scale of 1."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Status, Sweep, Weighting
from paretomtl_solvers import qp

RANK = 1e-13  # an eigenvalue relative to the largest: below, it is rounding

# from a Gramian of mean squared norm 1 and the rows beside it to the weights and a code
Weigh = Callable[..., tuple[np.ndarray, int]]


def weigh_points(
    method: str, gramian: Float[Tensor, "*points m m"], weigh: Weigh, *beside: Tensor, power: float = 0.0
) -> tuple[Float[Tensor, "*points m"], Status]:
    """Return the weights of every point, and the status with residual 0.

    Where all gradients vanish, the weights are equal and the status is "stationary".

    Args:
        method: its name, for messages.
        gramian: symmetric, to rounding.
        weigh: called for each point as `weigh(C, *rows)`.
        beside: more of each point, (*points, …), such as losses or the preference.
        power: the weights go with this power of a common scale of the gradients.

    Raises:
        ValueError: the Gramian, or what is beside it, is not finite.
    """
    points, m = gramian.shape[:-2], gramian.shape[-1]
    on_cpu = gramian.detach().cpu().double()
    C = on_cpu.numpy()
    rows = [row.detach().cpu().double().numpy() for row in beside]
    if not math.isfinite(on_cpu.sum()):  # a quick look; the sum of large numbers may be infinite, too
        qp.check_finite_gramian(method, Gramian=C)
    weights, codes = np.full((*points, m), 1 / m), np.zeros(points, dtype=np.int64)
    for p in np.ndindex(points) if points else ((),):
        square = float(C[p].trace()) / m
        if square > 0:
            scaled = (C[p] + C[p].T) / (2 * square)
            if scaled.diagonal().min() < 0:  # rounding's, of a gradient that vanishes
                vanished = scaled.diagonal() < 0
                scaled[vanished], scaled[:, vanished] = 0, 0
            answer, codes[p] = weigh(scaled, *(row[p] for row in rows))
            weights[p] = answer * square ** (power / 2) if power else answer
        else:
            codes[p] = Code.STATIONARY
    status = Status(torch.from_numpy(codes), torch.zeros(points, dtype=torch.float64))
    return torch.from_numpy(weights).to(gramian.device), status


class GramianWeighting(Weighting):
    """A method without state that weighs each point by its Gramian, and by its preference at most."""

    power: ClassVar[float] = 0.0  # the weights go with this power of a common scale of the gradients

    @abstractmethod
    def weigh(self, C: Float[np.ndarray, "m m"], preference: Float[np.ndarray, " m"], /) -> tuple[np.ndarray, int]:
        """Return a point's weights and code; its gradients have a mean squared norm of 1."""

    def init(self, sweep: Sweep) -> None:
        """Check that cvxpy finds a solver, if the method's `backend` forces it; there is no state."""
        if getattr(self, "backend", "auto") == "cvxpy":
            qp.check_installed()

    def update(
        self,
        state: Any,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and the status."""
        weights, status = weigh_points(type(self).__name__, gramian, self.weigh, preference, power=self.power)
        return weights, state, status


def code_of(weights: Float[np.ndarray, " m"], gramian: Float[np.ndarray, "m m"]) -> Code:
    """Return "stationary" where the direction of the weights vanishes beside the largest gradient, else "solved"."""
    vanished = weights @ gramian @ weights <= qp.VANISHED**2 * gramian.diagonal().max()
    return Code.STATIONARY if vanished else Code.SOLVED


def decompose(
    gramian: Float[np.ndarray, "m m"],
) -> tuple[Float[np.ndarray, " rank"], Float[np.ndarray, "m rank"]]:
    """Return the eigenvalues that are not zero, in ascending order, and their eigenvectors, as columns.

    With the longest gradients first, LAPACK resolves small eigenvalues that short gradients bring, to many digits.
    """
    order = np.argsort(-gramian.diagonal(), kind="stable")
    values, vectors = np.linalg.eigh(gramian[order[:, None], order])
    rank = int((values > RANK * values[-1]).sum())
    placed = np.empty((len(gramian), rank))
    placed[order] = vectors[:, -rank:]
    return values[-rank:], placed

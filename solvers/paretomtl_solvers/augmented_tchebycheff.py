"""Augmented Tchebycheff scalarization (Steuer and Choo, Mathematical Programming 26, 1983).

It is max_j r_j (l_j - z_j) + rho sum_j r_j (l_j - z_j). The sum keeps weakly Pareto-optimal points, where a loss could
still fall for nothing, from being minimisers. It is weighted here, so that the scale of a loss counts the same in both
terms; many texts write it without weights.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Scalarization, Status, solved_status
from paretomtl_solvers.tchebycheff import above, worst


@dataclass(frozen=True)
class AugmentedTchebycheff(Scalarization):
    """The worst weighted loss, and a little of all.

    Args:
        rho: of the weighted sum, at least 0; dimensionless. Its points are off the ray by about as much.
        ideal: z, the losses to measure from, in their units; by default 0.

    The weights (*points, m) are r_j rho, and r_j (1 + rho) on the worst objective.
    """

    rho: float = 0.05
    ideal: tuple[float, ...] | None = None

    def __post_init__(self):
        if not 0 <= self.rho < float("inf"):
            raise ValueError(f"rho={self.rho!r}: give a number of at least 0")

    @property
    def nonnegative(self) -> bool:
        """The losses are measured from z, which they must not fall below; z = 0 can be checked."""
        return self.ideal is None

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """The weights, the state as it came, and "solved"."""
        r = preference.to(losses.device)
        above_ideal = above("AugmentedTchebycheff", losses, self.ideal)
        return r * (worst(r * above_ideal) + self.rho), state, solved_status(losses)

"""Augmented Tchebycheff scalarization (Steuer and Choo, Mathematical Programming 26, 1983).

The value is max_j r_j (l_j - z_j) + rho sum_j r_j (l_j - z_j). With the sum, weakly Pareto-optimal points, where a loss
could still fall at no cost, are not minimisers. The sum is weighted here, so that a loss has the same scale in both
terms; many texts write it without weights.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from paretomtl.normalisation import Normalisation
from paretomtl.solver import Confidence, Scalarization, Status, solved_status
from paretomtl_solvers.tchebycheff import mark_worst, subtract_ideal


@dataclass(frozen=True)
class AugmentedTchebycheff(Scalarization):
    """The worst weighted loss, plus a small share of the weighted sum.

    Args:
        rho: the share of the weighted sum, at least 0; dimensionless. The points are off the ray by about as much.
        ideal: z, the losses to measure from, in their units; by default 0.

    The weights (*points, m) are r_j rho, and r_j (1 + rho) on the worst objective.
    """

    rho: float = 0.05
    ideal: tuple[float, ...] | None = None
    from_ideal: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"
    preference_means: ClassVar[str] = "near the ray"

    def __post_init__(self):
        if not 0 <= self.rho < float("inf"):
            raise ValueError(f"rho={self.rho!r}: give a number of at least 0")

    @property
    def nonnegative(self) -> bool:
        """True where z = 0: the losses are measured from z and must not fall below it, which can then be checked."""
        return self.ideal is None

    def normalised(self, normalisation: Normalisation) -> "AugmentedTchebycheff":
        """Return the method with its ideal in normalised losses; none stays none, the ideal of the normalisation."""
        return replace(self, ideal=self.ideal and normalisation.convert(self.ideal))

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and "solved"."""
        r = preference.to(losses.device)
        above_ideal = subtract_ideal("AugmentedTchebycheff", losses, self.ideal)
        return r * (mark_worst(r * above_ideal) + self.rho), state, solved_status(losses)

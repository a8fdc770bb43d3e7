"""STCH: smooth Tchebycheff scalarization, mu log sum_j exp(r_j (l_j - z_j) / mu) (Lin et al., ICML 2024).

The value exceeds Tchebycheff's by at most mu log m, so its minimiser's worst r_j (l_j - z_j) is at most mu log m above
the least possible.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from paretomtl.normalisation import Normalisation
from paretomtl.solver import Confidence, Scalarization, Status, solved_status
from paretomtl_solvers.tchebycheff import subtract_ideal


@dataclass(frozen=True)
class SmoothTchebycheff(Scalarization):
    """The worst weighted loss, made smooth: weights r_j softmax_j(r (l - z) / mu).

    Args:
        mu: the width of the smoothing, in the unit of r_j l_j. A smaller mu is closer to Tchebycheff, and stiffer: with
            noisy losses from 0 to 1, .1 has more hypervolume than .01, and still reaches concave fronts.
        ideal: z, the losses to measure from, in their units; by default 0.

    The weights (*points, m) are in the scale of the preference.
    """

    mu: float = 0.1
    ideal: tuple[float, ...] | None = None
    from_ideal: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"
    preference_means: ClassVar[str] = "near the ray"

    def __post_init__(self):
        if not 0 < self.mu < float("inf"):
            raise ValueError(f"mu={self.mu!r}: give a positive number")

    def normalised(self, normalisation: Normalisation) -> "SmoothTchebycheff":
        """Return the method with its ideal in normalised losses; none stays none, the ideal of the normalisation."""
        return replace(self, ideal=self.ideal and normalisation.convert(self.ideal))

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and "solved"."""
        r = preference.to(losses.device)
        above_ideal = subtract_ideal("SmoothTchebycheff", losses, self.ideal)
        return r * (r * above_ideal / self.mu).softmax(dim=-1), state, solved_status(losses)

"""PBI: penalty-based boundary intersection (Zhang and Li, IEEE Trans. on Evolutionary Computation, 2007).

The value is d1 + theta d2: d1 is the losses' distance along the preference's ray, d2 their distance from it. With u the
ray's unit vector, d1 = (l - z)' u and d2 = |l - z - d1 u|.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from paretomtl.normalisation import Normalisation
from paretomtl.preference import ray
from paretomtl.solver import Confidence, Scalarization, Status, solved_status
from paretomtl_solvers.tchebycheff import subtract_ideal

ON_RAY = 1e-12  # d2 relative to |l - z|: below, it has no direction


@dataclass(frozen=True)
class PBI(Scalarization):
    """Penalty-based boundary intersection: weights u + theta (l - z - d1 u) / d2.

    Args:
        theta: the penalty on leaving the ray, at least 0; dimensionless.
        ideal: z, where the ray starts, in the losses' units; by default 0.

    The weights (*points, m) may be negative: a loss that is too small for the ray may rise. On the ray they are u.
    """

    theta: float = 5.0
    ideal: tuple[float, ...] | None = None
    from_ideal: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"
    preference_means: ClassVar[str] = "ray"

    def __post_init__(self):
        if not 0 <= self.theta < float("inf"):
            raise ValueError(f"theta={self.theta!r}: give a number of at least 0")

    @property
    def follows_ray(self) -> bool:
        """True if the ray starts at 0; the penalty must also be large enough."""
        return self.ideal is None

    def normalised(self, normalisation: Normalisation) -> "PBI":
        """Return the method with its ideal in normalised losses; none stays none, the ideal of the normalisation."""
        return replace(self, ideal=self.ideal and normalisation.convert(self.ideal))

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and "solved"."""
        from_ideal = subtract_ideal("PBI", losses, self.ideal)
        u = from_ideal.new_tensor(ray(preference.double().cpu().numpy()))
        u = u / u.norm(dim=-1, keepdim=True)
        off = from_ideal - (from_ideal * u).sum(dim=-1, keepdim=True) * u
        distance = off.norm(dim=-1, keepdim=True)
        is_off = distance > ON_RAY * from_ideal.norm(dim=-1, keepdim=True)
        return u + self.theta * (off / distance.where(is_off, np.inf)), state, solved_status(losses)

"""Linear scalarization: the weighted sum of the losses, sum_i r_i l_i.

It is the baseline of every comparison. It reaches every point of a convex front, and only the ends of a concave one.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Scalarization, Status, solved_status


@dataclass(frozen=True)
class Linear(Scalarization):
    """Linear scalarization: the weights of the losses are the preference."""

    linear: ClassVar[bool] = True

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the preference, the unchanged state and "solved"."""
        return preference, state, solved_status(losses)

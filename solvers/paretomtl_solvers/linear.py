"""Linear scalarization: the weighted sum of the losses, sum_i r_i l_i.

It is the baseline of every comparison. It reaches every point of a convex front, and only the ends of a concave one.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Confidence, Scalarization, Status, solved_status


@dataclass(frozen=True)
class Linear(Scalarization):
    """Linear scalarization: the weights of the losses are the preference.

    Args:
        labels: what to do where batches lack labels. "plain" keeps the weight r_i of each loss that is present; so a
            loss whose label is rare pulls less. "balanced" makes up for it by r_i / p_i, with p_i the share of the
            batches so far, the present one included, that have label i.
    """

    labels: Literal["plain", "balanced"] = "plain"
    linear: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"

    def __post_init__(self):
        if self.labels not in ("plain", "balanced"):
            raise ValueError(f"labels={self.labels!r}: give 'plain' or 'balanced'")

    def __repr__(self) -> str:
        return "Linear()" if self.labels == "plain" else f"Linear(labels={self.labels!r})"  # as 0.1 stored it

    @property
    def balances_labels(self) -> bool:
        """True for "balanced"; the engine then divides the preference by the frequency of each label."""
        return self.labels == "balanced"

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the preference, the unchanged state and "solved"."""
        return preference, state, solved_status(losses)

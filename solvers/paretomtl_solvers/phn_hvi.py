"""PHN-HVI: Hoang et al., "Improving Pareto Front Learning via Multi-Sample Hypernetworks", AAAI 2023.

Several preferences a step, each with a point of its own, and one loss of them all:

    L = sum_i w_i' l_i - penalty sum_i cos(l_i, ray(r_i))

w_i is the direction in which point i adds most to the hypervolume of all, a constant of the step: the negative gradient
of the hypervolume with respect to l_i, at length 1. A dominated point adds nothing to the hypervolume; it takes the
gradient among those left when all that dominate it are gone (non-dominated sorting). The cosine draws each point to its
preference's ray. As in COSMOS, ours is the ray on which r_j l_j is equal over j, where the paper takes r itself.

In the released code the cosine of a step's first point cancels itself out; here it counts as the others do.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from paretomtl.objective import check_reference
from paretomtl.solver import Scalarization, Status, solved_status
from paretomtl_solvers.cosmos import check_penalty, cosine, cosine_gradient, unit_ray
from paretomtl_solvers.hypervolume_ascent import growth
from paretomtl_solvers.tchebycheff import above


@dataclass(frozen=True)
class PHNHVI(Scalarization):
    """The hypervolume of all points of a step, and a penalty on leaving the rays.

    Args:
        ref_point: of the hypervolume, m numbers in the losses' units. An objective whose largest loss of the step,
            times 1.1, is beyond it is measured up to there instead.
        penalty: of leaving the ray, at least 0, beside a gradient of length 1. The paper's runs have 0.001 to 5.

    All points of a call, over all points axes, are one set; with a single one the hypervolume is its box. The weights
    (*points, m) are w_i - penalty dcos(l_i, ray(r_i)) / dl_i. They may be negative. Of points with equal losses the
    first has the hypervolume's gradient, and the others have the cosine's alone.
    """

    ref_point: tuple[float, ...]
    penalty: float = 4.0

    joint: ClassVar[bool] = True

    def __post_init__(self):
        check_reference(self.ref_point, len(self.ref_point))
        check_penalty(self.penalty)

    def value(self, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]) -> Float[Tensor, ""]:
        """L, whose gradient with respect to the losses the weights are, w a constant."""
        l = above("PHNHVI", losses, None)
        return (growth("PHNHVI", l, self.ref_point) * l).sum() - self.penalty * cosine(l, unit_ray(l, preference)).sum()

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """The weights, the state as it came, and "solved"."""
        l = above("PHNHVI", losses, None)
        slope = cosine_gradient(l, unit_ray(l, preference))
        return growth("PHNHVI", l, self.ref_point) - self.penalty * slope, state, solved_status(losses)

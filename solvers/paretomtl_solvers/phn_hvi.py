"""PHN-HVI: Pareto front learning with several preferences a step, by hypervolume (Hoang et al., AAAI 2023).

A step has several preferences, each with a point of its own, and one loss for all of them:

    L = sum_i w_i' l_i - penalty sum_i cos(l_i, ray(r_i))

w_i is the direction in which point i adds most to the hypervolume of all points: the negative gradient of the
hypervolume with respect to l_i, at length 1, a constant of the step. A dominated point adds nothing; it takes the
gradient among the points that remain once all that dominate it are removed (non-dominated sorting). The cosine draws
each point to its preference's ray. As in COSMOS, ours is the ray on which r_j l_j is equal over j; the paper's is r.

In the released code the cosine of a step's first point cancels itself out; here it counts like the others.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from paretomtl.normalisation import Normalisation
from paretomtl.objective import check_reference
from paretomtl.solver import Confidence, Scalarization, Status, solved_status
from paretomtl_solvers.cosmos import check_penalty, cosine, cosine_gradient, unit_ray
from paretomtl_solvers.hypervolume_ascent import ascent_directions
from paretomtl_solvers.tchebycheff import subtract_ideal


@dataclass(frozen=True)
class PHNHVI(Scalarization):
    """The hypervolume of all points of a step, less a penalty on leaving the rays.

    Args:
        ref_point: the reference of the hypervolume, m numbers in the losses' units. Where 1.1 times the largest loss of
            the step is beyond it, that is the objective's reference.
        penalty: the penalty on leaving the ray, at least 0, beside a gradient of length 1. The paper's runs have 0.001
            to 5.

    All points of a call, over all points axes, are one set; the hypervolume of a single point is its box. The weights
    (*points, m) are w_i - penalty dcos(l_i, ray(r_i)) / dl_i. They may be negative. Of points with equal losses, only
    the first has the hypervolume's gradient; the others have the cosine's alone.
    """

    ref_point: tuple[float, ...]
    penalty: float = 4.0

    joint: ClassVar[bool] = True
    from_ideal: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"
    preference_means: ClassVar[str] = "near the ray"

    def __post_init__(self):
        check_reference(self.ref_point, len(self.ref_point))
        check_penalty(self.penalty)

    def normalised(self, normalisation: Normalisation) -> "PHNHVI":
        """Return the method with its reference in normalised losses."""
        return replace(self, ref_point=normalisation.convert(self.ref_point))

    def value(self, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]) -> Float[Tensor, ""]:
        """Return L; the weights are its gradient with respect to the losses, with w constant."""
        l = subtract_ideal("PHNHVI", losses, None)
        return (ascent_directions("PHNHVI", l, self.ref_point) * l).sum() - self.penalty * cosine(
            l, unit_ray(l, preference)
        ).sum()

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and "solved"."""
        l = subtract_ideal("PHNHVI", losses, None)
        slope = cosine_gradient(l, unit_ray(l, preference))
        return ascent_directions("PHNHVI", l, self.ref_point) - self.penalty * slope, state, solved_status(losses)

"""COSMOS: scalable approximation of the front for deep multi-objective learning (Ruchte and Grabocka, ICDM 2021).

L = sum_j r_j l_j - penalty cos(l, ray): the weighted sum, less a reward for losses along a ray. The reward keeps points
apart where the sum alone would draw them together.

As published, the ray is the preference r itself. Then the two terms disagree about r: in the sum a larger r_j asks for
a smaller loss j, in the cosine for a larger one. Ours is the ray on which r_j l_j is equal over j; it asks for the same
as the sum. The paper trains one network for all preferences, with r as its input; this loss can train any model.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from jaxtyping import Float
from torch import Tensor

from paretomtl import preference as preferences
from paretomtl.solver import Confidence, Scalarization, Status, solved_status
from paretomtl_solvers.tchebycheff import subtract_ideal

Ray = Literal["ours", "published"]


@dataclass(frozen=True)
class COSMOS(Scalarization):
    """The weighted sum, less a penalty times the cosine of the losses with a ray.

    Args:
        penalty: the penalty on leaving the ray, at least 0, in the unit of the losses. The paper's runs have 0.01 to 8.
        ray: "ours", the ray on which r_j l_j is equal over j, or "published", r itself.

    The weights (*points, m) are r - penalty dcos/dl. They may be negative: a loss that is too small for the ray may
    rise. The points end near the ray, not on it, where the cosine has no slope to balance the sum's.
    """

    penalty: float = 2.0
    ray: Ray = "ours"
    from_ideal: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"
    preference_means: ClassVar[str] = "weights and ray"

    def __post_init__(self):
        check_penalty(self.penalty)
        if self.ray not in get_args(Ray):
            raise ValueError(f"ray={self.ray!r} is not one of {', '.join(get_args(Ray))}")

    def value(
        self, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> Float[Tensor, "*points"]:
        """Return L; the weights are its gradient with respect to the losses."""
        l = subtract_ideal("COSMOS", losses, None)
        r = preference.to(l)
        return (r * l).sum(dim=-1) - self.penalty * cosine(l, self._ray(l, preference))

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and "solved"."""
        l = subtract_ideal("COSMOS", losses, None)
        slope = cosine_gradient(l, self._ray(l, preference))
        return preference.to(l) - self.penalty * slope, state, solved_status(losses)

    def _ray(self, l: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]) -> Float[Tensor, "*points m"]:
        return unit_ray(l, preference) if self.ray == "ours" else _unit(preference.to(l))


def check_penalty(penalty: float) -> None:
    """Raise if the penalty is negative or not finite."""
    if not 0 <= penalty < float("inf"):
        raise ValueError(f"penalty={penalty!r}: give a number of at least 0")


def unit_ray(l: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]) -> Float[Tensor, "*points m"]:
    """Return the vector of length 1 with r_j l_j equal over j, on the losses' device."""
    return _unit(l.new_tensor(preferences.ray(preference.double().cpu().numpy())))


def cosine(l: Float[Tensor, "*points m"], unit: Float[Tensor, "*points m"]) -> Float[Tensor, "*points"]:
    """Return the cosine of the angle between the losses and a unit vector; 0 for losses of 0."""
    return (_unit(l) * unit).sum(dim=-1)


def cosine_gradient(l: Float[Tensor, "*points m"], unit: Float[Tensor, "*points m"]) -> Float[Tensor, "*points m"]:
    """Return the cosine's gradient with respect to the losses; 0 for losses of 0.

    It is the unit vector's component across the losses, divided by their length.
    """
    length = l.norm(dim=-1, keepdim=True)
    along = cosine(l, unit)[..., None] * _unit(l)
    return (unit - along) / length.where(length > 0, float("inf"))


def _unit(l: Float[Tensor, "*points m"]) -> Float[Tensor, "*points m"]:
    length = l.norm(dim=-1, keepdim=True)
    return l / length.where(length > 0, 1)

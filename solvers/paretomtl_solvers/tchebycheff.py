"""Tchebycheff scalarization: the worst weighted loss, max_j r_j (l_j - z_j) (Bowman 1976; Miettinen, "Nonlinear
Multiobjective Optimization", 1999, section 3.4).

Its minimiser lies where r_j (l_j - z_j) is equal over j, on concave fronts too. The gradient is the worst objective's
alone, so it jumps at the minimiser: let the learning rate go to 0, or use `SmoothTchebycheff`.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from paretomtl.normalisation import Normalisation
from paretomtl.solver import Confidence, Scalarization, Status, solved_status

TIE = 1e-9  # relative: objectives this close to the worst are all worst


@dataclass(frozen=True)
class Tchebycheff(Scalarization):
    """The worst weighted loss alone: weight r_j on the objective with the largest r_j (l_j - z_j), shared on a tie.

    Args:
        ideal: z, the losses to measure from, in their units; by default 0, where the method follows the ray.

    The weights (*points, m) are in the scale of the preference: they sum to r_j of the worst.
    """

    ideal: tuple[float, ...] | None = None
    from_ideal: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"
    preference_means: ClassVar[str] = "ray"

    @property
    def follows_ray(self) -> bool:
        """True where z = 0."""
        return self.ideal is None

    @property
    def nonnegative(self) -> bool:
        """True where z = 0: the losses are measured from z and must not fall below it, which can then be checked."""
        return self.ideal is None

    def normalised(self, normalisation: Normalisation) -> "Tchebycheff":
        """Return the method with its ideal in normalised losses; none stays none, the ideal of the normalisation."""
        return replace(self, ideal=self.ideal and normalisation.convert(self.ideal))

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and "solved"."""
        r = preference.to(losses.device)
        return r * mark_worst(r * subtract_ideal("Tchebycheff", losses, self.ideal)), state, solved_status(losses)


def subtract_ideal(
    method: str, losses: Float[Tensor, "*points m"], ideal: tuple[float, ...] | None
) -> Float[Tensor, "*points m"]:
    """Return the losses less the ideal, in float64.

    Raises:
        ValueError: the ideal has another length, or a loss or the ideal is not finite; the message names the method.
    """
    values = losses.double()
    if ideal is not None:
        if len(ideal) != losses.shape[-1]:
            raise ValueError(f"{method}: ideal={ideal} has not one number a loss; there are {losses.shape[-1]}")
        values = values - values.new_tensor(ideal)
    if not values.isfinite().all():
        raise ValueError(f"{method}: the losses {losses.tolist()} above the ideal {ideal} are not finite")
    return values


def mark_worst(weighted: Float[Tensor, "*points m"]) -> Float[Tensor, "*points m"]:
    """Return 1 on the largest entry and 0 elsewhere; equal shares on a tie."""
    largest = weighted.max(dim=-1, keepdim=True).values
    ties = (weighted >= largest - TIE * largest.abs()).double()
    return ties / ties.sum(dim=-1, keepdim=True)

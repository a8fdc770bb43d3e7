"""Ascent of the hypervolume by a set of points (Wang et al., EMO 2017; for networks Deist et al., 2021).

"Hypervolume Indicator Gradient Ascent Multi-objective Optimization", "Multi-Objective Learning to Predict Pareto Fronts
Using Hypervolume Maximization".

Each point moves in the direction in which it adds most to the hypervolume of all points: the negative gradient of the
hypervolume with respect to its losses, at length 1. A dominated point adds nothing; it takes the gradient among the
points that remain once all that dominate it are removed (non-dominated sorting).

All points of a study start alike, and of equal points only the first moves, so they would part one after the other. So
in the first phase each point goes to its preference's ray, by Tchebycheff. Then the preferences no longer matter, and
the points spread over the front.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.normalisation import Normalisation
from paretomtl.objective import check_reference
from paretomtl.points.hypervolume_gradient import hypervolume_gradient
from paretomtl.points.score import is_nondominated
from paretomtl.solver import Confidence, Scalarization, Status, Sweep, solved_status
from paretomtl_solvers.phase_one import check_share, steps_of_phase_one
from paretomtl_solvers.tchebycheff import Tchebycheff, subtract_ideal

REFERENCE_MARGIN = 1.1  # as published: the reference is at least this many times the largest loss of the step


@dataclass(frozen=True)
class HypervolumeAscent(Scalarization):
    """Ascent of the hypervolume of all points, which move together: `explore(…, preferences=K, fleet=K)`.

    Args:
        ref_point: the reference of the hypervolume, m numbers in the losses' units. Where 1.1 times the largest loss of
            the step is beyond it, that is the objective's reference.
        phase_one: the share of the steps in which each point goes to its ray.

    All points of a call, over all points axes, are one set. The weights (*points, m) have length 1; of points with
    equal losses, all but the first have length 0. State: the remaining steps of phase one, by point; a call without a
    state has no phase one.
    """

    ref_point: tuple[float, ...]
    phase_one: float = 0.3

    joint: ClassVar[bool] = True
    from_ideal: ClassVar[bool] = True
    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"
    preference_means: ClassVar[str] = "where it starts"

    def __post_init__(self):
        check_reference(self.ref_point, len(self.ref_point))
        check_share(self.phase_one)

    @property
    def nonnegative(self) -> bool:
        """True: a ray starts at 0."""
        return True

    def normalised(self, normalisation: Normalisation) -> "HypervolumeAscent":
        """Return the method with its reference in normalised losses."""
        return replace(self, ref_point=normalisation.convert(self.ref_point))

    def init(self, sweep: Sweep) -> Int[Tensor, "*points"]:
        """Return each point's number of steps in phase one."""
        return steps_of_phase_one(self.phase_one, sweep)

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the state with one step of phase one less, and "solved"."""
        weights = ascent_directions("HypervolumeAscent", losses, self.ref_point)
        if state is None:
            return weights, None, solved_status(losses)
        to_ray, _, _ = Tchebycheff().update(None, losses, preference)
        early = (state > 0)[..., None].to(losses.device)
        return torch.where(early, to_ray, weights), (state - 1).clamp(min=0), solved_status(losses)


def ascent_directions(
    method: str, losses: Float[Tensor, "*points m"], ref_point: Sequence[float]
) -> Float[Tensor, "*points m"]:
    """Return the direction in which each point adds most to the hypervolume, at length 1 or 0, in float64.

    Raises:
        ValueError: the reference has another length, or a loss is not finite; the message names the method.
    """
    l, m = subtract_ideal(method, losses, None), losses.shape[-1]
    if len(ref_point) != m:
        raise ValueError(f"{method}: ref_point={tuple(ref_point)} has not one number a loss; there are {m}")
    rows = l.detach().cpu().numpy().reshape(-1, m)
    reference = np.maximum(ref_point, REFERENCE_MARGIN * rows.max(axis=0))
    return l.new_tensor(_compute_directions(rows, reference)).reshape(l.shape)


def _compute_directions(
    losses: Float[np.ndarray, "n m"], reference: Float[np.ndarray, " m"]
) -> Float[np.ndarray, "n m"]:
    """Return the negative gradient of the hypervolume of each point's own front, at length 1; 0 stays 0."""
    directions, remaining = np.zeros(losses.shape), np.arange(len(losses))
    while len(remaining):
        best = is_nondominated(losses[remaining])
        directions[remaining[best]] = -hypervolume_gradient(losses[remaining[best]], reference)
        remaining = remaining[~best]
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    return directions / np.where(length > 0, length, 1)

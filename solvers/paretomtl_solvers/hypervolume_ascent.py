"""Ascent of the hypervolume by a set of points (Wang et al., EMO 2017; for networks Deist et al., 2021).

"Hypervolume Indicator Gradient Ascent Multi-objective Optimization", "Multi-Objective Learning to Predict Pareto Fronts
Using Hypervolume Maximization".

Each point moves along the direction in which it adds most to the hypervolume of all: the negative gradient of the
hypervolume with respect to its losses, at length 1. A dominated point adds nothing; it takes the gradient among those
that are left when all that dominate it are gone (non-dominated sorting).

All points of a study start alike, and of equal points only the first moves: they would part one after the other. So in
the first phase each goes to its preference's ray, by Tchebycheff; then the preference is forgotten, and the points
share out the front.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.objective import check_reference
from paretomtl.points.hypervolume_gradient import hypervolume_gradient
from paretomtl.points.score import is_nondominated
from paretomtl.solver import Scalarization, Status, Sweep, solved_status
from paretomtl_solvers.phase_one import check_part, steps_of_phase_one
from paretomtl_solvers.tchebycheff import Tchebycheff, above

MARGIN = 1.1  # published: the reference is at least this many times the largest loss of the step


@dataclass(frozen=True)
class HypervolumeAscent(Scalarization):
    """The hypervolume of all points, which move together: `explore(…, preferences=K, fleet=K)`.

    Args:
        ref_point: of the hypervolume, m numbers in the losses' units. An objective whose largest loss of the step,
            times 1.1, is beyond it is measured up to there instead.
        phase_one: the share of the steps in which each point goes to its ray.

    All points of a call, over all points axes, are one set. The weights (*points, m) have length 1, or 0 where points
    with equal losses stand behind the first of them. State: the steps left of phase one, by point; a call without one
    has no phase one.
    """

    ref_point: tuple[float, ...]
    phase_one: float = 0.3

    joint: ClassVar[bool] = True
    stateful: ClassVar[bool] = True

    def __post_init__(self):
        check_reference(self.ref_point, len(self.ref_point))
        check_part(self.phase_one)

    @property
    def nonnegative(self) -> bool:
        """Rays are those of losses from 0 on."""
        return True

    def init(self, sweep: Sweep) -> Int[Tensor, "*points"]:
        """How long phase one lasts."""
        return steps_of_phase_one(self.phase_one, sweep)

    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """The weights, the state with a step of phase one spent, and "solved"."""
        weights = growth("HypervolumeAscent", losses, self.ref_point)
        if state is None:
            return weights, None, solved_status(losses)
        to_ray, _, _ = Tchebycheff().update(None, losses, preference)
        early = (state > 0)[..., None].to(losses.device)
        return torch.where(early, to_ray, weights), (state - 1).clamp(min=0), solved_status(losses)


def growth(method: str, losses: Float[Tensor, "*points m"], ref_point: Sequence[float]) -> Float[Tensor, "*points m"]:
    """The direction in which each point adds most to the hypervolume, at length 1 or 0, in float64.

    Raises:
        ValueError: the reference has another length, or a loss is not finite; it names the method.
    """
    l, m = above(method, losses, None), losses.shape[-1]
    if len(ref_point) != m:
        raise ValueError(f"{method}: ref_point={tuple(ref_point)} has not one number a loss; there are {m}")
    rows = l.detach().cpu().numpy().reshape(-1, m)
    reference = np.maximum(ref_point, MARGIN * rows.max(axis=0))
    return l.new_tensor(_directions(rows, reference)).reshape(l.shape)


def _directions(losses: Float[np.ndarray, "n m"], reference: Float[np.ndarray, " m"]) -> Float[np.ndarray, "n m"]:
    """The negative gradient of the hypervolume of each point's own front, at length 1; 0 stays 0."""
    found, left = np.zeros(losses.shape), np.arange(len(losses))
    while len(left):
        best = is_nondominated(losses[left])
        found[left[best]] = -hypervolume_gradient(losses[left[best]], reference)
        left = left[~best]
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return found / np.where(length > 0, length, 1)

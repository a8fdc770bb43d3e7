"""MOO-SVGD: multi-objective Stein variational gradient descent (Liu, Tong and Liu, NeurIPS 2021).

A set of n points moves down and apart: point i in the direction

    d_i = 1/n [ sum_j k_ij g_j - 2/h sum_j k_ij (l_i - l_j)' J_i ],    k_ij = exp(-|l_i - l_j|^2 / h),

with g_j the min-norm point of the gradients of point j (MGDA), and h the median of the squared distances over log n.
The first term is smoothed over points with similar losses; the second drives them apart. The released code multiplies
by h where the paper divides, as its authors note.

All points of a study start alike, and equal points move as one. So in the first phase each point goes to its
preference's ray, by Tchebycheff. Then the preferences no longer matter.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.autograd.jacobian import gramian_of
from paretomtl.solver import Aggregation, Confidence, Status, Sweep, solved_status
from paretomtl_solvers.mgda import MGDA
from paretomtl_solvers.phase_one import check_share, steps_of_phase_one
from paretomtl_solvers.tchebycheff import Tchebycheff, subtract_ideal


@dataclass(frozen=True)
class MOOSVGD(Aggregation):
    """A step down by the min-norm points, and apart in the losses: `explore(…, preferences=K, fleet=K)`.

    Args:
        phase_one: the share of the steps in which each point goes to its ray.

    All points of a call, over all points axes, are one set. Losses should be of one scale: distances between them are
    Euclidean. Heads keep their own gradients. State: the remaining steps of phase one, by point; a call without a state
    has no phase one.
    """

    phase_one: float = 0.1

    joint: ClassVar[bool] = True
    stateful: ClassVar[bool] = True
    from_ideal: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"
    preference_means: ClassVar[str] = "where it starts"

    def __post_init__(self):
        check_share(self.phase_one)

    @property
    def nonnegative(self) -> bool:
        """True: a ray starts at 0."""
        return True

    def init(self, sweep: Sweep) -> Int[Tensor, "*points"]:
        """Return each point's number of steps in phase one."""
        return steps_of_phase_one(self.phase_one, sweep)

    def update(
        self,
        state: Any,
        losses: Float[Tensor, "*points m"],
        jacobian: Float[Tensor, "*points m n"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points n"], Any, Status]:
        """Return the directions, the state with one step of phase one less, and "solved"."""
        l = subtract_ideal("MOOSVGD", losses, None)
        direction = _svgd_direction(l, jacobian, MGDA().update(None, l, gramian_of(jacobian), preference)[0])
        if state is None:
            return direction, None, solved_status(losses)
        worst = Tchebycheff().update(None, losses, preference)[0].to(jacobian)
        to_ray = torch.einsum("...m,...mn->...n", worst, jacobian)
        early = (state > 0)[..., None].to(jacobian.device)
        return torch.where(early, to_ray, direction), (state - 1).clamp(min=0), solved_status(losses)


def _svgd_direction(
    losses: Float[Tensor, "*points m"], jacobian: Float[Tensor, "*points m n"], weights: Float[Tensor, "*points m"]
) -> Float[Tensor, "*points n"]:
    """Return d for given weights of the min-norm points."""
    m = losses.shape[-1]
    l, w, rows = losses.reshape(-1, m), weights.to(losses).reshape(-1, m), jacobian.reshape(-1, *jacobian.shape[-2:])
    n = len(l)
    between = l[:, None] - l[None]
    squares = between.square().sum(dim=-1)
    h = squares.flatten().quantile(0.5) / math.log(max(n, 2))
    k = torch.exp(-squares / h) if h > 0 else torch.ones_like(squares)  # all alike, or nearly
    repelled = -2 / h * torch.einsum("ij,ijm->im", k, between) if h > 0 else torch.zeros_like(l)
    # sum_j k_ij w_j' J_j, and what drives point i apart, on its own gradients
    down = torch.einsum("ij,jn->in", k.to(rows), torch.einsum("jm,jmn->jn", w.to(rows), rows))
    away = torch.einsum("im,imn->in", repelled.to(rows), rows)
    return ((down + away) / n).reshape(*jacobian.shape[:-2], -1)

"""EMTL: tasks of equal relative contribution (Yuan and Zhang, "Equitable Multi-task Learning", arXiv 2023).

The paper's measure of a task's relative contribution to the update of the shared parameters is its loss over the norm
of its gradient; it adds the variance of these ratios over the tasks as a penalty. Its closed form is not public. Here
is one reading of it: with w_i g_i the gradient of task i in the update, the weights of the least variance of the ratios

    l_i / |w_i g_i|,      which is 0 where      w_i = m (l_i / |g_i|) / sum_j (l_j / |g_j|).

So every task pulls in proportion to its loss. The preference is this library's: it multiplies the weights by m r_i. The
direction of two objectives then vanishes where their gradients are opposed and r_1 l_1 = r_2 l_2: the front's point
on the preference's ray.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Confidence, Status, Weighting
from paretomtl_solvers.losses import factors_of, read_losses
from paretomtl_solvers.tracking import gradient_norms, scale_to_sum, status_where


@dataclass(frozen=True)
class EMTL(Weighting):
    """Weights that give every gradient a norm in proportion to its loss.

    The weights (*points, m) sum to m at the even preference. A loss whose gradient vanishes has weight 0. `Status`:
    "stationary" where all r_i w_i g_i vanish; the residual is 0.

    Raises:
        ValueError: a loss is negative, or losses or Gramian are not finite.
    """

    confidence: ClassVar[Confidence] = "interpretation"
    preference_means: ClassVar[str] = "r_i l_i equal, of two objectives"

    @property
    def nonnegative(self) -> bool:
        """True: the losses are the norms that the gradients get."""
        return True

    def update(
        self,
        state: Any,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and the status."""
        norms = gradient_norms("EMTL", gramian)
        values = read_losses("EMTL", losses, "nonnegative")
        ratios = torch.where(norms > 0, values / norms.where(norms > 0, 1), 0)
        weights = factors_of(preference, values) * scale_to_sum(ratios)
        return weights, state, status_where((weights * norms == 0).all(dim=-1))

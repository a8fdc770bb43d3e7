"""GradNorm: loss weights that even out the gradients' norms (Chen et al., ICML 2018).

With G_i = w_i |g_i| and the relative progress rho_i = (l_i / l_i(0)) / mean_j (l_j / l_j(0)), the weights descend

    sum_i |G_i - target_i|,      target_i = mean_j(G_j) rho_i^alpha, held constant

by a step of their own; then they are held at 1e-3 or above and scaled to sum to m. So a loss that lags behind gets a
larger gradient. A step of training has the weights from before their step.

The paper takes the norms on the last layer that the tasks share, to save passes; here they are those on all shared
parameters, by the diagonal of the Gramian. The paper asks for "a gradient" step; public implementations take Adam, and
so do we, with the slopes divided by the gradients' mean norm, so that their common scale has no say.

The preference is this library's: rho compares r_i l_i / l_i(0). Then two objectives are at rest where their gradients
cancel and r_1 l_1 / l_1(0) = r_2 l_2 / l_2(0). At alpha = 0 the preference has no say, and on a concave front the
weights must be faster than the losses to get there.

FedGradNorm (Mortaheb et al., arXiv 2203.13663, 2022) is the same at a server, with gradients and losses gathered from
clients, one a task: give `update` the gathered losses and the Gramian of the gathered gradients. Its gamma is alpha.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Confidence, Status, Sweep, Weighting
from paretomtl_solvers import adam
from paretomtl_solvers.adam import Adam
from paretomtl_solvers.losses import factors_of, read_losses
from paretomtl_solvers.tracking import gradient_norms, status_where

FLOOR = 1e-3


class Balance(NamedTuple):
    """State: the weights with Adam's moments, and the losses of the first step, None before it."""

    weights: Adam
    first: Float[Tensor, "*points m"] | None


@dataclass(frozen=True)
class GradNorm(Weighting):
    """Learned loss weights that give a loss the more gradient the further it lags behind.

    Args:
        alpha: the strength that pulls the losses to a common rate of progress, at least 0; with 0 the weighted
            gradients get equal norms.
        learning_rate: the step of the weights, positive; they are about 1.

    The weights (*points, m) sum to m. `Status`: "stationary" where all gradients vanish; the residual is 0.

    Raises:
        ValueError: a loss is negative, one of the first step is 0, or losses or Gramian are not finite.
    """

    alpha: float = 1.5
    learning_rate: float = 0.025

    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"
    needs: ClassVar[str] = "positive losses"
    preference_means: ClassVar[str] = "r_i l_i / l_i(0) equal"

    def __post_init__(self):
        if not 0 <= self.alpha < float("inf"):
            raise ValueError(f"alpha={self.alpha!r}: give a number of at least 0")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate={self.learning_rate!r}: give a positive number")

    @property
    def nonnegative(self) -> bool:
        """True: progress is a ratio of losses."""
        return True

    def init(self, sweep: Sweep) -> Balance:
        """Return weights of 1."""
        return _start((*sweep.points.shape, sweep.preferences.shape[-1]))

    def update(
        self,
        state: Balance | None,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Balance, Status]:
        """Return the weights, the state after the weights' own step, and the status."""
        norms = gradient_norms("GradNorm", gramian)
        state = _start(losses.shape) if state is None else state
        values = read_losses("GradNorm", losses, "positive" if state.first is None else "nonnegative")
        first = values if state.first is None else state.first.to(values.device)
        own = Adam(*(part.to(values.device) for part in state.weights))
        mean = norms.mean(dim=-1, keepdim=True)
        progress = factors_of(preference, values) * values / first
        slopes = slopes_of(own.values, norms / mean.where(mean > 0, 1), progress, self.alpha)
        after = adam.step(own, slopes, self.learning_rate)
        w = after.values.clamp(min=FLOOR)
        after = after._replace(values=w.shape[-1] * w / w.sum(dim=-1, keepdim=True))
        return own.values, Balance(after, first), status_where((norms == 0).all(dim=-1))


def slopes_of(
    weights: Float[Tensor, "*points m"],
    norms: Float[Tensor, "*points m"],
    progress: Float[Tensor, "*points m"],
    alpha: float,
) -> Float[Tensor, "*points m"]:
    """Return the derivatives of sum_i |G_i - target_i| by the weights; `progress` is m r_i l_i / l_i(0)."""
    mean = progress.mean(dim=-1, keepdim=True)
    rho = torch.where(mean > 0, progress / mean.where(mean > 0, 1), 1)
    G = weights * norms
    return (G - G.mean(dim=-1, keepdim=True) * rho**alpha).sign() * norms


def _start(shape: tuple[int, ...]) -> Balance:
    return Balance(adam.start(torch.ones(shape, dtype=torch.float64)), None)

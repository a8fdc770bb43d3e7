"""ExcessMTL: robust multi-task learning with excess risks (He et al., ICML 2024).

A task's excess risk is how far its loss is above the least that it could be. It is estimated from gradients, with the
root of the sum of their squares over all steps for the diagonal of the Hessian, as Adagrad has it:

    E_i = sum_k g_ik^2 / sqrt(s_ik),      s_i the sum of g_i o g_i so far,

and the task with the largest, relative to its first, gets more weight at every step after the first:

    w_i  <-  m w_i exp(eta E_i / E_i(first)) / sum_j w_j exp(eta E_j / E_j(first)),      from w = 1.

So large losses that cannot fall, as those of noisy labels, do not draw the weight. The preference is this library's:
it multiplies excess risks and weights by m r_i, so that the method plays for the least max_i r_i E_i.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.solver import Aggregation, Confidence, Status, Sweep
from paretomtl_solvers.losses import factors_of
from paretomtl_solvers.tracking import check_jacobian, status_where


class Risks(NamedTuple):
    """State: sums of squared gradients, the logarithms of w / m, and each task's first excess risk above 0, else 0.

    All are None before the first step.
    """

    squares: Float[Tensor, "*points m n"] | None
    logarithms: Float[Tensor, "*points m"] | None
    first: Float[Tensor, "*points m"] | None


@dataclass(frozen=True)
class ExcessMTL(Aggregation):
    """The weighted sum of the losses that leans to the tasks with the largest excess risk.

    Args:
        eta: the weights' step size, positive and dimensionless.

    The direction (*points, n) is sum_i m r_i w_i g_i; the weights w sum to m. The released code adds 1e-7 to the sums
    of squares; here an entry that was always 0 counts as 0. `Status`: "stationary" where all r_i g_i vanish; the
    residual is 0.

    Raises:
        ValueError: a gradient is not finite.
    """

    eta: float = 0.01

    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"
    cost: ClassVar[str] = "m backward passes, memory 2 m n"

    def __post_init__(self):
        if not 0 < self.eta < float("inf"):
            raise ValueError(f"eta={self.eta!r}: give a positive number")

    def init(self, sweep: Sweep) -> Risks:
        """Return nothing seen yet."""
        del sweep
        return Risks(None, None, None)

    def update(
        self,
        state: Risks | None,
        losses: Float[Tensor, "*points m"],
        jacobian: Float[Tensor, "*points m n"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points n"], Risks, Status]:
        """Return the direction, the state with this step's risks, and the status."""
        check_jacobian("ExcessMTL", jacobian)
        g, shares = jacobian.detach(), factors_of(preference, losses.double())
        state = Risks(None, None, None) if state is None else state
        fresh = g.square()
        squares = fresh if state.squares is None else state.squares + fresh
        excess = estimate_excess(fresh, squares)
        if state.logarithms is None or state.first is None:
            first, logarithms = excess, torch.zeros_like(excess).log_softmax(dim=-1)
        else:
            first = torch.where(state.first > 0, state.first, excess)
            relative = excess / first.where(first > 0, 1)
            logarithms = (state.logarithms + self.eta * shares * relative).log_softmax(dim=-1)
        weights = shares * shares.shape[-1] * logarithms.exp()
        direction = (weights.to(g)[..., None] * g).sum(dim=-2)
        return direction, Risks(squares, logarithms, first), status_where(~(g.any(dim=-1) & (shares > 0)).any(dim=-1))


def estimate_excess(
    fresh: Float[Tensor, "*points m n"], squares: Float[Tensor, "*points m n"]
) -> Float[Tensor, "*points m"]:
    """Return sum_k g_k^2 / sqrt(s_k) of each task, in float64; 0 where s_k is 0. `fresh` is g^2, a part of s."""
    least = torch.finfo(squares.dtype).tiny
    return (fresh * squares.clamp(min=least).rsqrt()).sum(dim=-1).double()

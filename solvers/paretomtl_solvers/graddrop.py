"""GradDrop: gradient sign dropout (Chen et al., "Just Pick a Sign", NeurIPS 2020).

Of every parameter's gradients one sign is drawn, and those of the other sign are dropped. With m losses,

    P = (1 + sum_i g_i / sum_i |g_i|) / 2      the positive gradients' part of all; 1/2 where all vanish
    d = sum_i [P > U and g_i > 0, or P < U and g_i < 0] g_i,      U uniform on [0, 1]

entry by entry. The expectation of d is sum_i g_i: the method is the sum of the losses with a noise that vanishes where
the gradients agree on all signs. So it comes to rest where all losses do, and elsewhere on the front only as the
learning rate goes to 0.

This is the form for shared parameters. The paper's experiments mask the gradients at a representation z, with the sign
of z times the gradient, summed over the batch. The preference is this library's: m r_i g_i stands for g_i.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.solver import Aggregation, Confidence, Status, Sweep
from paretomtl_solvers.draws import first_draws, next_generators
from paretomtl_solvers.losses import factors_of
from paretomtl_solvers.tracking import check_jacobian, status_where


class Signs(NamedTuple):
    """State: the seed of each point's draws, and their number so far."""

    draws: Int[Tensor, "*points 2"]


@dataclass(frozen=True)
class GradDrop(Aggregation):
    """The sum of the gradients that have a sign drawn for each parameter.

    Args:
        leak: the share of a gradient that is never dropped, from 0 to 1; one number, or one a loss. With 1 the
            direction is the plain sum.

    The direction (*points, n) is in the scale of the sum of the losses; the preference multiplies the gradients by
    m r_i. A draw takes one number a parameter. `Status`: "stationary" where all r_i g_i vanish; the residual is 0.

    Raises:
        ValueError: there is no state to draw from, a gradient is not finite, or leak has not one number a loss.
    """

    leak: float | tuple[float, ...] = 0.0

    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"

    def __post_init__(self):
        if not all(0 <= part <= 1 for part in (self.leak if isinstance(self.leak, tuple) else (self.leak,))):
            raise ValueError(f"leak={self.leak!r}: give a number from 0 to 1, or one a loss")

    def init(self, sweep: Sweep) -> Signs:
        """Return each point's seed and no draws."""
        return Signs(first_draws(sweep))

    def update(
        self,
        state: Signs | None,
        losses: Float[Tensor, "*points m"],
        jacobian: Float[Tensor, "*points m n"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points n"], Signs, Status]:
        """Return the direction, the state with one draw more and the status."""
        if state is None:
            raise ValueError("GradDrop draws signs: call init(sweep) first, or use explore")
        check_jacobian("GradDrop", jacobian)
        generators, draws = next_generators(state.draws)
        n, dtype = jacobian.shape[-1], torch.promote_types(jacobian.dtype, torch.float32)
        uniform = torch.stack([torch.rand(n, generator=g, dtype=dtype) for g in generators])
        uniform = uniform.reshape(*jacobian.shape[:-2], n).to(jacobian.device)
        terms = factors_of(preference, losses.double()).to(jacobian)[..., None] * jacobian
        direction = pick_signs(terms, uniform, self._leak(jacobian))
        return direction, Signs(draws), status_where(~terms.flatten(-2).any(dim=-1))

    def _leak(self, jacobian: Tensor) -> Tensor:
        leak, m = jacobian.new_tensor(self.leak), jacobian.shape[-2]
        if leak.ndim and len(leak) != m:
            raise ValueError(f"GradDrop: leak={self.leak} has not one number a loss; there are {m}")
        return leak.expand(m)[:, None]


def pick_signs(
    terms: Float[Tensor, "*points m n"], uniform: Float[Tensor, "*points n"], leak: Float[Tensor, "m 1"]
) -> Float[Tensor, "*points n"]:
    """Return the sum of the terms of the sign that these numbers from 0 to 1 draw, and of what leaks of the others."""
    up, down = sum_by_sign(terms)
    positive = positive_purity(up, down)
    if leak.any():
        up, down = sum_by_sign((1 - leak) * terms)
    direction = torch.where(positive > uniform, up, torch.where(positive < uniform, down, 0))
    return direction + (leak * terms).sum(dim=-2) if leak.any() else direction


def sum_by_sign(
    terms: Float[Tensor, "*points m n"],
) -> tuple[Float[Tensor, "*points n"], Float[Tensor, "*points n"]]:
    """Return the sum of each parameter's positive terms, and that of its negative ones."""
    return terms.clamp(min=0).sum(dim=-2), terms.clamp(max=0).sum(dim=-2)


def positive_purity(up: Float[Tensor, "*points n"], down: Float[Tensor, "*points n"]) -> Float[Tensor, "*points n"]:
    """Return P, the probability of the positive sign for each parameter."""
    size = up - down
    return torch.where(size > 0, up / size, 0.5)

"""RLW: random loss weighting, new weights of the losses at every step (Lin et al., TMLR 2022).

The weights are softmax(x), x ~ N(0, I), or a draw from the simplex, Dirichlet(1, …, 1); in both their mean is 1/m. The
authors' library takes a softmax of the Dirichlet's draw, too, which brings the weights near 1/m; here it is the weights
themselves. The preference is ours; it multiplies the weights by m r_i.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.solver import Confidence, Scalarization, Status, Sweep, solved_status
from paretomtl_solvers.draws import LARGEST, first_draws, next_generators
from paretomtl_solvers.losses import factors_of, read_losses

Kind = Literal["normal", "dirichlet"]


@dataclass(frozen=True)
class RLW(Scalarization):
    """Random weights, drawn anew at each step; on average they are the preference.

    Args:
        kind: the draw: "normal", the softmax of standard normal numbers, or "dirichlet", even on the simplex.

    The weights (*points, m) are m r_i w_i, w on the simplex. At the even preference the method is as published. With a
    constant learning rate a point does not come to rest: let the rate go to 0. A call outside a study draws by torch's
    global generator.

    Raises:
        ValueError: a loss is not finite.
    """

    kind: Kind = "normal"

    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"

    def __post_init__(self):
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind={self.kind!r} is not one of {', '.join(get_args(Kind))}")

    def init(self, sweep: Sweep) -> Int[Tensor, "*points 2"]:
        """Return each point's seed and the number of its draws."""
        return first_draws(sweep)

    def update(
        self,
        state: Int[Tensor, "*points 2"] | None,
        losses: Float[Tensor, "*points m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Int[Tensor, "*points 2"], Status]:
        """Return the weights, the state with one more draw, and "solved"."""
        l = read_losses("RLW", losses)
        if state is None:
            seeds = torch.randint(LARGEST, l.shape[:-1])
            state = torch.stack([seeds, torch.zeros_like(seeds)], dim=-1)
        generators, state = next_generators(state)
        draws = torch.stack([self._draw(l.shape[-1], g) for g in generators]).reshape(l.shape).to(l)
        return factors_of(preference, l) * draws, state, solved_status(losses)

    def _draw(self, m: int, generator: torch.Generator) -> Float[Tensor, " m"]:
        if self.kind == "normal":
            return torch.randn(m, generator=generator, dtype=torch.float64).softmax(dim=0)
        parts = torch.empty(m, dtype=torch.float64).exponential_(generator=generator)
        return parts / parts.sum()

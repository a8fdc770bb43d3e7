"""MARIGOLD: gradients balanced without a gradient of each loss (Chen et al., arXiv 2603.07389, 2026).

Weights w of the simplex are learned along with the model: below, the model descends the weighted sum d = J'w; above,
w descends |J'w|^2 / 2, whose gradient is C w, C = J J'. C w takes no Gramian, as it is the losses' slope along d:

    C w ~ [L(theta) - L(theta - mu d / |d|)] |d| / mu,        w <- Proj(w - b C w / s),

with Proj onto the simplex: one backward pass for d, and passes forward for the rest. Where w stops, d is the min-norm
point of the gradients' hull, as with MGDA.

Derived from the abstract, which names the two levels and the zeroth-order trick. Ours: mu is a length, whatever |d|,
and the look is downhill, within the model's bounds, where a step leads; what the bounds undo is no slope. And b is
measured in 1 / s, s = |C w| / |w|, the largest of late, a lower bound of the largest eigenvalue of C. So a common scale
of the losses changes nothing.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Closure, Confidence, Status, Stepper, Sweep, solved_status

FADING = 0.99  # of the largest slope so far, a step
ROUNDING = 2  # units in the last place of a loss: below, its fall is rounding
VANISHED = 1e-7  # a direction's norm beside the steepest slope along it: below, it is zero


class Balance(NamedTuple):
    """The weights of the losses, and s, the scale of their step."""

    weights: Float[Tensor, " m"]
    scale: Float[Tensor, ""]


@dataclass(frozen=True)
class MARIGOLD(Stepper):
    """The weighted sum of the losses, its weights learned towards the min-norm point without a Gramian.

    Args:
        mu: the distance at which the losses are asked for once more, in the parameters' unit.
        rate: b, the rate of the weights' step, of order 1 at most.

    The direction (n,) is that of the weights (m,) on the simplex, for heads as well. It starts from equal weights and
    ignores the preference. `Status`: "stationary" where the direction vanishes; the residual is 0.

    Raises:
        ValueError: the losses at the distance mu are not finite.
    """

    mu: float = 1e-3
    rate: float = 0.1

    uses_preference: ClassVar[bool] = False
    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"
    cost: ClassVar[str] = "1 backward pass, 3 passes forward"
    head_gradient: ClassVar[str] = "weighted"

    def __post_init__(self):
        for name in ("mu", "rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)!r}: give a positive number")

    def init(self, sweep: Sweep) -> Balance:
        """Return equal weights."""
        return _start(sweep.preferences.shape[-1])

    def update(
        self, state: Any, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """Return the direction of the weights, the stepped weights and the status."""
        w, scale = _start(len(preference)) if state is None else state
        here = closure.parameters
        direction = closure.gradient(w, here)
        slopes, length = self.slopes(closure, direction), direction.double().norm().cpu()
        status = solved_status(slopes)
        if length <= VANISHED * slopes.abs().max():
            return direction, Balance(w, scale), Status(status.code + Code.STATIONARY, status.residual)
        turned = length * slopes
        if not turned.any():  # the losses are flat beside their rounding: they say nothing of the weights
            return direction, Balance(w, scale), status
        scale = torch.maximum(FADING * scale, turned.norm() / w.norm())
        return direction, Balance(project(w - self.rate * turned / scale), scale), status

    def slopes(self, closure: Closure, direction: Float[Tensor, " n"]) -> Float[Tensor, " m"]:
        """Return each loss's slope along the direction, to O(mu): |d| times them is C w where d = J'w."""
        length = direction.norm()
        ahead = closure.within(closure.parameters - self.mu * direction / length.where(length > 0, 1))
        losses, there = closure(), closure(ahead)
        falls = (losses - there).double().cpu()
        if not falls.isfinite().all():
            raise ValueError(f"MARIGOLD: the losses at the distance mu={self.mu} are not finite; give a smaller mu")
        rounding = ROUNDING * torch.finfo(losses.dtype).eps * losses.abs().double().cpu()
        return torch.where(falls.abs() > rounding, falls, 0) / self.mu


def project(point: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Return the nearest point of the simplex."""
    high = point.sort(descending=True).values
    excess = (high.cumsum(0) - 1) / torch.arange(1, len(point) + 1, dtype=point.dtype)
    return (point - excess[high > excess][-1]).clamp(min=0)


def _start(m: int) -> Balance:
    return Balance(torch.full((m,), 1 / m, dtype=torch.float64), torch.zeros((), dtype=torch.float64))

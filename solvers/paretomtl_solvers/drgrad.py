"""DRGrad: the surgery of direct routing gradients on the kernels of heads (Liu et al., AAAI 2025).

With h_i the gradient of loss i at its head's first kernel, and u_i = h_i / |h_i|, the kernel's direction is

    h_i + sum_{j != i} c_ij (1 - [q_ij <= 0] q_ij) h_j,    q_ij = u_i . u_j,
    c_ij = the sum of u_i's entries over that of u_j's, within [.1, 5]

This is an interpretation: an option for recommender models, not the paper's method as a whole. The sum of one other
head is what the authors' released code computes, which differs from the paper's text in places. Its gates and experts
belong to the model. The sum over several other heads, and the preference, are this library's. The rule is one for
gradients: added to the kernels themselves, h_j would let them grow without bound.

No bound holds the other heads' part back, and a conflict (q < 0) makes it larger: a step can raise a loss, and does
where |h_j| is far above |h_i|. The ratio is one of sums of signed entries: below 0 it counts as .1.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Closure, Confidence, Status, Stepper, status_of
from paretomtl_solvers.representations import check_heads, locate_kernels

LEAST, MOST = 0.1, 5.0  # of the ratio c_ij


@dataclass(frozen=True)
class DRGrad(Stepper):
    """The sum of the losses' gradients, with the other heads' gradients added at each head's first kernel.

    Args:
        heads: for each loss, in order, the name of the linear module that begins its head, such as ("left", "right");
            their weights have one shape.

    The direction (n,) is m sum_i r_i g_i on shared parameters, the sum of the gradients at an even preference; the
    kernels' own as above; and each head's plain gradient on its other parameters. `Status`: "stationary" where all
    gradients vanish; the residual is 0.

    Raises:
        ValueError: there is not one head a loss, the kernels differ in shape, or a kernel is not that of its loss
            alone; or a gradient is not finite.
    """

    heads: tuple[str, ...]

    confidence: ClassVar[Confidence] = "interpretation"
    cost: ClassVar[str] = "m backward passes, memory m n"

    def __post_init__(self):
        check_heads(self.heads)

    def update(
        self, state: Any, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """Return the direction, the unchanged state and the status."""
        losses, jacobian, shared = closure.gradients()
        if not jacobian.isfinite().all():
            raise ValueError("DRGrad: a gradient is not finite")
        m = len(losses)
        places = self._places(closure, jacobian)
        r = preference.to(jacobian)
        direction = torch.where(shared, m * r @ jacobian, jacobian.sum(dim=0))
        kernels = torch.stack([jacobian[i, place] for i, place in enumerate(places)])
        for place, kernel in zip(places, _route(kernels), strict=True):
            direction[place] = kernel
        return direction, state, status_of(Code.SOLVED if jacobian.any() else Code.STATIONARY)

    def _places(self, closure: Closure, jacobian: Float[Tensor, "m n"]) -> list[slice]:
        kernels = locate_kernels(closure, self.heads, len(jacobian))
        shapes = {name: tuple(kernel.shape) for name, kernel in zip(self.heads, kernels, strict=True)}
        if len(set(shapes.values())) > 1:
            raise ValueError(
                f"heads={self.heads}: their weights have the shapes {shapes}; DRGrad adds one head's gradient to "
                "another's, so give the heads first layers of one shape, or use PCGrad or GradVac"
            )
        for i, (name, kernel) in enumerate(zip(self.heads, kernels, strict=True)):
            others = [j for j, row in enumerate(jacobian[:, kernel.at]) if j != i and row.any()]
            if others:
                raise ValueError(
                    f"heads={self.heads}: loss {others[0]} depends on {name!r}, the head of loss {i}; name the module "
                    "that begins each loss's own head, in the losses' order"
                )
        return [kernel.at for kernel in kernels]


def _route(kernels: Float[Tensor, "m k"]) -> Float[Tensor, "m k"]:
    """Add to each kernel's gradient those of the others."""
    norms = kernels.norm(dim=1, keepdim=True)
    units = kernels / norms.where(norms > 0, 1)
    sums = units.sum(dim=1)
    sums = sums.where(sums.abs() > torch.finfo(sums.dtype).eps * kernels.shape[1], 0)  # below, it is rounding
    ratios = sums[:, None] / sums.where(sums != 0, torch.inf)
    cosines = units @ units.T
    shares = ratios.clamp(LEAST, MOST) * (1 + (-cosines).clamp(0, 1))
    return kernels + shares.fill_diagonal_(0) @ kernels

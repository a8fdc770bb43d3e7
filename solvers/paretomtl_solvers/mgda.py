"""MGDA: multiple-gradient descent (Désidéri, Comptes Rendus Mathématique 350, 2012; for networks, Sener and Koltun,
NeurIPS 2018).

The direction is the min-norm point of the convex hull of the gradients: a descent direction for all objectives, and
zero exactly where the point is Pareto-stationary. MGDA ignores the preference, and ends on some point of the front.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Confidence, Status, Sweep, Weighting
from paretomtl_solvers import qp

NORMALISATIONS = ("none", "l2", "loss", "loss+")


@dataclass(frozen=True)
class MGDA(Weighting):
    """The min-norm point of the gradients' hull.

    Args:
        normalisation: the divisor of each gradient: 1 ("none"), its norm ("l2"), its loss ("loss"), or both ("loss+");
            the last two need positive losses.
        backend: "auto" is the closed form at m = 2 and non-negative least squares above; "cvxpy" forces cvxpy.

    The weights (*points, m) apply to the raw gradients: they are the normalised gradients' weights, on the simplex,
    over the divisors. `Status`: "stationary" where the direction vanishes; "fell back" where the first solver's answer
    failed the check and the other solver's stands in; the residual is 0.

    Raises:
        ValueError: losses or Gramian are not finite, or a loss to divide by is not positive.
    """

    normalisation: Literal["none", "l2", "loss", "loss+"] = "none"
    backend: qp.Backend = "auto"

    uses_preference: ClassVar[bool] = False
    confidence: ClassVar[Confidence] = "released code"
    needs: ClassVar[str] = 'positive losses, with normalisation="loss" or "loss+"'

    def __post_init__(self):
        if self.normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation={self.normalisation!r} is not one of {', '.join(NORMALISATIONS)}")
        qp.check_backend(self.backend)

    def init(self, sweep: Sweep) -> None:
        """Check that cvxpy finds a solver, if it is forced; there is no state."""
        if self.backend == "cvxpy":
            qp.check_installed()

    def update(
        self,
        state: Any,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights, the unchanged state and the status."""
        l, C = losses.detach().cpu().double().numpy(), gramian.detach().cpu().double().numpy()
        qp.check_finite_gramian("MGDA", losses=l, Gramian=C)
        sizes = self._sizes(l, C)
        scaled = C / (sizes[..., :, None] * sizes[..., None, :])
        weights, code = qp.min_norm(scaled, self.backend)
        code = np.where(qp.vanishes(weights, scaled), Code.STATIONARY, code)
        status = Status(torch.as_tensor(code), torch.zeros(code.shape, dtype=torch.float64))
        return torch.from_numpy(weights / sizes).to(losses.device), state, status

    def _sizes(self, l: np.ndarray, C: np.ndarray) -> np.ndarray:
        """Return each gradient's divisor; 1 in place of the norm of a gradient that vanishes."""
        sizes = np.ones_like(l)
        if self.normalisation in ("loss", "loss+"):
            if not (l > 0).all():
                raise ValueError(f"MGDA: {self.normalisation!r} needs positive losses and got {l.tolist()}")
            sizes = sizes * l
        if self.normalisation in ("l2", "loss+"):
            norms = np.sqrt(np.diagonal(C, axis1=-2, axis2=-1).clip(0))  # rounding may make a square negative
            sizes = sizes * np.where(norms > 0, norms, 1)
        return sizes

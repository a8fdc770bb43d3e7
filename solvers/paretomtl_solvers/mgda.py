"""MGDA: multiple-gradient descent (Désidéri, Comptes Rendus Mathématique 350, 2012; for networks, Sener and Koltun,
NeurIPS 2018).

The direction is the min-norm point of the convex hull of the gradients: a descent direction for all objectives, and
zero exactly where the point is Pareto-stationary. MGDA ignores the preference, and ends on some point of the front.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Confidence, Status, Sweep, Weighting
from paretomtl_solvers import qp

NORMALISATIONS = ("none", "l2", "loss", "loss+")
Normaliser = Literal["none", "l2", "loss", "loss+"]


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

    normalisation: Normaliser = "none"
    backend: qp.Backend = "auto"

    uses_preference: ClassVar[bool] = False
    confidence: ClassVar[Confidence] = "released code"
    needs: ClassVar[str] = 'positive losses, with normalisation="loss" or "loss+"'

    def __post_init__(self):
        check_normalisation(self.normalisation)
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
        weights, code = weigh("MGDA", losses, gramian, self.normalisation, self.backend)
        status = Status(torch.as_tensor(code), torch.zeros(code.shape, dtype=torch.float64))
        return weights, state, status


def weigh(
    method: str,
    losses: Float[Tensor, "*points m"],
    gramian: Float[Tensor, "*points m m"],
    normalisation: str,
    backend: qp.Backend,
) -> tuple[Float[Tensor, "*points m"], Int[np.ndarray, "*points"]]:
    """Return the weights of the raw gradients and a `Code` a point; `method` is the name for messages."""
    l, C = losses.detach().cpu().double().numpy(), gramian.detach().cpu().double().numpy()
    qp.check_finite_gramian(method, losses=l, Gramian=C)
    sizes = _sizes(method, l, C, normalisation)
    scaled = C / (sizes[..., :, None] * sizes[..., None, :])
    weights, code = qp.min_norm(scaled, backend)
    code = np.where(qp.vanishes(weights, scaled), Code.STATIONARY, code)
    return torch.from_numpy(weights / sizes).to(losses.device), code


def check_normalisation(normalisation: str) -> None:
    """Raise unless it is one of `NORMALISATIONS`."""
    if normalisation not in NORMALISATIONS:
        raise ValueError(f"normalisation={normalisation!r} is not one of {', '.join(NORMALISATIONS)}")


def _sizes(method: str, l: np.ndarray, C: np.ndarray, normalisation: str) -> np.ndarray:
    """Return each gradient's divisor; 1 in place of the norm of a gradient that vanishes."""
    sizes = np.ones_like(l)
    if normalisation in ("loss", "loss+"):
        if not (l > 0).all():
            raise ValueError(f"{method}: {normalisation!r} needs positive losses and got {l.tolist()}")
        sizes = sizes * l
    if normalisation in ("l2", "loss+"):
        norms = np.sqrt(np.diagonal(C, axis1=-2, axis2=-1).clip(0))  # rounding may make a square negative
        sizes = sizes * np.where(norms > 0, norms, 1)
    return sizes

"""Continuous Pareto exploration: along the front from a solution (Ma, Du and Matusik, ICML 2020).

Where a model is on the front, some weights a of the simplex make sum_i a_i g_i = 0. Followed along the front that says
(sum_i a_i H_i) x' = -sum_i a_i' g_i, with H the losses' Hessians, so that its tangents are the v of

    (sum_i a_i H_i + damping I) v = sum_i r_i g_i

one for each preference r. For r = e_i loss i falls along it, at the price of the others. MINRES solves the system by
Hessian-vector products alone.

As released, the steps add up to a path beside the front. Here `finish` leads back to the front, down the gradients'
min-norm point, which lowers all losses. The sign of v and the treatment of bounds are this library's, too.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from paretomtl.autograd.bounds import held_at_bounds
from paretomtl.autograd.jacobian import gramian_of
from paretomtl.point import Code
from paretomtl.solver import Closure, Confidence, Status, Walker, status_of
from paretomtl_solvers import qp

ARMIJO, HALVINGS = 1e-4, 40


@dataclass(frozen=True)
class ContinuousPareto(Walker):
    """A walk along the front, towards a preference.

    Args:
        damping: the number added to the Hessian's diagonal, in its units. A larger one brings the step closer to a
            plain gradient step, which may lead farther from the front.
        tolerance: the largest residual of MINRES, relative to the norms of matrix and solution.
        products: the largest number of Hessian-vector products in a step.
        stationary: the largest norm of the gradients' weighted sum, relative to their weighted lengths, at which a
            model is on the front; or, where a gradient vanishes, that number squared, relative to the longest.
        corrections: the largest number of `finish`'s steps back to the front; 0 leaves the model beside it.

    The direction (n,) is v on all trained parameters, with the sign that lowers the preferred losses, and 0 on
    parameters that are held at bounds. `Status` of a step: "relaxed" where MINRES has not converged after all its
    products, "stationary" where the preferred gradients vanish; the residual is the system's, relative to its
    right-hand side. `Status` of `finish`: "stationary" or "not converged"; the residual is the number that `stationary`
    bounds.

    Raises:
        ValueError: a gradient is not finite.
    """

    damping: float = 0.1
    tolerance: float = 1e-5
    products: int = 50
    stationary: float = 1e-2
    corrections: int = 20

    confidence: ClassVar[Confidence] = "released code"
    preference_means: ClassVar[str] = "what is to fall"
    cost: ClassVar[str] = "m backward passes, memory m n, and up to 50 Hessian-vector products"
    head_gradient: ClassVar[str] = "as shared"
    needs: ClassVar[str] = "losses that can be differentiated twice; a trained model, for `pm.walk`"

    def __post_init__(self):
        if not 0 <= self.damping < float("inf"):
            raise ValueError(f"damping={self.damping!r}: give a number of at least 0")
        for name in ("tolerance", "stationary"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)!r}: give a positive number")
        for name, least in (("products", 1), ("corrections", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}={value!r}: give a whole number of at least {least}")

    def update(
        self, state: Any, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """Return the tangent, the unchanged state and the status."""
        place = _Place.of(closure)
        gradient = preference.to(place.jacobian) @ place.jacobian
        size = gradient.norm()
        if size <= qp.VANISHED * place.longest:
            return torch.zeros_like(gradient), state, status_of(Code.STATIONARY, 0.0)
        tangent, residual, converged = self._solve(closure, place, gradient / size)
        direction = tangent if tangent @ gradient >= 0 else -tangent  # of the two, this lowers the preferred losses
        return direction * size, state, status_of(Code.SOLVED if converged else Code.RELAXED, residual)

    def finish(self, closure: Closure, state: Any, preference: Float[Tensor, " m"]) -> Status:
        """Move the model down to the front; no loss rises."""
        del state, preference
        place, step = _Place.of(closure), 1.0
        for _ in range(self.corrections):
            if place.on_front(self.stationary):
                break
            step = _descend(closure, place, 2 * step)
            if step == 0:  # the losses can fall by less than rounding
                break
            place = _Place.of(closure)
        return status_of(Code.STATIONARY if place.on_front(self.stationary) else Code.NOT_CONVERGED, place.residual)

    def weights(self, closure: Closure) -> Float[Tensor, " m"]:
        """Return the weights of the gradients' min-norm point."""
        return _Place.of(closure).weights

    def _solve(
        self, closure: Closure, place: "_Place", target: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, " n"], float, bool]:
        """Solve the system for a right-hand side of norm 1.

        Returns:
            The solution, its residual, and whether MINRES converged.
        """
        from scipy.sparse.linalg import LinearOperator, minres

        def product(vector: np.ndarray) -> np.ndarray:
            v = target.new_tensor(vector) * place.free
            turned = closure.hessian_product(place.weights, v) * place.free + self.damping * v
            return turned.double().cpu().numpy()

        n, right = len(target), target.double().cpu().numpy()
        system = LinearOperator((n, n), matvec=product, dtype=np.float64)  # pyright: ignore[reportCallIssue]
        solution, info = minres(system, right, rtol=self.tolerance, maxiter=self.products)
        return target.new_tensor(solution), float(np.linalg.norm(product(solution) - right)), info == 0


class _Place(NamedTuple):
    """The model's current place: its losses, and the Jacobian and min-norm weights on parameters free of bounds."""

    losses: Float[Tensor, " m"]
    jacobian: Float[Tensor, "m n"]
    free: Bool[Tensor, " n"]
    weights: Float[Tensor, " m"]
    lengths: Float[Tensor, " m"]

    @classmethod
    def of(cls, closure: Closure) -> "_Place":
        losses, jacobian, _ = closure.gradients()
        free = ~held_at_bounds(closure.within, closure.parameters, jacobian)
        jacobian = jacobian * free
        gramian = gramian_of(jacobian).cpu().numpy()
        weights, _ = qp.min_norm(gramian)
        lengths = torch.from_numpy(np.sqrt(gramian.diagonal().clip(0)))
        return cls(losses, jacobian, free, torch.from_numpy(weights).to(losses.device), lengths)

    @property
    def down(self) -> Float[Tensor, " n"]:
        """The min-norm point."""
        return self.weights.to(self.jacobian) @ self.jacobian

    @property
    def longest(self) -> float:
        """The length of the longest gradient."""
        return float(self.lengths.max())

    @property
    def residual(self) -> float:
        """The min-norm point's length over the gradients' weighted lengths: 1 where they agree, 0 on the front."""
        total = float(self.weights.cpu() @ self.lengths)
        return float(self.down.norm()) / total if total > 0 else 0.0

    def on_front(self, share: float) -> bool:
        """Return whether the gradients cancel out to `share`; at a front's ends, to its square beside the longest."""
        return self.residual <= share or float(self.down.norm()) <= share**2 * self.longest


def _descend(closure: Closure, place: _Place, step: float) -> float:
    """Move down as far as all losses fall enough; return the step's length, 0 where no step is short enough."""
    start, down = closure.parameters, place.down
    for _ in range(HALVINGS):
        target = closure.within(start - step * down)
        if (closure(target) <= place.losses - ARMIJO * (down @ (start - target))).all():
            closure.move(target)
            return step
        step /= 2
    return 0.0

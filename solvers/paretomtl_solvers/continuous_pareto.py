"""Continuous Pareto exploration: along the front from a solution (Ma, Du and Matusik, ICML 2020).

Where a model is on the front, some weights a of the simplex make sum_i a_i g_i = 0. Followed along the front that says
(sum_i a_i H_i) x' = -sum_i a_i' g_i, with H the losses' Hessians, so that its tangents are the v of

    (sum_i a_i H_i + damping I) v = sum_i r_i g_i

one for each preference r. For r = e_i loss i falls along it, at the price of the others. MINRES solves the system by
Hessian-vector products alone.

As released, steps add up to a way beside the front. Here `finish` comes back to it: down the gradients' min-norm point,
which lowers all losses. The sign of v, and what holds at bounds, are this library's, too.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from paretomtl.autograd.gradients import gramian_of
from paretomtl.point import Code
from paretomtl.solver import Closure, Status, Walker
from paretomtl_solvers import qp

ARMIJO, HALVINGS = 1e-4, 40


@dataclass(frozen=True)
class ContinuousPareto(Walker):
    """Along the front, towards a preference.

    Args:
        damping: is added to the diagonal of the Hessian, in its units. The larger it is, the more the step is a plain
            gradient's, and the farther it may lead from the front.
        tolerance: of MINRES, whose residual is to be that small beside the norms of matrix and solution.
        products: the most Hessian-vector products of a step.
        stationary: a model is on the front where the gradients cancel out to that share of their weighted lengths, or
            to its square beside the longest, where one of them vanishes.
        corrections: the most steps of `finish` back to the front; 0 leaves the model beside it.

    The direction (n,) is v, of all trained parameters, with the sign by which the preferred losses fall; it is 0 on
    those that bounds hold. `Status` of a step: "relaxed" where MINRES had not converged after all its products,
    "stationary" where the preferred gradients vanish; the residual is that of the system, beside its right-hand side.
    `Status` of `finish`: "stationary" or "not converged"; the residual is the share that `stationary` bounds.

    Raises:
        ValueError: a gradient is not finite.
    """

    damping: float = 0.1
    tolerance: float = 1e-5
    products: int = 50
    stationary: float = 1e-2
    corrections: int = 20

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
        """The tangent, the state as it came, the status."""
        here = _Place.of(closure)
        wanted = preference.to(here.jacobian) @ here.jacobian
        size = wanted.norm()
        if size <= qp.VANISHED * here.longest:
            return torch.zeros_like(wanted), state, _status(Code.STATIONARY, 0.0)
        tangent, residual, converged = self._solved(closure, here, wanted / size)
        ahead = tangent if tangent @ wanted >= 0 else -tangent  # both are tangents; one lowers what is preferred
        return ahead * size, state, _status(Code.SOLVED if converged else Code.RELAXED, residual)

    def finish(self, closure: Closure, state: Any, preference: Float[Tensor, " m"]) -> Status:
        """Move the model down to the front, so that no loss rises."""
        del state, preference
        here, step = _Place.of(closure), 1.0
        for _ in range(self.corrections):
            if here.on_front(self.stationary):
                break
            step = _lower(closure, here, 2 * step)
            if step == 0:  # what is left to fall is below rounding
                break
            here = _Place.of(closure)
        return _status(Code.STATIONARY if here.on_front(self.stationary) else Code.NOT_CONVERGED, here.residual)

    def weights(self, closure: Closure) -> Float[Tensor, " m"]:
        """Those of the gradients' min-norm point."""
        return _Place.of(closure).weights

    def _solved(
        self, closure: Closure, here: "_Place", wanted: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, " n"], float, bool]:
        """The solution of the system for a right-hand side of norm 1, its residual, and whether MINRES converged."""
        from scipy.sparse.linalg import LinearOperator, minres

        def product(vector: np.ndarray) -> np.ndarray:
            v = wanted.new_tensor(vector) * here.free
            turned = closure.hessian_product(here.weights, v) * here.free + self.damping * v
            return turned.double().cpu().numpy()

        n, right = len(wanted), wanted.double().cpu().numpy()
        system = LinearOperator((n, n), matvec=product, dtype=np.float64)  # pyright: ignore[reportCallIssue]
        found, left = minres(system, right, rtol=self.tolerance, maxiter=self.products)
        return wanted.new_tensor(found), float(np.linalg.norm(product(found) - right)), left == 0


class _Place(NamedTuple):
    """Where the model stands: losses, Jacobian and weights of the min-norm point, on what bounds do not hold (free)."""

    losses: Float[Tensor, " m"]
    jacobian: Float[Tensor, "m n"]
    free: Bool[Tensor, " n"]
    weights: Float[Tensor, " m"]
    lengths: Float[Tensor, " m"]

    @classmethod
    def of(cls, closure: Closure) -> "_Place":
        losses, jacobian, _ = closure.gradients()
        here = closure.parameters
        there = here - jacobian
        put = torch.stack([closure.within(row) for row in there])
        back = (put != there) & (put == here)
        # held where bounds undo a step down any gradient that there is
        free = ~(back.any(dim=0) & (back | (jacobian == 0)).all(dim=0))
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
        """What is left of the gradients' weighted lengths: 1 where they agree, 0 where they cancel out."""
        total = float(self.weights.cpu() @ self.lengths)
        return float(self.down.norm()) / total if total > 0 else 0.0

    def on_front(self, share: float) -> bool:
        """Whether they cancel out to a share of that, or to its square beside the longest, at the ends of a front."""
        return self.residual <= share or float(self.down.norm()) <= share**2 * self.longest


def _lower(closure: Closure, here: _Place, step: float) -> float:
    """Move down as far as all losses fall enough; the step's length, 0 where none is short enough."""
    start, down = closure.parameters, here.down
    for _ in range(HALVINGS):
        there = closure.within(start - step * down)
        if (closure(there) <= here.losses - ARMIJO * (down @ (start - there))).all():
            closure.move(there)
            return step
        step /= 2
    return 0.0


def _status(code: Code, residual: float) -> Status:
    return Status(torch.tensor(int(code)), torch.tensor(residual, dtype=torch.float64))

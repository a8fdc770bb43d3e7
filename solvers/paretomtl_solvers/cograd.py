"""CoGrad: gradients coordinated to maximise transference between tasks (Yang et al., SIGIR 2023, arXiv 2303.05847).

The transference of task j to task i is what a step along j's gradient on the shared parameters brings i:

    Z_{j->i} = L_i(theta) - L_i(theta - a g_j)      (positive: j helps i)

and the method minimises sum_i r_i [L_i - sum_{j != i} lambda_j Z_{j->i}]. To first order the gradient of Z_{j->i} is
a (H_i g_j + H_j g_i), H the losses' Hessians. With gamma_j = 2 a lambda_j the shared gradient of task i becomes

    g_i - sum_{j != i} gamma_j H_i g_j

which counts the second term by symmetry. The published form puts the squared batch gradient for H_i: g_i o g_i o g_j,
cubic in the gradients' scale.

How sure: the elementwise form and the look-ahead follow the paper's introduction and a public implementation of it by
others; that the tasks' shares r_i are the preference, the scale-free option and the other Hessians are this library's.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Closure, Gradients, Status, Stepper, solved_status

HESSIANS = ("paper", "fisher", "hvp")


@dataclass(frozen=True)
class CoGrad(Stepper):
    """The weighted sum of the losses, with the shared gradients bent to where tasks help one another.

    Args:
        gamma: how much, one number or one a source task j; in units of loss^-2 with "paper" and "fisher" and of
            parameter^2 / loss with "hvp", dimensionless if scale-free.
        hessian: what stands for H_i. "paper": the squared batch gradient, elementwise, at no cost. "fisher": the mean
            of the samples' squared gradients, elementwise; a diagonal, too, but of the right size. "hvp": no stand-in:
            the gradient of Z itself, exact, with a Hessian-vector product and a look-ahead per task.
        look_ahead: a, the length of the step that Z looks ahead, in units of the learning rate; for "hvp" and
            `transference`.
        scale_free: divide gamma by the mean squared norm of the shared gradients ("hvp": gamma and a by its root), so
            that a common factor of the losses only scales the direction.

    The direction (n,) holds, on shared parameters, sum_i r_i (g_i - ...), and on the others the plain gradient of the
    one loss that reaches them. `Status`: "stationary" where all gradients vanish; the residual is 0.

    Raises:
        ValueError: gamma has another length than the losses; or "fisher", and the samples cannot be told apart.
    """

    gamma: float | tuple[float, ...] = 0.01
    hessian: Literal["paper", "fisher", "hvp"] = "paper"
    look_ahead: float = 0.01
    scale_free: bool = False

    def __post_init__(self):
        if self.hessian not in HESSIANS:
            raise ValueError(f"hessian={self.hessian!r} is not one of {', '.join(HESSIANS)}")
        if not torch.as_tensor(self.gamma).isfinite().all():
            raise ValueError(f"gamma={self.gamma!r}: give a finite number, or one a loss")
        if not 0 < self.look_ahead < float("inf"):
            raise ValueError(f"look_ahead={self.look_ahead!r}: give a positive number")

    def update(
        self, state: Any, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """The direction, the state as it came, the status."""
        found = closure.gradients()
        losses, jacobian, shared = found
        status = solved_status(losses)
        if not jacobian.any():
            return jacobian[0], state, Status(status.code + Code.STATIONARY, status.residual)
        r = preference.to(jacobian)
        common = jacobian * shared
        if self.hessian == "hvp":
            bend = self.gradient_of_transference(closure, found, r, self._gamma(r) / (2 * self.look_ahead))
        else:
            curvature = common.square() if self.hessian == "paper" else closure.squared_gradients() * shared
            bend = _elementwise(common, curvature, r, self._gamma(r))
            squared = common.square().sum(dim=1).mean()
            if self.scale_free and squared > 0:
                bend = bend / squared
        heads = jacobian.sum(dim=0) * ~shared
        return r @ common - bend + heads, state, status

    def transference(self, closure: Closure) -> Float[Tensor, "m m"]:
        """Z, with Z[j, i] the transference of task j to task i, in the unit of loss i; the diagonal is a task's own."""
        found = closure.gradients()
        here, a = closure.parameters, self._step(found)
        return torch.stack([found.losses - closure(here - a * row) for row in found.jacobian * found.shared])

    def gradient_of_transference(
        self, closure: Closure, found: Gradients, weights: Float[Tensor, " m"], shares: Float[Tensor, " m"]
    ) -> Float[Tensor, " n"]:
        """The gradient of sum_j shares_j sum_{i != j} weights_i Z_{j->i} on the shared parameters.

        That of Z_{j->i} is g_i - (I - a H_j) g_i(theta - a g_j): exact, for any a, with the step a g_j differentiated.
        """
        common, here, a = found.jacobian * found.shared, closure.parameters, self._step(found)
        total = torch.zeros_like(here)
        for j, row in enumerate(common):
            others, alone = weights.clone(), torch.zeros_like(weights)
            others[j], alone[j] = 0, 1
            ahead = closure.gradient(others, here - a * row) * found.shared
            turned = closure.hessian_product(alone, ahead) * found.shared
            total += shares[j] * (others @ common - ahead + a * turned)
        return total

    def _gamma(self, r: Tensor) -> Tensor:
        gamma = r.new_tensor(self.gamma)
        if gamma.ndim and gamma.shape != r.shape:
            raise ValueError(
                f"gamma={self.gamma} has {len(gamma)} numbers for {len(r)} losses; give one, or one a loss"
            )
        return gamma.expand_as(r)

    def _step(self, found: Gradients) -> float:
        """How far to look ahead along a gradient."""
        if not self.scale_free:
            return self.look_ahead
        size = float((found.jacobian * found.shared).square().sum(dim=1).mean().sqrt())
        return self.look_ahead / size if size > 0 else self.look_ahead


def _elementwise(common: Tensor, curvature: Tensor, r: Tensor, gamma: Tensor) -> Tensor:
    """Sum_i r_i h_i o sum_{j != i} gamma_j g_j, with h_i the diagonal that stands for H_i."""
    all_of_them = gamma @ common
    others = all_of_them - gamma[:, None] * common
    return r @ (curvature * others)

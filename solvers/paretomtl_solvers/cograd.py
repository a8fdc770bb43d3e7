"""CoGrad: gradients coordinated to maximise transference between tasks (Yang et al., SIGIR 2023, arXiv 2303.05847).

The transference of task j to task i is how much a step along j's gradient on the shared parameters lowers loss i:

    Z_{j->i} = L_i(theta) - L_i(theta - a g_j)      (positive: j helps i)

and the method minimises sum_i r_i [L_i - sum_{j != i} lambda_j Z_{j->i}]. To first order the gradient of Z_{j->i} is
a (H_i g_j + H_j g_i), H the losses' Hessians. With gamma_j = 2 a lambda_j the shared gradient of task i becomes

    g_i - sum_{j != i} gamma_j H_i g_j

which counts the second term for the first: over all pairs the two are equal where r_i gamma_j = r_j gamma_i, as at an
even preference with one gamma. Elsewhere only "hvp" has both terms. The published form puts the squared batch gradient
for H_i: g_i o g_i o g_j, cubic in the gradients' scale.

Sources: the elementwise form and the look-ahead follow the paper's introduction and a public implementation of it by
others. The preference as the tasks' shares r_i, the scale-free option and the other Hessians are this library's.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Closure, Confidence, Gradients, Status, Stepper, solved_status
from paretomtl_solvers.heads import Heads, check_heads, format_method

HESSIANS = ("paper", "fisher", "hvp")


@dataclass(frozen=True)
class CoGrad(Stepper):
    """The weighted sum of the losses, with the shared gradients bent towards where tasks help one another.

    Args:
        gamma: the strength of the bend, one number or one a source task j. Its unit is loss^-2 with "paper" and
            "fisher", and parameter^2 / loss with "hvp"; with `scale_free` it is dimensionless.
        hessian: the form of H_i. "paper": the squared batch gradient, elementwise, at no cost. "fisher": the mean of
            the samples' squared gradients, elementwise; a diagonal as well, but of the right size. "hvp": the exact
            gradient of Z, at the cost of a Hessian-vector product and a look-ahead per task.
        look_ahead: a, the length of the step that Z looks ahead, in units of the learning rate; for "hvp" and
            `transference`.
        scale_free: whether to divide gamma by the mean squared norm of the shared gradients ("hvp": gamma and a by its
            root), so that a common factor of the losses only scales the direction.
        heads: a parameter that only one loss depends on has that loss's gradient: "plain", or "weighted" by r_i, with
            which `gamma=0` is linear scalarization.

    The direction (n,) is sum_i r_i (g_i - ...) on shared parameters, and the gradient of the only loss elsewhere.
    `Status`: "stationary" where all gradients vanish; the residual is 0.

    Raises:
        ValueError: gamma has another length than the losses; or, with "fisher", the losses cannot be taken sample by
            sample.
    """

    gamma: float | tuple[float, ...] = 0.01
    hessian: Literal["paper", "fisher", "hvp"] = "paper"
    look_ahead: float = 0.01
    scale_free: bool = False
    heads: Heads = "plain"

    confidence: ClassVar[Confidence] = "interpretation"
    cost: ClassVar[str] = 'm backward passes, memory m n; with hessian="hvp" m more, and m Hessian-vector products'
    head_gradient: ClassVar[str] = "plain, or weighted (`heads`)"
    needs: ClassVar[str] = 'the losses sample by sample, with hessian="fisher"'

    def __post_init__(self):
        if self.hessian not in HESSIANS:
            raise ValueError(f"hessian={self.hessian!r} is not one of {', '.join(HESSIANS)}")
        check_heads(self.heads)
        if not torch.as_tensor(self.gamma).isfinite().all():
            raise ValueError(f"gamma={self.gamma!r}: give a finite number, or one a loss")
        if not 0 < self.look_ahead < float("inf"):
            raise ValueError(f"look_ahead={self.look_ahead!r}: give a positive number")

    def __repr__(self) -> str:
        return format_method(self)

    def update(
        self, state: Any, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """Return the direction, the unchanged state and the status."""
        gradients = closure.gradients()
        losses, jacobian, shared = gradients
        status = solved_status(losses)
        if not jacobian.any():
            return jacobian[0], state, Status(status.code + Code.STATIONARY, status.residual)
        r = preference.to(jacobian)
        common = jacobian * shared
        if self.hessian == "hvp":
            bend = self.gradient_of_transference(closure, gradients, r, self._gamma(r) / (2 * self.look_ahead))
        else:
            curvature = common.square() if self.hessian == "paper" else closure.squared_gradients() * shared
            bend = _bend_elementwise(common, curvature, r, self._gamma(r))
            squared = common.square().sum(dim=1).mean()
            if self.scale_free and squared > 0:
                bend = bend / squared
        own = jacobian * ~shared
        heads = r @ own if self.heads == "weighted" else own.sum(dim=0)
        return r @ common - bend + heads, state, status

    def transference(self, closure: Closure) -> Float[Tensor, "m m"]:
        """Return Z: Z[j, i] is the transference of task j to task i, in the unit of loss i; the diagonal is j to j."""
        gradients = closure.gradients()
        parameters, a = closure.parameters, self._step(gradients)
        return torch.stack(
            [gradients.losses - closure(parameters - a * row) for row in gradients.jacobian * gradients.shared]
        )

    def gradient_of_transference(
        self, closure: Closure, found: Gradients, weights: Float[Tensor, " m"], shares: Float[Tensor, " m"]
    ) -> Float[Tensor, " n"]:
        """Return the gradient of sum_j shares_j sum_{i != j} weights_i Z_{j->i} on the shared parameters.

        The gradient of Z_{j->i} is g_i - (I - a H_j) g_i(theta - a g_j). It is exact for any a, as the step a g_j is
        differentiated as well.
        """
        common, parameters, a = found.jacobian * found.shared, closure.parameters, self._step(found)
        total = torch.zeros_like(parameters)
        for j, row in enumerate(common):
            others, alone = weights.clone(), torch.zeros_like(weights)
            others[j], alone[j] = 0, 1
            ahead = closure.gradient(others, parameters - a * row) * found.shared
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

    def _step(self, gradients: Gradients) -> float:
        """Return how far to look ahead along a gradient."""
        if not self.scale_free:
            return self.look_ahead
        size = float((gradients.jacobian * gradients.shared).square().sum(dim=1).mean().sqrt())
        return self.look_ahead / size if size > 0 else self.look_ahead


def _bend_elementwise(common: Tensor, curvature: Tensor, r: Tensor, gamma: Tensor) -> Tensor:
    """Return sum_i r_i h_i o sum_{j != i} gamma_j g_j, with h_i the diagonal that stands for H_i."""
    total = gamma @ common
    others = total - gamma[:, None] * common
    return r @ (curvature * others)

"""Single-gradient-step balancing: a look one step ahead for each task (Lee and Son, arXiv 2005.09910, 2020).

As in meta-learning, each task takes a step of its own on the shared parameters, and these move by what the tasks then
see:

    d = sum_i grad L_i(theta - a g_i)           first order: the gradient there
    d = sum_i (I - a H_i) grad L_i(theta - a g_i)      second order: the gradient of L_i(theta - a g_i(theta))

Heads take plain gradient steps. There are no weights to tune: where tasks differ in scale, the look ahead shows it.

An interpretation, from the abstract: the look ahead moves the shared parameters alone, and all tasks start it from the
same place. The preference is ours: the sum is weighted by m r_i.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.point import Code
from paretomtl.solver import Closure, Confidence, Status, Stepper, solved_status


@dataclass(frozen=True)
class SingleStep(Stepper):
    """The sum of the gradients that the losses have after one step of their own.

    Args:
        look_ahead: a, the length of that step, in units of the learning rate.
        second_order: whether the step itself is differentiated, at the cost of a Hessian-vector product per loss.

    The direction (n,) is sum_i m r_i (…) on shared parameters, and the plain gradient of the only loss elsewhere. At an
    even preference it is the published sum; the preference is ours. `Status`: "stationary" where all gradients vanish;
    the residual is 0.
    """

    look_ahead: float = 0.01
    second_order: bool = False

    confidence: ClassVar[Confidence] = "interpretation"
    cost: ClassVar[str] = "2 m backward passes, memory m n; m Hessian products for the second order"

    def __post_init__(self):
        if not 0 < self.look_ahead < float("inf"):
            raise ValueError(f"look_ahead={self.look_ahead!r}: give a positive number")

    def update(
        self, state: Any, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """Return the direction, the unchanged state and the status."""
        losses, jacobian, shared = closure.gradients()
        status = solved_status(losses)
        if not jacobian.any():
            return jacobian[0], state, Status(status.code + Code.STATIONARY, status.residual)
        parameters, common = closure.parameters, jacobian * shared
        direction = (jacobian * ~shared).sum(dim=0)
        one = torch.eye(len(losses), dtype=torch.float64)
        for i, weight in enumerate((len(losses) * preference).tolist()):
            at = closure.within(parameters - self.look_ahead * common[i].to(parameters))
            ahead = closure.gradient(one[i], at) * shared
            if self.second_order:
                ahead = ahead - self.look_ahead * closure.hessian_product(one[i], ahead) * shared
            direction = direction + weight * ahead
        return direction, state, status

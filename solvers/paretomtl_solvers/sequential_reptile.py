"""Sequential Reptile: tasks take steps in sequence, and the model goes a share of the way (Lee et al., ICLR 2022).

    phi = theta;    K times: draw a task t ~ p,  phi <- phi - a grad L_t(phi);    theta <- theta + eta (phi - theta)

To second order theta - phi is a sum of the gradients along the way less a² H_t g_s for each task s before t: on
average over the orders the steps also raise the products g_s'g_t, so that the tasks' gradients come to agree.

The direction is theta - phi; with `torch.optim.SGD(lr=eta)` it is the published update. Ours: the tasks are drawn with
the preference as p, where the paper draws them by the sizes of their data; and all steps of a round are on one batch.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.solver import Closure, Confidence, Status, Stepper, Sweep
from paretomtl_solvers import draws, virtual_steps

ORDERS = ("random", "given")


@dataclass(frozen=True)
class SequentialReptile(Stepper):
    """Steps on one task after the other, on a copy of the parameters; the direction leads to where they end.

    Args:
        rate: a, the learning rate of these steps.
        steps: K, their number; None for the number of losses.
        order: "random" draws each step's task, with the preference as probabilities; "given" goes through the losses in
            their order, again and again, with steps of rate m r_i.

    The direction (n,) is theta - phi, heads included: use `torch.optim.SGD(lr=eta)`, eta from 0 to 1, without
    momentum; other optimizers take another step. State: the draws, for "random". `Status`: "stationary" where all
    gradients vanish; the residual is 0.
    """

    rate: float = 0.01
    steps: int | None = None
    order: Literal["random", "given"] = "random"

    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "derived"
    cost: ClassVar[str] = "K backward passes, K = m by default"
    head_gradient: ClassVar[str] = "weighted"

    def __post_init__(self):
        if not 0 < self.rate < float("inf"):
            raise ValueError(f"rate={self.rate!r}: give a positive number")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps={self.steps!r}: give a whole number of at least 1, or None")
        if self.order not in ORDERS:
            raise ValueError(f"order={self.order!r} is not one of {', '.join(ORDERS)}")

    def init(self, sweep: Sweep) -> Int[Tensor, "2"] | None:
        """Return the draws, for a random order."""
        return draws.first_draws(sweep) if self.order == "random" else None

    def update(
        self, state: Any, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """Return the direction to the end of the steps, the next state and the status."""
        m, phi = len(preference), closure.parameters
        count = m if self.steps is None else self.steps
        if self.order == "random":
            (generator,), state = draws.next_generators(virtual_steps.even_draws() if state is None else state)
            tasks = torch.multinomial(preference.cpu(), count, replacement=True, generator=generator).tolist()
            weights = torch.eye(m, dtype=torch.float64)
        else:
            tasks = [k % m for k in range(count)]
            weights = torch.diag(m * preference.cpu().double())
        for t in tasks:
            phi = virtual_steps.step(closure, phi, weights[t], self.rate)
        direction, status = virtual_steps.lead_to(closure, phi)
        return direction, state, status

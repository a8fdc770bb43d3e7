"""Alternating independent steps with random groups (Pascal et al., arXiv 2109.11678, 2021).

In place of one step on all tasks together, each group of tasks takes a step of its own, one after the other, with
moments of its own. Each time the tasks fall at random into k groups, as even as can be, in random order; then

    for each group S:    phi <- Adam step along the gradient of mean_{i in S} L_i(phi), with the moments of S.

k = 1 is Adam on the mean loss, k = m alternates fully; in between, k trades the passes against the independence.

Adam steps by signs all but alone, so that with k > 1 it stops wherever the groups' gradients are opposed in every
parameter, which need not be a Pareto-stationary point.

An interpretation, from the abstract: each task keeps moments, and a group's are the mean of its tasks', to which these
are set again after its step. So with k = 1 they are Adam's, and with k = m each task has its own. As with
torch.optim.Adam, a step moves only parameters that a loss of the group depends on.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from paretomtl.solver import Closure, Confidence, Status, Stepper, Sweep
from paretomtl_solvers import adam, draws, virtual_steps


class Alternation(NamedTuple):
    """The draws; each task's moments, the number of steps, and what its loss depends on: None before the first step."""

    draws: Int[Tensor, "2"]
    mean: Float[Tensor, "m n"] | None = None
    square: Float[Tensor, "m n"] | None = None
    steps: Int[Tensor, "1"] | None = None
    depends: Bool[Tensor, "m n"] | None = None


@dataclass(frozen=True)
class AlternatingGroups(Stepper):
    """An Adam step for each of k random groups of the losses, one after the other, each with moments of its own.

    Args:
        groups: k, at most the number of losses.
        rate: the learning rate of these steps; it is the step's, whatever the optimizer's.

    The direction (n,) is theta - phi, heads included: use `torch.optim.SGD(lr=1.0)`, without momentum, which takes
    exactly these steps; a schedule of its lr is one of theirs. Another optimizer takes another step, and Adam would
    divide by its moments once more. Ignores the preference, to which Adam is all but blind. `Status`: "stationary"
    where all gradients and moments vanish; the residual is 0.

    Raises:
        ValueError: there are more groups than losses.
    """

    groups: int = 2
    rate: float = 1e-3

    uses_preference: ClassVar[bool] = False
    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "interpretation"
    cost: ClassVar[str] = "k backward passes, memory 3 m n"

    def __post_init__(self):
        if self.groups < 1:
            raise ValueError(f"groups={self.groups!r}: give a whole number of at least 1")
        if not 0 < self.rate < float("inf"):
            raise ValueError(f"rate={self.rate!r}: give a positive number")

    def init(self, sweep: Sweep) -> Alternation:
        """Return the state before the first step."""
        self._check(sweep.preferences.shape[-1])
        return Alternation(draws.first_draws(sweep))

    def update(
        self, state: Any, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """Return the direction to the end of the steps, the next state and the status."""
        m, phi = len(preference), closure.parameters
        self._check(m)
        drawn, mean, square, steps, depends = Alternation(virtual_steps.even_draws()) if state is None else state
        if mean is None or square is None or steps is None or depends is None:
            mean, square, steps, depends = _start(closure, m)
        (generator,), drawn = draws.next_generators(drawn)
        mean, square = mean.clone(), square.clone()
        for group in torch.randperm(m, generator=generator).tensor_split(self.groups):
            weights = torch.zeros(m, dtype=torch.float64).index_fill(0, group, 1 / len(group))
            start = adam.Adam(phi, mean[group].mean(dim=0), square[group].mean(dim=0), steps)
            end = adam.step(start, closure.gradient(weights, phi), self.rate)
            mean[group], square[group] = end.mean, end.square
            phi = closure.within(torch.where(depends[group].any(dim=0), end.values, phi))
        direction, status = virtual_steps.lead_to(closure, phi)
        return direction, Alternation(drawn, mean, square, steps + 1, depends), status

    def _check(self, m: int) -> None:
        if self.groups > m:
            raise ValueError(f"AlternatingGroups: groups={self.groups} for {m} losses; give at most {m}")


def _start(closure: Closure, m: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return moments of zero. A parameter without any gradient now may be any loss's."""
    _, jacobian, shared = closure.gradients()
    zeros, own = closure.parameters.new_zeros(m, len(shared)), jacobian != 0
    steps = torch.zeros(1, dtype=torch.int64, device=zeros.device)
    return zeros, zeros, steps, own | shared | ~own.any(dim=0)

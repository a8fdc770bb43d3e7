"""Selective task group updates: tasks that help one another take steps together (Jeong and Yoon, ICLR 2025).

In a step each group S of the tasks, in random order, takes a gradient step phi <- phi - a grad sum_{s in S} L_s(phi).
What it did to every loss is the proximal affinity of its members, heads and earlier steps included:

    B_{s->t} <- (1 - b) B_{s->t} + b (1 - L_t(after) / L_t(before)) / |S|        for each s in S, all t

Where two members of S fared unlike, one loss down and one up, both B_{s->t} and B_{t->s} get minus the larger of the
two; B_{s->s} only takes what is not negative. The next groups are those of affinity propagation on X + X',
X_{st} = B_{s->t} / B_{t->t}. A lone group of all tasks steps twice. The first steps have a group for each task.

As in the released code, but for three things. It credits a step to the group after it, whose losses it compares with
those before; here the group that took the step has the credit, as in the paper, for one more pass forward. It steps by
the optimizer; here the steps are plain ones on a copy of the parameters. And the preference is ours: the sums are
weighted by m r_s.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from paretomtl.solver import Closure, Confidence, Status, Stepper, Sweep
from paretomtl_solvers import draws, virtual_steps
from paretomtl_solvers.affinity_propagation import group_by_affinity


class Groups(NamedTuple):
    """The draws, the affinities B[s, t], each task's group, and the number of steps so far."""

    draws: Int[Tensor, "2"]
    affinities: Float[Tensor, "m m"]
    groups: Int[Tensor, " m"]
    steps: Int[Tensor, ""]


@dataclass(frozen=True)
class SelectiveGroups(Stepper):
    """A gradient step for each group of losses, one after the other, in groups of losses that help one another.

    Args:
        rate: a, the learning rate of these steps.
        fading: b, the share of a new affinity in the moving average, in (0, 1].
        singletons: the number of steps in which each loss is a group of its own.

    The direction (n,) is theta - phi, heads included: use `torch.optim.SGD(lr=1.0)`, without momentum, which takes
    exactly these steps; other optimizers take another step. At an even preference it is the published sum. Losses must
    be at least 0. `Status`: "stationary" where all gradients vanish; the residual is 0.

    Raises:
        ValueError: a loss is negative.
    """

    rate: float = 0.01
    fading: float = 0.001
    singletons: int = 100

    stateful: ClassVar[bool] = True
    confidence: ClassVar[Confidence] = "released code"
    cost: ClassVar[str] = "as many backward passes as groups, m at first"
    head_gradient: ClassVar[str] = "weighted"

    def __post_init__(self):
        if not 0 < self.rate < float("inf"):
            raise ValueError(f"rate={self.rate!r}: give a positive number")
        if not 0 < self.fading <= 1:
            raise ValueError(f"fading={self.fading!r}: give a share, above 0 and up to 1")
        if self.singletons < 0:
            raise ValueError(f"singletons={self.singletons!r}: give a whole number of at least 0")

    @property
    def nonnegative(self) -> bool:
        """True: an affinity is a share of a loss."""
        return True

    def init(self, sweep: Sweep) -> Groups:
        """Return a group for each loss."""
        return _start(draws.first_draws(sweep), sweep.preferences.shape[-1])

    def update(
        self, state: Any, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """Return the direction to the end of the steps, the next state and the status."""
        m, phi = len(preference), closure.parameters
        before: Groups = _start(virtual_steps.even_draws(), m) if state is None else state
        (generator,), drawn = draws.next_generators(before.draws)
        groups = before.groups if before.steps < self.singletons else regroup(before.affinities, before.groups)
        affinities, losses = before.affinities.clone(), closure().double().cpu()
        if (losses < 0).any():
            raise ValueError(f"SelectiveGroups: a loss of {losses.tolist()} is negative; shift it, or use Linear")
        for group in _in_random_order(groups, generator):
            members = groups == group
            phi = virtual_steps.step(closure, phi, m * preference.cpu().double() * members, self.rate)
            after = closure(phi).double().cpu()
            affinities = self.remember(affinities, members, losses, after)
            losses = after
        direction, status = virtual_steps.lead_to(closure, phi)
        return direction, Groups(drawn, affinities, groups, before.steps + 1), status

    def remember(self, affinities: Tensor, members: Tensor, before: Tensor, after: Tensor) -> Float[Tensor, "m m"]:
        """Return the affinities after a step of the members of a group, from the losses before and after it."""
        size = before.abs()  # earlier steps of the round may have taken a loss below 0
        gains = torch.where(size > 0, (before - after) / size.where(size > 0, 1), 0) / members.sum()
        new = gains.expand(len(gains), -1)
        unlike = members[:, None] & members & (gains[:, None] * gains < 0)
        new = torch.where(unlike, -torch.maximum(gains[:, None], gains), new)
        faded = (1 - self.fading) * affinities + self.fading * new
        own = torch.eye(len(gains), dtype=torch.bool)
        return torch.where(members[:, None] & ~(own & (new < 0)), faded, affinities)


def regroup(affinities: Float[Tensor, "m m"], groups: Int[Tensor, " m"]) -> Int[Tensor, " m"]:
    """Return the groups by affinity; the present ones where an affinity to itself is 0, or there is no answer."""
    B = affinities.numpy()
    own = np.diagonal(B)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        X = B / own
        X = (X + X.T) / 2
    labels = group_by_affinity(X) if (own > 0).all() and np.isfinite(X).all() else None
    return groups if labels is None else torch.as_tensor(labels, dtype=torch.int64)


def _in_random_order(groups: Tensor, generator: torch.Generator) -> list[int]:
    names = groups.unique()
    order = names[torch.randperm(len(names), generator=generator)].tolist()
    return 2 * order if len(order) == 1 else order


def _start(drawn: Tensor, m: int) -> Groups:
    return Groups(drawn, torch.zeros(m, m, dtype=torch.float64), torch.arange(m), torch.zeros((), dtype=torch.int64))

"""FS-MTL: any method, led to flat regions of each loss (Phan et al., arXiv 2211.13723, 2022).

Each loss has a look where it is worst near by, at a distance rho along its own gradient, on the shared parameters and
its own head (SAM; Foret et al., ICLR 2021):

    e_i = rho g_i / |g_i|,        h_i = g_i(theta + e_i) - g_i(theta)

and with any method Agg the shared parameters move along Agg(g_1, …, g_m) + Agg(h_1, …, h_m): one part lowers the
losses, one their sharpness. Heads have the gradient g_i(theta + e_i). The adaptive form (ASAM; Kwon et al., ICML 2021)
measures the distance relative to the parameters: e_i = rho theta² o g_i / ||theta| o g_i|.

As in the released code. A variant aggregates once, g_i + h_i. Ours: each of the two calls of Agg has a state of its
own; a change h_i that is within rounding of g_i is none; and a look stays within the model's bounds.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from paretomtl.autograd.bounds import held_at_bounds
from paretomtl.autograd.gradients import renormalise
from paretomtl.autograd.jacobian import gramian_of
from paretomtl.point import Code
from paretomtl.solver import (
    Aggregation,
    Closure,
    Confidence,
    Gradients,
    Scalarization,
    Status,
    Stepper,
    Sweep,
    Weighting,
    solved_status,
)
from paretomtl_solvers.wrapper import Wrapper

ROUNDING = 64  # units in the last place of a gradient: below, its change is rounding
FACTS = ("uses_preference", "stateful", "from_ideal", "observes", "preference_means", "head_gradient", "needs")


class States(NamedTuple):
    """The base's states: of the calls on gradients, and of those on their changes; None where there are none."""

    gradients: Any
    changes: Any


@dataclass(frozen=True)
class FSMTL(Wrapper, Stepper):
    """Any method, with each loss's gradient taken where the loss is worst near by as well: flat regions.

    Args:
        base: the method that combines the gradients, such as MGDA(): a `Scalarization`, `Weighting` or `Aggregation`.
        rho: the distance of the look, at least 0, in the parameters' unit; 0 is the base itself. With `adaptive` it is
            relative to the parameters; there the released code has 2.
        adaptive: whether the distance is relative to the parameters.
        together: whether g + h is aggregated at once, in place of g and h apart.

    The direction (n,) is the base's on shared parameters. Heads have their loss's gradient at theta + e_i, weighted
    where the base weighs heads. What a preference means, and what losses are measured from, is as with the base.
    `Status`: "stationary" where both calls of the base say so; the residual is the base's.

    Raises:
        ValueError: whatever the base raises.
        TypeError: the base is a `Stepper`, or its points act together, or it learns numbers with the optimizer.
    """

    base: Scalarization | Weighting | Aggregation
    rho: float = 0.05
    adaptive: bool = False
    together: bool = False

    confidence: ClassVar[Confidence] = "released code"
    preference_means: ClassVar[str] = "as its base"
    cost: ClassVar[str] = "2 m backward passes, memory 2 m n"
    head_gradient: ClassVar[str] = "as its base"

    def __post_init__(self):
        if not isinstance(self.base, (Scalarization, Weighting, Aggregation)):
            raise TypeError(f"base={self.base!r}: give a Scalarization, a Weighting or an Aggregation, such as MGDA()")
        if self.base.joint or self.base.learned:
            why = "its points act together" if self.base.joint else "it learns numbers with the optimizer"
            raise TypeError(f"base={self.base!r}: {why}; give a method of one point, such as MGDA()")
        if not 0 <= self.rho < float("inf"):
            raise ValueError(f"rho={self.rho!r}: give a number of at least 0")
        self.take_facts(FACTS)

    @property
    def follows_ray(self) -> bool:
        """As the base."""
        return self.base.follows_ray

    def init(self, sweep: Sweep) -> States:
        """Return the base's first state, twice where it is called twice."""
        return States(self.base.init(sweep), self.base.init(sweep) if self._is_twofold else None)

    def observe(self, state: Any, losses: Float[Tensor, " m"]) -> Any:
        """Return the states after the base has seen the losses."""
        changes = self.base.observe(state.changes, losses) if self._is_twofold else None
        return States(self.base.observe(state.gradients, losses), changes)

    def finish(self, closure: Closure, state: Any, preference: Float[Tensor, " m"]) -> Status | None:
        """Finish as the base does, where rho is 0; flat regions are not finished."""
        return self.base.finish(closure, state.gradients, preference) if self.rho == 0 else None

    def update(
        self, state: Any, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """Return the direction, the base's next states and the status."""
        states = States(None, None) if state is None else state
        if isinstance(self.base, Scalarization) and self.rho == 0:
            return self._descend_weighted(self.base, states, closure, preference)
        found = closure.gradients()
        losses, jacobian, shared = found
        if self.base.nonnegative:
            losses = losses.clamp(min=0)  # the engine has checked that it is rounding
        if isinstance(self.base, Scalarization) or self.base.weighs_heads:
            shared = torch.ones_like(shared)
        rows = _rows_that_share(jacobian, shared)
        if self.base.stateful and len(rows) < len(losses):
            raise ValueError(f"{self.base!r} carries its state from step to step and needs every loss to reach the "
                             f"shared parameters; losses {sorted({*range(len(losses))} - {*rows})} do not")  # fmt: skip
        r = renormalise(preference, rows)
        worst = jacobian if self.rho == 0 else self.look(closure, found)
        held = torch.zeros_like(shared)
        if not isinstance(self.base, Scalarization):  # as in the engine, which hides from a base what bounds hold
            held = held_at_bounds(closure.within, closure.parameters, jacobian[rows]) if rows else held

        def combine(its_state: Any, matrix: Tensor) -> tuple[Tensor, Any, Status]:
            return _combine(self.base, its_state, losses[rows], (matrix[rows] * ~held)[:, shared], r)

        direction = (worst * ~shared).sum(dim=0)
        if not rows:
            return direction, states, solved_status(losses)
        common, first, status = combine(states.gradients, worst if self.together else jacobian)
        second = states.changes
        if self._is_twofold:
            flatter, second, other = combine(second, _change(worst, jacobian))
            common, status = common + flatter, _join(status, other)
        direction[shared] = common.to(direction)
        return direction, States(first, second), status

    def _descend_weighted(
        self, base: Scalarization, states: States, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """Return the base's weighted sum, by one backward pass as the base itself would have it."""
        losses = closure()
        weights, after, status = base.update(
            states.gradients, losses.clamp(min=0) if base.nonnegative else losses, preference
        )
        return closure.gradient(weights, closure.parameters), States(after, None), status

    def look(self, closure: Closure, gradients: Gradients) -> Float[Tensor, "m n"]:
        """Return the Jacobian whose row i is of loss i at theta + e_i."""
        parameters = closure.parameters
        scale = parameters.abs() if self.adaptive else torch.ones_like(parameters)
        one = torch.eye(len(gradients.losses), dtype=torch.float64)
        rows = []
        for i, row in enumerate(gradients.jacobian):
            length = (scale * row).norm()
            if length > 0:
                at = parameters + (self.rho * scale.square() * row / length).to(parameters)
                row = closure.gradient(one[i], closure.within(at))
            rows.append(row)
        return torch.stack(rows)

    @property
    def _is_twofold(self) -> bool:
        return self.rho > 0 and not self.together


def _rows_that_share(jacobian: Tensor, shared: Bool[Tensor, " n"]) -> list[int]:
    """Return the losses with a gradient on shared parameters, and those without any gradient at all."""
    with_own = (jacobian * ~shared).any(dim=1)
    return ((jacobian * shared).any(dim=1) | ~with_own).nonzero()[:, 0].tolist() if shared.any() else []


def _combine(base: Any, state: Any, losses: Tensor, matrix: Tensor, r: Tensor) -> tuple[Tensor, Any, Status]:
    """Return the base's direction in the columns of the matrix, its state and its status."""
    if isinstance(base, Aggregation):
        return base.update(state, losses, matrix, r)
    if isinstance(base, Weighting):
        weights, state, status = base.update(state, losses, gramian_of(matrix), r)
    else:
        weights, state, status = base.update(state, losses, r)
    return weights.to(matrix) @ matrix, state, status


def _change(worst: Tensor, jacobian: Tensor) -> Float[Tensor, "m n"]:
    """Return the change of each gradient; 0 where it is rounding."""
    change = worst - jacobian
    least = ROUNDING * torch.finfo(jacobian.dtype).eps * jacobian.norm(dim=1, keepdim=True)
    return change * (change.norm(dim=1, keepdim=True) > least)


def _join(one: Status, other: Status) -> Status:
    """Return the status of a sum of two directions: stationary where both are, relaxed where one is."""
    codes = {int(one.code), int(other.code)} - {int(Code.STATIONARY)}
    return Status(torch.tensor(max(codes, default=int(Code.STATIONARY))), one.residual)

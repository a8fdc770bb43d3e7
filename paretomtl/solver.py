"""The contract of a method: from losses, gradients and a preference to the next direction.

A method is a frozen dataclass of hyper-parameters on one of four classes, according to the least that it needs to see:

===============  ==================================  ===================================================
class            sees                                returns
===============  ==================================  ===================================================
`Scalarization`  losses, preference                  weights of the losses; one backward pass
`Weighting`      losses, Gramian, preference         weights of the shared gradients; m gradients a step
`Aggregation`    losses, Jacobian, preference        a direction in shared-parameter space
`Stepper`        the losses as a function            a direction in the space of all trained parameters
===============  ==================================  ===================================================

Whatever it returns, the optimizer takes the step. A `Walker` is a `Stepper` that `walk` can follow along the front.

Shapes: losses (*points, m), Gramian (*points, m, m), Jacobian (*points, m, n), preference (*points, m). Parameters move
by -learning_rate * direction. State is a value, handed in and returned; its tensors lead with the points axes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Status(NamedTuple):
    """What a solver says of a call: a code per point and a residual, 0 where the preference is met."""

    code: Int[Tensor, "*points"]
    residual: Float[Tensor, "*points"]


class EpochMeans(NamedTuple):
    """Means over one epoch of noisy training: losses and the solver's weights, (m,) each."""

    losses: Float[Tensor, " m"]
    weights: Float[Tensor, " m"]


@dataclass(frozen=True)
class Sweep:
    """What a solver may know of the study that it works in.

    Args:
        preferences: all of the study's, (K, m).
        points: which rows of them the call's points are; its shape is the points axes, () for a single point.
        steps: how many steps each point gets.
        deterministic: whether the losses are exact, without a batch's noise.
        generators: one a point, in order, for methods that sample.
    """

    preferences: Float[Tensor, "K m"]
    points: Int[Tensor, "*points"]
    steps: int
    deterministic: bool
    generators: tuple[torch.Generator, ...]


class Gradients(NamedTuple):
    """Losses, their Jacobian on all trained parameters, and which of these two losses or more reach (shared)."""

    losses: Float[Tensor, " m"]
    jacobian: Float[Tensor, "m n"]
    shared: Bool[Tensor, " n"]


class Closure(ABC):
    """The losses of one batch as a function of all trained parameters, laid end to end.

    The model stays where it is, but for `move`.
    """

    @property
    @abstractmethod
    def parameters(self) -> Float[Tensor, " n"]:
        """Where the model stands."""

    @abstractmethod
    def __call__(self, parameters: Float[Tensor, " n"] | None = None) -> Float[Tensor, " m"]:
        """The losses there, without gradients; at None, where the model stands."""

    @abstractmethod
    def gradients(self) -> Gradients:
        """The losses and their Jacobian where the model stands."""

    @abstractmethod
    def gradient(self, weights: Float[Tensor, " m"], parameters: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The gradient of the weighted sum of the losses there, by one backward pass."""

    @abstractmethod
    def hessian_product(self, weights: Float[Tensor, " m"], vector: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The Hessian of the weighted sum of the losses, where the model stands, times a vector."""

    @abstractmethod
    def squared_gradients(self) -> Float[Tensor, "m n"]:
        """The mean over the batch's samples of each sample's squared gradient, where the model stands."""

    def within(self, parameters: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The place within the model's bounds at which `move` would put it; the same where there are none."""
        return parameters

    @abstractmethod
    def move(self, parameters: Float[Tensor, " n"]) -> None:
        """Put the model there, within its bounds."""


class Solver(ABC):  # noqa: B024 - subclass one of the four below, not this
    """What the four classes share.

    Class variables:
        uses_preference: False for methods that go to one point whatever is asked.
        stateful: True if a step depends on earlier ones; then every batch must have every label.
        joint: True for methods whose answer for one point depends on the other points of the step; they need a fleet of
            all points, or a front model with several preferences a step.
    """

    uses_preference: ClassVar[bool] = True
    stateful: ClassVar[bool] = False
    joint: ClassVar[bool] = False

    @property
    def follows_ray(self) -> bool:
        """True for methods that promise r_i l_i equal over i; their control error is watched."""
        return False

    @property
    def nonnegative(self) -> bool:
        """True for methods that need losses of at least 0."""
        return False

    def init(self, sweep: Sweep) -> Any:
        """The state before the first step."""
        del sweep

    def finish(self, closure: Closure, state: Any, preference: Float[Tensor, " m"]) -> Status | None:
        """Called once a point after the last step, or on a stall, on deterministic problems only."""
        del closure, state, preference

    def suspect(self, epochs: list[EpochMeans], preference: Float[Tensor, " m"]) -> bool:
        """Whether, after noisy training, the ray seems not to meet the front; judged by the epochs' means."""
        del epochs, preference
        return False


class Scalarization(Solver):
    """A method that sees the losses alone.

    Class variables:
        linear: True where the weights are the preference alone, whatever the losses; then each sample of a batch may
            have a preference of its own.
    """

    linear: ClassVar[bool] = False

    @abstractmethod
    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """The weights of the losses, the next state and the status."""

    def __call__(
        self, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> Float[Tensor, "*points m"]:
        """The weights, for a single call outside a study."""
        return self.update(None, losses, preference)[0]


class Weighting(Solver):
    """A method that sees the losses and the Gramian of their gradients on the shared parameters.

    The weights are in the scale that the paper's equations define; the engine does not rescale them.
    """

    @abstractmethod
    def update(
        self,
        state: Any,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """The weights of the shared gradients, the next state and the status."""

    def __call__(
        self,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> Float[Tensor, "*points m"]:
        """The weights, for a single call outside a study."""
        return self.update(None, losses, gramian, preference)[0]


class Aggregation(Solver):
    """A method that sees the losses and their Jacobian on the shared parameters."""

    @abstractmethod
    def update(
        self,
        state: Any,
        losses: Float[Tensor, "*points m"],
        jacobian: Float[Tensor, "*points m n"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points n"], Any, Status]:
        """The direction in shared-parameter space, the next state and the status."""

    def __call__(
        self,
        losses: Float[Tensor, "*points m"],
        jacobian: Float[Tensor, "*points m n"],
        preference: Float[Tensor, "*points m"],
    ) -> Float[Tensor, "*points n"]:
        """The direction, for a single call outside a study."""
        return self.update(None, losses, jacobian, preference)[0]


class Stepper(Solver):
    """A method that asks for the losses elsewhere, for their curvature, or for each sample's gradient."""

    @abstractmethod
    def update(
        self, state: Any, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """The direction in the space of all trained parameters, heads included, the next state and the status."""

    def __call__(self, closure: Closure, preference: Float[Tensor, " m"]) -> Float[Tensor, " n"]:
        """The direction, for a single call outside a study."""
        return self.update(None, closure, preference)[0]


class Walker(Stepper):
    """A `Stepper` that `walk` follows along the front.

    From a solution its direction leads to the next ones, and its `finish` back to the front from beside it.
    """

    @abstractmethod
    def weights(self, closure: Closure) -> Float[Tensor, " m"]:
        """The point of the simplex by which the losses' weighted sum is stationary, where the model is on the front."""


def solved_status(like: Float[Tensor, "*points m"]) -> Status:
    """The status of a method whose answer is a formula: solved, nothing left over."""
    points = like.shape[:-1]
    return Status(torch.zeros(points, dtype=torch.int64), torch.zeros(points, dtype=torch.float64))

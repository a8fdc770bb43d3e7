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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from paretomtl.normalisation import Normalisation

# What a method's formula rests on: the authors' released code; a derivation that was checked; a reading of the paper
# that may differ from its authors'.
Confidence = Literal["released code", "derived", "interpretation", ""]
# From the losses (m,), a module's output (*shape) and their gradients there (m, *shape) to the output's own gradient.
Combine = Callable[[Tensor, Tensor, Tensor], Tensor]
UNNAMED = "in a loop of your own give Descent(…, model=model)"


class Status(NamedTuple):
    """How a solver's call ended: a code and a residual per point, 0 where the preference is met."""

    code: Int[Tensor, "*points"]
    residual: Float[Tensor, "*points"]


class EpochMeans(NamedTuple):
    """Means over one epoch of noisy training, (m,) each: losses, the solver's weights, the losses' standard errors.

    The standard errors are of the batches' spread; 0 in an epoch of one batch.
    """

    losses: Float[Tensor, " m"]
    weights: Float[Tensor, " m"]
    errors: Float[Tensor, " m"]


@dataclass(frozen=True)
class Sweep:
    """What a solver may know about its study.

    Args:
        preferences: all preferences of the study, (K, m).
        points: which rows of `preferences` the call's points have; its shape is the points axes, () for one point.
        steps: the number of steps of each point.
        deterministic: whether the losses are exact, without the noise of batches.
        generators: one a point, in order, for methods that sample.
        epoch_steps: the number of steps of an epoch; None where it is not known.
    """

    preferences: Float[Tensor, "K m"]
    points: Int[Tensor, "*points"]
    steps: int
    deterministic: bool
    generators: tuple[torch.Generator, ...]
    epoch_steps: int | None = None


class Gradients(NamedTuple):
    """Losses, their Jacobian on all trained parameters, and which parameters two or more losses depend on (shared)."""

    losses: Float[Tensor, " m"]
    jacobian: Float[Tensor, "m n"]
    shared: Bool[Tensor, " n"]


class Location(NamedTuple):
    """Where a parameter stands in the parameters that are laid end to end, and its shape."""

    at: slice
    shape: torch.Size


class Closure(ABC):
    """The losses of one batch as a function of all trained parameters, laid end to end.

    Only `move` changes the model.
    """

    @property
    @abstractmethod
    def parameters(self) -> Float[Tensor, " n"]:
        """The model's current parameters."""

    @abstractmethod
    def __call__(self, parameters: Float[Tensor, " n"] | None = None) -> Float[Tensor, " m"]:
        """Return the losses at the given parameters, or at the current ones, without gradients."""

    @abstractmethod
    def gradients(self) -> Gradients:
        """Return the losses and their Jacobian at the current parameters."""

    @abstractmethod
    def gradient(self, weights: Float[Tensor, " m"], parameters: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the gradient of the weighted sum of the losses at the given parameters, by one backward pass."""

    @abstractmethod
    def hessian_product(self, weights: Float[Tensor, " m"], vector: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Multiply a vector by the Hessian of the weighted sum of the losses at the current parameters."""

    @abstractmethod
    def squared_gradients(self) -> Float[Tensor, "m n"]:
        """Return the mean of the batch's samples' squared gradients at the current parameters."""

    def locate(self, name: str) -> Location:
        """Return where a parameter, such as "head.weight", stands in the parameters that are laid end to end.

        Raises:
            ValueError: there is none of that name, or names are not known here.
        """
        raise ValueError(f"parameter {name!r}: names are not known here; {UNNAMED}")

    def gradient_through(self, at: str, combine: Combine) -> Float[Tensor, " n"]:
        """Return a direction that is chosen at the output of the module `at`, such as "trunk".

        The losses' gradients are taken at the module's output alone. What `combine` makes of them goes back through the
        module by one backward pass; parameters behind it have their plain gradients.

        Raises:
            ValueError: there is no such module, it does not run once, or behind it losses share a parameter.
        """
        raise ValueError(f"at={at!r}: modules are not known here; {UNNAMED}")

    def within(self, parameters: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the parameters that `move` would set: the given ones, brought within the model's bounds."""
        return parameters

    @property
    def is_spent(self) -> bool:
        """True once the model has been moved as often as the study allows; `finish` then leaves it there."""
        return False

    @abstractmethod
    def move(self, parameters: Float[Tensor, " n"]) -> None:
        """Set the model's parameters, within its bounds."""


class Solver(ABC):  # noqa: B024 - subclass one of the four below, not this
    """What all methods share.

    Class variables:
        uses_preference: False for methods that reach the same point at every preference.
        stateful: True if a step depends on earlier ones.
        joint: True if a point's step depends on the other points; such methods need a fleet of all points, or a front
            model with several preferences a step.
        from_ideal: True if it measures losses from their ideals. Then it gets normalised losses from 0 at the ideal to
            1 at the nadir; a method that only weighs the losses gets them divided by their range.
        learned: True if the state is one tensor of numbers that the optimizer trains along with the model; `update`
            sets its `.grad`.
        observes: True if the method looks at the same batch once more after each step; see `observe`.

    For the list of methods:
        confidence: what the formula rests on.
        preference_means: what a preference asks for: "weights", "ray", or words.
        cost: what a step takes beside one pass forward; m is the number of losses, n that of the shared parameters.
        head_gradient: the gradient of a parameter that only one loss depends on: "plain", or "weighted".
        needs: what the method needs that `joint` and `nonnegative` do not say, such as "positive losses".
    """

    uses_preference: ClassVar[bool] = True
    stateful: ClassVar[bool] = False
    joint: ClassVar[bool] = False
    from_ideal: ClassVar[bool] = False
    learned: ClassVar[bool] = False
    observes: ClassVar[bool] = False

    confidence: ClassVar[Confidence] = ""
    preference_means: ClassVar[str] = "weights"
    cost: ClassVar[str] = ""
    head_gradient: ClassVar[str] = "plain"
    needs: ClassVar[str] = ""

    @property
    def follows_ray(self) -> bool:
        """True for methods that promise r_i l_i equal over i; for these a large control error warns."""
        return False

    @property
    def nonnegative(self) -> bool:
        """True for methods that need losses of at least 0."""
        return False

    @property
    def weighs_heads(self) -> bool:
        """True if a parameter that only one loss depends on counts as shared; else it keeps its plain gradient."""
        return False

    @property
    def balances_labels(self) -> bool:
        """True for linear methods that divide the preference by the share of the batches that have each label."""
        return False

    def normalised(self, normalisation: Normalisation) -> "Solver":
        """Return the method for normalised losses; one that holds losses, such as a reference, has them converted."""
        del normalisation
        return self

    def init(self, sweep: Sweep) -> Any:
        """Return the state before the first step."""
        del sweep

    def observe(self, state: Any, losses: Float[Tensor, "*points m"]) -> Any:
        """Return the next state, from the same batch's losses after the step; for methods that observe."""
        del losses
        return state

    def finish(self, closure: Closure, state: Any, preference: Float[Tensor, " m"]) -> Status | None:
        """Finish a point: called once, after the last step or on a stall, on deterministic problems only.

        None leaves the verdict to the engine: "stationary" where the model is certified on the front, else "not
        converged". "solved" promises that, too.
        """
        del closure, state, preference


class Scalarization(Solver):
    """A method that sees the losses alone.

    Class variables:
        linear: True if the weights are the preference, whatever the losses; then each sample of a batch may have a
            preference of its own, and a batch may lack labels: the losses that are present keep their weights.
    """

    linear: ClassVar[bool] = False
    cost: ClassVar[str] = "1 backward pass"
    head_gradient: ClassVar[str] = "weighted"

    @abstractmethod
    def update(
        self, state: Any, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights of the losses, the next state and the status."""

    def __call__(
        self, losses: Float[Tensor, "*points m"], preference: Float[Tensor, "*points m"]
    ) -> Float[Tensor, "*points m"]:
        """Return the weights, for a single call outside a study."""
        return self.update(None, losses, preference)[0]


class Weighting(Solver):
    """A method that sees the losses and the Gramian of their gradients on the shared parameters.

    The weights are in the scale that the paper's equations define; the engine does not rescale them.
    """

    cost: ClassVar[str] = "m backward passes, memory m n"

    @abstractmethod
    def update(
        self,
        state: Any,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points m"], Any, Status]:
        """Return the weights of the shared gradients, the next state and the status."""

    def __call__(
        self,
        losses: Float[Tensor, "*points m"],
        gramian: Float[Tensor, "*points m m"],
        preference: Float[Tensor, "*points m"],
    ) -> Float[Tensor, "*points m"]:
        """Return the weights, for a single call outside a study."""
        return self.update(None, losses, gramian, preference)[0]


class Aggregation(Solver):
    """A method that sees the losses and their Jacobian on the shared parameters."""

    cost: ClassVar[str] = "m backward passes, memory m n"

    @abstractmethod
    def update(
        self,
        state: Any,
        losses: Float[Tensor, "*points m"],
        jacobian: Float[Tensor, "*points m n"],
        preference: Float[Tensor, "*points m"],
    ) -> tuple[Float[Tensor, "*points n"], Any, Status]:
        """Return the direction in shared-parameter space, the next state and the status."""

    def __call__(
        self,
        losses: Float[Tensor, "*points m"],
        jacobian: Float[Tensor, "*points m n"],
        preference: Float[Tensor, "*points m"],
    ) -> Float[Tensor, "*points n"]:
        """Return the direction, for a single call outside a study."""
        return self.update(None, losses, jacobian, preference)[0]


class Stepper(Solver):
    """A method that needs the losses at other parameters, their curvature, or each sample's gradient."""

    @abstractmethod
    def update(
        self, state: Any, closure: Closure, preference: Float[Tensor, " m"]
    ) -> tuple[Float[Tensor, " n"], Any, Status]:
        """Return the direction in the space of all trained parameters, heads included, the next state, the status."""

    def __call__(self, closure: Closure, preference: Float[Tensor, " m"]) -> Float[Tensor, " n"]:
        """Return the direction, for a single call outside a study."""
        return self.update(None, closure, preference)[0]


class Walker(Stepper):
    """A `Stepper` that `walk` follows along the front.

    From a solution its direction leads to the next one; `finish` leads back from beside the front.
    """

    @abstractmethod
    def weights(self, closure: Closure) -> Float[Tensor, " m"]:
        """Return the point of the simplex for which the losses' weighted sum is stationary, at a model on the front."""


def solved_status(like: Float[Tensor, "*points m"]) -> Status:
    """Return the status of a method that is a formula: solved, with residual 0."""
    points = like.shape[:-1]
    return Status(torch.zeros(points, dtype=torch.int64), torch.zeros(points, dtype=torch.float64))


def status_of(code: int, residual: float = 0.0) -> Status:
    """Return the status of one point."""
    return Status(torch.tensor(int(code)), torch.tensor(residual, dtype=torch.float64))

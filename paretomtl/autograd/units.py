"""The units in which a method gets the losses: of what there is to gain in each, from its ideal on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from paretomtl.normalisation import NOISY_FLOOR, Normalisation
from paretomtl.solver import Solver

NOISY_CEILING = 1.0  # its largest, at the nadir: else what starts far beyond leaves the others no say for long


@dataclass(frozen=True)
class Units:
    """How a method gets the losses: (l_i - start_i) / span_i, within bounds where the method measures from an ideal.

    Beyond a bound the gradient stays that of the loss. Losses that are left out of the normalisation have no bounds.

    Args:
        start: the ideal, for a method that measures from there; else 0.
        span: what there is to gain in each loss.
        floor: the least value, for methods that need losses of at least 0; None for others.
        ceiling: the largest value; None for methods that only weigh, for joint ones, and for exact losses.
    """

    start: tuple[float, ...]
    span: tuple[float, ...]
    floor: float | None
    ceiling: float | None

    def convert(self, loss: Float[Tensor, "*points"], i: int) -> Float[Tensor, "*points"]:
        """Return loss i in these units."""
        value = (loss - self.start[i]) / self.span[i]
        floor = self.floor if self.start[i] else None  # a loss with the ideal 0 is no less
        if (floor is None and self.ceiling is None) or (self.start[i], self.span[i]) == (0, 1):
            return value
        known = value.detach()
        return value + (known.clamp(min=floor, max=self.ceiling) - known)

    def convert_gradients(self, gradients: Sequence[Sequence[Tensor | None]]) -> list[list[Tensor | None]]:
        """Return the gradients of the losses, a row each, in these units; None stays None."""
        return [[None if g is None else g / span for g in row] for row, span in zip(gradients, self.span, strict=True)]


def units_of(solver: Solver, normalisation: Normalisation, deterministic: bool) -> Units:
    """Return the units in which a method gets the losses.

    Those of batches are bounded by `NOISY_FLOOR` and `NOISY_CEILING`; exact ones by 0 alone. A joint method compares
    its points with one another, so that its losses have no ceiling.
    """
    span = tuple(normalisation.span.tolist())
    if not solver.from_ideal:
        return Units((0.0,) * len(span), span, None, None)
    floor = None if not solver.nonnegative else 0.0 if deterministic else NOISY_FLOOR
    return Units(normalisation.ideal, span, floor, None if deterministic or solver.joint else NOISY_CEILING)


def convert(losses: Mapping[int, Float[Tensor, "*points"]], units: Units | None) -> list[Float[Tensor, "*points"]]:
    """Return losses by objective in the units of the method; as they are where it has none."""
    return [loss if units is None else units.convert(loss, i) for i, loss in losses.items()]

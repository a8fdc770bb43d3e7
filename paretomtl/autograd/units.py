"""The units in which a method gets the losses: of what there is to gain in each, from its ideal on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from paretomtl.normalisation import Normalisation
from paretomtl.solver import Solver

NOISY_FLOOR = 0.05  # least value of a noisy loss measured from its ideal: below, the batch tells more than the model


@dataclass(frozen=True)
class Units:
    """How a method gets the losses: (l_i - start_i) / span_i, no less than the floor where it must not be negative.

    Args:
        start: the ideal, for a method that measures from there; else 0.
        span: what there is to gain in each loss.
        floor: the least value where `start` is not 0, for methods that need losses of at least 0; None for others. The
            gradient stays that of the loss.
    """

    start: tuple[float, ...]
    span: tuple[float, ...]
    floor: float | None

    def convert(self, loss: Float[Tensor, "*points"], i: int) -> Float[Tensor, "*points"]:
        """Return loss i in these units."""
        value = (loss - self.start[i]) / self.span[i]
        if self.floor is None or self.start[i] == 0:
            return value
        known = value.detach()
        return value + (known.clamp(min=self.floor) - known)

    def convert_gradients(self, gradients: Sequence[Sequence[Tensor | None]]) -> list[list[Tensor | None]]:
        """Return the gradients of the losses, a row each, in these units; None stays None."""
        return [[None if g is None else g / span for g in row] for row, span in zip(gradients, self.span, strict=True)]


def units_of(solver: Solver, normalisation: Normalisation, deterministic: bool) -> Units:
    """Return the units in which a method gets the losses.

    Where it needs losses of at least 0, one of batches has the floor `NOISY_FLOOR`, and an exact one 0.
    """
    floor = None if not solver.nonnegative else 0.0 if deterministic else NOISY_FLOOR
    start = normalisation.ideal if solver.from_ideal else (0.0,) * len(normalisation.ideal)
    return Units(start, tuple(normalisation.span.tolist()), floor)


def convert(losses: Mapping[int, Float[Tensor, "*points"]], units: Units | None) -> list[Float[Tensor, "*points"]]:
    """Return losses by objective in the units of the method; as they are where it has none."""
    return [loss if units is None else units.convert(loss, i) for i, loss in losses.items()]

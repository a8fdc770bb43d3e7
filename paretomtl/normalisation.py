"""Normalisation: the range of each loss; in its units a preference says how much of what can be gained it asks for."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Normalisation(NamedTuple):
    """The range of each loss, from the best that there is to the worst.

    An objective that is left out has ideal 0 and nadir 1, so that its loss stays as it is.

    ideal: each objective's loss where it is trained alone; the median over the seeds.
    nadir: its worst loss where another one is trained alone; the median over the seeds.
    """

    ideal: tuple[float, ...]
    nadir: tuple[float, ...]

    @property
    def span(self) -> Float[np.ndarray, " m"]:
        """What there is to gain in each loss."""
        return np.array(self.nadir) - np.array(self.ideal)

    def apply(self, losses: Float[np.ndarray, "*points m"]) -> Float[np.ndarray, "*points m"]:
        """Return the losses in units of what there is to gain: 0 at the ideal, 1 at the nadir."""
        return (np.asarray(losses, dtype=np.float64) - np.array(self.ideal)) / self.span

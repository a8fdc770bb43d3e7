"""Normalisation: the range of each loss; in its units a preference says how much of what can be gained it asks for."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

CORNERS = "corners"
NOISY_FLOOR = 0.05  # least value of a noisy loss measured from its ideal: below, the batch tells more than the model


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

    def convert(self, losses: Sequence[float]) -> tuple[float, ...]:
        """Return one loss an objective, such as a reference, in these units."""
        return tuple(self.apply(np.array(losses)).tolist())

    def to_stored(self) -> dict[str, list[float]]:
        """Return what a study stores of it."""
        return {"ideal": list(self.ideal), "nadir": list(self.nadir)}


def read_normalisation(study: Mapping[str, Any]) -> Normalisation | None:
    """Return the normalisation of a stored study; None where losses stay as they are, or the range is not known yet."""
    stored = study.get("normalisation")
    return None if stored is None else Normalisation(tuple(stored["ideal"]), tuple(stored["nadir"]))


def build_normalisation(
    normalise: "str | Mapping[str, Sequence[float]] | Normalisation | None", names: Sequence[str]
) -> Normalisation | None:
    """Return the normalisation that is given in numbers; None where the corners tell it, or there is to be none.

    Args:
        normalise: "corners", None, or (ideal, nadir) by name.
        names: the m objectives.

    Raises:
        ValueError: it is none of these; a range is not two finite numbers, the second the larger.
    """
    if normalise is None or normalise == CORNERS:
        return None
    if isinstance(normalise, Normalisation):
        normalise = dict(zip(names, zip(*normalise, strict=True), strict=True))
    if not isinstance(normalise, Mapping) or set(normalise) != set(names):
        raise ValueError(
            f"normalise={normalise!r}: give {CORNERS!r}, None, or a range (ideal, nadir) for each of {list(names)}"
        )
    for name, row in normalise.items():
        try:
            ideal, nadir = (float(number) for number in row)
        except (TypeError, ValueError):
            ideal, nadir = np.nan, np.nan
        if not -np.inf < ideal < nadir < np.inf:
            raise ValueError(
                f"normalise: the range of {name!r} is {row!r}; give two finite numbers, the ideal and the larger nadir"
            )
    return Normalisation(*(tuple(float(normalise[name][end]) for name in names) for end in (0, 1)))

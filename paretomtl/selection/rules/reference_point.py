"""Nearest to what one aspires to, by the augmented achievement function (Wierzbicki, 1980)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from paretomtl.selection.select import Candidates, Choice, Rule, rank

AUGMENTATION = 1e-4  # of the sum of the misses: of points that miss by the same at most, the better in the others


@dataclass(frozen=True)
class ReferencePoint(Rule):
    """The point whose worst miss of the aspirations is smallest, in measures scaled to the front's range.

    Where all aspirations can be bettered, it is the one that betters all by most. A measure that does not vary over
    the front counts nothing.

    Args:
        aspirations: objective -> the value that one would like, for every objective.
    """

    aspirations: Mapping[str, float]

    def choose(self, among: Candidates) -> Choice:
        """The point with the smallest achievement function."""
        wanted = among.row(self.aspirations, "aspirations")
        varies = np.flatnonzero(among.spans)
        asked = ", ".join(f"{name} {value:g}" for name, value in zip(among.names, wanted, strict=True))
        if not len(varies):
            return among.chosen(range(len(among.points)), f"{among.named(0)} is equal to every other point")
        miss = (among.costs - among.signs * wanted)[:, varies] / among.spans[varies]
        order = rank(miss.max(axis=1) + AUGMENTATION * miss.sum(axis=1))
        k = order[0]
        worst = int(np.argmax(miss[k]))
        amount = f"{abs(miss[k, worst]):.3g} of the front's range, in {among.names[varies[worst]]}"
        far = f"misses them by at most {amount}" if miss[k, worst] > 0 else f"betters each by at least {amount}"
        return among.chosen(order, f"{among.named(k)} comes nearest to {asked}: it {far}")

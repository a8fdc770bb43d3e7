"""What methods share that go around another one: what holds of that one holds of them."""

from dataclasses import replace
from typing import Any

from paretomtl.normalisation import Normalisation
from paretomtl.solver import Solver


class Wrapper(Solver):
    """A method around another one, its field `base`."""

    base: Any

    def take_facts(self, names: tuple[str, ...]) -> None:
        """Take class variables of the base; elsewhere they are the class's, here each instance has its base's."""
        for name in names:
            object.__setattr__(self, name, getattr(self.base, name))

    @property
    def nonnegative(self) -> bool:
        """As the base."""
        return self.base.nonnegative

    @property
    def weighs_heads(self) -> bool:
        """As the base."""
        return self.base.weighs_heads

    def normalised(self, normalisation: Normalisation) -> "Wrapper":
        """Return the same around the base for normalised losses."""
        this: Any = self
        return replace(this, base=self.base.normalised(normalisation))

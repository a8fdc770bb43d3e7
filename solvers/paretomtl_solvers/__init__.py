"""The methods, one file each; `__all__` is the list that `paretomtl methods` prints."""

from paretomtl_solvers.epo import EPO
from paretomtl_solvers.linear import Linear

__all__ = ["EPO", "Linear"]

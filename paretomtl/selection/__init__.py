"""How one point of a front is chosen: the rules, and choosing by them."""

from paretomtl.selection import rules

__all__ = ["rules"]

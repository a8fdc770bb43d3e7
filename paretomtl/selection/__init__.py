"""Rules, and choosing by them."""

from paretomtl.selection import rules

__all__ = ["rules"]

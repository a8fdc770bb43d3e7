"""The gradients of heads, parameters that only one loss depends on: plain, or weighted as shared ones are."""

from typing import Literal

Heads = Literal["plain", "weighted"]


def check_heads(heads: str) -> None:
    """Raise unless heads is "plain" or "weighted"."""
    if heads not in ("plain", "weighted"):
        raise ValueError(f"heads={heads!r} is not one of 'plain', 'weighted'")

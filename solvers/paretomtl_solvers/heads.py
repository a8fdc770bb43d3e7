"""The gradients of heads, parameters that only one loss depends on: plain, or weighted as shared ones are."""

from dataclasses import fields
from typing import Any, Literal

Heads = Literal["plain", "weighted"]


def check_heads(heads: str) -> None:
    """Raise unless heads is "plain" or "weighted"."""
    if heads not in ("plain", "weighted"):
        raise ValueError(f"heads={heads!r} is not one of 'plain', 'weighted'")


def format_method(method: Any) -> str:
    """Format a method as a call, without plain heads: so it was stored before it had them."""
    plain = {} if method.heads == "weighted" else {"heads"}
    arguments = (f"{f.name}={getattr(method, f.name)!r}" for f in fields(method) if f.name not in plain)
    return f"{type(method).__qualname__}({', '.join(arguments)})"

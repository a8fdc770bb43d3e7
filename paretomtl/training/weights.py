"""What tensors a model has, and how two differ."""

from collections.abc import Mapping

from torch import Tensor


def layout_of(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """The type and shape of each tensor."""
    return {key: f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}" for key, value in weights.items()}


def describe_layout_difference(stored: Mapping[str, str], there: Mapping[str, str]) -> str:
    """Keys that one of two models lacks, and types and shapes that differ; the first few of each."""
    parts = []
    for text, keys in (
        ("stored only", [f"{k} {stored[k]}" for k in stored if k not in there]),
        ("in the model only", [f"{k} {there[k]}" for k in there if k not in stored]),
        (
            "different",
            [f"{k} {stored[k]} stored, {there[k]} here" for k in stored if k in there and stored[k] != there[k]],
        ),
    ):
        if keys:
            parts.append(f"{text}: {', '.join(keys[:5])}{' …' if len(keys) > 5 else ''}")
    return "; ".join(parts)

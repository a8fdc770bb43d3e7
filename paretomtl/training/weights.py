"""A model's weights: a copy of them, their types and shapes, and how two models differ."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from paretomtl.errors import escape_controls


def build_model(build: Callable[[], nn.Module]) -> nn.Module:
    """Call the user's function that makes a model, and check that it is one and makes one."""
    if isinstance(build, nn.Module) or not callable(build):
        kind = type(build).__name__
        remedy = f"the class {kind}" if isinstance(build, nn.Module) else "the problem's model"
        raise TypeError(f"build= is a {kind}; give a function without arguments that makes the model, such as {remedy}")
    model = build()
    if not isinstance(model, nn.Module):
        raise TypeError(f"build() returned a {type(model).__name__}; give a function that returns the torch.nn.Module")
    return model


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Copy a model's weights and buffers to the CPU."""
    return {key: value.detach().to("cpu", copy=True) for key, value in model.state_dict().items()}


def layout_of(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the type and shape of each tensor."""
    return {key: f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}" for key, value in weights.items()}


def describe_layout_difference(stored: Mapping[str, str], present: Mapping[str, str]) -> str:
    """Name the keys that one of two models lacks, and those whose types or shapes differ; the first few of each."""
    parts = []
    for text, keys in (
        ("stored only", [f"{k} {stored[k]}" for k in stored if k not in present]),
        ("in the model only", [f"{k} {present[k]}" for k in present if k not in stored]),
        (
            "different",
            [f"{k} {stored[k]} stored, {present[k]} here" for k in stored if k in present and stored[k] != present[k]],
        ),
    ):
        if keys:
            parts.append(f"{text}: {', '.join(keys[:5])}{' …' if len(keys) > 5 else ''}")
    return escape_controls("; ".join(parts))

"""Modulation, which `FiLM` and `Inputs` share: a change to the outputs of layers, channel by channel."""

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from paretomtl.conditioned.front_model import Conditioned, Generated

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMALISATION_LAYERS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
LAYERS = (nn.Linear, *CONVOLUTIONS, *NORMALISATION_LAYERS)
INNER = NonDynamicallyQuantizableLinear  # in attention, which reads the layer's weights and never calls the layer


class Change(NamedTuple):
    """A change to a layer's output: times `scale`, plus `shift`; (*points, channels) each, None for no change."""

    scale: Tensor | None
    shift: Tensor | None


class Modulated(Conditioned):
    """A conditioned network that scales and shifts the channels of layers' outputs.

    For a layer with a weight and a bias this is the same as another weight and another bias, which can be written into
    the plain network. Each sample of a batch can have a change of its own, at hardly any cost.

    Args:
        plain: the network.
        layers: the names of the changed layers.
    """

    def __init__(self, plain: nn.Module, layers: Sequence[str]):
        super().__init__(plain)
        self.layers = tuple(layers)
        self.channels = [bias_of(plain.get_submodule(name)).numel() for name in layers]

    @abstractmethod
    def changes(self, r: Float[Tensor, "p m"]) -> list[Change]:
        """Return the change to each layer's output, one row a preference."""

    def generate(self, r: Float[Tensor, "p m"]) -> Generated:
        """Return the weights and the biases that have the same effect."""
        weights: Generated = {}
        for name, (scale, shift) in zip(self.layers, self.changes(r), strict=True):
            layer = self.plain.get_submodule(name)
            weight, bias = weight_of(layer), bias_of(layer)
            rows, place = (len(r), *bias.shape), f"{name}." if name else ""  # the network may be a single layer
            if scale is not None:
                weights[f"{place}weight"] = weight * scale.reshape(*rows, *[1] * (weight.ndim - bias.ndim))
                bias = bias * scale.reshape(rows)
            weights[f"{place}bias"] = bias.expand(rows) if shift is None else bias + shift.reshape(rows)
        return weights

    @contextlib.contextmanager
    def applying(self, changes: Sequence[Change]) -> Iterator[None]:
        """Apply one change, (channels,), to each layer's output within this context."""
        hooks = [
            self.plain.get_submodule(name).register_forward_hook(_build_hook(change))
            for name, change in zip(self.layers, changes, strict=True)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _build_hook(change: Change):
    def apply(layer: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        del inputs
        shape = bias_of(layer).shape
        if isinstance(layer, (*CONVOLUTIONS, *NORMALISATION_LAYERS)) and not isinstance(layer, nn.LayerNorm):
            shape = (*shape, *[1] * (output.ndim - 2))  # (samples, channels, *place)
        scale, shift = (None if part is None else part.reshape(shape) for part in change)
        output = output if scale is None else output * scale
        return output if shift is None else output + shift

    return apply


def weight_of(layer: nn.Module) -> Tensor:
    """Return a layer's weight."""
    assert isinstance(layer.weight, Tensor)
    return layer.weight


def bias_of(layer: nn.Module) -> Tensor:
    """Return a layer's bias."""
    assert isinstance(layer.bias, Tensor)
    return layer.bias


def select_layers(plain: nn.Module, requested: Sequence[str], kind: str) -> list[str]:
    """Check the requested layers; by default, take all that can be changed, in the network's own order.

    Raises:
        ValueError: a layer does not exist or cannot be changed; or the network has none that can.
    """
    users: dict[int, int] = {}
    for module in plain.modules():
        for p in module.parameters(recurse=False):
            users[id(p)] = users.get(id(p), 0) + 1
    modules = dict(plain.named_modules())
    for name in requested:
        if name not in modules:
            raise ValueError(f"{kind}: there is no module {name!r} in the network; it has {', '.join(modules)[2:]}")
        reason = _unfit_reason(modules[name], users)
        if reason:
            raise ValueError(f"{kind}: module {name!r} {reason}; name other layers, or use Hypernetwork or LowRank")
    layers = list(requested) or [name for name, module in modules.items() if not _unfit_reason(module, users)]
    if not layers:
        raise ValueError(f"{kind}: the network has no linear, convolution or normalisation layer with a bias; "
                         "use Hypernetwork or LowRank")  # fmt: skip
    return layers


def _unfit_reason(layer: nn.Module, users: dict[int, int]) -> str:
    """Say why other weights cannot stand for a change to a layer's output; empty where they can."""
    if not isinstance(layer, LAYERS) or isinstance(layer, INNER):
        return f"is a {type(layer).__name__}, not a linear, convolution or normalisation layer"
    if not isinstance(layer.weight, Tensor) or not isinstance(getattr(layer, "bias", None), Tensor):
        return "has no weight or no bias"
    if users[id(layer.weight)] > 1 or users[id(layer.bias)] > 1:
        return "shares its weights with another"
    return ""

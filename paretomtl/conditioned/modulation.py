"""What `FiLM` and `Inputs` share: they act on the outputs of layers, channel by channel."""

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
NORMALISATIONS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
LAYERS = (nn.Linear, *CONVOLUTIONS, *NORMALISATIONS)
INNER = NonDynamicallyQuantizableLinear  # within attention, which takes its weights and never calls it


class Change(NamedTuple):
    """What is done to a layer's output: times `scale`, plus `shift`; (*points, channels), None for none."""

    scale: Tensor | None
    shift: Tensor | None


class Modulated(Conditioned):
    """A conditioned network that scales and shifts the channels of layers' outputs.

    On a layer with a weight and a bias that is the same as another weight and another bias, so it can be written into
    the plain network. And it can be done for each sample of a batch apart, at hardly any cost.

    Args:
        plain: the network.
        layers: their names in it.
    """

    def __init__(self, plain: nn.Module, layers: Sequence[str]):
        super().__init__(plain)
        self.layers = tuple(layers)
        self.channels = [bias_of(plain.get_submodule(name)).numel() for name in layers]

    @abstractmethod
    def changes(self, r: Float[Tensor, "p m"]) -> list[Change]:
        """What is done to the output of each layer, one row a preference."""

    def generate(self, r: Float[Tensor, "p m"]) -> Generated:
        """The weights and the biases that do the same."""
        found: Generated = {}
        for name, (scale, shift) in zip(self.layers, self.changes(r), strict=True):
            layer = self.plain.get_submodule(name)
            weight, bias = weight_of(layer), bias_of(layer)
            rows = (len(r), *bias.shape)
            if scale is not None:
                found[f"{name}.weight"] = weight * scale.reshape(*rows, *[1] * (weight.ndim - bias.ndim))
                bias = bias * scale.reshape(rows)
            found[f"{name}.bias"] = bias.expand(rows) if shift is None else bias + shift.reshape(rows)
        return found

    @contextlib.contextmanager
    def acting(self, changes: Sequence[Change]) -> Iterator[None]:
        """Within it the layers' outputs are changed, by (channels,) each."""
        hooks = [
            self.plain.get_submodule(name).register_forward_hook(_hook(change))
            for name, change in zip(self.layers, changes, strict=True)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _hook(change: Change):
    def changed(layer: nn.Module, given: tuple, output: Tensor) -> Tensor:
        del given
        shape = bias_of(layer).shape
        if isinstance(layer, (*CONVOLUTIONS, *NORMALISATIONS)) and not isinstance(layer, nn.LayerNorm):
            shape = (*shape, *[1] * (output.ndim - 2))  # (samples, channels, *place)
        scale, shift = (None if part is None else part.reshape(shape) for part in change)
        output = output if scale is None else output * scale
        return output if shift is None else output + shift

    return changed


def weight_of(layer: nn.Module) -> Tensor:
    """Its weight."""
    assert isinstance(layer.weight, Tensor)
    return layer.weight


def bias_of(layer: nn.Module) -> Tensor:
    """Its bias."""
    assert isinstance(layer.bias, Tensor)
    return layer.bias


def select_layers(plain: nn.Module, asked: Sequence[str], kind: str) -> list[str]:
    """The layers asked for, checked; by default all that can be changed, in the network's own order.

    Raises:
        ValueError: a layer that is not there, or cannot be changed; or there is none that can.
    """
    users: dict[int, int] = {}
    for module in plain.modules():
        for p in module.parameters(recurse=False):
            users[id(p)] = users.get(id(p), 0) + 1
    modules = dict(plain.named_modules())
    for name in asked:
        if name not in modules:
            raise ValueError(f"{kind}: there is no module {name!r} in the network; it has {', '.join(modules)[2:]}")
        why = _unfit_reason(modules[name], users)
        if why:
            raise ValueError(f"{kind}: module {name!r} {why}; name other layers, or use Hypernetwork or LowRank")
    found = list(asked) or [name for name, module in modules.items() if not _unfit_reason(module, users)]
    if not found:
        raise ValueError(f"{kind}: the network has no linear, convolution or normalisation layer with a bias; "
                         "use Hypernetwork or LowRank")  # fmt: skip
    return found


def _unfit_reason(layer: nn.Module, users: dict[int, int]) -> str:
    """Why a layer's output cannot be changed by way of its weights; empty where it can."""
    if not isinstance(layer, LAYERS) or isinstance(layer, INNER):
        return f"is a {type(layer).__name__}, not a linear, convolution or normalisation layer"
    if not isinstance(layer.weight, Tensor) or not isinstance(getattr(layer, "bias", None), Tensor):
        return "has no weight or no bias"
    if users[id(layer.weight)] > 1 or users[id(layer.bias)] > 1:
        return "shares its weights with another"
    return ""

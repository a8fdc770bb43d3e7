"""FiLM: feature-wise linear modulation (Perez et al., AAAI 2018), here by the preference.

Dosovitskiy and Djolonga ("You Only Train Once: Loss-Conditional Training of Deep Networks", ICLR 2020) use it to train
one network for all weights of its losses, with different weights for each sample of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.conditioned.front_model import FrontModel, build_mlp, check_names, check_size
from paretomtl.conditioned.modulation import Change, Modulated, select_layers
from paretomtl.conditioned.sampling import Sampling


@dataclass(frozen=True)
class FiLM(FrontModel):
    """Scales and shifts each channel after chosen layers: y = (1 + a(r)) layer(x) + b(r).

    a and b come from a small network of the preference, whose last layer starts at 0: at the start the plain network
    serves all preferences. It has few parameters (two a channel and hidden unit). Each sample may have a preference.

    Args:
        layers: names of modules; by default each linear, convolution and normalisation layer with a weight and a bias
            of its own.
        hidden: units in each of the small network's two hidden layers.
        sampling: the preferences used in training; by default one a sample.
    """

    per_sample: ClassVar[bool] = True
    layers: Sequence[str] = ()
    hidden: int = 64
    sampling: Sampling = field(default_factory=lambda: Sampling("sample"), kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "layers", check_names(self.layers, "layers"))
        check_size(self.hidden, "hidden")

    def attach(self, plain: nn.Module, m: int) -> "FiLMNetwork":
        """Return the network with its layers modulated."""
        return FiLMNetwork(plain, select_layers(plain, self.layers, "FiLM"), m, self.hidden)


class FiLMNetwork(Modulated):
    """A network with FiLM layers; see `FiLM`."""

    def __init__(self, plain: nn.Module, layers: list[str], m: int, hidden: int):
        super().__init__(plain, layers)
        self.modulator = build_mlp(plain, m, hidden, nn.Linear(hidden, 2 * sum(self.channels)))

    def changes(self, r: Float[Tensor, "p m"]) -> list[Change]:
        """Return a scale and a shift for each layer."""
        scales, shifts = self.modulator(r).chunk(2, dim=-1)
        pairs = zip(scales.split(self.channels, dim=-1), shifts.split(self.channels, dim=-1), strict=True)
        return [Change(1 + scale, shift) for scale, shift in pairs]

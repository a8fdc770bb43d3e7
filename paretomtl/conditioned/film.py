"""FiLM: feature-wise linear modulation (Perez et al., AAAI 2018), here by the preference.

So Dosovitskiy and Djolonga ("You Only Train Once: Loss-Conditional Training of Deep Networks", ICLR 2020) train one
network for all weights of its losses, with weights of its own for each sample of a batch.
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

    a and b come of a small network of the preference, whose last layer starts at 0: at the start all preferences are
    served by the plain network. Few parameters (two a channel and hidden unit), and each sample may have a preference.

    Args:
        layers: names of modules; by default each linear, convolution and normalisation layer with a weight and a bias
            of its own.
        hidden: units of the small network's two layers.
        sampling: which preferences it sees while it is trained; by default one a sample.
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
        """The network with its layers modulated."""
        return FiLMNetwork(plain, select_layers(plain, self.layers, "FiLM"), m, self.hidden)


class FiLMNetwork(Modulated):
    """See `FiLM`."""

    def __init__(self, plain: nn.Module, layers: list[str], m: int, hidden: int):
        super().__init__(plain, layers)
        self.modulator = build_mlp(plain, m, hidden, nn.Linear(hidden, 2 * sum(self.channels)))

    def changes(self, r: Float[Tensor, "p m"]) -> list[Change]:
        """A scale and a shift a layer."""
        scales, shifts = self.modulator(r).chunk(2, dim=-1)
        pairs = zip(scales.split(self.channels, dim=-1), shifts.split(self.channels, dim=-1), strict=True)
        return [Change(1 + scale, shift) for scale, shift in pairs]

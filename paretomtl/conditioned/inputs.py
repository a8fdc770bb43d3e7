"""Inputs: the preference as further inputs of the network (COSMOS; Ruchte and Grabocka, ICDM 2021).

"Scalable Pareto Front Approximation for Deep Multi-Objective Learning" joins it to the features of tables, and, by a
small network, to the channels of pictures. Here it joins the inputs of chosen layers without a change to the layers: m
further inputs with weights U add U r to a layer's output. For a convolution they are channels that are constant over
all places, beyond the edges too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.conditioned.front_model import FrontModel, check_names
from paretomtl.conditioned.modulation import NORMALISATION_LAYERS, Change, Modulated, select_layers
from paretomtl.conditioned.sampling import Sampling


@dataclass(frozen=True)
class Inputs(FrontModel):
    """Feeds the preference to chosen layers as m further inputs, whose weights start at 0.

    Args:
        layers: names of linear or convolution modules; by default the network's first one.
        sampling: the preferences used in training; by default one a sample.
    """

    per_sample: ClassVar[bool] = True
    layers: Sequence[str] = ()
    sampling: Sampling = field(default_factory=lambda: Sampling("sample"), kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "layers", check_names(self.layers, "layers"))

    def attach(self, plain: nn.Module, m: int) -> "InputsNetwork":
        """Return the network with the preference among its layers' inputs."""
        layers = select_layers(plain, self.layers, "Inputs")
        for name in self.layers:
            if isinstance(plain.get_submodule(name), NORMALISATION_LAYERS):
                kind = type(plain.get_submodule(name)).__name__
                raise ValueError(f"Inputs: module {name!r} is a {kind}, which has no inputs to add to; name others")
        if not self.layers:
            layers = [name for name in layers if not isinstance(plain.get_submodule(name), NORMALISATION_LAYERS)][:1]
        if not layers:
            raise ValueError("Inputs: no linear or convolution layer with a bias; name layers, or use Hypernetwork")
        return InputsNetwork(plain, layers, m)


class InputsNetwork(Modulated):
    """A network with the preference among its layers' inputs; see `Inputs`."""

    def __init__(self, plain: nn.Module, layers: list[str], m: int):
        super().__init__(plain, layers)
        like = next(plain.parameters())
        self.further = nn.Linear(m, sum(self.channels), bias=False, device=like.device, dtype=like.dtype)
        nn.init.zeros_(self.further.weight)

    def changes(self, r: Float[Tensor, "p m"]) -> list[Change]:
        """Return a shift for each layer."""
        return [Change(None, shift) for shift in self.further(r).split(self.channels, dim=-1)]

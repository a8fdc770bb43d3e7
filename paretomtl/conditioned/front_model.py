"""The contract of a front model: one network whose weights are a function of the preference.

A `FrontModel` holds options. Attached to a plain network it makes a `Conditioned`, which generates that network's
weights at any preference. The plain network's code is never changed: it is called at generated weights, and at a
preference it is a plain network again.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from paretomtl.conditioned.sampling import Sampling

Generated = dict[str, Tensor]  # weights by name, (p, *shape): one row a preference
LARGEST_SIZE = 65_536  # units, ranks, weights in a chunk


@dataclass(frozen=True)
class FrontModel(ABC):
    """One network for the whole front; the options that all kinds share.

    A subclass is a frozen dataclass whose fields are texts, finite numbers, bools, None or tuples of these, so that
    they can be stored as JSON. A front's folder knows it by its module and name.

    Class variables:
        per_sample: True for kinds that can give each sample of a batch a preference of its own; their networks change
            the outputs of layers, as those of `FiLM` do.

    Args:
        sampling: the preferences that it sees in training.
    """

    per_sample: ClassVar[bool] = False
    sampling: Sampling = field(default_factory=Sampling, kw_only=True)

    def __post_init__(self):
        if not isinstance(self.sampling, Sampling):
            raise ValueError(f"sampling={self.sampling!r}: give a pm.Sampling(…)")

    @abstractmethod
    def attach(self, plain: nn.Module, m: int) -> "Conditioned":
        """Return the conditioned network that serves `plain` at preferences of m objectives.

        It may draw random initial weights; they follow the study's seed. New parameters belong on the device and in the
        precision of `plain`'s. That device may be "meta", where parameters have shapes but no values to read.

        Raises:
            ValueError: it does not fit the network; with the remedy.
        """


class Conditioned(nn.Module, ABC):
    """A plain network, and its weights as a function of the preference.

    A subclass registers its further parameters and implements `generate`. All parameters that require a gradient are
    trained, those of the plain network included.

    Args:
        plain: the network.
    """

    def __init__(self, plain: nn.Module):
        super().__init__()
        self.plain = plain

    @abstractmethod
    def generate(self, r: Float[Tensor, "p m"]) -> Generated:
        """Return the weights that depend on the preference, by their names in `plain.named_parameters()`.

        Args:
            r: p preferences, on the device and in the precision of the network.

        Returns:
            Weights of shape (p, *shape), one row a preference; names that are absent keep the plain network's weights.
        """

    @torch.no_grad()
    def at(self, r: Float[np.ndarray, " m"]) -> nn.Module:
        """Return the plain network at a preference: a copy with its weights written out, in eval mode."""
        model = copy.deepcopy(self.plain, _uncopyable_values(self.plain))
        like = next(model.parameters())
        generated = self.generate(torch.as_tensor(r).to(like)[None])
        for name, p in model.named_parameters():  # tied weights have one name, and stay tied
            if name in generated:
                p.copy_(generated[name][0])
        return model.eval()


def _uncopyable_values(plain: nn.Module) -> dict[int, None]:
    """Values that a network keeps of its last call and torch cannot copy, as a memo by which deepcopy skips them."""
    memo: dict[int, None] = {}
    for module in plain.modules():
        values = [value for name, value in vars(module).items() if name not in ("_parameters", "_buffers", "_modules")]
        for x in tree_leaves(values):
            if isinstance(x, Tensor) and not isinstance(x, nn.Parameter):
                try:
                    copy.deepcopy(x)
                except (RuntimeError, NotImplementedError):
                    memo[id(x)] = None
    return memo


def check_names(names: Sequence[str], field: str) -> tuple[str, ...]:
    """Return names of modules as a tuple.

    Raises:
        ValueError: they are not a sequence of texts.
    """
    if isinstance(names, str):
        raise ValueError(f"{field}={names[:40]!r} is a text; give a tuple of names, ({names[:40]!r},)")
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{field}={names!r}: give a tuple of names of modules")
    return tuple(names)


def check_size(value: int, field: str, otherwise: str = "") -> None:
    """Raise unless a size is a whole number that does not fill the memory."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_SIZE:
        raise ValueError(f"{field}={value!r}: give a whole number from 1 to {LARGEST_SIZE:,}{otherwise}")


def select_parameters(plain: nn.Module, modules: Sequence[str], kind: str) -> dict[str, nn.Parameter]:
    """Return the trained parameters of modules by name, of the whole network by default; a tied one has one name.

    Raises:
        ValueError: the network has no such module, or the module has no trained parameter.
    """
    existing, selected = dict(plain.named_modules()), {}
    for module in modules or ("",):
        if module not in existing:
            raise ValueError(f"{kind}: there is no module {module!r} in the network; it has {', '.join(existing)[2:]}")
        ids = {id(p) for p in existing[module].parameters() if p.requires_grad}
        if not ids:
            raise ValueError(f"{kind}: module {module!r} has no trained parameter; name others")
        selected |= {name: p for name, p in plain.named_parameters() if id(p) in ids}
    return selected


def reshape_to_matrix(p: Tensor) -> Float[Tensor, "rows columns"]:
    """Return a weight as a matrix, outputs by inputs; a vector is one row."""
    return p.reshape(len(p), -1) if p.ndim > 1 else p.reshape(1, -1)


def build_mlp(plain: nn.Module, inputs: int, hidden: int, last: nn.Linear) -> nn.Sequential:
    """Build two hidden layers and a last one that starts at 0, on the device and in the precision of a network."""
    for p in last.parameters():
        nn.init.zeros_(p)
    layers = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last)
    return layers.to(next(plain.parameters()))


class MeanLinear(nn.Linear):
    """A linear layer over the mean of its inputs: whatever the width, Adam moves its output as it moves a weight."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's output."""
        return super().forward(input / self.in_features)

"""LowRank: shared weights and an update for each objective, mixed by the preference (PaLoRA; Dimitriadis et al., 2024).

"Pareto Low-Rank Adapters: Efficient Multi-Task Learning with Preferences". With updates of full rank it is the manifold
of PaMaL (Dimitriadis et al., ICML 2023, "Pareto Manifold Learning"): the weighted mean of one set of weights a task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.conditioned.front_model import (
    Conditioned,
    FrontModel,
    Generated,
    check_names,
    check_size,
    reshape_to_matrix,
    select_parameters,
)


@dataclass(frozen=True)
class LowRank(FrontModel):
    """W(r) = W + sum_i r_i B_i A_i for matrices (a convolution's is out x the rest), W + sum_i r_i b_i for vectors.

    B_i and b_i start at 0: at the start the plain network serves all preferences.

    Args:
        modules: names of modules whose weights depend on the preference; by default all.
        rank: the updates' rank; None is full rank: W(r) = sum_i r_i W_i, all W_i starting at the plain network's W.
    """

    modules: Sequence[str] = ()
    rank: int | None = 4

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "modules", check_names(self.modules, "modules"))
        if self.rank is not None:
            check_size(self.rank, "rank", ", or None for full rank")

    def attach(self, plain: nn.Module, m: int) -> Conditioned:
        """Return the network with its updates."""
        generated = select_parameters(plain, self.modules, "LowRank")
        return (
            ManifoldNetwork(plain, generated, m)
            if self.rank is None
            else LowRankNetwork(plain, generated, m, self.rank)
        )


class LowRankNetwork(Conditioned):
    """A network with low-rank updates; see `LowRank`."""

    def __init__(self, plain: nn.Module, generated: Mapping[str, Tensor], m: int, rank: int):
        super().__init__(plain)
        self.names, left, right = list(generated), [], []
        for p in generated.values():
            rows, columns = reshape_to_matrix(p).shape
            k = 0 if p.ndim < 2 else min(rank, rows, columns)
            left.append(nn.Parameter(torch.zeros(m, rows, k or columns).to(p)))
            right.append(nn.Parameter(torch.randn(m, k, columns).to(p) * columns**-0.5))
        self.left, self.right = nn.ParameterList(left), nn.ParameterList(right)

    def generate(self, r: Float[Tensor, "p m"]) -> Generated:
        """Return the weights, each the plain network's plus the mixed updates."""
        weights: Generated = {}
        for name, left, right in zip(self.names, self.left, self.right, strict=True):
            weight = self.plain.get_parameter(name)
            updates = left @ right if right.numel() else left
            weights[name] = weight + torch.tensordot(r, updates, dims=1).reshape(len(r), *weight.shape)
        return weights


class ManifoldNetwork(Conditioned):
    """A network that mixes one set of weights a task; the first set is the plain network's."""

    def __init__(self, plain: nn.Module, generated: Mapping[str, Tensor], m: int):
        super().__init__(plain)
        self.names = list(generated)
        self.others = nn.ParameterList(
            nn.Parameter(p.detach().expand(m - 1, *p.shape).clone()) for p in generated.values()
        )

    def generate(self, r: Float[Tensor, "p m"]) -> Generated:
        """Return the weighted means."""
        weights: Generated = {}
        for name, others in zip(self.names, self.others, strict=True):
            members = torch.cat([self.plain.get_parameter(name)[None], others])
            weights[name] = torch.tensordot(r, members, dims=1)
        return weights

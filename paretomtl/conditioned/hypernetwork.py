"""Hypernetwork: a network that writes another one's weights for a preference (PHN; Navon et al., ICLR 2021).

"Learning the Pareto Front with Hypernetworks". The published ones are written by hand for one architecture, and a
hundred times its size; here the weights are generated as they are named in any module, all of them or some, whole, in
chunks, or as low-rank updates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.conditioned.front_model import (
    Conditioned,
    FrontModel,
    Generated,
    MeanLinear,
    build_mlp,
    check_names,
    check_size,
    reshape_to_matrix,
    select_parameters,
)


@dataclass(frozen=True)
class Hypernetwork(FrontModel):
    """Generates weights as the plain network's own, which are trained as well, and a change that starts at 0.

    The change is the mean over the last hidden units, not their sum: so a learning rate that suits the plain network
    suits this one, whatever its size.

    Args:
        modules: names of modules whose weights are generated, the others are shared by all preferences; by default all.
        form: "full": each weight has `hidden` weights of its own in the last layer; "chunks": one last layer for all
            chunks of `chunk` weights, told apart by an embedding; "low-rank": B(r) A for a matrix, of rank `rank`,
            where A is trained and B generated; vectors are generated whole.
        hidden: units of the two hidden layers.
        chunk: weights in a chunk.
        rank: of the updates.
    """

    modules: Sequence[str] = ()
    form: Literal["full", "chunks", "low-rank"] = "full"
    hidden: int = 100
    chunk: int = 2048
    rank: int = 4

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "modules", check_names(self.modules, "modules"))
        if self.form not in tuple(FORMS):
            raise ValueError(f"form={self.form!r} is not one of {', '.join(map(repr, FORMS))}")
        for name in ("hidden", "chunk", "rank"):
            check_size(getattr(self, name), name)

    def attach(self, plain: nn.Module, m: int) -> Conditioned:
        """The network with its weights generated."""
        return FORMS[self.form](plain, select_parameters(plain, self.modules, "Hypernetwork"), m, self)


class Full(Conditioned):
    """Each weight with its own last layer."""

    def __init__(self, plain: nn.Module, generated: Mapping[str, Tensor], m: int, options: Hypernetwork):
        super().__init__(plain)
        self.shapes = {name: p.shape for name, p in generated.items()}
        total = sum(p.numel() for p in generated.values())
        self.writer = build_mlp(plain, m, options.hidden, MeanLinear(options.hidden, total, bias=False))

    def generate(self, r: Float[Tensor, "p m"]) -> Generated:
        """The weights, each the plain network's and a change."""
        return _add_changes(self, self.writer(r))


class Chunks(Conditioned):
    """One last layer for all chunks."""

    def __init__(self, plain: nn.Module, generated: Mapping[str, Tensor], m: int, options: Hypernetwork):
        super().__init__(plain)
        self.shapes = {name: p.shape for name, p in generated.items()}
        total, like = sum(p.numel() for p in generated.values()), next(plain.parameters())
        chunks = -(-total // options.chunk)
        self.total, self.embedding = total, nn.Parameter(torch.randn(chunks, EMBEDDING).to(like))
        self.writer = build_mlp(
            plain, m + EMBEDDING, options.hidden, MeanLinear(options.hidden, options.chunk, bias=False)
        )

    def generate(self, r: Float[Tensor, "p m"]) -> Generated:
        """The weights, each the plain network's and a change."""
        p, chunks = len(r), len(self.embedding)
        inputs = torch.cat([r[:, None].expand(p, chunks, -1), self.embedding.expand(p, chunks, -1)], dim=-1)
        return _add_changes(self, self.writer(inputs).reshape(p, -1)[:, : self.total])


class Updates(Conditioned):
    """Low-rank updates of matrices, whole ones of vectors."""

    def __init__(self, plain: nn.Module, generated: Mapping[str, Tensor], m: int, options: Hypernetwork):
        super().__init__(plain)
        self.names = list(generated)
        self.ranks, sizes, right = [], [], []
        for p in generated.values():
            rows, columns = reshape_to_matrix(p).shape
            k = 0 if p.ndim < 2 else min(options.rank, rows, columns)
            self.ranks.append(k)
            sizes.append(rows * (k or columns))
            right.append(nn.Parameter(torch.randn(k, columns).to(p) * columns**-0.5))
        self.sizes, self.right = sizes, nn.ParameterList(right)
        self.writer = build_mlp(plain, m, options.hidden, MeanLinear(options.hidden, sum(sizes), bias=False))

    def generate(self, r: Float[Tensor, "p m"]) -> Generated:
        """The weights, each the plain network's and an update."""
        found: Generated = {}
        pieces = self.writer(r).split(self.sizes, dim=-1)
        for name, k, right, piece in zip(self.names, self.ranks, self.right, pieces, strict=True):
            weight = self.plain.get_parameter(name)
            change = piece.reshape(len(r), -1, k) @ right if k else piece
            found[name] = weight + change.reshape(len(r), *weight.shape)
        return found


def _add_changes(network: Full | Chunks, changes: Float[Tensor, "p total"]) -> Generated:
    pieces = changes.split([shape.numel() for shape in network.shapes.values()], dim=-1)
    return {
        name: network.plain.get_parameter(name) + piece.reshape(len(piece), *shape)
        for (name, shape), piece in zip(network.shapes.items(), pieces, strict=True)
    }


EMBEDDING = 16  # numbers that tell a chunk from another
FORMS = {"full": Full, "chunks": Chunks, "low-rank": Updates}

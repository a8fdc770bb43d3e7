"""Networks of several architectures, losses for all of them, and front models beside them."""

import torch
from torch import Tensor, nn

import paretomtl as pm
from studies.digit_pairs import LeNet

KINDS: dict[str, pm.FrontModel] = {
    "full": pm.Hypernetwork(hidden=8),
    "chunks": pm.Hypernetwork(form="chunks", hidden=8, chunk=50),
    "low-rank": pm.Hypernetwork(form="low-rank", hidden=8, rank=2),
    "PaLoRA": pm.LowRank(),
    "PaMaL": pm.LowRank(rank=None),
    "FiLM": pm.FiLM(hidden=8),
    "Inputs": pm.Inputs(),
}


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))


class Encoder(nn.Module):
    """A transformer of one layer over three places."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(3, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 1)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layers(self.embed(x)).mean(dim=1))


class Block(nn.Module):
    """A residual block, its convolutions without a bias, as GroupNorm makes them."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.norm_1, self.norm_2 = nn.GroupNorm(2, channels), nn.GroupNorm(2, channels)

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm_1(self.first(x)).relu()
        return (x + self.norm_2(self.second(z))).relu()


class ResNet(nn.Module):
    """A stem, a block and a head."""

    def __init__(self, norm: type[nn.Module] | None = None):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, bias=False)
        self.norm = nn.GroupNorm(2, 4) if norm is None else norm(4)
        self.block = Block(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.norm(self.stem(x)).relu()).mean(dim=(2, 3)))


class Tied(nn.Module):
    """An embedding whose weights decode too, and a buffer."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.hidden = nn.Linear(4, 4)
        self.decode = nn.Linear(4, 7)
        self.decode.weight = self.embed.weight
        self.register_buffer("offset", torch.linspace(-1, 1, 4))

    def forward(self, words: Tensor) -> Tensor:
        return self.decode(self.hidden(self.embed(words) + self.offset).tanh())


def lenet() -> nn.Module:
    return LeNet("scarce")


def inputs(name: str, n: int = 3) -> Tensor:
    """A batch for a network of `NETWORKS`, in double precision."""
    if name == "tied":
        return torch.randint(7, (n,))
    return torch.randn(n, *SHAPES[name], dtype=torch.float64)


NETWORKS = {"LeNet": lenet, "MLP": mlp, "transformer": Encoder, "ResNet": ResNet, "tied": Tied}
SHAPES = {"LeNet": (1, 36, 36), "MLP": (4,), "transformer": (3, 3), "ResNet": (1, 6, 6)}


def built(name: str, seed: int = 0) -> nn.Module:
    """A network in double precision and eval mode, the same at each call."""
    torch.manual_seed(seed)
    return NETWORKS[name]().double().eval()


def moved(network: nn.Module, by: float = 0.3) -> nn.Module:
    """The network, its conditioned parameters away from the start."""
    with torch.no_grad():
        for name, p in network.named_parameters():
            if not name.startswith("plain."):
                p.add_(torch.randn_like(p), alpha=by)
    return network


def output(model: nn.Module, x: Tensor) -> Tensor:
    """All that a model says of a batch, (n, outputs)."""
    found = model(x)
    return torch.cat(found, dim=1) if isinstance(found, tuple) else found


def preferences(m: int, n: int = 3) -> Tensor:
    """A corner and n - 1 others, in double precision."""
    r = torch.rand(n, m, dtype=torch.float64)
    r[0] = torch.eye(m)[0]
    return r / r.sum(dim=1, keepdim=True)


def losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Two means over the samples that pull apart."""
    x, y = batch
    z = model(x)
    return {"a": (z[:, 0] - y[:, 0]).square().mean(), "b": (z[:, 1] - y[:, 1]).abs().mean()}


def batch(seed: int = 0, n: int = 6, double: bool = True) -> tuple[Tensor, Tensor]:
    """Inputs (n, 4) and targets (n, 2)."""
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, 4, generator=g), torch.randn(n, 2, generator=g)
    return (x.double(), y.double()) if double else (x, y)


def problem(model=mlp, given=losses, **changes) -> pm.Problem:
    """Two losses of an MLP."""
    fields = {"objectives": ["a", "b"], "train": [batch()], "validate": [batch()], "ref_point": [9.0, 9.0]}
    return pm.Problem(model=model, losses=given, **(fields | changes))

"""A net with a named trunk and named heads, for methods that look at its representation."""

import torch
from torch import Tensor, nn

import paretomtl as pm

NAMES = ("a", "b", "c")
EVEN = torch.full((3,), 1 / 3, dtype=torch.float64)
D = 4  # numbers of the representation


class Net(nn.Module):
    """A trunk, and heads of two layers for three losses."""

    def __init__(self, between: nn.Module | None = None, d: int = D):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, d))
        self.between = between or nn.Identity()
        for name in NAMES:
            self.add_module(name, nn.Linear(d, 3))
        self.ends = nn.ModuleDict({name: nn.Linear(3, 1) for name in NAMES})
        self.double()

    def heads(self, z: Tensor) -> list[Tensor]:
        return [self.ends[name](self.get_submodule(name)(z).tanh())[:, 0] for name in NAMES]

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.heads(self.between(self.trunk(x)))


def built(seed=1):
    torch.manual_seed(seed)
    return Net()


def losses(model, batch):
    x, y = batch
    a, b, c = model(x)
    return {"a": (a - y).square().mean(), "b": 10 * (b + y).exp().mean(), "c": 1 + (c * y).sin().mean()}


def batch(seed=0, n=7):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=g, dtype=torch.float64), torch.randn(n, generator=g, dtype=torch.float64)


def closure(model, data=None, losses=losses):
    data = batch() if data is None else data
    problem = pm.Problem(list(NAMES), lambda: model, losses, ref_point=[9.0] * 3, train=[data], validate=[data])
    return pm.closure(problem, model, data)


def at_representation(model, data=None):
    """The gradients at the representation, a loss at a time, (3, n, d)."""
    x, y = batch() if data is None else data
    z = model.trunk(x).detach().requires_grad_()
    values = losses(lambda _: model.heads(z), (x, y)).values()
    return torch.stack([torch.autograd.grad(value, z, retain_graph=True)[0] for value in values])


class Values(nn.Module):
    """A module that puts out its parameters."""

    def __init__(self, x):
        super().__init__()
        self.x = nn.Parameter(x.clone())

    def forward(self):
        return self.x


class Read:
    """A place as the losses of an analytic problem read it."""

    def __init__(self, x):
        self.x = x

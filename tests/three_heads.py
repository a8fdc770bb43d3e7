"""A net with three heads, its gradients by a second road, and methods that tell what they were given.

The second road is one backward pass a loss, each on a copy of the model.
"""

from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import nn

import paretomtl as pm
from paretomtl.autograd.gradients import descend, follow
from paretomtl.autograd.loss_function import closure
from paretomtl.solver import Aggregation, Stepper, Weighting, solved_status

NAMES = ("a", "b", "c")
PREFERENCE = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
X = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
SHARED = ("gain", "trunk.weight", "trunk.bias")  # in the order of the parameters


class ThreeHeads(nn.Module):
    """A trunk that all three losses reach, a gain that "a" and "b" reach, a head for each, and an idle parameter."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(3, 4)
        self.gain = nn.Parameter(torch.tensor(0.7))
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in NAMES)
        self.idle = nn.Parameter(torch.ones(2))
        self.double()

    def losses(self) -> list[torch.Tensor]:
        z = self.trunk(X).tanh()
        a, b, c = (head(z) for head in self.heads)
        return [(self.gain * a - X[:, :1]).square().mean(), (self.gain * b + 1).abs().mean(), c.exp().mean()]


Named = dict[str, torch.Tensor | None]


def one_by_one(model) -> list[Named]:
    """The gradient of each loss on each parameter."""
    gradients = []
    for i in range(len(model.losses())):
        copy = deepcopy(model)
        copy.losses()[i].backward()
        gradients.append({name: p.grad for name, p in copy.named_parameters()})
    return gradients


def combined(gradients: list[Named], weights) -> Named:
    """The sum of the gradients that there are, weighted."""
    result = {}
    for name in gradients[0]:
        pieces = [w * g[name] for w, g in zip(weights, gradients, strict=True) if g[name] is not None]
        result[name] = sum(pieces) if pieces else None
    return result


def heads(gradients: list[Named]) -> Named:
    """Of each head, the gradient of its own loss."""
    return {name: gradients[i][name] for i in range(3) for name in (f"heads.{i}.weight", f"heads.{i}.bias")}


def rows(gradients: list[Named]) -> torch.Tensor:
    """The Jacobian on the shared parameters."""
    flat = [[torch.zeros(1) if g[name] is None else g[name].reshape(-1) for name in SHARED] for g in gradients]
    return torch.stack([torch.cat(row) for row in flat])


def cut(direction: torch.Tensor, model, names=SHARED) -> Named:
    """A direction as the gradients of these parameters."""
    there = dict(model.named_parameters())
    pieces = direction.split([there[name].numel() for name in names])
    return {name: piece.view_as(there[name]) for name, piece in zip(names, pieces, strict=True)}


def assert_gradients(model, expected: Named, rtol: float = 1e-10) -> None:
    for name, p in model.named_parameters():
        if expected[name] is None:
            assert p.grad is None, name
        else:
            assert p.grad.dtype == p.dtype
            assert torch.allclose(p.grad, expected[name], rtol=rtol, atol=1e-14), name


@dataclass(frozen=True)
class Fixed(Weighting):
    """Answers the same weights, and keeps what it was given."""

    weights: tuple[float, ...]
    seen: list = field(default_factory=list, compare=False)

    def update(self, state, losses, gramian, preference):
        self.seen.append((state, losses, gramian, preference))
        return torch.tensor(self.weights, dtype=torch.float64), "next", solved_status(losses)


@dataclass(frozen=True)
class Places(Aggregation):
    """A direction that tells its entries apart, and what it was given."""

    seen: list = field(default_factory=list, compare=False)

    def update(self, state, losses, jacobian, preference):
        self.seen.append((state, losses, jacobian, preference))
        return (
            jacobian.sum(dim=0) * torch.arange(1.0, jacobian.shape[1] + 1).to(jacobian),
            "next",
            solved_status(losses),
        )


@dataclass(frozen=True)
class Everywhere(Stepper):
    """A direction over all parameters that tells its entries apart."""

    def update(self, state, closure, preference):
        found = closure.gradients()
        return found.jacobian.sum(dim=0) + torch.arange(found.jacobian.shape[1]), "next", solved_status(found.losses)


def taken(solver, model, state=None, **asked):
    """The solver's step on a model, by its class."""
    parameters = list(model.parameters())
    if isinstance(solver, Stepper):
        return follow(solver, state, of_batch(model), model.losses(), PREFERENCE, parameters, NAMES)
    return descend(solver, state, model.losses(), PREFERENCE, parameters, NAMES, **asked)


def of_batch(model) -> pm.Closure:
    problem = pm.Problem(
        objectives=NAMES,
        model=ThreeHeads,
        losses=lambda model, _: dict(zip(NAMES, model.losses(), strict=True)),
        ref_point=[9.0] * 3,
        deterministic=True,
    )
    return closure(problem, model)

"""From preferences to losses and gradients through a conditioned network; beside `paretomtl.gradients` the only file
that knows autograd.

`Batched` calls the plain network at the weights of each preference, by `vmap` or one after the other. `PerSample` calls
it once, each sample at a preference of its own.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map

from paretomtl.conditioned.front_model import Conditioned, Generated
from paretomtl.conditioned.modulation import CONVOLUTIONS, Change, Modulated
from paretomtl.gradients import LossModule, check_finite, gramian_of
from paretomtl.problem import Problem
from paretomtl.solver import Aggregation, Scalarization, Solver, Status, Weighting

UNFIT = (RuntimeError, ValueError, AttributeError, TypeError, LookupError, NotImplementedError)


class Stepped(NamedTuple):
    """A step, after the gradients were set: mean losses and weights by objective, and the solver's status.

    there: which objectives had a label.
    """

    there: list[int]
    losses: Float[Tensor, " k"]
    weights: Float[Tensor, " k"] | None
    status: Status


def step(
    network: Conditioned,
    problem: Problem,
    solver: Solver,
    state: Any,
    batch: Any,
    r: Float[Tensor, "p m"],
    each: str,
    vmapped: bool,
    clip: float | None = None,
) -> Stepped:
    """Add the gradient of one step to the parameters' `.grad`: the mean over the preferences."""
    there: list[int] = []
    evaluate = LossModule(problem, network.plain, there)
    weighing = isinstance(solver, (Weighting, Aggregation))
    asked = r.to(next(network.parameters()))
    if each == "sample":
        assert isinstance(network, Modulated)
        losses = per_sample(network, evaluate, batch, asked)
        generated: Generated = {}
    else:
        generated = expanded(network, asked) if weighing else network.generate(asked)
        losses = at_each(evaluate, generated, batch, vmapped)
    values = losses.detach()
    names = [problem.names[i] for i in there]
    check_finite(values.sum(dim=0), names)
    mine = _preferences(r, there)
    if not weighing:
        assert isinstance(solver, Scalarization)
        weights, _, status = solver.update(state, values, mine)
        (weights.to(losses) * losses).sum(dim=1).mean().backward()
        return Stepped(there, values.mean(dim=0), weights.mean(dim=0), status)
    weights, status = _through(generated, losses, solver, state, mine, names, clip)
    return Stepped(there, values.mean(dim=0), weights, status)


def _preferences(r: Float[Tensor, "p m"], there: Sequence[int]) -> Float[Tensor, "p k"]:
    """Shared among the objectives that have a label; evenly, where none of them matters."""
    if len(there) == r.shape[1]:
        return r
    r = r[:, there]
    total = r.sum(dim=1, keepdim=True)
    return torch.where(total > 0, r / total.clamp(min=torch.finfo(r.dtype).tiny), 1 / len(there))


def expanded(network: Conditioned, r: Float[Tensor, "p m"]) -> Generated:
    """All trained weights, one row a preference: what is not generated is shared, and each row takes part in it."""
    generated = network.generate(r)
    shared = {
        name: p.expand(len(r), *p.shape)
        for name, p in network.plain.named_parameters()
        if p.requires_grad and name not in generated
    }
    return generated | shared


def at_each(evaluate: LossModule, generated: Generated, batch: Any, vmapped: bool) -> Float[Tensor, "p k"]:
    """The losses of a batch at each row of weights."""
    named = {f"model.{name}": rows for name, rows in generated.items()}

    def losses(weights: Generated) -> Tensor:
        return functional_call(evaluate, weights, (batch,))

    if vmapped:
        return torch.vmap(losses, randomness="different")(named)
    each = zip(*(rows.unbind() for rows in named.values()), strict=True)
    return torch.stack([losses(dict(zip(named, row, strict=True))) for row in each])


def per_sample(network: Modulated, evaluate: LossModule, batch: Any, r: Float[Tensor, "n m"]) -> Float[Tensor, "n k"]:
    """The losses of each sample of a batch, at its own preference."""
    changes = network.changes(r)

    def losses(mine: list[Change], sample: Any) -> Tensor:
        with network.acting(mine):
            return evaluate(tree_map(lambda x: x.unsqueeze(0), sample))

    try:
        return torch.vmap(losses, randomness="different")(changes, batch)
    except UNFIT as error:
        raise ValueError(
            "the losses cannot be taken sample by sample (every tensor of a batch must lead with the samples, and the "
            "model must not mix them, as BatchNorm does); give sampling=pm.Sampling(each='batch', n=…): "
            f"{(str(error).splitlines() or [''])[0]}"
        ) from error


def samples(batch: Any) -> int:
    """How many samples a batch has: the length of its first tensor."""
    return len(tree_leaves(batch)[0])


def takes_vmap(network: Conditioned, problem: Problem, batch: Any, r: Float[Tensor, "p m"]) -> bool:
    """Whether the rows of weights are better called in one program: if it can be, and unless convolutions of many

    weights would make it slower, as they do on a CPU.
    """
    if len(r) == 1 or (r.device.type == "cpu" and any(isinstance(x, CONVOLUTIONS) for x in network.plain.modules())):
        return False
    before = torch.random.get_rng_state()
    try:
        with torch.no_grad():
            asked = r.to(next(network.parameters()))
            at_each(LossModule(problem, network.plain), network.generate(asked), batch, vmapped=True)
    except UNFIT:
        return False
    finally:
        torch.random.set_rng_state(before)
    return True


def _through(
    generated: Generated, losses: Float[Tensor, "p k"], solver: Solver, state: Any, r: Float[Tensor, "p k"],
    names: Sequence[str], clip: float | None,
) -> tuple[Float[Tensor, " k"] | None, Status]:  # fmt: skip
    """Ask the solver on the Jacobian of the generated weights, preference by preference; pull its answer back once."""
    rows = list(generated.values())
    jacobian = _jacobian(losses, rows)
    gramian = gramian_of(jacobian)
    norms = torch.diagonal(gramian, dim1=-2, dim2=-1).sqrt()
    check_finite(norms.sum(dim=0), names, before="the gradient of ")
    if clip is not None:
        shorter = (clip / norms.clamp(min=clip)).to(jacobian)
        jacobian = jacobian * shorter[..., None]
        gramian = gramian * (shorter[..., None] * shorter[..., None, :]).double()
    values = losses.detach()
    weights = None
    if isinstance(solver, Weighting):
        weights, _, status = solver.update(state, values, gramian, r)
        direction = torch.einsum("pk,pkn->pn", weights.to(jacobian), jacobian)
    else:
        assert isinstance(solver, Aggregation)
        direction, _, status = solver.update(state, values, jacobian, r)
    pieces = (direction / len(r)).split([row[0].numel() for row in rows], dim=-1)
    torch.autograd.backward(rows, [piece.reshape(row.shape).to(row) for row, piece in zip(rows, pieces, strict=True)])
    return None if weights is None else weights.mean(dim=0), status


def _jacobian(losses: Float[Tensor, "p k"], rows: Sequence[Tensor]) -> Float[Tensor, "p k n"]:
    """The Jacobian of each preference's losses with respect to its own weights; the sum over preferences parts them."""
    k = losses.shape[1]
    found = []
    for j in range(k):
        gradients = torch.autograd.grad(losses[:, j].sum(), rows, retain_graph=True, allow_unused=True)
        pieces = [torch.zeros_like(row) if g is None else g for row, g in zip(rows, gradients, strict=True)]
        found.append(torch.cat([piece.reshape(len(losses), -1) for piece in pieces], dim=1))
    return torch.stack(found, dim=1)

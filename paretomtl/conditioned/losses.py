"""From preferences to losses, and to gradients, through a conditioned network.

The plain network is called at the weights of each preference, by `vmap` or one after the other; or it is called once,
with each sample at a preference of its own.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map

from paretomtl.autograd.gradients import check_finite, clear_rounding, pull_back
from paretomtl.autograd.jacobian import clip_rows, gramian_of, jacobian_by_point
from paretomtl.autograd.labels import LabelCounts, check_labels
from paretomtl.autograd.loss_function import LossModule
from paretomtl.autograd.units import Units, convert
from paretomtl.conditioned.bounds import apply_bounds
from paretomtl.conditioned.front_model import Conditioned, Generated
from paretomtl.conditioned.modulation import CONVOLUTIONS, Change, Modulated
from paretomtl.errors import NonFiniteError
from paretomtl.problem import Problem
from paretomtl.solver import Aggregation, Scalarization, Solver, Status, Weighting

CALL_ERRORS = (RuntimeError, ValueError, AttributeError, TypeError, LookupError, NotImplementedError)


class ConditionedStep(NamedTuple):
    """The outcome of a step, once the gradients are set: mean losses and weights by objective, the solver's status.

    labels: the objectives that had a label.
    """

    labels: list[int]
    losses: Float[Tensor, " k"]
    weights: Float[Tensor, " k"] | None
    status: Status


def take_step(
    network: Conditioned,
    problem: Problem,
    solver: Solver,
    state: Any,
    batch: Any,
    r: Float[Tensor, "p m"],
    each: str,
    vmapped: bool,
    clip: float | None = None,
    counts: LabelCounts | None = None,
    units: Units | None = None,
) -> ConditionedStep:
    """Add the gradient of one step, a mean over the preferences, to the parameters' `.grad`.

    `counts` are the labels of the training so far, to which the batch's are added; None for a single step. `units`
    are those in which the solver gets the losses; None for their own.

    Raises:
        NoLabelError: the batch has no label.
        ValueError: it lacks a label, and the method weighs the losses against each other.
    """
    labels: list[int] = []
    evaluate = LossModule(problem, network.plain, labels)
    weighing = isinstance(solver, (Weighting, Aggregation))
    inputs = r.to(next(network.parameters()))
    if each == "sample":
        assert isinstance(network, Modulated)
        losses = evaluate_samples(network, evaluate, batch, inputs)
        generated: Generated = {}
    else:
        generated = expand_weights(network, inputs) if weighing else network.generate(inputs)
        generated = apply_bounds(network, problem, generated)
        losses = evaluate_rows(evaluate, generated, deal_batch(batch, len(r)) if each == "part" else batch, vmapped)
    means, names = losses.detach().mean(dim=0), [problem.names[i] for i in labels]
    check_finite(means, names)
    if units is not None:
        losses = torch.stack(convert(dict(zip(labels, losses.unbind(dim=1), strict=True)), units), dim=1)
    values = clear_rounding(solver, losses.detach(), names)
    check_labels(solver, problem.names, labels)
    counts = counts or LabelCounts(len(problem.names))
    preference = counts.shares(solver, r, labels)
    counts.add(labels)
    if not weighing:
        assert isinstance(solver, Scalarization)
        weights, _, status = solver.update(state, values, preference)
        pull_back([losses], [weights.to(losses) / len(r)])
        return ConditionedStep(labels, means, weights.mean(dim=0), status)
    weights, status = _backward_through(generated, losses, values, solver, state, preference, names, clip)
    return ConditionedStep(labels, means, weights, status)


def expand_weights(network: Conditioned, r: Float[Tensor, "p m"]) -> Generated:
    """Return all trained weights, one row a preference; weights that are not generated are the same in all rows."""
    generated = network.generate(r)
    shared = {
        name: p.expand(len(r), *p.shape)
        for name, p in network.plain.named_parameters()
        if p.requires_grad and name not in generated
    }
    return generated | shared


def evaluate_rows(evaluate: LossModule, generated: Generated, batch: Any, vmapped: bool) -> Float[Tensor, "p k"]:
    """Return the losses of a batch at each row of weights; if the batch is dealt out, each row has its own part."""
    named = {f"model.{name}": rows for name, rows in generated.items()}

    def losses(weights: Generated, part: Any = batch) -> Tensor:
        return functional_call(evaluate, weights, (part,))

    if vmapped:
        with attention_in_vmap(next(iter(named.values()))):
            return torch.vmap(losses, randomness="different")(named)
    rows = [dict(zip(named, row, strict=True)) for row in zip(*(rows.unbind() for rows in named.values()), strict=True)]
    parts = batch if isinstance(batch, BatchParts) else [batch] * len(rows)
    return torch.stack([losses(row, part) for row, part in zip(rows, parts, strict=True)])


class BatchParts(list):
    """The parts of a batch, one a preference."""


def deal_batch(batch: Any, p: int) -> Any:
    """Deal a batch out to p preferences, sample by sample; None, of a deterministic problem, stays None.

    Raises:
        ValueError: the batch's tensors do not lead with its samples.
    """
    if batch is None:
        return None
    if not can_deal(batch):
        raise ValueError(
            "a batch cannot be dealt out to several preferences, as its tensors do not all lead with its samples; give "
            "sampling=pm.Sampling('batch')"
        )
    return BatchParts(tree_map(lambda x, k=k: None if x is None else x[k::p], batch) for k in range(p))


def can_deal(batch: Any) -> bool:
    """Return whether all tensors of a batch lead with its samples."""
    leaves = [x for x in tree_leaves(batch) if x is not None]  # None: a label that is missing
    lengths = {len(x) if isinstance(x, Tensor) and x.ndim else None for x in leaves}
    return len(lengths) == 1 and None not in lengths


def evaluate_samples(
    network: Modulated, evaluate: LossModule, batch: Any, r: Float[Tensor, "n m"]
) -> Float[Tensor, "n k"]:
    """Return the losses of each sample of a batch, at the sample's own preference."""
    changes = network.changes(r)

    def losses(own_changes: list[Change], sample: Any) -> Tensor:
        with network.applying(own_changes):
            return evaluate(tree_map(lambda x: x.unsqueeze(0) if isinstance(x, Tensor) else x, sample))

    dims = tree_map(lambda x: 0 if isinstance(x, Tensor) else None, (changes, batch))  # None: a label that is missing
    try:
        with attention_in_vmap(r):
            return torch.vmap(losses, in_dims=dims, randomness="different")(changes, batch)
    except CALL_ERRORS as error:
        raise ValueError(
            "the losses cannot be taken sample by sample (every tensor of a batch must lead with the samples, and the "
            "model must not mix them, as BatchNorm does); give sampling=pm.Sampling(each='batch', n=…): "
            f"{(str(error).splitlines() or [''])[0]}"
        ) from error


def attention_in_vmap(like: Tensor) -> AbstractContextManager:
    """Make vmap run attention as one program in this context; it would run a CPU's kernel row by row, and warn."""
    return sdpa_kernel(SDPBackend.MATH) if like.device.type == "cpu" else nullcontext()


def count_samples(batch: Any) -> int | None:
    """Count a batch's samples, by the length of its first tensor; None where there is no batch."""
    if batch is None:
        return None
    for leaf in tree_leaves(batch):
        if isinstance(leaf, Tensor) and leaf.ndim:
            return len(leaf)
    raise ValueError("a batch holds no tensor that leads with its samples; give sampling=pm.Sampling('batch', n=…)")


def supports_vmap(network: Conditioned, problem: Problem, batch: Any, r: Float[Tensor, "p m"]) -> bool:
    """Return whether all rows of weights can be called in one program, and are better so.

    Convolutions on a CPU are slower in one program.
    """
    if len(r) == 1 or (r.device.type == "cpu" and any(isinstance(x, CONVOLUTIONS) for x in network.plain.modules())):
        return False
    state = torch.random.get_rng_state()
    try:
        with torch.no_grad():
            inputs = r.to(next(network.parameters()))
            evaluate_rows(LossModule(problem, network.plain), network.generate(inputs), batch, vmapped=True)
    except CALL_ERRORS:
        return False
    finally:
        torch.random.set_rng_state(state)
    return True


def _backward_through(
    generated: Generated, losses: Float[Tensor, "p k"], values: Float[Tensor, "p k"], solver: Solver, state: Any,
    r: Float[Tensor, "p k"], names: Sequence[str], clip: float | None,
) -> tuple[Float[Tensor, " k"] | None, Status]:  # fmt: skip
    """Call the solver on the losses' values and the Jacobian of the generated weights; pull back its answer.

    All are by preference; pulling back takes one pass.
    """
    rows = list(generated.values())
    jacobian = jacobian_by_point(losses, rows)
    gramian = gramian_of(jacobian)
    norms = torch.diagonal(gramian, dim1=-2, dim2=-1).sqrt()
    _check_gradients(norms.sum(dim=0), names)
    if clip is not None:
        jacobian, gramian = clip_rows(jacobian, gramian, norms, clip)
    weights = None
    if isinstance(solver, Weighting):
        weights, _, status = solver.update(state, values, gramian, r)
        direction = torch.einsum("pk,pkn->pn", weights.to(jacobian), jacobian)
    else:
        assert isinstance(solver, Aggregation)
        direction, _, status = solver.update(state, values, jacobian, r)
    pieces = (direction / len(r)).split([row[0].numel() for row in rows], dim=-1)
    pull_back(rows, pieces)
    return None if weights is None else weights.mean(dim=0), status


def _check_gradients(norms: Float[Tensor, " k"], names: Sequence[str]) -> None:
    """Raise if a norm is not finite; name all such losses, as autograd lets one loss of a preference spoil others."""
    bad = [name for name, finite in zip(names, norms.isfinite().tolist(), strict=True) if not finite]
    if len(bad) > 1:
        raise NonFiniteError(f"nan or inf in the gradient of {' or '.join(map(repr, bad))}")
    check_finite(norms, names, before="the gradient of ")

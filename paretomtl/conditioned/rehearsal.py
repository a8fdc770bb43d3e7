"""Checks of a front model before its training: whether it fits the method, the problem and the network."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from paretomtl.conditioned.bounds import apply_bounds, write_out
from paretomtl.conditioned.front_model import Conditioned, FrontModel, Generated, MeanLinear
from paretomtl.conditioned.losses import (
    CALL_ERRORS,
    LossModule,
    count_samples,
    evaluate_rows,
    evaluate_samples,
    take_step,
)
from paretomtl.conditioned.modulation import Modulated
from paretomtl.problem import Problem
from paretomtl.solver import Scalarization, Solver, Stepper, Sweep

TOLERANCE = 3e-4  # relative: in single precision, two ways to compute one loss agree more closely than this


def check_fit(front_model: FrontModel | None, solver: Solver, problem: Problem, points: int, fleet: int | None) -> None:
    """Raise if a method cannot train a front model, or if it needs one, or needs all points in one program."""
    method = type(solver).__name__
    needs_several = f"{method} weighs the preferences of a step against one another; give "
    several = "sampling=pm.Sampling(n=8), say"
    if front_model is None:
        if solver.joint and (points < 2 or (fleet or 0) < points):
            remedy = f"preferences={max(points, 2)}, fleet={max(points, 2)}"
            raise ValueError(
                f"{needs_several}{remedy}" + ("" if solver.stateful else f"; or front_model= with {several}")
            )
        return
    if not isinstance(front_model, FrontModel):
        raise TypeError(f"front_model={front_model!r} is not a FrontModel; give an instance, such as pm.FiLM()")
    kind = type(front_model).__name__
    reason = (
        "asks for one network's losses at other weights" if isinstance(solver, Stepper)
        else "carries its state from step to step" if solver.stateful
        else "" if solver.uses_preference else "ignores preferences"
    )  # fmt: skip
    if reason:
        raise ValueError(f"front_model={kind}: {method} {reason}; use a method such as Linear, Tchebycheff or EPO")
    if solver.joint and front_model.sampling.in_step(None) == 1:
        raise ValueError(f"front_model={kind}: {needs_several}{several}")
    if front_model.sampling.each == "sample":
        _check_each_sample(front_model, solver, problem, "give sampling=pm.Sampling('part'), say")


def _check_each_sample(front_model: FrontModel, solver: Solver, problem: Problem, remedy: str) -> None:
    kind, method = type(front_model).__name__, type(solver).__name__
    if not front_model.per_sample:
        raise ValueError(
            f"front_model={kind}: each='sample' would take other weights for each sample; use FiLM, or {remedy}"
        )
    if problem.deterministic:
        raise ValueError(
            f"front_model={kind}: a deterministic problem has no samples to have a preference each; {remedy}"
        )
    if problem.project is not None:
        raise ValueError(
            f"front_model={kind}: with a preference for each sample no weights are generated that the problem's "
            f"project= could bound; {remedy}"
        )
    if not (isinstance(solver, Scalarization) and solver.linear):
        raise ValueError(
            f"front_model={kind}: with a preference for each sample the losses must be weighed by the preference "
            f"alone, as Linear does, and {method} does not; use Linear, or {remedy}"
        )


def rehearse(
    network: Conditioned, front_model: FrontModel, solver: Solver, problem: Problem, batch: Any, r: Tensor
) -> list[str]:
    """Take one step on a batch, with a network that is thrown away, and return notes for the user.

    Raises:
        ValueError: the network cannot be called at other weights, or sample by sample.
        ValueError, TypeError: a front model of the user's own does not keep to its contract.
    """
    _check_network(network, front_model)
    _scramble(network)
    even = torch.full_like(r[:1], 1 / r.shape[1])  # at a corner, some kinds return the plain network's own weights
    if front_model.sampling.each == "sample":
        _check_samples(network, problem, batch, even)
    _check_weights(network, problem, batch, even)
    network.train()
    n = count_samples(batch)
    if n is not None and front_model.sampling.each == "sample":
        r = r[:1].expand(n, -1)
    r = r[:n]
    state = solver.init(Sweep(r, torch.zeros(len(r), dtype=torch.int64), 1, problem.deterministic, ()))
    take_step(network, problem, solver, state, batch, r, front_model.sampling.each, vmapped=False)
    norms = [
        name
        for name, layer in network.plain.named_modules()
        if isinstance(layer, _BatchNorm) and layer.track_running_stats
    ]
    if not norms:
        return []
    return [
        f"{norms[0]!r} is a BatchNorm: its running statistics mix preferences in training, and are estimated anew at "
        "each preference that is written out; GroupNorm or LayerNorm needs none"
    ]


def _check_network(network: nn.Module, front_model: FrontModel) -> None:
    """Raise unless `attach` of a front model, which may be the user's own, returned a network that can be trained."""
    subject = f"front_model={type(front_model).__name__}: attach() returned a {type(network).__name__}"
    if not isinstance(network, Conditioned):
        raise TypeError(f"{subject}; return a pm.Conditioned")
    if front_model.sampling.each == "sample" and not isinstance(network, Modulated):
        raise TypeError(
            f"{subject}, which cannot have a preference for each sample, as it does not change the outputs of layers; "
            "leave per_sample False"
        )


def _check_shapes(network: Conditioned, generated: Generated, p: int) -> None:
    """Raise unless generated weights are the plain network's by name and shape, one row for each of p preferences."""
    subject = f"{type(network).__name__}.generate(r)"
    if not isinstance(generated, dict) or not all(isinstance(rows, Tensor) for rows in generated.values()):
        raise TypeError(f"{subject} returned a {type(generated).__name__}; return a dict from names to tensors")
    if not generated:
        raise ValueError(f"{subject} returned no weights; return those that depend on the preference")
    shapes = {name: tuple(parameter.shape) for name, parameter in network.plain.named_parameters()}
    for name, rows in generated.items():
        if name not in shapes:
            raise ValueError(f"{subject}: the network has no parameter {name!r}; it has {', '.join(shapes)}")
        if rows.shape != (p, *shapes[name]):
            raise ValueError(
                f"{subject}: {name!r} has the shape {tuple(rows.shape)} for {p} preferences; give {(p, *shapes[name])}"
            )


def _scramble(network: Conditioned) -> None:
    """Move the network away from its start, where all preferences have the same weights."""
    with torch.no_grad():
        for name, p in network.named_parameters():
            if not name.startswith("plain."):
                p.add_(torch.randn_like(p), alpha=0.2)
        for layer in network.modules():
            if isinstance(layer, MeanLinear):  # it averages many units; else its output hardly moves
                layer.weight.mul_(layer.in_features**0.5)


@torch.no_grad()
def _check_weights(network: Conditioned, problem: Problem, batch: Any, r: Float[Tensor, "1 m"]) -> None:
    """Raise unless a call at generated weights gives the losses of a network that has them."""
    network.eval()
    like = next(network.parameters())
    generated = network.generate(r.to(like))
    _check_shapes(network, generated, len(r))
    generated = apply_bounds(network, problem, generated)
    from_call = evaluate_rows(LossModule(problem, network.plain), generated, batch, vmapped=False)[0]
    model = write_out(network, problem, r[0].cpu().numpy())
    try:
        from_model = LossModule(problem, model)(batch)
    except CALL_ERRORS as error:
        raise ValueError(
            "model(): it cannot be called after its weights were written out; it must not keep values that its "
            f"constructor computed from them: {(str(error).splitlines() or [''])[0]}"
        ) from error
    if not torch.allclose(from_call, from_model, rtol=TOLERANCE, atol=TOLERANCE * float(from_model.abs().max())):
        raise ValueError(
            f"model(): called at other weights it gives the losses {from_call.tolist()}, but {from_model.tolist()} "
            "once it has them; it must not be compiled, nor keep copies of its weights: hand in the plain module"
        )


def _check_samples(network: Conditioned, problem: Problem, batch: Any, r: Float[Tensor, "1 m"]) -> None:
    """Raise unless the samples' losses, all at one preference, have the batch's losses as their mean."""
    assert isinstance(network, Modulated)
    network.eval()  # but with gradients: without them attention takes a short cut that samples cannot
    inputs = r.to(next(network.parameters()))
    evaluate = LossModule(problem, network.plain)
    mean = evaluate_samples(network, evaluate, batch, inputs.expand(count_samples(batch) or 1, -1)).mean(dim=0)
    whole = evaluate_rows(evaluate, network.generate(inputs), batch, vmapped=False)[0]
    if not torch.allclose(mean, whole, rtol=TOLERANCE, atol=TOLERANCE * float(whole.detach().abs().max())):
        raise ValueError(
            f"losses: a batch's losses {whole.tolist()} are not the means of its samples' losses, {mean.tolist()}; "
            "with a preference for each sample they must be; give sampling=pm.Sampling('part'), say"
        )

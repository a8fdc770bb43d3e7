"""Gradients at a representation: what a module of the model puts out, for methods that balance tasks there."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paretomtl.autograd.gradients import gradients_of
from paretomtl.solver import Combine


def gradient_through(
    model: nn.Module, at: str, evaluate: Callable[[], list[Tensor]], parameters: Sequence[Tensor], combine: Combine
) -> Float[Tensor, " n"]:
    """Return a direction that `combine` chooses at the output of the module `at`; see `Closure.gradient_through`.

    Args:
        model: the model.
        at: the name of a module of it, as `model.named_modules()` has it.
        evaluate: computes the losses by calling the model.
        parameters: those that the direction is of.
        combine: from the losses, the output and the losses' gradients at it to the gradient that goes back.
    """
    modules = dict(model.named_modules())
    if at not in modules or not at:
        names = ", ".join(name for name in modules if name)
        raise ValueError(f"at={at!r} is no module of the model; it has {names}")
    outputs: list[Tensor] = []
    leaves: list[Tensor] = []

    def cut(module: nn.Module, inputs: tuple, output: Any) -> Tensor:
        del module, inputs
        if not isinstance(output, Tensor) or not output.requires_grad:
            raise ValueError(f"at={at!r}: that module's output is no tensor with a gradient; name one whose output is")
        outputs.append(output)
        leaves.append(output.detach().requires_grad_())
        return leaves[-1].clone()  # what follows may change it in place, as ReLU(inplace=True) does

    handle = modules[at].register_forward_hook(cut)
    try:
        losses = evaluate()
    finally:
        handle.remove()
    if len(outputs) != 1:
        raise ValueError(f"at={at!r}: the losses run that module {len(outputs)} times; name one that runs once")
    at_output, *behind = zip(*gradients_of(losses, [*leaves, *parameters]), strict=True)
    if any(_is_shared([g for g in column if g is not None]) for column in behind):
        raise ValueError(f"at={at!r}: behind that module losses still share parameters; name the last shared module")
    values = torch.stack([loss.detach() for loss in losses])
    output = leaves[0].detach()
    chosen = combine(values, output, torch.stack([torch.zeros_like(output) if g is None else g for g in at_output]))
    before = torch.autograd.grad(outputs[0], parameters, chosen.to(output), allow_unused=True)
    pieces = [
        sum((g for g in (shared, *column) if g is not None), torch.zeros_like(p)).reshape(-1)
        for p, shared, column in zip(parameters, before, behind, strict=True)
    ]
    return torch.cat(pieces).detach()


def _is_shared(gradients: Sequence[Tensor]) -> bool:
    """Return whether an entry of a parameter has a gradient of two losses; a layer of all heads has a row for each."""
    return len(gradients) > 1 and bool((sum((g != 0).int() for g in gradients) > 1).any())  # type: ignore[union-attr]

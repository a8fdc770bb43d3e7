"""The trace of the Fisher information: the mean over inputs of E |grad log p(y | x)|^2, with y from the model itself.

With the labels of the data in the place of drawn ones it would be the "empirical" Fisher, which is another number.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import log_softmax, logsigmoid

Kind = Literal["classes", "yes or no", "numbers"]


def fisher_trace(
    model: nn.Module,
    inputs: Tensor,
    kind: Kind = "classes",
    draws: int = 1,
    generator: torch.Generator | None = None,
) -> float:
    """Return an unbiased estimate of the trace of the Fisher information of a model's trained parameters.

    Args:
        model: a network from inputs (N, …) to logits: (N, classes) for "classes"; of any shape (N, …) for "yes or no",
            each a label of its own, and for "numbers", the means of Gaussians of variance 1. It is evaluated in eval
            mode, sample by sample, so it must not mix samples.
        inputs: the inputs, samples first.
        kind: what the labels are.
        draws: labels to draw for each input; more lower the noise.
        generator: the source of the draws; None for torch's own.

    Raises:
        ValueError: `kind` or `draws` is none of these.
    """
    if kind not in ("classes", "yes or no", "numbers"):
        raise ValueError(f"kind={kind!r}: give 'classes', 'yes or no' or 'numbers'")
    if not isinstance(draws, int) or draws < 1:
        raise ValueError(f"draws={draws!r}: give a whole number of at least 1")
    was_training = model.training
    model.eval()
    try:
        return _mean_square(model, inputs, kind, draws, generator)
    finally:
        model.train(was_training)


def _mean_square(model: nn.Module, inputs: Tensor, kind: Kind, draws: int, generator: torch.Generator | None) -> float:
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def log_probability(parameters: dict[str, Tensor], x: Tensor, label: Tensor) -> Tensor:
        output = torch.func.functional_call(model, parameters, (x[None],))[0]
        if kind == "classes":
            return log_softmax(output, -1).gather(-1, label[..., None]).sum()
        if kind == "yes or no":
            return torch.where(label > 0, logsigmoid(output), logsigmoid(-output)).sum()
        return -(output - label).square().sum() / 2

    gradient = torch.vmap(torch.func.grad(log_probability), in_dims=(None, 0, 0))
    with torch.no_grad():
        output = model(inputs)
    total = 0.0
    for _ in range(draws):
        gradients: dict[str, Any] = gradient(trained, inputs, _draw(output, kind, generator))
        total += sum(float(g.double().square().sum()) for g in gradients.values())
    return total / draws / len(inputs)


def _draw(output: Float[Tensor, "..."], kind: Kind, generator: torch.Generator | None) -> Tensor:
    """Draw labels from the model's own distribution."""
    if kind == "numbers":
        return output + torch.randn(output.shape, generator=generator).to(output)
    if kind == "yes or no":
        return (torch.rand(output.shape, generator=generator).to(output) < output.sigmoid()).to(output)
    probabilities = output.softmax(-1).cpu()
    labels = torch.multinomial(probabilities.reshape(-1, probabilities.shape[-1]), 1, generator=generator)
    return labels.reshape(probabilities.shape[:-1]).to(output.device)

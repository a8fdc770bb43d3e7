"""Head fine-tuning beside adaptation of all weights, on a task held out (Wang, Zhao and Li, ICML 2021).

Multi-task learning meets a new task with a new head on the trunk that it has trained; gradient-based meta-learning, as
MAML does, with some gradient steps on all weights. Where a network is so wide that its gradients hardly change, both
are regressions with a kernel, and they end alike where the two kernels are proportional, as for a linear network.

The paper has bounds for networks that each side trains in its own way. What is here is an interpretation: both begin at
one jointly trained network, so the difference is that of the two ways to adapt, and not of two trainings.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class AdaptationGap(NamedTuple):
    """How differently the two adaptations predict.

    Attributes:
        value: the root of the mean squared difference of the predictions at the queries, relative to that of the
            predictions after the adaptation of all weights; 0 where they predict alike, NaN where all of those are 0.
        head_loss, whole_loss: the losses on the support at the end. Where they differ, one has not come as far, or the
            trunk does not hold what the task needs.
    """

    value: float
    head_loss: float
    whole_loss: float


def adaptation_gap(
    model: nn.Module,
    head: str,
    loss: Callable[[Tensor, Tensor], Tensor],
    support: tuple[Tensor, Tensor],
    queries: Tensor,
    *,
    steps: int,
    learning_rate: float,
) -> AdaptationGap:
    """Return the difference of the predictions for a held task between a fine-tuned head and adapted weights.

    Both adaptations are plain gradient descent from the weights of `model`, which stay as they are; the model is in
    eval mode. For several held tasks, call it once for each.

    Args:
        model: from inputs to the predictions of the held task: the trunk of the joint training, and a new head.
        head: the name of the head among the model's modules.
        loss: `(predictions, labels) -> scalar`.
        support: inputs and labels to adapt to.
        queries: inputs to predict at.
        steps, learning_rate: the budget and the step of each adaptation; a handful of steps is MAML's, and many tell
            the limits apart.

    Raises:
        ValueError: there is no such head, it has no parameters, or an argument is out of range.
        ArithmeticError: an adaptation has diverged.
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps={steps!r}: give a whole number of at least 1")
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate={learning_rate!r}: give a positive number")
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    own = {name for name in weights if name.startswith(f"{head}.")}
    if not own:
        modules = ", ".join(name for name, _ in model.named_children())
        raise ValueError(f"head={head!r} names no module with trained parameters; the model has {modules}")
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        ends = [
            _descend(model, weights, moving, loss, support, queries, steps, learning_rate) for moving in (own, weights)
        ]
    finally:
        for module, training in modes.items():
            module.training = training
    (a, head_loss), (b, whole_loss) = ends
    size = b.square().mean().sqrt()
    return AdaptationGap(float((a - b).square().mean().sqrt() / size), head_loss, whole_loss)


def _descend(
    model: nn.Module,
    weights: dict[str, Tensor],
    moving: Any,
    loss: Callable[[Tensor, Tensor], Tensor],
    support: tuple[Tensor, Tensor],
    queries: Tensor,
    steps: int,
    learning_rate: float,
) -> tuple[Tensor, float]:
    """Return the predictions at the queries and the loss on the support, after steps on the weights that move."""
    still = {name: value for name, value in weights.items() if name not in moving}
    now = {name: value for name, value in weights.items() if name in moving}

    def support_loss(moved: dict[str, Tensor]) -> Tensor:
        return loss(torch.func.functional_call(model, still | moved, (support[0],)), support[1])

    slope = torch.func.grad(support_loss)
    for _ in range(steps):
        now = {name: now[name] - learning_rate * g for name, g in slope(now).items()}
    with torch.no_grad():
        end, predictions = float(support_loss(now)), torch.func.functional_call(model, still | now, (queries,)).double()
    if not bool(predictions.isfinite().all()) or not end < float("inf"):
        raise ArithmeticError(f"the adaptation has diverged; give a smaller learning_rate than {learning_rate:g}")
    return predictions, end

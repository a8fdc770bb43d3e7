"""The weights of several points of one architecture, stacked: a row a point."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn, optim, vmap
from torch.func import functional_call
from torch.utils._pytree import tree_map

from paretomtl.autograd.loss_function import SeparateLosses
from paretomtl.conditioned.losses import attention_in_vmap


def stack_weights(model: nn.Module, n: int) -> dict[str, nn.Parameter]:
    """Repeat a model's trained parameters n times, (n, *shape) each, by their names."""
    return {
        name: nn.Parameter(p.detach().expand(n, *p.shape).clone())
        for name, p in model.named_parameters()
        if p.requires_grad
    }


def evaluate_points(
    evaluate: SeparateLosses, rows: dict[str, nn.Parameter], batch: Any
) -> tuple[Float[Tensor, " p"], ...]:
    """Return the losses of a batch at each row of weights."""
    named: dict[str, Any] = {f"model.{name}": p for name, p in rows.items()}
    with attention_in_vmap(next(iter(named.values()))):
        return vmap(lambda weights: functional_call(evaluate, weights, (batch,)), randomness="error")(named)


def narrow_rows(rows: dict[str, nn.Parameter], optimizer: optim.Optimizer, keep: list[int]) -> dict[str, nn.Parameter]:
    """Keep some rows of the weights, with their gradients, and make the optimizer go on with these."""
    new: dict[int, nn.Parameter] = {}
    for p in rows.values():
        fewer = nn.Parameter(p.detach()[keep].clone())
        fewer.grad = None if p.grad is None else p.grad[keep]
        new[id(p)] = fewer
        if p in optimizer.state:
            optimizer.state[fewer] = {
                key: value[keep] if isinstance(value, Tensor) and value.shape == p.shape else value
                for key, value in optimizer.state.pop(p).items()
            }
    for group in optimizer.param_groups:
        group["params"] = [new[id(p)] for p in group["params"]]
    return {name: new[id(p)] for name, p in rows.items()}


def take_rows(state: Any, rows: int | list[int]) -> Any:
    """Return rows of a solver's state, whose tensors lead with the points."""
    return tree_map(lambda x: x[rows] if isinstance(x, Tensor) else x, state)

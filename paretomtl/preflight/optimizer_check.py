"""Whether an optimizer and its scheduler can take the steps of a study, tried for one step that is thrown away."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from paretomtl.solver import Scalarization
from paretomtl.training.study import Study

NAMES_SHOWN = 3  # parameters that a note lists


def check_gradients_are_dense(study: Study, gradients: Mapping[str, Tensor | None]) -> None:
    """Raise if a gradient is sparse, and the points are trained in a way that needs it dense."""
    sparse = next((name for name, gradient in gradients.items() if gradient is not None and gradient.is_sparse), None)
    if sparse is None or (study.mode is None and isinstance(study.solver, Scalarization)):
        return
    method = type(study.solver).__name__
    what = f"{method} reads the gradient of each loss" if study.mode is None else "points are trained together"
    raise ValueError(f"model(): {sparse!r} has sparse gradients, and {what}; build that layer with sparse=False")


def check_optimizer(study: Study, parameters: Mapping[str, Tensor]) -> list[str]:
    """Take one step with parameters that have their gradients, and return notes; it changes the parameters.

    Raises:
        TypeError: the study's `optimizer` returned something else than an optimizer, or one and a scheduler.
        ValueError: the optimizer holds other parameters; it or its scheduler cannot be stepped.
    """
    optimizer, scheduler = _build(study, parameters)
    kind = type(optimizer).__name__
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    foreign = len(held - {id(p) for p in parameters.values()})
    if foreign:
        raise ValueError(
            f"optimizer: of the {len(held)} parameters of the {kind}, {foreign} are not among those that the function "
            f"was given, which are a new model's for each point; build it from them: lambda parameters: {kind}"
            "(parameters, lr=…)"
        )
    _check_call(
        optimizer,
        f"optimizer: {kind}.step()",
        "after the method has set the gradients, without arguments; give one that needs no closure, such as "
        "torch.optim.Adam",
    )
    if scheduler is not None:
        _check_call(
            scheduler,
            f"optimizer: the scheduler's {type(scheduler).__name__}.step()",
            "after every step, without arguments; give one that follows the steps alone, such as "
            "torch.optim.lr_scheduler.CosineAnnealingLR",
        )
    try:
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"optimizer: the first step of {kind} raised {type(error).__name__}: {first}{_hint(parameters)}"
        ) from error
    left = [name for name, p in parameters.items() if id(p) not in held]
    if not left:
        return []
    shown = ", ".join(map(repr, left[:NAMES_SHOWN])) + (" …" if len(left) > NAMES_SHOWN else "")
    return [f"the optimizer holds {len(held)} of {len(parameters)} parameters; the others stay as they are: {shown}"]


def _build(study: Study, parameters: Mapping[str, Tensor]) -> tuple[Any, Any]:
    result = study.optimizer(list(parameters.values()))
    pair = result if isinstance(result, tuple) else (result, None)
    is_pair = len(pair) == 2 and hasattr(pair[0], "param_groups") and callable(getattr(pair[0], "step", None))
    if not is_pair or not (pair[1] is None or callable(getattr(pair[1], "step", None))):
        shown = f"({', '.join(type(part).__name__ for part in pair)})" if isinstance(result, tuple) else repr(result)
        raise TypeError(
            f"optimizer(parameters) returned {shown}; return a torch.optim.Optimizer, or (optimizer, scheduler)"
        )
    return pair


def _check_call(of: Any, what: str, how: str) -> None:
    """Raise if an object's `step` needs an argument."""
    try:  # the class's own: a scheduler puts a wrapper without this signature on its optimizer
        _, *parameters = inspect.signature(type(of).step).parameters.values()
    except (AttributeError, TypeError, ValueError):  # without a signature, the trial shows
        return
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]
    if needed:
        raise ValueError(f"{what} needs {' and '.join(map(repr, needed))}, and is called {how}")


def _hint(parameters: Mapping[str, Tensor]) -> str:
    sparse = next((name for name, p in parameters.items() if p.grad is not None and p.grad.is_sparse), None)
    if sparse is None:
        return ""
    return f"; {sparse!r} has sparse gradients: build that layer with sparse=False, or give an optimizer for them"

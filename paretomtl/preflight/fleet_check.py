"""Whether the points of a study can be trained in one program, each as it would be alone."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from paretomtl.autograd.loss_function import SeparateLosses
from paretomtl.conditioned.losses import CALL_ERRORS
from paretomtl.conditioned.rehearsal import TOLERANCE
from paretomtl.errors import NoLabelError
from paretomtl.solver import Stepper
from paretomtl.training.rows import evaluate_points, stack_weights
from paretomtl.training.study import Study

TRIAL_STEPS = 3  # steps in which an optimizer is compared


def check_fleet(study: Study, model: nn.Module, batch: Any) -> None:
    """Raise where the points of a study cannot be trained in one program.

    Raises:
        ValueError: the method, the model, a loss or the optimizer cannot; with the reason.
    """
    if isinstance(study.solver, Stepper):
        raise _refusal(f"{type(study.solver).__name__} asks for one network's losses at other weights")
    if study.solver.learned:
        raise _refusal(f"{type(study.solver).__name__} learns numbers beside the parameters of one network")
    for name, layer in model.named_modules():
        chance = isinstance(layer, _DropoutNd) and layer.p > 0
        if chance or isinstance(layer, _BatchNorm):
            raise _refusal(f"{name!r} is a {type(layer).__name__}, which would mix points or treat them unalike")
    evaluate, rows = SeparateLosses(study.problem, model, []), stack_weights(model, 2)
    try:
        together = evaluate_points(evaluate, rows, batch)
        alone = evaluate(batch)
    except NoLabelError:
        return
    except CALL_ERRORS as error:
        raise _refusal(
            f"torch cannot call it at several weights at once: {(str(error).splitlines() or [''])[0]}"
        ) from error
    for name, row, loss in zip([study.problem.names[i] for i in evaluate.labels], together, alone, strict=True):
        near = torch.isclose(row, loss.expand(2), rtol=TOLERANCE, equal_nan=True)
        if not near.all():
            raise _refusal(
                f"at several weights at once loss {name!r} is {row.tolist()}, and alone {float(loss.detach())}"
            )
    _check_optimizer(study, model)


def _refusal(why: str) -> ValueError:
    return ValueError(f"fleet: {why}; leave fleet= out")


def _check_optimizer(study: Study, model: nn.Module) -> None:
    """Raise where points would not move as they do alone, for example where a step is scaled by a layer's norm.

    Steps are compared in double precision, so that weight decay on some points only differs by more than rounding.
    """
    draw = torch.Generator().manual_seed(0)
    plain = [p.detach().double().cpu() for p in model.parameters() if p.requires_grad]
    alone = [[nn.Parameter(p + torch.randn(p.shape, generator=draw, dtype=p.dtype)) for p in plain] for _ in range(2)]
    rows = [nn.Parameter(torch.stack([p.detach() for p in pair])) for pair in zip(*alone, strict=True)]
    optimizers = [study.build(parameters)[0] for parameters in (*alone, rows)]
    for _ in range(TRIAL_STEPS):
        for row, *pair in zip(rows, *alone, strict=True):
            for p in pair:
                p.grad = torch.randn(p.shape, generator=draw, dtype=p.dtype)
            row.grad = torch.stack([p.grad for p in pair])
        for optimizer in optimizers:
            optimizer.step()
    for row, *pair in zip(rows, *alone, strict=True):
        if not torch.allclose(row, torch.stack([p.detach() for p in pair]), rtol=1e-9, atol=1e-12):
            raise _refusal(f"{type(optimizers[-1]).__name__} does not treat each number of a weight on its own")

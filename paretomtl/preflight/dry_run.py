"""The dry run: errors that one batch reveals before any work starts, each with the field, the value and the remedy."""

import contextlib
import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from paretomtl.autograd.gradients import ROUNDING, depends_on, gradient_of
from paretomtl.autograd.loss_function import closure
from paretomtl.conditioned.rehearsal import rehearse
from paretomtl.conditioned.sampling import Preferences
from paretomtl.errors import NoLabelError
from paretomtl.preflight.fleet_check import check_fleet
from paretomtl.preflight.known_data import fingerprint_data
from paretomtl.preflight.label_check import check_first_labels, length_notes
from paretomtl.preflight.measure_check import check_measuring, first_batches
from paretomtl.preflight.optimizer_check import check_gradients_are_dense, check_optimizer
from paretomtl.problem import Problem
from paretomtl.solver import Aggregation, Stepper, Weighting
from paretomtl.training.seeds import INITIAL, reproducible, reseed, seed_of
from paretomtl.training.study import Study

LAST_PLACES = 16  # units of the last place by which two calls of an exact loss may differ, as on a GPU
SCALE_RATIO = 1e3  # ratio of two losses on the first batch above which they are hardly on one scale


def resolve_device(device: str) -> str:
    """Return the device to use; "auto" is CUDA where there is one.

    Raises:
        ValueError: it is no device, or CUDA and absent.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is not a torch device; give 'cpu', 'cuda' or 'auto'") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}, but torch sees no CUDA device here; give 'cpu', or 'auto' for either")
    return device


class Findings(NamedTuple):
    """The notes of a dry run, and the fingerprint of each split."""

    notes: list[str]
    data: dict[str, dict[str, Any]]


def dry_run(study: Study) -> Findings:
    """Rehearse a study with a new model on the first batches: a step, the optimizer, measuring; return the notes."""
    if torch.device(study.device).type == "cuda" and not torch.cuda.is_available():
        study = replace(study, device="cpu")  # the executor's GPU is elsewhere
    problem, notes = study.problem, []
    splits = study.open()
    _check_lengths(splits, study)
    study.solver.init(study.sweep(study.jobs[0], study.budget(splits)))  # raises if the method lacks something
    with reproducible():
        reseed(seed_of(study.seed, 0, INITIAL))
        model, second = problem.model(), problem.model()
        _check_models(model, second)
        model = model.to(study.device)
        model.train()
        gradients: dict[str, Tensor | None] = {}
        train_batch: Any = None
        for split, batches in splits.items():
            few = first_batches(batches, split, study.device)
            losses, _, is_stated = problem.counted_losses(model, few[0])
            notes += length_notes(split, few[0], is_stated)
            if split == "train":
                check_first_labels(study, model, batches)
            if split == "train" or problem.deterministic:
                train_batch = few[0]
                if problem.deterministic:
                    _check_repeats(problem, losses, problem.loss_list(model, train_batch))
                notes += _check_graph(study, losses, model) + _scale_notes(study, losses)
                gradients = _gradients_of_sum(losses, model)
                check_gradients_are_dense(study, gradients)
                notes += _rehearse_front_model(study, second.to(study.device), train_batch)
                _rehearse_stepper(study, second, train_batch, losses, study.budget(splits))
                _check_signs(study, losses, split)
            if split != "train":
                rows, unmeasured = check_measuring(problem, model, few, split)
                notes += unmeasured
                for losses in rows:
                    _check_signs(study, losses, split)
        if study.walk is None and study.front_model is None:
            notes += _rehearse_optimizer(study, model, gradients)  # it changes the model
        if study.fleet is not None:
            check_fleet(study, second.to(study.device), train_batch)  # the first has made a step
    fingerprints = {} if problem.deterministic else fingerprint_data(splits)
    if "test" in fingerprints and fingerprints["test"] == fingerprints["validate"]:
        notes.append("test and validate hold the same data: what is chosen on validate is not tested on unseen data")
    return Findings(notes, fingerprints)


def _rehearse_front_model(study: Study, model: nn.Module, batch: Any) -> list[str]:
    """Rehearse one step of the front model, if there is one; `model` is changed by it."""
    if study.front_model is None:
        return []
    network = study.front_model.attach(model, len(study.problem.names))
    r = Preferences(study.front_model.sampling, len(study.problem.names), 0).draw(
        study.front_model.sampling.in_step(None)
    )
    notes = []
    with contextlib.suppress(NoLabelError):  # the first batch may have none
        notes = rehearse(network, study.front_model, study.solver, study.problem, batch, r.to(study.device))
    return notes + check_optimizer(study, {name: p for name, p in network.named_parameters() if p.requires_grad})


def _rehearse_stepper(study: Study, model: nn.Module, batch: Any, losses: list, steps: int) -> None:
    """Take one step of a method that asks for more than losses and gradients; it may change the model.

    Raises:
        ValueError: it names a module that the model lacks, say.
    """
    if not isinstance(study.solver, Stepper) or study.walk is not None or any(loss is None for loss in losses):
        return
    job = next(job for job in study.jobs if job.corner is None)
    state = study.solver.init(study.sweep(job, steps))
    again = closure(study.problem, model.to(study.device), batch)
    study.solver.update(state, again, torch.from_numpy(job.preference))


def _gradients_of_sum(losses: list, model: nn.Module) -> dict[str, Tensor | None]:
    """Gradient of the sum of the losses with respect to each trained parameter; None where there is none."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    present = [loss for loss in losses if loss is not None]
    if not present:
        return dict.fromkeys(trained)
    gradients = gradient_of(torch.stack(present).sum(), list(trained.values()))
    return dict(zip(trained, gradients, strict=True))


def _rehearse_optimizer(study: Study, model: nn.Module, gradients: dict[str, Tensor | None]) -> list[str]:
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for name, p in trained.items():
        p.grad = gradients.get(name)
    return check_optimizer(study, trained)


def _check_repeats(problem: Problem, losses: list, again: list) -> None:
    """Raise if the losses of a deterministic problem differ between two calls at the same weights."""
    for name, one, other in zip(problem.names, losses, again, strict=True):
        if one is None or other is None:
            continue
        rounding = LAST_PLACES * torch.finfo(one.dtype).eps * float(one.detach().abs())
        if abs(float(one.detach()) - float(other.detach())) > rounding:
            raise ValueError(
                f"deterministic=True, but loss {name!r} is {float(one.detach()):.9g} and then "
                f"{float(other.detach()):.9g} at the same weights; take the noise, such as dropout or sampling, out of "
                "the model and the losses, or leave deterministic out and give train= and validate="
            )


def _check_models(model: Any, second: Any) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model() returned {type(model).__name__}; return a torch.nn.Module")
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise TypeError("model() returned a DistributedDataParallel, which is not supported; return the plain module")
    for name, p in itertools.chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(p):
            raise ValueError(
                f"model(): {name!r} is lazy and has no shape yet; give the layer its sizes (nn.Linear for "
                "nn.LazyLinear), or call the model on one batch before model() returns it"
            )
    for name, p in model.named_parameters():
        if p.requires_grad and p.is_complex():
            raise ValueError(
                f"model(): {name!r} is complex ({str(p.dtype).removeprefix('torch.')}), and methods compare real "
                "gradients; keep it as nn.Parameter(torch.view_as_real(value)), and call torch.view_as_complex on it "
                "in forward"
            )
    pointers = {p.data_ptr() for p in model.parameters() if p.numel()}
    if model is second or any(p.data_ptr() in pointers for p in second.parameters() if p.numel()):
        raise ValueError(
            "model() returned the same weights twice; build a new module at each call, else points share one model"
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("model() has no parameter that requires a gradient; there is nothing to train")


def _check_lengths(splits: dict[str, Iterable[Any]], study: Study) -> None:
    for split, batches in splits.items():
        try:
            len(batches)  # type: ignore[arg-type]
        except TypeError:
            if split == "train" and study.steps is not None and study.walk is None:
                continue
            steps = split == "train" and study.walk is None
            remedy = "give steps= in place of epochs=" if steps else "give batches that end"
            raise ValueError(f"{split} has no length, so it may never end; {remedy}") from None


def _check_graph(study: Study, losses: list, model: nn.Module) -> list[str]:
    """Raise if a loss reaches no parameter; return a note if it shares none and the method weighs gradients."""
    present = [(name, loss) for name, loss in zip(study.problem.names, losses, strict=True) if loss is not None]
    reaches = depends_on([loss for _, loss in present], [p for p in model.parameters() if p.requires_grad])
    for (name, loss), reach in zip(present, reaches, strict=True):
        if not any(reach):
            why = "does not depend on the model's parameters" if loss.requires_grad else "has no gradient (detached?)"
            raise ValueError(
                f"loss {name!r} {why}; compute it from the model's output without .detach(), .item() or numpy"
            )
    # what a loss shares with one that has no label here cannot be seen
    if not isinstance(study.solver, (Weighting, Aggregation)) or len(present) < len(losses):
        return []
    shared = [sum(column) > 1 for column in zip(*reaches, strict=True)]
    apart = [
        f"loss {name!r} reaches no parameter that another loss reaches"
        for (name, _), reach in zip(present, reaches, strict=True)
        if not any(own and common for own, common in zip(reach, shared, strict=True))
    ]
    if apart and study.solver.stateful:
        raise ValueError(f"{apart[0]}, and {type(study.solver).__name__} carries its state from step to step and needs "
                         "every loss to; give the losses a common trunk, or use a method without state")  # fmt: skip
    return [
        f"{what}: it has no say in the shared direction, and its own parameters follow its gradient alone"
        for what in apart
    ]


def _scale_notes(study: Study, losses: list) -> list[str]:
    """Return a note if losses are of wildly different size, and not to be normalised."""
    problem = study.problem
    if study.awaits_corners or study.normalisation is not None:
        return []
    sizes = {n: abs(float(loss.detach())) for n, loss in zip(problem.names, losses, strict=True) if loss is not None}
    sizes = {name: size for name, size in sizes.items() if size > 0}
    if len(sizes) < 2:
        return []
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    if not SCALE_RATIO * sizes[small] < sizes[large] < float("inf"):
        return []
    scale = next(o.scale for o in problem.described if o.name == large)
    return [
        f"loss {large!r} is {sizes[large] / sizes[small]:.1e} times loss {small!r} on the first batch "
        f"({sizes[large]:.3g} and {sizes[small]:.3g}); to divide it: "
        f"pm.Objective({large!r}, scale={sizes[large] * scale:.2g})"
    ]


def _check_signs(study: Study, losses: list, split: str) -> None:
    if not study.solver.nonnegative or study.awaits_corners or study.normalisation is not None:
        return
    values = {n: float(loss.detach()) for n, loss in zip(study.problem.names, losses, strict=True) if loss is not None}
    for name, value in values.items():
        if value < -ROUNDING * max(map(abs, values.values())):
            raise ValueError(
                f"loss {name!r} is {value:.4g} on a batch of {split}, before the first step, and "
                f"{type(study.solver).__name__} needs losses of at least 0; shift it, or use Linear"
            )

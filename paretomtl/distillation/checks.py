"""Checks that the terms share: shapes, temperatures, and probabilities in the place of logits."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Reduction = Literal["mean", "none"]
FEW = 64  # numbers that may lie between 0 and 1 by chance
SQUASHED = ("Sigmoid", "Softmax")  # begin the names of autograd's nodes
VIEWS = ("Squeeze", "Unsqueeze", "View", "Reshape", "UnsafeView", "Select", "Slice", "Transpose", "Permute", "T")


def reduce(values: Float[Tensor, "..."], reduction: Reduction) -> Float[Tensor, "..."]:
    """Return the mean of the values, or all of them."""
    if reduction not in ("mean", "none"):
        raise ValueError(f"reduction={reduction!r}: give 'mean' or 'none'")
    return values.mean() if reduction == "mean" else values


def check_alike(teacher: Tensor, student: Tensor, name: str, dim: int | None = None) -> None:
    """Raise unless the teacher's and the student's numbers have one shape.

    Args:
        teacher, student: the numbers.
        name: what they are, such as "logit".
        dim: the dimension of the classes; None where there are none.
    """
    if teacher.shape == student.shape:
        return
    shapes = f"teacher_{name} has the shape {tuple(teacher.shape)}, student_{name} {tuple(student.shape)}"
    if dim is not None and teacher.ndim == student.ndim and teacher.shape[dim] != student.shape[dim]:
        raise ValueError(
            f"{shapes}: {teacher.shape[dim]} against {student.shape[dim]} along dim={dim}; "
            "give both for the same classes or channels"
        )
    raise ValueError(f"{shapes}; give both for the same samples, in one shape")


def check_temperature(temperature: float) -> None:
    """Raise unless a temperature is positive and finite."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature={temperature!r}: give a positive number; 1 leaves the logits as they are")


def check_logits(teacher: Tensor, student: Tensor, dim: int | None = None) -> None:
    """Raise where one of the two has been through a sigmoid or a softmax.

    Args:
        teacher, student: the logits.
        dim: the dimension of the classes; None for logits of yes or no.
    """
    for name, logit in (("teacher_logit", teacher), ("student_logit", student)):
        if (squashed := _squashing(logit)) is not None:
            raise ValueError(f"{name} comes out of a {squashed.lower()}; give the numbers that go into it")
    if _holds(_are_probabilities(teacher, dim)):
        logits = "torch.logit(p)" if dim is None else "p.log()"
        raise ValueError(
            f"teacher_logit has only numbers between 0 and 1{'' if dim is None else ', which sum to 1'}: "
            f"these are probabilities p; give logits, as {logits}"
        )


def _squashing(logit: Tensor) -> str | None:
    """Return the last function that made a number of the graph a probability; None if no function did."""
    node = logit.grad_fn
    while node is not None and node.name().startswith(VIEWS):
        node = node.next_functions[0][0]
    name = "" if node is None else node.name()
    return next((kind for kind in SQUASHED if name.startswith(kind)), None)


def _are_probabilities(logit: Tensor, dim: int | None) -> Tensor | bool:
    """Whether the numbers of a frozen teacher are probabilities, by their values.

    Logits of yes or no may lie between 0 and 1 too: all of many do so only where a network has learned nothing, as one
    that is trained with the student has before its first step.
    """
    if not logit.numel() or logit.requires_grad:
        return False
    bounded = (logit >= 0).all() & (logit <= 1).all()
    if dim is not None:
        return bounded & ((logit.sum(dim) - 1).abs() < 1e-4).all()
    return bounded if logit.numel() >= FEW and torch.is_grad_enabled() else False


def _holds(condition: Tensor | bool) -> bool:
    """Whether a condition holds; False within `torch.vmap` over samples, where no value can be read."""
    try:
        return bool(condition)
    except RuntimeError:
        return False

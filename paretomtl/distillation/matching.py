"""Distances of a student's logits or features from a teacher's."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from paretomtl.distillation.checks import Reduction, check_alike, reduce


def logit_matching(
    teacher_logit: Float[Tensor, "..."],
    student_logit: Float[Tensor, "..."],
    dim: int = -1,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return the squared distance |t - s|^2 of logits: MKD's term (Liu et al., 2019).

    Args:
        teacher_logit: logits of the teacher; no gradient reaches them.
        student_logit: logits of the student, of the same shape.
        dim: the dimension of the classes, along which squares are summed; the term is a mean over all others.
        reduction: "mean", or "none" for a value a sample.

    Raises:
        ValueError: the shapes or the classes differ.
    """
    check_alike(teacher_logit, student_logit, "logit", dim)
    return reduce((teacher_logit.detach() - student_logit).square().sum(dim), reduction)


def feature_distance(
    teacher_features: Float[Tensor, "..."],
    student_features: Float[Tensor, "..."],
    dim: int = 1,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return |t / |t| - s / |s||^2 = 2 - 2 cos of features: KD-MTL's term (Li and Bilen, 2020).

    Args:
        teacher_features: features of the teacher, a network for one task; no gradient reaches them.
        student_features: features of the student after its adaptor for the task, of the same shape.
        dim: the dimension of the channels; the term is a mean over samples and places.
        reduction: "mean", or "none" for a value a sample and place.

    Raises:
        ValueError: the shapes or the channels differ.
    """
    check_alike(teacher_features, student_features, "features", dim)
    difference = normalize(teacher_features.detach(), dim=dim) - normalize(student_features, dim=dim)
    return reduce(difference.square().sum(dim), reduction)


class Adaptors(nn.Module):
    """A linear map of the student's channels to those of each task's teacher, the same at all places.

    Each begins as the identity, as far as the numbers of channels allow. They are trained with the student, of which
    they are a part, and left out where it is served.

    Args:
        tasks: the tasks' names.
        inputs: the student's channels.
        outputs: the teachers' channels; None for as many.
    """

    def __init__(self, tasks: Sequence[str], inputs: int, outputs: int | None = None):
        super().__init__()
        maps = {task: nn.Linear(inputs, outputs or inputs, bias=False) for task in tasks}
        for layer in maps.values():
            nn.init.eye_(layer.weight)
        self.maps = nn.ModuleDict(maps)

    def forward(self, features: Float[Tensor, "n c *places"], task: str) -> Float[Tensor, "n d *places"]:
        """Map features for a task; channels are dimension 1."""
        if task not in self.maps:
            raise ValueError(f"task={task!r}: the adaptors are for {list(self.maps)}")
        return torch.movedim(self.maps[task](torch.movedim(features, 1, -1)), -1, 1)

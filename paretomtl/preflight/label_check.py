"""What the first batches reveal of labels: some that are missing, and losses whose number of labels is not known."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import torch
from torch import nn

from paretomtl.autograd.labels import LabelCounts, check_labels
from paretomtl.solver import Stepper
from paretomtl.training.fleet import check_shares
from paretomtl.training.measuring import to_device
from paretomtl.training.study import Study

BATCHES = 8  # batches that are searched for missing labels


def check_first_labels(study: Study, model: nn.Module, train: Iterable[Any]) -> None:
    """Raise where one of the first batches lacks a label, and the study's way of training cannot go without it.

    Points that are trained alone collect labels over batches; fleets, front models and steppers do not.
    """
    alone = study.fleet is None and study.front_model is None
    if study.walk is not None or (alone and not isinstance(study.solver, Stepper)):
        return
    problem = study.problem
    for batch in islice(train, BATCHES):
        losses = problem.loss_list(model, to_device(batch, study.device))
        present = [i for i, loss in enumerate(losses) if loss is not None]
        if not present or len(present) == len(losses):
            continue
        check_labels(study.solver, problem.names, present)
        if study.fleet is not None:
            rows = torch.tensor([job.preference.tolist() for job in study.jobs])
            check_shares(LabelCounts(len(losses)).shares(study.solver, rows, present), problem.names, present)


def length_notes(split: str, batch: Any, is_stated: bool) -> list[str]:
    """Return a note if the number of labels of a loss can only be guessed, from tensors of unequal or no length.

    Args:
        split: where the batch is from.
        batch: a batch, or None.
        is_stated: whether every loss came with its count.
    """
    if is_stated or batch is None or isinstance(batch, (int, float, str)) or getattr(batch, "shape", None) is not None:
        return []
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (tuple, list)) else ()
    lengths = [int(part.shape[0]) for part in parts if getattr(part, "shape", None)]
    if len(set(lengths)) == 1:
        return []
    remedy = "; if that is wrong, return (mean, number of labels) for each loss"
    if lengths:
        return [
            f"the tensors of a batch of {split} have the lengths {', '.join(map(str, dict.fromkeys(lengths)))}: its "
            f"losses count as means over the first of them{remedy}"
        ]
    return [f"no tensor shows the length of a batch of {split}, so all batches count alike in a mean{remedy}"]

"""Labels that are missing: masked, filled in by a teacher, or implied by another task."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn.functional import one_hot, softmax

from paretomtl.distillation.checks import Reduction, check_alike
from paretomtl.distillation.divergences import categorical_kl


def labelled_mean(values: Float[Tensor, "..."], present: Bool[Tensor, "..."]) -> tuple[Float[Tensor, ""], float] | None:
    """Return the mean of the values that have a label and their number, as a problem's losses are returned; or None.

    Args:
        values: a loss a sample, such as a term with `reduction="none"`. Where a label is missing, compute it with any
            valid label: of NaN the gradient is NaN, even where it is multiplied by 0.
        present: which samples have a label.

    Raises:
        ValueError: the shapes differ.
    """
    if present.dtype != torch.bool:
        raise ValueError(f"present has the dtype {present.dtype}; give True and False, such as `label >= 0`")
    if present.shape != values.shape:
        raise ValueError(
            f"present has the shape {tuple(present.shape)}, values {tuple(values.shape)}; give one a value"
        )
    count = int(present.sum())
    if not count:
        return None
    return torch.where(present, values, 0.0).sum() / count, float(count)


def fill_labels(
    label: Shaped[Tensor, "..."], present: Bool[Tensor, "..."], teacher_logit: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """Return targets: the labels where they are present, elsewhere what a teacher says (Distill-2MD-MTL).

    The teacher is a network that was trained on the data set that has these labels. The targets go into torch's
    `cross_entropy` or `binary_cross_entropy_with_logits`, which take probabilities.

    Args:
        label: classes, as integers of shape S, or 0 and 1 as floats; any valid value where they are missing.
        present: which of them are labels, of shape S.
        teacher_logit: logits of the teacher: of shape S and the classes, or of shape S for labels of yes and no.

    Raises:
        ValueError: the shapes do not fit, or a label is no class of the teacher's.
    """
    if present.shape != label.shape or present.dtype != torch.bool:
        raise ValueError(
            f"present is {present.dtype} of shape {tuple(present.shape)}; give True and False of shape "
            f"{tuple(label.shape)}, that of label"
        )
    logit = teacher_logit.detach()
    if label.is_floating_point():
        check_alike(logit, label, "logit")
        return torch.where(present, label, logit.sigmoid())
    if logit.shape[:-1] != label.shape:
        raise ValueError(
            f"teacher_logit has the shape {tuple(logit.shape)}; give {(*label.shape, 'classes')}, as label has classes"
        )
    classes = logit.shape[-1]
    if bool((wrong := present & ((label < 0) | (label >= classes))).any()):
        raise ValueError(f"label has the class {label[wrong][0].item()}, the teacher {classes} classes from 0 on")
    known = one_hot(torch.where(present, label, 0).long(), classes).to(logit)
    return torch.where(present[..., None], known, softmax(logit, -1))


def imply(probability: Float[Tensor, "*n a"], table: Float[Tensor, "a b"]) -> Float[Tensor, "*n b"]:
    """Return the classes of another task that these classes imply: sum_a p(a) P(b | a) (Kollias et al., AAAI 2024).

    Of a sample with the label a, `table[a]` is the soft label for the other task: its co-annotation.

    Args:
        probability: probabilities of the classes of the first task.
        table: P(b | a), each row a distribution, from experts or from samples that have both labels.

    Raises:
        ValueError: a row of the table is no distribution, or the classes differ.
    """
    if not bool((table >= 0).all()) or not bool(((table.sum(-1) - 1).abs() < 1e-4).all()):
        raise ValueError(f"table has the rows' sums {table.sum(-1).tolist()}; give P(b | a), whose rows sum to 1")
    if probability.shape[-1] != len(table):
        raise ValueError(f"probability has {probability.shape[-1]} classes, table {len(table)} rows; give one a class")
    return probability @ table.to(probability)


def distribution_matching(
    teacher_logit: Float[Tensor, "*n a"],
    student_logit: Float[Tensor, "*n b"],
    table: Float[Tensor, "a b"],
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return KL(implied || predicted) of one task by another's prediction (Kollias et al., AAAI 2024).

    It couples tasks whose data have no labels in common. It is 0 where the predictions agree; the paper's cross-entropy
    differs by the entropy of what is implied, which has no gradient here: the prediction that implies is stopped, an
    interpretation. Call it again with the tasks' places changed to couple them both ways.

    Args:
        teacher_logit: logits of the task that implies; no gradient reaches them.
        student_logit: logits of the task that is to agree.
        table: P(b | a), as in `imply`.
        reduction: "mean", or "none" for a value a sample.

    Raises:
        ValueError: the shapes or classes do not fit.
    """
    implied = imply(softmax(teacher_logit.detach(), -1), table)
    # a class that nothing implies has the smallest probability that there is, not 0, whose logarithm is infinite
    tiny = torch.finfo(implied.dtype).tiny
    return categorical_kl(implied.clamp(min=tiny).log(), student_logit, reduction=reduction)

"""CrossDistil: a ranking across tasks teaches each task (Yang et al., AAAI 2022).

With two labels of yes or no, the samples fall into four groups, and for the first task both > first alone > second
alone > neither. A ranker that is trained on this order (`rank_chain`) knows of both tasks. Its logit is corrected where
it contradicts the label, made a probability by Platt's scaling, fitted on a batch that is held out, and then is the
soft target of the student: `binary_cross_entropy_with_logits(student, calibrated(...).sigmoid())`.

The abstract does not say which pairs of the order are ranked; here they are the neighbours.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from paretomtl.distillation.checks import Reduction, reduce

STEPS, CONVERGED = 100, 1e-10  # of Newton's method on two numbers


def rank_chain(scores: Float[Tensor, "..."], dim: int = -1, reduction: Reduction = "mean") -> Float[Tensor, "..."]:
    """Return -sum log sigma(s_k - s_(k+1)) over the neighbours of an order: BPR (Rendle et al., 2009) on a chain.

    Args:
        scores: numbers of the samples, the best first along `dim`.
        dim: the dimension of the order; the term is a mean over all others.
        reduction: "mean", or "none" for a value an order.
    """
    if scores.shape[dim] < 2:
        raise ValueError(f"scores has the shape {tuple(scores.shape)}: an order along dim={dim} needs two or more")
    better = scores.narrow(dim, 0, scores.shape[dim] - 1)
    worse = scores.narrow(dim, 1, scores.shape[dim] - 1)
    return reduce(-logsigmoid(better - worse).sum(dim), reduction)


def sample_quadruplets(
    first: Shaped[Tensor, " n"], second: Shaped[Tensor, " n"], count: int, generator: torch.Generator | None = None
) -> Int[Tensor, "count 4"]:
    """Draw indices of samples in the order of the first task: both labels, the first alone, the second alone, neither.

    Args:
        first, second: labels of yes (1) or no (0) of the two tasks; change places for the second task's order.
        count: quadruplets to draw, with replacement.
        generator: the source of the draws; None for torch's own.

    Raises:
        ValueError: a group has no sample.
    """
    a, b = _as_yes_or_no(first, "first"), _as_yes_or_no(second, "second")
    groups = {"both": a & b, "the first alone": a & ~b, "the second alone": b & ~a, "neither": ~a & ~b}
    columns = []
    for name, group in groups.items():
        places = group.nonzero()[:, 0]
        if not len(places):
            raise ValueError(f"of {len(a)} samples none has the label of {name}; draw from more samples")
        draws = torch.randint(len(places), (count,), generator=generator)
        columns.append(places[draws.to(places.device)])
    return torch.stack(columns, dim=1)


def corrected(teacher_logit: Float[Tensor, "..."], label: Shaped[Tensor, "..."], margin: float) -> Float[Tensor, "..."]:
    """Return the teacher's logits, moved to the side of the labels where they contradict them.

    Args:
        teacher_logit: logits r of the ranker.
        label: labels of the same shape; the result is max(r, margin) where it is 1, min(r, -margin) where it is 0.
        margin: how far on the right side the logit is at least, >= 0.

    Raises:
        ValueError: the shapes differ, or a label is neither 0 nor 1.
    """
    if label.shape != teacher_logit.shape:
        raise ValueError(
            f"label has the shape {tuple(label.shape)}, teacher_logit {tuple(teacher_logit.shape)}; give one a logit"
        )
    if not margin >= 0:
        raise ValueError(f"margin={margin!r}: give a number of at least 0")
    r = teacher_logit.detach()
    return torch.where(_as_yes_or_no(label, "label"), r.clamp(min=margin), r.clamp(max=-margin))


class Platt(NamedTuple):
    """A calibration of logits, scale * r + shift, with scale > 0."""

    scale: float
    shift: float


def calibrated(teacher_logit: Float[Tensor, "..."], platt: Platt) -> Float[Tensor, "..."]:
    """Return calibrated logits of the teacher, stopped; corrected ones go in where there are labels.

    Args:
        teacher_logit: logits of the ranker.
        platt: the calibration, as `fit_platt` returns it.
    """
    scale, shift = platt
    if not scale > 0:
        raise ValueError(f"platt={tuple(platt)}: a scale of at most 0 turns the ranking round; give a positive one")
    return scale * teacher_logit.detach() + shift


def fit_platt(logit: Float[Tensor, "..."], label: Shaped[Tensor, "..."]) -> Platt:
    """Fit a calibration on samples that the ranker was not trained on: Platt's scaling (1999).

    It is the logistic regression of the labels on the logits, with Platt's targets (n1 + 1) / (n1 + 2) and
    1 / (n0 + 2) for yes and no, so that perfectly ranked samples have a finite calibration too.

    Args:
        logit: logits of the ranker, of any shape.
        label: labels of yes (1) or no (0), of the same shape.

    Raises:
        ValueError: the shapes differ, a label is neither 0 nor 1, all labels are alike, or the ranking is no better
            than chance.
    """
    if label.shape != logit.shape:
        raise ValueError(f"label has the shape {tuple(label.shape)}, logit {tuple(logit.shape)}; give one a logit")
    yes, r = _as_yes_or_no(label, "label").reshape(-1), logit.detach().reshape(-1).to(torch.float64)
    n1 = int(yes.sum())
    n0 = len(yes) - n1
    if not n1 or not n0:
        raise ValueError(f"label has {n1} of yes and {n0} of no; a calibration needs both")
    target = torch.where(yes, (n1 + 1) / (n1 + 2), 1 / (n0 + 2)).to(r)
    deviation = float(r.std())
    if not 0 < deviation < float("inf"):
        raise ValueError(f"logit has a standard deviation of {deviation:g}; give finite logits that differ")
    inputs = torch.stack([(r - r.mean()) / deviation, torch.ones_like(r)], dim=1)
    slope, offset = _logistic_regression(inputs, target).tolist()
    scale = slope / deviation
    if not scale > 0:
        raise ValueError(f"the labels fall as the logits rise (scale {scale:g}): the ranker is no better than chance")
    return Platt(scale, offset - scale * float(r.mean()))


def _logistic_regression(inputs: Tensor, target: Tensor) -> Tensor:
    """Return the coefficients of soft targets on inputs, by Newton's method with a halved step where that is too long.

    The loss is strictly convex, for the inputs differ, and has its minimum at finite coefficients, for the targets are
    neither 0 nor 1.
    """
    w = inputs.new_zeros(inputs.shape[1])

    def loss(w: Tensor) -> Tensor:
        z = inputs @ w
        return (softplus(z) - target * z).mean()

    for _ in range(STEPS):
        p = (inputs @ w).sigmoid()
        gradient = inputs.T @ (p - target) / len(target)
        hessian = (inputs * (p * (1 - p))[:, None]).T @ inputs / len(target)
        step = torch.linalg.solve(hessian + 1e-12 * torch.eye(len(w)).to(w), gradient)
        if not gradient.abs().max() > CONVERGED:
            break
        size = 1.0
        while size > CONVERGED and loss(w - size * step) > loss(w):
            size /= 2
        w = w - size * step
    return w


def _as_yes_or_no(label: Tensor, name: str) -> Tensor:
    """Return labels as True and False.

    Raises:
        ValueError: one is neither 0 nor 1.
    """
    wrong = (label != 0) & (label != 1)
    if bool(wrong.any()):
        raise ValueError(f"{name} has {label[wrong][0].item():g}; give 1 for yes and 0 for no, and leave out the rest")
    return label == 1

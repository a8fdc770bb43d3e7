"""Teachers that are asked together: the mean of their probabilities, as logits (MT-DNN_KD, 2019; ROaD, 2021).

The logits go into any term in the place of one teacher's, and give back the mean: softmax(result / T) is the mean of
softmax(logit / T) over the teachers.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from paretomtl.distillation.checks import check_temperature


def average_categorical(
    logits: Sequence[Float[Tensor, "..."]], temperature: float = 1.0, dim: int = -1
) -> Float[Tensor, "..."]:
    """Return logits of the teachers' mean probabilities of classes, at a temperature.

    Args:
        logits: a tensor a teacher, all of one shape.
        temperature: T > 0, that of the term that the result goes into.
        dim: the dimension of the classes.
    """
    stacked = _stack(logits, temperature)
    mean = torch.logsumexp(log_softmax(stacked, dim if dim < 0 else dim + 1), 0) - math.log(len(stacked))
    return temperature * mean


def average_bernoulli(logits: Sequence[Float[Tensor, "..."]], temperature: float = 1.0) -> Float[Tensor, "..."]:
    """Return logits of the teachers' mean probabilities of yes, at a temperature.

    Args:
        logits: a tensor a teacher, all of one shape.
        temperature: T > 0, that of the term that the result goes into.
    """
    stacked = _stack(logits, temperature)
    return temperature * (torch.logsumexp(logsigmoid(stacked), 0) - torch.logsumexp(logsigmoid(-stacked), 0))


def _stack(logits: Sequence[Tensor], temperature: float) -> Tensor:
    check_temperature(temperature)
    if isinstance(logits, Tensor) or not len(logits):
        raise ValueError("logits: give a list with one tensor a teacher")
    shapes = [tuple(logit.shape) for logit in logits]
    if len(set(shapes)) > 1:
        raise ValueError(f"logits have the shapes {shapes}; give those of one set of samples and classes")
    return torch.stack([logit.detach() for logit in logits]) / temperature

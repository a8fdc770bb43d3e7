"""Divergences of a student from a teacher: soft targets (Hinton, Vinyals and Dean, 2015).

Of probabilities p of the teacher and q of the student, KL = sum p log(p / q), in nats. The gradient on the student's
logits is q - p, as for a cross-entropy with the target p. A temperature T divides both logits, which shows the student
the small probabilities too; the factor T^2 then keeps the scale of the gradient.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from paretomtl.distillation.checks import Reduction, check_alike, check_logits, check_temperature, reduce


def bernoulli_kl(
    teacher_logit: Float[Tensor, "..."],
    student_logit: Float[Tensor, "..."],
    temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return the KL divergence of yes and no, T^2 KL(sigma(t / T) || sigma(s / T)): DMTL's term (Zhao et al., 2021).

    Args:
        teacher_logit: logits of the teacher, of any shape; no gradient reaches them.
        student_logit: logits of the student, of the same shape.
        temperature: T > 0.
        reduction: "mean" of all values, or "none".

    Raises:
        ValueError: the shapes differ, or probabilities are given for logits.
    """
    check_alike(teacher_logit, student_logit, "logit")
    check_logits(teacher_logit, student_logit)
    check_temperature(temperature)
    t, s = teacher_logit.detach() / temperature, student_logit / temperature
    yes = t.sigmoid() * (logsigmoid(t) - logsigmoid(s))
    no = (-t).sigmoid() * (logsigmoid(-t) - logsigmoid(-s))
    return reduce(temperature**2 * (yes + no), reduction)


def categorical_kl(
    teacher_logit: Float[Tensor, "..."],
    student_logit: Float[Tensor, "..."],
    temperature: float = 1.0,
    dim: int = -1,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return the KL divergence of classes, T^2 KL(softmax(t / T) || softmax(s / T)).

    With the old network as the teacher of inputs that the new one must not forget, it is the term of life-long learning
    (Zhao et al., 2022). With a teacher for each task, its sum over the tasks distils them into one trunk.

    Args:
        teacher_logit: logits of the teacher; no gradient reaches them.
        student_logit: logits of the student, of the same shape.
        temperature: T > 0.
        dim: the dimension of the classes; the term is a mean over all others.
        reduction: "mean", or "none" for a value a sample.

    Raises:
        ValueError: the shapes or the classes differ, or probabilities are given for logits.
    """
    check_alike(teacher_logit, student_logit, "logit", dim)
    check_logits(teacher_logit, student_logit, dim)
    check_temperature(temperature)
    log_p = log_softmax(teacher_logit.detach() / temperature, dim)
    log_q = log_softmax(student_logit / temperature, dim)
    return reduce(temperature**2 * _divergence(log_p, log_q, dim), reduction)


def policy_kl(
    teacher_value: Float[Tensor, "..."],
    student_value: Float[Tensor, "..."],
    temperature: float = 0.01,
    dim: int = -1,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Return KL(softmax(v / T) || softmax(s)) of values of actions: policy distillation, PoDiRe's term for each task.

    Values of actions differ little, so the temperature sharpens the teacher alone, and there is no factor T^2.

    Args:
        teacher_value: the teacher's value of each action; no gradient reaches it.
        student_value: the student's number for each action, of the same shape.
        temperature: T > 0.
        dim: the dimension of the actions; the term is a mean over all others.
        reduction: "mean", or "none" for a value a state.

    Raises:
        ValueError: the shapes or the actions differ.
    """
    check_alike(teacher_value, student_value, "value", dim)
    check_temperature(temperature)
    log_p = log_softmax(teacher_value.detach() / temperature, dim)
    log_q = log_softmax(student_value, dim)
    return reduce(_divergence(log_p, log_q, dim), reduction)


def _divergence(log_p: Tensor, log_q: Tensor, dim: int) -> Tensor:
    """Return sum p log(p / q). torch's own `kl_div` is slow for the points of a fleet, which it takes one by one."""
    return (log_p.exp() * (log_p - log_q)).sum(dim)

"""Two events of which the second needs the first: a click and then a long read; ESMM (Ma et al., SIGIR 2018), DMTL."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import logsigmoid


def both_logit(first_logit: Float[Tensor, "..."], second_logit: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the logit of sigma(a) sigma(b): that the first event happens, and then the second.

    Its loss on all samples trains both logits, the second one without the bias of the samples whose first event has
    happened. Nothing is clipped: with p q for the product, log p q = log sigma(a) + log sigma(b), and
    1 - p q = (1 - p) + p (1 - q) is a sum of positive numbers.

    Args:
        first_logit: logits a of the first event.
        second_logit: logits b of the second event given the first, of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    if first_logit.shape != second_logit.shape:
        raise ValueError(
            f"first_logit has the shape {tuple(first_logit.shape)}, second_logit {tuple(second_logit.shape)}; "
            "give both for the same samples"
        )
    first = logsigmoid(first_logit)
    neither = torch.logaddexp(logsigmoid(-first_logit), first + logsigmoid(-second_logit))
    return first + logsigmoid(second_logit) - neither


def check_chain(first: Shaped[Tensor, " n"], second: Shaped[Tensor, " n"], names: tuple[str, str]) -> None:
    """Raise unless each sample with the second event has the first.

    Args:
        first, second: labels of yes (1) or no (0); call it once, where the data are loaded.
        names: their names, for the message.

    Raises:
        ValueError: the second is 1 where the first is not, with the number of such samples and the first of them.
    """
    if first.shape != second.shape:
        raise ValueError(f"{names[0]} has the shape {tuple(first.shape)}, {names[1]} {tuple(second.shape)}")
    wrong = ((second == 1) & (first != 1)).nonzero()
    if len(wrong):
        raise ValueError(
            f"{names[1]} is 1 where {names[0]} is 0 in {len(wrong)} samples, the first at {wrong[0].tolist()}: "
            f"{names[1]} needs {names[0]}; mend the labels, or leave these samples out"
        )

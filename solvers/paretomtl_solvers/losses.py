"""What methods share that weigh the losses by the losses alone: checks of the losses, and the preference as factors."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

Sign = Literal["any", "nonnegative", "positive"]


def read_losses(method: str, losses: Float[Tensor, "*points m"], sign: Sign = "any") -> Float[Tensor, "*points m"]:
    """Return the losses in float64, without their gradients.

    Raises:
        ValueError: a loss is not finite, or has the wrong sign; the message names the method and the loss.
    """
    values = losses.detach().double()
    if not values.isfinite().all():
        raise ValueError(f"{method}: the losses {values.tolist()} are not finite")
    if sign != "any":
        check_sign(method, values, sign, "loss")
    return values


def check_sign(method: str, values: Float[Tensor, "*points m"], sign: Sign, what: str) -> None:
    """Raise a `ValueError` that names the method and the first value that is negative, or not positive."""
    wrong = values < 0 if sign == "nonnegative" else values <= 0
    if wrong.any():
        *point, i = wrong.nonzero()[0].tolist()
        needed = "losses of at least 0" if sign == "nonnegative" else "positive losses"
        raise ValueError(
            f"{method}: {what} {i}, counted from 0, is {float(values[(*point, i)]):.4g}, and {method} needs {needed} "
            "(shift it, or use Linear)"
        )


def factors_of(
    preference: Float[Tensor, "*points m"], losses: Float[Tensor, "*points m"]
) -> Float[Tensor, "*points m"]:
    """Return m r_i, by which the preference multiplies the losses' weights: 1 each at the even preference."""
    return preference.to(losses) * losses.shape[-1]

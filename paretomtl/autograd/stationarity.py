"""The certificate of an exact problem: whether a model is on the front, as far as its losses near by can tell."""

from collections.abc import Sequence

import numpy as np

from paretomtl.autograd.hull import common_descent
from paretomtl.solver import Closure

STATIONARY = 1e-3  # the hull's shortest vector over the longest gradient: at most this on the front
VANISHED = 1e-9  # the shortest vector over the longest gradient: below, it is rounding
FALLS = 1e-3  # a fall of a loss, relative to itself, that counts
RISES = 1e-9  # a rise of a loss, relative to itself, that does not
HALVINGS = 40


def is_at_rest(closure: Closure, of: Sequence[int] | None = None) -> bool:
    """Return whether no step lowers all of some losses (by default of all), to first order.

    The shortest vector of their gradients' hull, bounds taken out, is at most 1e-3 of the longest gradient of any loss.
    """
    jacobian = closure.gradients().jacobian
    rows = jacobian if of is None else jacobian[list(of)]
    _, down = common_descent(closure.within, closure.parameters, rows)
    return bool(down.norm() <= STATIONARY * jacobian.norm(dim=1).max())


def is_stationary(closure: Closure) -> bool:
    """Return whether no step lowers all losses, and none lowers a loss for nothing.

    The first is `is_at_rest`. For the second, steps of many lengths are tried down each loss alone, where the others do
    not rise to first order: that tells a loss whose gradient vanishes on a flat piece from one at its minimum.
    """
    if not is_at_rest(closure):
        return False
    losses, jacobian, _ = closure.gradients()
    parameters, longest = closure.parameters, jacobian.norm(dim=1).max()
    lengths = losses.abs()
    for i in range(len(losses)):
        others = np.delete(np.arange(len(losses)), i)
        _, down = common_descent(closure.within, parameters, jacobian[[i]], jacobian[others])
        if down.norm() <= VANISHED * longest:
            continue
        for k in range(HALVINGS):
            change = closure(closure.within(parameters - 2.0 ** (10 - k) / down.norm() * down)) - losses
            if change[i] < -FALLS * lengths[i] and (change[others] <= RISES * lengths[others]).all():
                return False
    return True

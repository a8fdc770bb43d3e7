"""The polish: from where a ray-following method stopped to the least max_j r_j l_j, and what that says of the ray.

If the front meets the ray, the minimiser of M(x) = max_j r_j l_j lies on it. If not, some objectives are slack at the
minimiser: then no point of the front is on the ray. A local minimiser may be worse than another place, so the polish
looks further off before it says so; on problems that are not convex this is evidence, not proof. Last it lowers the
slack losses one after the other, as long as the others need not rise for it.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from paretomtl.autograd.hull import common_descent
from paretomtl.autograd.stationarity import is_stationary
from paretomtl.point import Code
from paretomtl.solver import Closure

WIDEST, NARROWEST, SHRINK = 0.1, 1e-6, 0.98  # relative width of the active set, over the iterations
SHRINK_AT_REST = 0.5  # in place of SHRINK, where no step lowers the worst by more than rounding
AT_REST = 1e-12  # relative to the worst, and to the largest r_j |g_j|: below, it is rounding
ACTIVE = 1e-3  # relative width of the active set for the verdict
STATIONARY = 1e-4  # residual, relative to the largest r_j |g_j|: below, a KKT point
ARMIJO, HALVINGS, LONGEST_STEP = 1e-4, 40, 1e3
KEPT = 1e-9  # how far a loss may rise, relative to itself, while slack ones fall
LOOKS, LINES = 20, 64  # rounds of the search further off, and parameters that it moves
NEAR, EVEN, NEAREST, FARTHEST = 16, 48, 1e-3, 10.0  # places for each, near and evenly spread, and their distances
THIRDS = 10  # rounds of a search for the bottom of a valley


def polish(closure: Closure, r: Float[np.ndarray, " m"]) -> Code:
    """Move the model to a minimiser of max_j r_j l_j, then lower what is slack there, and judge the ray.

    Args:
        closure: exact losses of all parameters; the polish moves its model.
        r: the preference, without zeros.

    Returns:
        SOLVED where all r_j l_j are equal to 1e-3, UNREACHABLE where some are slack at a stationary point of the
        maximum and no place further off has a smaller one, NOT_CONVERGED otherwise, wherever the model is not
        Pareto-stationary, and where the study's steps were spent before that could be told.
    """
    worst = Worst(closure, r)
    worst.minimise()
    draw = np.random.default_rng(0)
    for _ in range(LOOKS):
        lower = None if closure.is_spent else _find_lower(worst, draw)
        if lower is None:
            break
        closure.move(lower)
        worst.minimise()
    active, at_rest = worst.verdict()
    on_ray = bool(active.all())
    while not active.all():
        worst = Worst(closure, r, active)
        worst.minimise()
        active = active | worst.verdict()[0]
    if not is_stationary(closure):
        return Code.NOT_CONVERGED
    if closure.is_spent:  # nobody has looked further off
        return Code.NOT_CONVERGED
    return Code.SOLVED if on_ray else Code.UNREACHABLE if at_rest else Code.NOT_CONVERGED


class Worst:
    """The largest r_j l_j of the losses that are not kept, as a function of the parameters.

    Args:
        closure: the losses.
        r: the preference.
        kept: the losses that must not rise above where they are; by default none.
    """

    def __init__(self, closure: Closure, r: Float[np.ndarray, " m"], kept: Bool[np.ndarray, " m"] | None = None):
        self.closure, self.r = closure, r
        self.kept = np.zeros(len(r), dtype=bool) if kept is None else kept
        rl = self._scaled(closure())
        self.highest = np.where(self.kept, rl + KEPT * np.abs(rl), np.inf)

    def __call__(self, parameters: Float[Tensor, " n"] | None = None) -> float:
        """Return the largest r_j l_j; infinity where a kept loss is too high."""
        rl = self._scaled(self.closure(parameters))
        return float(rl[~self.kept].max()) if (rl <= self.highest).all() else np.inf

    def minimise(self) -> None:
        """Move the model down until no step lowers the worst, while the active set narrows."""
        width, step = WIDEST, 1.0
        while width > NARROWEST and not self.closure.is_spent:
            step, moved = self._step(width, step)
            width *= SHRINK if moved else SHRINK_AT_REST

    def verdict(self) -> tuple[Bool[np.ndarray, " m"], bool]:
        """Return which losses are within 1e-3 of the worst, and whether no direction lowers these."""
        active, direction, _, largest = self._descent(ACTIVE)
        return active, float(direction.norm()) <= STATIONARY * largest

    def _descent(self, width: float) -> tuple[Bool[np.ndarray, " m"], Float[Tensor, " n"], float, float]:
        """Return the active set, the direction that lowers it, the worst, and the largest r_j |g_j|."""
        losses, jacobian, _ = self.closure.gradients()
        rl = self._scaled(losses)
        worst = rl[~self.kept].max()
        active = ~self.kept & (rl >= (1 - width) * worst)
        rows = jacobian * jacobian.new_tensor(self.r)[:, None]
        _, direction = common_descent(self.closure.within, self.closure.parameters, rows[active], rows[self.kept])
        return active, direction, float(worst), float(rows.norm(dim=1).max())

    def _step(self, width: float, step: float) -> tuple[float, bool]:
        """Move down as far as the worst falls enough; return the length of the step, and whether it was worth it."""
        _, direction, worst, largest = self._descent(width)
        if float(direction.norm()) <= AT_REST * largest:
            return 1.0, False
        start = self.closure.parameters
        step = min(2 * step, LONGEST_STEP)
        for _ in range(HALVINGS):
            target = self.closure.within(start - step * direction)
            now = self(target)
            if now <= worst - ARMIJO * float(direction @ (start - target)):
                self.closure.move(target)
                return step, worst - now > AT_REST * abs(worst)
            step /= 2
        return 1.0, False

    def _scaled(self, losses: Tensor) -> np.ndarray:
        return self.r * losses.cpu().double().numpy()


def _find_lower(worst: Worst, draw: np.random.Generator) -> Float[Tensor, " n"] | None:
    """Return the place with the smallest worst that differs in one parameter; None where none is below the present one.

    Along each line it looks near by and over the whole width, and goes down to the bottom of each valley it sees.
    """
    start, best, least = worst.closure.parameters, None, (1 - ACTIVE) * worst()
    for i in draw.permutation(len(start))[:LINES].tolist():
        line = _Line(worst, start, i)
        near = draw.choice([-1, 1], NEAR) * 10 ** draw.uniform(np.log10(NEAREST), np.log10(FARTHEST), NEAR)
        steps = np.sort([*near, *line.spread(EVEN)])
        values = [line(step) for step in steps]
        for k, (step, value) in enumerate(zip(steps, values, strict=True)):
            if 0 < k < len(steps) - 1 and value < min(values[k - 1], values[k + 1]):
                step, value = line.descend(steps[k - 1], steps[k + 1])
            if value < least:
                best, least = line.place(step), value
    return best


class _Line(NamedTuple):
    """The worst along one parameter, as a function of the step from the start."""

    worst: Worst
    start: Float[Tensor, " n"]
    i: int

    def __call__(self, step: float) -> float:
        return self.worst(self.place(step))

    def place(self, step: float) -> Float[Tensor, " n"]:
        """Return the place within the bounds."""
        target = self.start.clone()
        target[self.i] += step
        return self.worst.closure.within(target)

    def spread(self, n: int) -> Float[np.ndarray, " n"]:
        """Return even steps over the width that the bounds leave, or that is looked at."""
        low, high = (float((self.place(step) - self.start)[self.i]) for step in (-FARTHEST, FARTHEST))
        return np.linspace(low, high, n)

    def descend(self, low: float, high: float) -> tuple[float, float]:
        """Return the step to the bottom of a valley between two others, and the worst there, by thirds."""
        for _ in range(THIRDS):
            left, right = low + (high - low) / 3, high - (high - low) / 3
            low, high = (low, right) if self(left) < self(right) else (left, high)
        step = (low + high) / 2
        return step, self(step)

"""Indicators of a front, by pymoo and moocore over checked input: neither answers rightly on NaN or on nothing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from paretomtl.problem import check_reference


class EmptyFrontError(ValueError):
    """A front without a single point that succeeded."""


class Score(NamedTuple):
    """The figures of a front. None is "undefined": there is nothing to compute the figure from.

    hypervolume: of the losses against the reference; None where no point dominates it.
    n_outside: points that do not dominate the reference.
    control_error_mean, control_error_worst: degrees between the rays asked and reached.
    spacing: pymoo's form of Schott's, of losses scaled to the front's own range; 0 is perfectly even; None below two
        distinct points.
    n_points, n_nondominated: distinct ones.
    n_failed, n_relaxed, n_fallback: points that failed; steps whose program was relaxed, or whose solvers failed.
    """

    hypervolume: float | None
    ref_point: tuple[float, ...]
    n_outside: int
    control_error_mean: float | None
    control_error_worst: float | None
    spacing: float | None
    n_points: int
    n_nondominated: int
    n_failed: int
    n_relaxed: int
    n_fallback: int

    def __str__(self) -> str:
        """A table, one figure a line."""
        width = max(map(len, self._fields))
        return "\n".join(f"{name:<{width}}  {_shown(value)}" for name, value in zip(self._fields, self, strict=True))


def _shown(value) -> str:
    if value is None:
        return "undefined"
    if isinstance(value, tuple):
        return "(" + ", ".join(f"{v:g}" for v in value) + ")"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def check_losses(losses) -> Float[np.ndarray, "n m"]:
    """Losses as an (n, m) array of finite numbers with n > 0, or an error."""
    array = np.asarray(losses, dtype=np.float64)
    if array.size == 0:
        raise EmptyFrontError("the front has no point, so nothing can be said of it")
    if array.ndim != 2:
        raise ValueError(f"losses have shape {array.shape}; give one row a point, one column an objective")
    if not np.isfinite(array).all():
        raise ValueError(f"losses[{int(np.argwhere(~np.isfinite(array))[0][0])}] is not finite")
    return array


def hypervolume(losses: Float[np.ndarray, "n m"], ref_point: Sequence[float] | np.ndarray) -> float | None:
    """The volume that the losses dominate, up to the reference; None where no point dominates it."""
    from pymoo.indicators.hv import HV

    inside = _inside(losses, ref_point)
    if not inside.any():
        return None
    volume: Any = HV(ref_point=np.asarray(ref_point, dtype=np.float64))(np.asarray(losses)[inside])
    return float(volume)


def n_outside(losses: Float[np.ndarray, "n m"], ref_point: Sequence[float] | np.ndarray) -> int:
    """How many points do not dominate the reference."""
    return int((~_inside(losses, ref_point)).sum())


def _inside(losses: Float[np.ndarray, "n m"], ref_point: Sequence[float] | np.ndarray) -> Bool[np.ndarray, " n"]:
    """Which points dominate the reference."""
    losses = check_losses(losses)
    return np.asarray((losses < check_reference(ref_point, losses.shape[1])).all(axis=1))


def nondominated(losses: Float[np.ndarray, "n m"]) -> Bool[np.ndarray, " n"]:
    """Which points no other dominates; equal points all stay."""
    import moocore

    return np.asarray(moocore.is_nondominated(check_losses(losses), keep_weakly=True), dtype=bool)


def unit_range(losses: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n k"]:
    """The losses scaled to [0, 1] over these points, without the objectives that do not vary."""
    losses = check_losses(losses)
    low, span = losses.min(axis=0), np.ptp(losses, axis=0)
    varies = ~constant(losses)
    return (losses[:, varies] - low[varies]) / span[varies]


def constant(losses: Float[np.ndarray, "n m"]) -> Bool[np.ndarray, " m"]:
    """Which objectives are the same at every point, to rounding."""
    return np.ptp(losses, axis=0) <= 1e-12 * np.maximum(np.abs(losses).max(axis=0), 1e-300)


def spacing(losses: Float[np.ndarray, "n m"]) -> float | None:
    """Schott's spacing, as pymoo has it, of the distinct points scaled to their range; None below two of them."""
    from pymoo.indicators.spacing import SpacingIndicator

    scaled = unit_range(np.unique(check_losses(losses), axis=0))
    if len(scaled) < 2:
        return None
    return float(SpacingIndicator()(scaled))  # type: ignore[arg-type]

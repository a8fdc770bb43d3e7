"""Indicators of a front, by pymoo and moocore. Input is checked first: both are wrong on NaN and on empty sets."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from paretomtl.errors import EmptyFrontError
from paretomtl.objective import check_reference
from paretomtl.point import Point
from paretomtl.points.seeds import interval_half_width

# The most points for an exact hypervolume, by the number of objectives: about a second of moocore. Below six objectives
# any front is quick; above ten, up to twelve points are, by inclusion and exclusion.
MOST_EXACT = {6: 700, 7: 200, 8: 100, 9: 60, 10: 45}
MOST_BEYOND = 12
ESTIMATES, SAMPLES = 32, 2**15  # of an approximate hypervolume


class Volume(NamedTuple):
    """A hypervolume and its error: 0 where it is exact, four standard errors where it is estimated."""

    value: float
    error: float


class Score(NamedTuple):
    """The figures of a front. None means "undefined": there is nothing to compute the figure from.

    hypervolume: the volume that the losses dominate up to `ref_point`, in the product of the losses' units; larger is
        better; None where no point dominates the reference.
    hypervolume_interval: half of the 95 % confidence interval of the mean over the seeds; None, "not available", with
        one seed.
    hypervolume_error: the error of an approximate hypervolume, in its unit; None where it is exact.
    ref_point: the hypervolume reference, in the losses' units.
    n_outside: points that do not dominate the reference, so that the hypervolume leaves them out; best 0.
    control_error_mean, control_error_worst: degrees between requested ray and losses reached; best 0.
    igd_plus: how much worse than each point of the reference front the nearest point is, on average, in the losses'
        units; best 0: no reference point is better in any loss; None without a reference front.
    epsilon_additive: the least amount to subtract from every loss so that the front matches or betters the whole
        reference front, in the losses' units; smaller is better, 0 is as good as the reference, below 0 is better; None
        without a reference front.
    spacing: Schott's spacing in pymoo's form, of losses scaled to the front's own range; best 0, perfectly even; None
        with fewer than two distinct points.
    largest_gap: the longest step on the way through all nondominated points, of losses scaled to the range of the
        reference front, or else to the front's own; smaller is better; None with fewer than two distinct points.
    n_seeds: trainings with their own initial weights and data order. With several, the other figures are means over
        the seeds, and counts are sums.
    n_points, n_nondominated: numbers of distinct points; larger is better.
    n_failed, n_relaxed, n_fallback: points that failed; steps whose program was relaxed, or whose solvers failed; best
        0.
    """

    hypervolume: float | None
    hypervolume_error: float | None
    hypervolume_interval: float | None
    ref_point: tuple[float, ...]
    n_outside: int
    control_error_mean: float | None
    control_error_worst: float | None
    igd_plus: float | None
    epsilon_additive: float | None
    spacing: float | None
    largest_gap: float | None
    n_seeds: int
    n_points: int
    n_nondominated: int
    n_failed: int
    n_relaxed: int
    n_fallback: int

    def __str__(self) -> str:
        """Format a table, one figure a line."""
        texts = {name: _format_figure(value) for name, value in self._asdict().items() if name != "hypervolume_error"}
        if self.hypervolume_interval is None:
            texts["hypervolume_interval"] = f"not available ({'one seed' if self.n_seeds == 1 else 'undefined'})"
        if self.hypervolume_error is not None:
            texts["hypervolume"] += f" ± {self.hypervolume_error:.2g} (approximate)"
        for name in ("igd_plus", "epsilon_additive"):
            if getattr(self, name) is None:
                texts[name] += " (no reference front)"
        width = max(map(len, texts))
        return "\n".join(f"{name:<{width}}  {text}" for name, text in texts.items())


def _format_figure(value) -> str:
    if value is None:
        return "undefined"
    if isinstance(value, tuple):
        return f"({', '.join(f'{v:g}' for v in value)})"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def score_points(
    points: Sequence[Point],
    losses: Float[np.ndarray, "n m"],
    ref_point: tuple[float, ...],
    reference_front: Float[np.ndarray, "N m"] | None,
    n_failed: int,
) -> Score:
    """Return the figures of one seed's points and losses, against a known front if there is one."""
    volume = measure_volume(losses, ref_point)
    angles = np.array([p.control_error for p in points if p.control_error is not None], dtype=np.float64)
    return Score(
        hypervolume=None if volume is None else volume.value,
        hypervolume_error=None if volume is None else volume.error or None,
        hypervolume_interval=None,
        ref_point=ref_point,
        n_outside=count_outside(losses, ref_point),
        control_error_mean=float(angles.mean()) if len(angles) else None,
        control_error_worst=float(angles.max()) if len(angles) else None,
        igd_plus=None if reference_front is None else igd_plus(losses, reference_front),
        epsilon_additive=None if reference_front is None else epsilon_additive(losses, reference_front),
        spacing=spacing(losses),
        largest_gap=largest_gap(
            losses, None if reference_front is None else (reference_front.min(axis=0), reference_front.max(axis=0))
        ),
        n_seeds=1,
        n_points=len(np.unique(losses, axis=0)),
        n_nondominated=len(distinct_front(losses)),
        n_failed=n_failed,
        n_relaxed=sum(p.counts.get("relaxed", 0) for p in points),
        n_fallback=sum(p.counts.get("fell_back", 0) for p in points),
    )


def mean_score(scores: Sequence[Score], n_failed: int) -> Score:
    """Average the figures of several seeds; counts are summed."""
    if not scores:
        raise EmptyFrontError("no seed has a point that succeeded, so nothing can be said of the front")
    figures: dict[str, Any] = {}
    for name in Score._fields:
        values = [getattr(s, name) for s in scores]
        if any(value is None for value in values):
            figures[name] = None
        elif name.startswith("n_"):
            figures[name] = sum(values)
        else:
            figures[name] = values[0] if name == "ref_point" else float(np.mean(values))
    if figures["hypervolume"] is not None:
        half = interval_half_width(np.array([[s.hypervolume] for s in scores]))
        figures["hypervolume_interval"] = None if half is None else float(half[0])
    figures["n_failed"] = n_failed
    return Score(**figures)


def check_losses(losses, name: str = "losses", m: int | None = None) -> Float[np.ndarray, "n m"]:
    """Return losses as a finite (n, m) array with n > 0; errors use their `name`."""
    array = np.asarray(losses, dtype=np.float64)
    if array.size == 0:
        raise EmptyFrontError(f"there is no point in {name}, so nothing can be said of the front")
    if array.ndim != 2 or array.shape[1] != (m or array.shape[1]):
        columns = "one column an objective" if m is None else f"{m} columns, one an objective"
        raise ValueError(f"{name} has shape {array.shape}; give one row a point, {columns}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}[{int(np.argwhere(~np.isfinite(array))[0][0])}] is not finite")
    return array


def hypervolume(losses: Float[np.ndarray, "n m"], ref_point: Sequence[float] | np.ndarray) -> float | None:
    """Return the volume that the losses dominate up to the reference; None if no point dominates it."""
    volume = measure_volume(losses, ref_point)
    return None if volume is None else volume.value


def measure_volume(losses: Float[np.ndarray, "n m"], ref_point: Sequence[float] | np.ndarray) -> Volume | None:
    """Measure the hypervolume: exactly where that takes about a second or less, else as an estimate with its error."""
    from pymoo.indicators.hv import HV

    inside = _dominates_reference(losses, ref_point)
    if not inside.any():
        return None
    reference = np.asarray(ref_point, dtype=np.float64)
    front = distinct_front(losses[inside])
    n, m = front.shape
    if m < min(MOST_EXACT) or n <= MOST_EXACT.get(m, MOST_BEYOND):
        exact: Any = HV(ref_point=reference)(losses[inside])
        return Volume(float(exact), 0.0)
    return _estimate_volume(front, reference)


def _estimate_volume(losses: Float[np.ndarray, "n m"], reference: Float[np.ndarray, " m"]) -> Volume:
    """Average independent Monte Carlo estimates, seeded 0, 1, …; the error is four standard errors of the mean.

    The losses are scaled to the box between them and the reference. Without that, directions along an objective of
    another scale are hardly ever drawn: all estimates are wrong in the same way, and their spread does not show it.
    """
    import moocore

    low = losses.min(axis=0)
    span = reference - low
    scaled, corner = (losses - low) / span, np.ones(len(reference))
    estimates = np.prod(span) * np.array(
        [
            moocore.hv_approx(scaled, ref=corner, nsamples=SAMPLES, seed=seed, method="DZ2019-MC")
            for seed in range(ESTIMATES)
        ]
    )
    return Volume(float(estimates.mean()), float(4 * estimates.std(ddof=1) / np.sqrt(ESTIMATES)))


def count_outside(losses: Float[np.ndarray, "n m"], ref_point: Sequence[float] | np.ndarray) -> int:
    """Count the points that do not dominate the reference."""
    return int((~_dominates_reference(losses, ref_point)).sum())


def _dominates_reference(
    losses: Float[np.ndarray, "n m"], ref_point: Sequence[float] | np.ndarray
) -> Bool[np.ndarray, " n"]:
    """Mark the points that dominate the reference."""
    losses = check_losses(losses)
    return np.asarray((losses < check_reference(ref_point, losses.shape[1])).all(axis=1))


def is_nondominated(losses: Float[np.ndarray, "n m"]) -> Bool[np.ndarray, " n"]:
    """Mark the points that no other dominates; equal points are all marked."""
    import moocore

    return np.asarray(moocore.is_nondominated(check_losses(losses), keep_weakly=True), dtype=bool)


def distinct_front(losses: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "k m"]:
    """Return the nondominated points, each once."""
    losses = check_losses(losses)
    return np.unique(losses[is_nondominated(losses)], axis=0)


def attainment(
    fronts: Sequence[Float[np.ndarray, "_ m"]], percentiles: Sequence[float]
) -> list[Float[np.ndarray, "_ m"]]:
    """Return the corners of the region that at least each percentile of the fronts attain; two or three objectives.

    A front attains all losses that one of its points matches or betters. 50 is the median attainment surface, 0 is
    what any front attains, 100 what all fronts attain. For a single front each surface is its nondominated points.

    Args:
        fronts: losses, one array a front, such as one a seed.
        percentiles: from 0 to 100.
    """
    import moocore

    if not fronts:
        raise EmptyFrontError("there is no front, so nothing is attained")
    parts = [check_losses(losses, f"fronts[{k}]", fronts[0].shape[1]) for k, losses in enumerate(fronts)]
    sets = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    surfaces = moocore.eaf(np.vstack(parts), sets, percentiles=[*percentiles])
    return [np.unique(surfaces[surfaces[:, -1] == percentile, :-1], axis=0) for percentile in percentiles]


def igd_plus(losses: Float[np.ndarray, "n m"], reference: Float[np.ndarray, "N m"]) -> float:
    """Return IGD+ of the losses against the nondominated points of a known or united front.

    The distance from a reference point to a point counts only losses in which the point is worse. IGD+ is the mean over
    the reference of the least such distance, in the losses' units. 0 is best: each reference point is matched or
    bettered in every loss by some point.
    """
    import moocore

    losses = check_losses(losses)
    return float(moocore.igd_plus(losses, ref=distinct_front(check_losses(reference, "reference", losses.shape[1]))))


def epsilon_additive(losses: Float[np.ndarray, "n m"], reference: Float[np.ndarray, "N m"]) -> float:
    """Return the amount to subtract from every loss so that the points match or better a known or united front.

    In the losses' units; smaller is better. At 0 the points just match it as they are; below 0 there is that much to
    spare.
    """
    import moocore

    losses = check_losses(losses)
    return float(moocore.epsilon_additive(losses, ref=check_losses(reference, "reference", losses.shape[1])))


def is_constant(losses: Float[np.ndarray, "n m"]) -> Bool[np.ndarray, " m"]:
    """Mark the objectives that are the same at every point, up to rounding."""
    return np.ptp(losses, axis=0) <= 1e-12 * np.maximum(np.abs(losses).max(axis=0), 1e-300)


def scale_to_range(
    losses: Float[np.ndarray, "n m"],
    within: tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]] | None = None,
) -> Float[np.ndarray, "n k"]:
    """Scale losses so that `within` becomes [0, 1]; objectives that are constant there are dropped.

    Args:
        losses: losses of a front.
        within: ideal and nadir; by default the least and the largest of these losses.
    """
    losses = check_losses(losses)
    ends = np.stack(within or (losses.min(axis=0), losses.max(axis=0)))
    varies = ~is_constant(check_losses(ends, "within"))
    low, high = ends[:, varies]
    return (losses[:, varies] - low) / (high - low)


def spacing(losses: Float[np.ndarray, "n m"]) -> float | None:
    """Return Schott's spacing in pymoo's form, of the distinct points scaled to their range; None below two points."""
    from pymoo.indicators.spacing import SpacingIndicator

    scaled = scale_to_range(np.unique(check_losses(losses), axis=0))
    if len(scaled) < 2:
        return None
    return float(SpacingIndicator()(scaled))  # type: ignore[arg-type]


def largest_gap(
    losses: Float[np.ndarray, "n m"],
    within: tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]] | None = None,
) -> float | None:
    """Return the longest edge of the shortest tree that joins the distinct nondominated points.

    For two objectives it is the largest distance between neighbours along the front. None below two such points, or
    where no objective varies.

    Args:
        losses: losses of a front.
        within: ideal and nadir to scale by, such as a reference front's, so that fronts can be compared; by default the
            front's own.
    """
    scaled = scale_to_range(distinct_front(losses), within)
    if len(scaled) < 2 or not scaled.shape[1]:
        return None
    joined, longest = np.zeros(len(scaled), dtype=bool), 0.0
    nearest, distances = 0, np.full(len(scaled), np.inf)  # from the tree, which grows by its nearest point (Prim)
    for _ in range(len(scaled) - 1):
        joined[nearest] = True
        distances = np.minimum(distances, np.linalg.norm(scaled - scaled[nearest], axis=1))
        nearest = int(np.argmin(np.where(joined, np.inf, distances)))
        longest = max(longest, float(distances[nearest]))
    return longest

"""Indicators of a front, by pymoo and moocore over checked input: neither answers rightly on NaN or on nothing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from paretomtl.errors import EmptyFrontError
from paretomtl.objective import check_reference
from paretomtl.point import Point
from paretomtl.points.seeds import interval_half_width

# How many points an exact hypervolume may have, by the number of objectives: about a second's worth of moocore. Below
# six objectives any front is quick; above ten, twelve points are, which go by inclusion and exclusion.
MOST_EXACT = {6: 700, 7: 200, 8: 100, 9: 60, 10: 45}
MOST_BEYOND = 12
ESTIMATES, SAMPLES = 32, 2**15  # of an approximate hypervolume


class Volume(NamedTuple):
    """A hypervolume and its error: 0 where it is exact, four standard errors where it is estimated."""

    value: float
    error: float


class Score(NamedTuple):
    """The figures of a front. None is "undefined": there is nothing to compute the figure from.

    hypervolume: of the losses against `ref_point`, in the product of the losses' units; larger is better; None where no
        point dominates the reference.
    hypervolume_interval: half of the 95 % confidence interval of the mean over the seeds; None, "not available", with
        one seed.
    hypervolume_error: how far off an approximate hypervolume may be, in its unit; None where it is exact.
    ref_point: the hypervolume's reference, in the losses' units.
    n_outside: points that do not dominate the reference, so that the hypervolume leaves them out; best 0.
    control_error_mean, control_error_worst: degrees between the rays asked and reached; best 0.
    igd_plus: how much worse than a point of the reference front the nearest point is, on average, in the losses' units;
        best 0: no reference point is better in any loss; None without a reference front.
    epsilon_additive: what to take off every loss for the front to match or better all of the reference front, in the
        losses' units; smaller is better, 0 is as good as the reference, below 0 is better; None without one.
    spacing: pymoo's form of Schott's, of losses scaled to the front's own range; best 0, perfectly even; None below two
        distinct points.
    largest_gap: the longest step on the way through all non-dominated points, of losses scaled to the reference front's
        range, or the front's own without one; smaller is better; None below two distinct points.
    n_seeds: fronts of other initial weights and data order; with several, the other figures are means over them, and
        counts are sums.
    n_points, n_nondominated: distinct ones; larger is better.
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
        """A table, one figure a line."""
        shown = {name: _format_figure(value) for name, value in self._asdict().items() if name != "hypervolume_error"}
        if self.hypervolume_interval is None:
            shown["hypervolume_interval"] = f"not available ({'one seed' if self.n_seeds == 1 else 'undefined'})"
        if self.hypervolume_error is not None:
            shown["hypervolume"] += f" ± {self.hypervolume_error:.2g} (approximate)"
        for name in ("igd_plus", "epsilon_additive"):
            if getattr(self, name) is None:
                shown[name] += " (no reference front)"
        width = max(map(len, shown))
        return "\n".join(f"{name:<{width}}  {text}" for name, text in shown.items())


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
    known: Float[np.ndarray, "N m"] | None,
    n_failed: int,
) -> Score:
    """The figures of the points of one seed, and their losses, against a known front, if any."""
    found = measure_volume(losses, ref_point)
    angles = np.array([p.control_error for p in points if p.control_error is not None], dtype=np.float64)
    return Score(
        hypervolume=None if found is None else found.value,
        hypervolume_error=None if found is None else found.error or None,
        hypervolume_interval=None,
        ref_point=ref_point,
        n_outside=count_outside(losses, ref_point),
        control_error_mean=float(angles.mean()) if len(angles) else None,
        control_error_worst=float(angles.max()) if len(angles) else None,
        igd_plus=None if known is None else igd_plus(losses, known),
        epsilon_additive=None if known is None else epsilon_additive(losses, known),
        spacing=spacing(losses),
        largest_gap=largest_gap(losses, None if known is None else (known.min(axis=0), known.max(axis=0))),
        n_seeds=1,
        n_points=len(np.unique(losses, axis=0)),
        n_nondominated=len(distinct_front(losses)),
        n_failed=n_failed,
        n_relaxed=sum(p.counts.get("relaxed", 0) for p in points),
        n_fallback=sum(p.counts.get("fell_back", 0) for p in points),
    )


def mean_score(scores: Sequence[Score], n_failed: int) -> Score:
    """The figures of a study of several seeds: means over the fronts of the seeds; counts are sums."""
    if not scores:
        raise EmptyFrontError("no seed has a point that succeeded, so nothing can be said of the front")
    found: dict[str, Any] = {}
    for name in Score._fields:
        values = [getattr(s, name) for s in scores]
        if any(value is None for value in values):
            found[name] = None
        elif name.startswith("n_"):
            found[name] = sum(values)
        else:
            found[name] = values[0] if name == "ref_point" else float(np.mean(values))
    if found["hypervolume"] is not None:
        half = interval_half_width(np.array([[s.hypervolume] for s in scores]))
        found["hypervolume_interval"] = None if half is None else float(half[0])
    found["n_failed"] = n_failed
    return Score(**found)


def check_losses(losses, name: str = "losses", m: int | None = None) -> Float[np.ndarray, "n m"]:
    """Losses as an (n, m) array of finite numbers with n > 0, or an error that calls them by their name."""
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
    """The volume that the losses dominate, up to the reference; None where no point dominates it."""
    found = measure_volume(losses, ref_point)
    return None if found is None else found.value


def measure_volume(losses: Float[np.ndarray, "n m"], ref_point: Sequence[float] | np.ndarray) -> Volume | None:
    """The hypervolume with its error: exact where that takes about a second or less, else estimated."""
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
    """The mean of independent Monte Carlo estimates, seeded by their number, and four standard errors of it.

    The losses are scaled to the box that they span with the reference. Unscaled, directions along an objective of
    another scale are hardly ever drawn: all estimates are then wrong alike, and their spread does not show it.
    """
    import moocore

    low = losses.min(axis=0)
    span = reference - low
    scaled, corner = (losses - low) / span, np.ones(len(reference))
    found = np.prod(span) * np.array(
        [
            moocore.hv_approx(scaled, ref=corner, nsamples=SAMPLES, seed=seed, method="DZ2019-MC")
            for seed in range(ESTIMATES)
        ]
    )
    return Volume(float(found.mean()), float(4 * found.std(ddof=1) / np.sqrt(ESTIMATES)))


def count_outside(losses: Float[np.ndarray, "n m"], ref_point: Sequence[float] | np.ndarray) -> int:
    """How many points do not dominate the reference."""
    return int((~_dominates_reference(losses, ref_point)).sum())


def _dominates_reference(
    losses: Float[np.ndarray, "n m"], ref_point: Sequence[float] | np.ndarray
) -> Bool[np.ndarray, " n"]:
    """Which points dominate the reference."""
    losses = check_losses(losses)
    return np.asarray((losses < check_reference(ref_point, losses.shape[1])).all(axis=1))


def is_nondominated(losses: Float[np.ndarray, "n m"]) -> Bool[np.ndarray, " n"]:
    """Which points no other dominates; equal points all stay."""
    import moocore

    return np.asarray(moocore.is_nondominated(check_losses(losses), keep_weakly=True), dtype=bool)


def distinct_front(losses: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "k m"]:
    """The points that no other dominates, each once."""
    losses = check_losses(losses)
    return np.unique(losses[is_nondominated(losses)], axis=0)


def attainment(
    fronts: Sequence[Float[np.ndarray, "_ m"]], percentiles: Sequence[float]
) -> list[Float[np.ndarray, "_ m"]]:
    """For each percentile, the corners of what at least that share of the fronts attain; for two or three objectives.

    A front attains all that one of its points matches or betters in every loss. 50 is the median attainment surface, 0
    what any of the fronts attains, 100 what all do. Of one front each is its non-dominated points.

    Args:
        fronts: the losses of one seed each, say.
        percentiles: from 0 to 100.
    """
    import moocore

    if not fronts:
        raise EmptyFrontError("there is no front, so nothing is attained")
    parts = [check_losses(losses, f"fronts[{k}]", fronts[0].shape[1]) for k, losses in enumerate(fronts)]
    sets = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    found = moocore.eaf(np.vstack(parts), sets, percentiles=[*percentiles])
    return [np.unique(found[found[:, -1] == percentile, :-1], axis=0) for percentile in percentiles]


def igd_plus(losses: Float[np.ndarray, "n m"], reference: Float[np.ndarray, "N m"]) -> float:
    """IGD+ of the losses against the non-dominated points of a known or united front.

    Each of these looks for the point that is least worse than it (the length of what that point's losses have above its
    own; what lies below counts nothing); this is the mean of what they find, in the losses' own units. 0 is the best:
    no reference point is better in any loss than the point that it found.
    """
    import moocore

    losses = check_losses(losses)
    return float(moocore.igd_plus(losses, ref=distinct_front(check_losses(reference, "reference", losses.shape[1]))))


def epsilon_additive(losses: Float[np.ndarray, "n m"], reference: Float[np.ndarray, "N m"]) -> float:
    """What must be taken off every loss for the points to match or better a whole known or united front.

    In the losses' own units; smaller is better. At 0 they just do so as they are; below 0 they have that to spare.
    """
    import moocore

    losses = check_losses(losses)
    return float(moocore.epsilon_additive(losses, ref=check_losses(reference, "reference", losses.shape[1])))


def is_constant(losses: Float[np.ndarray, "n m"]) -> Bool[np.ndarray, " m"]:
    """Which objectives are the same at every point, to rounding."""
    return np.ptp(losses, axis=0) <= 1e-12 * np.maximum(np.abs(losses).max(axis=0), 1e-300)


def scale_to_range(
    losses: Float[np.ndarray, "n m"],
    within: tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]] | None = None,
) -> Float[np.ndarray, "n k"]:
    """The losses scaled so that `within` becomes [0, 1], without the objectives that do not vary in it.

    Args:
        losses: of a front.
        within: the ideal and the nadir; by default, the least and the largest of these losses.
    """
    losses = check_losses(losses)
    ends = np.stack(within or (losses.min(axis=0), losses.max(axis=0)))
    varies = ~is_constant(check_losses(ends, "within"))
    low, high = ends[:, varies]
    return (losses[:, varies] - low) / (high - low)


def spacing(losses: Float[np.ndarray, "n m"]) -> float | None:
    """Schott's spacing, as pymoo has it, of the distinct points scaled to their range; None below two of them."""
    from pymoo.indicators.spacing import SpacingIndicator

    scaled = scale_to_range(np.unique(check_losses(losses), axis=0))
    if len(scaled) < 2:
        return None
    return float(SpacingIndicator()(scaled))  # type: ignore[arg-type]


def largest_gap(
    losses: Float[np.ndarray, "n m"],
    within: tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]] | None = None,
) -> float | None:
    """The longest edge of the shortest tree that joins the distinct non-dominated points.

    For two objectives it is the largest distance between neighbours along the front. None below two such points, or
    where no objective varies.

    Args:
        losses: of a front.
        within: the ideal and the nadir that the losses are scaled by, such as a reference front's, so that fronts can
            be compared; by default the front's own.
    """
    scaled = scale_to_range(distinct_front(losses), within)
    if len(scaled) < 2 or not scaled.shape[1]:
        return None
    joined, longest = np.zeros(len(scaled), dtype=bool), 0.0
    nearest, away = 0, np.full(len(scaled), np.inf)  # of each point from the tree, which grows by its nearest (Prim)
    for _ in range(len(scaled) - 1):
        joined[nearest] = True
        away = np.minimum(away, np.linalg.norm(scaled - scaled[nearest], axis=1))
        nearest = int(np.argmin(np.where(joined, np.inf, away)))
        longest = max(longest, float(away[nearest]))
    return longest

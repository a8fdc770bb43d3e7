"""Statistics of a front that is trained several times, with other seeds: what differs, and what is only noise."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

LEVEL, TAIL = 0.95, 0.025  # of every interval and test here, and what lies beyond one end of an interval
ROUNDING, TINY = 1e-9, 1e-200  # the least share of an ideal that counts as a difference, for ideals that are not 0
ONE_SEED = "one seed; explore with seeds=2 or more"


class Spread(NamedTuple):
    """The losses of every preference over the seeds that succeeded, one row a preference.

    ids, names: of the preferences and of the objectives.
    n: seeds that succeeded, by preference.
    mean: of the losses, in their units; NaN only where no seed succeeded.
    sd: sample standard deviation (n - 1), in the losses' units; NaN only where n < 2, never a made-up 0.
    half_width: half of the mean's 95 % confidence interval by Student's t; NaN only where n < 2.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    n: tuple[int, ...]
    mean: Float[np.ndarray, "k m"]
    sd: Float[np.ndarray, "k m"]
    half_width: Float[np.ndarray, "k m"]

    def __str__(self) -> str:
        rows = [["id", "n", *self.names]]
        for name, n, mean, half in zip(self.ids, self.n, self.mean, self.half_width, strict=True):
            alone = "{:.4g} (one seed: no interval)" if n else "failed at every seed"
            cells = [
                _format_interval(*pair) if n > 1 else alone.format(pair[0]) for pair in zip(mean, half, strict=True)
            ]
            rows.append([name, str(n), *cells])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([f"mean over n seeds ± {LEVEL:.0%} confidence interval of the mean", *lines])


class Tradeoff(NamedTuple):
    """Whether the front shows a trade-off that is larger than the noise of the seeds.

    measurable: whether every point is above an ideal, which points that are trained too little are as well; False may
        also mean too few seeds; None where it cannot be tested.
    why: the verdict in words, with the point nearest to the ideals and what its losses have above them. The ± is the
        noise that was tested against: 5 % shared by the objectives, so half a 95 % interval where these are two.
    """

    measurable: bool | None
    why: str


class Comparison(NamedTuple):
    """One way of training (here) against another (there), paired over seeds.

    difference: mean of here - there, in the figure's unit.
    half_width: half of the difference's 95 % confidence interval by Student's t; None for one seed.
    p: of the two-sided Wilcoxon signed-rank test, pairs without a difference left out; None for one seed.
    n: pairs, one a seed.
    verdict: "better" or "worse" (here than there) where the interval excludes 0; "draw" where it does not, which is no
        proof that both are equal; "not available" for one seed.
    note: what the figures cannot show; empty where there is nothing to say.
    """

    difference: float
    half_width: float | None
    p: float | None
    n: int
    verdict: Literal["better", "worse", "draw", "not available"]
    note: str

    def __str__(self) -> str:
        shown = f"{self.difference:+.4g}"
        if self.half_width is not None:
            shown = f"{_format_interval(self.difference, self.half_width, '+')} ({LEVEL:.0%} interval, {self.n} seeds)"
        tested = "" if self.p is None else f", Wilcoxon p = {self.p:.3g}"
        return f"{self.verdict}: {shown}{tested}" + (f"; {self.note}" if self.note else "")


def interval_half_width(
    samples: Float[np.ndarray, " n *rest"], tail: float = TAIL
) -> Float[np.ndarray, " *rest"] | None:
    """Half of the 95 % confidence interval of the mean over axis 0 (or 1 - 2 tail), by Student's t; None below two."""
    from scipy import stats  # slow to import, so only here

    _check_finite(samples=samples)
    n = len(samples)
    return np.asarray(stats.t.isf(tail, n - 1) * samples.std(axis=0, ddof=1) / np.sqrt(n)) if n > 1 else None


def margins_at(
    sampling: Float[np.ndarray, "k m"] | None,
    deviation: Float[np.ndarray, "k m"] | None,
    n: Int[np.ndarray, " k"],
    level: float,
) -> Float[np.ndarray, "k m"]:
    """How much worse one model of a preference may be than the mean that was measured, at a one-sided level.

    Two parts, by the root of the sum of their squares: z times the standard error on the split, which all seeds share;
    and Student's t times the deviation between seeds times sqrt(1 + 1/n), the prediction bound for one more seed.
    Infinite where the deviation is known of some preferences, but not of this one, of which one seed succeeded.

    Args:
        sampling: standard errors of the measures on the split; None where unknown.
        deviation: sample standard deviations over the seeds; None with one seed.
        n: seeds, by preference.
        level: of confidence, above one half.
    """
    from scipy import stats

    found = np.zeros((sampling if deviation is None else deviation).shape)  # type: ignore[union-attr]
    if sampling is not None:
        found += (stats.norm.isf(1 - level) * sampling) ** 2
    if deviation is not None:
        several = n > 1
        width = stats.t.isf(1 - level, n[several] - 1) * np.sqrt(1 + 1 / n[several])
        found[several] += (width[:, None] * deviation[several]) ** 2
        found[~several] = np.inf
    return np.sqrt(found)


def spread_over_seeds(ids: Sequence[str], names: Sequence[str], groups: Sequence[Float[np.ndarray, "_ m"]]) -> Spread:
    """What the seeds make of every preference; a group holds one row for each seed that succeeded."""
    shapes = [group.shape for group in groups]
    if len(groups) != len(ids) or any(shape[1:] != (len(names),) for shape in shapes):
        raise ValueError(f"groups has shapes {shapes}; give {len(ids)} groups, one an id, of {len(names)} columns")
    mean, sd, half_width = np.full((3, len(ids), len(names)), np.nan)
    for k, group in enumerate(groups):
        _check_finite(**{f"groups[{k}]": group})
        mean[k] = group.mean(axis=0) if len(group) else np.nan
        if (half := interval_half_width(group)) is not None:
            sd[k], half_width[k] = group.std(axis=0, ddof=1), half
    return Spread(tuple(ids), tuple(names), tuple(map(len, groups)), mean, sd, half_width)


def assess_tradeoff(
    ids: Sequence[str], names: Sequence[str], losses: Float[np.ndarray, "s k m"], ideals: Float[np.ndarray, "s m"]
) -> Tradeoff:
    """Whether every point is above an ideal by more than the noise of the seeds.

    A point is above where, in any objective, the mean of its loss less the ideal is above 0 by a one-sided paired t
    test at 5 % over the number of objectives (Bonferroni); over the points nothing is corrected, as all must be above.
    An ideal is loss i of the model that the same seed trained on loss i alone.
    """
    s, k, m = len(ideals), len(ids), len(names)
    if losses.shape != (s, k, m) or ideals.shape != (s, m):
        raise ValueError(f"losses has shape {losses.shape} and ideals {ideals.shape}; give {(s, k, m)} and {(s, m)}")
    _check_finite(losses=losses, ideals=ideals)
    if not k:
        return Tradeoff(None, "not available: no point succeeded at every seed")
    above = losses - ideals[:, None]
    half_width = interval_half_width(above, (1 - LEVEL) / m)
    if half_width is None:
        return Tradeoff(None, f"not available: {ONE_SEED}")
    excess = above.mean(axis=0)
    # In a deterministic problem the seeds show no noise; what is left is rounding.
    noise = np.maximum(half_width, ROUNDING * np.maximum(np.abs(ideals).max(axis=0), TINY))
    ratio = (excess / noise).max(axis=1)  # above 1: significantly above an ideal
    nearest = int(np.argmin(ratio))
    shown = ", ".join(f"{names[i]} {_format_interval(excess[nearest, i], noise[nearest, i], '+')}" for i in range(m))
    figures = f"({shown}, {s} seeds)" + (f"; {s} seeds only show large differences" if s < 4 else "")
    if ratio[nearest] > 1:
        above_all = f"every point is above an ideal by more than seed noise; closest is {ids[nearest]}"
        return Tradeoff(True, f"measurable: {above_all} {figures}")
    within = f"{ids[nearest]} is within seed noise of the ideals, or better, in every objective"
    return Tradeoff(False, f"no measurable trade-off: {within} {figures}")


def compare_paired(
    here: Float[np.ndarray, " s"], there: Float[np.ndarray, " s"], larger_is_better: bool = True
) -> Comparison:
    """Whether a figure is better here than there; entry i of both is of the same seed."""
    from scipy import stats

    if here.shape != there.shape or here.ndim != 1 or not len(here):
        raise ValueError(f"here has shape {here.shape} and there {there.shape}; give one figure a seed, of same seeds")
    _check_finite(here=here, there=there)
    same = np.abs(here - there) <= 1e-12 * np.maximum(np.abs(here), np.abs(there))  # but for rounding
    pairs = np.where(same, 0.0, here - there)
    n, differ, difference, half_width = len(pairs), int((~same).sum()), float(pairs.mean()), interval_half_width(pairs)
    if half_width is None:
        return Comparison(difference, None, None, n, "not available", ONE_SEED)
    # Where pairs tie, scipy may fall to the normal approximation, which for few pairs gives an impossibly small p.
    test: Any = stats.wilcoxon(pairs[~same], method="exact" if differ <= 50 else "auto") if differ else None
    better = "better" if (difference > 0) == larger_is_better else "worse"
    verdict, note = better if abs(difference) > half_width else "draw", "" if differ else "all pairs are equal"
    if differ and (least := 2 / 2**differ) > 1 - LEVEL:
        note = f"with {differ} differing pairs a two-sided Wilcoxon test cannot reach 0.05: its least p is {least:.4g}"
    return Comparison(difference, float(half_width), float(test.pvalue) if differ else 1.0, n, verdict, note)


def _check_finite(**arrays: Float[np.ndarray, "..."]) -> None:
    for name, array in arrays.items():
        for where in np.argwhere(~np.isfinite(array)):
            raise ValueError(f"{name}{where.tolist()} is not finite; leave out the seeds that failed")


def _format_interval(value: float, half: float, sign: str = "") -> str:
    """Both to the second significant digit of the half-width, where that is a sensible one."""
    if not max(1e-6, 1e-6 * abs(value)) <= half < 1e6:
        return f"{value:{sign}.4g} ± {half:.2g}"
    decimals = max(1 - int(np.floor(np.log10(half))), 0)
    return f"{value:{sign}.{decimals}f} ± {half:.{decimals}f}"

"""Statistics of a front trained several times with different seeds: which differences are real, and which are noise."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

LEVEL, TAIL = 0.95, 0.025  # of every interval and test here, and the share beyond one end of an interval
ROUNDING, TINY = 1e-9, 1e-200  # least share of an ideal that counts as a difference; least size of an ideal
ONE_SEED = "one seed; explore with seeds=2 or more"


class Spread(NamedTuple):
    """The losses of every preference over the seeds that succeeded, one row a preference.

    ids, names: ids of the preferences, names of the objectives.
    n: number of successful seeds of each preference.
    mean: mean losses, in their units; NaN only where no seed succeeded.
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
    """A test for a trade-off larger than the noise of the seeds.

    measurable: whether every point is above an ideal. Points trained too little are above it, too; False may also mean
        too few seeds; None where it cannot be tested.
    why: the verdict in words, with the point nearest to the ideals and its distance above each of them. The ± is the
        noise tested against: 5 % shared by the objectives, so for two objectives half a 95 % interval.
    """

    measurable: bool | None
    why: str


class Comparison(NamedTuple):
    """A comparison of two ways of training, paired over seeds.

    difference: mean of the first less the second, in the figure's unit.
    half_width: half of the difference's 95 % confidence interval by Student's t; None for one seed.
    p: p-value of the two-sided Wilcoxon signed-rank test, without pairs that tie; None for one seed.
    n: number of pairs, one a seed.
    verdict: "better" or "worse" (the first than the second) where the interval excludes 0; "draw" where it does not,
        which is no proof that both are equal; "not available" for one seed.
    note: a limit of these figures; else empty.
    """

    difference: float
    half_width: float | None
    p: float | None
    n: int
    verdict: Literal["better", "worse", "draw", "not available"]
    note: str

    def __str__(self) -> str:
        text = f"{self.difference:+.4g}"
        if self.half_width is not None:
            text = f"{_format_interval(self.difference, self.half_width, '+')} ({LEVEL:.0%} interval, {self.n} seeds)"
        p_value = "" if self.p is None else f", Wilcoxon p = {self.p:.3g}"
        return f"{self.verdict}: {text}{p_value}" + (f"; {self.note}" if self.note else "")


def interval_half_width(
    samples: Float[np.ndarray, " n *rest"], tail: float = TAIL
) -> Float[np.ndarray, " *rest"] | None:
    """Return half of the mean's confidence interval over axis 0, of level 1 - 2 tail by Student's t; None for n < 2."""
    from scipy import stats  # slow to import, so not at the top

    _check_finite(samples=samples)
    n = len(samples)
    return np.asarray(stats.t.isf(tail, n - 1) * samples.std(axis=0, ddof=1) / np.sqrt(n)) if n > 1 else None


def margins_at(
    sampling: Float[np.ndarray, "k m"] | None,
    deviation: Float[np.ndarray, "k m"] | None,
    n: Int[np.ndarray, " k"],
    level: float,
) -> Float[np.ndarray, "k m"]:
    """Bound how much worse one model of a preference may be than the measured mean, at a one-sided level.

    The margin is the root of the sum of two squares: z times the standard error on the split, which all seeds share;
    and Student's t times the deviation between seeds times sqrt(1 + 1/n), the prediction bound for one more seed. It is
    infinite where only one seed of a preference succeeded while other preferences have a deviation.

    Args:
        sampling: standard errors of the measures on the split; None where unknown.
        deviation: sample standard deviations over the seeds; None with one seed.
        n: number of seeds of each preference.
        level: confidence level, above one half.
    """
    from scipy import stats

    variances = np.zeros((sampling if deviation is None else deviation).shape)  # type: ignore[union-attr]
    if sampling is not None:
        variances += (stats.norm.isf(1 - level) * sampling) ** 2
    if deviation is not None:
        several = n > 1
        width = stats.t.isf(1 - level, n[several] - 1) * np.sqrt(1 + 1 / n[several])
        variances[several] += (width[:, None] * deviation[several]) ** 2
        variances[~several] = np.inf
    return np.sqrt(variances)


def spread_over_seeds(ids: Sequence[str], names: Sequence[str], groups: Sequence[Float[np.ndarray, "_ m"]]) -> Spread:
    """Compute mean and spread of every preference; a group holds one row for each seed that succeeded."""
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
    """Test whether every point is above an ideal by more than the noise of the seeds.

    A point is above if, in any objective, the mean of its loss less the ideal is above 0 by a one-sided paired t test
    at 5 % over the number of objectives (Bonferroni). The points need no correction, as all of them must be above. An
    ideal is loss i of the model that the same seed trained on loss i alone.
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
    # In a deterministic problem the seeds show no noise, only rounding.
    noise = np.maximum(half_width, ROUNDING * np.maximum(np.abs(ideals).max(axis=0), TINY))
    ratio = (excess / noise).max(axis=1)  # above 1: significantly above an ideal
    nearest = int(np.argmin(ratio))
    gaps = ", ".join(f"{names[i]} {_format_interval(excess[nearest, i], noise[nearest, i], '+')}" for i in range(m))
    figures = f"({gaps}, {s} seeds)" + (f"; {s} seeds only show large differences" if s < 4 else "")
    if ratio[nearest] > 1:
        above_all = f"every point is above an ideal by more than seed noise; closest is {ids[nearest]}"
        return Tradeoff(True, f"measurable: {above_all} {figures}")
    within = f"{ids[nearest]} is within seed noise of the ideals, or better, in every objective"
    return Tradeoff(False, f"no measurable trade-off: {within} {figures}")


def compare_paired(
    first: Float[np.ndarray, " s"], second: Float[np.ndarray, " s"], larger_is_better: bool = True
) -> Comparison:
    """Compare two ways of training by a figure; entry i of both is of the same seed."""
    from scipy import stats

    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(
            f"first has shape {first.shape} and second {second.shape}; give one figure a seed, of the same seeds"
        )
    _check_finite(first=first, second=second)
    same = np.abs(first - second) <= 1e-12 * np.maximum(np.abs(first), np.abs(second))  # up to rounding
    pairs = np.where(same, 0.0, first - second)
    n, n_different, difference = len(pairs), int((~same).sum()), float(pairs.mean())
    half_width = interval_half_width(pairs)
    if half_width is None:
        return Comparison(difference, None, None, n, "not available", ONE_SEED)
    # Where pairs tie, scipy may use the normal approximation, which gives few pairs an impossibly small p.
    test: Any = stats.wilcoxon(pairs[~same], method="exact" if n_different <= 50 else "auto") if n_different else None
    better = "better" if (difference > 0) == larger_is_better else "worse"
    verdict, note = better if abs(difference) > half_width else "draw", "" if n_different else "all pairs are equal"
    if n_different and (least := 2 / 2**n_different) > 1 - LEVEL:
        note = f"with {n_different} differing pairs a two-sided Wilcoxon test cannot reach 0.05: "
        note += f"its least p is {least:.4g}"
    return Comparison(difference, float(half_width), float(test.pvalue) if n_different else 1.0, n, verdict, note)


def _check_finite(**arrays: Float[np.ndarray, "..."]) -> None:
    for name, array in arrays.items():
        for where in np.argwhere(~np.isfinite(array)):
            raise ValueError(f"{name}{where.tolist()} is not finite; leave out the seeds that failed")


def _format_interval(value: float, half: float, sign: str = "") -> str:
    """Round both to the second significant digit of the half-width, if that is neither tiny nor huge."""
    if not max(1e-6, 1e-6 * abs(value)) <= half < 1e6:
        return f"{value:{sign}.4g} ± {half:.2g}"
    decimals = max(1 - int(np.floor(np.log10(half))), 0)
    return f"{value:{sign}.{decimals}f} ± {half:.{decimals}f}"

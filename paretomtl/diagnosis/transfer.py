"""What training tasks together did to each of them, beside training it alone, over seeds.

The statements follow the estimators of "Can Optimization Trajectories Explain Multi-Task Transfer?" (Mueller, Dredze
and Andrews, 2024): the end of training, the gap at equal training loss, and whether conflict goes with either.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.diagnosis.matched_loss import GapCurve, gap_at_matched_loss
from paretomtl.points.seeds import interval_half_width

DRAWS = 1_000  # of the bootstrap
FEW_PAIRS = 5  # tasks times seeds that a correlation needs
Records = Mapping[str, Sequence[Mapping[str, Any]]]  # of one training, by recorder


class Estimate(NamedTuple):
    """A mean over seeds, and half of its 95 % interval; None where one seed is all that there is.

    n: the number of seeds.
    """

    mean: float
    half_width: float | None
    n: int

    @property
    def sign(self) -> int:
        """1 or -1 where the interval excludes 0; else 0."""
        if self.half_width is None or not abs(self.mean) > self.half_width:
            return 0
        return 1 if self.mean > 0 else -1

    def __str__(self) -> str:
        """Format the mean with its interval."""
        if self.n == 0:
            return "undefined"
        around = " (one seed: no interval)" if self.half_width is None else f" ± {self.half_width:.2g}"
        return f"{self.mean:+.3g}{around}"


class Transfer(NamedTuple):
    """What training together did to one task; differences are together less alone, so below 0 is better together.

    Attributes:
        task: the objective.
        end: the difference of the validation losses at the end.
        train: the difference of the training losses at the end.
        gap: the difference of the validation losses at equal training loss.
        curves: the gap by training loss, one a seed.
    """

    task: str
    end: Estimate
    train: Estimate
    gap: Estimate
    curves: list[GapCurve]

    @property
    def verdict(self) -> str:
        """The finding in a sentence."""
        if self.end.half_width is None:
            return f"{self.task}: {self.end} at the end; seeds=2 or more tell whether that is more than noise."
        ends = {1: "worse", -1: "better", 0: "no differently, as far as the seeds tell,"}[self.end.sign]
        if self.gap.n == 0:
            why = "the two trainings have no training loss in common, so the gap is undefined"
        else:
            how = {1: "it generalises worse", -1: "it generalises better", 0: "it generalises alike"}[self.gap.sign]
            why = f"at equal training loss the difference is {self.gap}: {how}"
        fit = {1: "it is fitted less well", -1: "it is fitted better", 0: "it is fitted as well"}[self.train.sign]
        end = f"{self.task}: together it ends {ends} ({self.end})"
        return f"{end}; {why}; the training loss differs by {self.train}: {fit}."


def summarise(transfers: Sequence[Transfer]) -> str:
    """Return the sentence to take away: which tasks training together helps and harms, and in what way."""
    n = transfers[0].end.n
    if transfers[0].end.half_width is None:
        return "With one seed no difference can be told from noise: repeat the trainings with seeds=5."
    groups = {sign: [t for t in transfers if t.end.sign == sign] for sign in (1, -1, 0)}
    if not groups[1] and not groups[-1]:
        return f"Training together makes no difference to any task that {n} seeds could show."
    parts = [f"{word} {_list(groups[sign])}" for sign, word in ((1, "harms"), (-1, "helps")) if groups[sign]]
    if groups[0]:
        parts.append(f"makes no difference to {_list(groups[0])} that {n} seeds could show")
    return f"Training together {', '.join(parts[:-1])}{' and ' if parts[:-1] else ''}{parts[-1]}."


def _list(transfers: Sequence[Transfer]) -> str:
    """List tasks, each with the reason for its end where the estimates show one."""
    return ", ".join(f"{t.task}{_reason(t)}" for t in transfers)


def _reason(transfer: Transfer) -> str:
    sign = transfer.end.sign
    if not sign:
        return ""
    fit, gap = transfer.train.sign == sign, transfer.gap.n > 1 and transfer.gap.sign == sign
    words = {1: ("fitted less well", "generalises worse"), -1: ("fitted better", "generalises better")}[sign]
    reasons = [word for word, holds in zip(words, (fit, gap), strict=True) if holds]
    return f" ({' and '.join(reasons)})" if reasons else ""


class Correlation(NamedTuple):
    """A rank correlation over tasks and seeds, with its 95 % bootstrap interval; None with too few of them."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        """Format the value with its interval."""
        if self.value is None:
            return f"not available ({self.n} pairs of task and seed; {FEW_PAIRS} are needed)"
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f}, {self.n} pairs)"


def measure_transfer(
    together: Sequence[Records], alone: Sequence[Sequence[Records]], names: Sequence[str]
) -> list[Transfer]:
    """Return the transfer of each task, from what `LossRecorder` recorded.

    Args:
        together: the records of the joint training, one a seed.
        alone: for each task those of its training alone, one a seed, in the same order of the seeds.
        names: the objectives.
    """
    results = []
    for i, name in enumerate(names):
        joint = [_loss_curves(records, i) for records in together]
        single = [_loss_curves(records, i) for records in alone[i]]
        pairs = list(zip(joint, single, strict=True))
        curves = [gap_at_matched_loss(a, b) for a, b in pairs]
        results.append(
            Transfer(
                name,
                end=estimate([a[1][-1] - b[1][-1] for a, b in pairs]),
                train=estimate([a[0][-1] - b[0][-1] for a, b in pairs]),
                gap=estimate([curve.mean for curve in curves if len(curve.gap)]),
                curves=curves,
            )
        )
    return results


def _loss_curves(records: Records, i: int) -> tuple[list[float], list[float]]:
    """Return the training and validation losses of objective i, at the steps where both are there."""
    rows = [(entry["train"][i], entry["validate"][i]) for entry in records.get("loss", ())]
    whole = [(a, b) for a, b in rows if a is not None and b is not None]
    if not whole:
        raise ValueError(f"the records have no losses of objective {i}; give the run a LossRecorder")
    return [a for a, _ in whole], [b for _, b in whole]


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean over seeds with its interval."""
    if not len(values):
        return Estimate(float("nan"), None, 0)
    rows = np.asarray(values, dtype=float)[:, None]
    half = interval_half_width(rows)
    return Estimate(float(rows.mean()), None if half is None else float(half[0]), len(rows))


def correlate(x: Float[np.ndarray, "seeds tasks"], y: Float[np.ndarray, "seeds tasks"], seed: int = 0) -> Correlation:
    """Return Spearman's rank correlation over all pairs of task and seed, with a percentile bootstrap over them.

    Ranks are within all pairs; the bootstrap draws pairs of task and seed. Pairs that are not finite are left out.
    """
    a, b = np.ravel(x), np.ravel(y)
    whole = np.isfinite(a) & np.isfinite(b)
    a, b = a[whole], b[whole]
    if len(a) < FEW_PAIRS or len(np.unique(a)) < 2 or len(np.unique(b)) < 2:
        return Correlation(None, None, None, len(a))
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(DRAWS):
        rows = rng.integers(len(a), size=len(a))
        if len(np.unique(a[rows])) > 1 and len(np.unique(b[rows])) > 1:
            draws.append(_rank_correlation(a[rows], b[rows]))
    low, high = np.quantile(draws, [0.025, 0.975])
    return Correlation(_rank_correlation(a, b), float(low), float(high), len(a))


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(_rank(a), _rank(b))[0, 1])


def _rank(values: np.ndarray) -> np.ndarray:
    """Return ranks, the mean of them for ties."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return ((ends - counts + ends - 1) / 2)[places]

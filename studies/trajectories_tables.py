"""The tables, the findings and the figure of `studies.trajectories`.

Differences are together less alone, over seeds, ± half of a 95 % interval by Student's t:

- end: of the test losses, in percent of the single task's
- gap: of the validation losses at equal training loss, in percent of the single task's last one
- fit: of the last training losses, in percent of the single task's
- cosine: the mean cosine of a task's gradient with those of the others; against: the share of negative ones
- sharpness, Fisher, noise: at equal training loss, how often the single task's doubles (log2 of the ratio)
- coherence: at equal training loss, without the bias of few parts
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paretomtl.diagnosis.transfer import Correlation, Estimate, correlate, estimate
from studies.conditioned_fronts import markdown

METHODS = ("PCGrad", "CAGrad", "MGDA", "FairGrad")
FACTORS = {"sharpness": "sharpness", "fisher": "Fisher trace", "coherence": "coherence", "noise": "noise scale"}
NOTHING = 0.3  # a rank correlation within ± this is taken for none


class Row(NamedTuple):
    """What one seed shows of one task; figures as in the tables, NaN where undefined.

    alone, joint: test losses.
    early, late: the gap in the upper half and in the lowest quarter of the common training losses, without the first
        step, before which the networks of a seed are equal.
    PCGrad, CAGrad, MGDA, FairGrad: the test loss less that of the joint training, in percent of that.
    """

    task_set: str
    task: str
    seed: int
    alone: float
    joint: float
    end: float
    gap: float
    early: float
    late: float
    fit: float
    cosine: float
    negative: float
    sharpness: float
    fisher: float
    coherence: float
    noise: float
    PCGrad: float
    CAGrad: float
    MGDA: float
    FairGrad: float


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write one row a task and seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        # six digits are more than any table shows
        writer.writerows([[f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows])


def read_csv(path: Path) -> list[Row]:
    """Return the rows that `write_csv` wrote."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    text: dict[str, Any] = {"task_set": str, "task": str, "seed": int}
    return [Row(**{name: text.get(name, float)(cell) for name, cell in row.items()}) for row in rows]


Tasks = dict[tuple[str, str], list[Row]]


def by_task(rows: Sequence[Row]) -> Tasks:
    """Return the rows of each task, one a seed."""
    groups: Tasks = {}
    for row in rows:
        groups.setdefault((row.task_set, row.task), []).append(row)
    return groups


def over_seeds(group: Sequence[Row], name: str) -> Estimate:
    """Return a figure's mean over the seeds at which it is defined."""
    values = np.array([getattr(row, name) for row in group], dtype=float)
    return estimate(list(values[np.isfinite(values)]))


def _cell(seen: Estimate, digits: int, sign: str = "+") -> str:
    if seen.n == 0:
        return "undefined"
    half = "" if seen.half_width is None else f" ± {seen.half_width:.{digits}f}"
    return f"{seen.mean:{sign}.{digits}f}{half}"


def transfer_table(rows: Sequence[Row]) -> str:
    """Return the table of losses, transfer and conflict."""
    table = [
        [
            *key, _cell(over_seeds(group, "alone"), 4, ""), _cell(over_seeds(group, "joint"), 4, ""),
            *(_cell(over_seeds(group, name), 1) for name in ("end", "gap", "fit")),
            _cell(over_seeds(group, "cosine"), 2), f"{100 * over_seeds(group, 'negative').mean:.0f} %",
        ]
        for key, group in by_task(rows).items()
    ]  # fmt: skip
    return markdown(
        ["task set", "task", "alone", "together", "end [%]", "gap [%]", "fit [%]", "cosine", "against"], table
    )


def factor_table(rows: Sequence[Row]) -> str:
    """Return the table of the four factors."""
    table = [
        [*key, *(_cell(over_seeds(group, name), 2) for name in FACTORS), _cell(over_seeds(group, "gap"), 1)]
        for key, group in by_task(rows).items()
    ]
    return markdown(["task set", "task", *FACTORS.values(), "gap [%]"], table)


def method_table(rows: Sequence[Row]) -> str:
    """Return the table of the specialised optimizers against the joint training, in percent of its test loss."""
    table = []
    for key, group in by_task(rows).items():
        effects = [over_seeds(group, name) for name in METHODS]
        table.append([*key, *(f"{_cell(e, 1)} {VERDICTS[e.sign]}" for e in effects)])
    for sign in (-1, 0, 1):
        table.append([f"tasks: {VERDICTS[sign]}", "", *(str(_count(rows, name, sign)) for name in METHODS)])
    return markdown(["task set", "task", *METHODS], table)


VERDICTS = {-1: "better", 0: "draw", 1: "worse"}


def _count(rows: Sequence[Row], name: str, sign: int) -> int:
    return sum(over_seeds(group, name).sign == sign for group in by_task(rows).values())


# --- correlations ---

PAIRS = {
    "agreement of gradients, gap": ("cosine", "gap"),
    "agreement of gradients, fit": ("cosine", "fit"),
    **{f"{label}, gap": (name, "gap") for name, label in FACTORS.items()},
    "early gap, late gap": ("early", "late"),
}


def over_pairs(rows: Sequence[Row], x: str, y: str) -> Correlation:
    """Correlate over all pairs of task and seed."""
    first, second = (np.array([getattr(row, name) for row in rows], dtype=float) for name in (x, y))
    return correlate(first, second)


def over_tasks(rows: Sequence[Row], x: str, y: str) -> Correlation:
    """Correlate the tasks' means over the seeds: seeds of a task are alike, so pairs of task and seed say too much."""
    groups = by_task(rows).values()
    first, second = (np.array([over_seeds(group, name).mean for group in groups]) for name in (x, y))
    return correlate(first, second)


def by_set(rows: Sequence[Row], x: str, y: str) -> dict[str, Correlation]:
    """Correlate within each task set."""
    names = dict.fromkeys(row.task_set for row in rows)
    return {name: over_pairs([row for row in rows if row.task_set == name], x, y) for name in names}


def correlation_table(rows: Sequence[Row]) -> str:
    """Return the table of the rank correlations."""
    table = []
    for label, (x, y) in PAIRS.items():
        each = by_set(rows, x, y)
        inside = ["" if c.value is None else f"{c.value:+.2f}" for c in each.values()]
        table.append([label, _interval(over_pairs(rows, x, y)), _interval(over_tasks(rows, x, y)), *inside])
    sets = dict.fromkeys(row.task_set for row in rows)
    return markdown(["of", "tasks and seeds", "tasks' means", *sets], table)


def _interval(seen: Correlation) -> str:
    if seen.value is None:
        return "not available"
    return f"{seen.value:+.2f} ({seen.low:+.2f} to {seen.high:+.2f}, {seen.n})"


# --- the published findings ---


class Finding(NamedTuple):
    """A published finding, what we see, and the verdict."""

    published: str
    ours: str
    verdict: str


CONFIRMED, REFUTED, UNCLEAR = "confirmed", "not confirmed", "cannot be told"


def predicted(seen: Correlation, sign: int) -> str:
    """Judge "they correlate with this sign": by the interval."""
    if seen.value is None or seen.low is None or seen.high is None:
        return UNCLEAR
    if min(sign * seen.low, sign * seen.high) > 0:
        return CONFIRMED
    return REFUTED if max(sign * seen.low, sign * seen.high) < NOTHING else UNCLEAR


def unrelated(seen: Correlation) -> str:
    """Judge "they do not correlate": the interval has to lie within ±.3, or else to exclude 0."""
    if seen.value is None or seen.low is None or seen.high is None:
        return UNCLEAR
    if seen.low > 0 or seen.high < 0:
        return REFUTED
    return CONFIRMED if max(-seen.low, seen.high) < NOTHING else UNCLEAR


def _both(first: str, second: str) -> str:
    """Join verdicts over pairs and over tasks' means: what only one of them shows cannot be told."""
    return first if first == second else UNCLEAR


def findings(rows: Sequence[Row]) -> list[Finding]:
    """Compare the published findings with ours."""
    return [_persistence(rows), _factors(rows), _conflict_and_fit(rows), _conflict_and_gap(rows), _methods(rows)]


def _persistence(rows: Sequence[Row]) -> Finding:
    groups = by_task(rows).values()
    late = [group for group in groups if over_seeds(group, "late").sign]
    alike = [g for g in late if over_seeds(g, "early").sign == over_seeds(g, "late").sign]
    against = [g for g in late if over_seeds(g, "early").sign == -over_seeds(g, "late").sign]
    seen = over_pairs(rows, "early", "late")
    share = len(alike) / len(late) if late else math.nan
    verdict = UNCLEAR if not late else CONFIRMED if share > 0.5 and not against else REFUTED
    ours = (
        f"{len(late)} of {len(groups)} tasks have a late gap; {len(alike)} of these have it early with the same sign, "
    )
    ours += f"{len(against)} with the other; early against late {_interval(seen)}"
    return Finding("the gap appears early and persists", ours, verdict)


def _factors(rows: Sequence[Row]) -> Finding:
    parts, explains, known = [], False, False
    for name in ("sharpness", "fisher", "coherence"):
        seen = over_pairs(rows, name, "gap")
        inside = [c.value for c in by_set(rows, name, "gap").values() if c.value is not None]
        signs = {bool(value > 0) for value in inside}
        known |= seen.value is not None and len(inside) > 2
        explains |= unrelated(seen) == REFUTED and len(signs) == 1
        parts.append(f"{FACTORS[name]} {_interval(seen)}, {sum(v > 0 for v in inside)} of {len(inside)} sets positive")
    verdict = UNCLEAR if not known else REFUTED if explains else CONFIRMED
    return Finding(
        "sharpness, Fisher information and coherence do not explain it consistently", "; ".join(parts), verdict
    )


def _conflict_and_fit(rows: Sequence[Row]) -> Finding:
    pairs, tasks = over_pairs(rows, "cosine", "fit"), over_tasks(rows, "cosine", "fit")
    verdict = _both(predicted(pairs, -1), predicted(tasks, -1))
    ours = f"agreement against fit {_interval(pairs)}; of tasks' means {_interval(tasks)}"
    return Finding("conflict goes with slower or worse optimisation", ours, verdict)


def _conflict_and_gap(rows: Sequence[Row]) -> Finding:
    pairs, tasks = over_pairs(rows, "cosine", "gap"), over_tasks(rows, "cosine", "gap")
    verdict = _both(unrelated(pairs), unrelated(tasks))
    ours = f"agreement against gap {_interval(pairs)}; of tasks' means {_interval(tasks)}"
    return Finding("conflict does not predict generalisation", ours, verdict)


def _methods(rows: Sequence[Row]) -> Finding:
    n = len(by_task(rows))
    counts = {name: [_count(rows, name, sign) for sign in (-1, 0, 1)] for name in METHODS}
    reliable = [name for name, (better, _, worse) in counts.items() if better > n / 2 and not worse]
    ours = "; ".join(f"{name} better / draw / worse {'/'.join(map(str, c))}" for name, c in counts.items())
    several = all(len(group) > 2 for group in by_task(rows).values())
    verdict = UNCLEAR if not several else REFUTED if reliable else CONFIRMED
    return Finding("specialised optimizers do not reliably improve transfer", ours, verdict)


def findings_table(rows: Sequence[Row]) -> str:
    """Return the table of the published findings beside ours."""
    return markdown(["published", "here", "verdict"], [list(finding) for finding in findings(rows)])


def format_tables(rows: Sequence[Row]) -> str:
    """Return all tables."""
    tables = {
        "Transfer and conflict": transfer_table,
        "Factors": factor_table,
        "Correlations": correlation_table,
        "Specialised optimizers": method_table,
        "The published findings": findings_table,
    }
    return "\n\n".join(f"### {title}\n\n{table(rows)}" for title, table in tables.items())


# --- the figure ---

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000")
MARKERS = "os^Dv"
TICKS = (-30, -10, -3, -1, 0, 1, 3, 10, 30)  # of the gap


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the gap and the fit against the agreement of gradients: seeds small, tasks' means large."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    labels = {"gap": "gap at equal training loss [%]", "fit": "difference of training losses [%]"}
    with mpl.rc_context({"svg.hashsalt": "paretomtl", "font.size": 9}):
        figure = Figure(figsize=(7.4, 3.7), layout="constrained")
        for axes, (name, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
            _draw_tasks(axes, rows, name)
            axes.set(xlabel="mean cosine with the other tasks", ylabel=label)
        gaps = figure.axes[0]
        gaps.set_yscale("symlog", linthresh=2, linscale=0.6)  # most gaps are small, those of RF1 large
        gaps.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS], minor=False)
        gaps.minorticks_off()
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})


def _draw_tasks(axes: Any, rows: Sequence[Row], name: str) -> None:
    axes.axhline(0, color="#999999", lw=0.8, ls="--")
    sets = list(dict.fromkeys(row.task_set for row in rows))
    for colour, marker, task_set in zip(COLOURS, MARKERS, sets, strict=False):
        mine = [row for row in rows if row.task_set == task_set]
        axes.plot([r.cosine for r in mine], [getattr(r, name) for r in mine], marker, color=colour, ms=2.5, alpha=0.5)
        groups = by_task(mine).values()
        means = [(over_seeds(g, "cosine").mean, over_seeds(g, name).mean) for g in groups]
        axes.plot(*zip(*means, strict=True), marker, color=colour, ms=7, label=task_set)

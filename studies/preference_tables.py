"""The tables of `studies.preferences`: figures of each cell against Linear, the choice of one method, its judgement.

The columns of a problem's table:

- lr: the tuned learning rate
- hypervolume: the mean over the seeds, as a share of the box between the tuning seed's ideal and the reference
- to Linear's: its ratio to that of Linear on losses as they are, with the paired 95 % interval over the seeds
- verdict: better, worse, or a draw, by that interval
- dominated: the share of points that a point of Linear's front of the same seed dominates
- control: the mean angle, in degrees, between the preference's ray and the losses, in the units that the method saw
- failed: points that failed in the five seeds, of all

How one method is chosen, fixed before any result: every second problem of the list, from the first on, chooses; the
others judge. Linear on losses as they are is the measure and cannot be chosen. Of the rows that reach at least .98 of
Linear's hypervolume and have at most 10 % dominated points on every problem that chooses, it is the one that is better
on most; among equals, and where no row reaches both, the one whose least ratio to Linear's is largest.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.points.seeds import Comparison, compare_paired
from studies.conditioned_fronts import markdown

MEASURE = ("Linear", "none")
LEAST_RATIO, MOST_DOMINATED = 0.98, 0.10


class Run(NamedTuple):
    """A front: its points' losses and control errors, its hypervolume, and the number of points that failed and why."""

    seed: int
    rate: float
    hypervolume: float
    losses: list[list[float]]
    control: list[float]
    failed: int
    reason: str
    seconds: float


class Cell(NamedTuple):
    """A problem, a method and a normalisation: the runs of the tuning seed, one a rate, and those of the table."""

    problem: str
    method: str
    normalisation: str
    concave: bool
    trials: list[Run]
    runs: list[Run]

    @property
    def row(self) -> tuple[str, str]:
        """The method and the normalisation."""
        return self.method, self.normalisation

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            **self._asdict(),
            **{name: [run._asdict() for run in getattr(self, name)] for name in ("trials", "runs")},
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Cell":
        """Return the cell that `to_json` wrote."""
        return cls(**{**content, **{name: [Run(**run) for run in content[name]] for name in ("trials", "runs")}})


class Figures(NamedTuple):
    """The figures of a cell's row, see the module."""

    cell: Cell
    comparison: Comparison
    hypervolume: float
    ratio: float
    half_width: float
    dominated: float
    control: float
    failed: int


def dominated_share(losses: Sequence[Sequence[float]], by: Sequence[Sequence[float]]) -> float:
    """Return the share of points that a point of another front dominates; NaN where there is no point."""
    if not losses:
        return np.nan
    if not by:
        return 0.0
    ours, theirs = np.array(losses)[:, None], np.array(by)[None]
    return float(((theirs <= ours).all(axis=2) & (theirs < ours).any(axis=2)).any(axis=-1).mean())


def volumes(cell: Cell) -> Float[np.ndarray, " s"]:
    """Return the hypervolume of every seed."""
    return np.array([run.hypervolume for run in cell.runs])


def shares(cell: Cell, measure: Cell) -> list[float]:
    """Return the share of dominated points of every seed."""
    return [dominated_share(run.losses, by.losses) for run, by in zip(cell.runs, measure.runs, strict=True)]


def figures(cell: Cell, measure: Cell) -> Figures:
    """Compute a cell's figures against Linear's cell of the same problem."""
    ours, theirs = volumes(cell), volumes(measure)
    comparison = compare_paired(ours, theirs)
    angles = [angle for run in cell.runs for angle in run.control]
    counted = [share for share in shares(cell, measure) if not np.isnan(share)]
    scale = float(theirs.mean()) or np.nan
    return Figures(
        cell,
        comparison,
        float(ours.mean()),
        float(ours.mean()) / scale,
        (comparison.half_width or 0.0) / scale,
        float(np.mean(counted)) if counted else np.nan,
        float(np.mean(angles)) if angles else np.nan,
        sum(run.failed for run in cell.runs),
    )


def all_figures(cells: Sequence[Cell]) -> dict[str, list[Figures]]:
    """Return the figures by problem, in the order of the cells."""
    measures = {cell.problem: cell for cell in cells if cell.row == MEASURE}
    results: dict[str, list[Figures]] = {}
    for cell in cells:
        results.setdefault(cell.problem, []).append(figures(cell, measures[cell.problem]))
    return results


COLUMNS = ("method", "normalised", "lr", "hypervolume", "to Linear's", "verdict", "dominated", "control", "failed")


def problem_table(rows: Sequence[Figures]) -> str:
    """Return the table of a problem, and below it why points failed."""
    table = [
        [
            *f.cell.row, f"{f.cell.runs[0].rate:g}", f"{f.hypervolume:.4f}", f"{f.ratio:.3f} ± {f.half_width:.3f}",
            "" if f.cell.row == MEASURE else f.comparison.verdict, f"{f.dominated:.0%}", f"{f.control:.1f}°",
            f"{f.failed} of {f.failed + sum(len(run.losses) for run in f.cell.runs)}",
        ]
        for f in rows
    ]  # fmt: skip
    reasons = [
        f"- {', '.join(f.cell.row)}: {next(run.reason for run in f.cell.runs if run.failed)}" for f in rows if f.failed
    ]
    return "\n".join([markdown(COLUMNS, table), *([""] if reasons else []), *reasons])


def by_row(results: dict[str, list[Figures]]) -> dict[tuple[str, str], list[Figures]]:
    """Return the figures by method and normalisation, one a problem."""
    rows: dict[tuple[str, str], list[Figures]] = {}
    for per_problem in results.values():
        for f in per_problem:
            rows.setdefault(f.cell.row, []).append(f)
    return rows


def worst(values: Sequence[float], pick: Any) -> float:
    """Return the smallest or largest value; NaN, the value of a front without points, is worse than any."""
    return float("nan") if np.isnan(values).any() else float(pick(values))


def reaches(rows: Sequence[Figures]) -> bool:
    """Whether a row reaches the least ratio and keeps the largest dominated share on all of these problems."""
    return all(f.ratio >= LEAST_RATIO and f.dominated <= MOST_DOMINATED for f in rows)


def wins(rows: Sequence[Figures]) -> int:
    """Count the problems on which a row is above Linear by the paired interval."""
    return sum(f.comparison.verdict == "better" for f in rows)


def ratio_table(results: dict[str, list[Figures]]) -> str:
    """Return a method's ratio to Linear's on each problem, a line each; + where it is better, - where it is worse."""
    marks = {"better": " +", "worse": " -"}
    table = [
        [*row, *(f"{f.ratio:.2f}{'' if row == MEASURE else marks.get(f.comparison.verdict, '')}" for f in rows)]
        for row, rows in by_row(results).items()
    ]
    return markdown(("method", "normalised", *results), table)


def summary_table(results: dict[str, list[Figures]]) -> str:
    """Return one line a method and normalisation, over all problems."""
    columns = (
        "method",
        "normalised",
        "least to Linear's",
        "better",
        "better where concave",
        "most dominated",
        "failed",
    )
    table = []
    for row, rows in by_row(results).items():
        concave = [f for f in rows if f.cell.concave]
        table.append([
            *row, f"{worst([f.ratio for f in rows], min):.3f}", f"{wins(rows)} of {len(rows)}",
            f"{wins(concave)} of {len(concave)}", f"{worst([f.dominated for f in rows], max):.0%}",
            str(sum(f.failed for f in rows)),
        ])  # fmt: skip
    return markdown(columns, table)


def recommend(results: dict[str, list[Figures]]) -> tuple[tuple[str, str], str]:
    """Choose a row by one half of the problems, and return it and its judgement by the other half."""
    choosing, judging = list(results)[::2], list(results)[1::2]
    candidates = by_row({problem: results[problem] for problem in choosing})
    del candidates[MEASURE]

    def key(row: tuple[str, str]) -> tuple[bool, int, float]:
        rows = candidates[row]
        least = worst([f.ratio for f in rows], min)
        return reaches(rows), wins(rows) if reaches(rows) else 0, -np.inf if np.isnan(least) else least

    chosen = max(candidates, key=key)
    lines = [f"Chosen by {', '.join(choosing)}: {chosen[0]}, normalised: {chosen[1]}."]
    if not reaches(candidates[chosen]):
        lines.append("It misses a target there, as every other row does.")
    if judging:
        lines += ["", _judgement([f for p in judging for f in results[p] if f.cell.row == chosen])]
    return chosen, "\n".join(lines)


def _judgement(rows: Sequence[Figures]) -> str:
    """Return the table of a row on the problems that judge it, with the targets it misses."""
    table = []
    for f in rows:
        misses = [
            text
            for text, missed in (
                (f"below {LEAST_RATIO:g} of Linear's", not f.ratio >= LEAST_RATIO),
                (f"above {MOST_DOMINATED:.0%} dominated", not f.dominated <= MOST_DOMINATED),
                ("not better on a concave front", f.cell.concave and f.comparison.verdict != "better"),
            )
            if missed
        ]
        table.append([f.cell.problem, f"{f.ratio:.3f} ± {f.half_width:.3f}", f"{f.dominated:.0%}", "; ".join(misses)])
    return markdown(("judged on", "to Linear's", "dominated", "misses"), table)


def write_csv(cells: Sequence[Cell], path: Path) -> None:
    """Write one row a problem, method, normalisation and seed."""
    measures = {cell.problem: cell for cell in cells if cell.row == MEASURE}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["problem", "method", "normalised", "seed", "lr", "hypervolume", "dominated", "control", "points", "failed",
             "seconds"]
        )  # fmt: skip
        for cell in cells:
            for run, share in zip(cell.runs, shares(cell, measures[cell.problem]), strict=True):
                control = float(np.mean(run.control)) if run.control else np.nan
                writer.writerow(
                    [cell.problem, *cell.row, run.seed, run.rate, run.hypervolume, share, control, len(run.losses),
                     run.failed, round(run.seconds, 2)]
                )  # fmt: skip


def write_tables(cells: Sequence[Cell], out: Path) -> str:
    """Write table.md and runs.csv into a folder, and return the tables."""
    results = all_figures(cells)
    _, judgement = recommend(results)
    parts = [part for problem, rows in results.items() for part in (f"## {problem}", problem_table(rows))]
    text = "\n\n".join(
        [*parts, "## All problems", ratio_table(results), summary_table(results), "## One method", judgement]
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(text + "\n")
    write_csv(cells, out / "runs.csv")
    return text

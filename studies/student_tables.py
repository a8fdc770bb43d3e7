"""The tables and the figure of `studies.student_teacher`: students on test data, and the fronts' hypervolumes.

The columns of a setting's first table, each a mean over the seeds ± half of its 95 % interval:

- accuracy: percent of right decisions; beside it the paired difference to the student that learns from labels alone,
  and better, worse or a draw by its interval
- by class: the mean over the classes of the percent within each
- agreement: percent of decisions that are the teacher's
- loss: the mean cross-entropy to the labels, in nats
- calibration: the mean distance between confidence and accuracy, in percent
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paretomtl.points.seeds import compare_paired, interval_half_width
from studies.conditioned_fronts import markdown

TEACHER, LABELS, TEACHER_ALONE = "the teacher", "labels alone", "teacher alone"
LINEAR, SMOOTH = "Linear", "SmoothTchebycheff"
FRONTS = (LINEAR, SMOOTH)


class Result(NamedTuple):
    """A student on test data, and the hypervolumes of the front that it is of.

    share: its preference for the task, NaN for the teacher.
    chosen: whether it is of the preference that a rule chose.
    peak: the learning rate's.
    accuracy, by_class, agreement, loss, calibration: as in `Figures`.
    volume, test_volume: of its row's points of the same seed, on validation and on test data.
    """

    setting: str
    row: str
    share: float
    chosen: bool
    seed: int
    peak: float
    accuracy: float
    by_class: float
    agreement: float
    loss: float
    calibration: float
    volume: float
    test_volume: float


def write_csv(results: Sequence[Result], path: Path) -> None:
    """Write one row a student."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Result._fields)
        # six digits are more than any table shows
        writer.writerows([[f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in results])


def read_csv(path: Path) -> list[Result]:
    """Return the rows that `write_csv` wrote."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    text = {"setting": str, "row": str, "chosen": "True".__eq__, "seed": int}
    return [Result(**{name: text.get(name, float)(cell) for name, cell in row.items()}) for row in rows]


def by_setting(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Return the results of each setting."""
    return {name: [one for one in results if one.setting == name] for name in dict.fromkeys(r.setting for r in results)}


def students(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Return a setting's rows in the order of the table: of a front, what was chosen."""
    rows: dict[str, list[Result]] = {}
    for one in results:
        if one.row not in FRONTS:
            rows.setdefault(one.row, []).append(one)
        elif one.chosen:
            rows.setdefault(f"{one.row}, chosen: {one.share:.2f} for the task", []).append(one)
    return rows


def column(group: Sequence[Result], name: str) -> np.ndarray:
    """Return a figure of every seed."""
    return np.array([getattr(one, name) for one in sorted(group, key=lambda one: one.seed)])


def mean_cell(values: np.ndarray, digits: int) -> str:
    """Format a mean over the seeds with half of its 95 % interval."""
    half = interval_half_width(values)
    return f"{values.mean():.{digits}f}" + ("" if half is None else f" ± {float(half):.{digits}f}")


def student_table(results: Sequence[Result]) -> str:
    """Return the table of a setting's students on test data."""
    rows, table = students(results), []
    for name, group in rows.items():
        accuracy = column(group, "accuracy")
        table.append([
            name, mean_cell(accuracy, 2),
            "" if name in (TEACHER, LABELS) else _difference(accuracy, column(rows[LABELS], "accuracy")),
            *(mean_cell(column(group, figure), 2) for figure in ("by_class", "agreement")),
            mean_cell(column(group, "loss"), 4), mean_cell(column(group, "calibration"), 2),
        ])  # fmt: skip
    columns = ["learns from", "accuracy", "to labels alone", "by class", "agreement", "loss", "calibration"]
    return markdown(columns, table)


def _difference(ours: np.ndarray, theirs: np.ndarray, digits: int = 2) -> str:
    """Format the paired difference with half of its 95 % interval, and the verdict."""
    compared = compare_paired(ours, theirs)
    half = "" if compared.half_width is None else f" ± {compared.half_width:.{digits}f}"
    return f"{compared.difference:+.{digits}f}{half} {compared.verdict}"


def volume_table(results: Sequence[Result]) -> str:
    """Return the table of a setting's fronts."""
    fronts = {name: {one.seed: one for one in results if one.row == name} for name in FRONTS}
    theirs, table = np.array([one.volume for one in fronts[LINEAR].values()]), []
    for name, by_seed in fronts.items():
        ours, test = np.array([[one.volume, one.test_volume] for one in by_seed.values()]).T
        compared = "" if name == LINEAR else _difference(ours, theirs, 4)
        peak = next(iter(by_seed.values())).peak
        table.append([name, f"{peak:g}", mean_cell(ours, 4), compared, mean_cell(test, 4)])
    return markdown(["front", "peak", "hypervolume", "to Linear's", "on test"], table)


def format_tables(results: Sequence[Result]) -> str:
    """Return the tables of all settings."""
    parts = []
    for name, group in by_setting(results).items():
        parts += [f"### {name}", student_table(group), volume_table(group)]
    return "\n\n".join(parts)


MARKERS = {TEACHER_ALONE: ("s", "#000000"), LABELS: ("D", "#000000")}
LINES = {LINEAR: "#0072b2", SMOOTH: "#d55e00"}
OTHERS = ("^", "v", "P")


MEASURES = {"accuracy": "accuracy [%]", "by_class": "mean accuracy within a class [%]"}


def draw(results: Sequence[Result], path: Path) -> None:
    """Draw accuracy against agreement, means over the seeds with their intervals; for the first setting by class too.

    Classes of digits are about equally frequent, so that both accuracies of the other settings look the same.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings = by_setting(results)
    first, *others = settings
    panels = [(first, "accuracy"), (first, "by_class"), *((name, "accuracy") for name in others)]
    with mpl.rc_context({"svg.hashsalt": "paretomtl", "font.size": 9}):
        figure = Figure(figsize=(7.4, 3.1 * (len(panels) // 2) + 0.7), layout="constrained")
        grid = figure.subplots(-(-len(panels) // 2), 2, squeeze=False)
        for (name, measure), axes in zip(panels, grid.flat, strict=False):
            _draw_rows(axes, settings[name], measure)
            axes.set(title=name, xlabel="agreement with the teacher [%]", ylabel=MEASURES[measure])
        handles, names = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})


def _draw_rows(axes: Any, results: Sequence[Result], measure: str) -> None:
    others = iter(OTHERS)
    for row in dict.fromkeys(one.row for one in results):
        group = [one for one in results if one.row == row]
        if row == TEACHER:
            axes.axhline(getattr(group[0], measure), color="#999999", lw=0.8, ls="--", label=row)
        elif row in LINES:
            shares = sorted({one.share for one in group})
            _draw_means(axes, [[g for g in group if g.share == s] for s in shares], measure, row, "o-", LINES[row])
            chosen = [g for g in group if g.chosen]
            x, y = column(chosen, "agreement").mean(), column(chosen, measure).mean()
            axes.plot(x, y, "o", ms=11, mfc="none", color=LINES[row], label=f"{row}, chosen")
        else:
            marker, colour = MARKERS.get(row) or (next(others), "#009e73")
            _draw_means(axes, [group], measure, row, marker, colour)


def _draw_means(
    axes: Any, groups: Sequence[Sequence[Result]], measure: str, label: str, style: str, colour: str
) -> None:
    means = np.array([[column(g, name).mean() for name in ("agreement", measure)] for g in groups])
    halves = [[interval_half_width(column(g, name)) for name in ("agreement", measure)] for g in groups]
    x_half, y_half = np.array([[0.0 if h is None else float(h) for h in pair] for pair in halves]).T
    axes.errorbar(*means.T, y_half, x_half, fmt=style, color=colour, ms=4, lw=1, elinewidth=0.5, label=label, zorder=2)

"""The tables and the figure of `studies.balancing`: each method's worst and mean loss beside Linear's.

The columns of a problem's table:

- lr: the tuned learning rate
- worst, mean: the largest test loss of a task and the mean over the tasks, in nats, averaged over the seeds
- to Linear's: the difference, with the paired 95 % interval over the seeds, and better, worse or a draw by it
- time: CPU time of a training over that of Linear, the median over all trainings
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.points.seeds import Comparison, compare_paired
from studies.conditioned_fronts import markdown

LINEAR, TUNED, SINGLE = "Linear", "Linear, weights tuned", "single tasks"


class Run(NamedTuple):
    """A training: its losses on validation and test data, empty where it failed, and why; CPU seconds."""

    seed: int
    rate: float
    validate: list[float]
    test: list[float]
    reason: str
    seconds: float

    @property
    def mean(self) -> float:
        """The mean validation loss; infinite where the training failed."""
        return float(np.mean(self.validate)) if self.validate else np.inf

    @property
    def worst(self) -> float:
        """The worst validation loss; infinite where the training failed."""
        return max(self.validate, default=np.inf)


class Cell(NamedTuple):
    """A problem and a method: the trainings of the tuning seed, and those of the table."""

    problem: str
    method: str
    trials: list[Run]
    runs: list[Run]

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            **self._asdict(),
            "trials": [r._asdict() for r in self.trials],
            "runs": [r._asdict() for r in self.runs],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Cell":
        """Return the cell that `to_json` wrote."""
        return cls(**{**content, **{name: [Run(**run) for run in content[name]] for name in ("trials", "runs")}})


class Figures(NamedTuple):
    """A row of a problem's table; the comparisons are with Linear's, None where a training failed."""

    cell: Cell
    worst: float
    mean: float
    by_worst: Comparison | None
    by_mean: Comparison | None
    time: float


def by_seed(cell: Cell, of: Callable[[list[float]], Any]) -> Float[np.ndarray, " s"]:
    """Return a figure of the test losses of every seed; infinite where a training failed."""
    return np.array([float(of(run.test)) if run.test else np.inf for run in cell.runs])


def seconds(cell: Cell) -> float:
    """Return the median CPU seconds of a training."""
    return float(np.median([run.seconds for run in (*cell.trials, *cell.runs)]))


def figures(cell: Cell, linear: Cell) -> Figures:
    """Compute a cell's figures against Linear's of the same problem."""

    def compare(of: Callable[[list[float]], Any]) -> Comparison | None:
        ours, theirs = by_seed(cell, of), by_seed(linear, of)
        return compare_paired(-ours, -theirs) if np.isfinite(ours).all() else None

    worst, mean = (float(by_seed(cell, of).mean()) for of in (max, np.mean))
    return Figures(cell, worst, mean, compare(max), compare(np.mean), seconds(cell) / seconds(linear))


def all_figures(cells: Sequence[Cell]) -> dict[str, list[Figures]]:
    """Return the figures by problem: Linear, then the others by their worst loss."""
    linear = {cell.problem: cell for cell in cells if cell.method == LINEAR}
    results: dict[str, list[Figures]] = {}
    for cell in cells:
        results.setdefault(cell.problem, []).append(figures(cell, linear[cell.problem]))
    return {problem: sorted(rows, key=lambda f: f.worst) for problem, rows in results.items()}


def difference(f: Figures, comparison: Comparison | None) -> str:
    """Format how much lower a loss is than Linear's, with the verdict."""
    if f.cell.method == LINEAR:
        return ""
    if comparison is None:
        return "failed"
    return f"{-comparison.difference:+.4f} ± {comparison.half_width or 0:.4f} {comparison.verdict}"


COLUMNS = ("method", "lr", "worst", "to Linear's", "mean", "to Linear's", "time")


def problem_table(rows: Sequence[Figures]) -> str:
    """Return the table of a problem, and below it why trainings failed."""
    table = [
        [
            f.cell.method, "" if np.isnan(f.cell.runs[0].rate) else f"{f.cell.runs[0].rate:g}",
            f"{f.worst:.4f}", difference(f, f.by_worst), f"{f.mean:.4f}", difference(f, f.by_mean), f"{f.time:.1f}",
        ]
        for f in rows
    ]  # fmt: skip
    reasons = [f"- {f.cell.method}: {run.reason}" for f in rows for run in f.cell.runs if run.reason]
    return "\n".join([markdown(COLUMNS, table), *([""] if reasons else []), *reasons])


def count_table(results: dict[str, list[Figures]]) -> str:
    """Return how many methods are better than Linear, draws, and worse, by problem and figure."""
    table = []
    for problem, rows in results.items():
        methods = [f for f in rows if f.cell.method not in (LINEAR, TUNED, SINGLE)]
        for name, comparisons in (("worst", [f.by_worst for f in methods]), ("mean", [f.by_mean for f in methods])):
            verdicts = ["failed" if c is None else c.verdict for c in comparisons]
            table.append([problem, name, *(str(verdicts.count(v)) for v in ("better", "draw", "worse", "failed"))])
    return markdown(("problem", "loss", "better than Linear", "draws", "worse", "failed"), table)


def write_csv(cells: Sequence[Cell], path: Path) -> None:
    """Write one row a problem, method, seed and task; trainings of the tuning seed included."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        columns = ["problem", "method", "tuning", "seed", "lr", "task", "validate", "test", "seconds", "reason"]
        writer.writerow(columns)
        for cell in cells:
            for k, run in enumerate((*cell.trials, *cell.runs)):
                tuning = "tuning" if k < len(cell.trials) else ""
                losses = list(zip(run.validate, run.test, strict=True)) or [("", "")]
                for task, (validate, test) in enumerate(losses):
                    row = [cell.problem, cell.method, tuning, run.seed, run.rate, task, validate, test]
                    writer.writerow([*row, round(run.seconds, 2), run.reason])


def read_csv(path: Path) -> list[Cell]:
    """Return the cells that `write_csv` wrote."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells: dict[tuple[str, str], Cell] = {}
    for row in rows:
        cell = cells.setdefault((row["problem"], row["method"]), Cell(row["problem"], row["method"], [], []))
        runs = cell.trials if row["tuning"] else cell.runs
        if row["task"] == "0" or not row["validate"]:
            runs.append(Run(int(row["seed"]), float(row["lr"]), [], [], row["reason"], float(row["seconds"])))
        if row["validate"]:
            runs[-1].validate.append(float(row["validate"]))
            runs[-1].test.append(float(row["test"]))
    return list(cells.values())


def draw(results: dict[str, list[Figures]], path: Path) -> None:
    """Draw each method's worst loss against its mean loss, with lines through Linear's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4 * len(results), 6.4), layout="tight")
    names, canvas = [], FigureCanvasAgg(figure)  # which measures the names
    for axes, (problem, rows) in zip(np.ravel(figure.subplots(1, len(results))), results.items(), strict=True):
        linear = next(f for f in rows if f.cell.method == LINEAR)
        axes.axvline(linear.mean, color="#999999", linewidth=0.8)
        axes.axhline(linear.worst, color="#999999", linewidth=0.8)
        drawn = [f for f in rows if np.isfinite(f.worst)]
        limit = np.quantile([f.worst for f in drawn], 0.9), np.quantile([f.mean for f in drawn], 0.9)
        inside = [f for f in drawn if f.worst <= 1.05 * limit[0] and f.mean <= 1.05 * limit[1]]
        for f in inside:
            reference = f.cell.method in (LINEAR, TUNED, SINGLE)
            axes.plot(f.mean, f.worst, "D" if reference else "o", color="#d55e00" if reference else "#0072b2", ms=4)
        names.append((axes, sorted(inside, key=lambda f: f.cell.method not in (LINEAR, TUNED, SINGLE))))
        left_out = len(rows) - len(inside)
        axes.set_title(problem + (f" ({left_out} beyond the frame)" if left_out else ""))
        axes.set_xlabel("mean test loss (nats)")
        axes.set_ylabel("worst test loss (nats)")
    canvas.draw()  # now the axes are where they stay
    for axes, rows in names:
        _write_names(axes, canvas.get_renderer(), rows)
    figure.savefig(path)


def _write_names(axes: Any, renderer: Any, rows: Sequence[Figures]) -> None:
    """Write the methods' names beside their points, where there is room."""
    boxes: list[Any] = []
    for f in rows:
        name = axes.annotate(f.cell.method, (f.mean, f.worst), (3, 2), textcoords="offset points", fontsize=6)
        box = name.get_window_extent(renderer)
        is_inside = axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max)
        if is_inside and not any(box.overlaps(other) for other in boxes):
            boxes.append(box)
        else:
            name.remove()


def format_tables(cells: Sequence[Cell]) -> str:
    """Return the tables of all problems, and how many methods are better."""
    results = all_figures(cells)
    parts = [part for problem, rows in results.items() for part in (f"### {problem}", problem_table(rows))]
    return "\n\n".join([*parts, "### How many", count_table(results)])


def write_tables(cells: Sequence[Cell], folder: Path) -> str:
    """Write balancing.csv and balancing.svg into a folder, and return the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(cells, folder / "balancing.csv")
    draw(all_figures(cells), folder / "balancing.svg")
    return format_tables(cells)

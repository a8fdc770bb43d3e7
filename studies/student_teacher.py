"""Task loss against teacher loss: a small student learns from labels and from a teacher, of texts and of digits.

    python -m studies.student_teacher --size demo --out runs/student-teacher

It takes most of a minute on one core at size demo, some four minutes at size small and ten at size full; it stores its
teachers and fronts in the folder and continues where it stopped. It prints, for each of three settings, whether there
is a measurable trade-off, a choice with its reason, the students on test data, and the fronts' hypervolumes; it writes
these as a CSV, and draws them.

The settings are the stars of clothing reviews (`studies.reviews`), and digits with all labels and with few
(`studies.student_digits`). The objectives are the cross-entropy to the labels, read as accuracy, and the KL divergence
from the teacher, read as agreement, both in percent. The choice: the most agreement whose accuracy is at most half a
point below the front's best.

Every row gets the same: the learning rates of `PEAKS` to try with a seed that the tables do not use, the best by
validation hypervolume; then the same seeds, initial weights and batches. `SmoothTchebycheff` gets the losses in units
of the range that Linear's front of that seed has on validation data; the others get them as they are, in nats. There is
one teacher a setting, so intervals over seeds are of students alone. Test data chose nothing.
"""

import argparse
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points import score
from studies import data, reviews, student_digits
from studies.conditioned_fronts import markdown
from studies.distilled import Course
from studies.student_tables import (
    LABELS,
    LINEAR,
    SMOOTH,
    TEACHER,
    TEACHER_ALONE,
    Result,
    draw,
    format_tables,
    read_csv,
    write_csv,
)

PEAKS = (5e-3, 1.5e-2, 4e-2)  # of the learning rate, to try
TUNING = 100  # the seed that tunes
TEMPERATURE, USUAL = 1.0, 4.0  # of the rows; of the weights by hand
TEMPERATURES = (1.0, 2.0, 4.0)  # to try
GIVEN_UP = 0.5  # points of accuracy below the front's best


class Setting(NamedTuple):
    """A student to distil: how to get its data and teacher."""

    name: str
    course: Callable[..., Course]


SETTINGS = (
    Setting("reviews", reviews.course),
    Setting("digits, all labels", partial(student_digits.course, labels="all")),
    Setting("digits, few labels", partial(student_digits.course, labels="few")),
)


class Scale(NamedTuple):
    """The size of the data, the seeds, the points of a front, and the learning rates and temperatures to try."""

    data: str
    seeds: int
    points: int
    peaks: tuple[float, ...]
    temperatures: tuple[float, ...]


SIZES = {
    "demo": Scale("demo", 2, 3, PEAKS[-1:], ()),
    "small": Scale("full", 3, 5, PEAKS[1:], TEMPERATURES),
    "full": Scale("full", 5, 9, PEAKS, TEMPERATURES),
}


class Row(NamedTuple):
    """A way to train students.

    preferences: None for an even design, which is a front.
    normalised: whether the losses are in units of Linear's range.
    """

    name: str
    solver: pm.Solver
    preferences: list[list[float]] | None = None
    temperature: float = TEMPERATURE
    normalised: bool = False


FRONTS = (Row(LINEAR, ps.Linear()), Row(SMOOTH, ps.SmoothTchebycheff(), normalised=True))
POINTS = (
    Row("MGDA, equal gradients", ps.MGDA("l2"), [[0.5, 0.5]]),
    Row("by hand, α = .5, T = 4", ps.Linear(), [[0.5, 0.5]], USUAL),
    Row("by hand, α = .9, T = 4", ps.Linear(), [[0.1, 0.9]], USUAL),
)


def folder_name(name: str) -> str:
    """Turn the name of a setting or a row into a folder's."""
    return re.sub("[^a-z0-9.]+", "-", name.lower()).strip("-")


class Trial:
    """A setting at a size, whose rows are trained in a folder."""

    def __init__(self, setting: Setting, scale: Scale, out: Path):
        self.setting, self.scale, self.folder = setting, scale, out / scale.data / folder_name(setting.name)
        self.course = setting.course(scale.data, folder=out / "teachers")

    def explore(self, row: Row, peak: float, seed: int, seeds: int) -> pm.Front:
        """Train a row's students with a learning rate's peak."""
        design = self.scale.points if row.preferences is None else row.preferences
        folder = self.folder / f"{folder_name(row.name)}-{design if isinstance(design, int) else 1}-{peak:g}-{seed}"
        print(f"{self.setting.name}: {row.name}, peak {peak:g}, seed {seed}", file=sys.stderr, flush=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # points that others dominate, which the figure shows
            return pm.explore(
                self.course.problem(row.temperature), row.solver, preferences=design, epochs=self.course.epochs,
                optimizer=self.course.optimizer(peak), seed=seed, seeds=seeds, out=folder,
                fleet=None if row.preferences else self.scale.points + 2,
                normalise=self.ranges if row.normalised else None,
            )  # fmt: skip

    def tune(self, row: Row) -> float:
        """Return the peak with the largest validation hypervolume, with the seed that tunes."""
        if len(self.scale.peaks) == 1:
            return self.scale.peaks[0]
        return max(self.scale.peaks, key=lambda peak: self.explore(row, peak, TUNING, 1).hypervolume() or 0.0)

    @cached_property
    def ranges(self) -> Mapping[str, Sequence[float]]:
        """The least and the largest validation loss of Linear's points and corners, with the seed that tunes."""
        front = self.explore(FRONTS[0], self.tune(FRONTS[0]), TUNING, 1)
        rows = np.array([point.losses["validate"] for point in (*front.points, *front.corners)])
        return {name: (float(rows[:, i].min()), float(rows[:, i].max())) for i, name in enumerate(front.names)}

    def front(self, row: Row) -> tuple[float, pm.Front]:
        """Tune a row, and train its students with all seeds."""
        peak = self.tune(row)
        return peak, self.explore(row, peak, 0, self.scale.seeds)

    def temperatures(self) -> str:
        """Return the table of students that learn from the teacher alone, with the seed that tunes."""
        rows = []
        for temperature in self.scale.temperatures:
            row = Row(f"teacher alone, T = {temperature:g}", ps.Linear(), [[0.0, 1.0]], temperature)
            front = self.explore(row, self.tune(row), TUNING, 1)
            accuracy, agreement = front.points[0].values["validate"]
            rows.append([f"{temperature:g}", f"{accuracy:.1f}", f"{agreement:.1f}"])
        return markdown(["temperature", "accuracy", "agreement"], rows)

    def results(self, name: str, front: pm.Front, peak: float, points: Sequence, chosen: object = None) -> list[Result]:
        """Return the test figures of points of a front; chosen is the preference that a rule chose, if any."""
        by_seed = {alone.points[0].seed: alone for alone in front.by_seed()}
        volumes = {
            seed: tuple(score.hypervolume(alone.losses_on(split), front.ref_point) or 0.0 for split in SPLITS)
            for seed, alone in by_seed.items()
        }
        return [
            Result(
                self.setting.name, name, point.preference[0], point.preference == chosen, point.seed, peak,
                *self.course.figures(front.load_model(point, self.course.student), "test"), *volumes[point.seed],
            )
            for point in points
        ]  # fmt: skip


SPLITS = ("validate", "test")


def choose(front: pm.Front) -> pm.Pick:
    """Choose the most agreement whose accuracy is at most `GIVEN_UP` below the best, by the means over the seeds."""
    best = float(front.mean().values[:, 0].max())
    return front.select(best="teacher", subject_to={"task": best - GIVEN_UP})


def run(setting: Setting, scale: Scale, out: Path) -> list[Result]:
    """Print what a setting's front says, and return the test figures of all its students."""
    trial = Trial(setting, scale, out)
    print(f"## {setting.name}\n")
    if scale.temperatures:
        print(f"{trial.temperatures()}\n")
    teacher = trial.course.figures(None, "test")._asdict()
    results = [Result(setting.name, TEACHER, np.nan, False, 0, np.nan, **teacher, volume=np.nan, test_volume=np.nan)]
    for row in FRONTS:
        peak, front = trial.front(row)
        if row is FRONTS[0]:
            print(f"Trade-off: {front.tradeoff().why}\n")
            for name, corner in ((LABELS, "task"), (TEACHER_ALONE, "teacher")):
                alone = [point for point in front.corners if point.corner == corner]
                results += trial.results(name, front, peak, alone)
        pick = choose(front)
        assert pick.point is not None
        print(f"{row.name}: {pick.why}\n", flush=True)
        results += trial.results(row.name, front, peak, front.points, pick.point.preference)
    for row in POINTS:
        peak, front = trial.front(row)
        results += trial.results(row.name, front, peak, front.points)
    return results


def main(arguments: list[str] | None = None) -> int:
    """Train every row of every setting, print the tables, write the CSV, and draw."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.student_teacher", description="A student that learns from labels and from a teacher."
    )
    parser.add_argument("--size", choices=SIZES, default="demo")
    parser.add_argument("--out", type=Path, required=True, help="the folder for teachers, fronts, table and figure")
    options = parser.parse_args(arguments)
    try:
        results = [one for setting in SETTINGS for one in run(setting, SIZES[options.size], options.out)]
    except data.Missing as error:
        print(error, file=sys.stderr)
        return 1
    path = options.out / "task-and-teacher.csv"
    write_csv(results, path)
    results = read_csv(path)  # as rounded as who reads the file finds them
    print(format_tables(results))
    draw(results, path.with_suffix(".svg"))
    return 0


if __name__ == "__main__":
    # imported by its real name, under which a front's fingerprint knows the study's functions
    from studies.student_teacher import main as start

    raise SystemExit(start())

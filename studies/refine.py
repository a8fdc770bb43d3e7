"""Preferences placed by the losses reached so far, against the same number laid out evenly.

    python -m studies.refine known
    python -m studies.refine digits --out runs/refine

The first takes ten minutes on one core. The second takes an hour, stores its fronts in the folder, and continues where
it stopped.

All rows of a problem have the same method, optimizer and budget a point; only the preferences differ. The columns:
hypervolume, the mean over the seeds ± the standard deviation; "is": better or worse than the even design's, or a draw,
by the 95 % interval of the differences of equal seeds; the largest gap of each seed, of losses scaled to the true
front's range, or, on digits, to the range of all fronts of the seed. All figures are of the validation losses.

Digits: scarce width, 20,000 pairs, 6 epochs, Adam with a one-cycle schedule whose peak was tuned for the even design
(`python -m studies.conditioned_fronts digits --width scarce`).
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points import score
from paretomtl.points.seeds import compare_paired
from studies.analytic import zdt1, zdt2
from studies.conditioned_fronts import EPOCHS, SIZE, OneCycle, markdown
from studies.digit_pairs import BATCH, SIZES, digit_pairs
from studies.known_fronts import ADAM, SGD

Preferences = int | pm.Refine
PEAK = 0.02  # the digits' learning rate at its peak


class Trial(NamedTuple):
    """A method on a problem, and how its optimizer is built."""

    problem: pm.Problem
    solver: pm.Solver
    optimizer: Callable[[Any], Any]
    total: int
    budget: dict[str, Any]
    designs: int = 4  # the first so many of `designs`


def designs(total: int) -> dict[str, Preferences]:
    """Return the designs with this number of preferences."""
    return {
        "even": total,
        "Refine(5)": pm.Refine(5, total),
        "Refine(5, each=5)": pm.Refine(5, total, each=5),
        "Refine(5, by hypervolume)": pm.Refine(5, total, by="hypervolume"),
    }


def explore_front(trial: Trial, preferences: Preferences, seed: int, out: Path | None) -> pm.Front:
    """Explore the front of one seed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # points off their ray
        return pm.explore(
            trial.problem, trial.solver, preferences=preferences, optimizer=trial.optimizer, seed=seed, out=out,
            normalise=None, **trial.budget,
        )  # fmt: skip


def rows(name: str, trial: Trial, seeds: Sequence[int], out: Path | None = None) -> list[list[str]]:
    """Return a trial's rows of the table, one a design."""
    fronts: dict[str, list[pm.Front]] = {}
    for design, preferences in islice(designs(trial.total).items(), trial.designs):
        for seed in seeds:
            folder = None if out is None else out / f"{name}-{design}-{seed}".translate(PLAIN)
            fronts.setdefault(design, []).append(explore_front(trial, preferences, seed, folder))
            volume = fronts[design][-1].hypervolume()
            print(f"{name}, {design}, seed {seed}: hypervolume {volume}", file=sys.stderr, flush=True)
    lines, truth = [], trial.problem.truth
    even = np.array([front.hypervolume() or 0.0 for front in fronts["even"]])
    for design, group in fronts.items():
        volumes = np.array([front.hypervolume() or 0.0 for front in group])
        union = [np.vstack([fs[k].losses for fs in fronts.values()]) if truth is None else truth.front for k in seeds]
        gaps = [gap(front, reference) for front, reference in zip(group, union, strict=True)]
        verdict = "" if design == "even" else compare_paired(volumes, even).verdict
        shown = f"{volumes.mean():.5f} ± {volumes.std():.5f}"
        lines.append([name, design, shown, verdict, ", ".join(f"{x:.3f}" for x in gaps)])
    return lines


PLAIN = str.maketrans(dict.fromkeys(" (),=", "-"))


def gap(front: pm.Front, reference: np.ndarray) -> float:
    """Return the largest gap of a front, scaled to the range of the reference's non-dominated points."""
    known = score.distinct_front(reference)
    return score.largest_gap(front.losses, (known.min(axis=0), known.max(axis=0))) or 0.0


def known(steps: int = 1000) -> dict[str, Trial]:
    """Return the trials on problems whose front is known, at the learning rates of studies.known_fronts."""
    linear, epo, worst = ps.Linear(), ps.EPO(eps=1e-8), ps.Tchebycheff()
    adam, sgd = ADAM.over(steps), SGD.over(steps)
    trials = {}
    for n in (9, 15):
        trials[f"ZDT1, Linear, {n}"] = Trial(zdt1(), linear, adam, n, {"steps": steps})
        trials[f"ZDT1, EPO, {n}"] = Trial(zdt1(), epo, adam, n, {"steps": steps})
        trials[f"ZDT2, EPO, {n}"] = Trial(zdt2(), epo, sgd, n, {"steps": steps})
        trials[f"ZDT2, Tchebycheff, {n}"] = Trial(zdt2(), worst, sgd, n, {"steps": steps})
    return trials


def digits() -> dict[str, Trial]:
    """Return the trial on scarce digit pairs."""
    optimizer = OneCycle(PEAK, EPOCHS * -(-SIZES[SIZE][0] // BATCH))
    problem = digit_pairs(SIZE, width="scarce")
    return {"scarce digits, Linear, 11": Trial(problem, ps.Linear(), optimizer, 11, {"epochs": EPOCHS}, designs=2)}


def main(arguments: list[str] | None = None) -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.refine", description="Preferences placed in rounds, against an even design."
    )
    parser.add_argument("table", choices=["known", "digits"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="the folder for the fronts; without it they are not stored")
    options = parser.parse_args(arguments)
    trials = known() if options.table == "known" else digits()
    lines = [row for name, trial in trials.items() for row in rows(name, trial, range(options.seeds), options.out)]
    print(markdown(["", "preferences", "hypervolume", "is", "largest gap, by seed"], lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

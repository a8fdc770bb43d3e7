"""Trajectories: what training tasks together does to each of them on five task sets, and whether conflict tells.

    python -m studies.trajectories --size demo --out runs/trajectories     half a minute on one core
    python -m studies.trajectories --size full --out runs/trajectories     the page's; some ten minutes on one core

It repeats the questions of "Can Optimization Trajectories Explain Multi-Task Transfer?" (Mueller, Dredze and Andrews,
2024) on small networks: each task set is trained together (`Linear` with equal weights, the unitary scalarization), by
four specialised optimizers, and each task alone, with common initial weights and batches. Results are stored in the
folder, and continued there.

The task sets: two Fashion pictures that overlap; a digit and a Fashion picture that overlap; three questions about a
person of the census; the flow of a river at three sites; and rating, recommendation and department of a clothing
review. Training data are cut to one to four thousand samples, so that networks can overfit.

Each rate was chosen on validation data with seed 100 by the joint training (`--tune`); all methods, and the single
tasks, have that one. The columns of the tables are those of `studies.trajectories_tables`. Test data chose nothing.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.point import Point
from paretomtl.points.seeds import assess_tradeoff
from paretomtl.recorder import Recorder
from studies import data
from studies.cells import compute_all, read_result, slug, write_result
from studies.conditioned_fronts import markdown
from studies.trajectories_sets import TASK_SETS, OneTask, TaskSet, named, problem_of
from studies.trajectories_tables import METHODS, Row, draw, format_tables, read_csv, write_csv

SOLVERS: dict[str, pm.Solver] = dict(zip(METHODS, (ps.PCGrad(), ps.CAGrad(), ps.MGDA(), ps.FairGrad()), strict=True))
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
TUNING_SEED = 100


class Size(NamedTuple):
    """How much to compute: the task sets, seeds, steps of a training, and steps between records.

    every: of losses and conflict; noise and Fisher trace are recorded at every second of them, sharpness at every
        fifth. Its tenfold divides the steps less one, so that the last step is recorded.
    """

    sets: tuple[str, ...]
    seeds: int
    steps: int
    every: int


ALL = tuple(s.name for s in TASK_SETS)
SIZES = {"demo": Size(ALL[2:], 2, 51, 5), "small": Size(ALL, 3, 101, 10), "full": Size(ALL, 5, 201, 10)}


def trajectories(task_set: str = "clothing reviews") -> pm.Problem:
    """Return the problem of a task set, by its name."""
    return problem_of(named(task_set))


# --- one task set ---


def recorders(task_set: TaskSet, every: int) -> Sequence[Recorder]:
    """Return the recorders of the four factors, where losses are recorded every so many steps."""
    of_tasks: dict[str, Any] = {t.name: (partial(OneTask, i), t.kind, inputs_of) for i, t in enumerate(task_set.tasks)}
    return [
        pm.diagnosis.NoiseRecorder(2 * every),
        pm.diagnosis.CurvatureRecorder(5 * every, tolerance=0.05),
        pm.diagnosis.FisherRecorder(of_tasks, 2 * every),
    ]


def inputs_of(batch: Sequence[Tensor]) -> Tensor:
    """Return the inputs of a batch."""
    return batch[0].float()


def adam_at(rate: float) -> Callable[[Any], torch.optim.Optimizer]:
    """Return Adam at a rate."""
    return partial(torch.optim.Adam, lr=rate)


def diagnose_set(task_set: TaskSet, size: Size, out: Path) -> pm.Diagnosis:
    """Train a task set in all ways, or read what is stored of that."""
    return pm.diagnose(
        problem_of(task_set), ps.Linear(), steps=size.steps, specialised=SOLVERS,
        recorders=recorders(task_set, size.every), every=size.every, optimizer=adam_at(task_set.rate),
        seeds=size.seeds, out=out,
    )  # fmt: skip


def factors(joint: Any, alone: Any, i: int) -> dict[str, float]:
    """Compare the factors of task i at equal training loss: log2 of the ratio; the difference for coherence."""
    pairs = pm.diagnosis.factors_at_matched_loss(joint, alone, i)
    coherence = pairs["coherence"]
    positive = {"sharpness": "sharpness", "fisher": "Fisher trace", "noise": "noise scale"}
    return {
        "coherence": coherence.together - coherence.alone,
        **{name: _doublings(np.array(pairs[factor])) for name, factor in positive.items()},
    }


def _doublings(pair: np.ndarray) -> float:
    return float(np.log2(pair[0] / pair[1])) if (pair > 0).all() else float("nan")


def percent(value: float, of: float) -> float:
    """Return a value in percent of another."""
    return 100 * value / of


def trained(front: pm.Front, seed: int, task: int | None = None) -> Point:
    """Return a front's point of a seed, or that of the task that it trained alone."""
    [point] = [p for p in front.points if p.seed == seed and (task is None or p.preference[task] == 1)]
    return point


def summarise(task_set: TaskSet, diagnosis: pm.Diagnosis) -> list[Row]:
    """Return a row for each task and seed."""
    seeds = sorted(point.seed for point in diagnosis.joint.points)
    return [
        Row(
            task_set=task_set.name, task=task.name, seed=seed, **figures_on_test(diagnosis, i, seed),
            **figures_of_course(diagnosis, i, seed),
        )
        for i, task in enumerate(task_set.tasks) for seed in seeds
    ]  # fmt: skip


def figures_on_test(diagnosis: pm.Diagnosis, i: int, seed: int) -> dict[str, float]:
    """Return the test losses of task i, and what each method does to them."""
    alone = trained(diagnosis.alone, seed, i).losses["test"][i]
    joint = trained(diagnosis.joint, seed).losses["test"][i]
    others = {name: trained(front, seed).losses["test"][i] for name, front in diagnosis.specialised.items()}
    effects = {name: percent(loss - joint, joint) for name, loss in others.items()}
    return {"alone": alone, "joint": joint, "end": percent(joint - alone, alone), **effects}


def figures_of_course(diagnosis: pm.Diagnosis, i: int, seed: int) -> dict[str, float]:
    """Return what the records tell of task i: gap, fit, conflict and factors."""
    joint = diagnosis.joint.recordings(trained(diagnosis.joint, seed))
    alone = diagnosis.alone.recordings(trained(diagnosis.alone, seed, i))
    last, of = joint["loss"][-1], alone["loss"][-1]
    whole = pm.diagnosis.measure_transfer([joint], [[alone]] * len(last["train"]), diagnosis.names)[i].gap.mean
    together, single = (pm.diagnosis.factor_curve(records, i, "loss", "validate") for records in (joint, alone))
    course = pm.diagnosis.gap_at_matched_loss(together, single).gap
    parts = {"gap": whole, "early": _mean(course[: len(course) // 2]), "late": _mean(course[-(len(course) // 4) :])}
    cosines = np.array([entry["cosines"] for entry in joint["conflict"]], dtype=float)[:, i]
    seen = np.delete(cosines, i, axis=1)
    seen = seen[np.isfinite(seen)]
    return {
        **{name: percent(value, of["validate"][i]) for name, value in parts.items()},
        "fit": percent(last["train"][i] - of["train"][i], of["train"][i]),
        "cosine": _mean(seen),
        "negative": _mean(seen < 0),
        **factors(joint, alone, i),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def tradeoff_of(task_set: TaskSet, diagnosis: pm.Diagnosis) -> str:
    """Say whether all five joint trainings are above the single tasks, on validation data."""
    seeds = sorted(point.seed for point in diagnosis.joint.points)
    fronts = {"Linear": diagnosis.joint, **diagnosis.specialised}
    losses = [[trained(front, seed).losses["validate"] for front in fronts.values()] for seed in seeds]
    tasks = range(len(task_set.tasks))
    ideals = [[trained(diagnosis.alone, seed, i).losses["validate"][i] for i in tasks] for seed in seeds]
    return assess_tradeoff([*fronts], diagnosis.names, np.array(losses), np.array(ideals)).why


def compute_set(job: tuple[str, str, str]) -> dict[str, Any]:
    """Compute a task set, or read it from the folder.

    Args:
        job: the name of the task set, that of the size, and the folder.
    """
    name, size, out = job
    task_set, folder = named(name), Path(out) / size / slug(name)
    protocol = {
        "seeds": SIZES[size].seeds,
        "steps": SIZES[size].steps,
        "every": SIZES[size].every,
        "rate": task_set.rate,
    }
    result = read_result(folder / "rows.json", protocol)
    if result is None:
        diagnosis = diagnose_set(task_set, SIZES[size], folder)
        result = {
            "name": name, "tradeoff": tradeoff_of(task_set, diagnosis), "verdicts": str(diagnosis),
            "rows": [row._asdict() for row in summarise(task_set, diagnosis)],
        }  # fmt: skip
        write_result(folder / "rows.json", protocol, result)
    return result


# --- the command ---


def tune(size: Size) -> str:
    """Return the mean validation loss of the joint training at each rate, with a seed that the study does not use."""
    rows = []
    for name in size.sets:
        task_set = named(name)
        cells = []
        for rate in RATES:
            front = pm.explore(
                problem_of(task_set), ps.Linear(), preferences=[[1 / len(task_set.tasks)] * len(task_set.tasks)],
                steps=size.steps, optimizer=adam_at(rate), seed=TUNING_SEED, normalise=None,
            )  # fmt: skip
            cells.append(f"{np.mean(front.points[0].losses['validate']):.4f}")
        rows.append([name, *cells])
    return markdown(["task set", *(f"{rate:g}" for rate in RATES)], rows)


def main(arguments: list[str] | None = None) -> int:
    """Compute all task sets, print the tables, write them, and draw."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.trajectories", description="What training together does, and whether conflict tells."
    )
    parser.add_argument("--size", choices=SIZES, default="demo")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--tune", action="store_true", help="print validation losses by rate, and do nothing else")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the results")
    options = parser.parse_args(arguments)
    size = SIZES[options.size]
    try:
        if options.tune:
            print(tune(size))
            return 0
        jobs = [(name, options.size, str(options.out)) for name in size.sets]
        computed = map(compute_set, jobs) if options.jobs == 1 else compute_all(compute_set, jobs, options.jobs)
        results = {}
        for result in computed:
            results[result["name"]] = result
            print(f"{len(results)} of {len(jobs)}: {result['name']}", file=sys.stderr)
    except data.Missing as error:
        print(error, file=sys.stderr)
        return 1
    rows = [Row(**row) for name in size.sets for row in results[name]["rows"]]
    print("## Is there a trade-off?", *(f"- {name}: {results[name]['tradeoff']}" for name in size.sets), sep="\n")
    print("", *(f"### {name}\n\n{results[name]['verdicts']}\n" for name in size.sets), sep="\n")
    write_csv(rows, options.out / "trajectories.csv")
    rows = read_csv(options.out / "trajectories.csv")  # the tables are those of the file, whose digits are fewer
    print(format_tables(rows))
    draw(rows, options.out / "trajectories.svg")
    return 0


if __name__ == "__main__":
    # imported by its real name, under which workers find functions that cannot travel by value
    from studies.trajectories import main as run

    raise SystemExit(run())

"""The demo: a fair prediction of income, from real data to a chosen model, in a minute or two.

    python -m studies.demo --out runs/demo          explore, compare, choose, load, plot
    python -m studies.demo --check runs/demo        load the chosen model again and measure it

The data are UCI's Adult, read as `studies.adult` does. The two objectives are at odds: inputs such as "husband" tell
who is a man, and help to predict who earns much. There are three fronts of the same nine preferences, at the same
budget of training, in units of the same two corners: nine networks by `METHOD`, nine by the weighted sum, and one
network for every preference, trained for as long as all nine together.
"""

import argparse
import os
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import paretomtl as pm
import paretomtl_solvers as ps
from studies import data
from studies.adult import TRAINED_ON, Batch, loader, mean_difference, network, people
from studies.conditioned_fronts import OneCycle

METHOD = ps.SmoothTchebycheff()
FRONT_MODEL = pm.FiLM(sampling=pm.Sampling("part"))  # the gap is of a batch, so no person can have a preference alone
RULE = pm.rules.Constraint(best="error", subject_to={"gap": 0.05})
POINTS, EPOCHS, BATCH, PEAK = 9, 8, 1024, 0.02  # people a step; the learning rate's peak
SEPARATE, LINEAR, ONE = "separate", "linear", "one-network"  # the folders of the three fronts


def losses(model: nn.Module, batch: Batch) -> dict[str, Tensor | None]:
    """Return the mean cross-entropy, and the distance between the mean probabilities of men and of women."""
    features, rich, male = batch
    logits = model(features)[:, 0]
    difference = mean_difference(logits.sigmoid(), male)
    return {
        "error": binary_cross_entropy_with_logits(logits, rich),
        "gap": None if difference is None else difference.abs(),
    }


def fair_income() -> pm.Problem:
    """Return the problem."""
    return pm.Problem(
        objectives=[pm.Objective("error", unit="nats"), "gap"],
        model=partial(network, people()["train"][0].shape[1]),
        losses=losses,
        train=partial(loader, "train", BATCH),
        validate=partial(loader, "validate"),
        test=partial(loader, "test"),
        ref_point=[0.56, 0.19],  # about the worst of the two corners
    )


class Run(NamedTuple):
    """A front, what it is of, the CPU seconds that it took, and the parameters that serve it."""

    name: str
    front: pm.Front
    seconds: float
    parameters: int


def warm_up(problem: pm.Problem) -> None:
    """Take one step, so that no front's seconds have what is loaded at first use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        pm.explore(problem, METHOD, preferences=POINTS, steps=1, fleet=POINTS)


def explore_front(
    problem: pm.Problem, name: str, method: pm.Solver, epochs: int, out: Path, corners: pm.Front | None = None,
    front_model: pm.FrontModel | None = None,
) -> Run:  # fmt: skip
    """Explore one front in units of its own or others' corners; a front model is trained for as long as all points."""
    epochs = epochs * POINTS if front_model else epochs
    optimizer = OneCycle(PEAK, epochs * (TRAINED_ON // BATCH))
    start, plain = time.process_time(), problem.model()
    front = pm.explore(
        problem, method, preferences=POINTS, epochs=epochs, optimizer=optimizer, out=out,
        front_model=front_model, fleet=None if front_model else POINTS,
        normalise="corners" if corners is None else corners.normalisation,
    )  # fmt: skip
    seconds = time.process_time() - start
    serving = plain if front_model is None else front_model.attach(plain, len(problem.names))
    count = sum(parameter.numel() for parameter in serving.parameters())
    return Run(name, front, seconds, count if front_model else count * len(front))


def compare(runs: list[Run], baseline: pm.Front) -> str:
    """Format one line a front: what it reached beside the baseline, and what it cost."""
    columns = ("", "hypervolume", "dominated by Linear", "off ray", "CPU seconds", "parameters")
    rows = [
        (
            run.name, f"{run.front.hypervolume() or 0:.4f}", f"{share_dominated(run.front, baseline):.0%}",
            f"{run.front.control_errors.mean():.1f}°", f"{run.seconds:.1f}", f"{run.parameters:,}",
        )
        for run in runs
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    layout = "  ".join(f"{{:{'>' if k else '<'}{width}}}" for k, width in enumerate(widths))
    return "\n".join(layout.format(*row) for row in (columns, *rows))


def share_dominated(front: pm.Front, baseline: pm.Front) -> float:
    """Return the share of a front's points that some point of the baseline dominates."""
    rows = baseline.losses
    return float(np.mean([any((row <= point).all() and (row < point).any() for row in rows) for point in front.losses]))


def demonstrate(epochs: int, out: Path) -> int:
    """Explore the three fronts, compare them, choose a model and load it in a new process; return the exit code."""
    start, method = time.perf_counter(), type(METHOD).__name__
    print(
        f"Who earns more than $50,000? {TRAINED_ON:,} people of a census, and two objectives at odds:\n"
        "  error  of the predicted probability, as cross-entropy\n"
        "  gap    between the mean predicted probabilities of men and of women\n\n"
        f"1. {POINTS} networks, one for each preference between the two, by {method}",
        flush=True,
    )
    problem = fair_income()
    warm_up(problem)
    separate = explore_front(problem, f"{method}, {POINTS} networks", METHOD, epochs, out / SEPARATE)
    print(separate.front.table())
    page = separate.front.plot(out / f"{SEPARATE}.html", separate.front.select(RULE))
    print(f"\nTo look at after {time.perf_counter() - start:.0f} seconds: {page}\n")

    print(f"2. The same by Linear, the weighted sum, at the same budget; and 3. one network for any preference,\n"
          f"   {type(FRONT_MODEL).__name__}, at the budget of all {POINTS} together", flush=True)  # fmt: skip
    linear = explore_front(problem, f"Linear, {POINTS} networks", ps.Linear(), epochs, out / LINEAR, separate.front)
    name = f"{method}, one {type(FRONT_MODEL).__name__}"
    one = explore_front(problem, name, METHOD, epochs, out / ONE, separate.front, FRONT_MODEL)
    runs = [linear, separate, one]
    print(compare(runs, linear.front))
    figure = pm.plot_fronts({run.name: run.front for run in runs}, out / "fronts.svg")
    print(f"\nAll three in one figure: {figure}\n")

    pick = one.front.select(RULE)
    print(f"chosen: {pick.why}", flush=True)
    page = one.front.plot(out / "front.html", pick)
    code = subprocess.run([sys.executable, "-m", "studies.demo", "--check", str(out)]).returncode
    points, minutes = sum(len(run.front) + len(run.front.corners) for run in runs), (time.perf_counter() - start) / 60
    print(f"bench: {points} points in {minutes:.1f} minutes on {os.cpu_count()} cores\n")
    print(f'Open this page, and move the slider under "Any preference": {page.resolve()}')
    return code


def check(folder: Path) -> int:
    """Load the chosen model from its files alone and compare its losses with the stored ones; 1 if they differ."""
    problem, front = fair_income(), pm.Front.load(folder / ONE)
    pick = front.select(RULE)
    assert pick.point is not None
    measured = pm.evaluate(problem, pick.load(problem.model), "validate")
    stored = dict(zip(front.names, pick.point.losses["validate"], strict=True))
    worst = max(abs(measured[name] - stored[name]) for name in front.names)
    shown = ", ".join(f"{name} {value:.4f}" for name, value in measured.items())
    print(f"loaded {pick.point.id} in a new process: {shown}; {worst:.1e} from the stored losses")
    return 0 if worst <= 1e-6 else 1


def main(arguments: list[str] | None = None) -> int:
    """Run the demo, or its check."""
    parser = argparse.ArgumentParser(prog="python -m studies.demo", description="From real data to a chosen model.")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each network (default: %(default)s)")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="the folder for the fronts and the pages")
    where.add_argument("--check", type=Path, metavar="FOLDER", help="load the chosen model of a demo and measure it")
    options = parser.parse_args(arguments)
    try:
        return check(options.check) if options.check else demonstrate(options.epochs, options.out)
    except data.Missing as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    # imported by its real name, under which workers find functions that cannot travel by value
    from studies.demo import main as run

    raise SystemExit(run())

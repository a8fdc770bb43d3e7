"""DMTL: what is clicked, what is read for long, and a double tower that can be served; three losses at odds.

    python -m studies.reading_duration --size demo --out runs/reading-duration

The demo takes half a minute of one core, small seven minutes, full twelve, most of them for the table; its sweep is
small's. Each front, each seed of the table and the retrieval are stored in the folder, and gone on with.

The data are a simulated log of impressions, clicks and reading times whose truth is known (`studies.reading_log`). The
model is a teacher of clicks and long reads and its student, a double tower (`studies.double_tower`), in one stage. Its
three losses are the objectives: clicks, long reads, and the student's divergence from the teacher. In their place
people read: the teacher's AUC of clicks, its AUC of long reads over all impressions, and the student's recall@100, the
share of a user's long reads on held-out data that are among the 100 items retrieved from all.

It answers first whether there is a measurable trade-off; then come the front by linear scalarization and that by smooth
Tchebycheff, and a choice: the best AUC of long reads among models with enough recall. Then the table of five ways to a
double tower at one budget (`studies.reading_towers`), each seed with a log of its own; and how fast items are
retrieved, exactly and by an index.

Rates were chosen on validation data of a log that no table uses (`--tune`), by the AUC of long reads, for the towers on
clicks too. The bound on recall is nine tenths of what equal weights reached on the same log. Test data chose nothing.
"""

import argparse
import itertools
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.preference import even_design
from studies.cells import read_result, write_result
from studies.conditioned_fronts import markdown
from studies.double_tower import DMTL, OBJECTIVES, Batch, losses
from studies.reading_log import LONG, SIZES, simulate
from studies.reading_towers import (
    CLICKED,
    CLICKS,
    DIRECT,
    DMTL_NAME,
    RATES,
    Budget,
    Figures,
    Schedule,
    auc,
    draw,
    recall_at,
    retrieve_all,
    run_seed,
    table,
    targets_table,
    train,
    tune,
    write_csv,
)
from studies.retrieval import Timing, measure_retrieval
from studies.tabular import Parts, batches

LINEAR, CHOSEN_BY = "Linear", "SmoothTchebycheff"
REFERENCE = [0.6, 0.4, 0.2]  # nats; worse than constant predictions
STOCK = 50_000  # items of a larger stock to retrieve from
UNITS = ("AUC of clicks", "AUC of long reads", "recall@100")


class Front(NamedTuple):
    """What the sweep may cost: its log and the nets' budget, preferences, seeds, and the bound on recall."""

    budget: Budget
    preferences: int
    bound: float


class Study(NamedTuple):
    """The budgets of the table and of the sweep; whether a larger stock is searched too."""

    towers: Budget
    front: Front
    large_stock: bool


_DEMO = Budget("demo", 4, 512, 2, {DMTL_NAME: 0.03, DIRECT: 0.03, CLICKS: 0.03, CLICKED: 0.003})
_SMALL = Budget("small", 4, 1024, 5, {DMTL_NAME: 0.01, DIRECT: 0.01, CLICKS: 0.01, CLICKED: 0.003})
_FULL = Budget("full", 4, 4096, 5, {DMTL_NAME: 0.03, DIRECT: 0.01, CLICKS: 0.03, CLICKED: 0.003})
STUDIES = {
    "demo": Study(_DEMO, Front(_DEMO, 3, 0.3), False),
    "small": Study(_SMALL, Front(_SMALL._replace(seeds=3), 6, 0.165), False),
    # the sweep stays on the smaller log
    "full": Study(_FULL, Front(_SMALL._replace(seeds=3), 6, 0.165), True),
}


def _parts(size: str, seed: int) -> Parts:
    return simulate(size, seed).parts


def _build(size: str, seed: int) -> DMTL:
    return DMTL(simulate(size, seed).catalogue)


def measure(model: DMTL, data: Iterable[Batch]) -> dict[str, float]:
    """Return the teacher's AUCs of clicks and of long reads over all impressions, and the student's recall@100."""
    users, items, clicks, reads = (torch.cat(column) for column in zip(*data, strict=True))
    with torch.no_grad():
        logits = model(users, items)
    positive = clicks * reads
    figures = (auc(clicks, logits.click), auc(positive, logits.teacher))
    return dict(zip(OBJECTIVES, (*figures, recall_at(retrieve_all(model), users, items, positive)), strict=True))


def reading(size: str = "demo", seed: int = 0) -> pm.Problem:
    """Return the problem on the log of a seed."""
    parts, batch = partial(_parts, size, seed), STUDIES[size].towers.batch
    return pm.Problem(
        objectives=[pm.Objective(name, unit, "max") for name, unit in zip(OBJECTIVES, UNITS, strict=True)],
        model=partial(_build, size, seed),
        losses=losses,
        train=partial(batches, parts, "train", batch),
        validate=partial(batches, parts, "validate", batch),
        test=partial(batches, parts, "test", batch),
        ref_point=REFERENCE,
        measure=measure,
    )


def explore_fronts(front: Front, out: Path) -> dict[str, pm.Front]:
    """Explore the three losses by both methods; what the folder has of them is taken up.

    The weighted sum is of the losses as they are, all in nats, as DMTL weighs them: on the log that chose the rates it
    did better so than in units of what there is to gain. Its preferences are the other method's, which has corners too.
    """
    budget, preferences = front.budget, front.preferences
    steps = budget.epochs * (len(_parts(budget.size, 0)["train"][0]) // budget.batch)
    rows = {
        LINEAR: (ps.Linear(), even_design(len(OBJECTIVES), preferences)),
        CHOSEN_BY: (ps.SmoothTchebycheff(), preferences),
    }
    return {
        name: pm.explore(
            reading(budget.size),
            solver,
            preferences=design,
            steps=steps,
            optimizer=Schedule(budget.rates[DMTL_NAME], steps),
            seeds=budget.seeds,
            out=out / f"front-{name}",
        )
        for name, (solver, design) in rows.items()
    }


def choose(front: pm.Front, bound: float) -> str:
    """Say which model has the best AUC of long reads among those with enough recall, and why."""
    try:
        return front.select(best="long read", subject_to={"distillation": bound}).why
    except pm.NoFeasiblePoint as error:
        return f"no choice: {error}"


def run_sweep(front: Front, out: Path) -> str:
    """Explore by both methods, and return the text on both fronts; the page and the figure are in the folder."""
    fronts = explore_fronts(front, out)
    linear, chosen = fronts[LINEAR], fronts[CHOSEN_BY]
    chosen.plot(out / "front.html")
    pm.plot_fronts(fronts, out / "fronts.svg", width=6.75)
    rows = [[name, *_extremes(found)] for name, found in fronts.items()]
    return "\n\n".join(
        [
            f"Is there a trade-off? {chosen.tradeoff().why}",
            markdown(["method", "hypervolume", *(f"best {unit}" for unit in UNITS)], rows),
            f"{CHOSEN_BY} against Linear, hypervolume: {chosen.compare(linear)}",
            *(f"the choice by {name}: {choose(found, front.bound)}" for name, found in fronts.items()),
            *(f"{name}, means over the seeds:\n\n{points_table(found.mean())}" for name, found in fronts.items()),
        ]
    )


def _extremes(front: pm.Front) -> list[str]:
    return [f"{front.hypervolume() or 0:.4f}", *(f"{best:.4f}" for best in front.mean().values.max(axis=0))]


def points_table(front: pm.Front) -> str:
    """Format the points: preference, measures, and losses in nats."""
    rows = [
        [
            ", ".join(f"{r:.2f}" for r in point.preference or ()),
            *(f"{value:.4f}" for value in (*point.values["validate"], *point.losses["validate"])),
        ]
        for point in (*front.points, *front.corners)
    ]
    return markdown(["preference", *UNITS, *(f"{name} [nats]" for name in OBJECTIVES)], rows)


def run_table(budget: Budget, out: Path) -> list[dict[str, Figures]]:
    """Train the towers of every seed; what the folder has of them is taken up."""
    seeds = []
    for seed in range(budget.seeds):
        path, protocol = out / "towers" / f"{budget.size}-{seed}.json", _describe(budget)
        figures = read_result(path, protocol)
        if figures is None:
            started = time.monotonic()
            figures = run_seed(budget, seed)
            write_result(path, protocol, figures)
            print(f"towers, seed {seed + 1} of {budget.seeds}: {time.monotonic() - started:.0f} s", flush=True)
        seeds.append(figures)
    return seeds


def _describe(budget: Budget) -> dict[str, Any]:
    return {
        **budget._asdict(),
        "seeds": None,
        "rates": dict(budget.rates),
        "log": list(SIZES[budget.size]),
        "long": LONG,
    }


def run_retrieval(study: Study, out: Path) -> str:
    """Train a double tower, measure retrieval both ways, and return the table."""
    path, protocol = out / "retrieval.json", _describe(study.towers) | {"stock": STOCK if study.large_stock else None}
    timings = read_result(path, protocol)
    if timings is None:
        model = train(DMTL_NAME, simulate(study.towers.size, 0), study.towers, study.towers.rates[DMTL_NAME], 0)
        users, items = model.user_vectors().numpy(), model.item_vectors().numpy()
        stocks = [items, enlarge(items)] if study.large_stock else [items]
        timings = [measure_retrieval(users, stock) for stock in stocks]
        write_result(path, protocol, timings)
    rows = [
        [f"{t.items:,}", f"{t.recall:.4f}", f"{t.exact_ms:.3f}", f"{t.index_ms:.3f}", str(t.reach), f"{t.build_s:.0f}"]
        for t in itertools.starmap(Timing, timings)
    ]
    columns = ["items", "recall@100 of the index", "exact [ms a user]", "index [ms a user]", "reach", "to build [s]"]
    return markdown(columns, rows)


def enlarge(items: np.ndarray) -> np.ndarray:
    """Return a larger stock: items drawn again and again, each beside one of those that there are."""
    draw = np.random.default_rng(0)
    noise = draw.standard_normal((STOCK, items.shape[1]), dtype=np.float32)
    return items[draw.integers(len(items), size=STOCK)] + 0.5 * items.std(axis=0) * noise


def format_trials(trials: Mapping[str, Mapping[float, float]]) -> str:
    """Format the AUC of each way and rate."""
    rows = [[way, *(f"{figure:.4f}" for figure in figures.values())] for way, figures in trials.items()]
    return markdown(["way", *(f"{rate:g}" for rate in RATES)], rows)


def main(arguments: list[str] | None = None) -> int:
    """Sweep, choose, train the table, time the retrieval, and print all of it."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.reading_duration", description="DMTL on a simulated log of clicks and reading times."
    )
    parser.add_argument("--size", choices=STUDIES, default="demo")
    parser.add_argument("--tune", action="store_true", help="print the trials of the learning rates, and nothing else")
    parser.add_argument("--out", type=Path, required=True, help="the folder for fronts, figures and results")
    options = parser.parse_args(arguments)
    study = STUDIES[options.size]
    if options.tune:
        print(format_trials(tune(study.towers)))
        return 0
    print(run_sweep(study.front, options.out), end="\n\n", flush=True)
    seeds = run_table(study.towers, options.out)
    draw(seeds, options.out / "towers.svg")
    write_csv(seeds, options.out / "towers.csv")
    print(table(seeds), targets_table(seeds), run_retrieval(study, options.out), sep="\n\n")
    return 0


if __name__ == "__main__":
    # imported by its real name, under which workers find functions that cannot travel by value
    from studies.reading_duration import main as run

    raise SystemExit(run())

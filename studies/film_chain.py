"""DMTL on a chain of real data: a film that is rated, and then liked.

    python -m studies.film_chain --size full --out runs/film-chain

It takes five minutes on one core at this size, half a minute with `--size demo`; it stores its results in the folder,
and continues where it stopped. It prints whether there is a trade-off, a choice, and the table, and draws the figure.

The nets, their losses and the ways to train them are those of the simulated log (`studies.double_tower`,
`studies.reading_towers`), and so is the question: is a double tower that is distilled from a teacher of both steps
better at the second than others? The data are MovieLens-100k (`studies.films`). An impression is a user and a film; the
click is that the user rated it, the long read that the rating is 4 stars or 5. Nobody knows which films a user saw and
passed by, so the impressions without a click are drawn: for each rating four films that the user never rated, evenly.
This is the weak side of the chain: popular films are rated more, and most of the AUC comes from that.

Each user's ratings are divided by their time: the first 20 % are the history, the next 40 % the log to train on, then
20 % each to validate and test on. Rates were picked on validation, with a seed that the study does not use (`--tune`).
"""

import argparse
import sys
import warnings
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.distillation import check_chain
from paretomtl.points.seeds import compare_paired
from studies import data, reading_towers
from studies.cells import read_result, write_result
from studies.conditioned_fronts import markdown
from studies.double_tower import DMTL, OBJECTIVES, Batch, Catalogue, DoubleTower, losses
from studies.films import LIKED, SPLITS, WHOLE, Ratings, Subset, load_ratings
from studies.reading_towers import CLICKED, CLICKS, DIRECT, DMTL_NAME, RATES, STUDENT, TEACHER, auc, format_interval
from studies.retrieval import Exact, build_index, recall_of
from studies.tabular import Parts, batches

NEGATIVES = 4  # films that were not rated, for each that was
RECENT = 20  # films of a history at most
K = 100  # films that are retrieved
TUNING_SEED = 100
GIVEN_UP = 0.01  # of the best AUC of "rated" that a choice may give up
PICKED = {DMTL_NAME: 0.03, DIRECT: 0.03, CLICKS: 0.03, CLICKED: 0.01}  # rates of Adam
ROWS = {
    TEACHER: "DMTL, teacher",
    STUDENT: "DMTL, student",
    DIRECT: "tower on rated and liked, no teacher",
    CLICKS: "tower on rated alone",
    CLICKED: "tower on liked, among rated alone",
}
Figures = dict[str, float]


class Size(NamedTuple):
    """How much of the data and how long: points are those of the front, whose seeds are two."""

    subset: Subset
    epochs: int
    batch: int
    seeds: int
    points: int


SIZES = {
    "demo": Size(Subset(300, 400), 2, 512, 2, 3),
    "small": Size(WHOLE, 3, 2048, 2, 3),
    "full": Size(WHOLE, 6, 2048, 5, 6),
}


class Chain(NamedTuple):
    """What a model may see of users and films, and the impressions by split: user, film, rated, liked."""

    catalogue: Catalogue
    parts: Parts


@cache
def draw_chain(subset: Subset, seed: int) -> Chain:
    """Return the chain of some users and films; the films not rated are drawn by the seed, but for the held-out splits.

    Raises:
        ValueError: a film is liked that is not rated.
    """
    ratings = load_ratings(subset)
    past = is_past(ratings)
    rated = np.stack([ratings.matrix(split) for split in SPLITS]).max(axis=0) > 0
    parts = {}
    for k, split in enumerate(SPLITS):
        rows = (ratings.split == k) & ~past
        draw = np.random.default_rng([seed if split == "train" else 0, k])
        parts[split] = tuple(map(torch.from_numpy, _draw_impressions(ratings, rows, rated, draw)))
        check_chain(parts[split][2], parts[split][3], ("rated", "liked"))
    return Chain(_describe(ratings, past), parts)


def is_past(ratings: Ratings) -> np.ndarray:
    """Return whether a rating is of the history: the earlier third, at least one, of those that a user trains with."""
    past = np.zeros(len(ratings.user), bool)
    for user in range(ratings.users):
        [rows] = np.nonzero((ratings.user == user) & (ratings.split == 0))
        order = rows[np.argsort(ratings.time[rows], kind="stable")]
        past[order[: max(1, round(len(order) / 3))]] = True
    return past


def _draw_impressions(
    ratings: Ratings, rows: np.ndarray, rated: np.ndarray, draw: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Return users, films, rated and liked: the ratings of these rows, and films that were not rated."""
    users, drawn = [], []
    for user, n in enumerate(np.bincount(ratings.user[rows], minlength=ratings.users)):
        [unknown] = np.nonzero(~rated[user])
        if not len(unknown):
            raise ValueError(f"user {user} has rated all {ratings.films} films; take more films")
        users.append(np.full(n * NEGATIVES, user))
        drawn.append(draw.choice(unknown, n * NEGATIVES))
    clicks = np.repeat([1, 0], [rows.sum(), sum(map(len, users))]).astype(np.float32)
    liked = np.zeros_like(clicks)
    liked[: rows.sum()] = ratings.stars[rows] >= LIKED
    return np.concatenate([ratings.user[rows], *users]), np.concatenate([ratings.film[rows], *drawn]), clicks, liked


def _describe(ratings: Ratings, past: np.ndarray) -> Catalogue:
    """Return the features: sex and occupation, age; genres; and the last films of the history."""
    history = np.full((ratings.users, RECENT), -1)
    for user in range(ratings.users):
        [rows] = np.nonzero((ratings.user == user) & past)
        last = ratings.film[rows[np.argsort(ratings.time[rows], kind="stable")]][-RECENT:]
        history[user, : len(last)] = last
    age = ratings.people[:, :1]
    kinds = np.stack([ratings.people[:, 1].astype(np.int64), ratings.occupation], axis=1)
    return Catalogue(
        user_kinds=torch.from_numpy(kinds),
        user_numbers=torch.from_numpy((age - age.mean()) / max(float(age.std()), 1e-6)).float(),
        item_kinds=torch.zeros(ratings.films, 0, dtype=torch.int64),
        item_numbers=torch.from_numpy(ratings.genres).float(),
        history=torch.from_numpy(history),
    )


# --- the front ---


def measure(model: DMTL, batches: Iterable[Batch]) -> Figures:
    """Return, by objective, the AUC of "rated" by the teacher, of "liked" by the teacher, and of it by the student."""
    users, items, rated, liked = (torch.cat(columns) for columns in zip(*batches, strict=True))
    logits = model(users, items)
    scores = (logits.click, logits.teacher, logits.student)
    return {
        name: auc(label, score)
        for name, label, score in zip(OBJECTIVES, (rated, liked, liked), scores, strict=True)
    }  # fmt: skip


def film_chain(size: str | Size = "demo") -> pm.Problem:
    """Return the problem of DMTL's three losses."""
    if isinstance(size, str) and size not in SIZES:
        raise ValueError(f"size={size!r} is not one of {', '.join(map(repr, SIZES))}")
    chosen = SIZES[size] if isinstance(size, str) else size
    chain = draw_chain(chosen.subset, 0)
    of_split = partial(_impressions, chosen.subset)
    return pm.Problem(
        objectives=[pm.Objective(name, goal="max") for name in OBJECTIVES],
        model=partial(DMTL, chain.catalogue),
        losses=losses,
        train=partial(batches, of_split, "train", chosen.batch),
        validate=partial(batches, of_split, "validate", chosen.batch),
        test=partial(batches, of_split, "test", chosen.batch),
        measure=measure,
        ref_point=[0.7, 0.7, 0.1],
    )


def _impressions(subset: Subset) -> Parts:
    return draw_chain(subset, 0).parts


def explore_front(size: Size, out: Path | None) -> pm.Front:
    """Explore the front of the three losses by Linear, on losses as they are."""
    steps = len(draw_chain(size.subset, 0).parts["train"][0]) // size.batch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # losses of unlike size
        return pm.explore(
            film_chain(size), ps.Linear(), preferences=size.points, epochs=size.epochs, normalise=None, seeds=2,
            optimizer=reading_towers.Schedule(PICKED[DMTL_NAME], size.epochs * steps), out=out,
        )  # fmt: skip


def describe_choice(front: pm.Front) -> str:
    """Return the choice in words: the best student that keeps nearly the best AUC of "rated"; figures on test."""
    bound = float(front.mean().values[:, 0].max()) - GIVEN_UP
    pick = front.select(best="distillation", subject_to={"click": bound})
    assert pick.point is not None
    test = [point.values["test"] for point in front.points if point.preference == pick.point.preference]
    shown = ", ".join(f"{x:.4f}" for x in np.mean(test, axis=0))
    weights = ", ".join(f"{x:.2f}" for x in pick.point.preference)
    return f"Chosen, with weights {weights}: {pick.why}. On test: {shown}."


# --- the table ---


def train(way: str, size: Size, seed: int, rate: float) -> DoubleTower:
    """Train one way."""
    budget = reading_towers.Budget("", size.epochs, size.batch, size.seeds, PICKED)
    chain: Any = draw_chain(size.subset, seed)  # has what training reads of a simulated log
    return reading_towers.train(way, chain, budget, rate, seed)


@torch.no_grad()
def score_way(way: str, model: DoubleTower, parts: Parts, split: str) -> dict[str, Figures]:
    """Return the AUC of "liked" over all impressions of a split and over the rated ones, of each row of a way."""
    users, items, rated, liked = parts[split]
    logits = model(users, items)
    rows: dict[str, Tensor] = {way: logits} if way != DMTL_NAME else {TEACHER: logits.teacher, STUDENT: logits.student}
    known = rated > 0
    return {name: {"auc": auc(liked, one), "among rated": auc(liked[known], one[known])} for name, one in rows.items()}


def index_recall(model: DoubleTower) -> float:
    """Return the index's share of the K films of exact retrieval, for the users that did not tune it: every second."""
    users, items = model.user_vectors().numpy(), model.item_vectors().numpy()
    tuning, others = users[::2], users[1::2]
    return recall_of(build_index(items, tuning, K)(others, K), Exact(items)(others, K))


def run_seed(size: Size, seed: int) -> dict[str, Figures]:
    """Train every way with a seed, and return the figures of all rows on test."""
    parts, rows = draw_chain(size.subset, seed).parts, {}
    for way in reading_towers.WAYS:
        model = train(way, size, seed, PICKED[way])
        rows |= score_way(way, model, parts, "test")
        if way == DMTL_NAME:
            rows[STUDENT]["index recall"] = index_recall(model)
        print(f"seed {seed}, {way}", file=sys.stderr, flush=True)
    return rows


def run_seeds(size: Size, out: Path) -> list[dict[str, Figures]]:
    """Return the figures of every seed; those that are stored are read."""
    results = []
    for seed in range(size.seeds):
        path, protocol = out / f"seed-{seed}.json", {"size": [[*size.subset], *size[1:]], "rates": PICKED}
        rows = read_result(path, protocol)
        if rows is None:
            rows = run_seed(size, seed)
            write_result(path, protocol, rows)
        results.append(rows)
    return results


def table(seeds: list[dict[str, Figures]]) -> str:
    """Return the table of AUCs as means over seeds with 95 % intervals, and the student's less each, paired."""
    student, rows = np.array([one[STUDENT]["auc"] for one in seeds]), []
    for name, title in ROWS.items():
        all_, among = (np.array([one[name][column] for one in seeds]) for column in ("auc", "among rated"))
        less, verdict = "", ""
        if name != STUDENT:
            less, verdict = format_interval((student - all_).tolist(), 4, "+"), compare_paired(student, all_).verdict
        rows.append([title, format_interval(all_.tolist(), 4), less, verdict, format_interval(among.tolist(), 4)])
    columns = ["", "AUC of liked", "student's less this", "the student is", "AUC of liked, among rated"]
    return markdown(columns, rows)


def tune(size: Size) -> str:
    """Return the table of trials: the AUC of "liked" on validation by way and rate, with a seed apart."""
    parts = draw_chain(size.subset, TUNING_SEED).parts
    rows = []
    for way in reading_towers.WAYS:
        found = [
            [*score_way(way, train(way, size, TUNING_SEED, rate), parts, "validate").values()][-1]["auc"]
            for rate in RATES
        ]
        rows.append([way, *(f"{x:.4f}" for x in found)])
        print(*rows[-1], file=sys.stderr, flush=True)
    return markdown(["", *(f"{rate:g}" for rate in RATES)], rows)


def draw(seeds: list[dict[str, Figures]], path: Path) -> None:
    """Draw the AUC of every row, a dot a seed and a line at the mean."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "film chain"}):
        figure = Figure(figsize=(7, 2.6), layout="constrained")
        axes = figure.subplots()
        for k, name in enumerate(ROWS):
            own = [one[name]["auc"] for one in seeds]
            axes.plot(own, [k] * len(own), "o", color="#0072b2" if name in (TEACHER, STUDENT) else "#777777", ms=4)
            axes.plot([np.mean(own)] * 2, [k - 0.3, k + 0.3], color="black", lw=1)
        axes.set(xlabel=f"AUC of {LIKED} stars or more, over impressions on test")
        axes.set_yticks(range(len(ROWS)), [*ROWS.values()])
        axes.invert_yaxis()
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})


def main(arguments: list[str] | None = None) -> int:
    """Run the study, or print its trials."""
    parser = argparse.ArgumentParser(prog="python -m studies.film_chain", description="DMTL on films rated and liked.")
    parser.add_argument("--size", choices=list(SIZES), default="demo")
    parser.add_argument("--tune", action="store_true", help="print the trials by which the rates were picked")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the results and the figure")
    options = parser.parse_args(arguments)
    size, out = SIZES[options.size], options.out / options.size
    try:
        draw_chain(size.subset, 0)
    except data.Missing as error:
        print(error, file=sys.stderr)
        return 1
    if options.tune:
        print(tune(size))
        return 0
    front = explore_front(size, out / "front")
    print(f"Is there a measurable trade-off? {front.tradeoff().why}", end="\n\n")
    print(describe_choice(front), end="\n\n")
    seeds = run_seeds(size, out)
    print(table(seeds), end="\n\n")
    recall = [one[STUDENT]["index recall"] for one in seeds]
    print(f"Recall of the index against exact retrieval: {format_interval(recall, 4)}, at the least {min(recall):.4f}")
    draw(seeds, out / "film-chain.svg")
    return 0


if __name__ == "__main__":
    # imported by its real name, under which workers find functions that cannot travel by value
    from studies.film_chain import main as run

    raise SystemExit(run())

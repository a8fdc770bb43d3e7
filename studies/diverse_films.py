"""Films to recommend: relevance against diversity, trained as two losses, and by re-ranking as it is done without.

    python -m studies.diverse_films --size full --out runs/diverse-films

It takes ten minutes on one core at this size, a quarter of a minute with `--size demo`; it stores its fronts in the
folder, and continues where it stopped. It prints whether there is a trade-off, the tables and a choice, and draws the
figure.

The data are MovieLens-100k, each user's ratings divided by time (`studies.films`); a film of 4 or 5 stars is liked. The
model is a matrix factorisation. For people there are two measures of each user's ten best films that were not rated
before: NDCG@10 of the liked ones, and the mean distance of two films' genres (1 - cosine). The two losses:

ndcg: the softmax cross-entropy of a user's liked films among all, a bound on NDCG for labels of 0 and 1 (Bruch, Wang,
    Bendersky and Najork, ICTIR 2019), except that here every liked film counts alike, and not every user.
diversity: the expected similarity of two different films of the list, when films are in it by a sigmoid of the score
    less that between the tenth and the eleventh: a soft list of ten.

Three ways to re-rank the model that was trained on relevance alone stand beside the fronts: MMR, the greedy DPP, and a
quota of films from each cluster of genres. The quota is the nearest to recommenders by prototypes of which only the
listing is known: its prototypes are the centroids of k-means over genres, and a list has so many films of each at most.
No position-aware distillation of clicks: the data have no positions.

`--tune` prints the trials by which the settings were picked, on validation, with a seed that the study does not use.
"""

import argparse
import sys
import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.point import Point
from studies import data, reranking
from studies.cells import read_result, slug, write_result
from studies.conditioned_fronts import markdown
from studies.diverse_films_tables import (
    Values,
    choices_table,
    collect_choices,
    draw,
    ends,
    ends_table,
    rerank,
    results_table,
    values_by_seed,
    volumes,
)
from studies.films import WHOLE, Subset, list_parts, unit_genres
from studies.reranking import TOP
from studies.tabular import batches


class Size(NamedTuple):
    """How much of the data, and how long."""

    subset: Subset
    epochs: int
    points: int
    seeds: int


SIZES = {"demo": Size(Subset(300, 400), 12, 5, 2), "small": Size(WHOLE, 20, 5, 2), "full": Size(WHOLE, 20, 11, 5)}
WIDTH, BATCH, START = 32, 64, 0.1  # of a vector; users; the deviation of initial vectors
PEAK, DECAY = 0.03, 0.8  # of the learning rate; of the weights
SOFT = 0.25  # width of the soft list's sigmoid, in units of a score
TUNING_SEED = 100
NAMES = ("ndcg", "diversity")
Batch = tuple[Tensor, Tensor, Tensor]  # users (N,), liked (N, films), excluded (N, films)


class Way(NamedTuple):
    """A method with its settings.

    units: of the losses that the method sees: "none", as they are; "corners"; or "training", the range that the points
        of Linear have on the training data. The corners' range is of validation, where the first loss is larger.
    """

    solver: pm.Solver
    units: Literal["none", "corners", "training"]
    soft: float = SOFT

    def __str__(self) -> str:
        mu = f", mu {self.solver.mu:g}" if isinstance(self.solver, ps.SmoothTchebycheff) else ""
        return f"{type(self.solver).__name__}{mu}, units {self.units}, soft {self.soft:g}"


WAYS = {"Linear": Way(ps.Linear(), "none"), "SmoothTchebycheff": Way(ps.SmoothTchebycheff(0.1), "training")}
SOFTS = (0.1, 0.25, 0.5, 1.0)
TRIALS = [
    *(Way(ps.Linear(), units, soft) for units in ("none", "corners") for soft in SOFTS),
    *(Way(ps.SmoothTchebycheff(mu), "training", soft) for mu in (0.1, 0.3) for soft in SOFTS),
    Way(ps.SmoothTchebycheff(0.1), "corners"),
]


class AdamWCycle(NamedTuple):
    """AdamW with a one-cycle schedule."""

    lr: float
    steps: int

    def __call__(self, parameters: Any) -> tuple[torch.optim.Optimizer, Any]:
        """Return the optimizer and its scheduler, as `explore` needs them."""
        optimizer = torch.optim.AdamW(parameters, lr=self.lr, weight_decay=DECAY)
        return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=self.steps)


class Factorisation(nn.Module):
    """A vector for each user and each film, whose inner product and the film's constant are a score."""

    def __init__(self, users: int, films: int):
        super().__init__()
        self.user = nn.Parameter(START * torch.randn(users, WIDTH))
        self.film = nn.Parameter(START * torch.randn(films, WIDTH))
        self.constant = nn.Parameter(torch.zeros(films))

    def forward(self, users: Tensor) -> Tensor:
        """Users (N,) to scores (N, films)."""
        return self.user[users] @ self.film.T + self.constant


def listwise_loss(
    scores: Float[Tensor, "n films"], liked: Float[Tensor, "n films"], excluded: Bool[Tensor, "n films"]
) -> tuple[Tensor, float] | None:
    """Return the mean softmax cross-entropy of liked films, in nats, and their number; None where nobody likes one.

    A film is among those that compete if it is liked, or not excluded.
    """
    n = float(liked.sum())
    if not n:
        return None
    log_shares = scores.masked_fill(excluded & (liked == 0), -torch.inf).log_softmax(dim=1)
    return -(log_shares.where(liked > 0, 0.0)).sum() / n, n


def similarity_loss(
    scores: Float[Tensor, "n films"],
    excluded: Bool[Tensor, "n films"],
    unit: Float[Tensor, "films genres"],
    soft: float = SOFT,
    k: int = TOP,
) -> Tensor:
    """Return the mean over users of the expected cosine of two different films of the soft list of k."""
    if (fewest := int((~excluded).sum(dim=1).min())) <= k:
        raise ValueError(f"k={k}, and a user has {fewest} films to list; take more films, or users who rated fewer")
    listed = scores.masked_fill(excluded, -torch.inf)
    border = listed.detach().topk(k + 1, dim=1).values[:, -2:].mean(dim=1, keepdim=True)
    chances = ((listed - border) / soft).sigmoid()
    shares = chances / chances.sum(dim=1, keepdim=True)
    alone = shares.square().sum(dim=1)  # the chance to draw one film twice
    return (((shares @ unit).square().sum(dim=1) - alone) / (1 - alone)).mean()


def losses(unit: Tensor, soft: float, model: Factorisation, batch: Batch) -> dict[str, Any]:
    """Return both losses, by the names of the measures that they stand for."""
    users, liked, excluded = batch
    scores = model(users)
    return {
        "ndcg": listwise_loss(scores, liked, excluded),
        "diversity": similarity_loss(scores, excluded, unit, soft),
    }


def measure(unit: Tensor, model: Factorisation, batches: Iterable[Batch]) -> dict[str, float]:
    """Return NDCG and diversity of each user's best films."""
    users, liked, excluded = (torch.cat(columns) for columns in zip(*batches, strict=True))
    return dict(zip(NAMES, reranking.figures(reranking.top(model(users), excluded), liked, unit), strict=True))


def diverse_films(size: str | Size = "demo", soft: float = SOFT) -> pm.Problem:
    """Return the problem."""
    if isinstance(size, str) and size not in SIZES:
        raise ValueError(f"size={size!r} is not one of {', '.join(map(repr, SIZES))}")
    subset = (SIZES[size] if isinstance(size, str) else size).subset
    unit, of_split = unit_genres(subset), partial(list_parts, subset)
    return pm.Problem(
        objectives=[pm.Objective(name, goal="max") for name in NAMES],
        model=partial(Factorisation, *of_split()["train"][1].shape),
        losses=partial(losses, unit, soft),
        train=partial(batches, of_split, "train", BATCH),
        validate=partial(batches, of_split, "validate", BATCH),
        test=partial(batches, of_split, "test", BATCH),
        measure=partial(measure, unit),
        ref_point=[9.0, 0.4],
    )


def explore_front(
    way: Way, size: Size, out: Path | None, seed: int = 0, training: dict[str, tuple[float, float]] | None = None
) -> pm.Front:
    """Explore the front of a method with all seeds; `training` is the range for a way of these units."""
    normalise: Any = {"none": None, "corners": "corners", "training": training}[way.units]
    users = len(list_parts(size.subset)["train"][0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # losses of unlike size, and points off their ray
        return pm.explore(
            diverse_films(size, way.soft), way.solver, preferences=size.points, epochs=size.epochs,
            normalise=normalise, optimizer=AdamWCycle(PEAK, size.epochs * (users // BATCH)), seed=seed,
            seeds=size.seeds, out=out,
        )  # fmt: skip


@torch.no_grad()
def training_range(front: pm.Front, size: Size, soft: float = SOFT) -> dict[str, tuple[float, float]]:
    """Return each loss's range on the training data: the least of points and corners, the largest of the points."""
    problem, batch = diverse_films(size, soft), list_parts(size.subset)["train"]
    rows = []
    for point in (*front.points, *front.corners):
        found = problem.losses(front.load_model(point, problem.model), batch)
        rows.append([float(found["ndcg"][0]), float(found["diversity"])])  # type: ignore[index, arg-type]
    table = np.array(rows)
    largest = table[: len(front.points)].max(axis=0)
    return dict(zip(NAMES, zip(table.min(axis=0).tolist(), largest.tolist(), strict=True), strict=True))


def explore_fronts(size: Size, out: Path) -> dict[str, pm.Front]:
    """Explore the fronts of both methods."""
    linear = explore_front(WAYS["Linear"], size, out / "linear")
    training = training_range(linear, size)
    tchebycheff = explore_front(WAYS["SmoothTchebycheff"], size, out / "smooth-tchebycheff", training=training)
    return {"Linear": linear, "SmoothTchebycheff": tchebycheff}


def relevance_alone(front: pm.Front) -> list[Point]:
    """Return each seed's point that was trained on relevance alone."""
    return sorted((p for p in front.corners if p.corner == "ndcg"), key=lambda p: p.seed)


@torch.no_grad()
def relevance_scores(front: pm.Front, size: Size) -> list[Tensor]:
    """Return the scores of each seed's model that was trained on relevance alone."""
    users, build = list_parts(size.subset)["train"][0], diverse_films(size).model
    return [front.load_model(point, build)(users) for point in relevance_alone(front)]


def rerank_once(front: pm.Front, scores: Sequence[Tensor], size: Size, split: str, out: Path) -> dict[str, Values]:
    """Return the figures of each way to re-rank; they are stored with the models that they are of."""
    path, protocol = out / f"reranked-{split}.json", {"models": [point.weights for point in relevance_alone(front)]}
    if (stored := read_result(path, protocol)) is None:
        found = rerank(scores, size.subset, size.points, split)
        stored = {name: values.tolist() for name, values in found.items()}
        write_result(path, protocol, stored)
    return {name: np.array(rows) for name, rows in stored.items()}


def tune(size: Size, out: Path) -> str:
    """Return the table of trials: the hypervolume on validation of a front of five points, with a seed apart."""
    size = size._replace(points=5, seeds=1)
    rows, ranges = [], {}
    for way in TRIALS:
        front = explore_front(way, size, out / slug(str(way)), TUNING_SEED, ranges.get(way.soft))
        if way.units == "none":
            ranges[way.soft] = training_range(front, size, way.soft)
        popular = ends(relevance_scores(front, size), size.subset, "validate")["most popular"][0, 0]
        [volume] = volumes(values_by_seed(front, "validate"), popular)
        rows.append([str(way), f"{volume:.2f}"])
        print(*rows[-1], file=sys.stderr, flush=True)
    return markdown(["", "hypervolume × 1000"], rows)


def report(size: Size, out: Path) -> None:
    """Explore with both methods, re-rank, print the tables and draw."""
    fronts = explore_fronts(size, out)
    scores = relevance_scores(fronts["Linear"], size)
    alone = ends(scores, size.subset, "validate")["relevance alone"][..., 0].mean()
    known = ends(scores, size.subset, "test")
    reranked = {split: rerank_once(fronts["Linear"], scores, size, split, out) for split in ("validate", "test")}
    groups = {name: values_by_seed(front, "test") for name, front in fronts.items()} | reranked["test"]
    print(f"Is there a measurable trade-off? {fronts['Linear'].tradeoff().why}", end="\n\n")
    print(results_table(groups, known["most popular"][0, 0]), end="\n\n")
    print(ends_table(known), end="\n\n")
    choices = collect_choices(fronts, reranked["validate"], groups, size.subset, float(alone), size.points)
    print(choices_table(choices), end="\n\n")
    if (chosen := choices["Linear"]) is not None:
        print(f"Why, for Linear: {chosen.why}")
    draw(groups, known, out / "diverse-films.svg")


def main(arguments: list[str] | None = None) -> int:
    """Run the study, or print its trials."""
    parser = argparse.ArgumentParser(prog="python -m studies.diverse_films", description="Relevance against diversity.")
    parser.add_argument("--size", choices=list(SIZES), default="demo")
    parser.add_argument("--tune", action="store_true", help="print the trials by which the settings were picked")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the fronts and the figure")
    options = parser.parse_args(arguments)
    try:
        list_parts(SIZES[options.size].subset)
    except data.Missing as error:
        print(error, file=sys.stderr)
        return 1
    if options.tune:
        print(tune(SIZES[options.size], options.out / "tuning"))
        return 0
    report(SIZES[options.size], options.out / options.size)
    return 0


if __name__ == "__main__":
    # imported by its real name, under which workers find functions that cannot travel by value
    from studies.diverse_films import main as run

    raise SystemExit(run())

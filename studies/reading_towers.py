"""The nets of the study of reading duration: five ways to a double tower, at one budget, and what each is worth.

A way is what is trained: all of DMTL, whose teacher and student are two rows of the table; a double tower on clicks
alone; one on the long reads of clicked items alone, which knows nothing of what was not clicked; and one on long reads
directly, without a teacher. All have the same embeddings, towers and numbers of steps. Batches of clicked items are
smaller, as those are fewer, so that every way sees its impressions equally often.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from paretomtl.points.seeds import interval_half_width
from studies.conditioned_fronts import markdown
from studies.double_tower import DMTL, Batch, DoubleTower, LazyAdam, losses
from studies.reading_log import Data, World, iterate_users, simulate
from studies.retrieval import Exact
from studies.tabular import batches

K = 100  # items that are retrieved
USERS = 1_000  # at most, whose retrieved items are looked up in the truth
DMTL_NAME, DIRECT, CLICKS, CLICKED = "DMTL", "without a teacher", "clicks alone", "clicked items alone"
TEACHER, STUDENT = "DMTL, teacher", "DMTL, student"
TRUTH, LONGEST, RANDOM = "truth: long reads", "truth: seconds", "random"
RATES = (0.003, 0.01, 0.03, 0.06)  # of Adam, to choose from
TUNING = 100  # the seed of the log and of the nets that the rates are chosen with
Figures = dict[str, float]


class Budget(NamedTuple):
    """What each net may cost, and the rates that won on validation data of another log.

    size: of the log.
    seeds: as many logs, each with nets of its own.
    """

    size: str
    epochs: int
    batch: int
    seeds: int
    rates: Mapping[str, float]


class Schedule(NamedTuple):
    """Adam with a one-cycle schedule."""

    rate: float
    steps: int

    def __call__(self, parameters: Any) -> tuple[torch.optim.Optimizer, Any]:
        """Return the optimizer and its scheduler."""
        optimizer = LazyAdam(parameters, lr=self.rate)
        return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, self.rate, total_steps=self.steps)


def _dmtl_loss(model: DoubleTower, batch: Batch) -> Tensor:
    assert isinstance(model, DMTL)
    return torch.stack([*losses(model, batch).values()]).sum()


def _click_loss(model: DoubleTower, batch: Batch) -> Tensor:
    users, items, clicks, _ = batch
    return binary_cross_entropy_with_logits(model(users, items), clicks)


def _read_loss(model: DoubleTower, batch: Batch) -> Tensor:
    users, items, clicks, reads = batch
    return binary_cross_entropy_with_logits(model(users, items), clicks * reads)


WAYS: dict[str, tuple[type[DoubleTower], Callable[[DoubleTower, Batch], Tensor]]] = {
    DMTL_NAME: (DMTL, _dmtl_loss),
    DIRECT: (DoubleTower, _read_loss),
    CLICKS: (DoubleTower, _click_loss),
    CLICKED: (DoubleTower, _read_loss),
}


def train(way: str, data: Data, budget: Budget, rate: float, seed: int) -> DoubleTower:
    """Train a net one way; initial weights and the order of the impressions are the seed's."""
    build, loss = WAYS[way]
    tensors, batch = data.parts["train"], budget.batch
    if way == CLICKED:
        clicked = tensors[2] > 0
        tensors = tuple(tensor[clicked] for tensor in tensors)
        batch = max(1, round(batch * float(clicked.float().mean())))
    loader: Any = batches(lambda: {"train": tensors}, "train", batch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loader.generator.manual_seed(seed)
        model = build(data.catalogue)
        optimizer, scheduler = Schedule(rate, budget.epochs * len(loader))(model.parameters())
        for _ in range(budget.epochs):
            for part in loader:
                optimizer.zero_grad()
                loss(model, part).backward()
                optimizer.step()
                scheduler.step()
    return model.eval()


def auc(labels: Tensor, scores: Tensor | np.ndarray) -> float:
    """Return the probability that a positive scores above a negative; a tie counts a half.

    Raises:
        ValueError: all labels are equal.
    """
    from sklearn.metrics import roc_auc_score

    if len(labels.unique()) < 2:
        raise ValueError(f"labels are all {float(labels[0]):g}: an AUC needs both; measure on more impressions")
    return float(roc_auc_score(labels.numpy(), np.asarray(scores)))


def recall_at(retrieved: np.ndarray, users: Tensor, items: Tensor, positive: Tensor) -> float:
    """Return the share of the positive impressions whose items are among those retrieved for their users.

    It is a mean over users with positives; the row of `retrieved` is the user.
    """
    rows, columns = users[positive > 0].numpy(), items[positive > 0].numpy()
    hits = (retrieved[rows] == columns[:, None]).any(axis=1)
    number = np.bincount(rows, minlength=len(retrieved))
    found = np.bincount(rows, weights=hits, minlength=len(retrieved))
    return float((found[number > 0] / number[number > 0]).mean())


def retrieve_all(model: DoubleTower, k: int = K) -> np.ndarray:
    """Retrieve the k best items of every user, exactly."""
    exact = Exact(model.item_vectors().numpy())
    return np.concatenate([exact(part, k) for part in np.array_split(model.user_vectors().numpy(), 16)])


def measure_way(way: str, model: DoubleTower, data: Data, split: str) -> dict[str, Figures]:
    """Return the figures of a way's rows: AUC of long reads over a split's impressions, and of what is retrieved."""
    users, items, clicks, reads = data.parts[split]
    positive = clicks * reads
    retrieved = retrieve_all(model)
    found = look_up(data.world, retrieved) | {"recall": recall_at(retrieved, users, items, positive)}
    with torch.no_grad():
        logits = model(users, items)
    if way != DMTL_NAME:
        return {way: {"auc": auc(positive, logits)} | found}
    return {TEACHER: {"auc": auc(positive, logits.teacher)}, STUDENT: {"auc": auc(positive, logits.student)} | found}


def look_up(world: World, retrieved: np.ndarray) -> Figures:
    """Return the true expected seconds of the retrieved items, of an impression and of a click, as means over users."""
    shown, clicked = [], []
    for users in iterate_users(min(USERS, len(retrieved))):
        shown.append(np.take_along_axis(world.seconds(users), retrieved[users], 1))
        clicked.append(np.take_along_axis(world.seconds_clicked(users), retrieved[users], 1))
    return {"seconds": float(np.concatenate(shown).mean()), "of a click": float(np.concatenate(clicked).mean())}


def measure_truth(data: Data) -> dict[str, Figures]:
    """Return the figures of whoever knows the truth, and of items retrieved at random."""
    users, items, clicks, reads = data.parts["test"]
    positive = clicks * reads
    scores = np.empty(len(users))
    best: dict[str, list[np.ndarray]] = {TRUTH: [], LONGEST: [], RANDOM: []}
    draw = np.random.default_rng(0)
    for chunk in iterate_users(data.catalogue.users):
        reading = data.world.read_probability(chunk)
        mine = ((users >= int(chunk[0])) & (users <= int(chunk[-1]))).numpy()
        scores[mine] = reading[users[mine].numpy() - chunk[0], items[mine].numpy()]
        for name, table in (
            (TRUTH, reading),
            (LONGEST, data.world.seconds(chunk)),
            (RANDOM, draw.random(reading.shape, dtype=np.float32)),
        ):
            best[name].append(np.argpartition(-table, K - 1, axis=1)[:, :K])
    rows = {}
    for name, parts in best.items():
        retrieved = np.concatenate(parts)
        rows[name] = look_up(data.world, retrieved) | {"recall": recall_at(retrieved, users, items, positive)}
    rows[TRUTH]["auc"] = auc(positive, scores)
    return rows


def run_seed(budget: Budget, seed: int) -> dict[str, Figures]:
    """Train every way on the log of a seed, and return the figures of all rows on its test impressions."""
    data = simulate(budget.size, seed)
    rows: dict[str, Figures] = {}
    for way in WAYS:
        rows |= measure_way(way, train(way, data, budget, budget.rates[way], seed), data, "test")
    return rows | measure_truth(data)


def tune(budget: Budget) -> dict[str, dict[float, float]]:
    """Return, for each way and rate, the AUC of long reads on validation data of a log that the table does not use."""
    data = simulate(budget.size, TUNING)
    return {
        way: {
            rate: list(measure_way(way, train(way, data, budget, rate, TUNING), data, "validate").values())[-1]["auc"]
            for rate in RATES
        }
        for way in WAYS
    }


def format_interval(samples: Sequence[float], digits: int, sign: str = "") -> str:
    """Format the mean over seeds with half of its 95 % interval."""
    half = interval_half_width(np.asarray(samples, dtype=np.float64))
    mean = f"{np.mean(samples):{sign}.{digits}f}"
    return mean if half is None else f"{mean} ± {float(half):.{digits}f}"


COLUMNS = {"auc": ("AUC of long reads", 4), "recall": (f"recall@{K}", 4), "seconds": ("seconds of an impression", 1),
           "of a click": ("seconds of a click", 1)}  # fmt: skip


def table(seeds: Sequence[Mapping[str, Figures]]) -> str:
    """Format the rows, as means over seeds with 95 % intervals."""
    rows = [
        [name, *(
            format_interval([seed[name][column] for seed in seeds], digits) if column in first else ""
            for column, (_, digits) in COLUMNS.items()
        )]
        for name, first in seeds[0].items()
    ]  # fmt: skip
    return markdown(["", *(title for title, _ in COLUMNS.values())], rows)


TARGETS = {TEACHER: -0.01, CLICKS: 0.02, CLICKED: 0.01, DIRECT: None}  # least differences from the student's AUC


def targets_table(seeds: Sequence[Mapping[str, Figures]]) -> str:
    """Format how far the student's AUC is above that of other rows, paired over seeds, against what was aimed at."""
    rows = []
    for name, target in TARGETS.items():
        differences = np.array([seed[STUDENT]["auc"] - seed[name]["auc"] for seed in seeds])
        wanted = "" if target is None else f"at least {target:+.2f}"
        rows.append([name, format_interval(differences.tolist(), 4, "+"), wanted, judge(differences, target)])
    return markdown(["student's AUC less that of", "difference", "aimed at", "met"], rows)


def judge(differences: np.ndarray, target: float | None) -> str:
    """Say whether a target is met: by the whole interval, by the mean alone, or not."""
    if target is None:
        return ""
    if differences.mean() < target:
        return "no"
    half = interval_half_width(differences)
    return "yes" if half is not None and differences.mean() - half >= target else "by the mean alone"


def write_csv(seeds: Sequence[Mapping[str, Figures]], path: Path) -> None:
    """Write all figures, one a line."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seed", "row", "figure", "value"])
        for seed, rows in enumerate(seeds):
            for name, figures in rows.items():
                writer.writerows([seed, name, figure, repr(value)] for figure, value in figures.items())


def read_csv(path: Path) -> list[dict[str, Figures]]:
    """Read figures as they were written."""
    seeds: list[dict[str, Figures]] = []
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if int(line["seed"]) == len(seeds):
                seeds.append({})
            seeds[-1].setdefault(line["row"], {})[line["figure"]] = float(line["value"])
    return seeds


def draw(seeds: Sequence[Mapping[str, Figures]], path: Path) -> None:
    """Draw the AUC of every row and the seconds of what it retrieves, with 95 % intervals over the seeds."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "paretomtl", "font.size": 9}):
        figure = Figure(figsize=(7.0, 2.6), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        names = [*seeds[0]][::-1]
        titles = ("AUC of long reads", f"expected seconds of an impression,\nmean over {K} retrieved items")
        for axes, column, title in zip(panels, ("auc", "seconds"), titles, strict=True):
            for place, name in enumerate(names):
                samples = np.array([seed[name][column] for seed in seeds if column in seed[name]])
                if len(samples):
                    half = interval_half_width(samples)
                    colour = "#0072b2" if name.startswith(DMTL_NAME) else "#555555"
                    axes.errorbar(samples.mean(), place, xerr=half, fmt="o", ms=4, color=colour, capsize=2)
            axes.set(xlabel=title, yticks=range(len(names)), yticklabels=names)
            axes.grid(axis="x", color="#dddddd", lw=0.6)
            axes.set_axisbelow(True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})  # no time: equal bytes

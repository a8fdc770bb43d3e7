"""Adult income: the loss against the gap between the sexes, and a bound on the gap that is to hold on unseen data.

    python -m studies.adult --out runs/adult

It takes two minutes on one core, stores its front in the folder, and continues where it stopped. It prints how often
the bound held on test, and at what cost; every chosen model; and how often the bound holds when the validation and test
people are divided anew.

The data are UCI's Adult (Becker and Kohavi, 1996), in its own two files: 32,561 people, 26,000 to train on and 6,561 to
validate on, and 16,281 to test on. Neither sex nor the survey's weight is an input of the network; but other inputs
reveal much about sex, such as "husband". Scales and categories come from the training rows alone.

There are two objectives: the mean cross-entropy, and the demographic-parity gap, |P(rich | man) - P(rich | woman)|. The
measured gap is that of decisions at a probability of one half; the trained one is the square of the gap between mean
probabilities. Both measures come with their standard errors on the split, so that a choice can keep a margin.

All settings were chosen on validation data, with a seed that the study does not use; test data chose nothing.
"""

import argparse
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.point import Point
from paretomtl.selection.pick import candidates_of
from paretomtl.selection.select import list_candidates
from studies import data
from studies.conditioned_fronts import OneCycle, markdown
from studies.tabular import batches

SPLITS = ("train", "validate", "test")
TRAINED_ON = 26_000  # of the 32,561; the others validate
NUMBERS = ("age", "education-num", "capital-gain", "capital-loss", "hours-per-week")
KINDS = ("workclass", "marital-status", "occupation", "relationship", "race", "native-country")
HIDDEN, BATCH = 32, 512
EPOCHS, PEAK = 16, 0.01  # epochs, and the learning rate's peak
SCALE = 0.25  # divisor of the trained gap, so that an even design lies close around the bound
POINTS, SEEDS, FLEET = 16, 5, 16
BOUND, MARGIN = 0.05, 0.95
MARGINS = {None: "none", MARGIN: f"{MARGIN:g}"}
DIVISIONS, OFTEN = 200, 0.8
Row = dict[str, str]
Batch = Sequence[Tensor]  # features (N, d), rich (N,) and male (N,) as 0 or 1


class Encoding(NamedTuple):
    """The encoding of rows as features: mean and standard deviation of the numbers, the known kinds by column."""

    mean: np.ndarray
    deviation: np.ndarray
    kinds: dict[str, tuple[str, ...]]


def fitted(rows: Sequence[Row]) -> Encoding:
    """Return the encoding fitted to these rows."""
    numbers = _numbers(rows)
    return Encoding(
        numbers.mean(axis=0), numbers.std(axis=0), {k: tuple(sorted({row[k] for row in rows})) for k in KINDS}
    )


def _numbers(rows: Sequence[Row]) -> np.ndarray:
    return np.array([[float(row[name]) for name in NUMBERS] for row in rows])


def encoded(rows: Sequence[Row], encoding: Encoding) -> tuple[Tensor, Tensor, Tensor]:
    """Return the features, who is rich, and who is male; an unknown kind has 0 for all known kinds."""
    parts = [(_numbers(rows) - encoding.mean) / encoding.deviation]
    for name, known in encoding.kinds.items():
        parts.append(np.array([row[name] for row in rows])[:, None] == np.array(known))
    features = torch.from_numpy(np.hstack(parts)).float()
    rich, male = (
        torch.tensor([float(row[column] == yes) for row in rows])
        for column, yes in (("income", ">50K"), ("sex", "Male"))
    )
    return features, rich, male


@cache
def people() -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Return the features, rich and male of every split."""
    rows = data.adult()
    order = np.random.default_rng(0).permutation(len(rows["train"])).tolist()
    shuffled = [rows["train"][i] for i in order]
    splits = dict(zip(SPLITS, (shuffled[:TRAINED_ON], shuffled[TRAINED_ON:], rows["test"]), strict=True))
    encoding = fitted(splits["train"])
    return {name: encoded(part, encoding) for name, part in splits.items()}


def loader(split: str, batch: int = BATCH) -> Iterable[Any]:
    """Return the batches of a split."""
    return batches(people, split, batch)


def network(inputs: int) -> nn.Module:
    """Build a small network, from features to the logit of being rich."""
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))


def mean_difference(probabilities: Tensor, male: Tensor) -> Tensor | None:
    """Return the men's mean probability less the women's; None for a batch with only one group."""
    men, women = male.sum(), (1 - male).sum()
    if not (men and women):
        return None
    return (probabilities * male).sum() / men - (probabilities * (1 - male)).sum() / women


def soft_gap(probabilities: Tensor, male: Tensor) -> Tensor | None:
    """Return the squared difference of the groups' mean probabilities; None for a batch with only one group."""
    difference = mean_difference(probabilities, male)
    return None if difference is None else difference.square()


def losses(model: nn.Module, batch: Batch) -> dict[str, Tensor | None]:
    """Return the mean cross-entropy in nats, and the trained gap."""
    features, rich, male = batch
    logits = model(features)[:, 0]
    return {"loss": binary_cross_entropy_with_logits(logits, rich), "gap": soft_gap(logits.sigmoid(), male)}


def figures(
    logits: Float[Tensor, "*models n"], rich: Float[Tensor, " n"], male: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "*models 2"], Float[Tensor, "*models 2"]]:
    """Return the mean cross-entropy and the gap of decisions, and their standard errors."""
    logits, rich = logits.double(), rich.double()
    each = binary_cross_entropy_with_logits(logits, rich.expand_as(logits), reduction="none")
    (men, of_men), (women, of_women) = (_share(logits[..., male == sex] > 0) for sex in (1, 0))
    loss_error = each.std(dim=-1) / each.shape[-1] ** 0.5
    values = torch.stack([each.mean(dim=-1), (men - women).abs()], dim=-1)
    return values, torch.stack([loss_error, (of_men + of_women).sqrt()], dim=-1)


def _share(decided: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share of True, and its variance."""
    share = decided.double().mean(dim=-1)
    return share, share * (1 - share) / decided.shape[-1]


def measure(model: nn.Module, batches: Iterable[Batch]) -> dict[str, tuple[float, float]]:
    """Return both figures, each with its standard error."""
    parts = zip(*((model(x)[:, 0], rich, male) for x, rich, male in batches), strict=True)
    values, errors = figures(*(torch.cat(part) for part in parts))
    return dict(zip(("loss", "gap"), zip(values.tolist(), errors.tolist(), strict=True), strict=True))


@torch.no_grad()
def accuracy(model: nn.Module, split: str) -> float:
    """Return the share of right decisions."""
    features, rich, _ = people()[split]
    return float(((model(features)[:, 0] > 0) == (rich > 0)).double().mean())


def adult() -> pm.Problem:
    """Return the problem."""
    return pm.Problem(
        objectives=[pm.Objective("loss", unit="nats"), pm.Objective("gap", scale=SCALE)],
        model=partial(network, people()["train"][0].shape[1]),
        losses=losses,
        train=partial(loader, "train"),
        validate=partial(loader, "validate"),
        test=partial(loader, "test"),
        measure=measure,
        ref_point=[0.6, 0.2],
    )


def explore_front(points: int, seeds: int, epochs: int, out: Path | None, seed: int = 0) -> pm.Front:
    """Explore the front with all seeds."""
    with warnings.catch_warnings():
        # before training a network decides alike for all people, so its gap is 0
        warnings.filterwarnings("ignore", "loss 'loss' is .* times loss 'gap' on the first batch", UserWarning)
        return pm.explore(
            adult(), ps.Linear(), preferences=points, epochs=epochs, normalise=None,
            optimizer=OneCycle(PEAK, epochs * (TRAINED_ON // BATCH)), seed=seed, seeds=seeds, fleet=FLEET, out=out,
        )  # fmt: skip


class Chosen(NamedTuple):
    """One chosen model of one seed.

    gap: the gap on validate.
    at_worst: the gap's upper bound on validate, at the margin's confidence: the model's where its seed chose alone,
        else that of the chosen mean.
    """

    seed: int
    id: str
    gap: float
    at_worst: float
    test_gap: float
    test_loss: float
    accuracy: float

    @property
    def holds(self) -> bool:
        """Whether the bound holds on test."""
        return self.test_gap <= BOUND


Choices = dict[tuple[str, str], list[Chosen]]  # by who chooses, and with what margin


def choose_models(front: pm.Front, margin: float | None) -> list[Chosen]:
    """Return the models of the preference that a front chooses, one a seed; none where no point keeps the bound."""
    try:
        pick = front.select(best="loss", subject_to={"gap": BOUND}, margin=margin)
    except pm.NoFeasiblePoint:
        return []
    assert pick.point is not None
    seen = candidates_of(front, "validate")
    [k] = [k for k, point in enumerate(seen.points) if point.preference == pick.point.preference]
    at_worst = float((seen.costs + seen.margins(MARGIN))[k, 1])
    return [
        _evaluate_choice(front, point, at_worst) for point in front.points if point.preference == pick.point.preference
    ]


def _evaluate_choice(front: pm.Front, point: Point, at_worst: float) -> Chosen:
    right = accuracy(front.load_model(point, adult().model), "test")
    (_, gap), (test_loss, test_gap) = (point.values[split] for split in ("validate", "test"))
    return Chosen(point.seed, point.id, gap, at_worst, test_gap, test_loss, right)


def collect_choices(front: pm.Front) -> Choices:
    """Return the choices of each seed from its own front, and of all seeds from the mean of their fronts."""
    alone = {
        ("each seed", label): [one for own in front.by_seed() for one in choose_models(own, margin)]
        for margin, label in MARGINS.items()
    }
    return alone | {("all seeds", label): choose_models(front, margin) for margin, label in MARGINS.items()}


@torch.no_grad()
def divide_people(front: pm.Front, n: int = DIVISIONS) -> dict[str, Float[np.ndarray, "n seeds 2"]]:
    """Divide the people of validate and test anew, n times, and return the losses and gaps of each seed's own choice.

    As many people as in the study's validate split are used to choose; the losses and gaps are measured on the rest.
    Results are by margin; NaN where no point keeps the bound. All seeds share a division, and no network is trained.
    """
    splits = people()
    features, rich, male = (torch.cat(parts) for parts in zip(splits["validate"], splits["test"], strict=True))
    logits = torch.stack([front.load_model(point, adult().model)(features)[:, 0] for point in front.points])
    size, generator = len(splits["validate"][0]), np.random.default_rng(1)
    results = {label: [] for label in MARGINS.values()}
    for _ in range(n):
        order = torch.from_numpy(generator.permutation(len(features)))
        (values, errors), (others, _) = (
            figures(logits[:, part], rich[part], male[part]) for part in (order[:size], order[size:])
        )
        points = [
            replace(point, values={"validate": tuple(row)}, errors={"validate": tuple(error)})
            for point, row, error in zip(front.points, values.tolist(), errors.tolist(), strict=True)
        ]
        for margin, label in MARGINS.items():
            places = _choose_by_seed(points, front.objectives, margin)
            results[label].append([[np.nan] * 2 if k is None else others[k].tolist() for k in places])
    return {label: np.array(rows) for label, rows in results.items()}


def _choose_by_seed(
    points: Sequence[Point], objectives: Sequence[pm.Objective], margin: float | None
) -> list[int | None]:
    """Return the index of the point that each seed chooses from its own points; None where none keeps the bound."""
    rule = pm.rules.Constraint("loss", {"gap": BOUND}, margin)
    places = {point.id: k for k, point in enumerate(points)}
    chosen_places: list[int | None] = []
    for seed in sorted({point.seed for point in points}):
        try:
            choice = rule.choose(list_candidates([point for point in points if point.seed == seed], objectives)).point
        except pm.NoFeasiblePoint:
            choice = None
        chosen_places.append(None if choice is None else places[choice.id])
    return chosen_places


def divisions_table(front: pm.Front, n: int = DIVISIONS) -> str:
    """Return the table of how often the bound held over the divisions and seeds, and the mean loss."""
    rows = []
    for label, values in divide_people(front, n).items():
        losses, holds = values[..., 0], values[..., 1] <= BOUND
        often = (holds.mean(axis=1) >= OFTEN).mean()
        loss = losses[~np.isnan(losses)]
        rows.append([label, f"{holds.mean():.1%}", f"{often:.1%}", f"{loss.mean():.4f}" if len(loss) else ""])
    return markdown(["margin", "bound kept", "kept by 4 of 5 seeds or more", "loss"], rows)


def models_table(groups: Choices) -> str:
    """Return the table of all chosen models."""
    columns = ["chosen by", "margin", "seed", "model", "gap", "at worst", "test gap", "kept", "test loss", "accuracy"]
    rows = [
        [
            *key, str(one.seed), one.id, f"{one.gap:.4f}", f"{one.at_worst:.4f}", f"{one.test_gap:.4f}",
            "yes" if one.holds else "no", f"{one.test_loss:.4f}", f"{one.accuracy:.4f}",
        ]
        for key, group in groups.items() for one in group
    ]  # fmt: skip
    return markdown(columns, rows)


def rates_table(groups: Choices, seeds: int) -> str:
    """Return the table of how often the bound held on test, and the chosen models' mean figures."""
    rows = []
    for key, group in groups.items():
        measures = [[one.test_gap, one.test_loss, one.accuracy] for one in group]
        means = [f"{mean:.4f}" for mean in np.mean(measures, axis=0)] if group else [""] * 3
        rows.append([*key, f"{sum(one.holds for one in group)} of {seeds}", *means])
    return markdown(["chosen by", "margin", "bound kept on test", "test gap", "test loss", "accuracy"], rows)


def draw(front: pm.Front, groups: Choices, path: Path) -> None:
    """Draw both measures of every model on validate and on test, the bound, and the models that the seeds choose."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "paretomtl", "font.size": 9}):
        figure = Figure(figsize=(7.0, 3.4), layout="constrained")
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, split in zip(panels, ("validate", "test"), strict=True):
            values = np.array([point.values[split] for point in front.points])
            axes.plot(values[:, 1], values[:, 0], "o", color="#aaaaaa", ms=3, label="all models")
            for margin, marker, colour in zip(MARGINS.values(), "sD", ("#d55e00", "#0072b2"), strict=True):
                ids = {one.id for one in groups["each seed", margin]}
                mine = np.array([point.values[split] for point in front.points if point.id in ids]).reshape(-1, 2)
                axes.plot(mine[:, 1], mine[:, 0], marker, color=colour, ms=5, label=f"chosen, margin {margin}")
            axes.axvline(BOUND, color="black", lw=0.8, ls="--", label=f"gap {BOUND:g}")
            axes.set(title=split, xlabel="gap")
        panels[0].set_ylabel("loss [nats]")
        panels[1].legend(frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})  # no time: equal bytes


def main(arguments: list[str] | None = None) -> int:
    """Explore, choose with and without a margin, print the tables, draw."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.adult", description="Adult income: the loss against the gap between the sexes."
    )
    parser.add_argument("--points", type=int, default=POINTS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--divisions", type=int, default=DIVISIONS)
    parser.add_argument("--out", type=Path, required=True, help="the folder for the front and the figure")
    options = parser.parse_args(arguments)
    try:
        front = explore_front(options.points, options.seeds, options.epochs, options.out)
    except data.Missing as error:
        print(error, file=sys.stderr)
        return 1
    groups = collect_choices(front)
    alone = [_evaluate_choice(front, point, np.nan) for point in front.corners if point.corner == "loss"]
    print(rates_table({("trained on loss alone", ""): alone, **groups}, options.seeds), end="\n\n")
    print(models_table(groups), end="\n\n")
    print(divisions_table(front, options.divisions))
    draw(front, groups, options.out / "adult.svg")
    return 0


if __name__ == "__main__":
    # imported by its real name, under which workers find functions that cannot travel by value
    from studies.adult import main as run

    raise SystemExit(run())

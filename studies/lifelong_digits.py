"""Life-long learning on digits: what is learnt anew against what is forgotten, as two objectives.

    python -m studies.lifelong_digits --size demo --out runs/lifelong-digits

It takes 20 seconds on one core at size demo, three minutes at size full, stores its fronts in the folder and continues
where it stopped. It prints whether there is a measurable trade-off, a choice with its reason, and a table; it writes
the table's figures as a CSV, and draws them.

A network with a hidden layer of 64 units has learnt digits from the first half of the training data. Now it is to learn
the same ten digits with their pixels permuted, from the second half. The objective `new` is the cross-entropy there;
`old` is the KL divergence from the old network to the one that learns (Zhao et al., 2022, for translation). The old
data are gone, so the inputs of `old` are either a memory, 100 pictures without labels that were put aside, or the new
pictures, shown to the old network. People read both as accuracy on unseen digits, as they are and permuted, in percent.
The choice: the best accuracy on new digits where at most five points are lost on old ones.

The ends are known: new digits alone make it forget, the old network alone teaches it nothing. Every row gets the same:
learning rates to try with a seed apart, the best by validation hypervolume, then the same seeds, which all begin with
the one old network. Losses are as they are, in nats. The pictures are UCI's of 8×8 pixels at size demo, and MNIST at
half resolution at size full (`studies.student_digits`).
"""

import argparse
import csv
import sys
import warnings
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points.seeds import interval_half_width
from studies import data
from studies.conditioned_fronts import OneCycle, markdown
from studies.distilled import percent, train, train_or_load
from studies.student_digits import digits
from studies.tabular import Parts, batches

OBJECTIVES = (pm.Objective("new", "%", "max"), pm.Objective("old", "%", "max"))
HIDDEN, MEMORY = 64, 100
PEAKS, TUNING = (5e-3, 1.5e-2, 4e-2), 100  # learning rates to try, and the seed that tunes
OLD_PEAK = 5e-3  # of the old network
FORGOTTEN = 5.0  # points of accuracy on old digits that may be lost

Size = Literal["demo", "full"]
Inputs = Literal["memory", "new"]


class Scale(NamedTuple):
    """Epochs of the old network and of the new one, digits a step, seeds, points of a front, learning rates to try."""

    old_epochs: int
    epochs: int
    batch: int
    seeds: int
    points: int
    peaks: tuple[float, ...]


SIZES: dict[str, Scale] = {
    "demo": Scale(60, 20, 64, 2, 5, PEAKS[1:2]),
    "full": Scale(15, 10, 128, 5, 9, PEAKS),
}


@cache
def parts_of(size: Size) -> Parts:
    """Return the permuted pictures and the labels of every split; of those not trained on, the plain pictures too."""
    splits = digits(size)
    pictures, label = splits["train"]
    order = permutation(pictures.shape[1])
    half = len(label) // 2
    held_out = {split: (x[:, order], y, x) for split, (x, y) in splits.items() if split != "train"}
    return {"train": (pictures[half:, order], label[half:]), **held_out}


def permutation(pixels: int) -> Tensor:
    """Return the permutation of the pixels."""
    return torch.from_numpy(np.random.default_rng(0).permutation(pixels))


def old_part(size: Size) -> tuple[Tensor, Tensor]:
    """Return the pictures and labels that the old network learnt from."""
    pictures, label = digits(size)["train"]
    half = len(label) // 2
    return pictures[:half], label[:half]


def network(pixels: int) -> nn.Sequential:
    """Build a network of one hidden layer."""
    return nn.Sequential(nn.Linear(pixels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))


def old_network(size: Size, folder: str | Path | None) -> nn.Module:
    """Return the network that has learnt the old digits, from the folder if it is in it."""
    pictures, label = old_part(size)
    scale = SIZES[size]
    return train_or_load(
        None if folder is None else Path(folder) / f"old-{size}.safetensors",
        partial(network, pictures.shape[1]),
        partial(train, inputs=pictures, labels=label, epochs=scale.old_epochs, peak=OLD_PEAK, batch=scale.batch),
        {"hidden": HIDDEN, "epochs": scale.old_epochs, "batch": scale.batch, "peak": OLD_PEAK, "digits": len(label)},
    )


def copy_of(weights: dict[str, Tensor]) -> nn.Module:
    """Build a network that begins with these weights."""
    model = network(weights["0.weight"].shape[1])
    model.load_state_dict(weights)
    return model


def losses(
    model: nn.Module, batch: Sequence[Tensor], old: pm.distillation.Teacher, memory: Tensor | None
) -> dict[str, Tensor]:
    """Return the cross-entropy of the new digits, and the divergence from the old network, in nats.

    Args:
        model: the network that learns.
        batch: permuted pictures and their labels; on data that are not trained on, old pictures as well.
        old: the old network.
        memory: the old pictures to train with; None for the new ones in their place.
    """
    pictures, label, *plain = batch
    remembered = plain[0] if plain else pictures if memory is None else memory
    return {
        "new": cross_entropy(model(pictures), label),
        "old": pm.distillation.categorical_kl(old(remembered), model(remembered)),
    }


def measure(model: nn.Module, batches: Iterable[Sequence[Tensor]]) -> dict[str, float]:
    """Return the accuracy on permuted and on plain digits, in percent."""
    parts = [(model(permuted), model(plain), label) for permuted, label, plain in batches]
    new, old, label = (torch.cat(part) for part in zip(*parts, strict=True))
    return {"new": percent(new.argmax(dim=1) == label), "old": percent(old.argmax(dim=1) == label)}


def lifelong_digits(size: Size = "demo", inputs: Inputs = "memory", folder: str | Path | None = None) -> pm.Problem:
    """Return the problem.

    Args:
        size: "demo", 8×8 pixels, or "full", MNIST at half resolution.
        inputs: where the old network is followed: "memory", on 100 pictures put aside, or "new", on the new pictures.
        folder: where the old network is stored; by default nowhere, and it is trained anew.
    """
    for field, value, known in (("size", size, tuple(SIZES)), ("inputs", inputs, ("memory", "new"))):
        if value not in known:
            raise ValueError(f"{field}={value!r} is not one of {', '.join(known)}")
    old = old_network(size, folder)
    memory = old_part(size)[0][:MEMORY] if inputs == "memory" else None
    return pm.Problem(
        objectives=OBJECTIVES,
        model=partial(copy_of, {name: tensor.clone() for name, tensor in old.state_dict().items()}),
        losses=partial(losses, old=pm.distillation.Teacher(old), memory=memory),
        train=partial(batches, partial(parts_of, size), "train", SIZES[size].batch),
        validate=partial(batches, partial(parts_of, size), "validate", SIZES[size].batch),
        test=partial(batches, partial(parts_of, size), "test", SIZES[size].batch),
        measure=measure,
        ref_point=[3.0, 3.0],
    )


class Row(NamedTuple):
    """A way to go on learning; preferences: None for an even design, which is a front."""

    name: str
    solver: pm.Solver
    inputs: Inputs = "memory"
    preferences: list[list[float]] | None = None


OLD, NEW_ALONE, OLD_ALONE = "the old network", "new digits alone", "old network alone, memory"
ROWS = (
    Row("Linear, memory", ps.Linear()),
    Row("SmoothTchebycheff, memory", ps.SmoothTchebycheff()),
    Row("Linear, new pictures", ps.Linear(), "new"),
    Row("MGDA, equal gradients, memory", ps.MGDA("l2"), preferences=[[0.5, 0.5]]),
    Row("by hand, weight 1, memory", ps.Linear(), preferences=[[0.5, 0.5]]),
)
FRONTS = tuple(row.name for row in ROWS if row.preferences is None)


def explore_row(row: Row, size: Size, peak: float, seed: int, seeds: int, out: Path) -> pm.Front:
    """Train a row's networks with a learning rate's peak."""
    scale = SIZES[size]
    steps = scale.epochs * (len(parts_of(size)["train"][0]) // scale.batch)
    name = row.name.replace(", ", "-").replace(" ", "-").lower()
    print(f"{row.name}, peak {peak:g}, seed {seed}", file=sys.stderr, flush=True)
    with warnings.catch_warnings():
        # dominated points, which the figure shows; and the first divergence is 0, as the network is still the old one
        warnings.simplefilter("ignore", UserWarning)
        return pm.explore(
            lifelong_digits(size, row.inputs, out / "old"), row.solver, preferences=row.preferences or scale.points,
            epochs=scale.epochs, optimizer=OneCycle(peak, steps), seed=seed, seeds=seeds, normalise=None,
            fleet=None if row.preferences else scale.points + 2, out=out / size / f"{name}-{peak:g}-{seed}",
        )  # fmt: skip


def tune(row: Row, size: Size, out: Path) -> float:
    """Return the peak with the largest validation hypervolume, with the seed that tunes."""
    peaks = SIZES[size].peaks
    if len(peaks) == 1:
        return peaks[0]
    return max(peaks, key=lambda peak: explore_row(row, size, peak, TUNING, 1, out).hypervolume() or 0.0)


class Result(NamedTuple):
    """A network on test data; share is the preference for the new digits, NaN for the old network."""

    row: str
    share: float
    chosen: bool
    seed: int
    new: float
    old: float


def results_of(name: str, points: Sequence[Any], chosen: object = None) -> list[Result]:
    """Return the test figures of points; chosen is the preference that a rule chose, if any."""
    return [Result(name, p.preference[0], p.preference == chosen, p.seed, *p.values["test"]) for p in points]


def run(size: Size, out: Path) -> list[Result]:
    """Print what the front says, and return the test figures of all networks."""
    old = old_network(size, out / "old")
    before = {split: measure(old, [parts_of(size)[split]]) for split in ("validate", "test")}
    results = [Result(OLD, np.nan, False, 0, before["test"]["new"], before["test"]["old"])]
    for row in ROWS:
        front = explore_row(row, size, tune(row, size, out), 0, SIZES[size].seeds, out)
        if row is ROWS[0]:
            print(f"Trade-off: {front.tradeoff().why}\n")
            results += results_of(NEW_ALONE, [p for p in front.corners if p.corner == "new"])
            results += results_of(OLD_ALONE, [p for p in front.corners if p.corner == "old"])
        if row.preferences is None:
            try:
                pick = front.select(best="new", subject_to={"old": before["validate"]["old"] - FORGOTTEN})
            except pm.NoFeasiblePoint as error:
                print(f"{row.name}: none; {error}\n")
                results += results_of(row.name, front.points)
                continue
            assert pick.point is not None
            print(f"{row.name}: {pick.why}\n")
            results += results_of(row.name, front.points, pick.point.preference)
        else:
            results += results_of(row.name, front.points)
    return results


def write_csv(results: Sequence[Result], path: Path) -> None:
    """Write one row a network."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Result._fields)
        writer.writerows([[f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in results])


def read_csv(path: Path) -> list[Result]:
    """Return the rows that `write_csv` wrote."""
    text = {"row": str, "chosen": "True".__eq__, "seed": int}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [Result(**{name: text.get(name, float)(cell) for name, cell in row.items()}) for row in rows]


def format_table(results: Sequence[Result]) -> str:
    """Return the table: accuracy on new and on old digits, and points lost on the old ones; of a front, all points."""
    table = []
    before = next(one.old for one in results if one.row == OLD)
    for name, share in dict.fromkeys((one.row, str(one.share)) for one in results):
        group = [one for one in results if (one.row, str(one.share)) == (name, share)]
        columns = np.array([[one.new, one.old, before - one.old] for one in group])
        half = interval_half_width(columns)
        cells = [f"{x:.1f}" if half is None else f"{x:.1f} ± {half[i]:.1f}" for i, x in enumerate(columns.mean(axis=0))]
        place = f"{float(share):.2f}" if name in FRONTS else ""
        table.append([name, place, *cells, "chosen" if group[0].chosen else ""])
    return markdown(["learns from", "weight of new", "new digits", "old digits", "forgotten", ""], table)


STYLES = dict(zip(FRONTS, (("o-", "#0072b2"), ("o-", "#d55e00"), ("o--", "#56b4e9")), strict=True))


def draw(results: Sequence[Result], path: Path) -> None:
    """Draw accuracy on new digits against accuracy on old ones: means over the seeds with their intervals."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "paretomtl", "font.size": 9}):
        figure = Figure(figsize=(7.4, 4.2), layout="constrained")
        panels = figure.subplots(1, 2)
        for axes in panels:
            _draw_rows(axes, results)
            axes.set(xlabel="accuracy on old digits [%]", ylabel="accuracy on new digits [%]")
        near = np.array([[r.old, r.new] for r in results if r.row.endswith("memory") and r.row != OLD_ALONE])
        (left, low), (right, high) = near.min(axis=0) - 1, near.max(axis=0) + 1
        panels[0].set_title("all")
        panels[1].set(title="near the chosen ones", xlim=(left, right), ylim=(low, high))
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})


def _draw_rows(axes: Any, results: Sequence[Result]) -> None:
    markers = iter("*Dsv^")
    for name in dict.fromkeys(one.row for one in results):
        shares = dict.fromkeys(str(one.share) for one in results if one.row == name)
        groups = [np.array([[r.old, r.new] for r in results if (r.row, str(r.share)) == (name, s)]) for s in shares]
        means = np.array([group.mean(axis=0) for group in groups])
        halves = [interval_half_width(group) for group in groups]
        x_half, y_half = np.array([np.zeros(2) if half is None else half for half in halves]).T
        style, colour = STYLES[name] if name in STYLES else (next(markers), "#000000")
        axes.errorbar(*means.T, y_half, x_half, fmt=style, color=colour, ms=5, lw=1, elinewidth=0.5, label=name)
        chosen = np.array([[r.old, r.new] for r in results if r.row == name and r.chosen])
        if len(chosen):
            axes.plot(*chosen.mean(axis=0), "o", ms=11, mfc="none", color=colour)


def main(arguments: list[str] | None = None) -> int:
    """Train every row, print the table, write the CSV, and draw."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.lifelong_digits", description="What is learnt anew against what is forgotten."
    )
    parser.add_argument("--size", choices=SIZES, default="demo")
    parser.add_argument("--out", type=Path, required=True, help="the folder for fronts, table and figure")
    options = parser.parse_args(arguments)
    try:
        results = run(options.size, options.out)
    except data.Missing as error:
        print(error, file=sys.stderr)
        return 1
    path = options.out / "lifelong-digits.csv"
    write_csv(results, path)
    results = read_csv(path)  # as rounded as who reads the file finds them
    print(format_table(results))
    draw(results, path.with_suffix(".svg"))
    return 0


if __name__ == "__main__":
    # imported by its real name, under which a front's fingerprint knows the study's functions
    from studies.lifelong_digits import main as start

    raise SystemExit(start())

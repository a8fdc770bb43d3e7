"""Imitation against reward: generators that match a distribution and earn a reward, beside the known front.

    python -m studies.imitation_reward --size full --out runs/imitation-reward

It takes seven minutes of one core ("demo" half a minute), stores its fronts in the folder, and continues where it
stopped. It says whether there is a trade-off, prints the table of both problems and one choice, and draws the figure.

The problems are those of `studies.generators`; there are no data but draws of noise. Linear scalarization,
SmoothTchebycheff and EPO have the same even preferences, the same steps, and Adam. On `gaussian` every learning rate
reaches the front. On `mixture`, with a one-cycle schedule, each method has the peak rate of `RATES` with the largest
validation hypervolume on a seed that the table does not use; the table's figures are those of the test draws.

The columns, where losses count in units of what there is to gain from one known end to the other:

- hypervolume: the share of the known front's
- IGD+: how much worse than the places of the known front the nearest points are, on average
- excess, worst: the nats that the known front saves at the same reward, the mean and the largest of the points
- least excess: it would be negative for a point better than possible; the draws of z err by a few 1e-4
- angle: degrees between the requested ray and the losses, the mean
"""

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.normalisation import Normalisation
from paretomtl.points.score import hypervolume, igd_plus
from paretomtl.points.seeds import compare_paired, interval_half_width
from paretomtl.preference import control_error, even_design
from studies.conditioned_fronts import OneCycle, markdown
from studies.generators import BATCH, NOISE, THREE, Triangular, excess, gaussian, mixture

METHODS: dict[str, pm.Solver] = {
    "Linear": ps.Linear(), "SmoothTchebycheff": ps.SmoothTchebycheff(), "EPO": ps.EPO(),
}  # fmt: skip
RATES, TUNING = (0.02, 0.04, 0.08, 0.16), 100  # peak learning rates on `mixture`, and the seed to choose one on
EXACT_RATE = 0.05  # on `gaussian`
BOUND, NARROW = 0.1, 0.5  # nats of divergence: what a choice may have, and a range around it
MATCHES = 1e-6  # nats of excess up to which a point is on an exact front
COLUMNS = ("method", "hypervolume", "IGD+", "excess", "worst", "least excess", "angle")
COLOURS = {"Linear": "#0072b2", "SmoothTchebycheff": "#009e73", "EPO": "#d55e00"}


class Size(NamedTuple):
    """Preferences of both problems; steps on `gaussian`; epochs, seeds and rates to try on `mixture`."""

    points: int
    steps: int
    epochs: int
    seeds: int
    rates: Sequence[float]


SIZES = {
    "demo": Size(5, 100, 4, 2, (0.05,)),
    "small": Size(9, 300, 8, 3, (0.05,)),
    "full": Size(9, 300, 15, 5, RATES),
}


class Figures(NamedTuple):
    """The figures of one front of one seed, in the order of the columns."""

    hypervolume: float
    igd_plus: float
    excess: float
    worst: float
    least_excess: float
    angle: float


def known_front(problem: pm.Problem) -> pm.Truth:
    """Return the front that is known."""
    assert problem.truth is not None
    return problem.truth


def figures(losses: Float[np.ndarray, "n 2"], angles: Float[np.ndarray, " n"], problem: pm.Problem) -> Figures:
    """Return the figures of the points of one seed."""
    known = known_front(problem)
    span = known.nadir - known.ideal
    beyond = excess(losses, known)
    return Figures(
        (hypervolume(losses, problem.reference) or 0.0) / known.hypervolume,
        igd_plus(losses / span, known.front[::10] / span),
        *(float(value) for value in (beyond.mean(), beyond.max(), beyond.min(), angles.mean())),
    )


def figures_by_seed(front: pm.Front, problem: pm.Problem, split: str) -> list[Figures]:
    """Return the figures of each seed's own front."""
    return [figures(one.losses_on(split), one.control_errors, problem) for one in front.by_seed()]


def on_rays(problem: pm.Problem, points: int) -> Figures:
    """Return the figures of the known front's own places nearest to the rays of even preferences."""
    known = known_front(problem)
    scaled = (known.front - known.ideal) / (known.nadir - known.ideal)
    errors = np.stack([control_error(scaled, np.broadcast_to(r, scaled.shape)) for r in even_design(2, points)])
    return figures(known.front[errors.argmin(axis=1)], errors.min(axis=1), problem)


def explore(problem: pm.Problem, method: str, **options: Any) -> pm.Front:
    """Explore a front, without the warnings of points off their ray: the table shows them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return pm.explore(problem, METHODS[method], **options)


def explore_gaussian(method: str, size: Size, out: Path) -> pm.Front:
    """Explore the front of the exact problem."""
    return explore(
        gaussian(), method, preferences=size.points, steps=size.steps,
        optimizer=partial(torch.optim.Adam, lr=EXACT_RATE), out=out / f"gaussian-{method}",
    )  # fmt: skip


def explore_mixture(method: str, size: Size, rate: float, seed: int, seeds: int, out: Path) -> pm.Front:
    """Explore the front of the network's problem."""
    return explore(
        mixture(), method, preferences=size.points, epochs=size.epochs, optimizer=one_cycle(rate, size),
        seed=seed, seeds=seeds, fleet=size.points, out=out,
    )  # fmt: skip


def best_loss(kl: float) -> float:
    """Return the known least loss of the reward on `mixture` at a divergence."""
    return float(np.interp(kl, *known_front(mixture()).front.T))


def train_at_bound(method: str, front: pm.Front, size: Size, rate: float, out: Path) -> pm.Front:
    """Ask a front for the known best with a divergence at the bound, and train by its method what it answers."""
    answer = front.ask({"KL": BOUND, "reward": -best_loss(BOUND)})
    print(f"{method}: {answer.why}\n")
    return train_one(method, answer.preference, front.normalisation, size, rate, out)


def train_in_range(front: pm.Front, size: Size, rate: float, out: Path) -> pm.Front:
    """Train by EPO on the ray to the same place, in units of the range up to `NARROW` nats.

    In the units of the whole front, the bound is less than the least that noisy losses count as, .05 of their range.
    """
    units = front.normalisation
    assert units is not None
    units = Normalisation((units.ideal[0], best_loss(NARROW)), (NARROW, units.nadir[1]))
    inverse = 1 / units.apply(np.array([BOUND, best_loss(BOUND)]))
    return train_one("EPO", (inverse / inverse.sum()).tolist(), units, size, rate, out)


def train_one(
    method: str, preference: Any, units: Normalisation | None, size: Size, rate: float, out: Path
) -> pm.Front:
    """Train one preference of `mixture` with all seeds, in given units."""
    return explore(
        mixture(), method, preferences=[preference], epochs=size.epochs, optimizer=one_cycle(rate, size),
        seeds=size.seeds, normalise=units, out=out,
    )  # fmt: skip


def one_cycle(rate: float, size: Size) -> OneCycle:
    """Return the optimizer of `mixture`."""
    return OneCycle(rate, size.epochs * (NOISE["train"] // BATCH))


def tune(method: str, size: Size, out: Path) -> float:
    """Return the peak rate with the largest validation hypervolume on the tuning seed; a single one needs no trial."""
    if len(size.rates) == 1:
        return size.rates[0]
    volumes = {
        rate: explore_mixture(method, size, rate, TUNING, 1, out / "tuning" / f"{method}-{rate:g}").hypervolume() or 0.0
        for rate in size.rates
    }
    shown = ", ".join(f"{rate:g}: {volume:.3f}" for rate, volume in volumes.items())
    print(f"{method}: validation hypervolume by peak learning rate {shown}", file=sys.stderr, flush=True)
    return max(volumes, key=volumes.__getitem__)


def explore_all(size: Size, out: Path) -> tuple[dict[str, pm.Front], dict[str, pm.Front], dict[str, float]]:
    """Return the fronts of both problems by method, and the rates on the second."""
    (out / "tuning").mkdir(parents=True, exist_ok=True)
    exact = {method: explore_gaussian(method, size, out) for method in METHODS}
    rates = {method: tune(method, size, out) for method in METHODS}
    noisy = {
        method: explore_mixture(method, size, rates[method], 0, size.seeds, out / f"mixture-{method}")
        for method in METHODS
    }
    return exact, noisy, rates


def gaussian_table(fronts: dict[str, pm.Front]) -> str:
    """Return the table of the exact problem."""
    problem, rows = gaussian(), []
    for method, front in fronts.items():
        statuses = Counter(str(point.status) for point in front.points)
        shown = ", ".join(f"{n} {status}" for status, n in statuses.most_common())
        rows.append([method, *_cells(figures_by_seed(front, problem, "validate"), "{:.0e}"), shown])
    points = len(fronts["Linear"])
    rows.append(["known front, on the rays", *_cells([on_rays(problem, points)], "{:.0e}"), ""])
    return markdown([*COLUMNS, "status"], rows)


def mixture_table(fronts: dict[str, pm.Front], rates: dict[str, float]) -> str:
    """Return the table of the network's problem: means over the seeds, and the hypervolume paired with Linear's."""
    problem, rows = mixture(), []
    by_method = {method: figures_by_seed(front, problem, "test") for method, front in fronts.items()}
    for method, each in by_method.items():
        ours, linear = (np.array([f.hypervolume for f in of]) for of in (each, by_method["Linear"]))
        pair = compare_paired(ours, linear)
        verdict = "" if method == "Linear" else f"{pair.difference:+.4f} ± {pair.half_width or 0:.4f} {pair.verdict}"
        rows.append([method, *_cells(each), f"{rates[method]:g}", verdict])
    points = len(fronts["Linear"].by_seed()[0])
    rows.append(["known front, on the rays", *_cells([on_rays(problem, points)]), "", ""])
    return markdown([*COLUMNS, "rate", "to Linear's hypervolume"], rows)


def _cells(each: Sequence[Figures], nats: str = "{:.4f}") -> list[str]:
    """Format a row of figures: means over the seeds, of some with the 95 % interval; the least excess of all seeds."""
    values = np.array(each)
    half = interval_half_width(values)
    hypervolume, distance, mean, worst, _, angle = values.mean(axis=0).tolist()
    shown = [f"{hypervolume:.4f}", f"{distance:.4f}", nats.format(mean)]
    if half is not None:
        shown = [f"{text} ± {error:.4f}" for text, error in zip(shown, half.tolist(), strict=False)]
    return [*shown, nats.format(worst), nats.format(values[:, 4].min()), f"{angle:.2f}"]


def ends_table(exact: pm.Front, noisy: pm.Front) -> str:
    """Return the table of the ends: each objective trained alone, means over the seeds, and what is known."""
    rows = []
    for name, front, problem, split in (
        ("gaussian", exact, gaussian(), "validate"), ("mixture", noisy, mixture(), "test"),
    ):  # fmt: skip
        known = known_front(problem)
        for k, alone in enumerate(front.names):
            reached = np.mean([p.losses[split] for p in front.corners if p.corner == alone], axis=0)
            end = known.ideal[0], known.nadir[1], known.nadir[0], known.ideal[1]
            rows.append([
                name, alone, f"{reached[0]:.4f}", f"{end[2 * k]:.4f}", f"{-reached[1]:.4f}", f"{-end[2 * k + 1]:.4f}"
            ])  # fmt: skip
    return markdown(["problem", "trained alone", "KL", "known", "reward", "known"], rows)


def choice_table(fronts: dict[str, pm.Front]) -> str:
    """Return the table of the choices, each the best mean reward within the bound, else the nearest to it; on test."""
    rows = []
    for method, front in fronts.items():
        mean = front.mean()
        k = int(np.argmax(np.where(mean.values[:, 0] <= BOUND, 1e6 + mean.values[:, 1], -mean.values[:, 0])))
        replicates = [p.values["test"] for p in front.points if p.preference == mean.points[k].preference]
        values, half = np.mean(replicates, axis=0), interval_half_width(np.array(replicates))
        errors = ["", ""] if half is None else [f" ± {error:.4f}" for error in half]
        rows.append([
            method, mean.points[k].id, "yes" if mean.values[k, 0] <= BOUND else "no", f"{values[0]:.4f}{errors[0]}",
            f"{values[1]:.4f}{errors[1]}", f"{-best_loss(values[0]):.4f}",
        ])  # fmt: skip
    best = f"{-best_loss(BOUND):.4f}"
    rows.append(["known front", "", "yes", f"{BOUND:.4f}", best, best])
    return markdown(["method", "model", f"KL ≤ {BOUND:g}", "KL", "reward", "best at this KL"], rows)


def main(arguments: list[str] | None = None) -> int:
    """Explore, say whether there is a trade-off, choose, print the tables, draw."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.imitation_reward", description="Imitation against reward, beside the known front."
    )
    parser.add_argument("--size", choices=list(SIZES), default="demo")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the fronts and the figure")
    options = parser.parse_args(arguments)
    size = SIZES[options.size]
    exact, noisy, rates = explore_all(size, options.out)
    for name, front in (("mixture, Linear", noisy["Linear"]), ("mixture, EPO", noisy["EPO"])):
        print(f"{name}: {front.tradeoff().why}\n")
    print(gaussian_table(exact), end="\n\n")
    print(mixture_table(noisy, rates), end="\n\n")
    print(ends_table(exact["EPO"], noisy["Linear"]), end="\n\n")
    asked = {
        f"{method}, asked": train_at_bound(method, front, size, rates[method], options.out / f"mixture-{method}-asked")
        for method, front in noisy.items()
    }
    narrow = train_in_range(noisy["EPO"], size, rates["EPO"], options.out / "mixture-EPO-narrow")
    print(choice_table({**noisy, **asked, f"EPO, in a range of {NARROW:g} nats": narrow}), end="\n\n")
    for method, front in noisy.items():
        print(f"{method}: {choose_why(front)}\n")
    draw(exact, noisy, options.out / "imitation-reward.svg")
    return 0


def choose_why(front: pm.Front) -> str:
    """Return the reason of a front's choice."""
    try:
        return front.select(best="reward", subject_to={"KL": BOUND}).why
    except pm.NoFeasiblePoint as error:
        return str(error)


def draw(exact: dict[str, pm.Front], noisy: dict[str, pm.Front], path: Path) -> None:
    """Draw both fronts beside what is known, and samples of three generators over the density of the data."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "paretomtl", "font.size": 8}):
        figure = Figure(figsize=(7.6, 5.6), layout="constrained")
        grid = figure.add_gridspec(2, 6, height_ratios=[1.2, 1])
        left, right = (figure.add_subplot(grid[0, part]) for part in (slice(3), slice(3, 6)))
        draw_fronts(left, exact, known_front(gaussian()))
        left.set_title("Gaussian, affine generator")
        left.legend(frameon=False, loc="lower right")
        draw_fronts(right, noisy, known_front(mixture()))
        right.set_title("mixture, network")
        draw_samples([figure.add_subplot(grid[1, k : k + 2]) for k in (0, 2, 4)], noisy["Linear"])
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else {})  # no time: equal bytes


def draw_fronts(axes: Any, fronts: dict[str, pm.Front], known: pm.Truth) -> None:
    """Draw the mean fronts of the methods over the known front, and what is out of reach."""
    kl, reward = known.front[::50].T * [[1], [-1]]
    axes.plot(kl, reward, color="black", lw=0.9, label="known front")
    axes.fill_between(kl, reward, 0.25, color="#eeeeee", lw=0, zorder=0)
    for (method, front), marker in zip(fronts.items(), "o^s", strict=True):
        values = front.mean().values
        axes.plot(values[:, 0], values[:, 1], marker, color=COLOURS[method], ms=4, mfc="none", label=method)
    axes.set(xlabel="KL from the data [nats]", ylabel="mean reward")
    axes.set(xlim=(-0.1, 1.03 * known.nadir[0]), ylim=(-1.05 * known.nadir[1], 0.25))
    axes.text(0.05, 0.93, "no generator", transform=axes.transAxes, color="#777777")


@torch.no_grad()
def draw_samples(panels: Sequence[Any], front: pm.Front) -> None:
    """Draw samples of three of the first seed's generators: the least KL, the middle, the best reward."""
    first = sorted(front.by_seed()[0].points, key=lambda point: point.values["test"][0])
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-3, 3, 61)] * 2, indexing="xy"), dim=-1)
    density = THREE.data.log_density(grid).exp().numpy()
    z = torch.randn(600, 2, generator=torch.Generator().manual_seed(1))
    for axes, point in zip(panels, (first[0], first[len(first) // 2], first[-1]), strict=True):
        x, _ = front.load_model(point, Triangular)(z)
        axes.contourf(grid[..., 0], grid[..., 1], density, levels=np.linspace(0.01, density.max(), 8), cmap="Blues")
        axes.plot(*x.T, ".", color="#222222", ms=1.6, alpha=0.6, rasterized=True)
        axes.plot(*THREE.target, "*", color="#d55e00", ms=9, mec="white", mew=0.6)
        kl, reward = point.values["test"]
        axes.set(title=f"KL {kl:.2f} nats, reward {reward:.2f}", aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
        axes.set(xlim=(-2.7, 2.9), ylim=(-2.3, 2.7))


if __name__ == "__main__":
    # imported by its real name, under which workers find functions that cannot travel by value
    from studies.imitation_reward import main as run

    raise SystemExit(run())

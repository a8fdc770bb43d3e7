"""FairGrad's toy: where alpha takes two losses of unequal scale, from five starts in the plane.

    python -m studies.fairgrad_toy

It takes a minute or two. The losses are those of CAGrad's toy (Liu et al., NeurIPS 2021), the first one divided by ten
as in FAMO's release (Liu et al., NeurIPS 2023). Above y = 0 each has a logarithmic valley, steep and narrow; below,
they are quadratics with different centres, between which the front lies. The direction is J'w with FairGrad's own
weights, neither multiplied by m nor clipped; the optimizer is Adam at 5e-3.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points.score import distinct_front

STARTS = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
ALPHAS = (0.0, 1.0, 2.0, 10.0)
STEPS, EVERY = 15_000, 25  # steps of a run, and between the stored places
LEARNING_RATE = 5e-3
RANGE = np.array([2.0, 20.0])  # the losses' range along the front
NEAR = 1e-3  # share of the range: closer places are on the front
LOWEST = 5e-6  # the least argument of the logarithm
SHARE = 0.1  # the factor of the first loss

# End points of an independent implementation, for comparison; None is off the front.
REFERENCE = {
    0.0: ((-0.38, -19.83), (-0.38, -19.83), None, (-0.38, -19.83), (-0.38, -19.83)),
    1.0: ((-0.81, -19.0), (-1.51, -15.1), (-1.91, -7.9), (-0.84, -19.0), (-1.97, -4.7)),
    2.0: ((-0.51, -19.7), (-1.90, -8.2), (-1.96, -5.3), (-0.71, -19.3), (-1.99, -2.5)),
    10.0: ((-0.54, -19.6), (-2.0, -2.1), (-1.99, -2.2), (-0.61, -19.5), (-2.0, -0.7)),
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000")  # Okabe and Ito's, told apart by all
MARKERS = ("o", "s", "^", "D", "v")
GREY = "#aaaaaa"


class Paths(NamedTuple):
    """Runs from several starts: the places every `EVERY` steps from the start on, and their losses."""

    places: Float[np.ndarray, "times points 2"]
    losses: Float[np.ndarray, "times points 2"]


class Run(NamedTuple):
    """The runs of one alpha from all starts."""

    alpha: float
    places: Float[np.ndarray, "times points 2"]
    losses: Float[np.ndarray, "times points 2"]


def losses(x: Float[Tensor, "*points 2"], share: float = SHARE) -> Float[Tensor, "*points 2"]:
    """Return both losses at places (x, y), the first one times `share`."""
    x, y = x.unbind(dim=-1)
    above, below = (y / 2).tanh().clamp(min=0), (-y / 2).tanh().clamp(min=0)
    valleys = [(-x - 7) / 2 + y.tanh(), (-x + 3) / 2 + y.tanh() + 2]
    first, second = (
        above * (valley.abs().clamp(min=LOWEST).log() + 6)
        + below * (((x - centre) ** 2 + 0.1 * (y + 8) ** 2) / 10 - 20)
        for valley, centre in zip(valleys, (7, -7), strict=True)
    )
    return torch.stack([share * first, second], dim=-1)


def jacobian(x: Float[Tensor, "points 2"], share: float = SHARE) -> Float[Tensor, "points 2 2"]:
    """Return the gradients of both losses, a row each."""
    twice = x.detach().expand(2, *x.shape).clone().requires_grad_()  # a copy a loss: one backward pass for both
    values = losses(twice, share)
    (rows,) = torch.autograd.grad(values[0, :, 0].sum() + values[1, :, 1].sum(), twice)
    return rows.swapaxes(0, 1)


def run(alpha: float, starts: Sequence[tuple[float, float]], steps: int) -> Run:
    """Run one alpha from all starts at once."""
    return Run(alpha, *descend(ps.FairGrad(alpha=alpha), starts, steps))


def descend(
    solver: pm.Weighting | pm.Scalarization,
    starts: Sequence[tuple[float, float]],
    steps: int,
    share: float = SHARE,
    learning_rate: float = LEARNING_RATE,
) -> Paths:
    """Take a method's steps from all starts at once, at an even preference."""
    x = torch.tensor(starts, dtype=torch.float64)
    optimizer = torch.optim.Adam([x], lr=learning_rate)
    state = solver.init(_sweep(len(starts), steps))
    preference = torch.full_like(x, 0.5)
    places = [x.clone()]
    for step in range(1, steps + 1):
        rows = jacobian(x, share)
        given = [losses(x, share), rows @ rows.mT, preference]
        if isinstance(solver, pm.Scalarization):
            del given[1]
        weights, state, _ = solver.update(state, *given)
        x.grad = (weights[:, None] @ rows)[:, 0]
        optimizer.step()
        if step % EVERY == 0:
            places.append(x.clone())
    path = torch.stack(places)
    return Paths(path.numpy(), losses(path, share).numpy())


def _sweep(points: int, steps: int) -> pm.Sweep:
    """Return a study of an even preference from several starts, for methods that draw."""
    generators = tuple(torch.Generator().manual_seed(k) for k in range(points))
    even = torch.full((1, 2), 0.5, dtype=torch.float64)
    return pm.Sweep(even, torch.zeros(points, dtype=torch.int64), steps, True, generators)


def front() -> Float[np.ndarray, "N 2"]:
    """Return the front's losses, from a grid of places around it."""
    x, y = np.meshgrid(np.linspace(-7.5, 7.5, 3001), np.linspace(-8.5, -8.3, 21), indexing="ij")
    return distinct_front(losses(torch.from_numpy(np.stack([x.ravel(), y.ravel()], axis=1))).numpy())


def off_front(values: Float[np.ndarray, "*points 2"]) -> Float[np.ndarray, "*points"]:
    """Return the distance to the front, of losses scaled by their range."""
    known = front() / RANGE
    flat = values.reshape(-1, 2) / RANGE
    return np.array([np.linalg.norm(known - one, axis=1).min() for one in flat]).reshape(values.shape[:-1])


def arrivals(trajectory: Run) -> list[int | None]:
    """Return the first stored step at which each start is on the front; None where it never is."""
    near = off_front(trajectory.losses) <= NEAR
    return [int(np.argmax(one)) * EVERY if one.any() else None for one in near.T]


def table(runs: Sequence[Run]) -> str:
    """Return the table of the end points, beside another implementation's."""
    lines = [
        f"| alpha | start | on the front at step | losses there | losses after {EVERY * (len(runs[0].losses) - 1):,} "
        "| reference |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for trajectory in runs:
        for k, (start, at) in enumerate(zip(STARTS, arrivals(trajectory), strict=True)):
            at_arrival = "" if at is None else _format_pair(trajectory.losses[at // EVERY, k])
            step = "never" if at is None else f"{at:,}"
            other = REFERENCE[trajectory.alpha][k]
            cells = [
                f"{trajectory.alpha:g}",
                f"({start[0]:g}, {start[1]:g})",
                step,
                at_arrival,
                _format_pair(trajectory.losses[-1, k]),
            ]
            lines.append(f"| {' | '.join([*cells, 'off the front' if other is None else _format_pair(other)])} |")
    return "\n".join(lines)


def draw(runs: Sequence[Run], path: Path) -> None:
    """Draw the trajectories over the contours of the mean loss, a panel an alpha."""
    draw_panels([(f"alpha = {trajectory.alpha:g}", trajectory.places) for trajectory in runs], STARTS, path)


def draw_panels(
    panels: Sequence[tuple[str, np.ndarray]],
    starts: Sequence[tuple[float, float]],
    path: Path,
    share: float = SHARE,
    minimum: tuple[float, float] | None = None,
) -> None:
    """Draw four panels of trajectories over the contours of the mean loss, and its minimum if it is given."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with mpl.rc_context({"svg.hashsalt": "paretomtl", "font.size": 9, "path.simplify_threshold": 1.0}):
        figure = Figure(figsize=(7.0, 7.8), layout="constrained")
        grid = figure.subplots(2, 2, sharex=True, sharey=True)
        for axes, (title, places) in zip(grid.flat, panels, strict=True):
            _draw_panel(axes, title, places, share, minimum)
        for axes in grid[-1]:
            axes.set_xlabel("x")
        for axes in grid[:, 0]:
            axes.set_ylabel("y")
        handles = [
            Line2D([], [], color=colour, marker=marker, ms=6, label=f"from ({x:g}, {y:g})")
            for (x, y), colour, marker in zip(starts, COLOURS, MARKERS, strict=False)
        ]
        handles.append(Line2D([], [], color=GREY, lw=5, label="Pareto set"))
        handles.append(Line2D([], [], color=GREY, lw=0.6, label="contours of the mean loss"))
        handles.append(Line2D([], [], color=GREY, marker="o", mfc="white", ls="", label="start; filled: end"))
        if minimum is not None:
            handles.append(Line2D([], [], color="black", marker="*", ls="", ms=10, label="least mean loss"))
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        metadata = {"Date": None} if path.suffix == ".svg" else {}  # no time: equal bytes
        figure.savefig(path, dpi=130, metadata=metadata)


def _draw_panel(axes, title: str, places: np.ndarray, share: float, minimum: tuple[float, float] | None) -> None:
    ticks = np.linspace(-10, 10, 161)
    grid = torch.from_numpy(np.stack(np.meshgrid(ticks, ticks), axis=-1))
    axes.contour(ticks, ticks, losses(grid, share).mean(dim=-1), levels=14, colors=GREY, linewidths=0.4, linestyles="-")
    axes.plot([-7, 7], [-8.36, -8.36], color=GREY, lw=5, solid_capstyle="butt")
    if minimum is not None:
        axes.plot(*minimum, "*", color="black", ms=10, zorder=4)
    for k, (colour, marker) in enumerate(zip(COLOURS, MARKERS, strict=True)):
        if k >= places.shape[1]:
            break
        x, y = places[:, k].T
        axes.plot(x, y, color=colour, lw=1.2)
        axes.plot(x[0], y[0], marker, color=colour, mfc="white", ms=6)
        # lower markers are larger, so that all ends in one place show
        axes.plot(x[-1], y[-1], marker, color=colour, mec="white", mew=0.7, ms=15 - 2.5 * k, zorder=3)
    axes.set(title=title, xlim=(-10, 10), ylim=(-10, 10), aspect="equal")
    axes.set(xticks=range(-10, 11, 5), yticks=range(-10, 11, 5))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(prog="python -m studies.fairgrad_toy", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/fairgrad-toy.svg"), help="the figure, .svg or .png")
    options = parser.parse_args(arguments)
    runs = [run(alpha, STARTS, STEPS) for alpha in ALPHAS]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draw(runs, options.out)
    print(table(runs))
    return 0


def _format_pair(values: Sequence[float] | np.ndarray) -> str:
    return f"({values[0]:.2f}, {values[1]:.2f})"


if __name__ == "__main__":
    raise SystemExit(main())

"""RotoGrad's toy: two shifted non-convex losses of a representation in the plane; who brings both to their least.

    python -m studies.rotograd_toy

It takes a few minutes. The losses are those of RotoGrad's paper (Javaloy and Valera, ICLR 2022): "left" is least at
(1.5, 1.5) and "right" at (-1.5, -1.5), with local minima around them. The representation z is the parameters
themselves; the heads are the identity, are not trained, and turn with RotoGrad alone. As the two places are equally far
from the origin, one z is the best for both once a head has turned. Plain gradient descent takes the steps.

RotoGrad alone reaches both, from half of the starts; a local minimum of one loss holds the others. As the heads go on
turning, more steps change this both ways: by 8,000 another start stays at both, and one comes there and leaves again.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

import paretomtl as pm
import paretomtl_solvers as ps

SHIFTS = {"left": 1.5, "right": -1.5}
LEAST = -6.0  # of each loss
STARTS = 6
SPREAD = 0.5  # the starts' standard deviation about the origin
STEPS, EVERY = 4_000, 20  # steps of a run, and between the stored places
LEARNING_RATE, TURNING_RATE = 1e-3, 5e-3
NEAR = 0.5  # a loss closer to its least is there
METHODS: dict[str, pm.Solver] = {
    "gradient descent": ps.Linear(),
    "MGDA": ps.MGDA(),
    "PCGrad": ps.PCGrad(),
    "RotoGrad": ps.RotoGrad("trunk", ("left", "right"), learning_rate=TURNING_RATE),
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00")  # Okabe and Ito's, told apart by all
GREY = "#aaaaaa"


class Place(nn.Module):
    """A place in the plane as the output of a module."""

    def __init__(self, start: Sequence[float]):
        super().__init__()
        self.z = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self) -> Float[Tensor, " 2"]:
        """Return the place."""
        return self.z


class Model(nn.Module):
    """A representation, and a linear head for each loss, at first the identity."""

    def __init__(self, start: Sequence[float]):
        super().__init__()
        self.trunk = Place(start)
        self.left, self.right = (nn.Linear(2, 2, bias=False, dtype=torch.float64) for _ in SHIFTS)
        for head in (self.left, self.right):
            nn.init.eye_(head.weight)

    def views(self) -> dict[str, Float[Tensor, " 2"]]:
        """Return where each loss sees the representation."""
        z = self.trunk()
        return {"left": self.left(z), "right": self.right(z)}


class Run(NamedTuple):
    """The views of both losses every `EVERY` steps of a run, and the losses there."""

    views: Float[np.ndarray, "times 2 2"]
    losses: Float[np.ndarray, "times 2"]


def loss(view: Float[Tensor, "*places 2"], shift: float) -> Float[Tensor, "*places"]:
    """Return sum |x| - sin(3 x) / x over the coordinates of x = view - shift."""
    x = view - shift
    return (x.abs() - 3 * torch.sinc(3 * x / math.pi)).sum(dim=-1)


def starts() -> list[list[float]]:
    """Return the starts, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    return (SPREAD * torch.randn(STARTS, 2, generator=generator)).tolist()


def run(name: str, start: Sequence[float], steps: int) -> Run:
    """Train the representation from one start."""
    model = Model(start)
    step = pm.Descent(METHODS[name], dict.fromkeys(SHIFTS, 0.5), model=model)
    optimizer = torch.optim.SGD(model.trunk.parameters(), lr=LEARNING_RATE)

    def losses() -> dict[str, Tensor]:
        return {side: loss(view, SHIFTS[side]) for side, view in model.views().items()}

    views, values = [], []
    for k in range(steps + 1):
        if k % EVERY == 0:
            views.append(torch.stack(list(model.views().values())).detach())
            values.append(torch.stack(list(losses().values())).detach())
        model.zero_grad()
        step.backward(losses if isinstance(step.solver, pm.Stepper) else losses())
        optimizer.step()
    return Run(torch.stack(views).numpy(), torch.stack(values).numpy())


def table(runs: dict[str, list[Run]]) -> str:
    """Return the table of the ends, and how many starts end at the least of both losses."""
    lines = [
        "| method | " + " | ".join(f"from ({x:.2f}, {y:.2f})" for x, y in starts()) + " | at both |",
        "| --- | " + "--- | " * (STARTS + 1),
    ]
    for name, several in runs.items():
        ends = [found.losses[-1] for found in several]
        both = sum(bool((end <= LEAST + NEAR).all()) for end in ends)
        cells = [f"({left:.2f}, {right:.2f})" for left, right in ends]
        lines.append(f"| {name} | {' | '.join(cells)} | {both} of {len(ends)} |")
    return "\n".join(line.rstrip() for line in lines)


def draw(runs: dict[str, list[Run]], path: Path) -> None:
    """Draw where each loss sees the representation, over its contours: plain descent above, RotoGrad below."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with mpl.rc_context({"svg.hashsalt": "paretomtl", "font.size": 9, "path.simplify_threshold": 1.0}):
        figure = Figure(figsize=(7.0, 7.8), layout="constrained")
        panels = figure.subplots(2, 2, sharex=True, sharey=True)
        for row, name in zip(panels, ("gradient descent", "RotoGrad"), strict=True):
            for k, (axes, side) in enumerate(zip(row, SHIFTS, strict=True)):
                _draw_panel(axes, [found.views[:, k] for found in runs[name]], SHIFTS[side])
                axes.set_title(f"{name}, {side}")
        handles = [
            Line2D([], [], color="black", marker="*", ls="", ms=10, label="least loss"),
            Line2D([], [], color=GREY, lw=0.6, label="contours of the loss"),
            Line2D([], [], color=GREY, marker="o", mfc="white", ls="", label="start; filled: end"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        metadata = {"Date": None} if path.suffix == ".svg" else {}  # no time: equal bytes
        figure.savefig(path, dpi=130, metadata=metadata)


def _draw_panel(axes, paths: Sequence[np.ndarray], shift: float) -> None:
    ticks = np.linspace(-3, 3, 121)
    grid = torch.from_numpy(np.stack(np.meshgrid(ticks, ticks), axis=-1))
    axes.contour(ticks, ticks, loss(grid, shift), levels=14, colors=GREY, linewidths=0.4, linestyles="-")
    axes.plot(shift, shift, "*", color="black", ms=10, zorder=4)
    for colour, places in zip(COLOURS, paths, strict=True):
        axes.plot(*places.T, color=colour, lw=1.2)
        axes.plot(*places[0], "o", color=colour, mfc="white", ms=5)
        axes.plot(*places[-1], "o", color=colour, mec="white", mew=0.7, ms=7, zorder=3)
    axes.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(prog="python -m studies.rotograd_toy", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/rotograd-toy.svg"), help="the figure, .svg or .png")
    options = parser.parse_args(arguments)
    runs = {name: [run(name, start, STEPS) for start in starts()] for name in METHODS}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draw(runs, options.out)
    print(table(runs))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""CAGrad's toy: two losses of the plane whose mean has one least place; who reaches it from three starts.

    python -m studies.cagrad_toy

It takes some ten minutes. The losses are those of CAGrad's paper (Liu et al., NeurIPS 2021): as FairGrad's toy, both of
one scale. All methods have an even preference and Adam at 1e-3; CAGrad has c = .5.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import paretomtl as pm
import paretomtl_solvers as ps
from studies.fairgrad_toy import EVERY, Paths, descend, draw_panels

STARTS = ((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0))
BEST = (0.0, -8.36)  # the least mean loss
STEPS, LEARNING_RATE = 150_000, 1e-3
SHARE = 1.0  # of the first loss
NEAR = 0.1  # of `BEST`: closer places are there
METHODS: dict[str, pm.Weighting | pm.Scalarization] = {
    "gradient descent": ps.Linear(),
    "PCGrad": ps.PCGrad(),
    "MGDA": ps.MGDA(),
    "CAGrad": ps.CAGrad(c=0.5),
}


def run(name: str, starts: Sequence[tuple[float, float]], steps: int) -> Paths:
    """Run one method from all starts at once."""
    return descend(METHODS[name], starts, steps, SHARE, LEARNING_RATE)


def arrivals(paths: Paths) -> list[int | None]:
    """Return the first stored step from which each start stays at the least mean loss; None where it does not."""
    near = np.linalg.norm(paths.places - np.array(BEST), axis=2) <= NEAR
    stays = np.flip(np.logical_and.accumulate(np.flip(near, 0), axis=0), 0)
    return [int(np.argmax(one)) * EVERY if one.any() else None for one in stays.T]


def table(runs: dict[str, Paths]) -> str:
    """Return the table of the end points."""
    lines = [
        "| method | start | at the least mean loss from step | end | mean loss there |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, paths in runs.items():
        for k, (start, at) in enumerate(zip(STARTS, arrivals(paths), strict=True)):
            x, y = paths.places[-1, k]
            step = "never" if at is None else f"{at:,}"
            mean = paths.losses[-1, k].mean()
            lines.append(f"| {name} | ({start[0]:g}, {start[1]:g}) | {step} | ({x:.2f}, {y:.2f}) | {mean:.2f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(prog="python -m studies.cagrad_toy", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/cagrad-toy.svg"), help="the figure, .svg or .png")
    options = parser.parse_args(arguments)
    runs = {name: run(name, STARTS, STEPS) for name in METHODS}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draw_panels([(name, paths.places) for name, paths in runs.items()], STARTS, options.out, SHARE, BEST)
    print(table(runs))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

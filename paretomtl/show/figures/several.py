"""Several fronts in one figure: what each attains; with several seeds the median, and a band from best to worst."""

import csv
import io
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from paretomtl.points import score
from paretomtl.points.points import Points
from paretomtl.show.figures import matrix, pair, view
from paretomtl.show.figures.facts import attained_border, axis_labels
from paretomtl.show.figures.ink import DARK, GREY, wrap_label
from paretomtl.storage.table import escape_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Okabe and Ito's colours without yellow, which is too pale on white; dashes and markers tell them apart in grey.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (7, 1.5, 1.5, 1.5)))
MARKERS = "osD^vP*X"
SEED_PERCENTAGES = {"median": 50.0, "best": 0.0, "worst": 100.0}  # least percentage of the seeds; 0 means a single seed
ATTAINED = "attained"


class OneFront(NamedTuple):
    """One of the fronts.

    ids, seeds, losses: of its points, one seed after the other.
    nondominated: marks the points that no other of the same seed dominates.
    surfaces: for two objectives, what the front attains, as staircases by name: "attained", or LEVELS of several seeds.
    half_width: half of the 95 % confidence interval of the mean hypervolume over the seeds.
    """

    name: str
    ids: tuple[str, ...]
    seeds: tuple[int, ...]
    losses: Float[np.ndarray, "n m"]
    nondominated: Bool[np.ndarray, " n"]
    surfaces: dict[str, Float[np.ndarray, "_ 2"]]
    hypervolume: float | None
    half_width: float | None

    @property
    def n_seeds(self) -> int:
        """Number of seeds with a point."""
        return len(set(self.seeds))


class SeveralFronts(NamedTuple):
    """All that the figure shows."""

    labels: tuple[str, ...]
    names: tuple[str, ...]
    fronts: tuple[OneFront, ...]
    ref_point: tuple[float, ...]

    def ends(self) -> Float[np.ndarray, "2 m"]:
        """Return the smallest and the largest loss of each objective, over all fronts."""
        losses = np.vstack([one.losses for one in self.fronts])
        return np.stack([losses.min(axis=0), losses.max(axis=0)])


def collect_fronts(fronts: Mapping[str, Points]) -> SeveralFronts:
    """Collect what to draw of several fronts, from the validation losses.

    Raises:
        ValueError: there is no front, or two fronts are of different problems.
        EmptyFrontError: a front has no point.
    """
    if not isinstance(fronts, Mapping):
        raise TypeError(f"fronts is a {type(fronts).__name__}; give a dict of fronts by name")
    if not fronts:
        raise ValueError("fronts is empty; give at least one")
    for (name, one), (other, two) in itertools.combinations(fronts.items(), 2):
        try:
            one.check_alike(two)
        except ValueError as error:
            raise ValueError(f"fronts {name!r} (here) and {other!r} (the other): {error}") from error
    losses = [score.check_losses(front.losses, f"fronts[{name!r}]") for name, front in fronts.items()]
    first = next(iter(fronts.values()))
    far = np.vstack([*losses, first.ref_point]).max(axis=0)
    front_facts = tuple(_collect_one(name, front, far) for name, front in fronts.items())
    return SeveralFronts(axis_labels(first), first.names, front_facts, first.ref_point)


def _collect_one(name: str, front: Points, far: np.ndarray) -> OneFront:
    parts, figures = [part for part in front.by_seed() if part.points], front.score()
    points = [p for part in parts for p in part.points]
    losses = [part.losses for part in parts]
    surfaces = {}
    if len(front.names) == 2:
        levels = {ATTAINED: 100.0} if len(parts) == 1 else SEED_PERCENTAGES
        corner_sets = score.attainment(losses, [*levels.values()])
        surfaces = {level: attained_border(corners, far) for level, corners in zip(levels, corner_sets, strict=True)}
    return OneFront(
        name,
        tuple(p.id for p in points),
        tuple(p.seed for p in points),
        np.vstack(losses),
        np.concatenate([score.is_nondominated(part) for part in losses]),
        surfaces,
        figures.hypervolume,
        figures.hypervolume_interval,
    )


def fronts_csv(facts: SeveralFronts) -> str:
    """Format the facts as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["front", "mark", "id", "seed", *map(escape_cell, facts.names)])
    for one in facts.fronts:
        name = escape_cell(one.name)
        for id, seed, losses, is_front in zip(one.ids, one.seeds, one.losses.tolist(), one.nondominated, strict=True):
            writer.writerow([name, "front" if is_front else "dominated", id, seed, *losses])
        for level, steps in one.surfaces.items():
            writer.writerows([name, level, "", "", *row] for row in steps.tolist())
    writer.writerow(["", "reference", "", "", *facts.ref_point])
    return out.getvalue()


def draw(facts: SeveralFronts, width: float | None = None) -> "Figure":
    """Draw the plane of two objectives; for more, a panel a pair, with the points alone."""
    m, ends, reference = len(facts.names), facts.ends(), facts.ref_point
    if m == 2 and not view.is_reference_near(ends, reference).all():
        reference = tuple(ends[1].tolist())  # a single panel shows the reference only if both axes reach it
    limits = view.axis_limits(ends, reference)
    if m == 2:
        figure, axes = pair.empty_plane(width)
        axes.set(xlim=limits[0], ylim=limits[1], xlabel=facts.labels[0], ylabel=facts.labels[1])
        panels = {(0, 1): axes}
    else:
        figure, panels = matrix.empty_triangle(facts.labels, limits, width)
    size = 4.5 if m == 2 else 0.9 * matrix.marker_size(facts.names)
    room = width - 0.6 if width is not None and view.is_narrow(width) else 2.4  # inches for a line of the legend
    for place, axes in panels.items():
        _draw_panel(axes, facts, list(place), size, room)
    view.draw_legend(figure, width, loc="outside right upper" if m == 2 else "upper right")
    return figure


def _draw_panel(axes, facts: SeveralFronts, pair: list[int], size: float, room: float) -> None:
    for k, one in enumerate(facts.fronts):
        color, marker, dashes = COLORS[k % len(COLORS)], MARKERS[k % len(MARKERS)], DASHES[k % len(DASHES)]
        if "best" in one.surfaces:
            band = np.vstack([one.surfaces["best"], one.surfaces["worst"][::-1]])
            axes.fill(*band.T, facecolor=color, alpha=0.16, lw=0, zorder=1)
        for steps in (one.surfaces.get(name) for name in (ATTAINED, "median")):
            if steps is not None:
                axes.plot(*steps.T, color=color, ls=dashes, lw=1.4, zorder=2)
        many = one.n_seeds > 1 and bool(one.surfaces)  # with several seeds the median matters most
        style = {"ls": "none", "marker": marker, "color": color, "zorder": 3}
        style |= {"ms": 0.7 * size, "alpha": 0.5, "mew": 0} if many else {"ms": size, "mew": 0.6}
        axes.plot(*one.losses[one.nondominated][:, pair].T, **style)
        axes.plot(*one.losses[~one.nondominated][:, pair].T, **style | {"mfc": "none", "mew": 0.6, "ms": 0.6 * size})
        axes.plot(
            [], [], color=color, marker=marker, ms=size, ls=dashes if one.surfaces else "none", label=_label(one, room)
        )
    if any("best" in one.surfaces for one in facts.fronts):
        axes.plot([], [], color=DARK, lw=1.4, label="line: median of the seeds")
        axes.fill([], [], facecolor=GREY, alpha=0.4, lw=0, label="band: best to worst seed")
    if not all(one.nondominated.all() for one in facts.fronts):
        axes.plot([], [], "o", mec=DARK, mfc="none", mew=0.6, ms=0.6 * size, label="dominated")
    label = view.reference_label(facts.ends(), facts.ref_point)
    label = label.replace("some", "the") if len(facts.names) == 2 else label
    matrix.draw_reference(axes, facts.ref_point, pair, size, label)


def _label(one: OneFront, room: float) -> str:
    """Label a front: its name, its hypervolume, and the number of seeds behind it."""
    volume = "no hypervolume" if one.hypervolume is None else f"hypervolume {one.hypervolume:.4g}"
    volume += "" if one.half_width is None else f" ± {one.half_width:.2g}"
    return f"{wrap_label(one.name, room)}\n{volume}" + (f", {one.n_seeds} seeds" if one.n_seeds > 1 else "")

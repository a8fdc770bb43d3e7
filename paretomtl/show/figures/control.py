"""The requested rays against the losses reached."""

import csv
import io
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from paretomtl.point import Point
from paretomtl.points import score
from paretomtl.points.points import Points
from paretomtl.preference import control_error, ray
from paretomtl.show.figures import view
from paretomtl.show.figures.facts import axis_labels, check_chosen
from paretomtl.show.figures.ink import BLUE, DARK, GREY, ORANGE, point_number, wrap_label
from paretomtl.storage.table import escape_cell

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


LEAST_PANEL = 1.0  # inches, the least size of a panel
OVERLAP = 0.06  # share of an axis: numbers nearer than this would overlap


class Control(NamedTuple):
    """All that the figure shows of every model; with several seeds a preference has several models.

    rays, shares: each loss as a share of the sum of losses, on the requested ray and at the point; both sum to 1. They
        are in units of what there is to gain, if the study's preferences are.
    errors: degrees between the two.
    """

    labels: tuple[str, ...]
    names: tuple[str, ...]
    ids: tuple[str, ...]
    chosen: str | None
    rays: Float[np.ndarray, "n m"]
    shares: Float[np.ndarray, "n m"]
    errors: Float[np.ndarray, " n"]
    units: str

    def angles(self) -> Float[np.ndarray, "2 n"]:
        """Return, for two objectives, the degrees from the first one's axis to the rays and to the points."""
        return np.stack([np.degrees(np.arctan2(*rows.T[::-1])) for rows in (self.rays, self.shares)])


def collect_control(front: Points, chosen: Point | None = None) -> Control:
    """Collect what to draw of a front, from the validation losses.

    Raises:
        EmptyFrontError: there is no point.
        ValueError: a point has no preference, or a loss is negative.
    """
    losses = score.check_losses(front.losses)
    if front.normalisation is not None:  # a point may lie below an ideal by its noise
        losses = np.maximum(front.normalised(losses), 0)
    check_chosen(front, chosen)
    without_ray = next((p.id for p in front.points if not p.preference), None)
    if without_ray is not None:
        raise ValueError(
            f"kind='control' needs the requested preferences, and {without_ray} has none; give preferences= to "
            "Front.from_values"
        )
    for k, i in np.argwhere(losses < 0):
        raise ValueError(
            f"kind='control' is for losses of at least 0, as rays are; {front.points[k].id} has {losses[k, i]:g} in "
            f"{front.names[i]!r}"
        )
    preferences = front.preferences
    rays, total = ray(preferences), losses.sum(axis=1, keepdims=True)
    return Control(
        axis_labels(front),
        front.names,
        tuple(p.id for p in front.points),
        None if chosen is None else chosen.id,
        rays,
        np.where(total > 0, losses / np.where(total > 0, total, 1), rays),  # a point without any loss is on every ray
        control_error(losses, preferences),
        "" if front.normalisation is None else "losses from ideal to nadir",
    )


def control_csv(facts: Control) -> str:
    """Format the facts as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    angles = facts.angles().T if len(facts.names) == 2 else np.empty((len(facts.ids), 0))
    heads = [f"{word} {name}" for word in ("asked", "reached") for name in facts.names]
    writer.writerow(["mark", "id", *heads, *(["angle asked", "angle reached"] if angles.size else []), "control_error"])
    rows = np.hstack([facts.rays, facts.shares, angles, facts.errors[:, None]]).tolist()
    for id, row in zip(facts.ids, rows, strict=True):
        writer.writerow(["chosen" if id == facts.chosen else "point", escape_cell(id), *row])
    return out.getvalue()


def draw(facts: Control, width: float | None = None) -> "Figure":
    """Draw the angles of two objectives; for more, a panel an objective with its share of the losses."""
    return _draw_angles(facts, width) if len(facts.names) == 2 else _draw_shares(facts, width)


def _draw_angles(facts: Control, width: float | None) -> "Figure":
    from matplotlib.figure import Figure

    inches = width or 4.8
    figure = Figure(figsize=(inches, 0.92 * inches), layout="constrained")
    axes = figure.subplots()
    ray_angles, loss_angles = facts.angles()
    _draw_diagonal(axes, ray_angles, loss_angles)
    axes.vlines(ray_angles, ray_angles, loss_angles, color=ORANGE, lw=1, zorder=2, label="control error")
    axes.plot(ray_angles, loss_angles, "o", color=BLUE, ms=5, mew=0, zorder=3, label=_summarise(facts))
    _draw_chosen(axes, facts, ray_angles, loss_angles)
    for id, x, y in _number_points(facts, ray_angles, loss_angles):
        axes.annotate(id, (x, y), xytext=(6, -9), textcoords="offset points", fontsize=7.5, color=DARK)
    x_label, y_label = (
        wrap_label(f"{word}: degrees from {facts.names[0]}'s axis", 0.8 * inches) for word in ("asked", "reached")
    )
    axes.set(xlabel=x_label, ylabel=y_label)
    view.draw_legend(figure, width)
    return figure


def _number_points(facts: Control, x: np.ndarray, y: np.ndarray) -> list[tuple[str, float, float]]:
    """Return the points' numbers and places; none if some would overlap, as with several seeds."""
    places = np.stack([x, y], axis=1)
    distances = np.abs(places[:, None] - places[None]).max(axis=2) / max(np.ptp(places), 1e-9)
    if (distances[np.triu_indices(len(x), 1)] < OVERLAP).any():
        return []
    return list(zip(map(point_number, facts.ids), x.tolist(), y.tolist(), strict=True))


def _draw_shares(facts: Control, width: float | None) -> "Figure":
    from matplotlib.figure import Figure

    m, narrow = len(facts.names), view.is_narrow(width)
    across = min(m, 2 if narrow else 3)
    down = -(-m // across)
    inches = width or 7.2
    side = (inches - (0.1 if narrow else 0.9)) / across  # the colour scale goes below, or beside
    view.check_room(side, LEAST_PANEL, f"each of {across} panels in a row", inches)
    titles = [wrap_label(label, side - 0.3) for label in facts.labels]
    high = side + 0.35 + 0.2 * max(title.count("\n") for title in titles)
    figure = Figure(figsize=(inches, high * down + (0.6 if narrow else 0)), layout="compressed")
    panels, scatter = figure.subplots(down, across, squeeze=False).flatten(), None
    for axes in panels[m:]:
        axes.remove()
    scale = {"vmin": 0, "vmax": max(facts.errors.max(), 1e-9), "cmap": _colors()}
    for i, axes in enumerate(panels[:m]):
        x, y = 100 * facts.rays[:, i], 100 * facts.shares[:, i]
        _draw_diagonal(axes, x, y)
        scatter = axes.scatter(x, y, c=facts.errors, s=18, lw=0, zorder=3, **scale)
        axes.plot([], [], "o", color=DARK, ms=4, mew=0, label=_summarise(facts))
        _draw_chosen(axes, facts, x, y)
        axes.set_title(titles[i], fontsize="medium")
        axes.locator_params(nbins=4 if side > 1.5 else 3)
        if i + across >= m:
            axes.set_xlabel("share asked [%]")
        if i % across == 0:
            axes.set_ylabel("share reached [%]")
    assert scatter is not None
    bar: dict[str, Any] = {"location": "bottom", "aspect": 40} if narrow else {"aspect": 30}
    figure.colorbar(scatter, ax=figure.axes, label="control error [degrees]", **bar)
    view.draw_legend(figure, width)
    figure.draw_without_rendering()  # square panels find their places at the second drawing
    return figure


def _colors() -> "Colormap":
    """Return colours that darken with the error, without the end that is too pale on white."""
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap

    return ListedColormap(mpl.colormaps["viridis_r"](np.linspace(0.15, 1, 128)))


def _draw_diagonal(axes, x: np.ndarray, y: np.ndarray) -> None:
    """Draw the line on which the ray is met, and set equal axes around all points."""
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    margin = 0.08 * (high - low) or 1.0
    axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal")
    axes.axline((low, low), slope=1, color=GREY, lw=0.9, ls=(0, (6, 3)), zorder=1, label="reached as asked")


def _draw_chosen(axes, facts: Control, x: np.ndarray, y: np.ndarray) -> None:
    if facts.chosen is not None:
        k = facts.ids.index(facts.chosen)
        axes.plot(
            x[k],
            y[k],
            "o",
            ms=11,
            mfc="none",
            mec=ORANGE,
            mew=1.6,
            zorder=4,
            clip_on=False,
            label=f"chosen: {facts.chosen}",
        )


def _summarise(facts: Control) -> str:
    worst = int(np.argmax(facts.errors))
    units = facts.units and f"\n{facts.units}"
    return (
        f"mean control error {facts.errors.mean():.2g}°\nworst {facts.errors[worst]:.2g}° ({facts.ids[worst]}){units}"
    )

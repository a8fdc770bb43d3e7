"""What was asked for against what was reached: the ray of each preference, and the losses where it ended."""

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
from paretomtl.show.figures.facts import axis_labels
from paretomtl.show.figures.ink import BLUE, DARK, GREY, ORANGE, point_number, wrap_label
from paretomtl.storage.table import escape_formula

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


LEAST = 1.0  # inches of a panel
CLOSE = 0.06  # of the axes: nearer to one another than this, numbers would overlap


class Control(NamedTuple):
    """All that the figure shows, of every model; of several seeds there are several to a preference.

    asked, reached: the shares of the losses in their sum, on the ray and where each point ended; both sum to 1.
    errors: degrees between the two.
    """

    labels: tuple[str, ...]
    names: tuple[str, ...]
    ids: tuple[str, ...]
    chosen: str | None
    asked: Float[np.ndarray, "n m"]
    reached: Float[np.ndarray, "n m"]
    errors: Float[np.ndarray, " n"]

    def angles(self) -> Float[np.ndarray, "2 n"]:
        """Of two objectives, the degrees between the first one's axis and what was asked, and what was reached."""
        return np.stack([np.degrees(np.arctan2(*shares.T[::-1])) for shares in (self.asked, self.reached)])


def collect_control(front: Points, chosen: Point | None = None) -> Control:
    """What there is to draw of a front, on the validation losses.

    Raises:
        EmptyFrontError: there is no point.
        ValueError: a point was asked for nothing, or a loss is negative.
    """
    losses = score.check_losses(front.losses)
    if chosen is not None and chosen.id not in {p.id for p in front.points}:
        raise ValueError(f"{chosen.id} is not a point of this front")
    unasked = next((p.id for p in front.points if not p.preference), None)
    if unasked is not None:
        raise ValueError(
            f"kind='control' compares with what was asked for, which is not known of {unasked}; give preferences= to "
            "Front.from_values"
        )
    for k, i in np.argwhere(losses < 0):
        raise ValueError(
            f"kind='control' is for losses of at least 0, as rays are; {front.points[k].id} has {losses[k, i]:g} in "
            f"{front.names[i]!r}"
        )
    preferences = front.preferences
    asked, total = ray(preferences), losses.sum(axis=1, keepdims=True)
    return Control(
        axis_labels(front),
        front.names,
        tuple(p.id for p in front.points),
        None if chosen is None else chosen.id,
        asked,
        np.where(total > 0, losses / np.where(total > 0, total, 1), asked),  # without any loss it is on every ray
        control_error(losses, preferences),
    )


def control_csv(shown: Control) -> str:
    """The facts as the text of a CSV file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    angles = shown.angles().T if len(shown.names) == 2 else np.empty((len(shown.ids), 0))
    heads = [f"{what} {name}" for what in ("asked", "reached") for name in shown.names]
    writer.writerow(["mark", "id", *heads, *(["angle asked", "angle reached"] if angles.size else []), "control_error"])
    rows = np.hstack([shown.asked, shown.reached, angles, shown.errors[:, None]]).tolist()
    for id, row in zip(shown.ids, rows, strict=True):
        writer.writerow(["chosen" if id == shown.chosen else "point", escape_formula(id), *row])
    return out.getvalue()


def draw(shown: Control, width: float | None = None) -> "Figure":
    """Angles of two objectives; of more, a panel an objective with its share of the losses."""
    return _draw_angles(shown, width) if len(shown.names) == 2 else _draw_shares(shown, width)


def _draw_angles(shown: Control, width: float | None) -> "Figure":
    from matplotlib.figure import Figure

    inches = width or 4.8
    figure = Figure(figsize=(inches, 0.92 * inches), layout="constrained")
    axes = figure.subplots()
    asked, reached = shown.angles()
    _draw_diagonal(axes, asked, reached)
    axes.vlines(asked, asked, reached, color=ORANGE, lw=1, zorder=2, label="control error")
    axes.plot(asked, reached, "o", color=BLUE, ms=5, mew=0, zorder=3, label=_summary(shown))
    _draw_chosen(axes, shown, asked, reached)
    for id, x, y in _number_points(shown, asked, reached):
        axes.annotate(id, (x, y), xytext=(6, -9), textcoords="offset points", fontsize=7.5, color=DARK)
    asked_for, got = (
        wrap_label(f"{what}: degrees from {shown.names[0]}'s axis", 0.8 * inches) for what in ("asked", "reached")
    )
    axes.set(xlabel=asked_for, ylabel=got)
    view.draw_legend(figure, width)
    return figure


def _number_points(shown: Control, x: np.ndarray, y: np.ndarray) -> list[tuple[str, float, float]]:
    """The numbers of the points, unless some would cover one another, as those of several seeds do."""
    places = np.stack([x, y], axis=1)
    away = np.abs(places[:, None] - places[None]).max(axis=2) / max(np.ptp(places), 1e-9)
    if (away[np.triu_indices(len(x), 1)] < CLOSE).any():
        return []
    return list(zip(map(point_number, shown.ids), x.tolist(), y.tolist(), strict=True))


def _draw_shares(shown: Control, width: float | None) -> "Figure":
    from matplotlib.figure import Figure

    m, narrow = len(shown.names), view.is_narrow(width)
    across = min(m, 2 if narrow else 3)
    down = -(-m // across)
    inches = width or 7.2
    side = (inches - (0.1 if narrow else 0.9)) / across  # the scale of the colours goes below, or beside
    view.check_room(side, LEAST, f"each of {across} panels in a row", inches)
    titles = [wrap_label(label, side - 0.3) for label in shown.labels]
    high = side + 0.35 + 0.2 * max(title.count("\n") for title in titles)
    figure = Figure(figsize=(inches, high * down + (0.6 if narrow else 0)), layout="compressed")
    panels, colored = figure.subplots(down, across, squeeze=False).flatten(), None
    for axes in panels[m:]:
        axes.remove()
    scale = {"vmin": 0, "vmax": max(shown.errors.max(), 1e-9), "cmap": _colors()}
    for i, axes in enumerate(panels[:m]):
        x, y = 100 * shown.asked[:, i], 100 * shown.reached[:, i]
        _draw_diagonal(axes, x, y)
        colored = axes.scatter(x, y, c=shown.errors, s=18, lw=0, zorder=3, **scale)
        axes.plot([], [], "o", color=DARK, ms=4, mew=0, label=_summary(shown))
        _draw_chosen(axes, shown, x, y)
        axes.set_title(titles[i], fontsize="medium")
        axes.locator_params(nbins=4 if side > 1.5 else 3)
        if i + across >= m:
            axes.set_xlabel("share asked [%]")
        if i % across == 0:
            axes.set_ylabel("share reached [%]")
    assert colored is not None
    bar: dict[str, Any] = {"location": "bottom", "aspect": 40} if narrow else {"aspect": 30}
    figure.colorbar(colored, ax=figure.axes, label="control error [degrees]", **bar)
    view.draw_legend(figure, width)
    figure.draw_without_rendering()  # square panels find their places the second time
    return figure


def _colors() -> "Colormap":
    """Dark for a large error; without the end that is too pale on white."""
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap

    return ListedColormap(mpl.colormaps["viridis_r"](np.linspace(0.15, 1, 128)))


def _draw_diagonal(axes, x: np.ndarray, y: np.ndarray) -> None:
    """Where what is reached is what was asked, and equal axes around all."""
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    margin = 0.08 * (high - low) or 1.0
    axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal")
    axes.axline((low, low), slope=1, color=GREY, lw=0.9, ls=(0, (6, 3)), zorder=1, label="reached as asked")


def _draw_chosen(axes, shown: Control, x: np.ndarray, y: np.ndarray) -> None:
    if shown.chosen is not None:
        k = shown.ids.index(shown.chosen)
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
            label=f"chosen: {shown.chosen}",
        )


def _summary(shown: Control) -> str:
    worst = int(np.argmax(shown.errors))
    return f"mean control error {shown.errors.mean():.2g}°\nworst {shown.errors[worst]:.2g}° ({shown.ids[worst]})"

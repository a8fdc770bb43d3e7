"""The figures of a front: facts first, drawing second, and the facts as a CSV file beside the figure or the page."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretomtl.point import Point
from paretomtl.points.points import Points
from paretomtl.show.figures import control, matrix, pair, parallel, several, view
from paretomtl.show.figures.facts import collect_front, front_csv
from paretomtl.show.page import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FIGURES = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}  # no times: equal bytes
PAGE = ".html"
KINDS = {  # the facts, how they are drawn, and how they are written
    "matrix": (collect_front, matrix.draw, front_csv),
    "parallel": (collect_front, parallel.draw, front_csv),
    "control": (control.collect_control, control.draw, control.control_csv),
}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "paretomtl",
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and edited
    "pdf.fonttype": 42,  # TrueType: journals refuse the Type 3 that is matplotlib's own
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a name may have dollars in it
}


def plot(
    front: Points, path: str | Path, chosen: Point | None = None, kind: str | None = None, width: float | None = None
) -> Path:
    """Draw a front to an .svg, .pdf or .png file, or write it as a page, .html; and its data as .csv beside it.

    Args:
        front: of two or more objectives.
        path: of the figure.
        chosen: one of its points, to stand out.
        kind: "matrix", one panel a pair of objectives; "parallel", one axis an objective, better up; "control", what
            was asked for against what was reached; by default the plane of two objectives, or the matrix of more. A
            page has all of them; this one comes first.
        width: of a figure, in inches.
    """
    path = _check_path(path, width, (*FIGURES, PAGE))
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, KINDS))}")
    collect, draw, written = KINDS[kind or "matrix"]
    shown: Any = collect(front, chosen)
    if path.suffix.lower() == PAGE:
        text = page.write_page(page.collect_page(front, chosen, kind))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.with_suffix(".csv").write_text(written(shown), encoding="utf-8")
        return path
    draw = pair.draw if kind is None and len(shown.names) == 2 else draw
    return _write(path, lambda: draw(shown, width), written(shown), width)


def plot_fronts(fronts: Mapping[str, Points], path: str | Path, width: float | None = None) -> Path:
    """Draw several fronts of one problem to one .svg, .pdf or .png file, and write its data as .csv beside it.

    Of two objectives each front has the border of what it attains, and its points, dominated ones hollow. Of several
    seeds the line is the median attainment surface, which at least half of the seeds attain, and the band around it
    goes from what any seed attains to what all attain. Of more objectives there is a panel a pair of them, with the
    points of all seeds alone.

    Args:
        fronts: by the names that the legend is to have.
        path: of the figure.
        width: in inches; 3.25 is a paper's column, 6.75 two.

    Raises:
        EmptyFrontError, ValueError: one has no point, or differs from another in objectives, splits or `ref_point`.
    """
    path = _check_path(path, width, tuple(FIGURES))
    shown = several.collect_fronts(fronts)
    return _write(path, lambda: several.draw(shown, width), several.fronts_csv(shown), width)


def _check_path(path: str | Path, width: float | None, formats: tuple[str, ...]) -> Path:
    path = Path(path)
    view.check_width(width)
    if path.suffix.lower() not in formats:
        raise ValueError(
            f"{path.name!r}: a plot is written as {', '.join(formats)}, not {path.suffix or 'a bare name'!r}"
        )
    if width is not None and path.suffix.lower() == PAGE:
        raise ValueError(f"width={width!r}: a page is as wide as its window; give a width with {', '.join(FIGURES)}")
    return path


def _write(path: Path, draw: Callable[[], "Figure"], data: str, width: float | None) -> Path:
    import matplotlib as mpl

    with mpl.rc_context(STYLE | view.text_settings(width)):
        figure = draw()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata=FIGURES[path.suffix.lower()])
    path.with_suffix(".csv").write_text(data, encoding="utf-8")
    return path

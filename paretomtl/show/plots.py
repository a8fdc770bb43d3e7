"""The figures of a front or a diagnosis: draw the facts, and write them as CSV beside the figure or the page."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretomtl.point import Point
from paretomtl.points.points import Points
from paretomtl.show import FIGURE_KINDS
from paretomtl.show.figures import control, matrix, pair, parallel, several, view
from paretomtl.show.figures.facts import collect_front, front_csv
from paretomtl.show.page import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from paretomtl.show.diagnosis.facts import DiagnosisFacts

FIGURES = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}  # no times: equal bytes
PAGE = ".html"
MAKERS = {  # by kind: how to collect the facts, draw them, and write them
    "matrix": (collect_front, matrix.draw, front_csv),
    "parallel": (collect_front, parallel.draw, front_csv),
    "control": (control.collect_control, control.draw, control.control_csv),
}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "paretomtl",
    "svg.fonttype": "none",  # text stays text, to be searched, read aloud and edited
    "pdf.fonttype": 42,  # TrueType: journals refuse matplotlib's default, Type 3
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a name may contain dollars
}


def plot(
    front: Points, path: str | Path, chosen: Point | None = None, kind: str | None = None, width: float | None = None
) -> Path:
    """Draw a front to an .svg, .pdf or .png file, or write it as an .html page; its data goes to a .csv beside it.

    Args:
        front: a front of two or more objectives.
        path: the file to write.
        chosen: one of its points, to highlight.
        kind: "matrix", one panel a pair of objectives; "parallel", one axis an objective, better up; "control", the
            requested rays against the losses reached. By default the plane for two objectives, and the matrix for more.
            A page has all kinds, this one first.
        width: width of a figure, in inches.
    """
    path = _check_path(path, width, (*FIGURES, PAGE))
    if kind is not None and kind not in FIGURE_KINDS:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, FIGURE_KINDS))}")
    collect, draw, to_csv = MAKERS[kind or "matrix"]
    facts: Any = collect(front, chosen)
    if path.suffix.lower() == PAGE:
        return _write(path, page.write_page(page.collect_page(front, chosen, kind)), to_csv(facts))
    draw = pair.draw if kind is None and len(facts.names) == 2 else draw
    return _save(path, lambda: draw(facts, width), to_csv(facts), width)


def plot_fronts(fronts: Mapping[str, Points], path: str | Path, width: float | None = None) -> Path:
    """Draw several fronts of one problem to one .svg, .pdf or .png file; its data goes to a .csv beside it.

    With two objectives each front has the border of the losses it attains, and its points, dominated ones hollow. With
    several seeds the line is the median attainment surface, which at least half of the seeds attain; the band around it
    reaches from what any seed attains to what all attain. With more objectives there is one panel a pair, with the
    points of all seeds only.

    Args:
        fronts: the fronts, by their names in the legend.
        path: the file to write.
        width: width in inches; 3.25 is a paper's column, 6.75 two.

    Raises:
        EmptyFrontError: a front has no point.
        ValueError: two fronts differ in objectives, splits or `ref_point`.
    """
    path = _check_path(path, width, tuple(FIGURES))
    facts = several.collect_fronts(fronts)
    return _save(path, lambda: several.draw(facts, width), several.fronts_csv(facts), width)


def plot_diagnosis(facts: "DiagnosisFacts", path: str | Path) -> Path:
    """Draw a diagnosis to an .svg, .pdf or .png file, or write it as an .html page; its data goes to a .csv beside it.

    Args:
        facts: what to show.
        path: the file to write.
    """
    from paretomtl.show.diagnosis import figure
    from paretomtl.show.diagnosis.facts import diagnosis_csv
    from paretomtl.show.diagnosis.page import write_page

    path = _check_path(path, None, (*FIGURES, PAGE))
    if path.suffix.lower() == PAGE:
        return _write(path, write_page(facts), diagnosis_csv(facts))
    return _save(path, lambda: figure.draw(facts), diagnosis_csv(facts), None)


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


def _write(path: Path, text: str, data: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.with_suffix(".csv").write_text(data, encoding="utf-8")
    return path


def _save(path: Path, draw: Callable[[], "Figure"], data: str, width: float | None) -> Path:
    import matplotlib as mpl

    with mpl.rc_context(STYLE | view.text_settings(width)):
        figure = draw()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata=FIGURES[path.suffix.lower()])
    path.with_suffix(".csv").write_text(data, encoding="utf-8")
    return path

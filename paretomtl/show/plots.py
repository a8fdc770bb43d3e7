"""The figures of a front: facts first, drawing second, and the facts as a CSV file beside the figure or the page."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretomtl.point import Point
from paretomtl.show import matrix, page, pair, parallel
from paretomtl.show.facts import Facts, facts, table

if TYPE_CHECKING:
    from paretomtl.front.front import Front

FIGURES = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}  # no times: equal bytes
FORMATS = (*FIGURES, ".html")
KINDS = {"matrix": matrix.draw, "parallel": parallel.draw}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "paretomtl",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a name may have dollars in it
}


def plot(front: "Front", path: str | Path, chosen: Point | None = None, kind: str | None = None) -> Path:
    """Draw a front to an .svg, .pdf or .png file, or write it as a page, .html; and its data as .csv beside it.

    Args:
        front: of two or more objectives.
        path: of the figure.
        chosen: one of its points, to stand out.
        kind: "matrix", one panel a pair of objectives; "parallel", one axis an objective, better up; by default the
            plane of two objectives, or the matrix of more. A page has both; this one comes first.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(
            f"{path.name!r}: a plot is written as {', '.join(FORMATS)}, not {path.suffix or 'a bare name'!r}"
        )
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, KINDS))}")
    shown = facts(front, chosen)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".html":
        path.write_text(page.write(page.facts(front, chosen, kind)), encoding="utf-8")
    else:
        _draw(shown, path, kind)
    path.with_suffix(".csv").write_text(table(shown), encoding="utf-8")
    return path


def _draw(shown: Facts, path: Path, kind: str | None) -> None:
    import matplotlib as mpl

    draw = KINDS[kind] if kind else pair.draw if len(shown.names) == 2 else matrix.draw
    with mpl.rc_context(STYLE):
        draw(shown).savefig(path, dpi=150, metadata=FIGURES[path.suffix.lower()])

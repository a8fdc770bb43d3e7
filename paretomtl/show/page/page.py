"""The explorer: a front as one HTML file that works without a network. Python collects the facts, its scripts draw.

The scripts choose as the rules of `selection/rules/` do, on the same doubles, and give the reason in the same words:
each rule has a twin in `rules/`, in the file of the same name.
"""

import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from paretomtl.point import Point
from paretomtl.points import score
from paretomtl.points.points import Points
from paretomtl.points.preference_map import triangulate
from paretomtl.points.replicates import base_id
from paretomtl.selection.pick import candidates_of
from paretomtl.selection.rules import RULES
from paretomtl.selection.select import Candidates, Rule


def twin_of(rule: type[Rule]) -> str:
    """Return the name of the script that computes a rule."""
    return f"rules/{rule.__module__.rpartition('.')[2]}"


# in the order in which they build on one another
SCRIPTS = (
    *("numbers", "rules", *map(twin_of, RULES), "state"),
    *("plot", "scatter", "parallel", "requested", "controls", "choice", "asking", "map", "main"),
)
CONFIDENCE_LEVELS = (0.9, 0.95, 0.99)  # of confidence, at which the page offers margins
SPLIT = "validate"
FIRST = {"parallel": "parallel-view", "control": "requested-view"}  # view that comes first, by the kind of figure


class Page(NamedTuple):
    """Facts of a front for the page: every point in the order of the ids, with its measures as people read them.

    Arrays of numbers are base64 of little-endian doubles, so that the page has the same numbers to the last bit.

    folder: argument of `Front.load`; None for a front without models.
    seeds: number of seeds; the points are means over them where there are several.
    objectives: name, unit and sign (1: smaller is better; -1: larger) of each.
    rules: name, menu entry and sentence of each rule, in the order of the menu.
    free: indices of the points that none dominates; the rules choose among them.
    margins: half-widths of `Candidates.margins` for these points, by level of confidence.
    errors: standard errors of these points' measures.
    ideals: measures of the models trained on one objective alone.
    reference: reference of the hypervolume, in the measures' sense; None where the measures are not the losses.
    requested: preference of each point.
    reached: preference on whose ray the losses of each point lie.
    off: control error of each point, in degrees.
    origin, span: where the rays start, and the units of their directions, among the measures; None where the measures
        are not losses, or are not at least 0, so that no ray can be drawn.
    normalised: whether preferences are in units of what there is to gain in each loss.
    map: preferences and losses of the points of one network, and the errors of losses interpolated between them.
    chosen: id of the point that was chosen before, if any.
    first: view that comes first.
    """

    folder: str | None
    seeds: int
    failed: int
    split: str
    objectives: list[dict[str, Any]]
    rules: list[dict[str, str]]
    ids: list[str]
    values: str
    free: list[int]
    margins: dict[str, str]
    errors: str | None
    ideals: list[float] | None
    reference: list[float] | None
    requested: list[list[float] | None]
    reached: list[list[float] | None]
    off: list[float | None]
    origin: list[float] | None
    span: list[float] | None
    normalised: bool
    map: dict[str, Any] | None
    chosen: str | None
    first: str


def collect_page(front: Points, chosen: Point | None = None, kind: str | None = None) -> Page:
    """Collect the facts of a front for its page.

    Raises:
        EmptyFrontError: there is no point.
    """
    free = candidates_of(front, SPLIT)
    points = sorted(front.mean().points, key=lambda p: p.id)
    values = np.array([p.values[SPLIT] for p in points])
    losses = np.array([p.losses[SPLIT] for p in points])
    same = bool(np.allclose(values, losses * free.signs, rtol=1e-9, atol=0))
    index = {p.id: i for i, p in enumerate(points)}
    has_errors = free.noise.sampling is not None or free.noise.deviation is not None
    several = front.study["seeds"] > 1
    origin, span = _find_rays(front, losses) if same and (free.signs > 0).all() else (None, None)
    return Page(
        folder=None if front.folder is None or front.temporary is not None else str(front.folder),
        seeds=front.study["seeds"],
        failed=len(front.failed),
        split=SPLIT,
        objectives=[{"name": o.name, "unit": o.unit, "sign": o.sign} for o in front.objectives],
        rules=[{"name": rule.__name__, "label": rule.label, "about": rule.about} for rule in RULES],
        ids=[p.id for p in points],
        values=_doubles(values),
        free=[index[p.id] for p in free.points],
        margins={str(level): _doubles(free.margins(level)) for level in CONFIDENCE_LEVELS} if has_errors else {},
        errors=_doubles(free.standard_errors()) if has_errors else None,
        ideals=None if free.ideals is None else free.ideals.tolist(),
        reference=(np.array(front.ref_point) * free.signs).tolist() if same else None,
        requested=[_round(p.preference) if p.preference else None for p in points],
        reached=[_find_reached(front, p) for p in points],
        off=[None if p.control_error is None else round(p.control_error, 2) for p in points],
        origin=origin,
        span=span,
        normalised=front.normalisation is not None,
        map=_map_as_json(front, free, same) if all(p.network is not None for p in front.points) else None,
        chosen=None if chosen is None else base_id(chosen) if several else chosen.id,
        first=FIRST.get(kind or "matrix", "scatter-view"),
    )


def write_page(shown: Page) -> str:
    """Write the page as one text of HTML."""
    script, style = '"use strict";\n' + "\n".join(map(_read_script, SCRIPTS)), _read_asset("page.css")
    names = " and ".join(o["name"] for o in shown.objectives)
    parts = {
        "title": html.escape(f"{names}: a front of {len(shown.ids)} points"),
        "policy": f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'",
        "style": style,
        "script": script,
        "data": _embed(shown._asdict()),
    }
    # in one pass, so that a name that looks like a place to fill stays a name
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read_asset("page.html"))


def _read_asset(name: str) -> str:
    return files("paretomtl.show.page").joinpath(name).read_text(encoding="utf-8")


def _read_script(name: str) -> str:
    text = _read_asset(f"{name}.js")
    return f"{{\n{text}}}" if name.startswith("rules/") else text  # a block, so that a rule's names stay its own


def _digest(text: str) -> str:
    """Return the digest by which the page's policy admits this script or style and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _embed(value: Any) -> str:
    """Return JSON that ends no script, whatever names it holds."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII, so without U+2028 and U+2029
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _doubles(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f8").tobytes()).decode()


def _round(row: Any) -> list[float]:
    """Round what is drawn only; no rule chooses by it."""
    return [round(float(x), 5) for x in row]


def _find_rays(front: Points, losses: np.ndarray) -> tuple[list[float] | None, list[float] | None]:
    """Return where the rays start and the units of their directions; rays from 0 need losses of at least 0."""
    if front.normalisation is not None:
        return list(front.normalisation.ideal), front.normalisation.span.tolist()
    m = losses.shape[1]
    return ([0.0] * m, [1.0] * m) if (losses >= 0).all() else (None, None)


def _find_reached(front: Points, point: Point) -> list[float] | None:
    """Return the preference on whose ray the losses of a point lie."""
    losses = front.normalised(np.array(point.losses[SPLIT]))
    if not point.preference or not (losses > 0).all():
        return None
    inverse = 1 / (losses / losses.min())
    return _round(inverse / inverse.sum())


def _map_as_json(front: Points, free: Candidates, same: bool) -> dict[str, Any]:
    preference_map = front.map()
    corners = triangulate(preference_map.preferences)
    return {
        "preferences": preference_map.preferences.tolist(),
        "losses": score.check_losses(preference_map.losses).tolist(),
        "error": None if preference_map.error is None else preference_map.error.tolist(),
        "triangles": None if corners is None else corners.tolist(),
        "signs": free.signs.tolist() if same else None,
    }

"""The explorer: a front as one HTML file that works without a network; facts first, its scripts draw.

The scripts choose as the rules of `front/rules/` do, on the same doubles, and say it in the same words.
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
from paretomtl.selection.select import Candidates

# in the order in which they build on one another
SCRIPTS = ("numbers", "rules", "state", "plot", "scatter", "parallel", "asked", "controls", "choice", "map", "main")
LEVELS = (0.9, 0.95, 0.99)  # of confidence, that the page offers margins at
SPLIT = "validate"
FIRST = {"parallel": "parallel-view", "control": "asked-view"}  # by the kind of figure


class Page(NamedTuple):
    """What the page knows of a front: its measures, as people read them, of every point in the order of the ids.

    Arrays of numbers are base64 of little-endian doubles, so that the page's numbers are these to the last bit.

    folder: what `Front.load` takes; None of a front without models.
    seeds: where these are several, the points are means over them.
    objectives: name, unit and sign (1: smaller is better; -1: larger).
    free: the places of the points that none dominates, which the rules choose from.
    margins, errors: of these; by level of confidence the half-widths of `Candidates.margins`, and the standard errors.
    ideals: the measures of the models trained on one objective alone.
    reference: of the hypervolume, in the measures' sense; None where the measures are not the losses.
    asked, reached: preferences; the one reached is that on whose ray the losses lie.
    rays: whether the measures are losses of at least 0, so that rays can be drawn among them.
    map: preferences and losses of the points of one network, and how well losses between them are known.
    chosen: the id of the point that was chosen before, if any.
    first: the view that comes first.
    """

    folder: str | None
    seeds: int
    failed: int
    split: str
    objectives: list[dict[str, Any]]
    ids: list[str]
    values: str
    free: list[int]
    margins: dict[str, str]
    errors: str | None
    ideals: list[float] | None
    reference: list[float] | None
    asked: list[list[float] | None]
    reached: list[list[float] | None]
    off: list[float | None]
    rays: bool
    map: dict[str, Any] | None
    chosen: str | None
    first: str


def collect_page(front: Points, chosen: Point | None = None, kind: str | None = None) -> Page:
    """What the page has to know.

    Raises:
        EmptyFrontError: there is no point.
    """
    free = candidates_of(front, SPLIT)
    points = sorted(front.mean().points, key=lambda p: p.id)
    values = np.array([p.values[SPLIT] for p in points])
    losses = np.array([p.losses[SPLIT] for p in points])
    alike = bool(np.allclose(values, losses * free.signs, rtol=1e-9, atol=0))
    place = {p.id: i for i, p in enumerate(points)}
    known = free.noise.sampling is not None or free.noise.deviation is not None
    several = front.study["seeds"] > 1
    return Page(
        folder=None if front.folder is None or front.temporary is not None else str(front.folder),
        seeds=front.study["seeds"],
        failed=len(front.failed),
        split=SPLIT,
        objectives=[{"name": o.name, "unit": o.unit, "sign": o.sign} for o in front.objectives],
        ids=[p.id for p in points],
        values=_doubles(values),
        free=[place[p.id] for p in free.points],
        margins={str(level): _doubles(free.margins(level)) for level in LEVELS} if known else {},
        errors=_doubles(free.standard_errors()) if known else None,
        ideals=None if free.ideals is None else free.ideals.tolist(),
        reference=(np.array(front.ref_point) * free.signs).tolist() if alike else None,
        asked=[_round(p.preference) if p.preference else None for p in points],
        reached=[_reached_ray(p) for p in points],
        off=[None if p.control_error is None else round(p.control_error, 2) for p in points],
        rays=alike and bool((losses >= 0).all() and (free.signs > 0).all()),
        map=_map_as_json(front, free, alike) if all(p.network is not None for p in front.points) else None,
        chosen=None if chosen is None else base_id(chosen) if several else chosen.id,
        first=FIRST.get(kind or "matrix", "scatter-view"),
    )


def write_page(shown: Page) -> str:
    """The page, as one text of HTML."""
    scripts = [_read_asset(f"{name}.js") for name in SCRIPTS]
    script, style = '"use strict";\n' + "\n".join(scripts), _read_asset("page.css")
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
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read_asset("page.html"))


def _read_asset(name: str) -> str:
    return files("paretomtl.show.page").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """By which the page's own policy tells the script that it came with from any other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _embed(value: Any) -> str:
    """JSON that ends no script, whatever the names in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII, so without U+2028 and U+2029
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _doubles(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f8").tobytes()).decode()


def _round(row: Any) -> list[float]:
    """Only looked at, never chosen by."""
    return [round(float(x), 5) for x in row]


def _reached_ray(point: Point) -> list[float] | None:
    losses = np.array(point.losses[SPLIT])
    if not point.preference or not (losses > 0).all():
        return None
    inverse = 1 / (losses / losses.min())
    return _round(inverse / inverse.sum())


def _map_as_json(front: Points, free: Candidates, alike: bool) -> dict[str, Any]:
    found = front.map()
    corners = triangulate(found.preferences)
    return {
        "preferences": found.preferences.tolist(),
        "losses": score.check_losses(found.losses).tolist(),
        "error": None if found.error is None else found.error.tolist(),
        "triangles": None if corners is None else corners.tolist(),
        "signs": free.signs.tolist() if alike else None,
    }

"""A front in words and as plain values: what the command line prints."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from paretomtl.errors import EmptyFrontError
from paretomtl.point import Point
from paretomtl.points import score
from paretomtl.points.points import Points
from paretomtl.selection.pick import Pick


def format_report(front: Points) -> str:
    """The points, their means over several seeds, the figures, and whether there is a trade-off to be seen.

    Of one network for all preferences, also how well losses are known between the points.
    """
    parts = [format_table(front)]
    if front.points and front.study["seeds"] > 1:
        trade = front.tradeoff()
        parts += [str(front.spread()), f"trade-off: {trade.why}"]
    try:
        parts.append(str(front.score()))
    except EmptyFrontError:
        parts.append("no figures: the front has no point")
    if _of_one_network(front):
        parts.append(front.map().told())
    return "\n\n".join(parts)


def _of_one_network(front: Points) -> bool:
    """Whether any preference can be asked for, so that it matters what lies between those that were."""
    return bool(front.points) and all(p.network is not None for p in front.points)


def report_as_json(front: Points) -> dict[str, Any]:
    """The same, for JSON; what is undefined or not available is None."""
    try:
        figures = front.score()._asdict()
    except EmptyFrontError:
        figures = None
    several = front.points and front.study["seeds"] > 1
    found = {
        "folder": None if front.folder is None else str(front.folder),
        "objectives": list(front.study["objectives"]),
        "asked": len(front.study["points"]),
        "points": [_point_as_json(front, p) for p in front.every],
        "score": figures,
        "spread": front.spread()._asdict() if several else None,
        "tradeoff": front.tradeoff()._asdict() if several else None,
        "map": _map_as_json(front) if _of_one_network(front) else None,
        "warnings": list(list_warnings(front)),
    }
    return _as_json(found)


def _map_as_json(front: Points) -> dict[str, Any]:
    found = front.map()
    return {"interpolation_error": found.error, "monotone": list(found.monotone)}


def list_warnings(front: Points) -> tuple[str, ...]:
    """What a reader of a front should know, of its files too."""
    found = [*front.study["notes"], *front.damage]
    found += [f"{p.id} is corrupt: {p.reason}" for p in front.corrupt]
    if front.failed:
        reasons = "; ".join(
            f"{', '.join(ids)}: {why}" for why, ids in _group_ids(front.failed, lambda p: [p.reason]).items()
        )
        asked = len(front.study["points"])
        found.append(f"{len(front.failed)} of {asked} points failed ({reasons})")
    if len(front.points) > 1:
        for name, flat in zip(front.names, score.is_constant(front.losses), strict=True):
            if flat:
                found.append(f"no trade-off on {name!r}: its loss is the same at every point")
    if front.points:
        found += _beyond_reference(front)
    told = _group_ids((*front.points, *front.corners), lambda p: p.warnings)
    return (*found, *(f"{', '.join(ids)}: {warning}" for warning, ids in told.items()))


def _beyond_reference(front: Points) -> list[str]:
    n, outside = len(front.points), score.count_outside(front.losses, front.ref_point)
    reference = f"the reference ({', '.join(f'{r:g}' for r in front.ref_point)})"
    if outside == n:
        return [f"no point dominates {reference}, so the hypervolume is undefined"]
    verbs = ("does", "adds") if outside == 1 else ("do", "add")
    text = f"{outside} of {n} points {verbs[0]} not dominate {reference} and {verbs[1]} nothing to the hypervolume"
    return [text] if outside else []


def format_table(front: Points) -> str:
    """One line a point: preference, losses by split, validation measures if any, control error, status."""
    splits = front.study["splits"]
    asked = front.names if any(p.preference for p in front.every) else ()
    head = ["point", *(f"r {name}" for name in asked)]
    head += [f"{split} {name}" for split in splits for name in front.names]
    measured = front.objectives if front.study["measured"] else ()
    head += [f"{o.name} [{o.unit or 'measure'}]" for o in measured] + ["off ray", "status"]
    rows = [head]
    for p in front.every:
        cells = [f"{r:.3f}" for r in p.preference] or [""] * len(asked)
        cells += [f"{x:.4f}" for split in splits for x in p.losses.get(split, ())]
        cells += [f"{x:.4g}" for x in p.values.get("validate", ()) if measured]
        cells += [""] * (len(head) - 3 - len(cells))
        off = "" if p.corner or p.control_error is None else f"{p.control_error:.2f}°"
        said = f"{p.state}: {p.reason}" if p.state != "done" else "alone" if p.corner else p.status or ""
        rows.append([p.id, *cells, off, said])
    return _align_columns(rows)


def _align_columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines of columns: the first and the last to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ["<", *[">"] * (len(widths) - 2), "<"]
    layout = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    return "\n".join(layout.format(*row).rstrip() for row in rows)


def _group_ids(points: Sequence[Point], texts: Callable[[Point], Sequence[str | None]]) -> dict[str | None, list[str]]:
    """The ids of the points that carry each text."""
    found: dict[str | None, list[str]] = {}
    for point in points:
        for text in texts(point):
            found.setdefault(text, []).append(point.id)
    return found


def choice_as_json(pick: Pick, folder: Path) -> dict[str, Any]:
    """A choice, for JSON."""
    point = pick.point
    weights = None if point is None or point.weights is None else folder / "weights" / f"{point.weights}.safetensors"
    return {
        "point": None if point is None else point.id,
        "why": pick.why,
        "weights": None if weights is None else str(weights),
        "runners_up": [{"point": r.point.id, "gains": r.gains, "gives_up": r.gives_up} for r in pick.runners_up],
        "agreement": pick.agreement,
    }


def _point_as_json(front: Points, point: Point) -> dict[str, Any]:
    named = {s: dict(zip(front.names, numbers, strict=True)) for s, numbers in point.losses.items()}
    values = {s: dict(zip(front.names, numbers, strict=True)) for s, numbers in point.values.items()}
    return {
        "id": point.id,
        "seed": point.seed,
        "corner": point.corner,
        "state": point.state,
        "preference": list(point.preference),
        "losses": named,
        "values": values,
        "control_error": point.control_error,
        "status": point.status,
        "reason": point.reason,
        "weights": point.weights,
        "network": point.network,
    }


def _as_json(value: Any) -> Any:
    """Values as JSON has them: arrays as lists, what is not finite as None."""
    if isinstance(value, dict):
        return {key: _as_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(part) for part in value]
    if hasattr(value, "tolist"):
        return _as_json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""A front or a diagnosis as text and as plain values, for the command line to print."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretomtl.errors import EmptyFrontError, escape_controls
from paretomtl.point import Point
from paretomtl.points.points import Points
from paretomtl.selection.pick import Pick
from paretomtl.show.warnings import list_warnings

if TYPE_CHECKING:
    from paretomtl.show.diagnosis.facts import DiagnosisFacts, Difference


def format_report(front: Points) -> str:
    """Format the points, their means over several seeds, the figures, and the test for a trade-off.

    A front of one network for all preferences also shows how well losses are known between the points.
    """
    parts = [format_table(front)]
    if front.points and front.study["seeds"] > 1:
        trade = front.tradeoff()
        parts += [str(front.spread()), f"trade-off: {trade.why}"]
    try:
        parts.append(str(front.score()))
    except EmptyFrontError:
        parts.append("no figures: the front has no point")
    if _has_one_network(front):
        parts.append(front.map().summarise())
    return "\n\n".join(parts)


def _has_one_network(front: Points) -> bool:
    """Whether one network serves every preference, so that losses between the points matter."""
    return bool(front.points) and all(p.network is not None for p in front.points)


def report_as_json(front: Points) -> dict[str, Any]:
    """Return the report as values for JSON; undefined or unavailable figures are None."""
    try:
        figures = front.score()._asdict()
    except EmptyFrontError:
        figures = None
    several = front.points and front.study["seeds"] > 1
    report = {
        "folder": None if front.folder is None else str(front.folder),
        "objectives": list(front.study["objectives"]),
        "asked": len(front.study["points"]),
        "normalisation": None if front.normalisation is None else front.normalisation.to_stored(),
        "points": [_point_as_json(front, p) for p in front.every],
        "score": figures,
        "spread": front.spread()._asdict() if several else None,
        "tradeoff": front.tradeoff()._asdict() if several else None,
        "map": _map_figures_as_json(front) if _has_one_network(front) else None,
        "warnings": list(list_warnings(front)),
    }
    return _as_json(report)


def _map_figures_as_json(front: Points) -> dict[str, Any]:
    preference_map = front.map()
    return {"interpolation_error": preference_map.error, "monotone": list(preference_map.monotone)}


def format_table(front: Points) -> str:
    """Format one line a point: preference, losses by split, validation measures if any, control error, status."""
    splits = front.study["splits"]
    names = front.names if any(p.preference for p in front.every) else ()
    head = ["point", *(f"r {name}" for name in names)]
    head += [f"{split} {name}" for split in splits for name in front.names]
    measures = front.objectives if front.study["measured"] else ()
    head += [f"{o.name} [{o.unit or 'measure'}]" for o in measures] + ["off ray", "status"]
    rows = [head]
    for p in front.every:
        cells = [f"{r:.3f}" for r in p.preference] or [""] * len(names)
        cells += [f"{x:.4f}" for split in splits for x in p.losses.get(split, ())]
        cells += [f"{x:.4g}" for x in p.values.get("validate", ()) if measures]
        cells += [""] * (len(head) - 3 - len(cells))
        error = "" if p.corner or p.control_error is None else f"{p.control_error:.2f}°"
        outcome = f"{p.state}: {p.reason}" if p.state != "done" else "alone" if p.corner else p.verdict
        rows.append([p.id, *cells, error, outcome])
    table = _align_columns([[*map(escape_controls, row)] for row in rows])
    return "\n".join([table, *_describe_units(front)])


def _describe_units(front: Points) -> list[str]:
    """Say what a preference's ray is measured in, in a line; none where losses stay as they are."""
    if front.normalisation is None:
        return []
    ranges = zip(front.names, *front.normalisation, strict=True)
    known = [f"{name} {ideal:.4g} to {nadir:.4g}" for name, ideal, nadir in ranges if (ideal, nadir) != (0, 1)]
    text = f"off ray: in units of what there is to gain in each loss, from ideal to nadir: {', '.join(known)}"
    return [escape_controls(text)] if known else []


def _align_columns(rows: Sequence[Sequence[str]]) -> str:
    """Align rows in columns: the first and the last to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ["<", *[">"] * (len(widths) - 2), "<"]
    layout = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    return "\n".join(layout.format(*row).rstrip() for row in rows)


def choice_as_json(pick: Pick, folder: Path) -> dict[str, Any]:
    """Return a choice as values for JSON."""
    point = pick.point
    weights = None if point is None or point.weights is None else folder / "weights" / f"{point.weights}.safetensors"
    return {
        "point": None if point is None else point.id,
        "why": pick.why,
        "weights": None if weights is None else str(weights),
        "runners_up": [{"point": r.point.id, "gains": r.gains, "gives_up": r.gives_up} for r in pick.runners_up],
        "agreement": pick.agreement,
    }


def diagnosis_as_json(facts: "DiagnosisFacts") -> dict[str, Any]:
    """Return the findings of a diagnosis as values for JSON; what is undefined is None."""
    report = {
        "summary": facts.summary,
        "seeds": facts.seeds,
        "tasks": [
            {"task": one.task, "verdict": one.verdict, "together_less_alone": _differences_as_json(one.differences)}
            for one in facts.tasks
        ],
        "notes": facts.notes,
        "means": {heat.title: {strip.label: strip.mean for strip in heat.strips} for heat in facts.heat_maps},
        "groups": facts.groups,
        "effects": {task: _differences_as_json(differences) for task, differences in facts.effects.items()},
    }
    return _as_json(report)


def _differences_as_json(differences: "Sequence[Difference]") -> dict[str, Any]:
    return {one.label: {"mean": one.mean, "half_width": one.half_width} for one in differences}


def _point_as_json(front: Points, point: Point) -> dict[str, Any]:
    losses = {s: dict(zip(front.names, row, strict=True)) for s, row in point.losses.items()}
    values = {s: dict(zip(front.names, row, strict=True)) for s, row in point.values.items()}
    return {
        "id": point.id,
        "seed": point.seed,
        "corner": point.corner,
        "state": point.state,
        "preference": list(point.preference),
        "losses": losses,
        "values": values,
        "control_error": point.control_error,
        "status": point.status,
        "ray_angle": point.ray_angle,
        "reason": point.reason,
        "weights": point.weights,
        "network": point.network,
    }


def _as_json(value: Any) -> Any:
    """Convert values for JSON: arrays to lists, numbers that are not finite to None."""
    if isinstance(value, dict):
        return {key: _as_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(part) for part in value]
    if hasattr(value, "tolist"):
        return _as_json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value

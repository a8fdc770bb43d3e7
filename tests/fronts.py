"""Points and fronts that are made up, without training."""

from dataclasses import asdict

import paretomtl as pm
from paretomtl.front.store import Store


def point(name, row, **changes):
    """A point with these losses, on a ray of no interest."""
    m = len(row)
    fields = {
        "preference": (1 / m,) * m,
        "losses": {"validate": tuple(row)},
        "values": {"validate": tuple(row)},
        "control_error": 1.0,
        "status": "solved",
        "counts": {"relaxed": 0, "fell_back": 0},
    }
    return pm.Point(name, **(fields | changes))


def failed(name, m=2, reason="nan in 'a' at step 3"):
    return point(name, (1,) * m, losses={}, values={}, control_error=None, status=None, state="failed", reason=reason)


def stored(tmp_path, points, objectives=("a", "b"), **study):
    """A front of these points, by way of its files."""
    described = [o if isinstance(o, pm.Objective) else pm.Objective(o) for o in objectives]
    names = [o.name for o in described]
    store = Store(tmp_path / "stored")
    store.create()
    fields = {
        "objectives": [asdict(o) for o in described],
        "ref_point": [2.0] * len(names),
        "points": [p.id for p in points],
        "splits": ["validate"],
        "notes": [],
        "measured": False,
    }
    store.write_front(fields | study, [store.write_point(p, None, names) for p in points])
    return pm.Front.load(store.folder)

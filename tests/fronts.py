"""Points and fronts that are made up, without training."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

import paretomtl as pm
from paretomtl.preference import control_error
from paretomtl.storage.store import Store


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
    store = Store(tmp_path / "stored")
    fields = {
        "objectives": [asdict(o) for o in described],
        "ref_point": [2.0] * len(described),
        "points": asked(points),
        "splits": ["validate"],
        "notes": [],
        "measured": False,
        "seeds": 1 + max((p.seed for p in points), default=0),
    }
    store.create(fields | study)
    store.write_front([store.write_point(p, None) for p in points])
    return pm.Front.load(store.folder)


def seeded(tmp_path, *seeds, **study):
    """A front of losses by seed and point; None for a point that failed."""
    rows = []
    for s, losses in enumerate(seeds):
        named = {f"p{k + 1}-seed-{s + 1}": row for k, row in enumerate(losses)}
        rows += [point(id, row, seed=s) if row else replace(failed(id), seed=s) for id, row in named.items()]
    return stored(tmp_path, rows, **study)


def asked(points):
    """What a study asks for, to have these points."""
    return [{"id": p.id, "preference": list(p.preference), "corner": p.corner, "seed": p.seed} for p in points]


def front_of(losses, names=("a", "b"), ideals=(0.05, 0.1), ref_point=None):
    """A front of given losses, without a folder; each point was asked for the centre."""
    m = len(names)
    centre = np.full(m, 1 / m)

    def made(id, numbers, corner=None):
        return point(id, numbers, corner=corner, control_error=float(control_error(np.array(numbers), centre)))

    points = [made(id, numbers) for id, numbers in losses.items()]
    points += [
        made(f"ideal-{i}", (ideal,) * m, name) for i, (name, ideal) in enumerate(zip(names, ideals, strict=False))
    ]
    objectives = [{"name": name, "unit": "nats", "goal": "min"} for name in names]
    study = {
        "objectives": objectives,
        "ref_point": [1.0] * m if ref_point is None else list(ref_point),
        "measured": False,
        "splits": ["validate"],
        "points": asked(points),
        "notes": [],
        "seeds": 1,
    }
    return pm.Front(study, points, folder=Path("nowhere"))


def facts_of(front):
    """What is read again of the points of a front without models."""
    return [(p.id, p.seed, p.losses["validate"], p.values["validate"], p.preference) for p in front.points]


def assert_usable(front, folder):
    """It is read; now it is scored, chosen from by every kind of rule, shown as a table and as a figure."""
    figures = front.score()
    assert figures.hypervolume == front.hypervolume() > 0
    assert figures.n_points == len(front)
    first = front.names[0]
    pick = front.select(best=first)
    assert pick.why.startswith(f"{pick.point.id} has the ")
    best = front.objectives[0].sign * front.values[:, 0]
    assert front.objectives[0].sign * pick.point.values["validate"][0] == best.min()
    for rule in (pm.rules.Knee(), pm.rules.MinMaxRegret()):
        assert front.select(rule).why
    for p, line in zip(front.points, front.table().splitlines()[1:], strict=True):
        assert line.split()[0] == p.id
    figure = front.plot(folder / "front.svg", pick)
    assert figure.stat().st_size > 5_000
    assert pick.point.id in figure.with_suffix(".csv").read_text()

"""A study that grows: what is there stays, and the whole is that of one run."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.storage.schema import SCHEMA
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from tests import toys
from tests.folders import differences, everything, files, logged

SGD = partial(torch.optim.SGD, lr=0.1)
ROWS = [[0.25, 0.75], [0.5, 0.5], [0.75, 0.25], [0.125, 0.875], [0.375, 0.625], [0.875, 0.125]]
OLD = Path(__file__).parents[2] / "old_fronts" / "0.1"

pytestmark = [pytest.mark.fault(116), pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")]


def explore(out: Path, preferences: Any = 3, problem: dict[str, Any] | None = None, **changes: Any) -> pm.Front:
    requested = {"solver": ps.EPO(), "epochs": 1, "optimizer": SGD} | changes
    return pm.explore(toys.two_regressions(**(problem or {})), preferences=preferences, out=out, **requested)


def grow(tmp_path: Path, first: dict[str, Any], then: dict[str, Any], size: int) -> None:
    """Check that a study grown in a folder is that of one run, with the first records left as they are."""
    explore(tmp_path / "grown", **first)
    before = {name: data for name, data in files(tmp_path / "grown").items() if name.partition("/")[2]}
    explore(tmp_path / "grown", **then)
    assert logged(tmp_path / "grown", "resumed")[-1]["left"] == size - len([n for n in before if "points/" in n])
    explore(tmp_path / "whole", **then)
    after = files(tmp_path / "grown")
    assert after == files(tmp_path / "whole")
    assert {name: after[name] for name in before} == before
    assert not verify(tmp_path / "grown").damaged


@pytest.mark.parametrize("solver", [ps.EPO(), ps.Linear()], ids=["EPO", "Linear"])
def test_more_preferences_and_seeds_are_those_of_one_run(tmp_path, solver):
    grow(tmp_path, {"preferences": ROWS[:3], "solver": solver}, {"preferences": ROWS, "seeds": 2, "solver": solver}, 12)


def test_a_fleet_grows_by_whole_fleets(tmp_path):
    first = {"preferences": ROWS[:4], "fleet": 2, "solver": ps.Linear()}
    grow(tmp_path, first, first | {"preferences": ROWS, "seeds": 2}, 12)


FILM = {"front_model": pm.FiLM(hidden=4), "solver": ps.Linear()}


def test_corners_and_seeds(tmp_path):
    first = {"preferences": 2, "normalise": None}
    grow(tmp_path, first, first | {"seeds": 2}, 8)


def test_a_front_model_grows_by_seeds(tmp_path):
    first = {"preferences": 2, "normalise": None} | FILM
    grow(tmp_path, first, first | {"seeds": 2}, 4)


@pytest.mark.parametrize("how", [{}, {"fleet": 2}, FILM], ids=["one by one", "fleet", "front model"])
def test_seeds_that_are_added_keep_the_range_of_the_first(tmp_path, how):
    """Their points are those of one run that is given that range."""
    first = explore(tmp_path / "front", 2, **how)
    before = {name: data for name, data in files(tmp_path / "front").items() if "/" in name}
    grown = explore(tmp_path / "front", 2, seeds=2, **how)
    assert logged(tmp_path / "front", "resumed")[-1]["left"] == 4
    assert before.items() <= files(tmp_path / "front").items()
    assert grown.normalisation == first.normalisation
    given = explore(tmp_path / "given", 2, seeds=2, normalise=first.normalisation, **how)
    assert grown.points == given.points
    assert not verify(tmp_path / "front").damaged


def test_an_even_design_that_nests_grows_and_keeps_its_places(tmp_path):
    first = explore(tmp_path / "front", 1)
    front = explore(tmp_path / "front", 3)
    assert [p.preference for p in front.points] == [(0.5, 0.5), (0.25, 0.75), (0.75, 0.25)]
    assert [p for p in front.every if p.id in {"point-001", "ideal-1", "ideal-2"}] == [*first.points, *first.corners]
    again = everything(tmp_path / "front")
    explore(tmp_path / "front", 3)
    assert files(tmp_path / "front") == {name: data for name, data in again.items() if name != "log.jsonl"}


def test_a_list_keeps_the_corners_that_are_there(tmp_path):
    explore(tmp_path / "front", 3)
    before = files(tmp_path / "front")
    explore(tmp_path / "front", ROWS[2::-1])
    assert files(tmp_path / "front") == before
    front = explore(tmp_path / "front", ROWS[:4])
    assert len(front.points) == 4
    assert front.ideals is not None


def test_a_list_is_an_addition(tmp_path):
    """Rows that are there are not trained again, by whatever rounding they are written."""
    explore(tmp_path / "grown", 3)
    before = files(tmp_path / "grown")
    front = explore(tmp_path / "grown", [{"a": 0.75, "b": 0.25}, {"a": 0.9, "b": 0.1}])
    assert [p.id for p in front.points] == ["point-001", "point-002", "point-003", "point-004"]
    assert front.points[-1].preference == pytest.approx((0.9, 0.1))
    assert logged(tmp_path / "grown", "resumed")[-1]["left"] == 1
    after = files(tmp_path / "grown")
    assert {name: after[name] for name in before if "/" in name} == {k: v for k, v in before.items() if "/" in k}
    for again in ([[0.1 + 0.2, 0.7], [0.9, 0.1]], [[0.3, 0.7]]):  # .1 + .2 is not .3
        front = explore(tmp_path / "grown", again)
        assert len(front.points) == 5
        assert len(front.corners) == 2
    assert logged(tmp_path / "grown", "resumed")[-1]["left"] == 0
    assert not verify(tmp_path / "grown").damaged


def test_a_number_whose_design_is_among_those_that_are_there_adds_nothing(tmp_path):
    """So what was begun with a number goes on as it was begun, after a list has been added."""
    explore(tmp_path / "front", 3)
    explore(tmp_path / "front", [[0.9, 0.1]])
    assert len(explore(tmp_path / "front", 3).points) == 4
    assert len(explore(tmp_path / "front", 1).points) == 4
    with pytest.raises(ValueError, match="to add preferences, give them as a list; those that are there stay"):
        explore(tmp_path / "front", 7)  # holds the 3, and not the other


def test_a_reference_can_be_another(tmp_path):
    first = explore(tmp_path / "front")
    front = explore(tmp_path / "front", problem={"ref_point": [3.0, 4.0]})
    assert logged(tmp_path / "front", "resumed")[-1]["left"] == 0
    assert front.points == first.points
    assert front.ref_point == (3.0, 4.0)
    assert front.hypervolume() == first.with_reference([3.0, 4.0]).hypervolume() != first.hypervolume()
    assert front.with_reference((2, 2)).score() == first.score()
    with pytest.raises(ValueError, match=r"ref_point=\[1.0\] has shape"):
        front.with_reference([1.0])


REFUSED = [
    ("others", {"solver": ps.ParetoMTL()}, {}, "for its method, each point depends on the others"),
    ("front model", {"solver": ps.Linear(), "front_model": pm.FiLM(hidden=4)}, {}, r"front.model_at\(…\) serves any"),
    ("fleet", {"solver": ps.Linear(), "fleet": 2}, {}, "the 3 there leave a fleet unfilled"),
    (
        "refine",
        {"preferences": pm.Refine(2, 3)},
        {"preferences": pm.Refine(2, 3), "seeds": 2},
        "with refine all of its",
    ),
]


@pytest.mark.parametrize(("first", "then", "why"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_hangs_together_does_not_grow(tmp_path, first, then, why):
    first = {"preferences": ROWS[:3]} | first
    explore(tmp_path / "front", **first)
    before = everything(tmp_path / "front")
    for more in [then] if then else [{"preferences": ROWS}, {"preferences": ROWS[3:5]}]:
        with pytest.raises(ValueError, match=why) as error:
            explore(tmp_path / "front", **(first | more))
        assert differences(error)
    assert everything(tmp_path / "front") == before


def measure(model, batches):
    return {name: 2.0 * float(loss) for name, loss in toys.losses(model, next(iter(batches))).items()}


def measure_otherwise(model, batches):
    return {name: 3.0 * float(loss) for name, loss in toys.losses(model, next(iter(batches))).items()}


@pytest.mark.fault(116)
@pytest.mark.parametrize("other", [measure_otherwise, None])
@pytest.mark.parametrize("preferences", [ROWS[:3], ROWS])
def test_by_another_measure_the_points_are_measured_again(tmp_path, capsys, other, preferences):
    """And the whole is as if it had been measured so from the start; more points may come with it."""
    explore(tmp_path / "front", ROWS[:3], problem={"measure": measure})
    weights = {k: v for k, v in files(tmp_path / "front").items() if k.startswith("weights/")}
    explore(tmp_path / "front", preferences, problem={"measure": other})
    assert "another measure: 3 points" in capsys.readouterr().err
    explore(tmp_path / "anew", preferences, problem={"measure": other})
    assert files(tmp_path / "front") == files(tmp_path / "anew")
    assert weights.items() <= files(tmp_path / "front").items()


def test_another_measure_and_another_budget_are_refused(tmp_path):
    explore(tmp_path / "front", problem={"measure": measure})
    before = everything(tmp_path / "front")
    with pytest.raises(ValueError, match="holds another study") as error:
        explore(tmp_path / "front", problem={"measure": measure_otherwise}, epochs=3)
    assert any("another budget is another study" in line for line in differences(error))
    assert everything(tmp_path / "front") == before


def test_growth_that_is_stopped_goes_on(tmp_path, monkeypatch):
    explore(tmp_path / "front", ROWS[:2])
    explore(tmp_path / "whole", ROWS[:3])
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_front", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            explore(tmp_path / "front", ROWS[:3])
    found = verify(tmp_path / "front")
    assert (found.damaged, found.absent, found.stale) == ({}, ("point-003",), True)
    explore(tmp_path / "front", ROWS[:3])
    assert files(tmp_path / "front") == files(tmp_path / "whole")


# --- a reference that the corners fix ---


def test_the_corners_fix_a_reference_that_is_not_given(tmp_path, capsys):
    run = partial(explore, problem={"ref_point": None})
    front = run(tmp_path / "front")
    corners = np.array([p.losses["validate"] for p in front.corners])
    expected = corners.max(axis=0) + 0.1 * (corners.max(axis=0) - corners.min(axis=0))
    assert front.ref_point == pytest.approx(expected, rel=1e-12)
    assert f"ref_point={front.ref_point}, fixed from the corners" in capsys.readouterr().err
    assert [line["id"] for line in logged(tmp_path / "front", "point")][:2] == ["ideal-1", "ideal-2"]
    assert run(tmp_path / "front", seeds=2).ref_point == front.ref_point


def test_a_reference_of_the_first_seeds_corners_is_that_of_one_run(tmp_path):
    run = partial(explore, problem={"ref_point": None}, normalise=None)
    run(tmp_path / "front")
    run(tmp_path / "front", seeds=2)
    run(tmp_path / "whole", seeds=2)
    assert files(tmp_path / "front") == files(tmp_path / "whole")


def test_rounds_begin_with_the_corners_where_they_fix_the_reference(tmp_path):
    front = explore(tmp_path / "front", pm.Refine(2, 3), {"ref_point": None})
    given = explore(tmp_path / "given", pm.Refine(2, 3), {"ref_point": front.ref_point})
    assert [line["id"] for line in logged(tmp_path / "front", "point")][:2] == ["ideal-1", "ideal-2"]
    assert front.every == given.every
    explore(tmp_path / "front", pm.Refine(2, 3), {"ref_point": None})
    assert logged(tmp_path / "front", "resumed")[-1]["left"] == 0
    assert files(tmp_path / "front") == files(tmp_path / "given")


@pytest.mark.filterwarnings("ignore:.*points failed:UserWarning", "ignore:.*untrained model is nan:UserWarning")
@pytest.mark.filterwarnings("ignore:a corner failed")
def test_a_reference_can_be_given_where_the_corners_could_not_fix_it(tmp_path):
    with pytest.raises(ValueError, match=r"and ideal-1 \(nan .*failed; give ref_point"):
        explore(tmp_path / "front", problem={"ref_point": None, "losses": nan})
    with pytest.raises(pm.EmptyFrontError):  # the others fail as well
        explore(tmp_path / "front", problem={"losses": nan})
    assert Store(tmp_path / "front").study["ref_point"] == [2.0, 2.0]


@pytest.mark.parametrize("ref_point", [None, [2.0, 2.0]])
def test_a_front_whose_corners_have_not_told_yet_says_so_and_goes_on(tmp_path, monkeypatch, ref_point):
    run = partial(explore, problem={"ref_point": ref_point})
    run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("paretomtl.sweep.refine.fix_by_corners", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            run(tmp_path / "front")
    if ref_point is None:
        with pytest.raises(ValueError, match="ref_point is not fixed yet, for the corners are not trained"):
            pm.Front.load(tmp_path / "front")
    else:
        assert pm.Front.load(tmp_path / "front").normalisation is None
    assert not verify(tmp_path / "front").damaged
    run(tmp_path / "front")
    assert files(tmp_path / "front") == files(tmp_path / "whole")


def nan(model, batch):
    losses = toys.losses(model, batch)
    return losses | {"b": losses["b"] * float("nan")}


@pytest.mark.parametrize(
    ("preferences", "changes", "why"),
    [
        (ROWS, {}, r"ref_point=None is fixed from the corners, which are trained where preferences= is a number"),
        (3, FILM | {"normalise": None}, "which are trained where preferences= is a"),
        (pm.Refine(2, 3, by="hypervolume"), {}, "places preferences by the hypervolume"),
        (3, {"losses": nan}, r"ideal-1 \(nan in 'b' at step 0\), ideal-2 .* failed; give ref_point"),
    ],
)
def test_a_reference_that_nothing_can_fix_is_an_error(tmp_path, preferences, changes, why):
    problem = {"ref_point": None} | {key: changes[key] for key in changes if key == "losses"}
    with pytest.raises(ValueError, match=why):
        explore(tmp_path / "front", preferences, problem, **{k: v for k, v in changes.items() if k != "losses"})
    assert "losses" in changes or not (tmp_path / "front").exists()


# --- folders of earlier versions ---


@pytest.mark.fault(80)
def test_a_folder_of_schema_2_grows_once_it_is_migrated(tmp_path, monkeypatch):
    from paretomtl.storage.migrate import migrate
    from tests.old_fronts.problem import explore as explore_old

    monkeypatch.setattr("paretomtl.preflight.description.platform.python_version", lambda: versions["python"])
    versions = json.loads((OLD / "whole/seeds/study.json").read_text())["study"]["versions"]
    monkeypatch.setattr("paretomtl.preflight.description.version", lambda name: versions[name])
    folder = Path(shutil.copytree(OLD / "whole/seeds", tmp_path / "seeds"))
    before = files(folder)
    with pytest.raises(
        ValueError, match=r"is of schema 2, in which a study cannot grow; run `paretomtl migrate .* first"
    ):
        explore_old("seeds", out=folder, seeds=4)
    assert files(folder) == before
    assert migrate(folder) == (2, SCHEMA)
    assert not verify(folder).damaged
    records = {name: data for name, data in files(folder).items() if name.startswith("points/")}
    with pytest.warns(UserWarning, match="cannot tell whether the code changed"):
        front = explore_old("seeds", out=folder, seeds=4)
    assert [p.id for p in front.points][-2:] == ["point-001-seed-4", "point-002-seed-4"]
    assert {name: data for name, data in files(folder).items() if name in records} == records
    assert not verify(folder).damaged

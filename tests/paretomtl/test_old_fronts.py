"""Fronts of version 0.1.0: they are read as they were, and those left half done end at the bytes they would have had.

tests/old_fronts/make.py made them, with the code of then.
"""

import csv
import importlib.metadata
import io
import json
import platform
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import paretomtl as pm
from paretomtl.cli import main
from tests.folders import everything, files
from tests.old_fronts.problem import Place, explore, measured, problem

OLD = Path(__file__).parents[1] / "old_fronts" / "0.1"
VERSIONS = json.loads((OLD / "whole/plain/study.json").read_text())["study"]["versions"]
INTACT = "every file is as it was written"

# of each front: its hypervolume; the points chosen by the best of each objective and by the least regret
FIGURES = {
    "plain": (148.484015815312, "point-003", "point-001", "point-002"),
    "apart": (205.0143728721887, "point-003", "point-001", "point-002"),
    "seeds": (186.4106396039327, "point-002-seed-1", "point-001-seed-3", "point-001-seed-3"),
    "front-model": (198.37475802822178, "point-003", "point-001", "point-002"),
    "fleet": (205.0143728721887, "point-003", "point-001", "point-002"),
    "refined": (204.41892258447558, "point-003", "point-001", "point-002"),
    "command": (146.19208019259077, "point-003", "point-001", "point-002"),
}

# of each front: the points that are absent, and the first step that is done when it goes on
HALF_DONE: dict[str, tuple[tuple[str, ...], Any]] = {
    "between-points/seeds": (("point-001-seed-3", "point-002-seed-3"), ("point-001-seed-3", 0)),
    "between-points/front-model": (("point-002", "point-003"), None),  # its network is there
    "between-points/refined": (("point-004", "point-005", "ideal-1", "ideal-2"), ("ideal-1", 0)),
    "between-points/command": (("point-003", "ideal-1", "ideal-2"), None),  # from there no callbacks are given
    "in-training/apart": (("point-002", "point-003", "ideal-1", "ideal-2"), ("point-002", 2)),
    "in-training/front-model": (("point-001", "point-002", "point-003"), ("network", 2)),
    "in-training/fleet": (("point-001", "point-002", "point-003", "ideal-1", "ideal-2"), ("point-001", 2)),
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning"),
    pytest.mark.filterwarnings("ignore:cannot tell whether the code changed:UserWarning"),  # tested below
]


@pytest.fixture
def versions_of_then(monkeypatch):
    """The versions of Python and of other libraries are said to be those of the fronts; paretomtl's is that of today.

    A study of other versions is refused (test_resume.py), so that without this only one numpy and one torch could go on
    with these fronts. Their bits need no such care: steps of SGD do not round here (see problem.py),
    and what rounds elsewhere, sums and roots and one arc sine a point, is the same with and without vector units.
    Digests of functions are another matter: they are of the bytecode of one Python.
    """
    if platform.python_version_tuple()[:2] != tuple(VERSIONS["python"].split(".")[:2]):
        pytest.skip(f"the digests of functions in these fronts are of the bytecode of Python {VERSIONS['python']}")
    monkeypatch.setattr(platform, "python_version", lambda: VERSIONS["python"])
    say_versions_of_then(monkeypatch, "torch", "numpy")


def say_versions_of_then(monkeypatch, *libraries: str) -> None:
    real = importlib.metadata.distribution
    monkeypatch.setattr(
        importlib.metadata,
        "distribution",
        lambda name: SimpleNamespace(version=VERSIONS[name]) if name in libraries else real(name),
    )


def go_on(name: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Resume a front; which steps of which points were done for it."""
    steps = []
    if name == "command":
        monkeypatch.setattr(sys, "path", [*sys.path])  # which the command line adds to
        assert main(["resume", str(out), "tests.old_fronts.problem:problem"]) == 0
    else:
        explore(name, out=out, callbacks=[lambda step: steps.append((step.point, step.step))])
    return steps


def but_for_words(files: dict[str, bytes]) -> dict[str, Any]:
    """Files without the words of statuses, which say less since nothing certified them, and without hashes of these."""
    contents: dict[str, Any] = dict(files)
    for name, raw in files.items():
        if name == "points.csv":
            contents[name] = [{**row, "status": None} for row in csv.DictReader(io.StringIO(raw.decode()))]
        elif name.endswith(".json"):
            content = json.loads(raw)
            for key in ("status", "sha256", "checksums"):
                content.pop(key, None)
            contents[name] = content
    return contents


def need_adam_of_then(name: str) -> None:
    """Skip what Adam has trained, as it rounds, if this is another torch than that of the fronts."""
    torch_of_then = VERSIONS["torch"].partition("+")[0]
    if name == "command" and torch.__version__.partition("+")[0] != torch_of_then:
        pytest.skip(f"Adam rounds, and this is torch {torch.__version__}, not {torch_of_then}")


# --- whole ---


def test_every_front_is_tested():
    assert {path.name for path in (OLD / "whole").iterdir()} == set(FIGURES)
    assert {path.relative_to(OLD).as_posix() for path in OLD.glob("[!w]*/*")} == set(HALF_DONE)


@pytest.mark.parametrize("name", FIGURES)
def test_a_whole_front_is_read(name, tmp_path, capsys):
    folder = Path(shutil.copytree(OLD / "whole" / name, tmp_path / name))
    hypervolume, *chosen = FIGURES[name]
    front = pm.Front.load(folder)
    assert [p.state for p in front.every] == ["done"] * len(list(folder.glob("points/*.json")))
    assert all(p.id in front.table() for p in front.every)
    assert front.hypervolume() == front.score().hypervolume == pytest.approx(hypervolume)
    picks = [front.select(best="near"), front.select(best="mirrored"), front.select(pm.rules.MinMaxRegret())]
    assert [pick.point.id for pick in picks] == chosen
    assert torch.equal(picks[0].load(Place).place, front.load_model(picks[0].point, Place).place)
    for point in front.every:
        losses = pm.evaluate(measured() if name == "plain" else problem(), front.load_model(point, Place))
        assert tuple(losses.values()) == pytest.approx(point.losses["validate"], rel=1e-15)
    assert str(pm.verify(folder)) == INTACT
    for command in (["verify"], ["show"], ["select", "--best", "near"]):
        assert main([command[0], str(folder), *command[1:]]) == 0
    shown = capsys.readouterr().out
    assert INTACT in shown
    assert f"chosen: {picks[0].why}" in shown
    assert everything(folder) == everything(OLD / "whole" / name)


def test_measures_splits_and_statuses_are_read():
    front = pm.Front.load(OLD / "whole/plain")
    point = front.points[0]
    assert (front.study["solver"], front.study["optimizer"]) == (
        "EPO(eps=None, backend='auto')",
        "paretomtl.training.study.adam",
    )
    assert [(o["name"], o["goal"], o["unit"]) for o in front.study["objectives"]] == [
        ("near", "max", "m²"),
        ("mirrored", "min", ""),
    ]
    assert point.values == {
        "validate": (2.3159165487369204, 5.77575786295122),
        "test": (3.1676981458562614, 3.078711335070561),
    }
    assert point.errors == {"validate": (0.25, 0.125), "test": (0.25, 0.125)}
    assert [p.status for p in front.points] == ["trained"] * 3  # "suspected" and "solved" there: nothing was certified
    assert [p.corner for p in front.corners] == ["near", "mirrored"]
    assert [p.warnings for p in front.points[:2]] == [
        ("55.3 degrees off the ray asked for (suspected)",),
        ("28.8 degrees off the ray asked for (suspected)",),
    ]
    (text,) = front.warnings()
    assert text.startswith("2 of 3 points are up to 55.3 degrees off the ray asked for (point-001, trained): ")


def test_three_seeds_are_read():
    front = pm.Front.load(OLD / "whole/seeds")
    assert [p.seed for p in front.points] == [0, 0, 1, 1, 2, 2]
    assert front.score().n_seeds == 3
    assert len(front.by_seed()) == 3


def test_a_front_model_serves_every_preference():
    front = pm.Front.load(OLD / "whole/front-model")
    for point in front.points:
        served = front.model_at(point.preference, Place)
        assert torch.equal(served.place, front.load_model(point, Place).place)
    between = front.model_at((0.375, 0.625), Place).place
    ends = [front.load_model(point, Place).place for point in front.points[:2]]
    assert torch.equal(between, (ends[0] + ends[1]) / 2)  # its weights are linear in the preference
    assert np.array_equal(front.points[0].preference, (0.25, 0.75))


@pytest.mark.usefixtures("versions_of_then")
@pytest.mark.parametrize("name", FIGURES)
def test_a_whole_front_stays_as_it_is(name, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(OLD / "whole" / name, tmp_path / name))
    assert go_on(name, folder, monkeypatch) == []
    now, then = files(folder), files(OLD / "whole" / name)
    assert {file for file in now if now[file] != then[file]} <= {"points.csv", "front.json"}  # the words of statuses
    assert but_for_words(now) == but_for_words(then)
    assert str(pm.verify(folder)) == INTACT


# --- half done ---


@pytest.mark.parametrize("half", HALF_DONE)
def test_a_half_done_front_is_read(half, tmp_path):
    absent, _ = HALF_DONE[half]
    folder = Path(shutil.copytree(OLD / half, tmp_path / "half"))
    found = pm.verify(folder)
    assert (found.damaged, found.absent, found.foreign) == ({}, absent, {})
    assert main(["verify", str(folder)]) == main(["show", str(folder)]) == 3
    whole, front = pm.Front.load(OLD / "whole" / Path(half).name), pm.Front.load(folder)
    assert front.every == tuple(p for p in whole.every if p.id not in absent)
    assert everything(folder) == everything(OLD / half)


@pytest.mark.usefixtures("versions_of_then")
@pytest.mark.parametrize("half", HALF_DONE)
def test_a_half_done_front_ends_at_the_bytes_of_the_whole_one(half, tmp_path, monkeypatch):
    name = Path(half).name
    need_adam_of_then(name)
    folder = Path(shutil.copytree(OLD / half, tmp_path / "half"))
    steps = go_on(name, folder, monkeypatch)
    assert (steps[0] if steps else None) == HALF_DONE[half][1]
    assert but_for_words(files(folder)) == but_for_words(files(OLD / "whole" / name))
    assert str(pm.verify(folder)) == INTACT


@pytest.mark.usefixtures("versions_of_then")
def test_the_code_of_then_is_not_compared_and_said_so(tmp_path):
    """Its digests are by the names of modules, by which code is no longer known; all else is compared."""
    folder = Path(shutil.copytree(OLD / "whole/apart", tmp_path / "apart"))
    with pytest.warns(UserWarning, match="cannot tell whether the code changed: an earlier version of paretomtl"):
        explore("apart", out=folder)
    before = everything(folder)
    with pytest.raises(ValueError, match=r"(?s)holds another study.*epochs: 2 there, 3 here"):
        explore("apart", out=folder, epochs=3)
    assert everything(folder) == before


def of_first_seed(name: str) -> str:
    """A name in which the first seed is not named; names of schema 2 named it."""
    return name.replace("-seed-1", "")


@pytest.mark.usefixtures("versions_of_then")
@pytest.mark.parametrize("name", [name for name in FIGURES if name not in ("plain", "command")])
def test_a_front_explored_anew_has_the_points_of_then(name, tmp_path):
    explore(name, out=tmp_path / "new", normalise=None)
    new, old = files(tmp_path / "new"), {of_first_seed(k): v for k, v in files(OLD / "whole" / name).items()}
    assert new.keys() == old.keys()
    for file in new:
        if file.startswith("points/"):
            one, other = (json.loads(files[file]) for files in (new, old))
            differing = {key for key in one if one[key] != other[key]}
            assert differing - {"id", "status"} == {"schema", "study", "sha256"}
            assert one["id"] == of_first_seed(other["id"])
        elif file == "points.csv":
            one, other = but_for_words({file: new[file]}), {file: of_first_seed(old[file].decode()).encode()}
            assert one == but_for_words(other)
        elif file.startswith("weights/"):
            assert new[file] == old[file]

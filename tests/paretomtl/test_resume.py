"""A front that was begun goes on: what is there is not computed again, and another study is refused with its reason."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.preflight import description
from paretomtl.sweep import keeping
from paretomtl.sweep.here import Here
from studies.analytic import quadratics
from tests import toys
from tests.folders import differences, everything, files, logged

ROOT = Path(pm.__file__).parents[1]
SGD = partial(torch.optim.SGD, lr=0.1)
ALL = {"point-001", "point-002", "point-003", "ideal-1", "ideal-2"}

pytestmark = pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")


@dataclass
class Trained:
    """A callback: which points were trained."""

    ids: set[str] = field(default_factory=set)

    def __call__(self, told: pm.Step) -> None:
        self.ids.add(told.point)


def explored(out: Path, problem: dict[str, Any] | None = None, **changes: Any) -> set[str]:
    """Explore a toy in a folder; the points that were trained for it."""
    trained = Trained()
    asked = {"solver": ps.EPO(), "preferences": 3, "epochs": 2, "optimizer": SGD} | changes
    pm.explore(toys.two_regressions(**(problem or {})), out=out, callbacks=[trained], **asked)
    return trained.ids


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A front that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "front"
    assert explored(folder) == ALL
    return folder


@pytest.fixture
def begun(whole, tmp_path):
    """A copy of it, to be harmed."""
    return shutil.copytree(whole, tmp_path / "begun")


def weights_of(folder: Path, id: str) -> Path:
    point = next(p for p in pm.Front.load(folder).every if p.id == id)
    return folder / "weights" / f"{point.weights}.safetensors"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# --- the same study ---


@pytest.mark.fault(76)
def test_a_whole_front_is_left_as_it_is(whole, begun):
    assert explored(begun) == set()
    assert files(begun) == files(whole)
    assert logged(begun, "resumed")[-1]["left"] == 0


def after_kill(folder: Path) -> None:
    """As a kill leaves it: a weights file without its record, and a front.json that is older than the records."""
    for name in ("points/point-003.json", "points/ideal-1.json", "points/ideal-2.json", "points.csv", "front.json"):
        (folder / name).unlink()
    (folder / "points/point-003.json").write_bytes(b"")


HARM: dict[str, tuple[Callable[[Path], Any], set[str]]] = {
    "record": (lambda f: (f / "points/point-002.json").unlink(), {"point-002"}),
    "flipped record": (lambda f: flip(f / "points/point-002.json"), {"point-002"}),
    "weights": (lambda f: weights_of(f, "ideal-1").unlink(), {"ideal-1"}),
    "flipped weights": (lambda f: flip(weights_of(f, "point-003")), {"point-003"}),
    "all weights": (lambda f: shutil.rmtree(f / "weights"), ALL),
    "all records": (lambda f: shutil.rmtree(f / "points"), ALL),
    "front": (lambda f: (f / "front.json").unlink(), set()),
    "flipped front": (lambda f: flip(f / "front.json"), set()),
    "study": (lambda f: (f / "study.json").unlink(), set()),
    "flipped study": (lambda f: flip(f / "study.json"), set()),
    "table": (lambda f: (f / "points.csv").unlink(), set()),
    "killed": (after_kill, {"point-003", "ideal-1", "ideal-2"}),
}


@pytest.mark.fault(63, 77, 78)
@pytest.mark.parametrize("harm", HARM)
def test_only_what_is_absent_or_damaged_is_computed(whole, begun, harm):
    change, absent = HARM[harm]
    change(begun)
    assert explored(begun, executor=Here()) == absent
    assert files(begun) == files(whole)
    assert pm.Front.load(begun).warnings() == pm.Front.load(whole).warnings()


def test_progress_starts_at_what_is_there(begun, monkeypatch):
    made, progress = [], keeping.Progress
    monkeypatch.setattr(keeping, "Progress", lambda *args: made.append(args) or progress(*args))
    (begun / "points/point-002.json").unlink()
    explored(begun)
    assert [(n, there) for _, n, _, there in made] == [(5, 4)]
    assert logged(begun, "resumed")[-1]["left"] == 1


def test_records_without_a_study_are_not_taken_up(begun):
    for name in ("study.json", "front.json"):
        (begun / name).unlink()
    before = everything(begun)
    with pytest.raises(
        ValueError, match=r"begun' holds records, but neither study.json nor front.json; give a new out="
    ):
        explored(begun)
    assert everything(begun) == before


@pytest.mark.fault(79)
def test_records_of_another_study_are_computed_anew(whole, begun, tmp_path):
    explored(tmp_path / "other", seed=1)
    shutil.copytree(tmp_path / "other/points", begun / "points", dirs_exist_ok=True)
    shutil.copytree(tmp_path / "other/weights", begun / "weights", dirs_exist_ok=True)
    assert explored(begun) == ALL
    assert {name: data for name, data in files(begun).items() if name in files(whole)} == files(whole)


def test_several_seeds_go_on(tmp_path):
    run = partial(explored, preferences=[[0.5, 0.5]], seeds=3)
    assert len(run(tmp_path / "whole")) == 3
    shutil.copytree(tmp_path / "whole", tmp_path / "begun")
    (tmp_path / "begun/points/point-001-seed-2.json").unlink()
    assert run(tmp_path / "begun") == {"point-001-seed-2"}
    assert files(tmp_path / "begun") == files(tmp_path / "whole")


def nan(model, batch):
    values = toys.losses(model, batch)
    return values | {"a": values["a"] * float("nan")}


@pytest.mark.fault(4)
@pytest.mark.filterwarnings("ignore:.*points failed:UserWarning", "ignore:.*of the untrained model:UserWarning")
@pytest.mark.filterwarnings("ignore:a corner failed")
def test_a_point_that_failed_is_not_tried_again(tmp_path):
    for _ in range(2):
        with pytest.raises(pm.EmptyFrontError, match=r"all points failed: nan in 'a' at step 0\. Their records"):
            explored(tmp_path / "front", {"losses": nan})
    assert len(logged(tmp_path / "front", "point")) == 5
    assert logged(tmp_path / "front", "resumed")[-1]["left"] == 0


# --- another study ---

DIVIDED = [pm.Objective("a", scale=2.0), "b"]
BUDGET = "another budget is another study: its points end elsewhere"
OTHERS = [
    (
        {"solver": ps.EPO(eps=1e-3)},
        ["solver: EPO(eps=None, backend='auto') there, EPO(eps=0.001, backend='auto') here"],
    ),
    (
        {"optimizer": partial(torch.optim.SGD, lr=0.2)},
        ["optimizer: torch.optim.sgd.SGD(lr=0.1) there, torch.optim.sgd.SGD(lr=0.2) here"],
    ),
    ({"epochs": 3}, ["epochs: 2 there, 3 here", BUDGET]),
    ({"epochs": None, "steps": 8}, ["epochs: 2 there, None here", "steps: None there, 8 here", BUDGET]),
    (
        {"preferences": 4},
        [
            "preferences: 5 points there, 6 points here",
            "preferences, point-001: ",
            "to add preferences, give them as a",
        ],
    ),
    (
        {"preferences": 2},
        [
            "preferences: 5 points there, 4 points here",
            "preferences, point-001: ",
            "what is there stays where",
        ],
    ),
    ({"seed": 1}, ["seed: 0 there, 1 here"]),
    ({"clip": 1.0}, ["clip: None there, 1.0 here"]),
    ({"device": "cpu:0"}, ["device: cpu there, cpu:0 here"]),
    ({"problem": {"objectives": DIVIDED}}, ["'a' scale: 1.0 there, 2.0 here"]),
]


@pytest.mark.fault(74)
@pytest.mark.parametrize(("change", "told"), OTHERS, ids=[next(iter(change)) for change, _ in OTHERS])
def test_another_study_is_refused_with_what_differs(begun, change, told):
    before = everything(begun)
    with pytest.raises(ValueError) as error:
        explored(begun, **change)
    found = differences(error)
    assert [line[: len(text)] for line, text in zip(found, told, strict=True)] == told
    assert everything(begun) == before


@pytest.mark.fault(74)
def test_other_versions_are_refused(begun, monkeypatch):
    version = description.version
    monkeypatch.setattr(description, "version", lambda name: "9.9" if name == "torch" else version(name))
    with pytest.raises(ValueError) as error:
        explored(begun)
    assert differences(error) == [f"torch: {version('torch')} there, 9.9 here"]


@pytest.mark.parametrize("exact", [False, True])
def test_a_study_of_the_version_before_goes_on_unless_it_is_exact(tmp_path, monkeypatch, exact):
    """Since 0.3.0 the points of exact problems are polished otherwise."""
    if exact:
        explore = partial(pm.explore, quadratics(3), ps.EPO(), preferences=[(0.5, 0.5)], steps=2, out=tmp_path / "out")
    else:
        explore = partial(explored, tmp_path / "out")
    with monkeypatch.context() as patch:
        real = description.version
        patch.setattr(description, "version", lambda name: "0.2.0" if name == "paretomtl" else real(name))
        explore()
    if exact:
        with pytest.raises(ValueError, match=r"paretomtl: 0\.2\.0 there, 0\.3\.0 here"):
            explore()
    else:
        assert explore() == set()


# --- other processes ---

SCRIPT = """
import paretomtl as pm, paretomtl_solvers as ps, torch
from studies.analytic import quadratics
from tests import toys
NAMES = {"a", "b", "c", "d"}
def scale(x): return x * (2 if "a" in NAMES else 1)
losses = lambda model, batch: {name: scale(loss) for name, loss in toys.losses(model, batch).items()}
problem = toys.two_regressions(losses=losses, ref_point=[9, 9])
pm.explore(problem, ps.Linear(), preferences=1, epochs=1, optimizer=lambda p: torch.optim.Adam(p, 1e-2), out="front",
           callbacks=[lambda told: print(told.point)])
"""


@pytest.mark.parametrize("how", ["-c", "script.py"])
def test_a_script_goes_on_in_another_process(tmp_path, how):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "solvers")])}
    printed = [
        subprocess.run(
            [sys.executable, how, *([SCRIPT] if how == "-c" else [])],
            cwd=tmp_path,
            env=environment | {"PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert "point-001" in printed[0]
    assert printed[1] == ""

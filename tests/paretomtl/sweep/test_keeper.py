"""Checkpoints in a front's folder: what a stop leaves, what is gone once it is whole, what is not to be trusted."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.storage import checkpoints
from paretomtl.storage import files as files_of_ours
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from paretomtl.sweep.here import Here
from paretomtl.sweep.keeper import FolderCheckpointer
from tests import toys
from tests.damage import flipped, reseal
from tests.durable import PATHS, ROOT
from tests.folders import files, logged

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ADAM = partial(torch.optim.Adam, lr=0.01)
ASKED = {
    "alone": {"solver": ps.EPO()},
    "fleet": {"solver": ps.EPO(), "fleet": 3},
    "network": {"solver": ps.Linear(), "front_model": pm.FiLM(hidden=8), "seeds": 2},
}
MADE = {"alone": "point-002", "fleet": "point-001", "network": "network-seed-2"}
TOTAL = 24  # steps of a front of points alone, 8 a point; no corners, for fewer of them


@dataclass
class Steps:
    """A callback: how many steps it is told of; it acts at one of them."""

    at: int | None = None
    act: object = None
    told: list[pm.Step] = field(default_factory=list)

    def __call__(self, step: pm.Step) -> None:
        self.told.append(step)
        if len(self.told) == self.at:
            (self.act or stop)()


def stop() -> None:
    raise KeyboardInterrupt


def explored(out: Path, kind: str = "alone", steps: Steps | None = None, seconds: float = 1e9) -> int:
    """How many steps were done; a checkpoint is kept after so many seconds."""
    steps = steps or Steps()
    asked = {"preferences": [[0.2, 0.8], [0.4, 0.6], [0.7, 0.3]], "epochs": 2, "optimizer": ADAM} | ASKED[kind]
    problem = toys.two_regressions(model=toys.TwoHeads if kind == "fleet" else toys.Dropping)
    pm.explore(problem, out=out, callbacks=[steps], executor=Here(seconds), **asked)
    return len(steps.told)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of a run that nothing stops, and its steps, by kind; without checkpoints."""

    def of(kind: str) -> tuple[dict[str, bytes], int]:
        if kind not in found:
            folder = tmp_path_factory.mktemp("whole") / "front"
            steps = explored(folder, kind)
            found[kind] = files(folder), steps
        return found[kind]

    found: dict = {}
    return of


def stopped(out: Path, kind: str, at: int, act=None) -> None:
    with pytest.raises(KeyboardInterrupt):
        explored(out, kind, Steps(at, act), seconds=0.0)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A front of points alone, stopped at the seventh step of the second."""
    out = tmp_path_factory.mktemp("once") / "front"
    stopped(out, "alone", 15)
    return out


@pytest.fixture
def begun(once, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(once, tmp_path / "front"))


def kept(out: Path) -> tuple[Path, Path]:
    """The two files of its checkpoint."""
    head, tensors = sorted((out / "checkpoints").iterdir(), key=lambda path: path.suffix)
    return head, tensors


@pytest.mark.fault(61, 63)
@pytest.mark.parametrize(("kind", "at"), [("alone", 15), ("fleet", 18), ("network", 14)])
def test_it_goes_on_from_the_step_before(tmp_path, whole, kind, at):
    expected, steps = whole(kind)
    out = tmp_path / "front"
    stopped(out, kind, at)
    head, _ = kept(out)
    assert head.name == f"{MADE[kind]}.json"
    found = verify(out)
    assert (found.damaged, found.foreign, found.stale) == ({}, {}, False)
    together = 3 if kind == "fleet" else 1
    assert explored(out, kind) == steps - (at - 1) // together * together
    assert files(out) == expected
    assert str(verify(out)) == "every file is as it was written"
    assert not (out / "checkpoints").exists()
    assert [line["text"] for line in logged(out, "warning") if "checkpoint" in line["text"]] == []


def test_moved_to_another_place_it_goes_on(begun, tmp_path, whole):
    there = shutil.move(begun, tmp_path / "moved")
    assert explored(there) == TOTAL - 14
    assert files(there) == whole("alone")[0]


def test_nothing_is_kept_of_what_takes_less_than_its_seconds(tmp_path, whole):
    out = tmp_path / "front"
    with pytest.raises(KeyboardInterrupt):
        explored(out, "alone", Steps(15), seconds=60.0)
    assert not (out / "checkpoints").exists()
    assert explored(out, seconds=60.0) == TOTAL - 8
    assert files(out) == whole("alone")[0]


# --- damage ---


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    path.write_bytes(flipped(path.read_bytes(), path.stat().st_size // 2))


def link(path: Path) -> None:
    path.rename(path.parent.parent.parent / "away")
    path.symlink_to(path.parent.parent.parent / "away")


def unlink(path: Path) -> None:
    path.unlink()


@pytest.mark.fault(78)
@pytest.mark.parametrize("which", ["head", "tensors"])
@pytest.mark.parametrize("harm", [cut, flip, link, unlink], ids=lambda harm: harm.__name__)
def test_a_damaged_one_is_named_and_its_point_starts_again(begun, whole, which, harm):
    path = dict(zip(("head", "tensors"), kept(begun), strict=True))[which]
    harm(path)
    name = f"checkpoints/{path.name}"
    found = verify(begun)
    if harm is unlink and which == "head":
        assert list(found.foreign.values()) == ["of no checkpoint; resume removes it"]
    else:
        assert set(found.damaged) == {name}
        assert "checkpoints/" not in found.damaged[name]
    if harm is flip:
        assert explored(begun) == TOTAL - 8
        assert files(begun) == whole("alone")[0]
    else:
        checkpoints.clear_checkpoints(Store(begun), {"point-002", "point-003"})  # as going on does
    told = [line["text"] for line in logged(begun, "warning") if "starts again" in line["text"]]
    assert len(told) == (not (harm is unlink and which == "head"))
    assert not (begun / "checkpoints").exists()


CHANGES = {
    "another study": lambda found: found.update(study="0" * 16),
    "another name": lambda found: found.update(name="point-003"),
    "other points": lambda found: found["asked"][0][1].reverse(),
    "no bytes": lambda found: found.update(bytes=-1),
    "a few bytes": lambda found: found.update(bytes=100),
    "no hash": lambda found: found.update(tensors="../../x"),
    "no value": lambda found: found.update(value=None),
    "points that are none": lambda found: found.update(asked=[3]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_sealed_and_still_not_ours(begun, whole, change):
    """Its seal holds; it is not gone on with all the same."""
    reseal(kept(begun)[0], CHANGES[change])
    assert explored(begun) == TOTAL - 8
    assert files(begun) == whole("alone")[0]
    assert [
        line for line in logged(begun, "warning") if "starts again" in line["text"] or "is not used" in line["text"]
    ]


def test_sizes_are_checked_before_anything_is_read(begun, monkeypatch):
    head, tensors = kept(begun)
    with tensors.open("r+b") as file:
        file.truncate(2**40)  # sparse
    assert "at most" in verify(begun).damaged[f"checkpoints/{tensors.name}"]
    assert FolderCheckpointer(Store(begun), 0.0).read("point-002", json.loads(head.read_text())["asked"]) is None
    tensors.unlink()


def test_leftovers_are_removed(begun, whole):
    """Of a kill between two files, of points that are there, of a write; what is not ours is left."""
    folder = begun / "checkpoints"
    head, _ = kept(begun)
    (folder / f"{'0' * 64}.safetensors").write_bytes(b"of a kill between two files")
    found = json.loads(head.read_text())
    shutil.copy(head, folder / "point-001.json")
    reseal(folder / "point-001.json", lambda f: f.update(name="point-001", asked=[["point-001", [0.2, 0.8], None]]))
    (folder / "notes.txt").write_text("mine")
    assert found["name"] == "point-002"
    names = {name.removeprefix("checkpoints/"): why for name, why in verify(begun).foreign.items()}
    assert names == {
        f"{'0' * 64}.safetensors": "of no checkpoint; resume removes it",
        "point-001.json": "a checkpoint of points that are there; resume removes it",
        "notes.txt": "not part of the front",
    }
    assert explored(begun) == TOTAL - 14
    assert {path.name for path in folder.iterdir()} == {"notes.txt"}
    assert verify(begun).foreign == {"checkpoints/notes.txt": "not part of the front"}


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path, whole):
    out, away = tmp_path / "front", tmp_path / "away"
    away.mkdir()
    stopped(out, "alone", 9)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    (out / "checkpoints").symlink_to(away)
    assert verify(out).foreign == {"checkpoints": "a link; links are not followed"}
    assert explored(out, seconds=0.0) == TOTAL - 8
    assert list(away.iterdir()) == []
    assert files(out) == whole("alone")[0]
    assert any("has no checkpoints" in line["text"] for line in logged(out, "warning"))


# --- what stops a write ---


@pytest.mark.fault(67)
def test_a_disk_without_room_for_it_does_not_stop_the_training(tmp_path, whole, monkeypatch):
    write = files_of_ours.write

    def full(path, data, new=False):
        if path.parent.name == "checkpoints":
            raise files_of_ours.full_disk_error(OSError(28, "No space left on device"), path, len(data))
        write(path, data, new)

    monkeypatch.setattr(files_of_ours, "write", full)
    out = tmp_path / "front"
    assert explored(out, seconds=0.0) == TOTAL
    assert files(out) == whole("alone")[0]
    told = [line["text"] for line in logged(out, "warning") if "no checkpoint of" in line["text"]]
    assert len(told) == 3  # one a point
    assert "no room for" in told[0]


@pytest.mark.fault(64)
def test_an_interrupt_waits_until_it_is_written(tmp_path, whole, monkeypatch):
    write, sent = files_of_ours.write, []

    def interrupted(path, data, new=False):
        if path.parent.name == "checkpoints" and path.suffix == ".safetensors" and not sent:
            sent.append(path)
            os.kill(os.getpid(), signal.SIGINT)
        write(path, data, new)

    monkeypatch.setattr(files_of_ours, "write", interrupted)
    out = tmp_path / "front"
    with pytest.raises(pm.Interrupted, match="0 of 3 points"):
        explored(out, seconds=0.0)
    head, tensors = kept(out)
    assert (head.name, tensors.name) == ("point-001.json", sent[0].name)
    assert explored(out) == TOTAL - 1
    assert files(out) == whole("alone")[0]


@pytest.mark.fault(61, 63)
def test_killed_at_twenty_moments_it_goes_on_to_the_same_front(tmp_path):
    child = [
        sys.executable,
        ROOT / "tests" / "durable_child.py",
        tmp_path,
        "15",
        "61",
        "0",
    ]  # and a third of them twice
    done = subprocess.run(child, env=os.environ | {"PYTHONPATH": PATHS}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _, *runs = json.loads(done.stdout)
    whole = files(tmp_path / "whole")
    for run in runs:
        assert run["resumed"], done.stderr
        assert files(tmp_path / run["name"]) == whole, run
        assert not (tmp_path / run["name"] / "checkpoints").exists()
    kills = [kill for run in runs for kill in run["kills"]]
    assert len(kills) == 20
    assert {kill["status"] for kill in kills} == {-signal.SIGKILL}
    assert [kill for kill in kills if kill["damaged"]] == []
    assert sum(kill["in_training"] for kill in kills) >= 8  # a checkpoint was there to go on from
    assert any(kill["torn_checkpoint"] for kill in kills)  # and within the write of one


# --- settings ---


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "60", True, None])
def test_seconds_are_a_number_of_at_least_0(unchecked, seconds):
    with pytest.raises(ValueError, match=f"checkpoint_seconds={seconds!r}: give a number of seconds"):
        Here(seconds)

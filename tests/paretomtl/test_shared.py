"""A folder that is shared: by clocks that differ, by two processes at once, on a disk that cannot append atomically."""

import errno
import itertools
import json
import os
import random
import subprocess
import sys
import time
from functools import partial

import pytest

import paretomtl as pm
from paretomtl.storage import files as files_of_ours
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from paretomtl.sweep.here import Here
from tests.durable import PATHS, ROOT, explore
from tests.folders import files, logged

STEPS, POINTS = 8, 5  # a point, of which there are so many
TIMES = 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A front that one process made, undisturbed."""
    return explore(out=tmp_path_factory.mktemp("whole") / "front").folder


# --- clocks that differ ---


def jump(monkeypatch) -> None:
    """From now on the clock goes back and forth, by years."""
    now, by = time.time(), itertools.cycle([0.0, 3e8, -3e8, -1e9, 1.0])
    monkeypatch.setattr(time, "time", lambda: now + next(by))


def touch(folder) -> None:
    """Files have times as on nodes whose clocks differ."""
    draw = random.Random(70)
    for path in sorted(folder.rglob("*")):
        then = draw.choice([1.0, 1e9, 4e9])
        os.utime(path, (then, then))


@pytest.mark.fault(70)
def test_a_clock_that_jumps_changes_nothing(tmp_path, whole, monkeypatch):
    out, steps = tmp_path / "front", []

    def callback(told: pm.Step) -> None:
        if len(steps) == 2 * STEPS + 5 and not (out / "stopped").exists():
            (out / "stopped").touch()
            raise KeyboardInterrupt
        steps.append((told.point, told.step))
        touch(out)

    run = partial(explore, out=out, callbacks=[callback], executor=Here(0.0))
    jump(monkeypatch)
    with pytest.raises(pm.Interrupted, match="2 of 5 points"):
        run()
    assert (out / "checkpoints" / "point-001.json").exists()
    touch(out)
    run()
    (out / "stopped").unlink()
    assert len(steps) == len(set(steps)) == POINTS * STEPS  # no step twice: it went on from the checkpoint
    assert files(out) == files(whole)
    assert str(verify(out)) == "every file is as it was written"
    times = [json.loads(line)["time"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert times != sorted(times)


@pytest.mark.fault(70)
def test_what_is_absent_is_not_told_by_its_age(tmp_path, whole, monkeypatch):
    out, trained = tmp_path / "front", set()
    explore(out=out)
    (out / "points" / "point-002.json").unlink()
    jump(monkeypatch)
    for then in (1.0, 4e9):  # front.json older than all records, and newer
        os.utime(out / "front.json", (then, then))
        explore(out=out, callbacks=[lambda told: trained.add(told.point)])
        assert files(out) == files(whole)
    assert trained == {"point-002"}


# --- two processes in one folder ---


@pytest.mark.fault(72, 76)
def test_two_processes_make_one_front_and_another_study_is_refused(tmp_path):
    child = [sys.executable, ROOT / "tests" / "together_child.py", tmp_path, str(TIMES)]
    done = subprocess.run(child, env=os.environ | {"PYTHONPATH": PATHS}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, rounds = files(tmp_path / "whole"), json.loads(done.stdout)
    assert len(rounds) == TIMES
    for k, found in enumerate(rounds):
        *writers, reader = found["same"]
        assert writers == ["ended", "ended"], done.stderr
        assert reader.startswith("read "), done.stderr
        assert files(tmp_path / f"same-{k}") == whole
        begun = [line for event in ("started", "resumed") for line in logged(tmp_path / f"same-{k}", event)]
        assert len(begun) == 2  # and whoever comes first does not lose its lines
        refused, ended = sorted(found["other"])
        assert ended == "ended", done.stderr
        assert refused.startswith(f"ValueError: out='{tmp_path}/other-{k}' holds another study. Give a new out=")
        assert any(f"seed: {there} there, {here} here" in refused for there, here in ((0, 1), (1, 0)))
        assert set(found["verdicts"].values()) == {"every file is as it was written"}


@pytest.mark.fault(72)
@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_is_to_be_new_is_never_written_over(tmp_path, monkeypatch, links):
    if not links:

        def none(*paths):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", none)
    path = tmp_path / "file"
    files_of_ours.write(path, b"first", new=True)
    with pytest.raises(FileExistsError, match="file cannot be written"):
        files_of_ours.write(path, b"second", new=True)
    assert files(tmp_path) == {"file": b"first"}


@pytest.mark.fault(72)
def test_a_front_that_is_begun_between_a_look_and_a_write_is_taken_up(tmp_path, whole, monkeypatch):
    out, create = tmp_path / "front", Store.create

    def late(store, *args):
        monkeypatch.setattr(Store, "create", create)
        explore(out=out)  # as another process does
        monkeypatch.setattr(Store, "holds_front", lambda store: False)
        try:
            create(store, *args)
        finally:
            monkeypatch.undo()

    monkeypatch.setattr(Store, "create", late)
    trained = set()
    explore(out=out, callbacks=[lambda told: trained.add(told.point)])
    assert trained == set()
    assert files(out) == files(whole)
    assert [line["left"] for line in logged(out, "resumed")] == [0]


# --- a disk that cannot append atomically ---


def mixed(lines: list[bytes]) -> bytes:
    """Two lines, written at once into the same place: one within the other."""
    return b"".join([lines[0], lines[1][:20], lines[2], lines[1][20:], *lines[3:]])


LOGS = {
    "lost": (lambda lines: b"".join(lines[::2]), False),
    "all lost": (None, False),
    "mixed": (mixed, True),
    "over one another": (lambda lines: b"".join([lines[0], lines[1][:30], *lines[2:]]), True),
    "a hole": (lambda lines: b"".join([lines[0], bytes(100), *lines[2:]]), True),
    "cut": (lambda lines: b"".join(lines)[:-9], True),
    "emptied": (lambda lines: b"", True),
}


@pytest.mark.fault(73)
@pytest.mark.parametrize("kind", LOGS)
def test_a_log_that_lost_or_mixed_lines_harms_nothing_else(tmp_path, whole, kind):
    change, told = LOGS[kind]
    out, trained = tmp_path / "front", set()
    front = explore(out=out)
    log, before = out / "log.jsonl", front.table()
    if change is None:
        log.unlink()
    else:
        log.write_bytes(change(log.read_bytes().splitlines(keepends=True)))
    found = verify(out)
    assert set(found.damaged) == ({"log.jsonl"} if told else set())
    assert (found.absent, found.stale, found.foreign) == ((), False, {})
    assert pm.Front.load(out).table() == before
    (out / "points" / "point-002.json").unlink()
    found = verify(out)
    assert (set(found.damaged) - {"log.jsonl"}, found.absent) == ({"points/point-002.json"}, ())
    explore(out=out, callbacks=[lambda told: trained.add(told.point)])
    assert trained == {"point-002"}
    assert files(out) == files(whole)
    assert set(verify(out).damaged) <= {"log.jsonl"}
    assert json.loads(log.read_bytes().splitlines()[-1])["event"] == "ended"

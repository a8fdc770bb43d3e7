"""A front outlives what stops its run: SIGKILL, Ctrl-C, SIGTERM; every signal here is really sent."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import paretomtl as pm
from paretomtl.storage.files import TEMPORARY, write
from paretomtl.storage.verify import verify
from paretomtl.sweep.interrupt import DEFAULT_HANDLERS, Interrupted, catch_signals, hold_interrupt
from tests.durable import PATHS, ROOT, assert_goes_on, at, explore
from tests.folders import files, logged
from tests.limits import limit

KILLS, SEED = 20, 63


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of a run that nothing stops."""
    return files(explore(out=tmp_path_factory.mktemp("whole") / "front").folder)


# --- kills ---


@pytest.mark.fault(63, 76)
def test_killed_at_twenty_moments_and_resumed_it_is_the_same_front(tmp_path):
    child = [sys.executable, ROOT / "tests" / "durable_child.py", tmp_path, str(KILLS), str(SEED)]
    done = subprocess.run(child, env=os.environ | {"PYTHONPATH": PATHS}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _, *runs = json.loads(done.stdout)
    whole = files(tmp_path / "whole")
    assert len(whole) == 3 + 2 * 5  # study.json, front.json, points.csv; a record and weights a point
    for run in runs:
        assert run["resumed"], done.stderr
        assert files(tmp_path / run["name"]) == whole, run
        assert verify(tmp_path / run["name"]).damaged == {}
    kills = [kill for run in runs for kill in run["kills"]]
    assert {kill["status"] for kill in kills} == {-signal.SIGKILL}
    assert [kill for kill in kills if kill["damaged"]] == []  # no file has its name before it is whole
    assert [(kill["begun"], kill["torn"]) for kill in runs[0]["kills"]] == [(False, 1)]  # within study.json
    assert sum(len(run["kills"]) == 2 for run in runs) >= 5  # and again, on the way from there
    assert sum(kill["torn"] > 0 for kill in kills) >= 3  # within a write
    assert any(kill["alone"] for kill in kills)  # weights without a record: that point is computed twice
    assert {0, 5} < {kill["records"] for kill in kills}


@pytest.mark.fault(63, 71)
def test_a_write_in_work_elsewhere_is_no_leftover(tmp_path, whole):
    out = explore(out=tmp_path / "front").folder
    write(tmp_path / "probe", b"")
    mine = TEMPORARY.fullmatch(name_of_a_temporary(tmp_path))
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = {
        kind: f".{host}-{process}-{'0' * 12}.tmp"
        for kind, host, process in (
            ("dead", mine[1], dead.pid),
            ("our number, of a container that was killed", mine[1], os.getpid()),
            ("alive", mine[1], os.getppid()),
            ("another host", "0" * 8, dead.pid),
        )
    }
    for name in names.values():
        (out / "points" / name).write_bytes(b"half")
    explore(out=out)
    left = set(files(out)) - set(whole)
    assert left == {f"points/{names[kind]}" for kind in ("alive", "another host")}


def name_of_a_temporary(folder: Path) -> str:
    """As `write` gives it: seen where the file's final name is taken by a folder, so that the rename is refused."""
    (folder / "taken" / "within").mkdir(parents=True)
    seen = []
    sys.setprofile(lambda frame, event, what: seen.extend(p.name for p in folder.glob(".*.tmp")) if not seen else None)
    try:
        write(folder / "taken", b"")
    except OSError as error:
        assert "taken cannot be written (Is a directory)" in str(error)  # noqa: PT017
    finally:
        sys.setprofile(None)
    assert not list(folder.glob(".*.tmp"))
    return seen[0]


# --- signals ---

MINE = """
import os, pathlib, signal, time
from tests import toys

sync, seen = os.fsync, {"loss": 0, "weights": 0}

def trap(event):  # TRAP is EVENT:COUNT:ACTION
    seen[event] += 1
    asked, count, action = (os.environ.get("TRAP") or ":0:").split(":")
    if asked != event or seen[event] != int(count):
        return
    os.kill(os.getpid(), getattr(signal, action.removesuffix("-hang")))
    if action.endswith("-hang"):
        pathlib.Path("hangs").touch()

def losses(model, batch):
    trap("loss")
    return toys.losses(model, batch)

def fsync(handle):
    if os.path.basename(os.path.dirname(path := os.readlink(f"/proc/self/fd/{handle}"))) == "weights":
        assert path.endswith(".tmp")
        trap("weights")
    while os.path.exists("hangs"):  # as a disk does: this write, and every one that is tried afterwards
        time.sleep(300)
    sync(handle)

os.fsync = fsync

def problem():
    return toys.two_regressions(losses=losses)
"""
IN_TRAINING = "loss:19"  # two in the dry run, twelve a point: within ideal-2
IN_WRITE = "weights:2"  # those of ideal-2


def started(folder: Path, line: str, trap: str = "") -> subprocess.Popen:
    """A command line, where `mine` can be imported."""
    (folder / "mine.py").write_text(MINE)
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    given = {"PYTHONPATH": f"{folder}{os.pathsep}{PATHS}", "PATH": places, "OMP_NUM_THREADS": "1", "TRAP": trap}
    line = f"exec {line}"  # so that signals reach it, not the shell
    return subprocess.Popen(line, shell=True, cwd=folder, env=os.environ | given, stdout=-1, stderr=-1, text=True)


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """Its exit code, and what it says on stderr."""
    _, errors = process.communicate(timeout=limit(100))
    return process.returncode, errors


RUN = f"{sys.executable} -m paretomtl run mine:problem --method Linear --preferences 3 --epochs 2 --out 'a b/front'"


@pytest.fixture(scope="module")
def by_command(tmp_path_factory):
    """The files of a run by the command line that nothing stops."""
    folder = tmp_path_factory.mktemp("by-command")
    code, errors = ended(started(folder, RUN.replace("a b", "ab")))
    assert code == 0, errors
    return files(folder / "ab" / "front")


def assert_line_goes_on(folder, errors, by_command):
    (line,) = re.findall(r"^to go on: (paretomtl resume .*)$", errors, re.MULTILINE)
    code, errors = ended(started(folder, line))
    assert code == 0, errors
    assert files(folder / "a b/front") == by_command


@pytest.mark.parametrize(
    ("trap", "done"),
    [
        pytest.param(f"{IN_TRAINING}:SIGINT", 1, marks=pytest.mark.fault(64)),
        pytest.param(f"{IN_TRAINING}:SIGTERM", 1, marks=pytest.mark.fault(66)),
        pytest.param(f"{IN_WRITE}:SIGINT", 2, marks=pytest.mark.fault(64)),  # the point in work is finished first
    ],
)
def test_interrupted_it_says_how_to_go_on(tmp_path, by_command, trap, done):
    code, errors = ended(started(tmp_path, RUN, trap))
    assert code == 130, errors
    assert f"stopped: {done} of 5 points are in a b/front" in errors
    assert "Traceback" not in errors
    out = tmp_path / "a b/front"
    found = verify(out)
    assert (found.damaged, found.foreign, found.stale, len(found.absent)) == ({}, {}, False, 5 - done)
    assert [p.id for p in pm.Front.load(out).every] == ["ideal-1", "ideal-2"][:done]
    assert logged(out, "interrupted")[0]["done"] == done
    if trap.endswith("SIGTERM"):
        assert_line_goes_on(tmp_path, errors, by_command)


@pytest.mark.fault(65)
@pytest.mark.parametrize(("first", "second"), [("SIGINT", signal.SIGINT), ("SIGTERM", signal.SIGINT)])
def test_a_second_signal_stops_a_write_that_hangs(tmp_path, by_command, first, second):
    with started(tmp_path, RUN, f"{IN_WRITE}:{first}-hang") as process:
        try:
            while not (tmp_path / "hangs").exists():
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.02)
            assert len(list((tmp_path / "a b/front/weights").glob(".*.tmp"))) == 1
            process.send_signal(second)
            code, errors = ended(process)
        finally:
            process.kill()
    assert code == 130, errors
    found = verify(tmp_path / "a b/front")
    assert (found.damaged, found.foreign, len(found.absent)) == ({}, {}, 4)
    (tmp_path / "hangs").unlink()
    if first == "SIGINT":
        assert_line_goes_on(tmp_path, errors, by_command)


def send(number: int):
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.fault(64)
@pytest.mark.parametrize("act", [None, send(signal.SIGINT)])
def test_an_interrupt_tells_what_is_there_and_handlers_are_put_back(tmp_path, whole, act):
    out = tmp_path / "front"
    callback, _ = at("point-003", act or (lambda: None))
    if act is None:
        explore(out=out, callbacks=[callback])
    else:
        with pytest.raises(Interrupted, match=f"^stopped: 4 of 5 points are in {out}; call explore with the same"):
            explore(out=out, callbacks=[callback])
        with pytest.raises(KeyboardInterrupt, match=r"^stopped; give out= to keep what is done$"):
            explore(callbacks=[at("point-003", act)[0]])
        assert_goes_on(out, whole)
    assert [signal.getsignal(number) for number in DEFAULT_HANDLERS] == list(DEFAULT_HANDLERS.values())


@pytest.mark.fault(64)
def test_an_interrupt_is_told_even_where_nothing_more_can_be_written(tmp_path, whole):
    out = tmp_path / "front"

    def act():
        (out / "front.json").rename(tmp_path / "kept")
        (out / "front.json").mkdir()
        send(signal.SIGINT)()

    with pytest.raises(Interrupted, match=r"4 of 5 points .*older than they are: .*front.json cannot be written"):
        explore(out=out, callbacks=[at("point-003", act)[0]])
    (out / "front.json").rmdir()
    assert_goes_on(out, whole)


@pytest.mark.fault(64, 66)
@pytest.mark.parametrize("number", list(DEFAULT_HANDLERS))
def test_handlers_of_the_users_own_are_left_alone(tmp_path, whole, number):
    got = []
    before = signal.signal(number, mine := lambda number, frame: got.append(number))
    try:
        explore(out=tmp_path / "front", callbacks=[at("point-003", send(number))[0]])
        assert signal.getsignal(number) is mine
    finally:
        signal.signal(number, before)
    assert got == [number]
    assert files(tmp_path / "front") == whole


@pytest.mark.fault(64)
def test_in_a_thread_signals_are_left_to_the_main_one(tmp_path, whole):
    thread = threading.Thread(target=explore, kwargs={"out": tmp_path / "front"})
    thread.start()
    thread.join()
    assert files(tmp_path / "front") == whole
    assert [signal.getsignal(number) for number in DEFAULT_HANDLERS] == list(DEFAULT_HANDLERS.values())
    holds, enough = threading.Event(), threading.Event()

    def write_on():
        with hold_interrupt():
            holds.set()
            enough.wait(limit(60))

    thread = threading.Thread(target=write_on)
    with pytest.raises(KeyboardInterrupt), catch_signals():  # noqa: PT012 - a write of another thread does not hold it up
        thread.start()
        holds.wait(limit(60))
        try:
            send(signal.SIGINT)()
            pytest.fail("the signal waited")
        finally:
            enough.set()
            thread.join()

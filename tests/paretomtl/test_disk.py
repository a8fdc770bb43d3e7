"""A disk that is full, and one that cannot be written: loud, with the remedy, and nothing that was written is lost.

Both are real: limits of the process, small file systems, and mounts that are made read-only on the way.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import partial

import pytest

from paretomtl.cli import main
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from tests.durable import PATHS, assert_goes_on, at, explore
from tests.folders import files, logged

RUN = ["--method", "Linear", "--preferences", "3", "--epochs", "2", "--out"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of a run that nothing stops."""
    return files(explore(out=tmp_path_factory.mktemp("whole") / "front").folder)


def remount(folder, options) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


@pytest.fixture
def mounted(tmp_path):
    """A file system of its own, of ten pages of memory."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    if not shutil.which("mount"):
        pytest.skip("there is no mount command")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def limit():
    """Sets how many bytes a file of this process may have at most; without a number, lifts that again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def set_to(size: int = soft) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield set_to
    set_to()


# --- full ---


@pytest.mark.fault(67)
def test_a_full_disk_is_told_with_what_it_needs(mounted, whole):
    out = mounted / "front"
    with pytest.raises(OSError, match=r"No space|no room") as caught:
        explore(out=out)
    told = re.search(r"no room for (\S+): it needs ([\d,]+) bytes, [\d,]+ are free", str(caught.value))
    name = os.path.relpath(told[1], out)
    assert int(told[2].replace(",", "")) == len(whole[name])
    assert "make room and start again with the same folder" in str(caught.value)
    there = [p.id for p in Store(out).read_points()]
    assert 1 <= len(there) < 5
    remount(mounted, "size=1m")
    assert_goes_on(out, whole, there)


@pytest.mark.fault(67)
def test_a_limit_on_the_size_of_files(tmp_path, whole, limit):
    """It is set on the way, so that study.json still fits and the weights of point-003 do not."""
    with pytest.raises(
        OSError, match=r"no room for .*/weights/.*: it needs .* bytes, .* a limit on the size of a file"
    ):
        explore(out=tmp_path / "front", callbacks=[at("point-003", partial(limit, 100))[0]])
    limit()
    assert_goes_on(tmp_path / "front", whole)


@pytest.mark.fault(67)
def test_a_command_ends_with_1(tmp_path):
    (tmp_path / "mine.py").write_text("""
import resource
from tests import toys

seen = []

def losses(model, batch):
    seen.append(model)
    if len(seen) == 30:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    return toys.losses(model, batch)

def problem():
    return toys.two_regressions(losses=losses)
""")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PATHS}"}
    command = [sys.executable, "-m", "paretomtl", "run", "mine:problem", *RUN, "front"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert re.search(r"^paretomtl run: .*no room for front/weights/\S+: it needs \d+ bytes.*make room", line)
    found = verify(tmp_path / "front")
    assert (found.damaged, found.foreign, len(found.absent)) == ({}, {}, 3)


@pytest.mark.fault(67)
def test_the_log_has_whole_lines_only(tmp_path, limit):
    out = explore(out=tmp_path / "front").folder
    log, store = out / "log.jsonl", Store(out)
    before = log.read_bytes()
    for more in (0, 20):  # nothing fits, or the beginning of the line, which is then written without an error
        limit(len(before) + more)
        with pytest.raises(OSError, match=r"no room for .*log\.jsonl: it needs"):
            store.log("warning", text="which does not fit")
        limit()
        assert log.read_bytes() == before
    store.log("warning", text="which does")
    assert len(logged(out, "warning")) == 1
    log.write_bytes(log.read_bytes() + b'{"event": "point", "host": "a power c')
    assert set(verify(out).damaged) == {"log.jsonl"}
    explore(out=out)
    assert verify(out).damaged == {}
    assert [line["left"] for line in logged(out, "resumed")] == [0]
    log.write_bytes(b"no line at all")
    store.log("warning", text="the first")
    assert len(log.read_bytes().splitlines()) == 1


# --- not to be written ---


@contextmanager
def unwritable(folder):
    """Within it, nothing can be written below a folder: by a mount, or by its mode for who may not mount."""
    if os.geteuid():
        folder.chmod(0o500)
    elif subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("root may write everywhere, and mounting is not allowed here")
    try:
        yield
    finally:
        if os.geteuid():
            folder.chmod(0o700)
        else:
            subprocess.run(["umount", folder], check=True)


@pytest.mark.fault(68)
@pytest.mark.parametrize("name", ["front", "some/where/front"])
def test_a_folder_that_cannot_be_made_is_told_before_any_work(tmp_path, capsys, unchecked, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    out = folder / name
    callback, steps = at("", None)
    with unwritable(folder):
        for place in (out, folder):  # as out=, a folder that is there already
            with pytest.raises(OSError, match=re.escape(f"out='{place}' cannot be written") + ".*give another folder"):
                explore(out=place, callbacks=[callback])
        assert main(["run", "tests.toys:two_regressions", *RUN, str(out)]) == 1
    assert f"out='{out}' cannot be written" in capsys.readouterr().err
    assert steps == []


@pytest.mark.fault(68)
@pytest.mark.parametrize("name", ["file", "file/front"])
def test_a_file_is_no_folder(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    callback, steps = at("", None)
    with pytest.raises(OSError, match=f"out='{tmp_path / name}' cannot be written .*; give another folder"):
        explore(out=tmp_path / name, callbacks=[callback])
    assert (tmp_path / "file").read_text() == "mine"
    assert steps == []


@pytest.mark.fault(68)
def test_a_disk_that_becomes_read_only(mounted, whole):
    remount(mounted, "size=1m")
    out = mounted / "front"
    with pytest.raises(
        OSError, match=rf"{out}/weights/\w+.safetensors cannot be written \(Read-only file system\); all"
    ):
        explore(out=out, callbacks=[at("point-003", lambda: remount(mounted, "ro"))[0]])
    callback, steps = at("", None)
    before = files(out)
    with pytest.raises(OSError, match=rf"{out}/\S+ cannot be written \(Read-only.*start again with the same folder"):
        explore(out=out, callbacks=[callback])
    assert (files(out), steps) == (before, [])
    remount(mounted, "rw")
    assert_goes_on(out, whole)


@pytest.mark.fault(68)
@pytest.mark.parametrize(("part", "put"), [("points", "touch"), ("weights", "touch"), ("points", None)])
def test_a_part_of_the_folder_that_is_gone(tmp_path, whole, part, put):
    out, away = tmp_path / "front", tmp_path / "away"

    def act():
        (out / part).rename(away)
        if put:
            (out / part).touch()

    named = "Not a directory" if put else "No such file or directory"
    with pytest.raises(OSError, match=rf"{out}/{part}/\S+ cannot be written \({named}\); all that was"):
        explore(out=out, callbacks=[at("point-003", act)[0]])
    if put:
        with pytest.raises(OSError, match=rf"{out}/{part}"):  # and it is not taken for a front without points
            explore(out=out)
        (out / part).unlink()
    away.rename(out / part)
    assert_goes_on(out, whole)
    shutil.rmtree(out / part)  # and for good
    explore(out=out)
    assert files(out) == whole

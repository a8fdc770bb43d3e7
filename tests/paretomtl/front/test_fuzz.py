"""Hundreds of damaged folders: whatever is in them, reading works or says why not, and nothing leads out of them.

All runs in a process of its own, where every file that is opened and every event of note is watched.
"""

import contextlib
import io
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest

import paretomtl as pm
from paretomtl.front.files import SEAL, sealed, to_json
from paretomtl.front.schema import identity
from paretomtl.front.select import Knee
from paretomtl.front.store import Store
from paretomtl.front.verify import verify
from tests import toys
from tests.damage import explored

ROOT = Path(pm.__file__).parents[1]
OLD = ROOT / "tests" / "old_fronts" / "schema-1"
N = 500
HUGE = 10**400  # as written out in JSON: an integer that no float holds
ODD = [
    None,
    True,
    False,
    0,
    -1,
    1,
    -0.0,
    1e308,
    -1e308,
    5e-324,
    2**63,
    HUGE,
    -HUGE,
    "",
    "a",
    "NaN",
    "../x",
    "\x1b[2J\n",
]
ODD += [
    "é\u202e",
    "\ud800",
    "a" * 10_000,
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    {"": None},
    [1, 2],
    [0.0, 0.0],
    [1e308, 1e308],
]
ODD += [["validate"], ["test"], "done", "failed", "corrupt", "point-001", [-1.0, 2.0], "0" * 64]
RAW = [
    b"1e999",
    b"-1e999",
    b"NaN",
    b"Infinity",
    b"-0",
    b"1" + b"0" * 5000,
    b"0x1",
    b"[" * 5000,
    b"nul",
    b'"\\ud800"',
    b"\xff",
]
READS = ("open", "os.scandir", "os.listdir", "pickle.find_class", "os.putenv", "import", "exec", "compile")


# --- what is done to a folder ---


def plain(folder, random):
    """Some file of the folder."""
    return random.choice(sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()))


def cut(folder, random):
    path = plain(folder, random)
    data = path.read_bytes()
    path.write_bytes(data[: random.randrange(len(data) + 1)])


def flip(folder, random):
    path = plain(folder, random)
    data = bytearray(path.read_bytes())
    for _ in range(random.choice([1, 1, 2, 50])):
        if data:
            data[random.randrange(len(data))] = random.randrange(256)
    path.write_bytes(data)


def swap(folder, random):
    one, two = plain(folder, random), plain(folder, random)
    here, there = one.read_bytes(), two.read_bytes()
    one.write_bytes(there)
    two.write_bytes(here)


def places(value, found=()):
    """All that JSON holds, as (container, key)."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield value, key
        yield from places(part)


def change(folder, random, times=1):
    """Values, keys or whole parts of a file of JSON are others; where it is sealed again, deeper checks are reached."""
    path = random.choice(sorted(p for p in folder.rglob("*.json") if p.is_file()))
    with contextlib.suppress(ValueError):
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            return
        seal = random.random() < 0.8
        if seal:
            found.pop(SEAL, None)
        for _ in range(times):
            holder, key = random.choice(list(places(found)))
            how = random.random()
            if how < 0.6:
                holder[key] = random.choice(ODD)
            elif how < 0.75:
                del holder[key]
            elif how < 0.85 and isinstance(holder, dict):
                holder[random.choice([o for o in ODD if isinstance(o, str)])] = holder.pop(key)
            elif isinstance(holder, list):
                holder.append(holder[key])
            else:
                other = random.choice(list(places(found)))
                holder[key] = json.loads(json.dumps(other[0][other[1]]))
        if seal and isinstance(found.get("study"), dict):
            found["id"] = identity(found["study"])
        path.write_bytes(sealed(found) if seal else to_json(found))


def change_much(folder, random):
    change(folder, random, times=3)


def raw(folder, random):
    """A number is replaced by what is no number of JSON, or too large a one."""
    path = random.choice(sorted(p for p in folder.rglob("*.json*") if p.is_file()))
    data = path.read_bytes()
    start = data.find(b": ", random.randrange(len(data) + 1)) + 2
    end = min((e for e in (data.find(b",", start), data.find(b"\n", start)) if e > 0), default=len(data))
    path.write_bytes(data[:start] + random.choice(RAW) + data[end:])


def other_study(folder, random):
    """The study asks for something else, and all files agree: only what they mean is odd."""
    try:
        found = json.loads((folder / "study.json").read_bytes())
        study, old = found["study"], found["id"]
        holder, key = random.choice(list(places(study)))
        holder[key] = random.choice(ODD)
        new = identity(study)
        paths = [p for p in (folder / "points").iterdir() if p.is_file()]
        for path in [folder / "study.json", folder / "front.json", *paths]:
            content = json.loads(path.read_bytes())
            content.pop(SEAL)
            if "id" in content and "study" in content and isinstance(content["study"], dict):
                content |= {"id": new, "study": study}
            elif content["study"] == old:
                content["study"] = new
            path.write_bytes(sealed(content))
    except (ValueError, KeyError, OSError, AttributeError):
        flip(folder, random)


def link(folder, random):
    path = random.choice([plain(folder, random), folder / "points", folder / "weights"])
    target = random.choice(
        [folder.parent / "outside" / "file", folder.parent / "outside", path, "/dev/zero", "nowhere"]
    )
    shutil.move(path, folder.parent / "aside")
    path.symlink_to(target)


def other_kind(folder, random):
    """A folder, a pipe or nothing in the place of a file; a file in the place of a folder."""
    path = random.choice([plain(folder, random), folder / "points", folder / "weights"])
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    how = random.choice(["folder", "pipe", "nothing", "file"])
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "file":
        path.write_bytes(random.choice([b"", b"{}", b"[]", b"\0" * 100]))


def more(folder, random):
    names = [b"\xff\xfe", b"a\nb", b" ", b"x" * 200, b"CON", b"point-009.json", b"x.pkl", b"-rf", b"\x1b[2J"]
    place = random.choice([folder, folder / "points", folder / "weights"])
    if place.is_dir():
        path = os.path.join(os.fsencode(place), random.choice(names))
        with contextlib.suppress(OSError), open(path, "wb") as file:
            file.write(b"\x80\x04cos\nsystem\n.")


DAMAGE = [cut, flip, swap, change, change, change, change_much, change_much, raw, other_study, other_study]
DAMAGE += [link, other_kind, more]


# --- what is then done with it ---


def read(folder, k):
    """The steps of reading, each by its name."""
    yield "verify", lambda: str(verify(folder))
    found = []
    yield "load", lambda: found.append(pm.Front.load(folder))
    for front in found:
        yield "table", lambda: (front.table(), front.warnings(), repr(front), len(front))
        yield "score", lambda: (str(front.score()), front.hypervolume())
        yield "knee", lambda: front.select(Knee())
        yield "best", lambda: front.select(best="a", subject_to={"b": 1.0})
        yield "tradeoff", lambda: (front.tradeoff(), front.spread())
        for point in front.every:
            yield "load_model", lambda point=point: front.load_model(point, toys.TwoHeads)
        if k % 50 == 0:
            yield "plot", lambda: front.plot(folder.parent / "scratch" / "figure.svg")
    if k % 5 == 0:
        yield "explore", lambda: explored(folder)
    elif k % 5 == 1:
        yield "restore", lambda: restored(Store(folder))


def restored(store):
    store.restore()
    points = [p for p in store.read_points() if store.whole(p)]
    store.write_front(points)
    store.log("restored", n=len(points))
    assert verify(store.folder) is not None


def fault_of(step):
    """What is wrong with how a step ended; None where it worked or said why not."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            step()
    except (ValueError, OSError) as error:
        return None if str(error).strip() else f"{type(error).__name__} without a message"
    except Exception as error:
        place = error.__traceback__
        while place.tb_next:
            place = place.tb_next
        return f"{type(error).__name__}: {error} ({Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno})"
    return None


def main(scratch, base, first, n):
    """Damage n folders and read them; all that is wrong, one line each."""
    now, events = [None], []

    def hook(event, arguments):
        if now[0] is not None and not event.startswith(("object.", "sys.", "gc.", "code.", "ctypes.", "builtins.id")):
            events.append((event, arguments))

    sys.addaudithook(hook)
    warnings.simplefilter("ignore")
    ended, told = Counter(), []
    for k in range(first, first + n):
        dice = random.Random(k)
        here = scratch / str(k)
        folder = here / "front"
        shutil.copytree(OLD if k % 10 == 9 else base, folder)
        (here / "outside").mkdir()
        (here / "scratch").mkdir()
        (here / "outside" / "file").write_bytes(b"{}")
        done = []
        for damage in dice.choices(DAMAGE, k=dice.choice([1, 1, 2, 3])):
            with contextlib.suppress(OSError, IndexError, ValueError):
                damage(folder, dice)
                done.append(damage.__name__)
        for name, step in read(folder, k):
            now[0] = name
            fault = fault_of(step)
            now[0] = None
            ended[name] += 1
            if fault:
                told.append(f"{k} {'+'.join(done)}: {name}: {fault}")
            told += [f"{k} {'+'.join(done)}: {name}: {text}" for text in led_out(events, folder, here)]
            events.clear()
        if [p.read_bytes() for p in (here / "outside").iterdir()] != [b"{}"]:
            told.append(f"{k}: something outside was written")
        shutil.rmtree(here)
    print(json.dumps([dict(ended), told]))


def led_out(events, folder, here):
    """Of the events, those that reading a folder has no business to cause."""
    inside, mine = str(folder), str(here)
    for event, arguments in events:
        texts = [os.fsdecode(a) for a in arguments if isinstance(a, (str, bytes, os.PathLike))]
        if event in ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"):
            yield f"{event} {texts[:3]}"
        elif event == "import" and any(text.startswith(mine) for text in map(str, arguments) if "/" in text):
            yield f"{event} {texts[:3]}"
        elif event == "open" and texts:
            writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if texts[0].startswith(mine) and "outside" in texts[0]:
                yield f"reads {texts[0]}"
            if writes and not (texts[0].startswith((inside, f"{mine}/scratch")) or ours(texts[0])):
                yield f"writes {texts[0]}"
        elif event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink") or "shutil" in event:
            if not all(text.startswith((inside, f"{mine}/scratch")) or ours(text) for text in texts):
                yield f"{event} {texts[:3]}"


def ours(path):
    """What libraries write of their own: caches, devices."""
    return "matplotlib" in path or path.endswith(".pyc") or "__pycache__" in path or path == os.devnull


@pytest.mark.fault(77)
@pytest.mark.fault(78)
@pytest.mark.fault(81)
@pytest.mark.fault(85)
@pytest.mark.fault(86)
def test_damaged_folders(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explored(tmp_path / "base")
    command = [sys.executable, "-m", "tests.paretomtl.front.test_fuzz", str(tmp_path)]
    halves = [
        subprocess.Popen([*command, str(first), str(N // 2)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for first in (0, N // 2)
    ]  # fmt: skip
    for half in halves:
        out, err = half.communicate(timeout=300)
        assert half.returncode == 0, err
        ended, told = json.loads(out.splitlines()[-1])
        assert not told, "\n".join(told)
        assert ended["verify"] == N // 2
        assert min(ended[step] for step in ("load_model", "knee", "best", "table", "score")) > N // 4
        assert min(ended[step] for step in ("explore", "restore")) >= N // 10


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[1]) / "base", int(sys.argv[2]), int(sys.argv[3]))

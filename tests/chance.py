"""What may happen to a front's folder, drawn by a generator of random numbers."""

import contextlib
import json
import os
import shutil

from paretomtl.storage.files import SEAL, encode_json, seal_json
from paretomtl.storage.schema import study_id

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
            with contextlib.suppress(KeyError, TypeError, IndexError):  # a study that cannot be named
                found["id"] = study_id(found["study"])
        path.write_bytes(seal_json(found) if seal else encode_json(found))


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
        new = study_id(study)
        paths = [p for p in (folder / "points").iterdir() if p.is_file()]
        for path in [folder / "study.json", folder / "front.json", *paths]:
            content = json.loads(path.read_bytes())
            content.pop(SEAL)
            if "id" in content and "study" in content and isinstance(content["study"], dict):
                content |= {"id": new, "study": study}
            elif content["study"] == old:
                content["study"] = new
            path.write_bytes(seal_json(content))
    except (ValueError, KeyError, TypeError, IndexError, OSError, AttributeError):
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

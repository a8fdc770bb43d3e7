"""A front's folder that comes from anyone: nothing of it is run or leads out of it, nothing takes memory."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import paretomtl as pm
from paretomtl.cli import main
from paretomtl.errors import DamagedFileError
from paretomtl.storage import schema
from paretomtl.storage.files import MOST_SIGNS, TEMPORARY, parse_json, seal_json, sha256, temporary_name, write
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from tests.damage import IDS, KINDS, check_named, explored, file_of, reseal, weights_of
from tests.folders import files
from tests.limits import limit

ROOT = Path(pm.__file__).parents[1]
TB = 2**40

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return explored(tmp_path_factory.mktemp("whole") / "front").folder


@pytest.fixture
def front(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "front"))


def in_place(path, outside):
    """Move a file or folder outside and leave a link to it."""
    shutil.move(path, outside / path.name)
    path.symlink_to(outside / path.name)


@pytest.mark.fault(85)
@pytest.mark.parametrize("kind", [*KINDS, "points", "all weights"])
def test_a_link_is_neither_followed_nor_written_through(front, kind, tmp_path, capsys):
    """One in the place of a file is replaced by the file; of a folder, or of the log, it is an error."""
    outside = tmp_path / "outside"
    outside.mkdir()
    name = {"points": "points", "all weights": "weights"}.get(kind) or file_of(front, kind)
    in_place(front / name, outside)
    before = files(outside)
    if kind in KINDS:
        check_named(front, name, capsys)
    found = verify(front)
    inside = {weights_of(front, id) for id in IDS} if kind == "all weights" else {f"points/{id}.json" for id in IDS}
    assert set(found.damaged) == (inside if name in ("points", "weights") else {name})
    assert all("is a link, which is not followed" in why for why in found.damaged.values())
    if name in ("points", "weights", "log.jsonl"):
        with pytest.raises(DamagedFileError, match=f"{name} is a link"):
            explored(front)
    else:
        explored(front)
        assert not (front / name).is_symlink()
        assert not verify(front).damaged
    with pytest.raises(FileExistsError):
        Store(front).create(Store(front).study)
    assert files(outside) == before


@pytest.mark.fault(86)
def test_a_path_out_of_the_folder(front, tmp_path, capsys):
    secret = tmp_path / "x.json"
    secret.write_text("{}")
    study, record = front / "study.json", front / "points/point-001.json"
    head, bytes_of = (front / "front.json").read_bytes(), record.read_bytes()
    for name in ("../x.json", "points/../../x.json", "points/../points/point-001.json", str(secret), "point-001"):
        reseal(front / "front.json", lambda found, name=name: found["checksums"].update({name: sha256(b"{}")}))
        assert verify(front).damaged == {"front.json": "its checksums are not of the front's files"}
        reseal(front / "front.json", lambda found: found["states"].update({"../x": "done", "../../x": "done"}))
        assert verify(front).damaged == {"front.json": "its states are not of the study's points"}
        (front / "front.json").write_bytes(head)
    for hash in ("../../x", "..", "a" * 63 + "/", "A" * 64, f"../weights/{'a' * 64}"):
        reseal(record, lambda found, hash=hash: found.update(weights=hash))
        assert "is no SHA-256" in verify(front).damaged["points/point-001.json"]
        assert [p.id for p in pm.Front.load(front).corrupt] == ["point-001"]
        record.write_bytes(bytes_of)
    for id in ("../x", "..", "/etc/passwd", "a/b", "", "con"):
        reseal(study, lambda found, id=id: found["study"]["points"][0].update(id=id))
        assert "study.json is damaged: name" in verify(front).damaged["study.json"]
        assert len(pm.Front.load(front)) == 2  # from front.json
    (front / "front.json").unlink()
    with pytest.raises(DamagedFileError, match=r"study\.json is damaged: name 'con'"):
        pm.Front.load(front)


def in_a_process(code, *arguments):
    """What Python prints in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit(100))
    assert run.returncode == 0, run.stderr
    return run.stdout


class Trap:
    """A pickle that leaves a trace."""

    def __reduce__(self):
        return os.mkdir, ("trapped",)


@pytest.mark.fault(81)
def test_pickles_are_named_and_never_opened(front, capsys):
    """And reading asks for nothing to be written: it goes where nothing can be."""
    names = ["model.pkl", "points/point-009.pt", "points/point-001.json.pkl", "weights/best.ckpt", "weights/x.NPY"]
    for name in names:
        (front / name).write_bytes(pickle.dumps(Trap()))
    told = verify(front)
    assert set(told.foreign) == set(names)
    assert not told.damaged
    assert main(["verify", str(front)]) == 0
    out = capsys.readouterr().out
    assert all(f"ignored: {name}: may be a pickle" in out for name in names)
    code = """
        import json, os, sys
        import paretomtl as pm
        from paretomtl.cli import main
        from tests import toys
        found = []
        def hook(event, arguments):
            if event.startswith(("open", "pickle.", "os.", "shutil.", "subprocess.", "socket.")):
                found.append((event, *map(str, arguments)))
        folder = sys.argv[1]
        main(["select", folder, "--knee"])
        pm.Front.load(folder).load_model(pm.Front.load(folder).points[0], toys.TwoHeads)  # imports, before the hook
        sys.addaudithook(hook)
        for command in (["verify"], ["show"], ["show", "--json"], ["select", "--knee"], ["select", "--best", "a"]):
            main([command[0], folder, *command[1:]])
        front = pm.Front.load(folder)
        for point in (*front.points, *front.corners):
            front.load_model(point, toys.TwoHeads)
        print("found:", json.dumps(found))
    """
    found = json.loads(in_a_process(code, front).rpartition("found: ")[2])
    assert any("point-001.json" in event[1] for event in found)
    for event, *arguments in found:
        assert not event.startswith(("pickle.", "subprocess.", "socket.")), (event, arguments)
        assert event in ("open", "os.scandir", "os.listdir"), (event, arguments)
        assert not any(name in argument for name in names for argument in arguments)
        if event == "open":
            assert not int(arguments[2]) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    assert not (ROOT / "trapped").exists()


def sparse(path):
    """A file of a terabyte that takes no room."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(TB)


def header(path, length, rest=b""):
    """Weights that promise a header of this length, under the hash of what they are; the record names them."""
    data = length.to_bytes(8, "little") + rest
    new = path.with_name(f"{sha256(data)}.safetensors")
    new.write_bytes(data)
    for record in path.parent.parent.glob("points/*.json"):
        if path.stem in record.read_text():
            reseal(record, lambda found: found.update(weights=new.stem))
    store = Store(path.parent.parent)
    store.write_front(store.read_points())


def offsets(end):
    return b'{"trunk.weight":{"dtype":"F32","shape":[1,4],"data_offsets":[0,%d]}}' % end


def sealed(path, content):
    """A file of this content whose seal holds."""
    path.write_bytes(seal_json({"schema": 2, "version": "0.2.0", "id": "0" * 16} | content))


def crowd(path):
    """A sealed study of more points than there may be."""
    point = {"id": "p", "preference": [0.5, 0.5], "corner": None, "seed": 0}
    reseal(path, lambda found: found["study"].update(points=[point] * 100_001))


ABSURD = {
    "a record of a terabyte": ("record", sparse),
    "front.json of a terabyte": ("front", sparse),
    "study.json of a terabyte": ("study", sparse),
    "a table of a terabyte": ("table", sparse),
    "a log of a terabyte": ("log", sparse),
    "weights of a terabyte": ("weights", sparse),
    "weights with a terabyte at their end": ("weights", lambda path: os.truncate(path, TB)),
    "a nested record": ("record", lambda path: path.write_bytes(b"[" * 2**23)),
    "a nested study": ("study", lambda path: path.write_bytes(b'{"study":' * 2**20)),
    "a study nested a bit": ("study", lambda path: path.write_bytes(b'{"a":' * 900 + b"1" + b"}" * 900)),
    "a study of 10^7 things": ("study", lambda path: path.write_bytes(b'{"study": [' + b"[]," * 10**7 + b"1]}")),
    "a study of 100,001 points": ("study", crowd),
    "12 MB of brackets": ("study", lambda path: path.write_bytes(b'{"study": [' + b"[]," * (4 * 10**6) + b"1]}")),
    "12 MB of brackets, sealed": ("study", lambda path: sealed(path, {"study": [[]] * 10**6})),
    "a record of keys, sealed": ("record", lambda path: sealed(path, dict.fromkeys(map(str, range(3 * 10**5)), 0))),
    "many values, sealed": ("study", lambda path: sealed(path, {"study": [0] * 10**6})),
    "many texts, sealed": ("front", lambda path: sealed(path, {"study": [*map(str, range(10**6))]})),
    "a log of brackets": ("log", lambda path: path.write_bytes((b'{"a":[' + b"[]," * 10**6 + b"1]}\n") * 20)),
    "a header of brackets": ("weights", lambda path: header(path, 2**25, b'{"a":[' + b"[]," * (2**25 // 3))),
    "a long number": ("record", lambda path: path.write_bytes(b'{"schema": ' + b"9" * 10**6 + b"}")),
    "a log of empty lines": ("log", lambda path: path.write_bytes(b"\n" * 2**26)),
    "a header of 2^62 bytes": ("weights", lambda path: header(path, 2**62)),
    "a header of 90 MB": ("weights", lambda path: header(path, 90_000_000, b" " * 90_000_000)),
    "a nested header": ("weights", lambda path: header(path, 2**20, b'{"a":' * 2**18)),
    "offsets of 2^62": ("weights", lambda path: header(path, len(offsets(2**62)), offsets(2**62))),
    "offsets that lie": ("weights", lambda path: header(path, len(offsets(4)), offsets(4) + b"\0" * 4)),
}


@pytest.mark.fault(88)
@pytest.mark.fault(119)
def test_what_is_of_absurd_size_is_refused_before_memory_is_taken(whole, tmp_path):
    """Every folder is read with 600 MB to spare, within seconds: it is named, and the rest is usable."""
    for k, (kind, make) in enumerate(ABSURD.values()):
        folder = Path(shutil.copytree(whole, tmp_path / f"absurd-{k}"))
        make(folder / file_of(folder, kind))
    code = """
        import json, resource, sys, time
        import paretomtl as pm
        from paretomtl.storage.verify import verify
        from tests import toys
        def used():
            front = pm.Front.load(sys.argv[1])
            return [load(front, p) for p in (*front.points, *front.corners)]
        def load(front, point):
            try:
                return bool(front.load_model(point, toys.TwoHeads))
            except ValueError as error:
                return str(error)[:300]
        used()
        pages = int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 600 * 2**20,) * 2)
        for folder in sys.argv[1:]:
            start = time.process_time()
            sys.argv[1] = folder
            print(json.dumps([verify(folder).damaged, used(), time.process_time() - start]))
    """
    folders = [tmp_path / f"absurd-{k}" for k in range(len(ABSURD))]
    lines = map(json.loads, in_a_process(code, *folders).splitlines())
    for (what, (kind, _)), folder, (damaged, loaded, seconds) in zip(ABSURD.items(), folders, lines, strict=True):
        name = file_of(folder, kind)
        lying = what == "offsets that lie"  # as long as they say and of the right hash; only loading them shows it
        assert set(damaged) == (set() if lying else {name}), what
        assert all(damaged.values())
        refused = [text for text in loaded if text is not True]
        assert len(refused) == (kind == "weights"), what
        assert all(Path(name).stem in text for text in refused)
        assert len(loaded) == len(IDS) - (kind == "record"), what
        assert seconds < limit(20), (what, seconds)


@pytest.mark.fault(84)
def test_control_characters_in_texts_do_not_break_what_is_shown(front, capsys):
    text = "\x1b[31m\n\r\t=1+1\x00\u202e"
    reseal(
        front / "points/point-001.json",
        lambda found: found.update(status=text, warnings=[text], reason=text, trace=text),
    )
    reseal(front / "points/point-002.json", lambda found: found.update(state="failed", reason=text))
    for command in (["show"], ["show", "--json"], ["select", "--best", "a"], ["verify"]):
        assert main([command[0], str(front), *command[1:]]) in (0, 1, 3)
        assert capsys.readouterr().out
    reseal(front / "study.json", lambda found: found["study"]["objectives"][0].update(name=text))
    assert "objective name" in verify(front).damaged["study.json"]
    assert "\x1b" not in verify(front).damaged["study.json"]


@pytest.mark.fault(88)
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda study: study["objectives"][0].update(scale=10**400), "an objective's scale holds"),
        (lambda study: study["points"][0].update(seed=1), "a point's seed is not below the number of seeds, 1"),
        (lambda study: study["points"][0].update(preference=[-1.0, 2.0]), "the preference of point-001 is not"),
        (lambda study: study["points"][0].update(preference=[1e308, 1e308]), "the preference of point-001 is not"),
        (lambda study: study["points"].append(study["points"][0]), "two points have one id"),
        (lambda study: study.update(code=[1]), "code is '[1]', not of type dict"),
        (lambda study: study.update(data={"validate": 3}), "data is '3', not of type dict"),
    ],
)
def test_a_sealed_study_that_no_study_could_be(front, unchecked, change, why):
    for name in ("study.json", "front.json"):
        reseal(front / name, lambda found: change(found["study"]))
    with pytest.raises(DamagedFileError, match=re.escape(f"study.json is damaged: {why}")):
        verify(front)


@pytest.mark.fault(88)
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda found: found["counts"].update(steps=10**400), "count steps is 1000"),
        (lambda found: found["losses"].update(test=found["losses"]["validate"]), "no losses on exactly validate"),
        (lambda found: found["values"].clear(), "no values on exactly validate"),
        (lambda found: found["losses"]["validate"].update(a=10**400), "losses holds '1000"),
        (lambda found: found.update({"x" * 10**6: 1}), "unexpected keyword argument 'xxx"),
    ],
)
def test_a_sealed_record_that_no_record_could_be(front, change, why):
    reseal(front / "points/point-001.json", change)
    (point,) = pm.Front.load(front).corrupt
    assert why in point.reason
    assert len(point.reason) < 400


@pytest.mark.fault(119)
def test_the_hash_comes_before_the_parser(front, monkeypatch):
    parsed = []
    monkeypatch.setattr(schema, "parse_json", lambda data, path: parsed.append(path.name) or parse_json(data, path))
    record = front / "points/point-001.json"
    record.write_bytes(record.read_bytes().replace(b'"epochs"', b'"epoch"').replace(b'"steps"', b'"step"'))
    (point,) = pm.Front.load(front).corrupt
    assert "it is not as it was written (its SHA-256 differs)" in point.reason
    assert "point-001.json" not in parsed
    assert {"study.json", "point-002.json"} <= set(parsed)


@pytest.mark.fault(119)
def test_the_largest_study_is_within_the_limits(front):
    """What may be written can be read: front.json holds most, and three objectives leave room for more."""
    study, share = dict(Store(front).study), 1000
    point = {"preference": [1 / 3] * 3, "corner": None, "seed": 0}
    study["points"] = [{"id": f"point-{k:06d}-seed-1", **point} for k in range(schema.MOST_POINTS // share)]
    states = {p["id"]: "done" for p in study["points"]}
    checksums = {f"points/{id}.json": "a" * 64 for id in states}
    data = seal_json({"study": study, "states": states, "checksums": checksums})
    assert all(1.5 * share * (data.count(sign) - 200) < most for sign, most in MOST_SIGNS.items())


@pytest.mark.fault(120)
@pytest.mark.parametrize("kind", ["study", "front", "record", "log"])
def test_a_hard_link_is_neither_read_nor_written_through(front, kind, tmp_path, capsys):
    name, outside = file_of(front, kind), tmp_path / "outside"
    os.link(front / name, outside)
    before = outside.read_bytes()
    check_named(front, name, capsys)
    reason = verify(front).damaged[name]
    assert reason.startswith(f"{name} is a hard link") or "is a hard link" in reason
    assert "copy the folder (cp -r, without links), and use the copy" in reason
    if kind == "log":
        with pytest.raises(DamagedFileError, match=r"log\.jsonl is a hard link"):
            explored(front)
    else:
        explored(front)  # writes the file anew, as one of its own
    assert outside.read_bytes() == before
    copy = shutil.copytree(front, tmp_path / "copy")
    explored(copy)
    assert not verify(copy).damaged


@pytest.mark.fault(120)
def test_a_backup_by_hard_links_says_how_to_use_it(front, tmp_path):
    backup = shutil.copytree(front, tmp_path / "backup", copy_function=os.link)
    for use in (verify, pm.Front.load, explored):
        with pytest.raises(ValueError, match=r"study\.json is a hard link.* copy the folder"):
            use(backup)


def test_names_of_a_write_in_progress_are_no_hard_links(front):
    """`write` gives a new file two names for a moment, and a kill may leave both."""
    for name in ("study.json", "points/point-001.json", "log.jsonl"):
        os.link(front / name, (front / name).with_name(temporary_name()))
    assert not verify(front).damaged
    explored(front)
    assert not [path for path in front.rglob("*") if TEMPORARY.fullmatch(path.name)]
    write(front / "new", b"1", new=True)
    assert (front / "new").stat().st_nlink == 1

import csv
import hashlib
import json
import os
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from paretomtl.errors import DamagedFileError
from paretomtl.objective import Objective
from paretomtl.point import Point
from paretomtl.storage.files import check_name, seal_json
from paretomtl.storage.store import Store
from paretomtl.storage.table import escape_cell

NAMES = ["a", "b"]
DONE = Point(
    "point-001",
    (0.3, 0.7),
    losses={"validate": (0.1 + 0.2, -1e-300), "test": (1e300, 2.0)},
    values={"validate": (70.0, 2.0), "test": (71.0, 3.0)},
    control_error=1.5,
    status="solved",
    residual=0.0,
    counts={"steps": 8, "relaxed": 0},
    weights="0" * 64,
    warnings=("one", "two\nlines, \"quoted\" ; 'é'"),
)
FAILED = Point("point-002", (0.5, 0.5), state="failed", reason="nan in 'a' at step 3", trace="Traceback …\n  line")
CORNER = replace(DONE, id="ideal-1", preference=(1.0, 0.0), corner="a")


def study(points=(DONE, FAILED, CORNER), names=NAMES, **changes):
    """A study that asks for these points."""
    asked = [{"id": p.id, "preference": list(p.preference), "corner": p.corner, "seed": p.seed} for p in points]
    fields = {
        "objectives": [asdict(Objective(name)) for name in names],
        "ref_point": [2.0] * len(names),
        "points": asked,
        "splits": ["validate", "test"],
        "notes": [],
        "measured": False,
        "seeds": 1,
    }
    return fields | changes


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "front")
    store.create(study())
    return store


def files(store):
    """What was written after study.json."""
    paths = [p for p in store.folder.rglob("*") if p.is_file() and p.name != "study.json"]
    return {str(p.relative_to(store.folder)): p.read_bytes() for p in paths}


@pytest.mark.parametrize("point", [DONE, FAILED, CORNER], ids=lambda p: p.id)
def test_points_come_back_as_they_were(store, point):
    assert store.write_point(point, None) == point
    assert store.read_points([point.id]) == [point]


def test_points_come_back_in_the_order_of_the_study_and_absent_ones_are_left_out(store):
    for point in (FAILED, DONE):
        store.write_point(point, None)
    assert store.read_points(["point-002", "ideal-1", "point-001"]) == [DONE, FAILED]
    assert store.read_points() == [DONE, FAILED]


def test_a_record_can_be_read_alone(tmp_path):
    store = Store(tmp_path / "front")
    store.create(study([DONE], ["depth [m]", "größe"]))
    store.write_point(DONE, None)
    record = json.loads((store.folder / "points/point-001.json").read_text(encoding="utf-8"))
    assert record["preference"] == {"depth [m]": 0.3, "größe": 0.7}
    assert record["values"]["test"] == {"depth [m]": 71.0, "größe": 3.0}
    assert record["losses"]["validate"]["größe"] == -1e-300
    assert record["schema"] == 3
    assert record["study"] == store.id


def test_a_record_belongs_to_its_names(store, tmp_path):
    store.write_point(DONE, None)
    front = replace(DONE, preference=(0.7, 0.3))
    for names, read in ((["b", "a"], front), (["a", "c"], None), (["a", "b", "c"], None)):
        other = Store(tmp_path / "".join(names))
        asked = study([replace(front, preference=(*front.preference, *[0.0] * (len(names) - 2)))], names)
        other.create(asked)
        record = json.loads((store.folder / "points/point-001.json").read_text()) | {"study": other.id}
        record.pop("sha256")
        (other.folder / "points/point-001.json").write_bytes(seal_json(record))
        (point,) = other.read_points()
        assert (point.preference, point.state) == ((0.7, 0.3), "done") if read else point.state == "corrupt"
        if not read:
            assert "points/point-001.json is not this point's record: preference has the names" in point.reason
    with pytest.raises(ValueError, match="zip"):
        other.write_point(DONE, None)


@pytest.mark.fault(76)
def test_a_point_written_twice_is_the_same_bytes(store):
    weights = {"w": torch.arange(3.0), "b": torch.zeros(1)}
    store.write_point(DONE, weights)
    once = files(store)
    store.write_point(replace(DONE, counts=dict(reversed(DONE.counts.items()))), dict(reversed(weights.items())))
    assert files(store) == once


def test_weights_come_back_as_they_were_under_their_hash(store):
    weights = {
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "strided": torch.arange(10.0)[::3],
        "expanded": torch.ones(1, 2).expand(3, 2),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 4),
        "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "mask": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(torch.tensor([np.pi], dtype=torch.float64)),
    }
    written = store.write_point(DONE, weights)
    data = (store.folder / f"weights/{written.weights}.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == written.weights
    assert store.read_points(["point-001"]) == [written]
    loaded = store.read_weights(written.weights)
    assert list(loaded) == sorted(weights)
    for key, value in weights.items():
        assert loaded[key].dtype == value.dtype
        torch.testing.assert_close(loaded[key], value.detach(), rtol=0, atol=0)


@pytest.mark.fault(54)
def test_tied_weights(store):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encode, self.decode = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
            self.decode.weight = self.encode.weight

    model, other = Tied(), Tied()
    digest = store.write_point(DONE, model.state_dict()).weights
    other.load_state_dict(store.read_weights(digest))
    assert other.decode.weight is other.encode.weight
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


@pytest.mark.parametrize("where", [0, 40, -1])
@pytest.mark.fault(78)
def test_a_flipped_bit_is_noticed(store, where):
    digest = store.write_point(DONE, {"w": torch.arange(8.0)}).weights
    path = store.folder / f"weights/{digest}.safetensors"
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{digest}.*damaged"):
        store.read_weights(digest)


@pytest.mark.fault(77)
def test_truncated_weights_are_noticed(store):
    digest = store.write_point(DONE, {"w": torch.arange(8.0)}).weights
    path = store.folder / f"weights/{digest}.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="damaged"):
        store.read_weights(digest)


REFUSED = ["../x", "..", ".", "/abs", "a/b", "a\\b", "", ".hidden", "-x", "_x", "con", "CON", "con.json", "Nul.txt"]
REFUSED += ["COM1", "lpt9.json", "aux", "PRN", "a.", "a b", "a\n", "a\x00", "a\x1b", "x" * 101, "x" * 300]
REFUSED += ["\xe9", "\u0440ath", "x\u200b", "\uff11", "~", "C:", "a:b", "a*", "<script>"]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.fault(84)
def test_names_that_are_refused(store, tmp_path, name):
    with pytest.raises(ValueError, match=r"name .*: use 1 to 100 letters"):
        check_name(name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="name"):
        store.write_point(replace(FAILED, id=name), None)
    assert store.read_points([name]) == []  # none of the study's: nothing is looked for
    (store.folder / "study.json").write_bytes(
        seal_json({"schema": 3, "id": "", "study": study([replace(DONE, id=name)]), "command": None})
    )
    with pytest.raises(DamagedFileError, match=r"study\.json is damaged: name "):
        Store(store.folder).read_points()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a", "0", "point-001", "a.b_c-D", "console", "con-1", "com10", "x" * 100])
@pytest.mark.fault(84)
def test_names_that_are_taken(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["con", "my front", "x" * 101, "-rf", "füße"])
@pytest.mark.fault(84)
def test_folders_are_names_too(tmp_path, name):
    with pytest.raises(ValueError, match="name"):
        Store(tmp_path / name).create(study())
    assert not list(tmp_path.iterdir())


@pytest.mark.fault(86)
def test_paths_out_of_the_folder_are_not_followed(store):
    (store.folder.parent / "secret.safetensors").write_bytes(b"")
    (store.folder.parent / "secret.json").write_text("{}")
    with pytest.raises(ValueError, match="name"):
        store.read_weights("../../secret")
    assert store.read_points(["../../secret"]) == []


def test_create_makes_folders_on_the_way_and_takes_an_empty_one(tmp_path):
    (tmp_path / "there").mkdir()
    Store(tmp_path / "there").create(study())
    Store(tmp_path / "deep/er").create(study())
    assert (tmp_path / "deep/er/points").is_dir()
    (tmp_path / "deep/er/study.json").unlink()
    Store(tmp_path / "deep/er").create(study())  # one without any file of a front counts as empty


@pytest.mark.parametrize("held", ["study.json", "front.json", "points/point-001.json"])
def test_create_refuses_a_folder_with_a_front(tmp_path, held):
    store = Store(tmp_path / "front")
    (store.folder / "points").mkdir(parents=True)
    (store.folder / held).write_text("{}")
    with pytest.raises(FileExistsError, match=r"front'? already holds a front"):
        store.create(study())
    assert [p for p in store.folder.rglob("*") if p.is_file()] == [store.folder / held]
    assert (store.folder / held).read_text() == "{}"


def test_front_json_holds_the_study_the_states_and_checksums(store):
    points = [store.write_point(p, None) for p in (DONE, FAILED)]
    store.write_front(points)
    front = json.loads((store.folder / "front.json").read_text())
    assert front["study"] == Store(store.folder).study == study()
    assert front["states"] == {"point-001": "done", "point-002": "failed", "ideal-1": "absent"}
    assert front["checksums"].keys() == {"points.csv", "points/point-001.json", "points/point-002.json"}
    for path, checksum in front["checksums"].items():
        assert hashlib.sha256((store.folder / path).read_bytes()).hexdigest() == checksum
    once = files(store)
    store.write_front(points)
    assert files(store) == once


def table(tmp_path, points, names=NAMES):
    store = Store(tmp_path / "table")
    store.create(study(points, names))
    store.write_front([store.write_point(p, None) for p in points])
    with (store.folder / "points.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_a_point(tmp_path):
    rows = table(tmp_path, [DONE, FAILED, CORNER])
    assert [row["id"] for row in rows] == ["point-001", "point-002", "ideal-1"]
    assert [row["corner"] for row in rows] == ["", "", "a"]
    assert float(rows[0]["loss validate a"]) == DONE.losses["validate"][0]
    assert float(rows[0]["loss test a"]) == 1e300
    assert float(rows[0]["value test b"]) == 3
    assert float(rows[0]["preference b"]) == 0.7
    assert rows[1]["loss validate a"] == rows[1]["control_error"] == ""
    assert rows[1]["reason"] == FAILED.reason


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "＝", "＋", "－", "＠"])
@pytest.mark.fault(87)
@pytest.mark.fault(121)
def test_no_cell_of_the_csv_is_a_formula_but_numbers_stay_numbers(tmp_path, start):
    formula = f'{start}HYPERLINK("x"), more\nlines'
    corner = replace(CORNER, corner=f"{start}b")
    rows = table(tmp_path, [replace(FAILED, reason=formula), corner], ["a", f"{start}b"])
    assert rows[0]["reason"] == f"'{formula}".replace("\n", "\\n")
    assert rows[1]["corner"] == f"'{start}b"
    assert rows[1][f"loss validate {start}b"] == "-1e-300"


@pytest.mark.parametrize("before", ["\t", "\r", "\n", "x\r", "x\r\n", "x\n"])
@pytest.mark.fault(87)
def test_no_line_of_a_text_becomes_a_row_of_the_csv_or_a_formula(tmp_path, before):
    text = f"{before}=1+1"
    rows = table(tmp_path, [replace(FAILED, reason=text), DONE])
    assert [row["id"] for row in rows] == ["point-002", "point-001"]
    assert rows[0]["reason"] == ("" if before[0] == "x" else "'") + repr(text)[1:-1]


@pytest.mark.parametrize("text", ["a-b", "x = 3", "", "1e-3", " ", "'a'", "C:\\models", "größe 😀"])
def test_other_texts_stay(text):
    assert escape_cell(text) == text


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["residual", "control_error", "losses", "preference"])
@pytest.mark.fault(2)
def test_json_never_holds_what_is_not_finite(store, field, bad):
    value = {"losses": {"validate": (1.0, bad)}, "preference": (bad, 1.0)}.get(field, bad)
    with pytest.raises(ValueError, match="JSON"):
        store.write_point(replace(DONE, **{field: value}), None)
    assert not files(store)
    other = Store(store.folder.with_name("other"))
    with pytest.raises(ValueError, match=r"ref_point holds .*, which is not a finite number"):
        other.create(study(ref_point=[bad, 1.0]))
    assert not other.holds_front()


@pytest.mark.fault(64)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_breaks_off_leaves_the_old_file_and_no_other(store, monkeypatch, call):
    store.write_point(DONE, None)
    once = files(store)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, call, interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write_point(replace(DONE, status="relaxed"), None)
    monkeypatch.undo()
    assert files(store) == once


def test_no_temporary_files_are_left(store):
    points = [store.write_point(DONE, {"w": torch.zeros(1)}), store.write_point(FAILED, None)]
    store.write_front(points)
    store.log("ended")
    expected = {"front.json", "points.csv", "log.jsonl", "points/point-001.json", "points/point-002.json"}
    assert files(store).keys() == expected | {f"weights/{points[0].weights}.safetensors"}


def damage(path, kind):
    text = path.read_text()
    path.write_bytes(
        {
            "truncated": text[: len(text) // 2].encode(),
            "empty": b"",
            "binary": b"\xff\xfe\x00" + text.encode(),
            "list": b"[]",
            "number": b"3",
            "null": b"null",
            "NaN": text.replace("1.5", "NaN").encode(),
            "infinity": text.replace("1.5", "-Infinity").encode(),
            "short": seal_json({"schema": 3, "id": "point-001"}),
            "more": seal_json({k: v for k, v in json.loads(text).items() if k != "sha256"} | {"colour": "red"}),
            "newer": text.replace('"schema": 3', '"schema": 4').encode(),
        }[kind]
    )


@pytest.mark.parametrize(
    "kind",
    [
        *("truncated", "empty", "binary", "list", "number", "null", "NaN", "infinity", "short", "more"),
        pytest.param("newer", marks=pytest.mark.fault(80)),
    ],
)
@pytest.mark.fault(77)
def test_damaged_records_are_named(store, kind):
    store.write_point(DONE, None)
    store.write_point(FAILED, None)
    damage(store.folder / "points/point-001.json", kind)
    found, other = store.read_points(["point-001", "point-002"])
    assert other == FAILED
    assert (found.id, found.preference, found.state) == (DONE.id, DONE.preference, "corrupt")
    assert found.reason.startswith("points/point-001.json")
    assert not found.losses
    assert not store.is_whole(found)


@pytest.mark.parametrize(
    "kind", ["truncated", "empty", "binary", "list", "null", pytest.param("newer", marks=pytest.mark.fault(80))]
)
@pytest.mark.fault(77)
def test_a_damaged_front_json_is_named(store, kind):
    store.write_front([])
    damage(store.folder / "front.json", kind)
    assert Store(store.folder).study == study()  # from study.json
    (store.folder / "study.json").unlink()
    with pytest.raises(DamagedFileError, match=r"front\.json"):
        Store(store.folder).study  # noqa: B018


@pytest.mark.fault(77)
def test_a_damaged_study_json_is_replaced_by_front_json_and_told(store):
    store.write_front([])
    damage(store.folder / "study.json", "truncated")
    there = Store(store.folder)
    assert there.study == study()
    assert len(there.damage) == 1
    assert there.damage[0].startswith("study.json is damaged")
    assert there.damage[0].endswith("front.json was read in its place")


def test_a_folder_without_a_front_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path.name} holds no front"):
        Store(tmp_path).study  # noqa: B018


def test_a_moved_folder_still_loads(store, tmp_path):
    point = store.write_point(DONE, {"w": torch.arange(3.0)})
    store.write_front([point])
    moved = Store(shutil.move(store.folder, tmp_path / "elsewhere"))
    assert moved.study == study()
    assert moved.read_points(["point-001"]) == [point]
    assert torch.equal(moved.read_weights(point.weights)["w"], torch.arange(3.0))
    assert not any(str(tmp_path).encode() in content for content in files(moved).values())


def test_the_log_is_a_json_object_a_line(store):
    store.log("point", id="point-001", seconds=1.5)
    store.log("warning", text="two\nlines")
    lines = [json.loads(line) for line in (store.folder / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["point", "warning"]
    assert lines[1]["text"] == "two\nlines"
    assert lines[0]["time"] <= lines[1]["time"]

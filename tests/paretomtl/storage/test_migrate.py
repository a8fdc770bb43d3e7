"""A front as schema 1 wrote it: read as it is, and brought to the present schema only when asked to."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.cli import main
from paretomtl.errors import DamagedFileError
from paretomtl.selection.rules import Knee
from paretomtl.storage import files as written
from paretomtl.storage.migrate import migrate
from paretomtl.storage.schema import SCHEMA
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from tests import toys
from tests.damage import flipped
from tests.folders import files, logged

OLD = Path(__file__).parents[2] / "old_fronts" / "schema-1"
SCHEMA_2 = OLD.with_name("0.1") / "whole" / "seeds"
IDS = ["point-001", "point-002", "point-003", "ideal-1", "ideal-2"]

pytestmark = [pytest.mark.fault(80), pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture
def old(tmp_path):
    return Path(shutil.copytree(OLD, tmp_path / "old"))


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """The old front, brought to the present schema at one go."""
    folder = Path(shutil.copytree(OLD, tmp_path_factory.mktemp("new") / "old"))
    assert migrate(folder) == (1, SCHEMA)
    return folder


def everything(folder):
    """The bytes of every file, the log too."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rows(folder):
    with (folder / "points.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def check_values(folder):
    """The front says what the table of old says, number by number."""
    front, old_rows = pm.Front.load(folder), rows(OLD)
    there = (*front.points, *front.corners)
    assert [p.id for p in there] == [row["id"] for row in old_rows] == IDS
    assert front.failed == front.corrupt == ()
    for p, row in zip(there, old_rows, strict=True):
        for split in ("validate", "test"):
            assert p.losses[split] == tuple(float(row[f"loss {split} {name}"]) for name in "ab")
            assert p.values[split] == tuple(float(row[f"value {split} {name}"]) for name in "ab")
        assert p.preference == tuple(float(row[f"preference {name}"]) for name in "ab")
        assert (p.corner or "", p.control_error, p.seed) == (row["corner"], float(row["control_error"]), 0)
        # "solved" was said of what was trained; now it is a certificate
        assert (row["status"], p.status, p.weights) == ("solved", "trained", row["weights"])
        check_model(front, p)
    assert np.array_equal(front.losses, [p.losses["validate"] for p in front.points])
    assert front.ideals.tolist() == [0.02548942482098937, 0.014348302036523819]
    return front


def check_model(front, point):
    """The weights are those of the losses that were written with them."""
    model = front.load_model(point, toys.TwoHeads)
    with torch.no_grad():
        losses = [toys.losses(model, batch) for batch in toys.loader(2)]
    found = [float(np.mean([float(loss[name]) for loss in losses])) for name in "ab"]
    np.testing.assert_allclose(found, point.losses["validate"], rtol=1e-5)


def test_an_old_front_is_read_and_left_as_it_is(old, tmp_path, capsys):
    before = everything(old)
    front = check_values(old)
    assert front.select(best="a").point.id == "point-003"
    assert front.select(Knee()).point.id == "point-002"
    assert front.score().hypervolume == pytest.approx(pm.Front.load(old).hypervolume())
    assert front.points[2].warnings == ("7.7 degrees off the ray asked for (solved)",)
    (text,) = front.warnings()
    assert text.startswith("point-003 is 7.7 degrees off the ray asked for (trained): ")
    assert front.plot(tmp_path / "figure.svg").stat().st_size > 1000
    assert verify(old) == (str(old), {}, (), False, {})
    for command in (["verify"], ["show"], ["select", "--knee"]):
        assert main([command[0], str(old), *command[1:]]) == 0
    assert everything(old) == before == everything(OLD)


@pytest.mark.fault(77)
@pytest.mark.fault(78)
@pytest.mark.parametrize("damaged", [lambda data: flipped(data, len(data) // 2), lambda data: data[:-9]])
@pytest.mark.parametrize("kind", ["points/point-002.json", "points/ideal-1.json", "front.json", "weights", "log.jsonl"])
def test_a_damaged_old_front_is_named_and_not_migrated(old, kind, damaged, capsys):
    record = json.loads((old / "points/point-001.json").read_text())
    name = f"weights/{record['weights']}.safetensors" if kind == "weights" else kind
    path = old / name
    path.write_bytes(damaged(path.read_bytes()) if name != "front.json" else path.read_bytes()[:-9])
    before = everything(old)
    if name != "front.json":
        assert set(verify(old).damaged) == {name}
    assert main(["verify", str(old)]) == 1
    assert name in "".join(capsys.readouterr())
    with pytest.raises(DamagedFileError, match=name):
        migrate(old)
    assert main(["migrate", str(old)]) == 1
    assert name in capsys.readouterr().err
    assert everything(old) == before


def test_a_flipped_bit_in_a_number_of_an_old_record_is_named(old):
    path = old / "points/point-002.json"
    text = path.read_text()
    path.write_text(text.replace("0.385316401720047", "0.385316401720046"))
    assert set(verify(old).damaged) == {"points/point-002.json"}
    with pytest.raises(DamagedFileError, match=r"points/point-002\.json: .* front\.json was written with"):
        migrate(old)


def test_migrating_keeps_points_weights_and_log(old, new, capsys):
    log = logged(old, "point"), (old / "log.jsonl").read_text().splitlines()
    assert main(["migrate", str(old)]) == 0
    assert capsys.readouterr().out == f"{old}: schema 1 → {SCHEMA}\n"
    check_values(old)
    assert verify(old) == (str(old), {}, (), False, {})
    assert everything(old) == everything(new)
    for name, data in everything(OLD).items():
        if name.startswith("weights/"):
            assert (old / name).read_bytes() == data
    lines = [json.loads(line) for line in (old / "log.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in line.items() if k != "seal"} for line in lines] == list(map(json.loads, log[1]))
    for name in ("study.json", "front.json", *(f"points/{id}.json" for id in IDS)):
        assert json.loads((old / name).read_text())["schema"] == SCHEMA


def test_migrating_again_does_nothing(new, monkeypatch, capsys):
    before, times = everything(new), {p: p.stat().st_mtime_ns for p in new.rglob("*")}
    monkeypatch.setattr(written, "write", None)
    assert migrate(new) == (SCHEMA, SCHEMA)
    assert main(["migrate", str(new)]) == 0
    assert capsys.readouterr().out == f"{new} is of schema {SCHEMA}\n"
    assert everything(new) == before
    assert {p: p.stat().st_mtime_ns for p in new.rglob("*")} == times


WRITES = len(IDS) + 4  # the log, points.csv, front.json, study.json


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("k", range(WRITES))
def test_migrating_can_be_stopped_at_any_write_and_begun_again(old, new, monkeypatch, k, after):
    real, calls = written.write, []

    def write(path, data, new=False):
        calls.append(path)
        if len(calls) == k + 1:
            if after:
                real(path, data, new)
            raise KeyboardInterrupt
        real(path, data, new)

    monkeypatch.setattr(written, "write", write)
    with pytest.raises(KeyboardInterrupt):
        migrate(old)
    monkeypatch.undo()
    assert len(calls) == k + 1
    check_values(old)
    found = verify(old)
    assert not found.absent
    assert set(found.damaged) <= {"study.json"}  # which is then written last
    migrate(old)
    assert everything(old) == everything(new)
    assert verify(old) == (str(old), {}, (), False, {})


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("k", range(6 + 4))
def test_migrating_schema_2_can_be_stopped_at_any_write_and_begun_again(tmp_path, monkeypatch, k, after):
    folder, whole = (Path(shutil.copytree(SCHEMA_2, tmp_path / name)) for name in ("stopped", "whole"))
    real, calls = written.write, []

    def write(path, data, new=False):
        calls.append(path)
        if len(calls) == k + 1:
            if after:
                real(path, data, new)
            raise KeyboardInterrupt
        real(path, data, new)

    with monkeypatch.context() as patch:
        patch.setattr(written, "write", write)
        with pytest.raises(KeyboardInterrupt):
            migrate(folder)
    assert pm.Front.load(folder).every == pm.Front.load(SCHEMA_2).every
    assert not verify(folder).damaged
    assert migrate(folder) == (3 if (k, after) == (9, True) else 2, SCHEMA)
    assert migrate(whole) == (2, SCHEMA)
    assert everything(folder) == everything(whole)
    assert verify(folder) == (str(folder), {}, (), False, {})
    assert Store(folder).study == Store(SCHEMA_2).study
    assert Store(folder).schema == SCHEMA


def test_every_write_was_stopped(old, monkeypatch):
    real, calls = written.write, []
    monkeypatch.setattr(written, "write", lambda path, *data: (calls.append(path.name), real(path, *data)))
    migrate(old)
    assert len(calls) == WRITES
    assert calls[-3:] == ["points.csv", "front.json", "study.json"]


def test_a_front_without_a_log_is_migrated(old):
    (old / "log.jsonl").unlink()
    migrate(old)
    assert not verify(old).damaged
    assert not (old / "log.jsonl").exists()


@pytest.mark.fault(74)
def test_an_old_front_is_not_taken_up(old):
    """Its code and data are not known, so what would be added might not belong to it."""
    for folder in (old, old):
        before = everything(folder)
        with pytest.raises(ValueError, match=r"(?s)holds another study.*the code: not known there") as told:
            pm.explore(toys.two_regressions(), ps.EPO(), preferences=3, epochs=4, out=folder)
        assert "optimizer: None there" in str(told.value)
        assert everything(folder) == before
        migrate(folder)  # and neither is it when it has been migrated


@pytest.mark.fault(79)
def test_an_old_record_does_not_get_into_a_new_front(old, new, tmp_path):
    folder = Path(shutil.copytree(new, tmp_path / "new"))
    shutil.copy(old / "points/point-001.json", folder / "points/point-001.json")
    assert set(verify(folder).damaged) == {"points/point-001.json"}
    assert [p.id for p in pm.Front.load(folder).corrupt] == ["point-001"]
    (folder / "study.json").write_bytes((old / "front.json").read_bytes())
    assert "schema 1 had no such file" in verify(folder).damaged["study.json"]
    assert Store(folder).schema == SCHEMA
    assert files(folder).keys() >= {"front.json"}

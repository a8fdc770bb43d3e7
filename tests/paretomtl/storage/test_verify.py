"""What is done to a front's folder behind our back: `verify` names it, and the rest stays usable."""

import os
import re
import shutil
from pathlib import Path

import pytest

import paretomtl as pm
from paretomtl.cli import main
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from tests import toys
from tests.damage import KINDS, check_named, explored, file_of, flipped, reseal, weights_of
from tests.folders import files

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return explored(tmp_path_factory.mktemp("whole") / "front").folder


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The same but for the seed."""
    return explored(tmp_path_factory.mktemp("other") / "front", seed=1).folder


@pytest.fixture
def front(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "front"))


def test_a_whole_front(whole, capsys):
    assert verify(whole) == (str(whole), {}, (), False, {})
    assert main(["verify", str(whole)]) == 0
    assert capsys.readouterr().out == "every file is as it was written\n"


@pytest.mark.fault(78)
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit(front, kind, capsys):
    path = front / file_of(front, kind)
    data = path.read_bytes()
    digit, space = re.search(rb"\d\.\d\d\d|\d\d\d", data), re.search(rb"[ ,\n]", data)
    schema = data.find(b'"schema": 3')
    places = {0, 1, 7, len(data) // 2, len(data) - 2, len(data) - 1} | {m.start() for m in (digit, space) if m}
    places |= {digit.end() - 1} if digit else set()
    places |= {schema + 10} if schema > 0 else set()
    for place in sorted(places):
        path.write_bytes(flipped(data, place, bit=place % 3))
        check_named(front, path.relative_to(front).as_posix(), capsys)
    for bit in range(8):
        path.write_bytes(flipped(data, len(data) // 3, bit))
        assert set(verify(front).damaged) == {path.relative_to(front).as_posix()}
    path.write_bytes(data)
    assert not verify(front).damaged


@pytest.mark.fault(78)
def test_a_flipped_bit_in_any_file_of_a_front_of_one_network(tmp_path):
    front = explored(tmp_path / "front", front_model=pm.FiLM(hidden=4), seeds=2).folder
    whole = files(front)
    assert len(whole) == 3 + 8 + 8 + 2  # study.json, front.json, points.csv; records; weights; networks
    for name, data in whole.items():
        (front / name).write_bytes(flipped(data, len(data) // 2, bit=3))
        found = verify(front)
        assert set(found.damaged) == {name}
        there = pm.Front.load(front)
        lost = [p.seed for p in there.points if name == f"weights/{p.network}.safetensors"]
        for seed in (0, 1):
            if seed in lost:
                with pytest.raises(ValueError, match=Path(name).stem):
                    there.model_at([0.5, 0.5], toys.TwoHeads, seed=seed)
            else:
                there.model_at([0.5, 0.5], toys.TwoHeads, seed=seed)
        (front / name).write_bytes(data)


@pytest.mark.fault(77)
@pytest.mark.parametrize("kind", KINDS)
def test_cut_short_emptied_or_made_longer(front, kind, capsys):
    path = front / file_of(front, kind)
    data = path.read_bytes()
    for damaged in (data[:-1], data[: len(data) // 2], data[:1], b"", data + b"\n", data + data):
        if kind == "log" and damaged == data + data:
            continue  # lines that were written twice are whole lines
        path.write_bytes(damaged)
        check_named(front, path.relative_to(front).as_posix(), capsys)


@pytest.mark.fault(77)
@pytest.mark.parametrize("kind", ["study", "table", "weights"])
def test_a_file_that_is_gone(front, kind, capsys):
    name = file_of(front, kind)
    (front / name).unlink()
    assert verify(front).damaged == {name: "missing"}
    assert main(["verify", str(front)]) == 1
    assert len(pm.Front.load(front)) == 2


def test_points_that_are_not_there_yet(front, capsys):
    def stop(step):
        if step.point == "point-002":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explored(front.with_name("stopped"), callbacks=[stop])
    assert main(["verify", str(front.with_name("stopped"))]) == 3
    assert "not computed yet: point-002\n" in capsys.readouterr().out
    (front / "points/point-002.json").unlink()  # one that was there and was not asked to go, however, is named
    assert verify(front)[1:4] == ({"points/point-002.json": "missing"}, (), False)


@pytest.mark.fault(63)
def test_a_front_json_that_is_older_as_after_a_kill(front):
    new = files(front)
    store = Store(front)
    store.write_front(store.read_points(["point-001"]))
    old = files(front)
    kept = {"points.csv": [old["points.csv"], new["points.csv"]], "front.json": [old["front.json"], None]}
    for table in kept["points.csv"]:
        for head in kept["front.json"]:
            (front / "points.csv").write_bytes(table)
            (front / "front.json").unlink(missing_ok=True)
            if head is not None:
                (front / "front.json").write_bytes(head)
            assert verify(front)[1:4] == ({}, (), True)
            assert main(["verify", str(front)]) == 3
            assert len(pm.Front.load(front)) == 2
    explored(front)
    assert files(front) == new


@pytest.mark.fault(79)
@pytest.mark.parametrize(("kind", "why"), [("record", "it belongs to study '"), ("corner", "it belongs to study '"),
                                           ("weights", "SHA-256"), ("front", "its study is not that of study.json"),
                                           ("table", "front.json was written with")])  # fmt: skip
def test_a_file_of_another_study(front, other, kind, why, capsys):
    name = file_of(front, kind)
    shutil.copy(other / file_of(other, kind), front / name)
    check_named(front, name, capsys)
    assert why in verify(front).damaged[name]


@pytest.mark.fault(79)
def test_a_record_and_weights_under_another_points_name(front, other, capsys):
    shutil.copy(front / "points/point-002.json", front / "points/point-001.json")
    check_named(front, "points/point-001.json", capsys)
    assert "its id is 'point-002', not 'point-001'" in verify(front).damaged["points/point-001.json"]
    shutil.copy(other / "points/point-001.json", front / "points/point-001.json")
    shutil.copy(other / weights_of(other), front / "weights")
    found = verify(front)
    assert set(found.damaged) == {"points/point-001.json"}
    assert weights_of(other) in found.foreign


@pytest.mark.fault(80)
def test_what_a_newer_version_wrote(front, capsys):
    newer = {"schema": 4, "version": "9.0.0"}
    reseal(front / "points/point-001.json", lambda found: found.update(newer))
    assert "schema 4 was written by paretomtl 9.0.0; " in pm.Front.load(front).corrupt[0].reason
    reseal(front / "front.json", lambda found: found.update(newer))
    assert set(verify(front).damaged) == {"points/point-001.json", "front.json"}
    reseal(front / "study.json", lambda found: found.update(newer))
    before = files(front)
    for call in (verify, pm.Front.load, explored):
        with pytest.raises(ValueError, match=r"study\.json: schema 4 was written by paretomtl 9\.0\.0;.* upgrade"):
            call(front)
    assert main(["verify", str(front)]) == 1
    assert "upgrade paretomtl" in capsys.readouterr().err
    (front / "study.json").write_bytes((front / "study.json").read_bytes().replace(b"null", b"nil"))
    with pytest.raises(ValueError, match=r"front\.json: schema 4 .* upgrade"):
        verify(front)
    assert files(front).keys() == before.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_in_the_place_of_a_file_does_not_hang(front, kind, capsys):
    name = file_of(front, kind)
    (front / name).unlink()
    os.mkfifo(front / name)
    check_named(front, name, capsys)
    assert "is not a plain file" in verify(front).damaged[name]

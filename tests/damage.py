"""A small front, and the means to damage it."""

import json
import re
from pathlib import Path

import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.cli import main
from paretomtl.storage.files import SEAL, seal_json
from paretomtl.storage.schema import study_id
from paretomtl.storage.verify import verify
from tests import toys

KINDS = {"study": "study.json", "front": "front.json", "table": "points.csv", "log": "log.jsonl"}
KINDS |= {"record": "points/point-001.json", "corner": "points/ideal-2.json", "weights": "weights"}
IDS = {"point-001", "point-002", "ideal-1", "ideal-2"}


def explored(folder, seed=0, **changes):
    return pm.explore(
        toys.two_regressions(), ps.Linear(), **{"preferences": 2, "epochs": 1, "seed": seed} | changes, out=folder
    )


def weights_of(folder, id="point-001"):
    return f"weights/{json.loads((folder / f'points/{id}.json').read_text())['weights']}.safetensors"


def file_of(folder, kind):
    return weights_of(folder) if kind == "weights" else KINDS[kind]


def reseal(path, change):
    """Change what a file says so that its seal holds."""
    found = {key: part for key, part in json.loads(path.read_text()).items() if key != SEAL}
    change(found)
    if path.name == "study.json":
        found["id"] = study_id(found["study"])
    path.write_bytes(seal_json(found))


def flipped(data, place, bit=0):
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def check_named(folder, name, capsys):
    """One file is damaged: it is named, and all that does not need it goes on."""
    found = verify(folder)
    assert set(found.damaged) == {name}, found
    assert found.damaged[name]
    assert str(folder) not in found.damaged[name]
    assert main(["verify", str(folder)]) == 1
    assert f"damaged: {name}: " in capsys.readouterr().out
    there = pm.Front.load(folder)
    done = {p.id: p for p in (*there.points, *there.corners)}
    lost = {name.removeprefix("points/").removesuffix(".json")} & IDS
    assert {p.id for p in there.corrupt} == lost
    assert set(done) == IDS - lost
    assert there.select(best="a").point.id in {p.id for p in there.points}
    assert there.score().n_points == len(there.points)
    for id, p in done.items():
        if weights_of(folder, id) == name:
            with pytest.raises((ValueError, FileNotFoundError), match=Path(name).stem):
                there.load_model(p, toys.TwoHeads)
        else:
            there.load_model(p, toys.TwoHeads)
    for id in lost:
        assert re.search(rf"^{id} .* corrupt: {re.escape(name)}", there.table(), re.MULTILINE)
        assert any(text.startswith(f"{id} is corrupt: {name}") for text in there.warnings())
    assert any(text.startswith("study.json") for text in there.warnings()) == (name == "study.json")

"""`paretomtl measure`: another measure, a wrong one, another problem."""

import json

import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.cli import main
from tests import toys
from tests.folders import files

PROBLEM = """
from tests.paretomtl.sweep.test_remeasure import absolute_errors
from tests.toys import two_regressions


def typo(model, batches):
    return {"a": absolute_errors(model, batches)["A"], "b": 0.0}


same = two_regressions()
absolute = two_regressions(measure=absolute_errors)
wrong = two_regressions(measure=typo)
other = two_regressions(ref_point=[3.0, 3.0])
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A front, beside a module with problems."""
    (tmp_path / "mine_to_measure.py").write_text(PROBLEM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    pm.explore(toys.two_regressions(), ps.Linear(), preferences=2, epochs=1, out=tmp_path / "front")
    return tmp_path / "front"


@pytest.mark.fault(100)
def test_another_measure(folder, capsys):
    assert main(["measure", "front", "mine_to_measure:absolute"]) == 0
    out = capsys.readouterr().out
    assert "measured: False there, True here" in out
    assert "point-001: the measure 'a' on validate: " in out
    assert "4 points measured; " in out
    assert pm.Front.load(folder).study["measured"]
    assert main(["verify", "front"]) == 0


def test_as_json(folder, capsys):
    assert main(["measure", "front", "mine_to_measure:same", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"points": 4, "failed": {}, "changes": []}


@pytest.mark.fault(100)
@pytest.mark.parametrize(
    ("problem", "code", "named"),
    [
        ("mine_to_measure:wrong", 1, ("measure raised KeyError on the first 2 batches of validate", "in typo")),
        ("mine_to_measure:other", 1, ("in more than its measure", "ref_point: [2.0, 2.0] there, [3.0, 3.0] here")),
        ("mine_to_measure:none", 2, ("has no 'none'",)),
        ("mine_to_measure", 2, ("write MODULE:PROBLEM",)),
    ],
)
def test_what_cannot_be_measured(folder, capsys, problem, code, named):
    before = files(folder)
    assert main(["measure", "front", problem]) == code
    error = capsys.readouterr().err
    assert all(part in error for part in named), error
    assert files(folder) == before

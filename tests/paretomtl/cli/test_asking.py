"""`paretomtl ask`: the answer, how to train it, and training it."""

import json
import sys

import pytest

import paretomtl as pm
from paretomtl.cli import main
from paretomtl.conditioned.kinds import to_options
from paretomtl.preference import even_design
from tests.folders import logged
from tests.fronts import point, stored

PROBLEM = """
from tests.toys import two_regressions

problem = two_regressions()
"""
ROWS = [(0.2, 0.8), (0.5, 0.5), (0.8, 0.2)]


@pytest.fixture
def folder(tmp_path):
    points = [
        point(f"point-00{k + 1}", row, preference=tuple(r.tolist()))
        for k, (row, r) in enumerate(zip(ROWS, even_design(2, 3)[::-1], strict=True))
    ]
    return stored(tmp_path, points).folder


def test_the_answer_is_fronts(folder, capsys):
    assert main(["ask", str(folder), "--aspire", "a=.4", "--aspire", "b=.5"]) == 0
    out = capsys.readouterr().out
    answer = pm.Front.load(folder).ask({"a": 0.4, "b": 0.5})
    assert answer.why in out
    assert f"python: explore(…, out={str(folder)!r}, preferences=[{answer.preference}])" in out
    assert "command" not in out
    assert (
        main(["ask", str(folder), "--aspire", "a=.4", "--aspire", "b=.5", "--reserve", "a=.6", "--reserve", "b=1"]) == 0
    )
    assert "with the reservation a 0.6, b 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("study", "line"),
    [
        ({"grows": ["ref_point"]}, "explore(…, preferences=[{'a': "),
        ({"front_model": to_options(pm.FiLM()), "bounded": False}, ".model_at(["),
    ],
)
def test_what_cannot_grow_is_explored_anew_or_served(tmp_path, capsys, study, line):
    points = [point("p1", (0.3, 0.6), preference=(2 / 3, 1 / 3))]
    folder = stored(tmp_path, points, **study).folder
    assert main(["ask", str(folder), "--aspire", "a=.4", "--aspire", "b=.5"]) == 0
    out = capsys.readouterr().out
    assert line in out
    assert "out=" not in out


def test_json(folder, capsys):
    line = ["ask", str(folder), "--aspire", "a=improve", "--aspire", "b=keep", "--at", "point-002", "--json"]
    assert main(line) == 0
    facts = json.loads(capsys.readouterr().out)
    front = pm.Front.load(folder)
    answer = front.ask({"a": "improve", "b": "keep"}, at=front.points[1])
    assert facts["preference"] == answer.preference
    assert facts["nearest"] == answer.nearest.id
    assert facts["errors"] == answer.errors
    assert facts["command"] is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--aspire", "a=.4"], 1, "aspiration has no number for 'b'"),
        (
            ["--aspire", "a=.4", "--aspire", "b=good"],
            2,
            "--aspire 'b=good': write OBJECTIVE=NUMBER, such as left=0.35, or",
        ),
        (["--aspire", "a=.4", "--aspire", "a=.5"], 2, "--aspire gives 'a' twice"),
        (["--aspire", "a=.4", "--at", "point-009"], 2, "--at point-009: no such point succeeded"),
        (["--aspire", "a=.4", "--trust"], 2, "says that code may run, which only --train does"),
        (["--aspire", "a=.4", "--aspire", "b=.5", "--train"], 2, "does not say how it was begun with `paretomtl run"),
    ],
)
def test_what_is_wrong_is_a_line(folder, capsys, words, code, said):
    assert main(["ask", str(folder), *words]) == code
    assert said in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning", "ignore:.*still moving:UserWarning")
def test_ask_train_look_again(tmp_path, monkeypatch, capsys):
    """The command that the answer prints trains there, and `resume` goes on with the whole."""
    (tmp_path / "mine_to_ask.py").write_text(PROBLEM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    run = ["--method", "EPO", "--preferences", "3", "--epochs", "2", "--lr", "0.05", "--out", "runs/a"]
    assert main(["run", "mine_to_ask:problem", *run]) == 0
    first, second = pm.Front.load("runs/a").losses[:2]
    a, b = (first + second).round(3).tolist()
    ask = ["ask", "runs/a", "--aspire", f"a={a}", "--aspire", f"b={b}"]
    capsys.readouterr()
    assert main([*ask, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["command"] == f"paretomtl ask runs/a --aspire a={a} --aspire b={b} --json --train mine_to_ask:problem"
    assert main([*ask, "--train"]) == 2  # code that a folder names is not run unless it is named
    assert "If you trust this code, name it" in capsys.readouterr().err
    assert main(answer["command"].split()[1:]) == 0
    captured = capsys.readouterr()
    assert [p["id"] for p in json.loads(captured.out)["points"] if p["corner"] is None][-1] == "point-004"
    front = pm.Front.load("runs/a")
    assert dict(zip(front.names, front.points[-1].preference, strict=True)) == pytest.approx(answer["preference"])
    assert main(["resume", "runs/a", "mine_to_ask:problem"]) == 0
    assert logged(tmp_path / "runs/a", "resumed")[-1]["left"] == 0

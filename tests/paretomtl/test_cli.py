import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import paretomtl_solvers as ps
from paretomtl.cli import main
from paretomtl.front.files import SEAL, sealed
from paretomtl.front.schema import identity

PROBLEM = """
from tests.toys import two_regressions

problem = two_regressions()
number = 3
"""
NOWHERE = {"ref_point": [0.0, 0.0]}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder that is not the repository, with a problem's module in it and a front explored from it."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(PROBLEM)
    command = [
        "run",
        "mine:problem",
        "--method",
        "Linear",
        "--preferences",
        "3",
        "--epochs",
        "2",
        "--lr",
        "0.01",
        "--out",
        "runs/a",
    ]
    return folder, subprocess.run(
        [sys.executable, "-m", "paretomtl", *command], cwd=folder, capture_output=True, text=True
    )


def test_run_prints_the_front_and_keeps_quiet_on_stderr(here):
    folder, run = here
    assert run.returncode == 0
    assert run.stderr == ""
    assert "point-003" in run.stdout
    assert "hypervolume" in run.stdout
    assert (folder / "runs/a/front.json").exists()


def test_show(here, capsys):
    assert main(["show", str(here[0] / "runs/a")]) == 0
    assert "control_error_worst" in capsys.readouterr().out


def test_show_of_a_front_with_points_missing(here, tmp_path, capsys):
    copy = shutil.copytree(here[0] / "runs/a", tmp_path / "a")
    (copy / "points/point-002.json").unlink()
    assert main(["show", str(copy)]) == 3
    assert "incomplete: 4 of 5 points" in capsys.readouterr().err


def test_select(here, capsys):
    assert main(["select", str(here[0] / "runs/a"), "--best", "a", "--subject-to", "b=100"]) == 0
    assert "lowest a" in capsys.readouterr().out


@pytest.mark.fault(36)
def test_select_without_a_feasible_point(here, capsys):
    assert main(["select", str(here[0] / "runs/a"), "--best", "a", "--subject-to", "b=1e-9"]) == 1
    assert "nearest is point-" in capsys.readouterr().err


def test_plot(here, tmp_path, capsys):
    assert main(["plot", str(here[0] / "runs/a"), "-o", str(tmp_path / "x.png"), "--best", "a"]) == 0
    assert (tmp_path / "x.csv").exists()
    assert "written" in capsys.readouterr().out


def test_plot_of_a_kind(here, tmp_path):
    folder = str(here[0] / "runs/a")
    for name, options in (("plane", []), ("lines", ["--kind", "parallel"]), ("panels", ["--kind", "matrix"])):
        assert main(["plot", folder, "-o", str(tmp_path / f"{name}.svg"), *options]) == 0
    assert len({path.read_bytes() for path in tmp_path.glob("*.svg")}) == 3


def rewrite(path: Path, **changes) -> None:
    """Change a file of a front, and seal it anew."""
    found = json.loads(path.read_text()) | changes
    path.write_bytes(sealed({key: value for key, value in found.items() if key != SEAL}))


def test_show_tells_of_points_beyond_the_reference(here, tmp_path, capsys):
    copy = shutil.copytree(here[0] / "runs/a", tmp_path / "a")
    found = json.loads((copy / "study.json").read_text())
    study = found["study"] | NOWHERE
    rewrite(copy / "study.json", study=study, id=identity(study))
    for record in copy.glob("points/*.json"):
        rewrite(record, study=identity(study))
    assert main(["show", str(copy)]) == 0
    shown = capsys.readouterr()
    assert "warning: no point dominates the reference (0, 0), so the hypervolume is undefined" in shown.err
    assert "undefined (no reference front)" in shown.out


def test_methods(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(ps.__all__)
    assert {("EPO", "Weighting"), ("Linear", "Scalarization")} <= {tuple(line.split()[:2]) for line in lines}


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("run mine --method EPO --preferences 3 --epochs 1 --out x", 2, "write MODULE:PROBLEM"),
        ("run absent:problem --method EPO --preferences 3 --epochs 1 --out x", 2, "no module 'absent'"),
        ("run mine:absent --method EPO --preferences 3 --epochs 1 --out x", 2, "has no 'absent'"),
        ("run mine:number --method EPO --preferences 3 --epochs 1 --out x", 2, "is a int, not a Problem"),
        ("run mine:problem --method Epo --preferences 3 --epochs 1 --out x", 2, "'Epo' is not one of "),
        ("run mine:problem --method EPO --preferences 0 --epochs 1 --out x", 1, "preferences=0"),
        ("run mine:problem --method EPO --preferences 3 --out x", 2, "--epochs or --steps must be given"),
        ("show x", 1, "holds no front"),
        ("select runs/a --best z", 1, "'z' is not one of 'a', 'b'"),
        ("select runs/a --best a --subject-to b", 2, "OBJECTIVE=NUMBER"),
        ("select runs/a --knee --subject-to b=1", 2, "goes with --best"),
        ("select runs/a", 2, "--best --knee"),
        ("plot runs/a -o x.jpg", 1, ".svg, .pdf, .png"),
        ("plot runs/a -o x.svg --kind radar", 2, "argument --kind"),
    ],
)
def test_bad_usage_is_a_line_and_a_code(here, monkeypatch, capsys, command, code, said):
    monkeypatch.chdir(here[0])
    monkeypatch.setattr(sys, "path", list(sys.path))
    try:
        assert main(command.split()) == code
    except SystemExit as exit:  # argparse's own
        assert exit.code == code  # noqa: PT017
    assert said in capsys.readouterr().err

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.cli import main
from paretomtl.storage.files import SEAL, seal_json
from paretomtl.storage.schema import study_id
from tests.folders import files
from tests.fronts import failed, point, stored
from tests.toys import two_regressions

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


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ("--regret", pm.rules.MinMaxRegret()),
        ("--aspire a=.3 --aspire b=.2", pm.rules.ReferencePoint({"a": 0.3, "b": 0.2})),
        ("--weigh a=1 --weigh b=3", pm.rules.Weights({"a": 1.0, "b": 3.0})),
        ("--weigh a=1 --weigh b=3 --tchebycheff", pm.rules.Weights({"a": 1.0, "b": 3.0}, "tchebycheff")),
        ("--order b=.1 --order a", pm.rules.Lexicographic(["b", "a"], {"b": 0.1})),
    ],
)
def test_select_by_every_rule(here, capsys, options, rule):
    folder = here[0] / "runs/a"
    assert main(["select", str(folder), *options.split()]) == 0
    out, pick = capsys.readouterr().out, pm.Front.load(folder).select(rule)
    assert f"chosen: {pick.why}\n" in out
    assert f"next: {pick.runners_up[0]}\n" in out


@pytest.mark.fault(36)
def test_select_without_a_feasible_point(here, capsys):
    assert main(["select", str(here[0] / "runs/a"), "--best", "a", "--subject-to", "b=1e-9"]) == 1
    assert "nearest is point-" in capsys.readouterr().err


STRANGER = """
import sys
from torch import nn
import paretomtl as pm

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.a, self.b = nn.Linear(4, 1), nn.Linear(1, 1), nn.Linear(1, 1)

front = pm.Front.load("somewhere/else")
pick = front.select(best="a")
print(front.table(), front.score(), pick.why, front.by_seed(), front.tradeoff().why)
front.plot("python.svg", pick)
print(pick.load(Net))
assert not {"mine", "tests"} & set(sys.modules)
"""


def test_moved_elsewhere_it_is_read_without_the_problem(here, tmp_path):
    shutil.copytree(here[0] / "runs/a", tmp_path / "somewhere" / "else")
    alone = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}

    def run(*command):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=alone, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    for command in ("show", "select --best b", "plot -o command.svg", "verify"):
        name, *options = command.split()
        assert run("-m", "paretomtl", name, "somewhere/else", *options)
    assert "(trunk): Linear" in run("-c", STRANGER)
    assert all("<svg" in (tmp_path / name).read_text() for name in ("command.svg", "python.svg"))


def test_plot(here, tmp_path, capsys):
    assert main(["plot", str(here[0] / "runs/a"), "-o", str(tmp_path / "x.png"), "--best", "a"]) == 0
    assert (tmp_path / "x.csv").exists()
    assert "written" in capsys.readouterr().out


def test_plot_of_a_kind(here, tmp_path):
    folder = str(here[0] / "runs/a")
    kinds = {"lines": ["--kind", "parallel"], "panels": ["--kind", "matrix"], "asked": ["--kind", "control"]}
    for name, options in ({"plane": [], "column": ["--width", "3.25"]} | kinds).items():
        assert main(["plot", folder, "-o", str(tmp_path / f"{name}.svg"), *options]) == 0
    assert len({path.read_bytes() for path in tmp_path.glob("*.svg")}) == 5


def rewrite(path: Path, **changes) -> None:
    """Change a file of a front, and seal it anew."""
    found = json.loads(path.read_text()) | changes
    path.write_bytes(seal_json({key: value for key, value in found.items() if key != SEAL}))


def test_show_tells_of_points_beyond_the_reference(here, tmp_path, capsys):
    copy = shutil.copytree(here[0] / "runs/a", tmp_path / "a")
    found = json.loads((copy / "study.json").read_text())
    study = found["study"] | NOWHERE
    rewrite(copy / "study.json", study=study, id=study_id(study))
    for record in copy.glob("points/*.json"):
        rewrite(record, study=study_id(study))
    assert main(["show", str(copy)]) == 0
    shown = capsys.readouterr()
    assert "warning: no point dominates the reference (0, 0), so the hypervolume is undefined" in shown.err
    assert "undefined (no reference front)" in shown.out


def test_show_does_not_let_a_front_drive_the_terminal(tmp_path, capsys):
    hostile = failed("p2", reason="\x1b]0;title\x07\x1b[2J\u202e gone")
    stored(tmp_path, [point("p1", (0.5, 0.5)), hostile])
    assert main(["show", str(tmp_path / "stored")]) == 3  # one failed
    shown = capsys.readouterr()
    for text in shown:
        assert "\\x1b]0;title\\x07\\x1b[2J\\u202e gone" in text
        assert all(c.isprintable() for c in text.replace("\n", ""))


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("run mine:problem", 2, "--method, --preferences, --out, --epochs or --steps must be given"),
        ("run mine --method EPO --preferences 3 --epochs 1 --out x", 2, "write MODULE:PROBLEM"),
        ("run absent:problem --method EPO --preferences 3 --epochs 1 --out x", 2, "no module 'absent'"),
        ("run mine:absent --method EPO --preferences 3 --epochs 1 --out x", 2, "has no 'absent'"),
        ("run mine:number --method EPO --preferences 3 --epochs 1 --out x", 2, "is a int, not a Problem"),
        ("run mine:problem --method Epo --preferences 3 --epochs 1 --out x", 2, "'Epo' is not one of "),
        ("run mine:problem --method EPO --front-model EPO --preferences 3 --epochs 1 --out x", 2, "one of FiLM, "),
        ("run mine:problem --method EPO --preferences 0 --epochs 1 --out x", 1, "preferences=0"),
        ("run mine:problem --method EPO --preferences 3 --out x", 2, "--epochs or --steps must be given"),
        ("show x", 1, "holds no front"),
        ("select runs/a --best z", 1, "'z' is not one of 'a', 'b'"),
        ("select runs/a --best a --subject-to b", 2, "OBJECTIVE=NUMBER"),
        ("select runs/a --knee --subject-to b=1", 2, "goes with --best"),
        ("select runs/a --knee --margin .9", 2, "--margin goes with --best"),
        ("select runs/a --best a --tchebycheff", 2, "--tchebycheff goes with --weigh"),
        ("select runs/a --best a --subject-to b=1 --subject-to b=2", 2, "--subject-to gives 'b' twice"),
        ("select runs/a --best a --subject-to b=9 --margin .95", 1, "is unknown; explore with seeds=2 or more"),
        ("select runs/a --aspire a=1", 1, "aspirations has no number for 'b'"),
        ("select runs/a --weigh a=1 --weigh b=x", 2, "--weigh 'b=x': write OBJECTIVE=NUMBER"),
        ("select runs/a --knee --regret", 2, "not allowed with argument"),
        ("select runs/a", 2, "--best --knee --regret --aspire --weigh --order"),
        ("plot runs/a -o x.jpg", 1, ".svg, .pdf, .png"),
        ("plot runs/a -o x.svg --kind radar", 2, "argument --kind"),
        ("plot runs/a -o x.svg --width 0", 1, "width=0.0: give inches"),
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


IMPORTED = """
import contextlib, io, sys
from paretomtl.cli import main

with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
    main(sys.argv[1:])
assert printed.getvalue()
print(*({"torch", "cvxpy", "ray"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "command", ["--help", "run --help", "select --help", "show DIR", "select DIR --best a", "verify DIR", "migrate DIR"]
)
def test_reading_and_choosing_import_no_torch(here, command):
    words = command.replace("DIR", str(here[0] / "runs/a")).split()
    done = subprocess.run([sys.executable, "-c", IMPORTED, *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


# --- a user's own folder, in this process ---

LOUD = """
import ctypes, os, sys
from pathlib import Path
from tests import toys

def shout(word):
    print(word, "print")
    print(word, "kept", file=sys.__stdout__)
    os.write(1, word.encode() + b" os\\n")
    ctypes.CDLL(None).puts(word.encode() + b" c")

shout("imported")
Path("imported").touch()

def losses(model, batch, told=[]):
    if not told:
        told.append(shout("losses"))
    return toys.losses(model, batch)

problem = toys.two_regressions(losses=losses, train=toys.loader(1), validate=toys.loader(2))

def made(size="small", key=""):
    return problem

def fails():
    raise KeyError("the cause")

def wrong(model, batch):
    return {"a": batch[0] @ batch[0], "b": 0}

broken = toys.two_regressions(losses=wrong)
"""
RUN = ["run", "loud:problem", "--method", "Linear", "--preferences", "3", "--epochs", "1", "--out", "runs/a"]
RESUME = ["resume", "runs/a", "loud:problem"]
TOML = """
problem = "loud:made"
method = "Linear"
preferences = [[0.2, 0.8], [0.8, 0.2]]
epochs = 1
out = "runs/b"
"""

# of the losses below, which speak once
pytestmark = pytest.mark.filterwarnings("ignore:cannot tell whether the value of told in loud.losses:UserWarning")


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A folder with a module of the user's own, where we are."""
    (tmp_path / "loud.py").write_text(LOUD)
    (tmp_path / "syntax.py").write_text("def problem(:\n")
    (tmp_path / "raising.py").write_text("import absent_from_here\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("loud", "syntax", "raising"):
        sys.modules.pop(name, None)


def strict(text: str) -> dict:
    """JSON without NaN."""
    return json.loads(text, parse_constant=pytest.fail)


def test_json_is_all_that_stdout_has(user):
    command = [sys.executable, "-m", "paretomtl", *RUN, "--normalise", "none", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    found = strict(done.stdout)
    assert (found["folder"], found["asked"], len(found["points"])) == ("runs/a", 5, 5)
    words = [f"{when} {how}" for when in ("imported", "losses") for how in ("print", "kept", "os", "c")]
    lines = [line for line in done.stderr.splitlines() if "dominated by another" not in line]  # after one epoch
    assert sorted(lines) == sorted(words)


def test_json_of_every_command(user, capfd):
    assert main([*RUN, "--json"]) == 0
    shown = strict(capfd.readouterr().out)
    for command, key in (
        ("resume runs/a loud:problem", "points"),
        ("show runs/a", "points"),
        ("select runs/a --best a", "weights"),
        ("plot runs/a -o x.svg", "figure"),
        ("verify runs/a", "damaged"),
        ("migrate runs/a", "after"),
    ):
        assert main([*command.split(), "--json"]) == 0
        found = strict(capfd.readouterr().out)
        assert key in found
        assert key != "points" or found == shown
    assert main(["methods", "--json"]) == 0
    assert [row["name"] for row in json.loads(capfd.readouterr().out)] == sorted(ps.__all__)
    Path("runs/a/points/point-001.json").write_text("{}")
    assert main(["verify", "runs/a", "--json"]) == 1
    assert list(strict(capfd.readouterr().out)["damaged"]) == ["points/point-001.json"]
    for name in ("points/point-001.json", "front.json"):
        Path("runs/a", name).unlink()
    for command in ("verify", "show"):
        assert main([command, "runs/a", "--json"]) == 3
        strict(capfd.readouterr().out)
    assert main(["select", "runs/a", "--knee", "--json"]) == 1
    assert strict(capfd.readouterr().out)["point"] is None
    assert main(["select", "runs/a", "--best", "z", "--json"]) == 1
    assert capfd.readouterr().out == ""


def test_resume_and_run_again_go_on(user, capsys):
    assert main(RUN) == 0
    first = capsys.readouterr().out.partition("point  ")[2]
    whole = files(Path("runs/a"))
    for again in (RUN, RESUME, ["resume", "runs/a", "--trust"]):
        Path("runs/a/points/point-001.json").unlink()
        assert main(["show", "runs/a"]) == 3
        capsys.readouterr()
        assert main(again) == 0
        shown = capsys.readouterr()
        assert shown.out.partition("point  ")[2] == first
        assert files(Path("runs/a")) == whole
    assert f"running loud:problem, as runs/a says, from {user / 'loud.py'}" in shown.err
    Path("runs/a/study.json").unlink()  # with it goes how the front was begun; `run` knows it again
    assert main(["resume", "runs/a"]) == 2
    assert main(RUN) == 0
    assert files(Path("runs/a")) == whole
    capsys.readouterr()
    assert main([*RUN, "--seed", "1"]) == 1
    assert "seed: 0 there, 1 here" in capsys.readouterr().err


def test_resume_of_what_was_not_begun_by_run(user, capsys):
    pm.explore(two_regressions(), ps.Linear(), preferences=[[0.5, 0.5]], epochs=1, out="python")
    Path("study.toml").write_text(TOML)
    assert main(["run", "study.toml"]) == 0
    capsys.readouterr()
    for folder in ("python", "runs/b"):
        assert main(["resume", folder]) == 2
        assert "the same study file, or call the same explore(…) again with this out=" in capsys.readouterr().err
    assert main(["resume", "nowhere"]) == 1


@pytest.mark.fault(83)
@pytest.mark.parametrize("inside", ["loud.py", "loud/__init__.py"])
def test_no_code_is_run_from_a_fronts_folder(user, monkeypatch, capsys, inside):
    assert main(RUN) == 0
    Path("runs/a", inside).parent.mkdir(exist_ok=True)
    Path("loud.py").rename(Path("runs/a", inside))
    Path("imported").unlink()
    sys.modules.pop("loud")
    monkeypatch.syspath_prepend(user / "runs/a")
    capsys.readouterr()
    assert main(["resume", "runs/a"]) == 2
    assert "lies in the front's folder" in capsys.readouterr().err
    monkeypatch.chdir(user / "runs/a")
    assert main(["resume", "."]) == 2
    assert "no code is run from a front's folder" in capsys.readouterr().err
    assert "loud" not in sys.modules
    assert not list(user.rglob("imported"))


@pytest.mark.fault(83)
def test_reading_a_front_imports_nothing_that_it_names(user, capsys):
    assert main(RUN) == 0
    Path("imported").unlink()
    sys.modules.pop("loud")
    for command in ("show", "select --best a", "plot -o x.svg", "verify", "migrate"):
        assert main([*command.split(), "runs/a"]) == 0
    assert "loud" not in sys.modules
    assert not Path("imported").exists()


@pytest.mark.fault(123)
def test_a_file_in_place_of_a_folder_says_what_to_give(here, monkeypatch, capsys):
    monkeypatch.chdir(here[0])
    Path("plain.csv").write_text("a,b\n1,2\n")
    for command in ("show", "select --knee", "plot -o x.svg", "verify", "migrate", "resume"):
        assert main([*command.split(), "plain.csv"]) == 1
        complaint = capsys.readouterr().err
        assert "plain.csv is a file; give a front's folder; a table of losses is read in Python: " in complaint
        assert "pm.Front.from_csv('plain.csv', ref_point=…)" in complaint
    for name in ("points.csv", "front.json"):
        assert main(["show", f"runs/a/{name}"]) == 1
        assert capsys.readouterr().err == f"paretomtl show: runs/a/{name} is a file; give its folder, runs/a\n"


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("syntax:problem", "module 'syntax' failed while it was imported: SyntaxError"),
        ("raising:problem", "module 'raising' failed while it was imported: ModuleNotFoundError"),
        ("loud:fails", "loud:fails failed: KeyError: 'the cause'"),
        ("loud:broken", "the code of loud:broken failed: RuntimeError: "),
    ],
)
def test_what_the_users_code_raises_keeps_its_traceback(user, capsys, problem, said):
    assert main(["run", problem, *RUN[2:]]) == 1
    told = capsys.readouterr().err
    assert f"paretomtl run: {said}" in told.splitlines()[-1]
    assert "Traceback" in told
    assert f"{problem.partition(':')[0]}.py" in told


def test_a_reader_that_has_seen_enough(user, here):
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "paretomtl", "show", str(here[0] / "runs/a")]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, "")


# --- study files ---


@pytest.mark.fault(116)
def test_run_again_with_more_seeds_grows_the_study(user, capsys):
    assert main(RUN) == 0
    before = files(user / "runs/a")
    assert main([*RUN, "--seeds", "2", "--json"]) == 0
    printed = capsys.readouterr().out
    assert "point-001-seed-2" in printed[printed.index("{") :]
    after = files(user / "runs/a")
    assert {name: after[name] for name in before if "/" in name} == {k: v for k, v in before.items() if "/" in k}
    assert main(["resume", "runs/a", RUN[1], "--json"]) == 0  # as the last command asked
    assert files(user / "runs/a") == after
    assert main(RUN) == 1
    assert "what is there stays where preferences or seeds are added, and none left out" in capsys.readouterr().err


@pytest.mark.fault(90)
@pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")
def test_a_study_file_from_elsewhere(user, monkeypatch, capsys, tmp_path_factory):
    tables = TOML.replace('"loud:made"', '{ name = "loud:made", key = "sk-toml-71" }')
    tables = tables.replace('"Linear"', '{ name = "EPO", eps = 1e-3 }').replace("epochs = 1", "steps = 2")
    Path("study.toml").write_text(tables + 'optimizer = { name = "SGD", lr = 0.1 }\nseeds = 2\n')
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "loud.py").write_text("raise AssertionError('the module beside the file comes first')")
    monkeypatch.chdir(elsewhere)
    monkeypatch.syspath_prepend("")
    assert main(["run", str(user / "study.toml"), "--json"]) == 0
    assert Path(sys.path[0]) == user
    found = strict(capsys.readouterr().out)
    assert [p["id"] for p in found["points"]][:2] == ["point-001", "point-002"]
    study = pm.Front.load(user / "runs/b").study
    assert (study["solver"], study["optimizer"]) == ("EPO(eps=0.001, backend='auto')", "torch.optim.sgd.SGD(lr=0.1)")
    assert (study["seeds"], study["budget"]) == (2, {"steps": 2})
    assert not any(b"sk-toml" in path.read_bytes() for path in (user / "runs").rglob("*") if path.is_file())
    (user / "runs/b/points/point-001-seed-2.json").unlink()
    before = files(user / "runs/b")
    assert main(["run", str(user / "study.toml"), "--json"]) == 0
    assert strict(capsys.readouterr().out) == found
    assert len(files(user / "runs/b")) == len(before) + 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("epochs = 1", "epochs = 0", "epochs = 0: give a whole number"),
        ("epochs", "epoch", "no key 'epoch' (did you mean 'epochs'?)"),
        ('"loud:made"', '"absent:made"', "'absent:made': there is no module 'absent'"),
        ('"loud:made"', '{ name = "loud:made", sise = 3 }', "did you mean 'size'?"),
        ('"Linear"', '"Linea"', "method 'Linea' is not one of"),
        ('"Linear"', '{ name = "EPO", epsilon = 3 }', "its arguments are eps, backend"),
        ('"Linear"', '{ name = "EPO", eps = -3 }', "method = EPO with {'eps': -3}: "),
        ("out", 'optimizer = { name = "SGD", lr = -1.0 }\nout', "Invalid learning rate: -1.0"),
        ("epochs = 1", "epochs = ", "is not TOML"),
        (
            "preferences = [[0.2, 0.8], [0.8, 0.2]]",
            "preferences = { start = 5, total = 3 }",
            "total counts the first ones as well",
        ),
        (
            "preferences = [[0.2, 0.8], [0.8, 0.2]]",
            "preferences = { first = 2, total = 3 }",
            "its arguments are start, total, each, by",
        ),
        ("out", "fleet = 1\nout", "fleet = 1: give a whole number of at least 2"),
        ("out", 'front_model = "Film"\nout', "front_model 'Film' is not one of FiLM, Hypernetwork, Inputs, LowRank"),
        ("out", 'front_model = { name = "LowRank", rnk = 8 }\nout', "did you mean 'rank'?"),
        ("out", 'front_model = { name = "LowRank", rank = 0 }\nout', "front_model = LowRank with {'rank': 0}: "),
        ("out", 'front_model = { name = "FiLM", sampling = 3 }\nout', "sampling = 3: give a table such as { n = 4 }"),
        ("out", 'front_model = { name = "FiLM", sampling = { m = 3 } }\nout', "its arguments are each, n, "),
        ("out", 'front_model = { name = "FiLM", sampling = { ends = 2 } }\nout', "Sampling with {'ends': 2}: ends=2: "),
    ],
)
def test_what_is_wrong_with_a_study_file_is_a_line(user, unchecked, capsys, old, new, said):
    Path("study.toml").write_text(TOML.replace(old, new, 1))
    assert main(["run", "study.toml"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("paretomtl run: study.toml")
    assert said in told
    assert told.count("\n") == 1
    assert not Path("runs").exists()


def test_a_study_file_says_it_all(user, capsys):
    Path("study.toml").write_text(TOML)
    assert main(["run", "study.toml", "--epochs", "3", "--ray", "--front-model", "FiLM"]) == 2
    assert "--epochs, --ray, --front-model: a study file says it all; change study.toml" in capsys.readouterr().err


# --- rounds and fleets ---


def test_rounds_are_remembered(user, capsys):
    assert main([*RUN, "--preferences", "5", "--refine", "2"]) == 0
    whole = files(Path("runs/a"))
    front = pm.Front.load("runs/a")
    assert front.study["refine"] == {"start": 2, "total": 5, "each": None, "by": "gap"}
    assert len(front) == 5
    for id in ("point-001", "point-004"):
        Path(f"runs/a/points/{id}.json").unlink()
    assert main(RESUME) == 0
    assert files(Path("runs/a")) == whole
    capsys.readouterr()
    assert main([*RUN, "--refine", "3"]) == 2
    assert "Refine(start=3, total=3): total counts the first ones as well" in capsys.readouterr().err


def test_a_fleet_is_remembered(user, capsys):
    assert main([*RUN, "--fleet", "2"]) == 0
    whole = files(Path("runs/a"))
    assert pm.Front.load("runs/a").study["fleet"] == 2
    Path("runs/a/points/point-001.json").unlink()
    assert main(RESUME) == 0
    assert files(Path("runs/a")) == whole
    capsys.readouterr()
    assert main(RUN) == 1
    assert "fleet: 2 there, None here" in capsys.readouterr().err


# --- front models ---


def test_a_front_model_by_its_name_is_remembered(user, capsys):
    assert main([*RUN, "--front-model", "FiLM"]) == 0
    whole = files(Path("runs/a"))
    shown = capsys.readouterr().out.partition("point  ")[2]
    assert "interpolation error, each point left out: a " in shown
    assert pm.Front.load("runs/a").study["front_model"]["kind"] == "FiLM"
    Path("runs/a/points/point-001.json").unlink()
    assert main(RESUME) == 0
    assert capsys.readouterr().out.partition("point  ")[2] == shown
    assert files(Path("runs/a")) == whole
    assert main(RUN) == 1
    assert "front_model: FiLM(hidden=64, layers=[], …) there, None here" in capsys.readouterr().err
    assert main(["show", "runs/a", "--json"]) == 0
    assert len(strict(capsys.readouterr().out)["map"]["interpolation_error"]) == 2


def test_what_older_versions_remembered_goes_on(user, capsys):
    assert main(RUN) == 0
    whole = files(Path("runs/a"))
    command = json.loads(whole["study.json"])["command"]
    rewrite(Path("runs/a/study.json"), command={k: v for k, v in command.items() if k != "front_model"})
    Path("runs/a/points/point-001.json").unlink()
    assert main(RESUME) == 0
    again = files(Path("runs/a"))
    assert {name: data for name, data in again.items() if name != "study.json"} == {
        name: data for name, data in whole.items() if name != "study.json"
    }
    assert "front_model" not in json.loads(again["study.json"])["command"]


def test_a_front_model_of_a_study_file(user, capsys):
    table = 'front_model = { name = "LowRank", rank = 2, modules = ["trunk"], sampling = { n = 4, ends = 0.3 } }\n'
    Path("study.toml").write_text(TOML + table)
    assert main(["run", "study.toml"]) == 0
    found = pm.Front.load("runs/b").study["front_model"]
    assert {k: found[k] for k in ("kind", "rank", "modules")} == {"kind": "LowRank", "rank": 2, "modules": ["trunk"]}
    assert {k: found["sampling"][k] for k in ("n", "ends")} == {"n": 4, "ends": 0.3}
    whole = files(Path("runs/b"))
    assert main(["run", "study.toml"]) == 0
    assert files(Path("runs/b")) == whole
    capsys.readouterr()
    Path("study.toml").write_text(TOML + table.replace("0.3", "0.4"))
    assert main(["run", "study.toml"]) == 1
    assert "front_model LowRank, sampling ends: 0.3 there, 0.4 here" in capsys.readouterr().err


OWN = """
from dataclasses import dataclass

import paretomtl as pm


@dataclass(frozen=True)
class Own(pm.LowRank):
    pass


other = 3
"""


@pytest.fixture
def own(user):
    """A front model of the user's own, beside their problem."""
    (user / "own.py").write_text(OWN)
    yield user
    sys.modules.pop("own", None)


def test_a_front_model_of_ones_own(own, monkeypatch, capsys):
    assert main([*RUN, "--front-model", "own:Own"]) == 0
    assert pm.Front.load("runs/a").study["front_model"]["kind"] == "own:Own"
    whole = files(Path("runs/a"))
    Path("runs/a/points/point-001.json").unlink()
    assert main([*RESUME, "own:Own"]) == 0
    assert files(Path("runs/a")) == whole
    assert f"running own:Own, as runs/a says, from {own / 'own.py'}" in capsys.readouterr().err
    Path("study.toml").write_text(f'{TOML}front_model = {{ name = "own:Own", rank = 2 }}\n')
    assert main(["run", "study.toml"]) == 0
    assert pm.Front.load("runs/b").study["front_model"]["rank"] == 2
    for name, refusal in {
        "own:other": "'own:other' is a int; give a subclass of pm.FrontModel",
        "own:absent": "module 'own' has no 'absent'",
        "nowhere:Own": "there is no module 'nowhere'",
    }.items():
        assert main([*RUN, "--front-model", name]) == 2
        assert refusal in capsys.readouterr().err


@pytest.mark.fault(83)
def test_no_front_model_is_imported_from_a_fronts_folder(own, monkeypatch, capsys):
    assert main([*RUN, "--front-model", "own:Own"]) == 0
    Path("own.py").rename("runs/a/own.py")
    sys.modules.pop("own")
    monkeypatch.syspath_prepend(own / "runs/a")
    assert main(["resume", "runs/a"]) == 2
    assert "module 'own' lies in the front's folder" in capsys.readouterr().err
    assert "own" not in sys.modules

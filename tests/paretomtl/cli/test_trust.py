"""A front's folder that names code: none of it runs without the user's word, and none from the folder with it."""

import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from paretomtl.cli import main
from tests.damage import reseal
from tests.folders import files

HONEST = """
from os import abort as of_c
from pathlib import Path
from tests.toys import two_regressions

Path("imported").touch()
problem = two_regressions()
number = 3

def no_problem():
    return "a text"
"""
EVIL = (
    "from pathlib import Path\nPath('ran').touch()\nfrom tests.toys import two_regressions\nproblem = two_regressions()"
)
RUN = ["run", "mine:problem", "--method", "Linear", "--preferences", "2", "--epochs", "1", "--out", "runs/new"]
NAMES = ("mine", "evil", "runs", "lib", "linked", "zipped", "span", "packed", "helper", "antigravity", "careless")


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A user's folder with a module, and a front begun with it."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [*sys.path])
        Path("mine.py").write_text(HONEST)
        sys.modules.pop("mine", None)  # of another test
        assert main(RUN) == 0
        sys.modules.pop("mine")
    Path(folder / "imported").unlink()
    return folder


@pytest.fixture
def user(begun, tmp_path, monkeypatch):
    """A copy of that folder, where we are; the front's folder holds code as well."""
    user = Path(shutil.copytree(begun, tmp_path / "user"))
    (user / "runs/new/evil.py").write_text(EVIL)
    monkeypatch.chdir(user)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    yield user
    for name in [name for name in sys.modules if name.partition(".")[0] in NAMES]:
        del sys.modules[name]


def name_in_folder(**command):
    """Change the command that the folder stores so that its seal holds."""
    reseal(Path("runs/new/study.json"), lambda content: content["command"].update(command))


def assert_nothing_ran():
    assert not Path("ran").exists()
    assert not Path("imported").exists()
    assert not {name for name in sys.modules if name.partition(".")[0] in NAMES}


def a_package_above():
    Path("runs/__init__.py").write_text(EVIL)


def a_link_to_the_folder():
    Path("lib").symlink_to("runs/new")


def a_link_to_a_package():
    Path("runs/new/__init__.py").write_text(EVIL)
    Path("lib").symlink_to("runs/new")


def a_link_to_a_module():
    Path("linked.py").symlink_to("runs/new/evil.py")


def a_package_with_a_link():
    Path("lib").mkdir()
    Path("lib/__init__.py").write_text(EVIL)
    Path("lib/evil.py").symlink_to("../runs/new/evil.py")


def a_pth():
    Path("runs/new/evil.pth").write_text("import evil\n")


def a_zip():
    with zipfile.ZipFile("runs/new/evil.zip", "w") as file:
        file.writestr("zipped.py", EVIL)
    sys.path.insert(0, os.path.abspath("runs/new/evil.zip"))


def a_namespace_across():
    Path("span").mkdir()
    Path("runs/new/span").mkdir()
    Path("runs/new/span/evil.py").write_text(EVIL)
    sys.path.append(os.path.abspath("runs/new"))


def a_module_beside_a_namespace():
    a_namespace_across()
    Path("span/beside.py").write_text(EVIL)


def a_package_with_a_link_below():
    Path("packed").mkdir()
    Path("packed/__init__.py").write_text(EVIL)
    Path("packed/runs").symlink_to("../runs")


def the_folder_on_the_path():
    sys.path.insert(0, os.path.abspath("runs/new"))


def nothing():
    pass


HOSTILE = {
    "through a namespace": ("runs.new.evil:problem", nothing),
    "through a package": ("runs.new.evil:problem", a_package_above),
    "a flag": ("--trust:problem", nothing),
    "an absolute path": ("{here}/runs/new/evil:problem", nothing),
    "a path": ("runs/new/evil.py:problem", nothing),
    "dots in front": ("..runs.new.evil:problem", nothing),
    "a folder above": ("../evil:problem", nothing),
    "dots of unicode": ("runs\u2024new\u2024evil:problem", nothing),
    "wide dots": ("runs\uff0enew\uff0eevil:problem", nothing),
    "a pth": ("evil.pth:problem", a_pth),
    "a zip": ("zipped:problem", a_zip),
    "a name of a zip": ("evil.zip:problem", a_zip),
    "a module that opens a browser": ("antigravity:problem", nothing),
    "a command": ("os:system", nothing),
    "a built-in": ("builtins:exit", nothing),
    "our own command line": ("paretomtl.cli:main", nothing),
    "a link to the folder": ("lib.evil:problem", a_link_to_the_folder),
    "a link to a package": ("lib.evil:problem", a_link_to_a_package),
    "a link to a module": ("linked:problem", a_link_to_a_module),
    "a link in a package": ("lib.evil:problem", a_package_with_a_link),
    "a namespace across folders": ("span.evil:problem", a_namespace_across),
    "a namespace that the folder is part of": ("span.beside:problem", a_module_beside_a_namespace),
    "a namespace in a package": ("packed.runs.new.evil:problem", a_package_with_a_link_below),
    "the folder on the path": ("evil:problem", the_folder_on_the_path),
    "a module of a module": ("mine.evil:problem", nothing),
    "a line break": ("evil\n:problem", nothing),
    "control characters": ("evil\x1b[31m:problem", nothing),
    "a null": ("evil\0:problem", nothing),
    "a very long one": ("evil." * 100_000 + "evil:problem", nothing),
    "no attribute": ("mine", nothing),
    "a number": (3, nothing),
}


@pytest.mark.fault(118)
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_names_do_not_run(user, capsys, kind):
    """Not even with the user's word."""
    name, prepare = HOSTILE[kind]
    name = name.format(here=user) if isinstance(name, str) else name
    prepare()
    name_in_folder(problem=name)
    before = files(user)
    named = isinstance(name, str) and not name.startswith("-")
    for word in ([], ["--trust"], *([[name]] if named else [])):
        assert main(["resume", "runs/new", *word]) == 2
        complaint = capsys.readouterr().err
        assert complaint.startswith("paretomtl resume: ")
        assert complaint.count("\n") == 1
        assert len(complaint) < 600
    assert_nothing_ran()
    assert files(user) == before


@pytest.mark.fault(118)
@pytest.mark.parametrize(
    "command",
    [
        {"front_model": "runs.new.evil:Own"},
        {"front_model": "os:system"},
        {"preferences": 10**15},
        {"preferences": "3"},
        {"seeds": 10**15},
        {"epochs": -1},
        {"device": 3},
        {"lr": True},
        {"ray": "ray://attacker:10001"},
        {"executor": "mine:problem"},
        {"--trust": True},
        {"method": 0},
    ],
)
def test_hostile_flags_do_not_run(user, capsys, command):
    name_in_folder(**command)
    assert main(["resume", "runs/new", "--trust"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert_nothing_ran()


@pytest.mark.fault(118)
def test_the_users_word_lets_honest_code_run(user, capsys):
    whole = files(user / "runs/new")
    for word in (["mine:problem"], ["--trust"]):
        Path("runs/new/points/point-001.json").unlink()
        assert main(["resume", "runs/new"]) == 2
        complaint = capsys.readouterr().err
        assert f"mine:problem ({user / 'mine.py'})" in complaint
        assert complaint.endswith(": paretomtl resume runs/new mine:problem\n")
        assert_nothing_ran()
        assert main(["resume", "runs/new", "other:problem"]) == 2
        assert "was begun with mine:problem, not with 'other:problem'" in capsys.readouterr().err
        assert_nothing_ran()
        assert main(["resume", "runs/new", *word]) == 0
        assert f"running mine:problem, as runs/new says, from {user / 'mine.py'}" in capsys.readouterr().err
        assert files(user / "runs/new") == whole
        Path("imported").unlink()
        del sys.modules["mine"]


@pytest.mark.fault(118)
def test_a_package_without_an_init_has_to_be_named(user, capsys):
    """Python joins all folders of its name, so "--trust" does not say which is meant."""
    Path("packed/inner").mkdir(parents=True)
    shutil.move("mine.py", "packed/inner/mine.py")
    name_in_folder(problem="packed.inner.mine:problem")
    assert main(["resume", "runs/new", "--trust"]) == 2
    complaint = capsys.readouterr().err
    assert "'packed' is a folder without __init__.py" in complaint
    assert_nothing_ran()
    line = complaint.strip().rpartition("yourself: paretomtl ")[2]
    assert main(line.split()) == 0
    assert main(["resume", "runs/new", "packed.inner:mine"]) == 2


@pytest.mark.fault(118)
def test_each_name_needs_the_users_word(user, capsys):
    Path("careless.py").write_text(EVIL)
    name_in_folder(front_model="careless:Own")
    assert main(["resume", "runs/new", "mine:problem"]) == 2
    assert "paretomtl resume runs/new mine:problem careless:Own" in capsys.readouterr().err
    assert_nothing_ran()


@pytest.mark.fault(118)
@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("of_c", "'mine:of_c' is a builtin_function_or_method, not a Problem"),
        ("no_problem", "'mine:no_problem' is a str, not a Problem"),
        ("number", "'mine:number' is a int, not a Problem"),
    ],
)
def test_a_callable_that_makes_no_problem(user, capsys, name, refusal):
    """`of_c` would end this process."""
    name_in_folder(problem=f"mine:{name}")
    assert main(["resume", "runs/new", "--trust"]) == 2
    assert refusal in capsys.readouterr().err


@pytest.mark.fault(118)
def test_what_honest_code_imports_comes_from_elsewhere(user, capsys):
    """A module of the folder stands in the place of one that the user's code, or a library, imports later."""
    Path("runs/new/helper.py").write_text(EVIL)
    Path("careless.py").write_text("import helper\nfrom mine import problem\n")
    the_folder_on_the_path()
    name_in_folder(problem="careless:problem")
    assert main(["resume", "runs/new", "--trust"]) == 1
    assert "module 'helper' lies in the front's folder" in capsys.readouterr().err
    assert not Path("ran").exists()
    Path("runs/new/__init__.py").write_text(EVIL)
    shutil.move("runs/new", "helper")  # its own name is that of a module
    assert main(["resume", "helper", "--trust"]) == 1
    assert "module 'helper' lies in the front's folder" in capsys.readouterr().err
    assert not Path("ran").exists()
    assert not [finder for finder in sys.meta_path if "paretomtl" in type(finder).__module__]


@pytest.mark.fault(118)
def test_a_folder_with_the_name_of_metadata(user, capsys):
    """Python would read entry points from it, and import what they name as a method."""
    Path("careless.py").write_text(EVIL)
    Path("runs/new/entry_points.txt").write_text("[paretomtl.methods]\nevil = careless\n")
    shutil.move("runs/new", "evil-1.0.dist-info")
    assert main(["resume", "evil-1.0.dist-info", "--trust"]) == 2
    assert "rename the folder" in capsys.readouterr().err
    assert_nothing_ran()

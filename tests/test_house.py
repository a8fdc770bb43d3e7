"""The house: its layers, its picture, and the commands that keep it."""

import importlib.util
import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("paretomtl", "paretomtl_solvers", "studies", cache_dir=None)


def test_no_module_imports_itself_in_a_circle(graph):
    """Every import counts: those within functions and those for annotations too."""
    imports = {module: graph.find_modules_directly_imported_by(module) - {module} for module in graph.modules}
    order = list(TopologicalSorter(imports).static_order())  # raises CycleError, with the circle
    assert set(order) == graph.modules


def test_the_contract_is_a_tower_of_folders_and_root_files():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert "exclude_type_checking_imports" not in settings
    [engine] = [contract for contract in settings["contracts"] if contract.get("containers") == ["paretomtl"]]
    assert engine["exhaustive"]
    assert len(engine["layers"]) <= 12
    rooms = re.findall(r"\w+", " ".join(engine["layers"]))
    package = ROOT / "paretomtl"
    assert all((package / room).is_dir() or (package / f"{room}.py").is_file() for room in rooms)


def test_the_picture_shows_the_code_of_today():
    spec = importlib.util.spec_from_file_location("draw_tower", ROOT / "docs" / "draw_tower.py")
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    assert drawing.PICTURE.read_text() == drawing.draw(), "make picture"


def test_commits_are_checked_as_make_check_checks():
    [recipe] = re.findall(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    tools = {line.split()[0].removeprefix("$(BIN)/") for line in recipe.splitlines()}
    hooks = re.findall(r"entry: \.venv/bin/(\S+)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert set(hooks) == tools

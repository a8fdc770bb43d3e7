"""The lists of the docs: all methods, from their classes, and the papers, with what runs here."""

import importlib
import importlib.util
import re
from collections import Counter
from operator import attrgetter
from pathlib import Path

import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.cli.commands import build_parser

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("list_methods", ROOT / "docs" / "list_methods.py")
assert SPEC is not None
assert SPEC.loader is not None
lists = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(lists)
PAPERS = lists.read_papers()
SURE = {"released code", "derived", "interpretation", "not reproduced"}


def methods_of_the_page() -> list[dict[str, str]]:
    """The rows of the first table of docs/method-list.md that names methods."""
    page = (ROOT / "docs" / "method-list.md").read_text(encoding="utf-8")
    [(header, rows)] = re.findall(r"^\| (method \|.*) \|\n\|[ -|]*\|\n((?:\| .* \|\n)+)", page, re.MULTILINE)
    cells = [re.split(r" (?<!\\)\| ", row.removeprefix("| ").removesuffix(" |")) for row in rows.splitlines()]
    return [dict(zip(header.split(" | "), row, strict=True)) for row in cells]


@pytest.mark.parametrize("page", lists.PAGES, ids=lambda page: page.stem)
def test_a_list_shows_the_methods_and_the_papers_of_today(page):
    assert page.read_text(encoding="utf-8") == lists.PAGES[page](), "make methods"


def test_every_method_is_in_the_list():
    assert {row["method"] for row in methods_of_the_page()} == {f"`{name}`" for name in ps.__all__}


def test_the_docs_explain_what_the_heads_of_every_method_get():
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    explained = re.findall(r"^- \*\*(.*)\*\*:", text.partition("\n## Heads\n")[2].partition("\n## ")[0], re.MULTILINE)
    assert {"plain", "weighted"} <= set(explained)
    assert {row["heads"] for row in methods_of_the_page()} <= set(explained)


def test_the_readme_names_methods_that_exist():
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| family |")[2].partition("\n\n")[0]
    names = re.findall(r"`(\w+)`", table)
    assert {"Linear", "EPO", "MGDA"} <= set(names)
    assert set(names) <= set(ps.__all__)


def test_the_map_has_every_paper_of_the_four_listings():
    assert Counter(row["listing"] for row in PAPERS) == {"CoGrad": 20, "DMTL": 19, "Trajectories": 19, "FairGrad": 10}
    assert len(PAPERS) == 68
    assert len({(row["listing"], row["paper"]) for row in PAPERS}) == len(PAPERS)
    assert all(row["paper"] and row["what"] and row["here"] for row in PAPERS)


@pytest.mark.parametrize("row", PAPERS, ids=lambda row: row["paper"][:40])
def test_each_paper_has_what_runs_or_what_is_to_come_or_the_reason_why_not(row):
    here = row["here"]
    runs = lists.RUN.findall(here)
    for name in runs:
        resolve(name)
    if here.endswith(lists.TO_COME):
        assert here.removesuffix(lists.TO_COME) == "fairness"
        assert not runs
    elif here.startswith(lists.NOT_REPRODUCED):
        assert here.removeprefix(lists.NOT_REPRODUCED) in {paper.name for paper in ps.NOT_REPRODUCED}
    else:
        assert runs or here.startswith(lists.NONE)
    confidence = row["confidence"] or lists.confidence_of(here)
    assert confidence in SURE or here.startswith(lists.NONE)
    nearest = here.startswith((lists.NOT_REPRODUCED, lists.NEAREST))
    assert (confidence == "not reproduced") == nearest, "what is only near does not make a paper run here"
    assert not (row["confidence"] and lists.confidence_of(here)) or nearest, "the class says how sure it is"


@pytest.mark.parametrize("paper", ps.NOT_REPRODUCED, ids=lambda paper: paper.name)
def test_what_is_near_to_a_paper_without_a_method_exists(paper):
    assert paper.why
    for name in lists.RUN.findall(paper.nearest):
        resolve(name)


def resolve(run: str) -> None:
    """Raise unless a class, a study or a command of this name is there."""
    if run.startswith("python -m "):
        importlib.import_module(run.removeprefix("python -m "))
    elif run.startswith("paretomtl "):
        build_parser(None).parse_args(run.split()[1:])
    else:
        package, _, name = run.partition(".")
        attrgetter(name)({"ps": ps, "pm": pm}[package])

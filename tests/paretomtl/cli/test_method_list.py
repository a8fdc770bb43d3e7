"""`paretomtl methods`: what it says of each method, and how it looks in a terminal."""

import json
import sys
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.cli import main
from paretomtl.cli.method_list import MethodFacts, describe, find_paper, format_methods

FACTS = [describe(name, getattr(ps, name)) for name in sorted(ps.__all__)]


def test_the_table_has_a_row_a_method_and_the_papers_without_one(capsys):
    assert main(["methods"]) == 0
    table, _, below = capsys.readouterr().out.partition("\n\n")
    header, *lines = table.splitlines()
    assert header.split() == ["name", "class", "preference", "state", "confidence", "about"]
    assert [line.split()[0] for line in lines] == sorted(ps.__all__)
    assert {("EPO", "Weighting", "ray"), ("MGDA", "Weighting", "none")} <= {tuple(line.split()[:3]) for line in lines}
    heading, *papers = below.splitlines()
    assert heading == "Not reproduced:"
    assert len(papers) == len(ps.NOT_REPRODUCED)
    for line, paper in zip(papers, ps.NOT_REPRODUCED, strict=True):
        assert line.startswith(paper.name)
        assert paper.why in line
        assert paper.nearest in line


def test_json_has_all_facts(capsys):
    assert main(["methods", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == sorted(ps.__all__)
    assert all(set(row) == set(MethodFacts._fields) for row in rows.values())
    assert rows["EPO"] == {
        "name": "EPO",
        "kind": "Weighting",
        "paper": "Mahapatra and Rajan, ICML 2020",
        "about": "Exact Pareto optimal search: reaches the front where r_i l_i is equal over i.",
        "options": {"eps": "None", "backend": "'auto'", "heads": "'plain'"},
        "preference": "ray",
        "needs": ["losses of at least 0"],
        "cost": "m backward passes, memory m n; above m = 2 a linear program",
        "state": False,
        "heads": "plain, or weighted (`heads`)",
        "confidence": "released code",
    }
    assert rows["PHNHVI"]["options"] == {"ref_point": None, "penalty": "4.0"}
    assert rows["PHNHVI"]["needs"] == [
        "a fleet, or a front model with several preferences a step",
        "the option `ref_point`",
    ]


@pytest.mark.parametrize("width", [100, 110, 125, 160, 240])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(width):
    text = format_methods(FACTS, ps.NOT_REPRODUCED, width)
    assert max(map(len, text.splitlines())) <= width
    for facts in FACTS:
        assert facts.name in text
    assert sorted(text.split()) == sorted(format_methods(FACTS, ps.NOT_REPRODUCED).split())


def test_a_terminal_wraps_and_a_pipe_does_not(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "104")
    longest = []
    for is_terminal in (True, False):
        monkeypatch.setattr(sys.stdout, "isatty", lambda is_terminal=is_terminal: is_terminal)
        assert main(["methods"]) == 0
        longest.append(max(map(len, capsys.readouterr().out.splitlines())))
    assert longest[0] <= 104 < longest[1]


@pytest.mark.parametrize(
    ("text", "paper"),
    [
        ("X: it (Ban and Ji, ICML 2024).", "Ban and Ji, ICML 2024"),
        ("X, of f(x) (A, 2001; B,\nICML 2002), and more.\n\nText (C 1999).", "A, 2001; B, ICML 2002"),
        ("X: sum_j (l_j - z_j) of it.\n\nText (C 1999).", ""),
        ("", ""),
    ],
)
def test_the_paper_is_read_from_the_first_paragraph(text, paper):
    assert find_paper(text) == paper


def test_a_method_of_anothers_is_described_as_far_as_it_says():
    @dataclass(frozen=True)
    class Around(pm.Stepper):
        """Goes round a base."""

        base: pm.Solver
        sizes: list[int] = field(default_factory=list)
        joint: ClassVar[bool] = True

        @property
        def uses_preference(self):
            return self.base.uses_preference

        @property
        def nonnegative(self):
            return self.base.nonnegative

        def update(self, state, closure, preference):
            raise NotImplementedError

    facts = describe("Around", Around)
    assert facts.options == {"base": None, "sizes": "[]"}
    assert facts.needs == ["a fleet, or a front model with several preferences a step", "the option `base`"]
    assert (facts.kind, facts.cost, facts.confidence, facts.paper) == ("Stepper", "", "", "")
    assert facts.preference == "none"

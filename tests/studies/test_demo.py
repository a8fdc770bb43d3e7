"""The main job, end to end on real data: what `make demo` promises, of a small one; the slow test runs it in full."""

import csv
import math
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.stats import spearmanr

import paretomtl as pm
from tests.folders import files

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def front(demo):
    return pm.Front.load(demo[0])


def test_five_points_and_two_corners_are_there(front):
    assert (len(front.points), len(front.corners), len(front.failed)) == (5, 2, 0)


def test_losses_follow_the_preference(front):
    for i in range(2):
        correlation = spearmanr(front.preferences[:, i], front.losses[:, i]).statistic
        assert correlation <= -0.8


def test_nothing_is_non_finite(front):
    for point in (*front.points, *front.corners):
        numbers = [*point.losses["validate"], *point.losses["test"], point.control_error, point.residual]
        assert all(map(math.isfinite, numbers))


def test_prints_table_figures_choice_and_the_reloaded_model(demo, front):
    printed = demo[1]
    assert all(f"{x:.4f}" in printed for p in front.points for x in p.losses["validate"])
    shown = dict(line.split(maxsplit=1) for line in printed.splitlines() if " " in line)
    assert shown["hypervolume"] == f"{front.hypervolume():.5g}"
    assert shown["ref_point"] == "(2, 2)"
    assert "chosen: point-" in printed
    assert "in a new process" in printed  # its exit code, checked by the fixture, is 0 only within 1e-6


def test_writes_the_figure_and_its_data(demo):
    folder = demo[0]
    assert "<svg" in (folder / "front.svg").read_text()
    rows = list(csv.DictReader((folder / "front.csv").read_text().splitlines()))
    assert sum(row["mark"] in ("front", "chosen", "dominated") for row in rows) == 5
    assert sum(row["mark"] == "chosen" for row in rows) == 1


@pytest.mark.slow  # minutes; tests/cluster has the same of smaller problems
def test_two_workers_on_ray_give_the_same_bytes(demo, tmp_path):
    run("--ray", "--size", "tiny", "--batch", "16", "--out", tmp_path / "demo")  # as the fixture does, but on Ray
    here, there = map(files, (demo[0], tmp_path / "demo"))
    assert here.keys() == there.keys()
    assert len(here) == 7 + 7 + 5  # records, weights, study.json, front.json, points.csv, the figure and its data
    assert [name for name in here if here[name] != there[name]] == []


@pytest.mark.slow
def test_in_full_its_points_lie_where_they_were_asked_to(mnist, tmp_path):
    run("--out", tmp_path / "demo")
    front = pm.Front.load(tmp_path / "demo")
    assert (len(front.points), len(front.corners), len(front.failed)) == (5, 2, 0)
    assert front.control_errors.mean() < 5
    assert front.hypervolume() > 2


def run(*options):
    command = [sys.executable, "-m", "studies.digit_pairs", *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

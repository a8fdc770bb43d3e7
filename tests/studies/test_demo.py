"""The main job, end to end on real data: what `make demo` promises, of a small one; the slow test runs it in full."""

import csv
import json
import math
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import paretomtl as pm
from studies import data
from studies import demo as study
from studies.demo import LINEAR, ONE, RULE, SEPARATE, main, share_dominated
from tests.limits import limit

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fronts(demo) -> dict[str, pm.Front]:
    return {name: pm.Front.load(demo[0] / name) for name in (SEPARATE, LINEAR, ONE)}


def facts(page: Path) -> dict:
    """The facts of a page, as its script reads them."""
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    return json.loads(text)


def test_nine_points_are_in_each_front_and_the_corners_where_networks_are_separate(fronts):
    counts = {name: (len(front.points), len(front.corners), len(front.failed)) for name, front in fronts.items()}
    assert counts == {SEPARATE: (9, 2, 0), LINEAR: (9, 2, 0), ONE: (9, 0, 0)}
    assert np.array_equal(fronts[SEPARATE].preferences, fronts[LINEAR].preferences)
    assert np.array_equal(fronts[SEPARATE].preferences, fronts[ONE].preferences)
    units = fronts[SEPARATE].normalisation
    assert units is not None
    assert fronts[LINEAR].normalisation == fronts[ONE].normalisation == units


def test_the_budget_of_one_network_is_that_of_all_others_together(fronts):
    steps = {name: [p.counts["steps"] for p in front.points] for name, front in fronts.items()}
    assert sum(steps[SEPARATE]) == sum(steps[LINEAR]) == steps[ONE][0]


def test_losses_follow_the_preference(fronts):
    for front in (fronts[SEPARATE], fronts[LINEAR]):
        for i in range(2):
            assert spearmanr(front.preferences[:, i], front.losses[:, i]).statistic <= -0.8


def test_nothing_is_non_finite(fronts):
    for front in fronts.values():
        for point in (*front.points, *front.corners):
            numbers = [*point.losses["validate"], *point.losses["test"], point.control_error]
            assert all(map(math.isfinite, numbers))


def test_prints_the_points_the_comparison_the_choice_and_the_reloaded_model(demo, fronts):
    printed = demo[1]
    assert fronts[SEPARATE].table() in printed
    for name, front in fronts.items():
        share, volume = share_dominated(front, fronts[LINEAR]), front.hypervolume()
        parameters = {ONE: 11_555}.get(name, 9 * 2_913)
        row = rf"{volume:.4f} +{share:.0%} +{front.control_errors.mean():.1f}° +[0-9.]+ +{parameters:,}$"
        assert re.search(row, printed, re.MULTILINE), name
    assert f"chosen: {fronts[ONE].select(RULE).why}" in printed
    assert "in a new process" in printed  # its exit code, checked by the fixture, is 0 only within 1e-6
    assert re.search(r"^bench: 31 points in [0-9.]+ minutes on [0-9]+ cores$", printed, re.MULTILINE)
    assert printed.splitlines()[-1].endswith(str(demo[0] / "front.html"))


def test_the_page_that_it_ends_with_has_a_slider_and_the_choice(demo, fronts):
    last, first = facts(demo[0] / "front.html"), facts(demo[0] / f"{SEPARATE}.html")
    assert (len(last["map"]["losses"]), first["map"]) == (9, None)
    assert last["chosen"] == fronts[ONE].select(RULE).point.id
    assert first["chosen"] == fronts[SEPARATE].select(RULE).point.id


def test_the_figure_has_all_three_fronts(demo):
    assert "<svg" in (demo[0] / "fronts.svg").read_text()
    rows = list(csv.DictReader((demo[0] / "fronts.csv").read_text().splitlines()))
    points = Counter(row["front"] for row in rows if row["mark"] in ("front", "dominated"))
    assert sorted(points.values()) == [9, 9, 9]


def test_share_dominated_counts_points_that_are_no_better_and_somewhere_worse():
    ours = pm.Front.from_values([[1.0, 3.0], [2.0, 2.0], [3.0, 1.5]], ["a", "b"], [4.0, 4.0])
    theirs = pm.Front.from_values([[2.0, 2.0], [3.0, 1.0]], ["a", "b"], [4.0, 4.0])
    assert share_dominated(ours, theirs) == pytest.approx(1 / 3)


def test_a_reloaded_model_that_differs_is_a_failure(demo, monkeypatch, capsys):
    evaluate = pm.evaluate
    monkeypatch.setattr(pm, "evaluate", lambda *given: {k: v + 1e-5 for k, v in evaluate(*given).items()})
    assert main(["--check", str(demo[0])]) == 1
    assert "1.0e-05 from the stored losses" in capsys.readouterr().out


def test_data_that_cannot_be_had_end_the_demo_with_the_remedy(monkeypatch, tmp_path, capsys):
    def missing():
        raise data.Missing("could not fetch: run pip where the registry can be reached")

    monkeypatch.setattr(study, "people", missing)
    assert main(["--out", str(tmp_path / "demo")]) == 1
    assert capsys.readouterr().err == "could not fetch: run pip where the registry can be reached\n"
    assert not (tmp_path / "demo").exists()


def test_a_batch_with_one_group_has_no_gap():
    features, rich, male = torch.randn(4, 3), torch.ones(4), torch.ones(4)
    values = study.losses(torch.nn.Linear(3, 1), (features, rich, male))
    assert values["gap"] is None


def test_the_gap_is_the_distance_between_the_mean_probabilities():
    logits = torch.tensor([[0.0], [2.0], [-1.0], [-3.0]])
    male = torch.tensor([1.0, 0.0, 1.0, 0.0])
    values = study.losses(torch.nn.Identity(), (logits, torch.ones(4), male))
    p = logits[:, 0].sigmoid()
    assert values["gap"].item() == pytest.approx(abs((p[0] + p[2] - p[1] - p[3]).item()) / 2, rel=1e-5)


@pytest.mark.slow
def test_in_full_it_ends_in_two_minutes_and_no_front_falls_behind_linear(demo, tmp_path):
    begin = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "studies.demo", "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (0, "")  # and no warning
    assert time.perf_counter() - begin < limit(120)
    volumes = {name: pm.Front.load(tmp_path / name).hypervolume() or 0.0 for name in (SEPARATE, LINEAR, ONE)}
    assert min(volumes.values()) >= 0.95 * volumes[LINEAR]

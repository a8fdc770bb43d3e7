"""The tables of front models, on problems whose front is known: what they promise."""

import re

import numpy as np
import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.preference import even_design
from studies import conditioned_fronts
from studies.analytic import fonseca
from studies.conditioned_fronts import FONSECA, ROCKET, analytic, control, main, on_rays
from studies.rocket import rocket_injector
from tests.limits import limit


def rows(printed: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in cells[2:]}


def test_exact_points_are_where_the_largest_weighted_loss_is_least():
    front = np.array([[0.0, 1.0], [0.4, 0.4], [1.0, 0.0]])
    asked = np.array([[0.5, 0.5], [0.99, 0.01]])
    assert on_rays(front, asked).tolist() == [[0.4, 0.4], [0.0, 1.0]]


@pytest.mark.slow
def test_fonseca_comes_to_its_rays(capsys):
    ways = [way for way in FONSECA if isinstance(way.solver, (ps.Tchebycheff, ps.EPO))]
    conditioned_fronts.fonseca_table(ways)
    found = rows(capsys.readouterr().out)
    share = {name: float(row[1].rstrip("%")) for name, row in found.items()}
    angle = {name: float(row[2]) for name, row in found.items()}
    best = "Hypernetwork, Tchebycheff"
    assert share[best] >= 99.8
    assert angle[best] <= 0.5
    assert share["Hypernetwork, EPO"] >= 99
    assert all(float(x) <= -0.95 for x in re.findall(r"-\d\.\d+", found[best][4]))


@pytest.mark.slow
@pytest.mark.timeout(limit(300))
def test_epo_does_not_collapse_on_three_objectives(capsys):
    few = pm.Hypernetwork(hidden=256, sampling=pm.Sampling(n=16, ends=0.0))
    ways = [way._replace(front_model=few) for way in ROCKET if isinstance(way.solver, (ps.Tchebycheff, ps.EPO))]
    assert analytic(rocket_injector(box=True), ways, even_design(3, 40), None) == 0
    volumes = {name.partition(", ")[2]: float(row[0]) for name, row in rows(capsys.readouterr().out).items()}
    assert volumes["EPO"] >= 0.95 * volumes["Tchebycheff"]
    assert volumes["Tchebycheff"] > 0.46  # collapsed to a point it would be below .27


def test_a_table_that_is_not_there(capsys):
    with pytest.raises(SystemExit):
        main(["absent"])
    assert "fonseca" in capsys.readouterr().err


def test_fonsecas_exact_front():
    a = np.arange(1, 101) / 101
    asked = np.stack([a, 1 - a], axis=1)
    exact = on_rays(fonseca(10).truth.front, asked)
    assert conditioned_fronts.score.hypervolume(exact, (1.1, 1.1)) == pytest.approx(0.5453, abs=1e-4)


def in_a_row(left: np.ndarray, right: np.ndarray) -> pm.Front:
    """A front over five preferences for the left."""
    r = np.linspace(0, 1, 5)
    values = np.stack([left, right], axis=1)
    return pm.Front.from_values(values, ["left", "right"], [2.0, 2.0], preferences=np.stack([r, 1 - r], axis=1))


def test_control_over_the_preferences():
    r = np.linspace(0, 1, 5)
    assert control([in_a_row(1.2 - r + shift, 0.5 + 0.6 * r) for shift in (0, 0.01, 0.02)]) == (
        "1.000, 0.600",
        "-1.00, -1.00",
    )


def test_control_within_noise_is_said_to_be():
    r, noise = np.linspace(0, 1, 5), np.random.default_rng(0).normal(0.5, 0.1, (3, 5))
    _, shown = control([in_a_row(1.2 - r + 0.1 * right[0], right) for right in noise])
    assert shown == "-1.00, within noise"


def test_the_clock_counts_from_the_first_to_the_last_step_of_each_network(monkeypatch):
    times = iter([1.0, 3.0, 6.0, 20.0, 25.0])
    monkeypatch.setattr(conditioned_fronts.time, "process_time", lambda: next(times))
    clock = conditioned_fronts.Clock()
    for step in (1, 2, 3, 1, 2):
        clock(pm.Step("point-001", np.array([0.5, 0.5]), 0, step, {}, {}))
    assert clock.seconds == 10.0  # 1 to 6 and 20 to 25


@pytest.mark.slow
@pytest.mark.timeout(limit(300))
def test_the_digit_table_goes_on_where_it_stopped(monkeypatch, tmp_path, capsys):
    few = [conditioned_fronts.ROWS[0]._replace(epochs=1), conditioned_fronts.ROWS[3]._replace(epochs=1)]
    monkeypatch.setattr(conditioned_fronts, "ROWS", few)
    monkeypatch.setattr(conditioned_fronts, "RATES", (0.02,))
    tables = []
    for _ in range(2):
        assert main(["digits", "--width", "scarce", "--size", "demo", "--seeds", "2", "--out", str(tmp_path)]) == 0
        tables.append(rows(capsys.readouterr().out))
    assert tables[0] == tables[1]
    assert {row.name for row in few} <= set(tables[0])
    spent = {row.name: [float(x) for x in tables[0][row.name][-4:]] for row in few}
    assert spent[few[0].name][2:] == [200, 440]  # backward passes of 5 and of 11 networks, 40 each
    assert spent[few[1].name][2:] == [40, 40]
    assert spent[few[1].name][0] > 0

"""The tables of front models, on problems whose front is known: what they promise."""

import re

import numpy as np
import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.preference import even
from studies import conditioned_fronts
from studies.analytic import fonseca
from studies.conditioned_fronts import FONSECA, ROCKET, analytic, main, on_rays
from studies.rocket import rocket_injector


def rows(printed: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in cells[2:]}


def test_exact_points_are_where_the_largest_weighted_loss_is_least():
    front = np.array([[0.0, 1.0], [0.4, 0.4], [1.0, 0.0]])
    asked = np.array([[0.5, 0.5], [0.99, 0.01]])
    assert on_rays(front, asked).tolist() == [[0.4, 0.4], [0.0, 1.0]]


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
@pytest.mark.timeout(300)
def test_epo_does_not_collapse_on_three_objectives(capsys):
    few = pm.Hypernetwork(hidden=256, sampling=pm.Sampling(n=16, ends=0.0))
    ways = [way._replace(front_model=few) for way in ROCKET if isinstance(way.solver, (ps.Tchebycheff, ps.EPO))]
    assert analytic(rocket_injector(box=True), ways, even(3, 40), None) == 0
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

"""RotoGrad's toy: its losses by hand, a run that reaches both, and what the command writes."""

import numpy as np
import pytest
import torch

from studies import rotograd_toy as toy


def test_the_losses_by_hand():
    view = torch.tensor([[1.5, 1.5], [2.5, 1.5], [-1.5, -1.5]], dtype=torch.float64)
    left = toy.loss(view, 1.5)
    assert left.tolist() == pytest.approx([-6, 1 - np.sin(3) - 3, 2 * (3 - np.sin(9) / 3)])
    assert toy.loss(-view, -1.5).tolist() == pytest.approx(left.tolist())
    elsewhere = torch.linspace(-4, 4, 81, dtype=torch.float64)
    grid = torch.cartesian_prod(elsewhere, elsewhere)
    assert toy.loss(grid, 1.5).min() == pytest.approx(toy.LEAST)


def test_a_step_of_plain_descent_leaves_the_heads_alone():
    found = toy.run("gradient descent", (0.3, -0.2), toy.EVERY)
    assert np.array_equal(found.views[:, 0], found.views[:, 1])
    turned = toy.run("RotoGrad", (0.3, -0.2), toy.EVERY)
    assert np.array_equal(turned.views[0], found.views[0])
    assert np.linalg.norm(turned.views[-1, 0] - turned.views[-1, 1]) > 1e-2
    lengths = np.linalg.norm(turned.views[-1], axis=1)
    assert lengths[0] == pytest.approx(lengths[1])  # a rotation keeps it


@pytest.mark.slow
def test_one_place_is_the_best_for_both_once_the_heads_have_turned(unchecked):
    start = toy.starts()[5]
    assert toy.run("gradient descent", start, 2000).losses[-1] == pytest.approx([-0.18, -0.18], abs=0.01)
    assert toy.run("RotoGrad", start, 3800).losses[-1] == pytest.approx([-6, -6], abs=0.05)


def test_the_command_prints_the_ends_and_draws_the_figure(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(toy, "STEPS", toy.EVERY)
    assert toy.main(["--out", str(tmp_path / "new" / "toy.svg")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(toy.METHODS)
    assert lines[0].startswith("| method | from (0.77, -0.15) |")
    end = toy.run("MGDA", toy.starts()[0], toy.EVERY).losses[-1]
    assert lines[3].startswith(f"| MGDA | ({end[0]:.2f}, {end[1]:.2f}) |")
    assert all(line.endswith("| 0 of 6 |") for line in lines[2:])
    figure = (tmp_path / "new" / "toy.svg").read_bytes()
    assert toy.main(["--out", str(tmp_path / "again.svg")]) == 0
    assert (tmp_path / "again.svg").read_bytes() == figure

"""CAGrad's toy: its one least mean, arrivals, and what the command writes."""

import numpy as np
import pytest
import torch

from studies import cagrad_toy as toy
from studies import fairgrad_toy


def test_the_losses_have_one_scale_and_the_least_mean_where_it_is_said_to_be():
    x = torch.tensor([[7.0, -8.0], [-7.0, -8.0]], dtype=torch.float64)
    assert fairgrad_toy.losses(x, toy.SHARE)[0].tolist() == fairgrad_toy.losses(x, toy.SHARE)[1].flip(0).tolist()
    ticks = torch.linspace(-10, 10, 501, dtype=torch.float64)
    grid = torch.cartesian_prod(ticks, ticks)
    best = grid[fairgrad_toy.losses(grid, toy.SHARE).mean(dim=1).argmin()]
    assert best.tolist() == pytest.approx(toy.BEST, abs=0.05)


def test_arrivals_are_for_good():
    at, away = toy.BEST, (3.0, 3.0)
    places = np.array([[away, away, at], [at, away, away], [away, at, away], [at, at, away]], dtype=float)
    assert toy.arrivals(fairgrad_toy.Paths(places, places)) == [3 * toy.EVERY, 2 * toy.EVERY, None]


def test_from_near_by_cagrad_goes_to_the_least_mean_and_mgda_stops_on_the_front(unchecked):
    start = [(-1.5, -7.5)]
    found = fairgrad_toy.descend(toy.METHODS["CAGrad"], start, 1000, toy.SHARE)
    assert np.linalg.norm(found.places[-1, 0] - toy.BEST) < toy.NEAR
    stopped = fairgrad_toy.descend(toy.METHODS["MGDA"], start, 1000, toy.SHARE)
    assert np.linalg.norm(stopped.places[-1, 0] - toy.BEST) > 0.5
    assert abs(stopped.places[-1, 0, 1] - toy.BEST[1]) < 0.1


def test_the_command_prints_the_ends_and_draws_the_figure(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(toy, "STEPS", 50)
    assert toy.main(["--out", str(tmp_path / "new" / "toy.svg")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(toy.METHODS) * len(toy.STARTS)
    x, y = toy.run("CAGrad", toy.STARTS, 50).places[-1, 2]
    assert lines[-1].startswith(f"| CAGrad | (9, 9) | never | ({x:.2f}, {y:.2f}) |")
    figure = (tmp_path / "new" / "toy.svg").read_bytes()
    assert toy.main(["--out", str(tmp_path / "again.svg")]) == 0
    assert (tmp_path / "again.svg").read_bytes() == figure

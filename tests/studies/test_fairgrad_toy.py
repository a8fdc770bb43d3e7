"""FairGrad's toy: its losses by hand, where alpha leads, and what the command writes."""

from pathlib import Path

import numpy as np
import pytest
import torch

import paretomtl_solvers as ps
from studies import fairgrad_toy as toy

PAGE = Path(__file__).parent.parent.parent / "docs" / "fairgrad-toy.md"
LEFT, MIDDLE, VALLEY, NEAR, RIGHT = range(5)


def at(*place):
    return toy.losses(torch.tensor(place, dtype=torch.float64)).tolist()


def test_the_losses_by_hand():
    # tanh(4) = .9993293; the quadratics are -20 at their centres, and 14^2 / 10 - 20 = -.4 at the other one
    assert at(7, -8) == pytest.approx([-0.1 * 20 * 0.9993293, -0.4 * 0.9993293])
    assert at(-7, -8) == pytest.approx([-0.1 * 0.4 * 0.9993293, -20 * 0.9993293])
    # tanh(1) = .7615942, tanh(2) = .9640276: the valleys' arguments are -2 + tanh(2) and 5 + tanh(2)
    logs = np.log(2 - 0.9640276), np.log(5 + 0.9640276)
    assert at(-3, 2) == pytest.approx([0.07615942 * (logs[0] + 6), 0.7615942 * (logs[1] + 6)])
    assert at(3, 0) == [0, 0]
    # at the bottom of a valley
    x, lowest = 9 - 2 * (1 - np.tanh(4)), np.tanh(2) * (np.log(5e-6) + 6)
    assert at(x, 4)[1] == pytest.approx(lowest)
    assert at(2 * np.tanh(4) - 7, 4)[0] == pytest.approx(lowest / 10)


def test_the_jacobian_by_differences():
    x = torch.tensor([[-8.5, 7.5], [0.3, -0.2], [8.0, 9.0], [-7.5, -0.5], [1.0, -8.0]], dtype=torch.float64)
    rows = toy.jacobian(x)
    for k, h in enumerate(1e-6 * torch.eye(2, dtype=torch.float64)):
        difference = (toy.losses(x + h) - toy.losses(x - h)) / 2e-6
        assert torch.allclose(rows[:, :, k], difference, rtol=1e-6, atol=1e-8)


def test_the_front_is_what_no_place_beats():
    known = toy.front()
    rng = np.random.default_rng(0)
    elsewhere = toy.losses(torch.from_numpy(rng.uniform(-10, 10, size=(500, 2)))).numpy()
    assert all((known <= there + 5e-4 * toy.RANGE).all(axis=1).any() for there in elsewhere)
    assert known.min(axis=0) == pytest.approx([-2, -20], rel=1e-3)
    assert toy.off_front(known[::50]).max() == 0
    assert toy.off_front(known[::50] + np.array([0.2, 0])).min() > toy.NEAR
    # as fine as what it is to tell: both ways along the front
    steps = np.linalg.norm(np.diff(known[np.argsort(known[:, 0])] / toy.RANGE, axis=0), axis=1)
    assert steps.max() <= toy.NEAR
    assert toy.off_front(np.zeros((3, 4, 2))).shape == (3, 4)


def test_a_step_is_adams_down_the_direction_of_fairgrad():
    start = (0.5, -2.0)
    rows = toy.jacobian(torch.tensor([start], dtype=torch.float64))[0]
    weights = ps.FairGrad(alpha=2.0)(torch.zeros(2), rows @ rows.T, torch.full((2,), 0.5))
    found = toy.run(2.0, [start], steps=toy.EVERY)
    # Adam's first steps are of the length of the learning rate, against the signs of the direction
    moved = found.places[-1, 0] - found.places[0, 0]
    assert np.sign(moved).tolist() == (-(weights @ rows).sign()).tolist()
    assert np.abs(moved) == pytest.approx(toy.EVERY * toy.LEARNING_RATE, rel=0.1)
    assert found.losses[0, 0] == pytest.approx(at(*start))


def test_all_starts_at_once_go_as_each_alone():
    together = toy.run(1.0, toy.STARTS, steps=100)
    assert together.places.shape == (5, 5, 2)
    for k, start in enumerate(toy.STARTS):
        alone = toy.run(1.0, [start], steps=100).places[:, 0]
        # places range over 20; vectorised exponentials round by how many there are, and a hundred steps amplify that
        assert together.places[:, k] == pytest.approx(alone, abs=20 * 1e-9)


@pytest.mark.parametrize(("alpha", "steps", "within"), [(1.0, 1800, 0.01), (2.0, 1200, 0.01), (10.0, 900, 0.025)])
def test_starts_that_meet_no_valley_arrive_where_the_reference_ends(alpha, steps, within, unchecked):
    clear = [MIDDLE, NEAR, RIGHT]
    found = toy.run(alpha, [toy.STARTS[k] for k in clear], steps)
    for k, arrival, start in zip(range(3), toy.arrivals(found), clear, strict=True):
        assert arrival is not None
        there = found.losses[arrival // toy.EVERY, k]
        print(f"\nalpha {alpha:g} from {toy.STARTS[start]}: on the front at step {arrival}, at {there}")
        assert np.abs((there - toy.REFERENCE[alpha][start]) / toy.RANGE).max() <= 2.5 * within


def test_the_sum_alone_leaves_a_run_short_of_the_front(unchecked):
    found = toy.run(0.0, [toy.STARTS[k] for k in (LEFT, MIDDLE, VALLEY, NEAR)], steps=7000)
    assert [arrival is None for arrival in toy.arrivals(found)] == [False, False, True, False]
    assert found.losses[-1, [0, 1, 3]] == pytest.approx(np.array([[-0.38, -19.83]] * 3), abs=0.02)
    assert found.losses[-1, 2].min() > 0


def test_arrivals():
    front, off = [-1.509, -15.09], [0.0, 0.0]
    losses = np.array([[off, off, front], [off, front, front], [off, off, front]], dtype=float)
    assert toy.arrivals(toy.Run(1.0, losses, losses)) == [None, toy.EVERY, 0]


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(toy, "STEPS", 50)


def test_the_command_prints_the_ends_and_draws_the_figure(short, capsys, tmp_path):
    assert toy.main(["--out", str(tmp_path / "new" / "toy.svg")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 4 * 5
    assert lines[0].startswith("| alpha | start | on the front at step | losses there | losses after 50 | reference |")
    ends = toy.run(2.0, toy.STARTS, 50).losses[-1]
    assert lines[13] == f"| 2 | (0, 0) | never |  | ({ends[1, 0]:.2f}, {ends[1, 1]:.2f}) | (-1.90, -8.20) |"
    assert "off the front" in lines[4]
    figure = (tmp_path / "new" / "toy.svg").read_bytes()
    assert toy.main(["--out", str(tmp_path / "again.svg")]) == 0
    assert (tmp_path / "again.svg").read_bytes() == figure


def test_the_figure_as_a_picture(short, tmp_path):
    runs = [toy.run(alpha, toy.STARTS, toy.STEPS) for alpha in toy.ALPHAS]
    toy.draw(runs, tmp_path / "toy.png")
    assert (tmp_path / "toy.png").stat().st_size > 20_000


@pytest.mark.slow
def test_the_page_has_the_table_that_the_command_prints(unchecked):
    """To what another machine's rounding does to runs that jitter along the front."""
    runs = [toy.run(alpha, toy.STARTS, toy.STEPS) for alpha in toy.ALPHAS]
    printed = toy.table(runs).splitlines()
    page = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert len(printed) == len(page)
    assert printed[:2] == page[:2]
    ends = np.stack([found.losses[-1] for found in runs])
    there = np.array([[float(x) for x in line.split(" | ")[4].strip("()").split(", ")] for line in page[2:]])
    assert np.abs((ends.reshape(-1, 2) - there) / toy.RANGE).max() <= 0.1
    assert [line.split(" | ")[5] for line in printed] == [line.split(" | ")[5] for line in page]
    arrived = [arrival is not None for found in runs for arrival in toy.arrivals(found)]
    assert arrived == [(alpha, start) != (0.0, VALLEY) for alpha in toy.ALPHAS for start in range(5)]

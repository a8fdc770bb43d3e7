"""What noisy training says of itself at its end."""

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.point import Point
from paretomtl.solver import EpochMeans
from paretomtl.training.watch import Means, is_moving
from tests import toys
from tests.one_point import SGD, train


def epoch(losses, errors):
    values, noise = (torch.tensor(x, dtype=torch.float64) for x in (losses, errors))
    return EpochMeans(values, torch.zeros(2, dtype=torch.float64), noise)


@pytest.mark.parametrize(
    ("before", "last", "errors", "moving"),
    [
        ((1.0, 1.0), (0.9, 1.0), (0.01, 0.01), True),
        ((1.0, 1.0), (0.9, 1.1), (0.01, 0.01), True),  # along the front, too
        ((1.0, 1.0), (0.9, 1.0), (0.04, 0.04), False),  # within 2 sqrt(2) 0.04
        ((1.0, 1.0), (1.1, 1.2), (0.01, 0.01), False),
        ((1.0, 1.0), (0.9995, 1.0), (0.0, 0.0), False),  # less than .1 %
        ((1.0, 1.0), (0.9985, 1.0), (0.0, 0.0), True),
        ((1.0, 1.0), (0.5, 1.0), (np.nan, np.nan), False),  # from a checkpoint of a version that kept none
    ],
)
def test_a_point_moves_if_a_loss_fell_by_more_than_noise(before, last, errors, moving):
    epochs = [epoch((9.0, 9.0), errors), epoch(before, errors), epoch(last, errors)]
    assert is_moving(epochs) is is_moving(epochs[1:]) is moving
    assert is_moving(epochs[2:]) is False


def test_the_noise_of_an_epoch_is_the_standard_error_of_its_batches():
    draw, means = np.random.default_rng(0), Means(2)
    losses = draw.normal(size=(40, 2))
    for row in losses:
        means.add([0, 1], row, np.ones(2))
    assert means.close().errors.numpy() == pytest.approx(losses.std(axis=0, ddof=1) / np.sqrt(40))


def test_noisy_training_is_never_solved():
    short = train(toys.two_regressions(), ps.EPO(), epochs=2).point
    assert short.status == "still moving"
    long = train(toys.two_regressions(), ps.EPO(), epochs=60).point
    assert long.status == "trained"
    assert long.ray_angle < 5
    assert (short.residual, long.residual) != (None, None)
    assert train(toys.two_regressions(), ps.Linear(), epochs=3).point.ray_angle is None
    corner = train(toys.two_regressions(), ps.EPO(), epochs=3, job=1).point
    assert (corner.corner, corner.ray_angle) == ("a", None)
    assert train(toys.two_regressions(), ps.EPO(), epochs=1).point.ray_angle is None


@pytest.mark.parametrize(
    ("status", "angle", "verdict"),
    [
        ("trained", None, "trained"),
        ("trained", 4.9, "trained, on the ray"),
        ("still moving", 12.4, "still moving, off the ray (12°)"),
        (None, None, ""),
    ],
)
def test_a_verdict_in_words(status, angle, verdict):
    assert Point("p", (0.5, 0.5), status=status, ray_angle=angle).verdict == verdict


def test_the_verdict_is_the_same_in_table_csv_record_and_json(tmp_path):
    front = pm.explore(
        toys.two_regressions(), ps.EPO(), preferences=[(0.5, 0.5)], epochs=3, optimizer=SGD, out=tmp_path / "front"
    )
    (point,) = pm.Front.load(tmp_path / "front").points
    assert point == front.points[0]
    assert point.ray_angle is not None
    assert f"{point.verdict}" in front.table()
    assert point.verdict in front.to_csv(tmp_path / "front.csv").read_text()

"""Rays and what a front reaches."""

import numpy as np

from paretomtl.points.rays import degrees_beside, range_of_preferences
from paretomtl.preference import control_error


def test_a_ray_between_the_losses_is_not_beside_them_and_another_is_by_its_angle_to_the_nearest():
    losses = np.array([[0.2, 0.8], [0.8, 0.2]])
    beside = degrees_beside(np.array([[0.5, 0.5], [0.3, 0.7], [0.95, 0.05]]), losses)
    np.testing.assert_allclose(beside[:2], 0, atol=1e-6)
    np.testing.assert_allclose(beside[2], control_error(losses[0], np.array([0.95, 0.05])), atol=1e-6)


def test_three_losses_are_surrounded_by_their_cone_not_by_their_ranges():
    losses = np.array([[1.0, 0.1, 0.1], [0.1, 1.0, 0.1], [0.4, 0.4, 0.4]])
    centre, beyond = degrees_beside(np.array([[1, 1, 1], [0.45, 0.45, 0.1]]) / [[3], [1]], losses)
    assert centre < 1e-6
    assert beyond > 20  # loss 3 is to be the largest, and nowhere is


def test_losses_of_zero_and_below_count_as_zero():
    losses = np.array([[-0.1, 0.5], [0.5, 0.0], [0.0, 0.0]])
    assert degrees_beside(np.array([[0.5, 0.5]]), losses) < 1e-6
    low, high = range_of_preferences(losses)
    np.testing.assert_allclose([low, high], [[0, 0], [1, 1]], atol=1e-5)


def test_the_preferences_that_losses_lie_on():
    low, high = range_of_preferences(np.array([[0.2, 0.8], [0.5, 0.5], [3.0, 1.0]]))
    np.testing.assert_allclose([low, high], [[0.25, 0.2], [0.8, 0.75]])

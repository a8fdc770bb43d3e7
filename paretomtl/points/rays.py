"""Rays and what a front reaches: how far a preference's ray passes beside it, and which preferences' rays it meets."""

import numpy as np
from jaxtyping import Float

from paretomtl.preference import ray


def degrees_beside(preferences: Float[np.ndarray, "k m"], losses: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " k"]:
    """Return the degrees by which each preference's ray passes beside the cone of all losses; 0 for one inside it.

    Losses below 0 count as 0.
    """
    from scipy.optimize import nnls

    reached = np.maximum(losses, 0)
    lengths = np.linalg.norm(reached, axis=1, keepdims=True)
    cone = (reached / np.where(lengths > 0, lengths, 1)).T
    rays = ray(preferences)
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    distances = np.array([nnls(cone, direction)[1] for direction in rays])
    return np.degrees(np.arcsin(np.clip(distances, 0, 1)))


def range_of_preferences(losses: Float[np.ndarray, "n m"]) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Return the least and the largest entry, by objective, of the preferences on whose rays the losses lie."""
    reached = np.maximum(losses, np.finfo(float).tiny)
    preferences = ray(reached / reached.sum(axis=1, keepdims=True))
    return preferences.min(axis=0), preferences.max(axis=0)

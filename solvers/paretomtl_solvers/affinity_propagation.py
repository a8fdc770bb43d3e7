"""Affinity propagation (Frey and Dueck, Science 315, 2007): groups around exemplars, their number not given.

The points of a similarity matrix S (k, k) send messages until their choice of exemplars rests: to each candidate j how
much i would rather have it than any other (responsibility), and back how much it is worth to be one (availability). The
diagonal of S says how willing each point is to be an exemplar; here it is the median of all of S, diagonal included.
"""

import numpy as np
from jaxtyping import Float, Int

DAMPING, MOST_ROUNDS, RESTS = 0.5, 200, 50  # RESTS rounds with the same exemplars end it
SEED = 0  # of the tiny noise that parts ties


def group_by_affinity(similarity: Float[np.ndarray, "k k"]) -> Int[np.ndarray, " k"] | None:
    """Return each point's group, numbered by the exemplars' order from 0 on; None where there is no exemplar."""
    k, willingness = len(similarity), np.median(similarity)
    apart = similarity[~np.eye(k, dtype=bool)]
    if k == 1 or (apart == apart[0]).all():  # messages could not choose
        return np.arange(k) if k > 1 and willingness > apart[0] else np.zeros(k, dtype=int)
    S = similarity.astype(float)
    np.fill_diagonal(S, willingness)
    S += np.finfo(float).eps * np.abs(S) * np.random.default_rng(SEED).standard_normal(S.shape)
    exemplars = _choose_exemplars(S)
    if exemplars is None:
        return None
    labels = S[:, exemplars].argmax(axis=1)
    labels[exemplars] = np.arange(len(exemplars))
    # the best exemplar of each group is the member that is most similar to all of it
    best = [members[S[np.ix_(members, members)].sum(axis=0).argmax()] for members in _members(labels)]
    labels = S[:, best].argmax(axis=1)
    labels[best] = np.arange(len(best))
    return np.unique(labels, return_inverse=True)[1]


def _members(labels: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(labels == group) for group in np.unique(labels)]


def _choose_exemplars(S: np.ndarray) -> np.ndarray | None:
    """Pass messages until the exemplars have been the same for a while, or the last ones will do."""
    k = len(S)
    responsibility, availability, rows = np.zeros_like(S), np.zeros_like(S), np.arange(k)
    last, rests = np.zeros(k, dtype=bool), 0
    for _ in range(MOST_ROUNDS):
        offers = availability + S
        best = offers.argmax(axis=1)
        rival = np.repeat(offers[rows, best][:, None], k, axis=1)
        without = offers.copy()
        without[rows, best] = -np.inf
        rival[rows, best] = without.max(axis=1)
        responsibility = DAMPING * responsibility + (1 - DAMPING) * (S - rival)
        support = np.maximum(responsibility, 0)
        np.fill_diagonal(support, np.diagonal(responsibility))
        sums = support.sum(axis=0) - support  # of the others, and of the candidate itself
        own = np.diagonal(sums).copy()
        sums = np.minimum(sums, 0)
        np.fill_diagonal(sums, own)
        availability = DAMPING * availability + (1 - DAMPING) * sums
        chosen = np.diagonal(responsibility + availability) > 0
        rests = rests + 1 if (chosen == last).all() else 1
        last = chosen
        if rests > RESTS and chosen.any():
            break
    return np.flatnonzero(last) if last.any() else None

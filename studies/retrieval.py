"""Retrieval by inner product: exact, and by an approximate index of faiss that is tuned to a recall.

The index is a graph of near neighbours (HNSW). Built with inner products as they are, it fails on double towers, whose
vectors are of unlike lengths and lie aside of the origin: few items are near to anything, and most are never reached.
So items are centred, which changes no user's order, and get one more coordinate, which makes them equally long; users
have 0 there. The nearest items are then those with the largest inner products (Bachrach et al., RecSys 2014).

A search that keeps more candidates finds more of the true items and takes longer; `build_index` keeps as many as the
recall needs.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

NEIGHBOURS, CARE = 32, 200  # of a vector in the graph, and how many candidates for them are looked at
FIRST_REACH, FAR = 128, 8192  # candidates of a search: at first, and at most
SAMPLE = 200  # users to tune and measure with

Search = Callable[[np.ndarray, int], np.ndarray]  # vectors of users (n, d) and k, to items (n, k), best first


class Exact:
    """All inner products, and the k largest of each user."""

    def __init__(self, items: Float[np.ndarray, "I d"]):
        self._items = np.ascontiguousarray(items.T)

    def __call__(self, users: Float[np.ndarray, "n d"], k: int) -> Int[np.ndarray, "n k"]:
        """Return the k items of each user, best first."""
        _check_k(k, self._items.shape[1])
        scores = users @ self._items
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        return np.take_along_axis(best, order, 1)


class Index:
    """An approximate index: a graph of near neighbours among items that are lifted to equal lengths.

    reach: how many candidates a search keeps.
    """

    def __init__(self, items: Float[np.ndarray, "I d"], reach: int = FIRST_REACH):
        import faiss

        faiss.omp_set_num_threads(1)
        lifted = lift(items)
        self._graph: Any = faiss.IndexHNSWFlat(lifted.shape[1], NEIGHBOURS, faiss.METRIC_L2)
        self._graph.hnsw.efConstruction = CARE
        self._graph.add(lifted)
        self.reach = reach

    @property
    def reach(self) -> int:
        """How many candidates a search keeps."""
        return int(self._graph.hnsw.efSearch)

    @reach.setter
    def reach(self, value: int) -> None:
        self._graph.hnsw.efSearch = value

    def __call__(self, users: Float[np.ndarray, "n d"], k: int) -> Int[np.ndarray, "n k"]:
        """Return the k items of each user, best first; -1 where fewer are found."""
        _check_k(k, self._graph.ntotal)
        return self._graph.search(np.pad(users, ((0, 0), (0, 1))), k)[1]


def lift(items: Float[np.ndarray, "I d"]) -> Float[np.ndarray, "I lifted"]:
    """Centre items, and add a coordinate that makes all of them as long as the longest."""
    centred = items - items.mean(axis=0)
    squares = np.square(centred).sum(axis=1, keepdims=True)
    return np.hstack([centred, np.sqrt(squares.max() - squares)]).astype(np.float32)


def _check_k(k: int, items: int) -> None:
    if not 1 <= k <= items:
        raise ValueError(f"k={k}, and there are {items} items; give a number from 1 to {items}")


def build_index(
    items: Float[np.ndarray, "I d"], users: Float[np.ndarray, "n d"], k: int = 100, recall: float = 0.99
) -> Index:
    """Build an index, and double its reach until these users' recall is enough.

    Raises:
        RuntimeError: it is not enough at any reach.
    """
    index, exact = Index(items), Exact(items)(users, k)
    while recall_of(index(users, k), exact) < recall:
        if index.reach >= FAR:
            raise RuntimeError(
                f"recall={recall}: at a reach of {index.reach} the index has {recall_of(index(users, k), exact):.3f}; "
                "retrieve exactly, or raise NEIGHBOURS"
            )
        index.reach *= 2
    return index


def recall_of(found: Int[np.ndarray, "n k"], true: Int[np.ndarray, "n k"]) -> float:
    """Return the share of the true items that are found, whatever their order, as a mean over users."""
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, true, strict=True)]))


class Retriever:
    """Retrieves items for a user of a double tower, whose vectors are computed once."""

    def __init__(self, users: Float[np.ndarray, "U d"], items: Float[np.ndarray, "I d"], search: Search | None = None):
        self._users = users
        self._search = search or Exact(items)

    def retrieve(self, user: int, k: int) -> Int[np.ndarray, " k"]:
        """Return the k items with the largest inner products with a user, best first.

        Raises:
            ValueError: there is no such user, or there are fewer items.
        """
        if not 0 <= user < len(self._users):
            raise ValueError(f"user={user}: users are numbered from 0 to {len(self._users) - 1}")
        return self._search(self._users[user : user + 1], k)[0]


class Timing(NamedTuple):
    """Recall of the index, median milliseconds of one user both ways, the index's reach, and seconds to build it."""

    items: int
    recall: float
    exact_ms: float
    index_ms: float
    reach: int
    build_s: float


def measure_retrieval(users: Float[np.ndarray, "U d"], items: Float[np.ndarray, "I d"], k: int = 100) -> Timing:
    """Tune an index on some users, and measure its recall on all others; time both ways in turn, a user at a time."""
    started = time.perf_counter()
    cut = min(SAMPLE, len(users) // 2)
    tuning, others = users[:cut], users[cut : 6 * cut]
    index, exact = build_index(items, tuning, k), Exact(items)
    built = time.perf_counter() - started
    recall = recall_of(index(others, k), exact(others, k))
    times: list[tuple[float, float]] = []
    for user in range(min(SAMPLE, len(others))):
        one = others[user : user + 1]
        times.append((_seconds(exact, one, k), _seconds(index, one, k)))
    exact_ms, index_ms = np.median(times, axis=0) * 1000
    return Timing(len(items), recall, float(exact_ms), float(index_ms), index.reach, built)


def _seconds(search: Search, users: np.ndarray, k: int) -> float:
    started = time.perf_counter()
    search(users, k)
    return time.perf_counter() - started

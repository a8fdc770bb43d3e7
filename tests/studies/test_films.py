"""MovieLens as the studies use it: which users and films, the division by time, and the parts, on a few ratings."""

import numpy as np
import pytest
import torch

from studies import data, films
from studies.films import Subset, divide_by_time, list_parts, load_ratings, unit_genres


def few(n_users: int = 3, n_films: int = 12) -> data.MovieLens:
    """All rate all films but the last, which the first user alone rates; a user's times run over the films."""
    pairs = [(u, f) for u in range(1, n_users + 1) for f in range(1, n_films)] + [(1, n_films)]
    user, film = zip(*pairs, strict=True)
    ratings = {
        "user_id": [*user], "movie_id": [*film], "rating": [1 + (u + f) % 5 for u, f in pairs],
        "timestamp": [100 * u + f for u, f in pairs],
    }  # fmt: skip
    users = {
        "user_id": [*range(1, n_users + 1)], "age": [20 + u for u in range(n_users)],
        "gender": ["M", "F", "M"][:n_users],
        "occupation": ["writer", "artist", "writer"][:n_users],
    }  # fmt: skip
    table = {
        "movie_id": [*range(1, n_films + 1)], "movie_title": [f"film {f}" for f in range(1, n_films + 1)],
        "IMDb_URL": [None] * n_films, "Drama": [1] * n_films, "Comedy": [f % 2 for f in range(1, n_films + 1)],
    }  # fmt: skip
    return data.MovieLens(ratings, users, table)


@pytest.fixture
def ratings(monkeypatch):
    monkeypatch.setattr(data, "movielens", few)
    for cached in (load_ratings, list_parts, unit_genres):
        cached.cache_clear()
    yield load_ratings(Subset(2, 11))
    for cached in (load_ratings, list_parts, unit_genres):
        cached.cache_clear()


def test_the_films_with_most_ratings_and_the_first_users_are_taken(ratings):
    assert ratings.users == 2
    assert ratings.titles == tuple(f"film {f}" for f in range(1, 12))
    assert len(ratings.user) == 22
    assert ratings.genres.tolist() == [[1, f % 2] for f in range(1, 12)]
    assert ratings.people.tolist() == [[20, 0], [21, 1]]
    assert ratings.occupation.tolist() == [1, 0]
    rows = ratings.user == 1
    assert ratings.stars[rows].tolist() == [1 + (2 + f) % 5 for f in range(1, 12)]


def test_a_users_ratings_are_divided_by_their_time():
    user, time = np.array([0, 1, 0, 0, 1, 0, 0]), np.array([5, 2, 4, 3, 1, 2, 1])
    split = divide_by_time(user, time)
    assert split[user == 0].tolist() == [2, 1, 0, 0, 0]
    assert split[user == 1].tolist() == [1, 0]


def test_what_was_rated_before_is_not_listed(ratings):
    parts = list_parts(Subset(2, 11))
    users, liked, excluded = parts["train"]
    assert users.tolist() == [0, 1]
    assert not (liked.bool() & ~excluded).any()  # in training the films of the split itself
    for split, before in (("validate", ["train"]), ("test", ["train", "validate"])):
        _, liked, excluded = parts[split]
        seen = torch.stack([torch.from_numpy(ratings.matrix(one)) for one in before]).bool().any(dim=0)
        assert torch.equal(excluded, seen)
        assert not (liked.bool() & excluded).any()
    assert ratings.matrix("test", films.LIKED).sum() < ratings.matrix("test").sum()
    assert np.array_equal(sum(map(ratings.matrix, films.SPLITS), np.zeros((2, 11))), np.ones((2, 11)))


def test_genres_are_unit_vectors(ratings):
    assert unit_genres(Subset(2, 11))[:2].tolist() == [pytest.approx([0.5**0.5] * 2), [1, 0]]


@pytest.mark.parametrize(
    ("subset", "message"),
    [(Subset(0, 5), "users=0, films=5: give positive numbers"), (Subset(2, 3), "films=3: nobody has rated 10 of them")],
)
def test_a_subset_of_nothing_is_refused(ratings, subset, message):
    with pytest.raises(ValueError, match=message):
        load_ratings(subset)


def test_a_split_that_there_is_not_is_refused(ratings):
    with pytest.raises(ValueError, match="split='tset' is not one of 'train', 'validate', 'test'"):
        ratings.matrix("tset")


def test_the_published_ratings():
    try:
        ratings = load_ratings(Subset(943, 1682))
    except data.Missing as error:
        pytest.skip(f"MovieLens cannot be had: {error}")
    assert (ratings.users, ratings.films, len(ratings.user)) == (943, 1682, 100_000)
    assert np.bincount(ratings.split).tolist() == [60_014, 19_986, 20_000]
    assert (ratings.genres.sum(axis=1) > 0).all()
    assert ratings.people[:, 1].sum() == 273

"""MovieLens-100k as the studies use it: some users and films, divided by time, with the films' genres.

Each user's ratings are divided by their time: the first three fifths train, the next fifth validates, the last tests.
So nothing of a user's future is in their training; times of other users overlap.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from studies import data
from studies.reranking import unit_rows
from studies.tabular import Parts

SPLITS = ("train", "validate", "test")
NOT_GENRES = frozenset({"movie_id", "movie_title", "release_date", "video_release_date", "IMDb_URL"})
LEAST = 10  # ratings of a user, below which the user is left out
LIKED = 4  # stars from which a film is liked


class Subset(NamedTuple):
    """How many users and films to take, of 943 and 1,682."""

    users: int
    films: int


WHOLE = Subset(943, 1682)


class Ratings(NamedTuple):
    """Ratings, one a row, of users and films numbered from 0.

    time: in seconds.
    split: index into `SPLITS`.
    genres: 1 where a film is of a genre, else 0; every film has one at least.
    people: age in years, and 1 for women.
    occupation: its number among the occupations by name.
    """

    user: Int[np.ndarray, " n"]
    film: Int[np.ndarray, " n"]
    stars: Int[np.ndarray, " n"]
    time: Int[np.ndarray, " n"]
    split: Int[np.ndarray, " n"]
    genres: Float[np.ndarray, "films genres"]
    people: Float[np.ndarray, "users 2"]
    occupation: Int[np.ndarray, " users"]
    titles: tuple[str, ...]

    @property
    def users(self) -> int:
        """Number of users."""
        return len(self.people)

    @property
    def films(self) -> int:
        """Number of films."""
        return len(self.titles)

    def matrix(self, split: str, least: int = 1) -> Float[np.ndarray, "users films"]:
        """Return 1 where a user gave a film at least so many stars in a split, else 0."""
        if split not in SPLITS:
            raise ValueError(f"split={split!r} is not one of {', '.join(map(repr, SPLITS))}")
        rows = (self.split == SPLITS.index(split)) & (self.stars >= least)
        table = np.zeros((self.users, self.films), np.float32)
        table[self.user[rows], self.film[rows]] = 1
        return table


@cache
def load_ratings(subset: Subset) -> Ratings:
    """Return the ratings of the first users, of the films with most ratings."""
    users, films = subset
    if users < 1 or films < 1:
        raise ValueError(f"users={users}, films={films}: give positive numbers")
    table = data.movielens()
    user, film, stars, time = (np.array(table.ratings[name]) for name in ("user_id", "movie_id", "rating", "timestamp"))
    ids, counts = np.unique(film, return_counts=True)
    films_kept = np.sort(ids[np.argsort(-counts, kind="stable")[:films]])
    rows = np.isin(film, films_kept)
    ids, counts = np.unique(user[rows], return_counts=True)
    users_kept = ids[counts >= LEAST][:users]
    if not len(users_kept):
        raise ValueError(f"films={films}: nobody has rated {LEAST} of them; take more films")
    rows &= np.isin(user, users_kept)
    user, film = np.searchsorted(users_kept, user[rows]), np.searchsorted(films_kept, film[rows])
    split = divide_by_time(user, time[rows])
    return Ratings(user, film, stars[rows], time[rows], split, *_describe(table, users_kept, films_kept))


def divide_by_time(user: Int[np.ndarray, " n"], time: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return the split of each rating: a user's first 60 % train, the next 20 % validate, the last test."""
    order = np.lexsort((time, user))  # stable, so ratings of one second stay in the order of the file
    counts = np.bincount(user)
    first = np.cumsum(counts) - counts
    place = np.empty(len(user), np.int64)
    place[order] = np.arange(len(user)) - first[user[order]]
    return np.searchsorted([0.6, 0.8], (place + 0.5) / counts[user], side="right")


def _describe(
    table: data.MovieLens, users: np.ndarray, films: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return the genres of films, age and sex of users, their occupations, and titles."""
    film_rows = np.searchsorted(table.films["movie_id"], films)
    user_rows = np.searchsorted(table.users["user_id"], users)
    names = [name for name in table.films if name not in NOT_GENRES]
    genres = np.array([table.films[name] for name in names], np.float32).T[film_rows]
    sex = np.array([who == "F" for who in table.users["gender"]])
    people = np.stack([np.array(table.users["age"]), sex], axis=1).astype(np.float32)[user_rows]
    occupation = np.unique(table.users["occupation"], return_inverse=True)[1][user_rows]
    return genres, people, occupation, tuple(table.films["movie_title"][row] for row in film_rows)


@cache
def list_parts(subset: Subset) -> Parts:
    """Return for every split the users, what each likes in it, and the films not to be listed: those rated before.

    In training they are those of the split itself.
    """
    ratings = load_ratings(subset)
    rated = {split: torch.from_numpy(ratings.matrix(split)).bool() for split in SPLITS}
    excluded = {"train": rated["train"], "validate": rated["train"], "test": rated["train"] | rated["validate"]}
    return {
        split: (torch.arange(ratings.users), torch.from_numpy(ratings.matrix(split, LIKED)), excluded[split])
        for split in SPLITS
    }


@cache
def unit_genres(subset: Subset) -> Float[Tensor, "films genres"]:
    """Return the genres of the films as vectors of length 1."""
    return unit_rows(torch.from_numpy(load_ratings(subset).genres))

"""A simulated log of impressions, clicks and long reads, whose truth is known.

Users have tastes of two kinds: what they click on, and what they then read to the end; the two agree in part. Items
have topics, a catchy or a dull title, and a text that is good or poor; catchy titles promise more than their texts
keep. So titles raise clicks and shorten reading: what is clicked and what is read differ in their causes.

- The logit of a click: a constant, the user's activity, the match of the topics with the tastes, the title.
- The time that a click leads to is log-normal; the mean of its logarithm: a constant, the user's patience, the match
  with the other tastes, the text, less the title. An impression without a click is read for 0 seconds.
- A long read is one of more than `LONG` seconds.
- The log shows each user items by a policy that favours what is likely to be clicked, none of them twice.

What a model may see is in the catalogue: group and region of a user, and the items read before the log begins; topic
and source of an item, the length of its text and a noisy rating of its title. All else has to be learnt from the log.

Nothing is measured, so nothing here says how large such effects are in a real log.
"""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from paretomtl.distillation import check_chain
from studies.double_tower import Catalogue
from studies.tabular import Parts

LONG = 60.0  # seconds of a long read
SPREAD = 0.8  # standard deviation of the logarithm of a reading time
TASTES, GROUPS, REGIONS, TOPICS, SOURCES = 6, 8, 5, 12, 20
CLICK_AT, MATCH, TITLE = -3.0, 1.0, 0.8  # logit of a click: constant, weight of the match, weight of the title
READ_AT, DEPTH, TEXT, BAIT = 3.9, 0.6, 0.5, 0.5  # mean log seconds: constant, match, text; less the title's
AGREEMENT = 0.5  # correlation of the tastes for clicking and for reading
FAVOUR = 0.7  # how much the policy favours items that are likely to be clicked
HISTORY = 8  # items that each user has read before
CHUNK = 256  # users at a time, where a table of users and items is needed
SPLITS = {"train": 0.8, "validate": 0.1, "test": 0.1}


class Size(NamedTuple):
    """How many users and items there are, and how many impressions each user has in the log."""

    users: int
    items: int
    shown: int


SIZES = {"demo": Size(300, 500, 80), "small": Size(2_000, 3_000, 100), "full": Size(5_000, 10_000, 200)}


class World(NamedTuple):
    """The truth: every user and item with all that clicks and reading times depend on.

    tastes, depths: what users click on, and what they read; topics: what items are about. Group, region, topic and
    source are categories that can be seen.
    """

    tastes: Float[np.ndarray, "U tastes"]
    depths: Float[np.ndarray, "U tastes"]
    activity: Float[np.ndarray, " U"]
    patience: Float[np.ndarray, " U"]
    group: Int[np.ndarray, " U"]
    region: Int[np.ndarray, " U"]
    topics: Float[np.ndarray, "I tastes"]
    title: Float[np.ndarray, " I"]
    text: Float[np.ndarray, " I"]
    length: Float[np.ndarray, " I"]
    topic: Int[np.ndarray, " I"]
    source: Int[np.ndarray, " I"]

    def click_logit(self, users: np.ndarray) -> Float[np.ndarray, "n I"]:
        """Return the logit of a click by these users on every item."""
        return CLICK_AT + self.activity[users, None] + MATCH * self.tastes[users] @ self.topics.T + TITLE * self.title

    def log_seconds(self, users: np.ndarray) -> Float[np.ndarray, "n I"]:
        """Return the mean logarithm of the seconds that a click by these users on every item leads to."""
        item = TEXT * self.text - BAIT * self.title + 0.3 * self.length
        return READ_AT + self.patience[users, None] + DEPTH * self.depths[users] @ self.topics.T + item

    def click_probability(self, users: np.ndarray) -> Float[np.ndarray, "n I"]:
        """Return the probability of a click, were the item shown."""
        return _sigmoid(self.click_logit(users))

    def read_probability(self, users: np.ndarray) -> Float[np.ndarray, "n I"]:
        """Return the probability of a click with a long read, were the item shown."""
        return self.click_probability(users) * _normal_share((self.log_seconds(users) - np.log(LONG)) / SPREAD)

    def seconds_clicked(self, users: np.ndarray) -> Float[np.ndarray, "n I"]:
        """Return the expected seconds of a click."""
        return np.exp(self.log_seconds(users) + SPREAD**2 / 2)

    def seconds(self, users: np.ndarray) -> Float[np.ndarray, "n I"]:
        """Return the expected seconds of an impression: 0 without a click."""
        return self.click_probability(users) * self.seconds_clicked(users)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return torch.from_numpy(x).sigmoid().numpy()


def _normal_share(x: np.ndarray) -> np.ndarray:
    """Return the share of a standard normal below x."""
    return torch.special.ndtr(torch.from_numpy(x)).numpy()


class Log(NamedTuple):
    """The impressions: user, item, whether it was clicked, and for how many seconds it was read."""

    user: Int[np.ndarray, " N"]
    item: Int[np.ndarray, " N"]
    click: Int[np.ndarray, " N"]
    seconds: Float[np.ndarray, " N"]

    @property
    def read(self) -> Int[np.ndarray, " N"]:
        """1 for a long read."""
        return (self.seconds > LONG).astype(np.int64)


def draw_world(size: Size, seed: int) -> World:
    """Draw the users and items."""
    draw = np.random.default_rng([seed, 0])

    def normal(*shape: int) -> np.ndarray:
        return draw.standard_normal(shape, dtype=np.float32)

    n, k = size.users, size.items
    group, region = draw.integers(GROUPS, size=n), draw.integers(REGIONS, size=n)
    topic, source = draw.integers(TOPICS, size=k), draw.integers(SOURCES, size=k)
    # what can be seen explains a half of the tastes and of an item's topics; the rest is the user's, the item's own
    tastes = np.sqrt(0.5) * (normal(GROUPS, TASTES)[group] + normal(n, TASTES))
    others = np.sqrt(0.5) * (normal(GROUPS, TASTES)[group] + normal(n, TASTES))
    depths = AGREEMENT * tastes + np.sqrt(1 - AGREEMENT**2) * others
    topics = np.sqrt(0.5 / TASTES) * (normal(TOPICS, TASTES)[topic] + normal(k, TASTES))
    title = np.sqrt(0.5) * (normal(SOURCES)[source] + normal(k))
    text = np.sqrt(0.5) * (normal(SOURCES)[source] + normal(k))
    activity, patience = 0.5 * normal(n), 0.3 * normal(n) + 0.2 * normal(REGIONS)[region]
    return World(
        tastes, depths, activity, patience, group, region, topics, title, text, normal(k), topic, source
    )  # fmt: skip


def draw_log(world: World, shown: int, seed: int) -> Log:
    """Draw the log: for each user as many impressions, none of an item twice, and what came of each."""
    draw = np.random.default_rng([seed, 1])
    parts = []
    for users in iterate_users(len(world.tastes)):
        logits = world.click_logit(users)
        item = _draw_items(FAVOUR * logits, shown, draw)
        click = draw.random(item.shape) < _sigmoid(np.take_along_axis(logits, item, 1))
        mean = np.take_along_axis(world.log_seconds(users), item, 1)
        seconds = np.where(click, np.exp(mean + SPREAD * draw.standard_normal(item.shape)), 0.0)
        parts.append((np.repeat(users, shown), item.ravel(), click.ravel().astype(np.int64), seconds.ravel()))
    return Log(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def draw_history(world: World, seed: int) -> Int[np.ndarray, "U L"]:
    """Draw the items that each user has read before the log begins: by the probability of a click with a long read."""
    draw = np.random.default_rng([seed, 2])
    rows = [
        _draw_items(np.log(world.read_probability(users)), HISTORY, draw) for users in iterate_users(len(world.tastes))
    ]
    return np.concatenate(rows)


def iterate_users(users: int) -> Iterator[np.ndarray]:
    """Yield users, some hundreds at a time: as many as a table of all items is affordable for."""
    return (np.arange(start, min(start + CHUNK, users)) for start in range(0, users, CHUNK))


def _draw_items(logits: np.ndarray, n: int, draw: np.random.Generator) -> Int[np.ndarray, "users n"]:
    """Draw n different items for each user, in turn, in proportion to exp(logits): the largest with Gumbel noise."""
    chance = draw.standard_exponential(logits.shape, dtype=np.float32)
    noisy = logits - np.log(np.maximum(chance, np.finfo(np.float32).tiny))
    return np.argpartition(-noisy, n - 1, axis=1)[:, :n]


def build_catalogue(world: World, seed: int) -> Catalogue:
    """Build the features that a model may see."""
    draw = np.random.default_rng([seed, 3])
    rating = world.title + draw.standard_normal(len(world.title))  # of the title, as noisy as it is variable
    numbers = np.stack([world.length, rating], axis=1)
    return Catalogue(
        user_kinds=torch.from_numpy(np.stack([world.group, world.region], axis=1)),
        user_numbers=torch.zeros(len(world.group), 0),
        item_kinds=torch.from_numpy(np.stack([world.topic, world.source], axis=1)),
        item_numbers=torch.from_numpy(numbers / numbers.std(axis=0)).float(),
        history=torch.from_numpy(draw_history(world, seed)),
    )


class Data(NamedTuple):
    """A world, what a model may see of it, and the batches' tensors by split: user, item, click, long read."""

    world: World
    catalogue: Catalogue
    parts: Parts


@cache
def simulate(size: str, seed: int) -> Data:
    """Return a world of this size and its log: 80 % of the impressions to train on, at random, 10 % each to the others.

    Raises:
        ValueError: a long read without a click.
    """
    world = draw_world(SIZES[size], seed)
    log = draw_log(world, SIZES[size].shown, seed)
    order = np.random.default_rng([seed, 4]).permutation(len(log.user))
    ends = np.round(np.cumsum(list(SPLITS.values()))[:-1] * len(order)).astype(int)
    columns = (log.user, log.item, log.click.astype(np.float32), log.read.astype(np.float32))
    tensors = [torch.from_numpy(column) for column in columns]
    check_chain(tensors[2], tensors[3], ("click", "long read"))
    rows = dict(zip(SPLITS, np.split(order, ends), strict=True))
    return Data(world, build_catalogue(world, seed), {k: tuple(t[part] for t in tensors) for k, part in rows.items()})

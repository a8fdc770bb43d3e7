"""The batches of a training, epoch after epoch, and the chance that comes with them; from the middle of an epoch on."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from paretomtl.training.checkpoint import random_states, restore_random_states
from paretomtl.training.measuring import to_device
from paretomtl.training.seeds import reseed, reseed_loader, seed_of
from paretomtl.training.study import Study

Splits = dict[str, Iterable[Any]]


class Batches:
    """(epoch, batch) until the steps are spent; every epoch starts from its own seed.

    Args:
        study, splits: what is asked for.
        replicate: of which seed.
        budget: how many steps.
        warnings: where a loader that could not be seeded is told of.
    """

    def __init__(self, study: Study, replicate: int, splits: Splits, budget: int, warnings: list[str]):
        self._study, self._replicate, self._splits, self._warnings = study, replicate, splits, warnings
        self._epoch, self._seen, self._left = 0, 0, budget  # the batches of this epoch so far, the steps to come
        self._chance: dict[str, Any] | None = None  # of the checkpoint, until it is put back

    def checkpoint(self) -> dict[str, Any]:
        """How far it came."""
        drawn = self._chance or random_states(self._study.device)
        return {"epoch": self._epoch, "seen": self._seen, "left": self._left, "chance": drawn}

    def restore(self, found: dict[str, Any]) -> None:
        """Go on from there."""
        self._epoch, self._seen, self._left = found["epoch"], found["seen"], found["left"]
        self._chance = found["chance"]

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """What is left."""
        if self._study.problem.deterministic:
            self._put_back()
            while self._left:
                self._left -= 1
                yield 0, None
            return
        train = self._splits["train"]
        while self._left:
            seed = seed_of(self._study.seed, self._replicate, self._epoch)
            reseed(seed)
            if reseed_loader(train, seed) and self._epoch == self._seen == 0:
                self._warnings.append("train shuffles without a generator of its own; it was given the study's seed")
            there = iter(train)
            for _ in itertools.islice(there, self._seen):  # those of before: their order is the seed's
                pass
            self._put_back()
            for batch in itertools.islice(there, self._left):
                self._seen += 1
                self._left -= 1
                yield self._epoch, to_device(batch, self._study.device)
            if not self._seen:
                raise ValueError(f"train gave no batch in epoch {self._epoch}")
            if self._left:
                self._epoch, self._seen = self._epoch + 1, 0

    def _put_back(self) -> None:
        if self._chance is not None:
            restore_random_states(self._chance, self._study.device)
        self._chance = None

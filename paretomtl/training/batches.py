"""The batches of a training, epoch after epoch, with the random states that go with them; resumable in mid-epoch."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from paretomtl.training.checkpoint import random_states, restore_random_states
from paretomtl.training.measuring import to_device
from paretomtl.training.seeds import reseed, reseed_loader, seed_of
from paretomtl.training.study import Study

Splits = dict[str, Iterable[Any]]


class BatchStream:
    """Pairs (epoch, batch) until the steps are spent; every epoch starts from its own seed.

    Args:
        study, splits: the exploration and its data.
        replicate: which of the study's seeds.
        budget: the number of steps.
        warnings: a list that gets a warning if the loader shuffles without a generator of its own.
    """

    def __init__(self, study: Study, replicate: int, splits: Splits, budget: int, warnings: list[str]):
        self._study, self._replicate, self._splits, self._warnings = study, replicate, splits, warnings
        self._epoch, self._seen, self._left = 0, 0, budget  # batches of this epoch so far, steps to come
        self._random: dict[str, Any] | None = None  # random states of a checkpoint, until they are restored

    def checkpoint(self) -> dict[str, Any]:
        """Return the position in the data, and the random states."""
        states = self._random or random_states(self._study.device)
        return {"epoch": self._epoch, "seen": self._seen, "left": self._left, "chance": states}

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Go on from the position that `checkpoint` returned."""
        self._epoch, self._seen, self._left = checkpoint["epoch"], checkpoint["seen"], checkpoint["left"]
        self._random = checkpoint["chance"]

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Yield the batches that are left."""
        if self._study.problem.deterministic:
            self._restore_random()
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
            stream = iter(train)
            for _ in itertools.islice(stream, self._seen):  # trained on before the checkpoint: the seed fixes the order
                pass
            self._restore_random()
            for batch in itertools.islice(stream, self._left):
                self._seen += 1
                self._left -= 1
                yield self._epoch, to_device(batch, self._study.device)
            if not self._seen:
                raise ValueError(f"train gave no batch in epoch {self._epoch}")
            if self._left:
                self._epoch, self._seen = self._epoch + 1, 0

    def _restore_random(self) -> None:
        if self._random is not None:
            restore_random_states(self._random, self._study.device)
        self._random = None

"""Executors: where the points of a study are computed. All have one signature; this one computes them here."""

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from paretomtl.front.store import Store
from paretomtl.point import Point
from paretomtl.sweep.interrupt import held
from paretomtl.training.loop import Splits, train_point
from paretomtl.training.study import Job, Study


class Done(NamedTuple):
    """A point that was computed: where, and in how many seconds."""

    point: Point
    seconds: float
    host: str


Report = Callable[[Done | float], None]  # a finished point, or the share of the one in work


class Executor(ABC):
    """Computes points and writes their records and weights to the store."""

    @abstractmethod
    def run(self, study: Study, jobs: Sequence[Job], store: Store, report: Report) -> None:
        """Compute the jobs; each is written by whoever computes it, and then reported."""


class Here(Executor):
    """One point after the other, in this process."""

    def run(self, study: Study, jobs: Sequence[Job], store: Store, report: Report) -> None:
        """Compute the jobs in their order."""
        splits = study.open()
        for job in jobs:
            report(compute(study, job, splits, store, report))


def compute(study: Study, job: Job, splits: Splits, store: Store, tick: Callable[[float], None] | None = None) -> Done:
    """Train one point and write it."""
    start = time.perf_counter()
    trained = train_point(study, job, splits, tick)
    with held():
        point = store.write_point(trained.point, trained.weights)
    return Done(point, round(time.perf_counter() - start, 3), socket.gethostname())

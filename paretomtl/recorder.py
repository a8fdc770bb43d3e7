"""The contract of a recorder: what is looked at every so many steps of a training, without changing it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

from torch import nn

from paretomtl.problem import Problem


class Moment(NamedTuple):
    """What a recorder sees: a training after a step.

    Attributes:
        problem: the problem that defines the losses.
        model: the model, in eval mode; a recorder may move its weights, and puts them back.
        batch: the batch of the step; None for a deterministic problem.
        validate: the batches of the validation split.
        epoch, step: where the training is; steps count from 0.
    """

    problem: Problem
    model: nn.Module
    batch: Any
    validate: Iterable[Any]
    epoch: int
    step: int


class Recorder(ABC):
    """Something to record of a training, given among the `callbacks` of `explore`.

    Subclass it as a frozen dataclass. What it returns is kept with the point, and stored in the front's folder; it is
    the same after a kill and a resume. An error in it is a warning of the point, and the training goes on without it.

    Attributes:
        every: steps between two records; the first step has one.
        name: what it is called in the records.
        cost: what a record takes, in passes over the batch.
    """

    every: int
    name: ClassVar[str]
    cost: ClassVar[str]

    def __post_init__(self):
        if not isinstance(self.every, int) or isinstance(self.every, bool) or self.every < 1:
            raise ValueError(f"every={self.every!r}: give a whole number of steps of at least 1")

    def __call__(self, step: Any) -> None:
        """Leave a step alone: a recorder sees more than the steps that callbacks get."""
        del step

    @abstractmethod
    def record(self, moment: Moment) -> Mapping[str, Any]:
        """Return numbers by name, or lists of numbers; those that are not finite are stored as None."""

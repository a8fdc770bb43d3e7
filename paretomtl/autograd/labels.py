"""Labels that are missing from a batch: what a method makes of the losses that are present.

A method whose weights are the preference keeps w_i = r_i for the losses that are present. Any other method weighs the
losses against each other and needs all of them: a point that is trained alone collects losses and gradients until every
objective had a label (`Collected`), and takes one step then.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paretomtl.autograd.gradients import check_finite, gradients_of
from paretomtl.solver import Scalarization, Solver


def is_linear(solver: Solver) -> bool:
    """Whether the method's weights are the preference; it can go without a label."""
    return isinstance(solver, Scalarization) and solver.linear


def check_labels(solver: Solver, names: Sequence[str], present: Sequence[int]) -> None:
    """Raise where a batch lacks labels, and the method weighs the losses against each other but cannot collect here.

    Args:
        solver: the method.
        names: those of all objectives.
        present: the objectives that have a label.
    """
    missing = [name for i, name in enumerate(names) if i not in present]
    if missing and not is_linear(solver):
        raise ValueError(
            f"a batch has no label of {missing}, and {type(solver).__name__} weighs the losses against each other; "
            "give batches with every label, or use Linear. Methods such as EPO collect the labels of several batches, "
            "for points that are trained one by one (without fleet= and front_model=)"
        )


class LabelCounts:
    """The number of batches so far, and in how many of them each objective had a label."""

    def __init__(self, m: int):
        self._seen, self._batches = np.zeros(m, int), 0

    def checkpoint(self) -> tuple[np.ndarray, int]:
        """Return the numbers so far."""
        return self._seen, self._batches

    def restore(self, checkpoint: tuple[np.ndarray, int]) -> None:
        """Restore the numbers that `checkpoint` returned."""
        self._seen, self._batches = checkpoint

    def shares(
        self, solver: Solver, preference: Float[Tensor, "*points m"], present: Sequence[int]
    ) -> Float[Tensor, "*points k"]:
        """Return the preference of the next batch's labelled losses; call `add` for the batch after it.

        It is divided by the frequency of each label, this batch included, if the method balances labels.
        """
        r = preference if list(present) == [*range(preference.shape[-1])] else preference[..., list(present)]
        if not solver.balances_labels:
            return r
        frequencies = (self._seen[list(present)] + 1) / (self._batches + 1)
        return r / torch.from_numpy(frequencies).to(r)

    def add(self, present: Sequence[int]) -> None:
        """Add a batch; `present` are the objectives that have a label in it."""
        if len(present) == len(self._seen):
            self._seen += 1
        else:
            self._seen[list(present)] += 1
        self._batches += 1

    def warnings_of(self, names: Sequence[str]) -> list[str]:
        """Return a warning with the frequency of each label that was missing from a batch."""
        rare = [f"of {n!r} in {k / self._batches:.0%}" for n, k in zip(names, self._seen, strict=True)
                if k < self._batches]  # fmt: skip
        return [f"labels {', '.join(rare)} of the batches"] if rare else []


class Collected:
    """Mean losses and gradients since the last step: for each objective, over the batches that have its label.

    Batches are weighed by their number of labels of the objective.

    Attributes:
        is_empty: whether no batch was added since the last step.
        is_complete: whether every objective had a label.
    """

    def __init__(self, m: int):
        self._counts: list[float] = [0.0] * m
        self._losses: list[Tensor | None] = [None] * m
        self._gradients: list[list[Tensor | None]] = [[] for _ in range(m)]

    def checkpoint(self) -> tuple[Any, ...]:
        """Return the counts, losses and gradients so far."""
        return self._counts, self._losses, self._gradients

    def restore(self, checkpoint: tuple[Any, ...]) -> None:
        """Restore what `checkpoint` returned."""
        self._counts, self._losses, self._gradients = checkpoint

    def clear(self) -> None:
        """Start anew, after a step."""
        self.__init__(len(self._counts))

    @property
    def is_empty(self) -> bool:
        """Whether no batch was added since the last step."""
        return not any(self._counts)

    @property
    def is_complete(self) -> bool:
        """Whether every objective had a label."""
        return all(self._counts)

    def add(
        self, losses: Mapping[int, Tensor], counts: Sequence[float], parameters: Sequence[Tensor], names: Sequence[str]
    ) -> None:
        """Add a batch.

        Args:
            losses: those that have a label, by objective; they require gradients.
            counts: the number of labels of every objective.
            parameters: the trained parameters.
            names: the objectives' names, for messages.

        Raises:
            NonFiniteError: a loss is NaN or infinite.
        """
        values = [loss.detach() for loss in losses.values()]
        check_finite(torch.stack(values), [names[i] for i in losses])
        gradients = gradients_of(list(losses.values()), parameters)
        for i, value, gradient in zip(losses, values, gradients, strict=True):
            self._counts[i] += counts[i]
            share = counts[i] / self._counts[i] if counts[i] else 0.0  # an empty batch
            self._losses[i] = _mix(self._losses[i], value, share)
            before = self._gradients[i] or [None] * len(gradient)
            self._gradients[i] = [_mix(mean, part, share) for mean, part in zip(before, gradient, strict=True)]

    def means(self) -> tuple[list[Tensor], list[list[Tensor | None]]]:
        """Return the mean losses, and their gradients by parameter, once it is complete.

        A gradient is None where the loss does not depend on the parameter.
        """
        return [loss for loss in self._losses if loss is not None], self._gradients


def _mix(mean: Tensor | None, value: Tensor | None, share: float) -> Tensor | None:
    """Return a mean with a further value of that share in it; None stands for 0."""
    if value is None:
        return None if mean is None else mean * (1 - share)
    return value * share if mean is None else torch.lerp(mean, value, share)

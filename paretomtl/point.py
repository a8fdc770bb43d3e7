"""A point of a front: what was asked, what was reached, and how it went."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal


class Code(IntEnum):
    """How a solver's call ended, for one point."""

    SOLVED = 0
    STATIONARY = 1  # no direction lowers the losses; nothing more to do there
    RELAXED = 2  # the program had no solution as stated, and a relaxed one was solved
    FELL_BACK = 3  # the solvers failed, and min-norm weights stand in
    SUSPECTED = 4  # noisy problem: the ray seems not to meet the front
    UNREACHABLE = 5  # deterministic problem: the ray does not meet the front
    NOT_CONVERGED = 6  # deterministic problem: neither what was asked for nor shown to be out of reach
    SKIPPED = 7  # gradients overflowed in reduced precision; the scaler skips this step
    ENDED = 8  # a walk has come to where what it lowers cannot fall any more

    @property
    def word(self) -> str:
        """The name in plain words."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class Point:
    """One trained model of a front, without its weights. Numbers are in the order of the objectives.

    Args:
        id: its name within the front.
        preference: what was asked.
        corner: the objective that was trained alone, for the corners; else None.
        seed: which of the study's repetitions it is of, from 0 on; each has other initial weights and data order.
        state: "done"; "failed" with the reason; or "corrupt": its record cannot be read, for the reason given.
        losses: mean losses by split ("validate", and "test" where there is one).
        values: the measures by split; the mean losses where the problem has no measure.
        errors: standard errors of the measures by split, where the problem's measure told them; else empty.
        control_error: degrees between the ray asked and the validation losses reached.
        status: how the solver left it, in a word; see `Code`.
        residual: the solver's last one; 0 where the preference is met.
        counts: steps, finish_steps, skipped (batches without any label), relaxed, fell_back; of a conditioned network
            steps, skipped, best_step (whose weights were kept), and relaxed and fell_back over all preferences seen; of
            a walk steps, corrections, products (Hessian-vector) and relaxed.
        weights: SHA-256 of the weights' file.
        network: SHA-256 of the file of the conditioned network that it comes of; None for a point trained apart.
        warnings: what happened on the way.
        reason: why it failed.
        trace: where it failed, from our training loop on.
    """

    id: str
    preference: tuple[float, ...]
    corner: str | None = None
    state: Literal["done", "failed", "corrupt"] = "done"
    losses: dict[str, tuple[float, ...]] = field(default_factory=dict)
    values: dict[str, tuple[float, ...]] = field(default_factory=dict)
    control_error: float | None = None
    status: str | None = None
    residual: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    weights: str | None = None
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    trace: str | None = None
    seed: int = 0
    network: str | None = None
    errors: dict[str, tuple[float, ...]] = field(default_factory=dict)

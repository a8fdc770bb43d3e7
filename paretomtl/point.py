"""A point of a front: its preference, its losses and measures, and how its training ended."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

OFF_RAY = 5.0  # degrees off its ray above which a point is said to be off it


class Code(IntEnum):
    """How a solver's call ended, for one point; or how a point's training did."""

    SOLVED = 0  # of a point: certified, on its ray and on the front
    STATIONARY = 1  # no direction lowers the losses
    RELAXED = 2  # the program had no solution as stated, and a relaxed one was solved
    FELL_BACK = 3  # the solvers failed, and min-norm weights stand in
    TRAINED = 4  # noisy problem: its steps are done, and certify nothing
    UNREACHABLE = 5  # deterministic problem: the ray does not meet the front
    NOT_CONVERGED = 6  # deterministic problem: neither certified nor shown to be out of reach
    SKIPPED = 7  # gradients overflowed in reduced precision; the scaler skips this step
    ENDED = 8  # a walk's end: the loss that it lowers can fall no further
    STILL_MOVING = 9  # noisy problem: a loss still fell in the last epoch, by more than its noise

    @property
    def word(self) -> str:
        """The name in plain words."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class Point:
    """One trained model of a front, without its weights. Numbers are in the order of the objectives.

    Args:
        id: the point's name within the front.
        preference: the preference that it was trained for.
        corner: for a corner, the objective that was trained alone; else None.
        seed: the study's repetition, from 0 on; each has its own initial weights and data order.
        state: "done"; "failed", with the reason; or "corrupt", with the reason why its record cannot be read.
        losses: mean losses by split ("validate", and "test" where there is one).
        values: measures by split; the mean losses where the problem has no measure.
        errors: standard errors of the measures by split; empty where the problem's measure gives none.
        control_error: degrees between the preference's ray and the validation losses.
        status: how the training ended, in a word of `Code`; docs/statuses.md has them all.
        residual: the solver's last residual; 0 where the preference is met.
        counts: steps, finish_steps, skipped (batches without any label), relaxed, fell_back; and collected, the batches
            that waited for labels of others, where there were such. For a conditioned network:
            steps, skipped, best_step (the step whose weights are stored), and relaxed and fell_back over all sampled
            preferences. For a walk: steps, corrections, products (Hessian-vector) and relaxed.
        weights: SHA-256 of the weight file.
        ray_angle: degrees between the preference's ray and the mean losses of the last epoch, for noisy training by a
            method that promises a ray; the validation losses of a conditioned network. None elsewhere.
        network: SHA-256 of the conditioned network's weight file; None for a point trained alone.
        recordings: SHA-256 of the file of what recorders recorded of its training; None without recorders.
        warnings: warnings from its training.
        reason: why it failed.
        trace: the traceback of the failure, from the training loop on.
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
    ray_angle: float | None = None
    recordings: str | None = None

    @property
    def verdict(self) -> str:
        """The status, and for noisy training by a method that promises a ray whether the last epoch was on it."""
        if self.ray_angle is None:
            return self.status or ""
        ray = f"off the ray ({self.ray_angle:.0f}°)" if self.ray_angle > OFF_RAY else "on the ray"
        return f"{self.status}, {ray}"

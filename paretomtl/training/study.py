"""What one exploration asks for: the problem, the method, the preferences and the budget."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from paretomtl.autograd.gradients import check_clip
from paretomtl.conditioned.front_model import FrontModel
from paretomtl.conditioned.rehearsal import check_fit
from paretomtl.preference import Refine
from paretomtl.problem import Problem
from paretomtl.solver import Solver, Sweep
from paretomtl.training.seeds import OPENING, SOLVING, reproducible, reseed, seed_of


def adam(parameters: Any) -> torch.optim.Optimizer:
    """The optimizer of a study that names none: Adam at a learning rate of 1e-3."""
    return torch.optim.Adam(parameters, lr=1e-3)


class Job(NamedTuple):
    """One point to be trained: a preference, or the objective of a corner that is trained alone; and its seed."""

    id: str
    preference: Float[np.ndarray, " m"]
    corner: int | None = None
    seed: int = 0


class Step(NamedTuple):
    """What a callback is told after each step; no weights where the method answers with a direction.

    Of a step of a front model, the point is "network" ("network-seed-1" of several seeds), and the rest are means over
    the preferences that it has seen.
    """

    point: str
    preference: Float[np.ndarray, " m"]
    epoch: int
    step: int
    losses: dict[str, float]
    weights: dict[str, float]


@dataclass(frozen=True)
class WalkPlan:
    """How a walk's points follow one another along the front.

    Args:
        points: how many at most, the start included.
        by: how much what it lowers is to fall from each to the next; None for a share of what it is.
        hessian_batches: how many batches Hessian-vector products are taken on; None for all of train.
        start: the hash of the weights that it starts from.
    """

    points: int
    by: float | None
    hessian_batches: int | None
    start: str

    def __post_init__(self):
        for name in ("points", "hessian_batches"):
            value = getattr(self, name)
            if value is None and name == "hessian_batches":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name}={value!r}: give a whole number of at least 1")
        number = isinstance(self.by, (int, float)) and not isinstance(self.by, bool)
        if self.by is not None and not (number and 0 < self.by < float("inf")):
            raise ValueError(f"by={self.by!r}: give a positive number, in units of the loss, or leave it out")
        object.__setattr__(self, "by", None if self.by is None else float(self.by))  # 1 and 1.0 are one study


@dataclass(frozen=True)
class Study:
    """One exploration, as it travels to the workers.

    Args:
        problem, solver: what is solved, and how.
        preferences: (K, m), checked.
        corners: whether the corners are trained as well, as the ideals.
        epochs, steps: the budget of each point; one of the two.
        optimizer: `(parameters) -> optimizer`, or `-> (optimizer, scheduler)`; the scheduler steps after every step.
        seed: of the study.
        device: where models and batches live.
        callbacks: called with a `Step` after each step, where the point is trained; see `Callback` for more.
        clip: the largest norm of each loss's gradient on the shared parameters; None leaves them as they are.
        seeds: how often each point is trained, each time with other initial weights and another order of the data.
        front_model: one network for all points, in place of one a point.
        fleet: the most points that are trained in one program; None trains each alone.
        refine: how more preferences are placed, in rounds; None where these are all.
        earlier: how many of the preferences were trained in earlier rounds.
        walk: how points follow one another from a solution; the one preference is what it walks towards.
    """

    problem: Problem
    solver: Solver
    preferences: Float[np.ndarray, "K m"]
    corners: bool
    epochs: int | None
    steps: int | None
    optimizer: Callable[[Any], Any] = adam
    seed: int = 0
    device: str = "cpu"
    callbacks: tuple[Callable[[Step], None], ...] = ()
    clip: float | None = None
    seeds: int = 1
    front_model: FrontModel | None = None
    fleet: int | None = None
    refine: Refine | None = None
    earlier: int = 0
    walk: WalkPlan | None = None

    def __post_init__(self):
        if not isinstance(self.solver, Solver):
            raise TypeError(f"solver={self.solver!r} is not a Solver; give an instance, such as EPO()")
        check_clip(self.solver, self.clip)
        if not self.solver.uses_preference and len(self.preferences) > 1:
            raise ValueError(
                f"{type(self.solver).__name__} ignores preferences, so {len(self.preferences)} of them would give "
                "the same point each; give preferences=1 (and seeds= for several), or a method that follows them"
            )
        if not isinstance(self.seeds, int) or isinstance(self.seeds, bool) or self.seeds < 1:
            raise ValueError(f"seeds={self.seeds!r}: give a whole number of at least 1; seed= sets the first of them")
        for k, callback in enumerate(self.callbacks):
            if not callable(callback) or isinstance(callback, type):
                raise TypeError(
                    f"callbacks[{k}]={callback!r} cannot be called; give a function of a Step, or a Callback"
                )
        self._check_fleet()
        self._check_refine()
        check_fit(self.front_model, self.solver, self.problem, len(self.preferences), self.fleet)
        self._check_budget()

    def _check_fleet(self):
        if self.fleet is None:
            return
        if not isinstance(self.fleet, int) or isinstance(self.fleet, bool) or self.fleet < 2:
            raise ValueError(f"fleet={self.fleet!r}: give a whole number of at least 2, or leave it out")
        if self.front_model is not None:
            raise ValueError(
                f"fleet={self.fleet}: with front_model= there is one network to train; leave one of the two out"
            )

    def _check_refine(self):
        if self.refine is None:
            return
        reason = None
        if self.front_model is not None:
            reason = "with front_model= one network is trained, at preferences that it draws itself"
        elif self.solver.joint:
            reason = f"{type(self.solver).__name__} moves all of its points together"
        elif not self.solver.uses_preference:
            reason = f"{type(self.solver).__name__} ignores preferences"
        if reason is not None:
            raise ValueError(f"preferences={self.refine}: {reason}; give preferences as a number or a list")

    def _check_budget(self):
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(f"epochs={self.epochs}, steps={self.steps}: give one of the two")
        name, budget = ("epochs", self.epochs) if self.steps is None else ("steps", self.steps)
        if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
            raise ValueError(f"{name}={budget!r}: give a whole number of at least 1")
        if self.problem.deterministic and self.steps is None:
            raise ValueError("a deterministic problem has no epochs; give steps=")

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The points of this round, in their order: preferences first, then the corners; and so for each seed.

        A sweep that is cut short has whole fronts of its first seeds.
        """
        alone = np.eye(len(self.problem.names))
        jobs = []
        for id, k, corner, seed in self.places:
            if corner is not None and not self.earlier:
                jobs.append(Job(id, alone[corner], corner, seed))
            elif k is not None and self.earlier <= k < len(self.preferences):
                jobs.append(Job(id, self.preferences[k], None, seed))
        return tuple(jobs)

    @property
    def places(self) -> list[tuple[str, int | None, int | None, int]]:
        """Of every point of all rounds: its id, which preference or which corner it is, and its seed."""
        total = len(self.preferences) if self.refine is None else self.refine.total
        total = total if self.walk is None else self.walk.points
        rows: list[tuple[str, int | None, int | None]] = [(f"point-{k + 1:03d}", k, None) for k in range(total)]
        if self.corners and self.front_model is None:
            rows += [(f"ideal-{i + 1}", None, i) for i in range(len(self.problem.names))]
        last = "-seed-{}" if self.seeds > 1 else ""
        return [(id + last.format(s + 1), k, corner, s) for s in range(self.seeds) for id, k, corner in rows]

    def tasks(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """What is trained together: each job apart; of a front model, all of a seed; of a fleet, as many as fit."""
        if self.fleet is not None:
            asked = {job.id for job in jobs}
            parts = [[job for job in fleet if job.id in asked] for fleet in self.fleets]
            return [part for part in parts if part]
        if self.front_model is None:
            return [[job] for job in jobs]
        return [[job for job in jobs if job.seed == seed] for seed in sorted({job.seed for job in jobs})]

    @property
    def fleets(self) -> list[list[Job]]:
        """All jobs by the fleet that each belongs to, whatever is left of them: a seed's preferences, or its corners.

        A point's last bits may depend on how many others are in its program.
        """
        assert self.fleet is not None
        found = []
        for seed in range(self.seeds):
            for corners in (False, True):
                mine = [job for job in self.jobs if job.seed == seed and (job.corner is not None) == corners]
                found += [mine[i : i + self.fleet] for i in range(0, len(mine), self.fleet)]
        return found

    def build(self, parameters: Sequence[torch.Tensor]) -> tuple[torch.optim.Optimizer, Any]:
        """The optimizer of parameters, and its scheduler or None."""
        built = self.optimizer(list(parameters))
        return built if isinstance(built, tuple) else (built, None)

    def budget(self, splits: dict[str, Iterable[Any]]) -> int:
        """The steps that each point gets."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return self.epochs * len(splits["train"])  # type: ignore[arg-type]

    def open(self) -> dict[str, Iterable[Any]]:
        """The problem's data by split; factories are called under the study's seed."""
        with reproducible():
            reseed(seed_of(self.seed, 0, OPENING))
            return self.problem.open()

    def sweep(self, jobs: Job | Sequence[Job], steps: int) -> Sweep:
        """What the solver may know while it works on a preference's job, or on several at once."""
        several = [jobs] if isinstance(jobs, Job) else jobs
        rows = [next(k for k, r in enumerate(self.preferences) if np.array_equal(r, job.preference)) for job in several]
        return Sweep(
            preferences=torch.tensor(self.preferences),
            points=torch.tensor(rows[0] if isinstance(jobs, Job) else rows),
            steps=steps,
            deterministic=self.problem.deterministic,
            generators=tuple(torch.Generator().manual_seed(seed_of(self.seed, job.seed, SOLVING)) for job in several),
        )

"""One exploration: the problem, the method, the preferences, the budget, and how its points are trained."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from paretomtl.autograd.gradients import check_clip
from paretomtl.autograd.units import Units, units_of
from paretomtl.conditioned.front_model import FrontModel
from paretomtl.conditioned.rehearsal import check_fit
from paretomtl.normalisation import CORNERS, Normalisation
from paretomtl.preference import Refine
from paretomtl.problem import Problem
from paretomtl.recorder import Recorder
from paretomtl.solver import Solver, Sweep
from paretomtl.training.seeds import OPENING, SOLVING, reproducible, reseed, seed_of

HASTE = 4  # of the corners of a front model: they only tell the range of each loss


def adam(parameters: Any) -> torch.optim.Optimizer:
    """Build the default optimizer: Adam at a learning rate of 1e-3."""
    return torch.optim.Adam(parameters, lr=1e-3)


class Job(NamedTuple):
    """A point to train: a preference, or a corner's objective that is trained alone; and its seed."""

    id: str
    preference: Float[np.ndarray, " m"]
    corner: int | None = None
    seed: int = 0


class Step(NamedTuple):
    """A training step, as callbacks get it; `weights` is empty if the method returns a direction.

    For a front model, `point` is "network" ("network-seed-2" for the second seed), and the other fields are means over
    the step's preferences.
    """

    point: str
    preference: Float[np.ndarray, " m"]
    epoch: int
    step: int
    losses: dict[str, float]
    weights: dict[str, float]


@dataclass(frozen=True)
class WalkPlan:
    """A walk from one solution along the front, point by point.

    Args:
        points: the largest number of points, the start included.
        by: how far the loss that the walk lowers falls from point to point; None for a share of its value.
        hessian_batches: the number of batches for Hessian-vector products; None for all of train.
        start: the hash of the weights at the start.
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
class FleetPlan:
    """Points in one program, at most `size` of them."""

    size: int

    def __post_init__(self):
        if not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 2:
            raise ValueError(f"fleet={self.size!r}: give a whole number of at least 2, or leave it out")


Mode = FleetPlan | FrontModel | WalkPlan | None  # None: one by one


def choose_mode(front_model: FrontModel | None, fleet: int | None) -> Mode:
    """Return how the points of an exploration are trained.

    Raises:
        ValueError: a fleet of fewer than two points; a fleet and a front model.
    """
    plan = None if fleet is None else FleetPlan(fleet)
    if plan is not None and front_model is not None:
        raise ValueError(f"fleet={fleet}: with front_model= there is one network to train; leave one of the two out")
    return plan or front_model


@dataclass(frozen=True, kw_only=True)
class Study:
    """One exploration, as it travels to the workers.

    Args:
        problem, solver: the problem and the method.
        preferences: (K, m), checked.
        corners: whether the corners are trained as well, as the ideals.
        mode: how points are trained: in a fleet, as one network, along a walk; None trains them one by one.
        epochs, steps: the budget of each point; one of the two.
        optimizer: `(parameters) -> optimizer`, or `-> (optimizer, scheduler)`; the scheduler steps after every step.
        seed: of the study.
        device: where models and batches live.
        callbacks: called with a `Step` after each step, where the point is trained; see `Callback` for more.
        clip: the largest norm of each loss's gradient on the shared parameters; None leaves them as they are.
        seeds: how often each point is trained, each time with other initial weights and another order of the data.
        refine: how further rounds place more preferences; None if these are all.
        earlier: the number of preferences that were trained in earlier rounds.
        first_numbered: whether ids name the first seed as well, as up to version 0.2, whose folders go on so.
        normalise: "corners" where the corners, if they are trained, tell the range of each loss; None where numbers do,
            or losses stay as they are.
        normalisation: the range of each loss, once it is known.
    """

    problem: Problem
    solver: Solver
    preferences: Float[np.ndarray, "K m"]
    corners: bool
    mode: Mode = None
    epochs: int | None = None
    steps: int | None = None
    optimizer: Callable[[Any], Any] = adam
    seed: int = 0
    device: str = "cpu"
    callbacks: tuple[Callable[[Step], None], ...] = ()
    clip: float | None = None
    seeds: int = 1
    refine: Refine | None = None
    earlier: int = 0
    first_numbered: bool = False
    normalise: Literal["corners"] | None = None
    normalisation: Normalisation | None = None

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
        names = [recorder.name for recorder in self.recorders]
        if len(set(names)) < len(names):
            raise ValueError(f"callbacks has the recorders {names}; give one of each name")
        self._check_optimizer()
        self._check_refine()
        check_fit(self.front_model, self.solver, self.problem, len(self.preferences), self.fleet)
        self._check_budget()

    @property
    def recorders(self) -> tuple[Recorder, ...]:
        """The recorders among the callbacks."""
        return tuple(callback for callback in self.callbacks if isinstance(callback, Recorder))

    def _check_optimizer(self):
        if isinstance(self.optimizer, torch.optim.Optimizer):
            kind = type(self.optimizer).__name__
            raise TypeError(
                f"optimizer={kind}(…) holds the parameters of one model, and each point has its own; give a function "
                f"that makes one: lambda parameters: torch.optim.{kind}(parameters, lr=…)"
            )
        if not callable(self.optimizer):
            raise TypeError(
                f"optimizer={self.optimizer!r} cannot be called; give a function, such as "
                "lambda parameters: torch.optim.Adam(parameters, lr=1e-3)"
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
    def awaits_corners(self) -> bool:
        """Whether the corners are to tell the range of each loss, and have not yet."""
        return self.normalise == CORNERS and self.corners and self.normalisation is None

    @property
    def units(self) -> Units | None:
        """The units in which the method gets the losses of preferences; None for their own."""
        if self.normalisation is None:
            return None
        return units_of(self.solver, self.normalisation, self.problem.deterministic)

    @property
    def solver_in_units(self) -> Solver:
        """The method as it is called with losses in `units`."""
        return self.solver if self.normalisation is None else self.solver.normalised(self.normalisation)

    def normalised(self, losses: Float[np.ndarray, "*points m"]) -> Float[np.ndarray, "*points m"]:
        """Return losses in the units of preferences and rays: of what there is to gain, or as they are."""
        return losses if self.normalisation is None else self.normalisation.apply(losses)

    @property
    def fleet(self) -> int | None:
        """The size of the fleet, if points are trained in one."""
        return self.mode.size if isinstance(self.mode, FleetPlan) else None

    @property
    def front_model(self) -> FrontModel | None:
        """The front model, if one network is trained for all points."""
        return None if isinstance(self.mode, FleetPlan | WalkPlan) else self.mode

    @property
    def walk(self) -> WalkPlan | None:
        """The plan of the walk; the one preference is what it walks towards."""
        return self.mode if isinstance(self.mode, WalkPlan) else None

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The points of this round: for each seed, the preferences and then the corners.

        So a sweep that is cut short has whole fronts of its first seeds.
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
        """Every point of all rounds: its id, the number of its preference or of its corner, and its seed."""
        total = len(self.preferences) if self.refine is None else self.refine.total
        total = total if self.walk is None else self.walk.points
        rows: list[tuple[str, int | None, int | None]] = [(f"point-{k + 1:03d}", k, None) for k in range(total)]
        if self.corners and (self.front_model is None or self.normalise == CORNERS):
            rows += [(f"ideal-{i + 1}", None, i) for i in range(len(self.problem.names))]
        return [(id + self.suffix(s), k, corner, s) for s in range(self.seeds) for id, k, corner in rows]

    def suffix(self, seed: int) -> str:
        """Return the end of an id that names the seed; the first has none, so that a study can grow by others."""
        return f"-seed-{seed + 1}" if seed or self.first_numbered else ""

    def tasks(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Group jobs by what is trained together: single jobs; all of a seed for a front model, but corners; fleets."""
        if self.fleet is not None:
            ids = {job.id for job in jobs}
            parts = [[job for job in fleet if job.id in ids] for fleet in self.fleets]
            return [part for part in parts if part]
        if self.front_model is None:
            return [[job] for job in jobs]
        served = [job for job in jobs if job.corner is None]
        networks = [[job for job in served if job.seed == seed] for seed in sorted({job.seed for job in served})]
        return [[job] for job in jobs if job.corner is not None] + networks

    @property
    def fleets(self) -> list[list[Job]]:
        """All jobs by fleet, finished ones included: the preferences of a seed, or its corners.

        Whole fleets, because a point's last bits may depend on how many others are in its program.
        """
        assert self.fleet is not None
        fleets = []
        for seed in range(self.seeds):
            for corners in (False, True):
                jobs = [job for job in self.jobs if job.seed == seed and (job.corner is not None) == corners]
                fleets += [jobs[i : i + self.fleet] for i in range(0, len(jobs), self.fleet)]
        return fleets

    def build(self, parameters: Sequence[torch.Tensor]) -> tuple[torch.optim.Optimizer, Any]:
        """Build the optimizer for parameters, and its scheduler or None."""
        result = self.optimizer(list(parameters))
        return result if isinstance(result, tuple) else (result, None)

    def budget(self, splits: dict[str, Iterable[Any]], job: Job | None = None) -> int:
        """Return the number of steps for each point, or for one whose budget may be shorter."""
        steps = self.steps
        if steps is None:
            assert self.epochs is not None
            steps = self.epochs * len(splits["train"])  # type: ignore[arg-type]
        return steps if job is None else max(1, steps // self.haste(job))

    def haste(self, job: Job) -> int:
        """Return how many times faster than the others a point runs through its budget and its schedule."""
        return HASTE if job.corner is not None and self.front_model is not None else 1

    def open(self) -> dict[str, Iterable[Any]]:
        """Open the problem's data by split; factories are called under the study's seed."""
        with reproducible():
            reseed(seed_of(self.seed, 0, OPENING))
            return self.problem.open()

    def sweep(self, jobs: Job | Sequence[Job], steps: int) -> Sweep:
        """Return what the solver may know of a job, or of several that are trained together; corners know corners."""
        several = [jobs] if isinstance(jobs, Job) else jobs
        known = np.eye(len(self.problem.names)) if several[0].corner is not None else self.preferences
        rows = [next(k for k, r in enumerate(known) if np.array_equal(r, job.preference)) for job in several]
        return Sweep(
            preferences=torch.tensor(known),
            points=torch.tensor(rows[0] if isinstance(jobs, Job) else rows),
            steps=steps,
            deterministic=self.problem.deterministic,
            generators=tuple(torch.Generator().manual_seed(seed_of(self.seed, job.seed, SOLVING)) for job in several),
            epoch_steps=None if self.epochs is None else max(1, steps // self.epochs),
        )

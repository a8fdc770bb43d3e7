"""Explore the trade-off front between the objectives of a torch model, choose a point on it, get the model back."""

import importlib
from typing import TYPE_CHECKING, Any

from paretomtl.autograd.loss_function import closure
from paretomtl.callbacks import Callback, TensorBoard
from paretomtl.conditioned.film import FiLM
from paretomtl.conditioned.front_model import FrontModel
from paretomtl.conditioned.hypernetwork import Hypernetwork
from paretomtl.conditioned.inputs import Inputs
from paretomtl.conditioned.low_rank import LowRank
from paretomtl.conditioned.sampling import Sampling
from paretomtl.descent import Descent
from paretomtl.exploration import explore
from paretomtl.front import Front
from paretomtl.objective import Objective
from paretomtl.point import Code, Point
from paretomtl.points.score import EmptyFrontError, Score
from paretomtl.preference import Refine
from paretomtl.problem import Problem, Truth
from paretomtl.selection import rules
from paretomtl.selection.pick import Deployed, Pick
from paretomtl.selection.select import NoFeasiblePoint
from paretomtl.show.plots import plot_fronts
from paretomtl.solver import (
    Aggregation,
    Closure,
    EpochMeans,
    Gradients,
    Scalarization,
    Solver,
    Status,
    Stepper,
    Sweep,
    Walker,
    Weighting,
)
from paretomtl.storage.verify import verify
from paretomtl.sweep.interrupt import Interrupted
from paretomtl.training.measuring import evaluate
from paretomtl.training.study import Step
from paretomtl.walking import walk

if TYPE_CHECKING:
    from paretomtl.sweep.ray_tune import RayTune
    from paretomtl.sweep.trainable import trainable

__all__ = [
    "Aggregation",
    "Callback",
    "Closure",
    "Code",
    "Deployed",
    "Descent",
    "EmptyFrontError",
    "EpochMeans",
    "FiLM",
    "Front",
    "FrontModel",
    "Gradients",
    "Hypernetwork",
    "Inputs",
    "Interrupted",
    "LowRank",
    "NoFeasiblePoint",
    "Objective",
    "Pick",
    "Point",
    "Problem",
    "RayTune",
    "Refine",
    "Sampling",
    "Scalarization",
    "Score",
    "Solver",
    "Status",
    "Step",
    "Stepper",
    "Sweep",
    "TensorBoard",
    "Truth",
    "Walker",
    "Weighting",
    "closure",
    "evaluate",
    "explore",
    "plot_fronts",
    "rules",
    "trainable",
    "verify",
    "walk",
]

_LAZY = {"RayTune": "paretomtl.sweep.ray_tune", "trainable": "paretomtl.sweep.trainable"}  # ray takes seconds to import


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'paretomtl' has no attribute {name!r}")

"""Explore the trade-off front between the objectives of a torch model, choose a point on it, get the model back."""

import importlib
from typing import TYPE_CHECKING, Any

from paretomtl.conditioned.film import FiLM
from paretomtl.conditioned.front_model import FrontModel
from paretomtl.conditioned.hypernetwork import Hypernetwork
from paretomtl.conditioned.inputs import Inputs
from paretomtl.conditioned.low_rank import LowRank
from paretomtl.conditioned.sampling import Sampling
from paretomtl.descent import Descent
from paretomtl.exploration import explore
from paretomtl.front import rules
from paretomtl.front.front import Front
from paretomtl.front.pick import Deployed, Pick
from paretomtl.front.score import EmptyFrontError, Score
from paretomtl.front.select import NoFeasiblePoint
from paretomtl.front.verify import verify
from paretomtl.loss_function import closure
from paretomtl.point import Point
from paretomtl.preference import Refine
from paretomtl.problem import Objective, Problem, Truth
from paretomtl.show.plots import plot_fronts
from paretomtl.show.tensorboard import TensorBoard
from paretomtl.solver import (
    Aggregation,
    Closure,
    Code,
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
from paretomtl.sweep.interrupt import Interrupted
from paretomtl.training.measuring import evaluate
from paretomtl.training.study import Callback, Step
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

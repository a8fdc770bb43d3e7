"""The rules by which one point of a front is chosen."""

from paretomtl.front.rules.constraint import Constraint
from paretomtl.front.rules.knee import Knee
from paretomtl.front.rules.lexicographic import Lexicographic
from paretomtl.front.rules.min_max_regret import MinMaxRegret
from paretomtl.front.rules.reference_point import ReferencePoint
from paretomtl.front.rules.weights import Weights
from paretomtl.front.select import Candidates, Choice, NoFeasiblePoint, Rule, RunnerUp

__all__ = [
    "Candidates",
    "Choice",
    "Constraint",
    "Knee",
    "Lexicographic",
    "MinMaxRegret",
    "NoFeasiblePoint",
    "ReferencePoint",
    "Rule",
    "RunnerUp",
    "Weights",
]

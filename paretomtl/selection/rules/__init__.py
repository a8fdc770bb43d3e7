"""The rules by which one point of a front is chosen."""

from paretomtl.errors import NoFeasiblePoint, NoFeasiblePointError
from paretomtl.selection.rules.constraint import Constraint
from paretomtl.selection.rules.knee import Knee
from paretomtl.selection.rules.lexicographic import Lexicographic
from paretomtl.selection.rules.min_max_regret import MinMaxRegret
from paretomtl.selection.rules.reference_point import ReferencePoint
from paretomtl.selection.rules.weights import Weights
from paretomtl.selection.select import Candidates, Choice, Rule, RuleOption, RunnerUp

# in the order in which the command line and the page offer them
RULES: tuple[type[Rule], ...] = (Constraint, Knee, MinMaxRegret, ReferencePoint, Weights, Lexicographic)

__all__ = [
    "RULES",
    "Candidates",
    "Choice",
    "Constraint",
    "Knee",
    "Lexicographic",
    "MinMaxRegret",
    "NoFeasiblePoint",
    "NoFeasiblePointError",
    "ReferencePoint",
    "Rule",
    "RuleOption",
    "RunnerUp",
    "Weights",
]

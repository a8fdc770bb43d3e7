"""What each method says of itself for the list of methods."""

import inspect
from typing import get_args

import pytest

import paretomtl_solvers as ps
from paretomtl.cli.method_list import describe
from paretomtl.solver import Confidence
from tests.solvers.promises.table import TABLE

METHODS = [getattr(ps, name) for name in sorted(ps.__all__)]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_a_method_says_what_it_costs_and_how_sure_its_formula_is(method):
    facts = describe(method.__name__, method)
    assert facts.confidence in get_args(Confidence)
    assert facts.confidence
    assert facts.cost
    assert facts.heads
    assert facts.preference
    assert facts.paper or method is ps.Linear, "the first paragraph of the module's docstring has no (…, year)"
    first = (inspect.getdoc(method) or "").partition("\n\n")[0]
    assert first.endswith("."), "the docstring does not begin with one sentence in one line"
    assert "\n" not in first


@pytest.mark.parametrize("line", TABLE, ids=lambda line: repr(line.solver))
def test_the_list_of_methods_agrees_with_what_a_method_does(line):
    solver = line.solver
    if solver.follows_ray:
        assert solver.preference_means == "ray"
    if solver.weighs_heads:
        assert "weighted" in solver.head_gradient

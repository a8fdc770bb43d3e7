"""What each method promises, a line a variant; every promise is kept on the whole catalogue.

A method joins by a line of a `TABLE` in the folder `promises`.
"""

import importlib
import inspect
import math
import pickle
import pkgutil
import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import FrozenInstanceError
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

import paretomtl_solvers as ps
from paretomtl.solver import Scalarization, Solver, Stepper, solved_status
from tests import asserts
from tests.catalogue import HOLD_ZERO, JACOBIANS, LOSSES, PREFERENCES
from tests.solvers.promises.kit import FAULTS, FEW, FINITE, IGNORES, LINEAR, POINTS, SCALE, Line
from tests.solvers.promises.table import TABLE

APART = {"foreign", "gramians", "wrapper"}  # of methods of another library, and of what methods subclass


def cases(line: Line, few: bool) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """Each Jacobian with each losses and with each preference, or with a few of them."""
    for name, rows in JACOBIANS.items():
        m, jacobian = len(rows), tensor(rows)
        pairs = [("generic", k) for k in LOSSES[m]]
        if isinstance(line.solver, Stepper):
            pairs = pairs[:1]
        elif line.solver.uses_preference:
            pairs += [(k, "generic") for k in PREFERENCES[m] if k != "generic"]
        for r, losses in pairs[:1] + pairs[-1:] if few else pairs:
            preference = tensor(PREFERENCES[m][r])
            if line.on(jacobian, preference):
                yield f"{name}, preference {r}, losses {losses}", tensor(LOSSES[m][losses]), jacobian, preference


def batches(line: Line) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """All Jacobians of one m together, (2, k) points: with different losses, and with preferences in turn."""
    for m in PREFERENCES:
        inside = [tensor(r) for r in PREFERENCES[m].values() if min(r) > 1e-6]
        there = [x for x in map(tensor, JACOBIANS.values()) if len(x) == m and line.on(x, inside[0])]
        if there:
            n, points = max(x.shape[1] for x in there), (2, len(there))
            jacobians = torch.stack([pad(x, (0, n - x.shape[1])) for x in there])
            losses = tensor([LOSSES[m]["generic"], LOSSES[m]["on the ray"]])[:, None]
            r = torch.stack([inside[k % len(inside)] for k in range(2 * len(there))]).reshape(*points, m)
            yield f"m = {m}", losses.expand(*points, m), jacobians.expand(*points, m, n), r


def tensor(values) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


FIRST = {type(line.solver): line for line in reversed(TABLE)}  # of several variants


def is_later(line: Line) -> bool:
    """Whether it is of a later variant of a method; `make test-all` has these in full."""
    return line.solver != FIRST[type(line.solver)].solver


def promised() -> Iterator:
    """Each promise of each line, and whether it is kept on all pairs of losses and preferences, or on a few."""
    for line in TABLE:
        hessian = isinstance(line.solver, ps.CoGrad) and line.solver.hessian != "paper"
        for promise in line.promises:
            kind = getattr(promise, "func", promise)
            faults = [pytest.mark.fault(row) for row in FAULTS.get(kind, ())]
            name, several_calls = f"{line.solver} {promise.__name__}", kind in FEW
            costly = isinstance(line.solver, Stepper) and kind in (SCALE, IGNORES, LINEAR)
            slow = hessian or costly or (is_later(line) and several_calls)
            # where corners are asked for, numbers that are not finite come first
            whole = promise is POINTS or (promise is FINITE and not is_later(line))
            yield pytest.param(line, promise, whole, id=name, marks=[*faults, *([pytest.mark.slow] if slow else [])])
            if not (whole or slow or several_calls):
                yield pytest.param(line, promise, True, id=f"{name}, on all", marks=pytest.mark.slow)


@pytest.mark.parametrize(("line", "promise", "whole"), [*promised()])
def test_promise(line, promise, whole, request):
    if promise is not (FINITE if isinstance(line.solver, Stepper) else POINTS):  # there the shapes are checked
        request.getfixturevalue("unchecked")
    broken = {}
    for name, *case in batches(line) if promise is POINTS else cases(line, few=not whole):
        try:
            promise(line.solver, *case)
        except AssertionError as error:
            broken[name] = str(error).splitlines()[0]
    assert not broken, f"{len(broken)} broken:\n" + "\n".join(f"{name}: {why}" for name, why in broken.items())


def test_the_catalogue_knows_where_zero_is_in_the_hull():
    assert {name for name, rows in JACOBIANS.items() if asserts.holds_zero(tensor(rows))} == HOLD_ZERO


def complaints(table: Iterable[Line], modules: Iterable[ModuleType], names: Iterable[str]) -> list[str]:
    """What the table lacks: every solver of the modules has a line, every name has one, every line has promises."""
    kinds = {type(line.solver) for line in table}
    found = [
        f"{module.__name__}.{name} has no line in TABLE"
        for module in modules
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, Solver) and kind.__module__ == module.__name__
        if not name.startswith("_") and kind not in kinds
    ]
    known = {kind.__name__ for kind in kinds}
    found += [f"__all__: {name} has no line in TABLE" for name in names if name not in known]
    for solver, promises, _ in table:
        made = {getattr(promise, "func", promise) for promise in promises}
        if not made:
            found.append(f"the line of {solver} promises nothing")
        elif not solver.uses_preference and IGNORES not in made:
            found.append(f"{solver} uses no preference, but does not promise to ignore it")
    return found


def methods() -> list[ModuleType]:
    """The modules that define a method; the others hold what methods share."""
    names = [room.name for room in pkgutil.iter_modules(ps.__path__) if room.name not in APART]
    modules = [importlib.import_module(f"{ps.__name__}.{name}") for name in names]
    return [
        module
        for module in modules
        if any(
            inspect.isclass(kind) and issubclass(kind, Solver) and kind.__module__ == module.__name__
            for kind in vars(module).values()
        )
    ]


def test_every_method_has_a_line_of_promises():
    assert complaints(TABLE, methods(), ps.__all__) == []
    assert len(methods()) >= len(ps.__all__)


def test_a_method_without_a_line_is_found():
    made_up = ModuleType("made_up")

    class Forgotten(Scalarization):
        uses_preference = False

        def update(self, state, losses, preference):
            return losses, state, solved_status(losses)

    Forgotten.__module__ = "made_up"
    made_up.Forgotten, made_up._Own, made_up.Linear = Forgotten, Forgotten, ps.Linear
    assert complaints(TABLE, [made_up], []) == ["made_up.Forgotten has no line in TABLE"]
    assert complaints(TABLE, [], ["Forgotten"]) == ["__all__: Forgotten has no line in TABLE"]
    kept = [Line(Forgotten(), [FINITE, IGNORES])]
    assert complaints(kept, [made_up], ["Forgotten"]) == []
    (complaint,) = complaints([Line(Forgotten(), [])], [made_up], [])
    assert "promises nothing" in complaint
    (complaint,) = complaints([Line(Forgotten(), [FINITE])], [made_up], [])
    assert "does not promise to ignore it" in complaint


@pytest.mark.parametrize("line", TABLE, ids=lambda line: repr(line.solver))
def test_a_method_is_a_value(line):
    solver = line.solver
    assert pickle.loads(pickle.dumps(solver)) == solver
    assert hash(deepcopy(solver)) == hash(solver)
    assert eval(repr(solver), {**vars(ps), "inf": math.inf}) == solver
    with pytest.raises(FrozenInstanceError):
        solver.anything = 1


@pytest.mark.parametrize("module", methods(), ids=lambda module: module.__name__)
def test_a_methods_file_names_its_paper_in_its_first_line(module):
    first = module.__doc__.splitlines()[0]
    assert re.search(r"\b(19|20)\d\d\b", first) or module.__name__.endswith(".linear"), first

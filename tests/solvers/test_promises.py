"""What each method promises, a line a variant; every promise is kept on the whole catalogue.

A method joins by a line of `TABLE`.
"""

import importlib
import inspect
import math
import pickle
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import FrozenInstanceError
from functools import partial
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

import paretomtl_solvers as ps
from paretomtl.solver import Scalarization, Solver, Stepper, solved_status
from tests import asserts
from tests.catalogue import HOLD_ZERO, JACOBIANS, LOSSES, PREFERENCES
from tests.solvers import certificates

DESCENT = 0.99  # an eps that EPO's mu stays below, but at corners of three objectives or more: every step descends
SHARED = {"heads", "qp", "phase_one", "polish"}  # modules of what methods share


class Line(NamedTuple):
    solver: Solver
    promises: list[Callable]
    on: Callable[[Tensor, Tensor], bool] = lambda jacobian, preference: True  # the cases on which it makes them


def named(check: Callable, name: str, **options) -> Callable:
    """A check with its options, and a name for the test's id."""
    with_options = partial(check, **options)
    with_options.__name__ = name
    return with_options


def norms(losses, jacobian, preference):
    lengths = jacobian.norm(dim=1)
    return lengths.where(lengths > 0, 1)


def loss_itself(losses, jacobian, preference):
    return losses


def loss_and_norm(losses, jacobian, preference):
    return losses * norms(losses, jacobian, preference)


def two(jacobian, preference):
    return len(jacobian) == 2


def three(jacobian, preference):
    return len(jacobian) == 3


def at_most_three(jacobian, preference):
    return len(jacobian) <= 3


def two_or_inside(jacobian, preference):
    return len(jacobian) == 2 or preference.min() > 1e-6


def smooth(losses, preference, mu):
    return mu * (preference * losses / mu).logsumexp(0)


def pbi(losses, preference, theta):
    u = asserts.unit_rays(preference)
    along = losses @ u
    return along + theta * (losses - along * u).norm()


def cosmos(losses, preference, penalty, ray):
    return preference @ losses - penalty * torch.cosine_similarity(losses, ray(preference), dim=0)


def phn_hvi(losses, preference, penalty, reference):
    """Of a single point, whose hypervolume is a box up to the reference, or to 1.1 times its loss."""
    sides = (1.1 * losses).clamp(min=reference).detach() - losses.detach()
    growth = (sides.prod() / sides) / (sides.prod() / sides).norm()
    return growth @ losses - penalty * torch.cosine_similarity(losses, asserts.unit_rays(preference), dim=0)


# what a promise says is in its docstring
FINITE, REPEATABLE = asserts.assert_finite, asserts.assert_repeatable
PERMUTATIONS, POINTS = asserts.assert_permutation_equivariant, asserts.assert_points_agree
SIMPLEX, SCALE, TWINS = asserts.assert_on_simplex, asserts.assert_scale_law, asserts.assert_duplicates_share
NONE_RISES, ALL_FALL = asserts.assert_no_loss_rises, asserts.assert_all_losses_fall
WORST, STATIONARY = asserts.assert_worst_does_not_rise, asserts.assert_stationary_says_no_direction
IN_HULL = named(asserts.assert_stationary_where, "stationary where the hull holds zero", is_so=asserts.holds_zero)
AT_ZERO = named(asserts.assert_stationary_where, "stationary where all vanish", is_so=asserts.all_zero)
NEVER = named(asserts.assert_stationary_where, "never stationary", is_so=lambda jacobian: False)
IGNORES, LINEAR = asserts.assert_ignores_preference, asserts.assert_linear_in_preference
WEIGHS_MORE = asserts.assert_more_asked_weighs_more

FEW = {REPEATABLE, PERMUTATIONS, SCALE, TWINS, IGNORES, WEIGHS_MORE}  # several calls a case; two preferences show them
FAULTS = {FINITE: [7], TWINS: [9], SCALE: [11], asserts.assert_stationary_where: [8, 12]}

ALL = [FINITE, REPEATABLE, PERMUTATIONS, POINTS]
SCALARIZES = [*ALL, TWINS, NEVER]
JOINT = [FINITE, REPEATABLE, PERMUTATIONS, TWINS, NEVER]  # points together are not as one by one
MGDA = [*ALL, TWINS, NONE_RISES, IN_HULL, IGNORES]
FAIR = [*ALL, TWINS, ALL_FALL, IN_HULL, IGNORES]
EPO = [FINITE, REPEATABLE, SIMPLEX, SCALE, WORST, STATIONARY, POINTS]  # its program may have more than one answer
COGRAD = [FINITE, REPEATABLE, PERMUTATIONS, AT_ZERO, LINEAR]


def gradient_of(value: Callable) -> Callable:
    return named(certificates.assert_gradient_of, "gradient of its value", value=value)


def autograd_of(value: Callable) -> Callable:
    return named(certificates.assert_autograd_of, "gradient of its value", value=value)


def least_norm(times, power: int) -> list[Callable]:
    """Of gradients divided by what belongs to them, which scales to a power."""
    checks = [named(SIMPLEX, "simplex", times=times), named(certificates.assert_least_norm, "least norm", times=times)]
    return [*checks, scale(-power)]


def fair(alpha: float) -> list[Callable]:
    power = -2 * alpha / (1 + alpha) if alpha < float("inf") else -2
    return [named(certificates.assert_fair, "fair", alpha=alpha), scale(power)]


def solves(damping: float) -> Callable:
    return named(certificates.assert_tangent, "its system", damping=damping)


def scale(power: float) -> Callable:
    return named(SCALE, "scale law", power=power)


def program(balance: bool) -> Callable:
    return named(certificates.assert_epo_program, "its program", balance=balance)


def box(penalty: float, reference: float) -> Callable:
    return autograd_of(partial(phn_hvi, penalty=penalty, reference=reference))


def in_sector(phase: int) -> Callable:
    return named(certificates.assert_least_norm_in_sector, "least norm in its sector", phase=phase)


TABLE = [
    Line(ps.Linear(), [*SCALARIZES, SIMPLEX, WEIGHS_MORE, gradient_of(lambda x, r: r @ x)]),
    Line(ps.Tchebycheff(), [*SCALARIZES, WEIGHS_MORE, gradient_of(lambda x, r: (r * x).max())]),
    Line(ps.AugmentedTchebycheff(), [*SCALARIZES, WEIGHS_MORE, gradient_of(lambda x, r: (r * x).max() + r @ x / 20)]),
    Line(ps.AugmentedTchebycheff(rho=0.0), [*SCALARIZES, WEIGHS_MORE, gradient_of(lambda x, r: (r * x).max())]),
    Line(
        ps.SmoothTchebycheff(0.1), [*SCALARIZES, WEIGHS_MORE, gradient_of(lambda x, r: (r * x * 10).logsumexp(0) / 10)]
    ),
    Line(ps.SmoothTchebycheff(1.0), [*SCALARIZES, WEIGHS_MORE, gradient_of(partial(smooth, mu=1.0))]),
    Line(ps.PBI(), [*SCALARIZES, gradient_of(partial(pbi, theta=5))]),
    Line(ps.PBI(theta=0.0), [*SCALARIZES, gradient_of(partial(pbi, theta=0))]),
    Line(ps.COSMOS(), [*SCALARIZES, autograd_of(partial(cosmos, penalty=2, ray=asserts.unit_rays))]),
    Line(ps.COSMOS(0.5, "published"), [*SCALARIZES, autograd_of(partial(cosmos, penalty=0.5, ray=lambda r: r))]),
    Line(ps.COSMOS(0.0), [*SCALARIZES, SIMPLEX, WEIGHS_MORE, gradient_of(lambda x, r: r @ x)]),
    Line(ps.PHNHVI((1.1, 1.1)), [*JOINT, box(4, 1.1)], two),
    Line(ps.PHNHVI((2.0, 2.0, 2.0), 0.5), [*JOINT, box(0.5, 2)], three),
    Line(ps.HypervolumeAscent((1.1, 1.1), 0.0), [*JOINT, box(0, 1.1)], two),
    Line(ps.HypervolumeAscent((2.0, 2.0, 2.0), 0.0), [*JOINT, box(0, 2)], three),
    Line(ps.HypervolumeAscent((1.1, 1.1), 0.99), [*JOINT, gradient_of(lambda x, r: (r * x).max())], two),
    Line(ps.MOOSVGD(0.0), [FINITE, REPEATABLE, PERMUTATIONS, NEVER, NONE_RISES, IGNORES]),
    Line(ps.MGDA(), [*MGDA, *least_norm(None, 0)]),
    Line(ps.MGDA("l2"), [*MGDA, *least_norm(norms, 1)]),
    Line(ps.MGDA("loss"), [*MGDA, *least_norm(loss_itself, 0)]),
    Line(ps.MGDA("loss+"), [*MGDA, *least_norm(loss_and_norm, 1)]),
    Line(ps.FairGrad(0.0), [*ALL, TWINS, AT_ZERO, IGNORES, *fair(0.0)]),
    Line(ps.FairGrad(0.5), [*FAIR, *fair(0.5)]),
    Line(ps.FairGrad(1.0), [*FAIR, *fair(1.0)]),
    Line(ps.FairGrad(2.0), [*FAIR, *fair(2.0)]),
    Line(ps.FairGrad(5.0), [*FAIR, *fair(5.0)]),
    Line(ps.FairGrad(50.0), [*FAIR, *fair(50.0)]),
    Line(ps.FairGrad(float("inf")), [*FAIR, *fair(float("inf"))]),
    Line(ps.EPO(), [*EPO, program(balance=True)]),
    Line(ps.EPO(DESCENT), [*EPO, NONE_RISES, program(balance=False)], two_or_inside),
    Line(ps.EPO(backend="cvxpy"), [*EPO, program(balance=True)], two),
    Line(ps.EPO(DESCENT, "cvxpy"), [*EPO, NONE_RISES, program(balance=False)], two),
    Line(ps.ParetoMTL(phase_one=1.0), [*ALL, SCALE, in_sector(phase=1)]),
    Line(ps.ParetoMTL(phase_one=0.0), [*ALL, SCALE, NONE_RISES, in_sector(phase=2)]),
    Line(ps.CoGrad(), COGRAD),
    Line(ps.CoGrad(scale_free=True), [*COGRAD, SCALE]),
    Line(ps.CoGrad(hessian="fisher"), COGRAD, at_most_three),
    Line(ps.CoGrad(hessian="fisher", scale_free=True), [FINITE, SCALE], at_most_three),
    Line(ps.CoGrad(hessian="hvp"), COGRAD, at_most_three),
    Line(ps.CoGrad(hessian="hvp", scale_free=True), [FINITE, SCALE], at_most_three),
    Line(ps.ContinuousPareto(), [FINITE, certificates.assert_preferred_falls, solves(damping=0.1)], at_most_three),
    Line(ps.ContinuousPareto(), [REPEATABLE, PERMUTATIONS], two),
    Line(ps.ContinuousPareto(damping=10.0), [solves(damping=10.0)], two),
]


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


PROMISED = [
    pytest.param(
        line,
        promise,
        id=f"{line.solver} {promise.__name__}",
        marks=[
            *(pytest.mark.fault(row) for row in FAULTS.get(getattr(promise, "func", promise), ())),
            *([pytest.mark.slow] if isinstance(line.solver, ps.CoGrad) and line.solver.hessian != "paper" else []),
        ],
    )
    for line in TABLE
    for promise in line.promises
]


@pytest.mark.parametrize(("line", "promise"), PROMISED)
def test_promise(line, promise, request):
    if promise is not (FINITE if isinstance(line.solver, Stepper) else POINTS):  # there the shapes are checked
        request.getfixturevalue("unchecked")
    few = getattr(promise, "func", promise) in FEW
    broken = {}
    for name, *case in batches(line) if promise is POINTS else cases(line, few):
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
    """The modules of one method each."""
    names = [found.name for found in pkgutil.iter_modules(ps.__path__) if found.name not in SHARED]
    return [importlib.import_module(f"{ps.__name__}.{name}") for name in names]


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

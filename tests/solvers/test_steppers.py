"""Methods that ask for the losses elsewhere: frozen values, what they reduce to, heads, and where they end."""

import pickle
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.normalisation import Normalisation
from paretomtl.point import Code
from paretomtl.solver import Sweep
from paretomtl_solvers import draws
from paretomtl_solvers.marigold import Balance, project
from tests import toys
from tests.asserts import sweep
from tests.one_point import apart, same, train
from tests.solvers.test_cograd import closure as three_heads
from tests.solvers.test_values import quadratics

EVEN = torch.full((2,), 0.5, dtype=torch.float64)
THIRD = torch.full((3,), 1 / 3, dtype=torch.float64)
H = torch.tensor([[[1.0, 0], [0, 2]], [[2, 1], [1, 3]]], dtype=torch.float64)  # of the quadratics; g = (0, 4), (3, 4)
R = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


# --- values ---


def test_marigold_has_the_gramians_product_to_the_order_of_mu():
    here = quadratics()
    d = torch.tensor([1.5, 4.0], dtype=torch.float64)  # J'w, w = (1/2, 1/2)
    limit, off = torch.tensor([16.0, 20.5], dtype=torch.float64), []
    for mu in (1e-2, 1e-3, 1e-4):
        slopes = ps.MARIGOLD(mu).slopes(here, d)
        off.append(slopes * d.norm() - limit)
        curved = torch.einsum("i,mij,j->m", d, H, d) / d.norm() / 2
        assert torch.allclose(off[-1], -mu * curved, rtol=1e-4, atol=1e-8)
    assert (ps.MARIGOLD(1e-6).slopes(here, d) * d.norm()).tolist() == pytest.approx([16, 20.5], abs=1e-4)


def test_marigolds_weights_step_down_the_product():
    solver = ps.MARIGOLD(1e-6, 0.2)
    direction, state, _ = solver.update(None, quadratics(), EVEN)
    assert direction.tolist() == pytest.approx([1.5, 4])
    slopes = np.array([16, 20.5])
    step = 0.2 * slopes * np.sqrt(0.5) / np.linalg.norm(slopes)
    assert state.weights.tolist() == pytest.approx(0.5 - step + step.mean(), abs=1e-6)
    # the scale fades, but is no less than the present slope
    later = solver.update(Balance(state.weights, 100 * state.scale), quadratics(), EVEN)[1]
    assert float(later.scale) == pytest.approx(99 * float(state.scale), rel=1e-9)


@pytest.mark.parametrize(
    ("point", "nearest"),
    [((0.5, 0.5), (0.5, 0.5)), ((1.0, 0.5), (0.75, 0.25)), ((3, 0, -1), (1, 0, 0)), ((0.2, 0.2, 0.2), (1 / 3,) * 3)],
)
def test_the_nearest_point_of_the_simplex(point, nearest):
    assert project(torch.tensor(point).double()).tolist() == pytest.approx(nearest, abs=1e-12)


def test_fs_mtl_values():
    here, solver = quadratics(), ps.FSMTL(ps.MGDA(), rho=0.1)
    gradients = here.gradients()
    changes = solver.look(here, gradients) - gradients.jacobian
    assert changes.tolist() == [pytest.approx((0, 0.2), abs=1e-9), pytest.approx((0.2, 0.3), abs=1e-9)]
    assert solver(here, EVEN).tolist() == pytest.approx((0, 4.2), abs=1e-6)
    # at theta = (1, 2): e_1 = .1 (0, 16) / 8, e_2 = .1 (3, 16) / |(3, 8)|
    adaptive = ps.FSMTL(ps.MGDA(), rho=0.1, adaptive=True)
    changes = adaptive.look(here, gradients) - gradients.jacobian
    e = np.array([[0, 0.2], 0.1 * np.array([3, 16]) / np.hypot(3, 8)])
    assert changes.numpy() == pytest.approx(np.einsum("mij,mj->mi", H.numpy(), e), abs=1e-9)


@pytest.mark.parametrize(("second_order", "direction"), [(False, (2, 5.7)), (True, (1.35, 4.11))])
def test_single_step_values(second_order, direction):
    found = ps.SingleStep(0.1, second_order)(quadratics(), EVEN)
    assert found.tolist() == pytest.approx(direction, abs=1e-6)


def test_single_step_is_the_gradient_of_the_losses_one_step_ahead():
    here, solver = three_heads(), ps.SingleStep(0.2, second_order=True)
    place, shared = here.parameters, here.gradients().shared

    def ahead(at):
        here.move(at)
        jacobian = here.gradients().jacobian * shared
        return float(sum(3 * R[i] * here(at - 0.2 * jacobian[i])[i] for i in range(3)))

    steps = 1e-5 * torch.eye(7, dtype=torch.float64)[:4]
    differences = torch.tensor([(ahead(place + h) - ahead(place - h)) / 2e-5 for h in steps], dtype=torch.float64)
    here.move(place)
    assert torch.allclose(solver(here, R)[:4], differences, rtol=0, atol=1e-8)


def test_sequential_reptile_values():
    here = quadratics()
    found = ps.SequentialReptile(0.1, order="given")(here, EVEN)
    assert found.tolist() == pytest.approx((0.26, 0.68), abs=1e-9)
    (g1, g2) = here.gradients().jacobian
    assert torch.allclose(found, 0.1 * (g1 + g2) - 0.01 * H[1] @ g1, rtol=0, atol=1e-12)


def test_sequential_reptile_raises_the_product_of_the_gradients():
    """On average over both orders: a sum of gradients, less a²/2 times the gradient of g_1'g_2."""
    here, solver = quadratics(), ps.SequentialReptile(0.1, order="given")
    (g1, g2), place = here.gradients().jacobian, here.parameters
    second_first = place - 0.1 * g2
    turned = place - (second_first - 0.1 * here.gradient(torch.eye(2, dtype=torch.float64)[0], second_first))
    mean = (solver(here, EVEN) + turned) / 2
    product = H[0] @ g2 + H[1] @ g1  # its gradient
    assert torch.allclose(mean, 0.1 * (g1 + g2) - 0.005 * product, rtol=0, atol=1e-12)


def test_sequential_reptile_draws_tasks_as_often_as_the_preference_says():
    """On linear losses the direction counts the draws."""
    one_step = ps.SequentialReptile(1e-9, steps=1000)
    here = quadratics()
    state = one_step.init(Sweep(R[None], torch.tensor(0), 1, True, (torch.Generator().manual_seed(3),)))
    direction, after, _ = one_step.update(state, here, torch.tensor([0.25, 0.75], dtype=torch.float64))
    share = float(direction[0]) / 3 / 1000 / 1e-9  # only the second loss has a slope along the first parameter
    assert share == pytest.approx(0.75, abs=0.05)
    assert after.tolist() == [*state.tolist()[:1], 1]
    never = ps.SequentialReptile(0.1)(here, torch.tensor([1.0, 0], dtype=torch.float64))
    assert never[0] == 0  # a task without a share is never drawn


# --- what they reduce to ---

# all of one point, but for those that learn with the optimizer; ParetoMTL asks for more preferences than one
KINDS = [getattr(ps, name) for name in ps.__all__ if name != "ParetoMTL"]
BASES = [kind() for kind in KINDS if not (issubclass(kind, pm.Stepper) or kind.joint or kind.learned)]


@pytest.mark.parametrize("base", [*BASES, ps.EPO(heads="weighted"), toys.Turned()], ids=repr)
def test_fs_mtl_without_a_distance_is_its_base_to_the_bit(base):
    problem, preference = toys.two_regressions(), (0.25, 0.75)
    alone = train(problem, base, preference, epochs=1).weights
    assert same(train(problem, ps.FSMTL(base, rho=0.0), preference, epochs=1).weights, alone)
    assert not same(train(problem, ps.FSMTL(base), preference, epochs=1).weights, alone)


def test_fs_mtl_has_what_its_base_has():
    for base in (ps.MGDA(), ps.EPO(), ps.Linear(), ps.ParetoMTL()):
        solver = ps.FSMTL(base)
        for fact in ("uses_preference", "stateful", "from_ideal", "head_gradient", "follows_ray", "nonnegative"):
            assert getattr(solver, fact) == getattr(base, fact), f"{base}: {fact}"
    assert ps.FSMTL.uses_preference  # the class's own facts stay
    ranges = Normalisation((0.1, 0.2), (1.1, 2.2))
    held = ps.FSMTL(ps.Tchebycheff((0.0, 0.1)), 0.2)
    assert held.normalised(ranges) == ps.FSMTL(held.base.normalised(ranges), 0.2)


def test_fs_mtl_carries_two_states_of_a_base_that_has_one():
    preferences = torch.tensor([[0.5, 0.5], [0.9, 0.1]], dtype=torch.float64)
    study = Sweep(preferences, torch.tensor(0), 10, True, ())
    solver = ps.FSMTL(ps.ParetoMTL())
    states = solver.init(study)
    _, after, _ = solver.update(states, quadratics(), EVEN)
    plain = ps.ParetoMTL()
    for state in (after.gradients, after.changes):
        expected = plain.update(plain.init(study), torch.tensor([4, 3.5]).double(), torch.eye(2).double(), EVEN)[1]
        assert repr(state) == repr(expected)
    assert ps.FSMTL(ps.ParetoMTL(), 0.0).init(study).changes is None


@pytest.mark.parametrize(
    "base", [ps.CoGrad(), ps.MOOSVGD(), ps.PHNHVI((1.0, 1.0)), None], ids=lambda base: type(base).__name__
)
def test_fs_mtl_takes_methods_of_one_point(base, unchecked):
    with pytest.raises(TypeError, match=r"give a .*, such as MGDA"):
        ps.FSMTL(base)


def test_one_group_is_adam_on_the_mean_loss():
    problem = toys.two_regressions()
    adam = train(problem, ps.Linear(), optimizer=partial(torch.optim.Adam, lr=0.01)).weights
    walked = train(problem, ps.AlternatingGroups(1, 0.01), optimizer=partial(torch.optim.SGD, lr=1.0)).weights
    for name, value in adam.items():
        torch.testing.assert_close(walked[name], value, rtol=0, atol=2e-6)


def test_as_many_groups_as_tasks_alternate_with_moments_of_their_own():
    """Against an optimizer of torch's for each task, in the order that the draws give."""
    here, solver = three_heads(), ps.AlternatingGroups(3, 0.05)
    state = solver.init(sweep(THIRD))
    x = here.parameters.clone().requires_grad_()
    own = [torch.optim.Adam([x], lr=0.05) for _ in range(3)]
    depends = here.gradients().jacobian != 0
    drawn = state.draws
    for _ in range(4):
        (generator,), drawn = draws.next_generators(drawn)
        for i in torch.randperm(3, generator=generator).tolist():
            before = x.detach().clone()
            x.grad = here.gradient(torch.eye(3, dtype=torch.float64)[i], before)
            own[i].step()
            with torch.no_grad():
                x.copy_(torch.where(depends[i], x, before))
        direction, state, _ = solver.update(state, here, THIRD)
        here.move(here.parameters - direction)
        torch.testing.assert_close(here.parameters, x.detach(), rtol=0, atol=1e-12)


def test_more_groups_than_losses_is_an_error_before_work():
    with pytest.raises(ValueError, match="AlternatingGroups: groups=3 for 2 losses; give at most 2"):
        ps.AlternatingGroups(3).init(sweep(EVEN))


# --- heads ---


def test_heads_have_the_gradient_that_the_docstrings_say():
    here = three_heads()
    gradients = here.gradients()
    own = gradients.jacobian[:, 4:].diagonal()
    assert torch.equal(ps.SingleStep()(here, R)[4:], own)
    solver = ps.FSMTL(ps.MGDA(), rho=0.1)
    assert torch.equal(solver(here, R)[4:], solver.look(here, gradients)[:, 4:].diagonal())
    assert torch.equal(ps.FSMTL(ps.MGDA(), rho=0.0)(here, R)[4:], own)
    linear = ps.FSMTL(ps.Linear(), rho=0.1)
    assert torch.allclose(linear(here, R), R @ linear.look(here, gradients), rtol=0, atol=1e-14)
    assert torch.allclose(ps.MARIGOLD()(here, R)[4:], own / 3, rtol=0, atol=1e-14)


def test_fs_mtl_leaves_out_a_loss_without_a_share():
    """As in the engine: what reaches no shared parameter takes no part, and the rest share its preference."""

    class Place(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
            self.alone = torch.nn.Parameter(torch.tensor([3.0], dtype=torch.float64))

    def losses(model, batch):
        return {"0": model.x.square().sum(), "1": (model.x - 3).square().sum(), "2": model.alone.square().sum()}

    problem = pm.Problem(["0", "1", "2"], Place, losses, ref_point=[9.0] * 3, deterministic=True)
    here = pm.closure(problem, Place())
    direction = ps.FSMTL(ps.Linear())(here, R)
    assert direction.isfinite().all()
    direction, _, status = ps.FSMTL(ps.MGDA(), rho=0.0).update(None, here, R)
    assert status.code == Code.SOLVED
    assert direction.tolist() == pytest.approx((-1, 1, 6), abs=1e-9)  # min-norm of (2, 4), (-4, -2)
    with pytest.raises(ValueError, match=r"needs every loss to reach the shared parameters; losses \[2\] do not"):
        ps.FSMTL(ps.ParetoMTL(), rho=0.0).update(None, here, R)


@pytest.mark.parametrize(
    "solver",
    [ps.MARIGOLD(), ps.FSMTL(ps.MGDA()), ps.SingleStep(), ps.SequentialReptile(), ps.AlternatingGroups(),
     ps.SelectiveGroups()],
    ids=repr,
)  # fmt: skip
def test_the_model_stays_where_it_is_and_states_are_new(solver):
    here = three_heads()
    before, state = here.parameters, solver.init(sweep(THIRD))
    held = repr(state)
    _, after, _ = solver.update(state, here, THIRD)
    assert repr(state) == held
    second = repr(after)
    solver.update(after, here, THIRD)
    assert repr(after) == second
    assert torch.equal(here.parameters, before)
    assert here.moves == 0


# --- bad input ---


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (ps.MARIGOLD, {"mu": 0.0}, "mu=0.0: give a positive number"),
        (ps.MARIGOLD, {"rate": float("nan")}, "rate=nan: give a positive number"),
        (ps.FSMTL, {"base": ps.MGDA(), "rho": -0.1}, "rho=-0.1: give a number of at least 0"),
        (ps.SingleStep, {"look_ahead": 0.0}, "look_ahead=0.0: give a positive number"),
        (ps.SequentialReptile, {"rate": -1.0}, "rate=-1.0: give a positive number"),
        (ps.SequentialReptile, {"steps": 0}, "steps=0: give a whole number of at least 1, or None"),
        (ps.SequentialReptile, {"order": "sorted"}, "order='sorted' is not one of random, given"),
        (ps.AlternatingGroups, {"groups": 0}, "groups=0: give a whole number of at least 1"),
        (ps.AlternatingGroups, {"rate": 0.0}, "rate=0.0: give a positive number"),
        (ps.SelectiveGroups, {"rate": 0.0}, "rate=0.0: give a positive number"),
        (ps.SelectiveGroups, {"fading": 0.0}, "fading=0.0: give a share, above 0 and up to 1"),
        (ps.SelectiveGroups, {"singletons": -1}, "singletons=-1: give a whole number of at least 0"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(build, options, message, unchecked):
    with pytest.raises(ValueError) as caught:
        build(**options)
    assert str(caught.value).startswith(message)


def test_marigold_says_where_the_losses_are_not_finite():
    class Place(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor([1e-4, 1.0], dtype=torch.float64))

    problem = pm.Problem(["0", "1"], Place, lambda m, b: {"0": -m.x[0].log(), "1": m.x.sum()}, [9.0] * 2,
                         deterministic=True)  # fmt: skip
    here = pm.closure(problem, Place())
    with pytest.raises(ValueError, match=r"MARIGOLD: the losses at the distance mu=20000.0 are not finite"):
        ps.MARIGOLD(2e4).slopes(here, torch.tensor([1.0, 0], dtype=torch.float64))


# --- as they are used ---

ALL = [ps.MARIGOLD(), ps.FSMTL(ps.MGDA()), ps.SingleStep(), ps.SequentialReptile(), ps.AlternatingGroups(),
       ps.SelectiveGroups(singletons=1)]  # fmt: skip


@pytest.mark.parametrize("solver", ALL, ids=repr)
def test_a_loop_continues_from_what_it_saved(solver):
    def steps(model, step, n):
        for x, y in [*toys.loader(1)][:n]:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
            optimizer.zero_grad()
            step.backward(lambda x=x, y=y: toys.losses(model, (x, y)))
            optimizer.step()

    model, half = toys.initial(), {"a": 0.5, "b": 0.5}
    step = pm.Descent(solver, half)
    steps(model, step, 2)
    weights, saved = deepcopy(model.state_dict()), pickle.loads(pickle.dumps(step.state_dict()))
    steps(model, step, 3)
    other, again = toys.initial(), pm.Descent(solver, half, seed=7)
    other.load_state_dict(weights)
    again.load_state_dict(saved)
    steps(other, again, 3)
    assert apart(model, other) == 0


@pytest.mark.parametrize("solver", ALL, ids=repr)
def test_a_front_of_them(solver):
    """As the engine trains them; points go on from checkpoints in other tests."""
    rate = 1.0 if isinstance(solver, (ps.AlternatingGroups, ps.SelectiveGroups)) else 0.05
    point = train(toys.two_regressions(), solver, optimizer=partial(torch.optim.SGD, lr=rate))
    assert point.point.state == "done"
    assert np.isfinite(point.point.losses["validate"]).all()

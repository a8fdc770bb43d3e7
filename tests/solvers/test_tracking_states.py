"""Methods that keep what they saw: their states, where they lead, and bad input."""

import re

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.autograd.hull import least_norm
from paretomtl.point import Code
from paretomtl.solver import Sweep, Weighting
from paretomtl.training.checkpoint import decode, encode
from studies import analytic
from tests.solvers.steps import J_B, L_B, even, start, step, tensor

METHODS = [
    ps.CRMOGM(),
    ps.DBMTL(),
    ps.EMTL(),
    ps.ExcessMTL(),
    ps.GradDrop(),
    ps.GradNorm(),
    ps.GradientNormScaling(),
    ps.MoCo(),
    ps.MoCo(scale_to_loss=True),
    ps.MoDo(),
]


# --- states ---


@pytest.mark.parametrize("solver", METHODS, ids=repr)
def test_points_together_are_as_one_by_one_step_after_step(solver):
    rng, points = np.random.default_rng(0), (2, 3)
    r = tensor(rng.dirichlet(np.ones(3), size=points)) if solver.uses_preference else even(3).expand(*points, 3)
    generators = [torch.Generator().manual_seed(k) for k in range(6)]  # as `start` has them
    state = start(solver, r)
    alone = [solver.init(Sweep(r.reshape(-1, 3), torch.tensor(k), 10, True, (g,))) for k, g in enumerate(generators)]
    for _ in range(4):
        losses, J = tensor(rng.uniform(0.1, 1, size=(*points, 3))), tensor(rng.normal(size=(*points, 3, 5)))
        d, state, _ = step(solver, state, losses, J, r)
        for k, p in enumerate(np.ndindex(points)):
            own, alone[k], _ = step(solver, alone[k], losses[p], J[p], r[p])
            assert own.tolist() == pytest.approx(d[p].tolist(), abs=1e-9)


@pytest.mark.parametrize("solver", METHODS, ids=repr)
def test_a_state_survives_a_checkpoint(solver):
    rng, r = np.random.default_rng(0), even(3)
    state = start(solver, r)
    for _ in range(3):
        _, state, _ = step(solver, state, tensor(L_B), tensor(rng.normal(size=(3, 3))), r)
    restored = decode(encode(state), like=start(solver, r))
    assert type(restored) is type(state)
    one, _, _ = step(solver, state, tensor(L_B), tensor(J_B), r)
    other, _, _ = step(solver, restored, tensor(L_B), tensor(J_B), r)
    assert torch.equal(one, other)


@pytest.mark.parametrize("solver", METHODS, ids=repr)
def test_a_step_leaves_the_state_it_was_given(solver):
    r, state = even(3), start(solver, even(3))
    _, state, _ = step(solver, state, tensor(L_B), tensor(J_B), r)
    before = encode(state)
    one, _, _ = step(solver, state, tensor(L_B), tensor(J_B), r)
    other, _, _ = step(solver, state, tensor(L_B), tensor(J_B), r)
    assert torch.equal(one, other)
    assert encode(state).value == before.value
    assert all(torch.equal(x, before.tensors[k]) for k, x in encode(state).tensors.items())


@pytest.mark.parametrize("solver", METHODS, ids=repr)
def test_half_the_precision_of_gradients_is_enough(solver):
    J, r = tensor(J_B).float(), even(3)
    state = start(solver, r)
    for _ in range(3):
        d, state, status = step(solver, state, tensor(L_B).float(), J, r)
        assert d.isfinite().all()
        assert status.code == Code.SOLVED


@pytest.mark.parametrize("solver", [ps.GradDrop(), ps.GradNorm(), ps.MoCo()], ids=repr)
def test_a_fleet_trains_points_as_one_by_one(solver):
    ways = [
        pm.explore(
            analytic.quadratics(),
            solver,
            preferences=[[0.7, 0.3], [0.2, 0.8]] if solver.uses_preference else [[0.5, 0.5]],
            seeds=1 if solver.uses_preference else 2,
            steps=5,
            fleet=fleet,
        )
        for fleet in (None, 2)
    ]
    alone, together = ([point.losses for point in front.points] for front in ways)
    assert len(alone) == 2
    assert alone == together


# --- where they lead ---


def descend(solver, problem, preference, steps=300, learning_rate=0.3):
    """Where plain descent ends, as its learning rate falls to 0: the losses, and the residual of stationarity.

    That is the norm of the shortest vector of the gradients' hull, relative to the longest gradient.
    """
    torch.manual_seed(0)
    r, model = tensor(preference), problem.model()
    state, here = start(solver, r), pm.closure(problem, model)
    for t in range(steps):
        losses, jacobian, _ = here.gradients()
        direction, state, _ = step(solver, state, losses, jacobian, r)
        here.move(here.parameters - learning_rate * (1 - t / steps) * direction)
    losses, jacobian, _ = here.gradients()
    unit = jacobian / jacobian.norm(dim=1).max()
    w = tensor(least_norm((unit @ unit.T).numpy()))
    return losses, float((w @ unit).norm())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("problem", [analytic.quadratics, analytic.fonseca, analytic.quadratics3])
@pytest.mark.parametrize("solver", METHODS, ids=repr)
def test_the_end_is_pareto_stationary(solver, problem):
    """GradDrop's own noise is in its way, and falls with the learning rate alone."""
    noisy = isinstance(solver, ps.GradDrop)
    _, residual = descend(solver, problem(), even(len(problem().names)), learning_rate=0.1 if noisy else 0.3)
    assert residual < (0.1 if noisy else 3e-3)


@pytest.mark.usefixtures("unchecked")
def test_graddrops_noise_falls_with_the_learning_rate():
    residuals = [descend(ps.GradDrop(), analytic.quadratics(), even(2), k, 20 / k)[1] for k in (30, 500)]
    assert residuals[1] < residuals[0] / 2


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("problem", [analytic.quadratics, analytic.fonseca])
@pytest.mark.parametrize("preference", [(0.5, 0.5), (0.7, 0.3), (0.2, 0.8)])
def test_emtl_reaches_the_ray_of_two_objectives(problem, preference):
    losses, _ = descend(ps.EMTL(), problem(), preference)
    weighted = tensor(preference) * losses
    assert weighted[0].item() == pytest.approx(weighted[1].item(), rel=1e-3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("alpha", [0.5, 1.5])
@pytest.mark.parametrize("preference", [(0.5, 0.5), (0.7, 0.3), (0.4, 0.6)])
def test_gradnorm_makes_weighted_progress_equal(preference, alpha):
    """On the convex front; on a concave one its weights are too slow."""
    torch.manual_seed(0)
    problem = analytic.quadratics()
    first = pm.closure(problem, problem.model())()
    losses, _ = descend(ps.GradNorm(alpha), problem, preference)
    progress = tensor(preference) * losses / first
    assert progress[0].item() == pytest.approx(progress[1].item(), rel=0.02)


@pytest.mark.usefixtures("unchecked")
def test_the_sum_is_where_graddrop_leads():
    losses, _ = descend(ps.GradDrop(), analytic.quadratics(), (0.7, 0.3), 400, 0.1)
    expected, _ = descend(ps.GradDrop(leak=1.0), analytic.quadratics(), (0.7, 0.3), 400, 0.1)
    assert losses.tolist() == pytest.approx(expected.tolist(), abs=0.02)


# --- bad input ---


@pytest.mark.parametrize("solver", METHODS, ids=repr)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite(solver, bad):
    J = tensor(J_B)
    J[1, 0] = bad
    what = "the Gramian" if isinstance(solver, Weighting) else r"the gradients of losses \[1\] are"
    with pytest.raises(ValueError, match=rf"^{type(solver).__name__}: {what} .*not finite"):
        step(solver, start(solver, even(3)), tensor(L_B), J, even(3))


@pytest.mark.fault(13)
@pytest.mark.parametrize(
    ("solver", "loss", "message"),
    [
        (ps.DBMTL(), 0.0, "loss 1, counted from 0, is 0, and DBMTL needs positive losses"),
        (ps.DBMTL(), -0.5, "loss 1, counted from 0, is -0.5, and DBMTL needs positive losses"),
        (ps.GradNorm(), 0.0, "loss 1, counted from 0, is 0, and GradNorm needs positive losses"),
        (ps.EMTL(), -0.5, "loss 1, counted from 0, is -0.5, and EMTL needs losses of at least 0"),
        (ps.MoCo(scale_to_loss=True), -0.5, "loss 1, counted from 0, is -0.5, and MoCo needs losses of at least 0"),
        (ps.EMTL(), np.nan, "the losses .* are not finite"),
        (ps.DBMTL(), np.inf, "the losses .* are not finite"),
    ],
)
def test_a_loss_that_it_cannot_take(solver, loss, message):
    assert solver.nonnegative
    with pytest.raises(ValueError, match=f"^{type(solver).__name__}: {message}"):
        step(solver, start(solver, even(2)), tensor([0.5, loss]), tensor([[1, 0], [0, 1]]), even(2))


def test_gradnorm_takes_no_negative_loss_later():
    solver, C = ps.GradNorm(), torch.eye(2).double()
    _, state, _ = solver.update(None, tensor([1, 2]), C, even(2))
    with pytest.raises(ValueError, match=r"^GradNorm: loss 0, .* is -1, and GradNorm needs losses of at least 0"):
        solver.update(state, tensor([-1, 2]), C, even(2))


def test_graddrop_needs_a_state():
    with pytest.raises(ValueError, match=r"^GradDrop draws signs: call init\(sweep\) first"):
        ps.GradDrop()(tensor(L_B), tensor(J_B), even(3))


def test_graddrops_leak_has_a_number_a_loss():
    with pytest.raises(ValueError, match=r"^GradDrop: leak=\(0.1, 0.2\) has not one number a loss; there are 3"):
        step(ps.GradDrop((0.1, 0.2)), start(ps.GradDrop(), even(3)), tensor(L_B), tensor(J_B), even(3))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (ps.GradDrop, {"leak": 1.5}, "leak=1.5: give a number from 0 to 1, or one a loss"),
        (ps.GradDrop, {"leak": (0.5, float("nan"))}, "leak=(0.5, nan): give a number from 0 to 1, or one a loss"),
        (ps.MoCo, {"beta": 0.0}, "beta=0.0: give a number above 0, at most 1"),
        (ps.MoCo, {"gamma": float("inf")}, "gamma=inf: give a positive number"),
        (ps.MoCo, {"rho": -1.0}, "rho=-1.0: give a number of at least 0"),
        (ps.MoCo, {"beta_sigma": float("nan")}, "beta_sigma=nan: give a number of at least 0"),
        (ps.MoCo, {"gamma_sigma": -0.5}, "gamma_sigma=-0.5: give a number of at least 0"),
        (ps.DBMTL, {"beta": 1.0}, "beta=1.0: give a number from 0 to below 1"),
        (ps.DBMTL, {"sigma": -0.5}, "sigma=-0.5: give a number of at least 0"),
        (ps.GradNorm, {"alpha": -0.1}, "alpha=-0.1: give a number of at least 0"),
        (ps.GradNorm, {"learning_rate": 0.0}, "learning_rate=0.0: give a positive number"),
        (ps.CRMOGM, {"alpha": 1.0}, "alpha=1.0: give a number from 0 to below 1"),
        (ps.ExcessMTL, {"eta": 0.0}, "eta=0.0: give a positive number"),
        (ps.MoDo, {"gamma": 0.0}, "gamma=0.0: give a positive number"),
        (ps.MoDo, {"rho": -0.1}, "rho=-0.1: give a number of at least 0"),
        (ps.GradientNormScaling, {"beta": 1.0}, "beta=1.0: give a number from 0 to below 1"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(build, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build(**options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("base", [ps.Linear(), ps.GradDrop(), ps.MOOSVGD(), None], ids=repr)
def test_cr_mogm_is_around_a_weighting(base):
    with pytest.raises(TypeError, match=r"^base=.*: give a .* such as MGDA\(\)"):
        ps.CRMOGM(base)

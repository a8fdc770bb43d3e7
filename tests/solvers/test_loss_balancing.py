"""Methods that weigh losses by their course: frozen values, fixed points, states, and where their weights lead."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

import paretomtl_solvers as ps
from paretomtl.normalisation import Normalisation
from paretomtl.solver import Scalarization, Sweep
from paretomtl.training.checkpoint import decode, encode
from paretomtl_solvers import famo
from studies import analytic
from tests.solvers.promises.scalarizations import STEPS, answers, course_of
from tests.solvers.test_values import L_A


def tensor(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


EVEN = tensor((0.5, 0.5))
S = (0.2, -0.4)  # of numbers that the optimizer trains
METHODS = [
    ps.GeometricMean(), ps.UW(), ps.UW("classification"), ps.IMTLL(), ps.DWA(period=10), ps.RLW(), ps.RLW("dirichlet"),
    ps.EMAWeighting(), ps.SLAW(), ps.AlphaFairLosses(), ps.AlphaFairLosses(1.0), ps.AlphaFairLosses(2.0), ps.FAMO(),
]  # fmt: skip


def study(solver: Scalarization, preference: Tensor = EVEN, epoch_steps: int | None = None) -> Sweep:
    del solver
    generators = (torch.Generator().manual_seed(0),)
    return Sweep(preference[None], torch.tensor(0), 10, True, generators, epoch_steps)


# --- frozen values ---


@pytest.mark.parametrize(
    ("solver", "weights"),
    [
        (ps.GeometricMean(), (0.3535534, 0.7071068)),
        (ps.AlphaFairLosses(0.5), (1.2909944, 1.8257419)),
        (ps.AlphaFairLosses(0.0), (1, 1)),
        (ps.AlphaFairLosses(1.0), (1 / 0.6, 1 / 0.3)),
        (ps.AlphaFairLosses(3.0), (0.6**-3, 0.3**-3)),
    ],
    ids=repr,
)
def test_of_the_losses_alone(solver, weights):
    assert solver(tensor(L_A), EVEN).tolist() == pytest.approx(weights, abs=1e-6)


@pytest.mark.parametrize(
    ("solver", "value", "constants", "gradient"),
    [
        (ps.UW(), 0.3693929, 0.5, (0.2543808, 0.2762263)),
        (ps.UW("classification"), 0.8387859, 0.5, None),
        (ps.UW(("classification", "classification")), 0.8387859, 0.5, None),
        (ps.IMTLL(), 1.1339377, -1.0, (-0.2671583, -0.7989040)),
    ],
    ids=repr,
)
def test_learned(solver, value, constants, gradient):
    s = tensor(S).requires_grad_()
    weights, state, _ = solver.update(s, tensor(L_A), EVEN)
    assert state is s
    assert not weights.requires_grad
    assert float(weights @ tensor(L_A) + constants * sum(S)) == pytest.approx(value, abs=1e-6)
    if gradient is not None:
        assert s.grad.tolist() == pytest.approx(gradient, abs=1e-6)


@pytest.mark.parametrize(
    "solver", [ps.UW(), ps.UW("classification"), ps.UW(("regression", "classification"))], ids=repr
)
@pytest.mark.parametrize("r", [(0.5, 0.5), (0.7, 0.3), (1, 0)])
def test_the_gradients_of_uncertainty_weighting_are_those_of_its_objective(solver, r):
    s, losses = tensor(S).requires_grad_(), tensor(L_A).requires_grad_()
    kinds = (solver.kind,) * 2 if isinstance(solver.kind, str) else solver.kind
    halves = tensor([{"regression": 0.5, "classification": 1.0}[kind] for kind in kinds])
    objective = 2 * tensor(r) @ (halves * losses / s.exp() + s / 2)
    of_losses, of_numbers = torch.autograd.grad(objective, (losses, s))
    weights, _, _ = solver.update(s, tensor(L_A), tensor(r))
    assert torch.allclose(weights, of_losses, rtol=1e-12, atol=0)
    assert torch.allclose(s.grad, of_numbers, rtol=1e-12, atol=1e-15)


def test_dwa():
    """Epochs of two steps, whose means are (.8, .5), (.6, .3)."""
    solver = ps.DWA()
    state = solver.init(study(solver, epoch_steps=2))
    for losses in ((1.0, 0.4), (0.6, 0.6), (0.5, 0.3), (0.7, 0.3)):
        weights, state, _ = solver.update(state, tensor(losses), EVEN)
        assert weights.tolist() == [1, 1]
    for losses in ((9.0, 1.0), (1.0, 9.0)):  # these have no part in the weights of their own epoch
        weights, state, _ = solver.update(state, tensor(losses), EVEN)
        assert weights.tolist() == pytest.approx((1.0374824, 0.9625176), abs=1e-6)
    weights, _, _ = solver.update(state, tensor(L_A), EVEN)
    expected = 2 * tensor([5 / 0.6 / 2, 5 / 0.3 / 2]).softmax(0)
    assert weights.tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_the_period_of_dwa_is_the_studys_unless_given():
    assert int(ps.DWA().init(study(ps.DWA(), epoch_steps=7)).period) == 7
    assert int(ps.DWA(period=3).init(study(ps.DWA(), epoch_steps=7)).period) == 3
    with pytest.raises(ValueError, match=r"^DWA compares .* give them: DWA\(period=…\)"):
        ps.DWA().init(study(ps.DWA()))


def test_ema_weighting():
    solver = ps.EMAWeighting(0.9)
    weights, state, _ = solver.update(None, tensor(L_A), EVEN)
    assert weights.tolist() == pytest.approx((1 / 0.6, 1 / 0.3))
    weights, state, _ = solver.update(state, tensor((0.5, 0.4)), EVEN)
    assert state.tolist() == pytest.approx((0.59, 0.31), abs=1e-6)
    assert weights.tolist() == pytest.approx((1.6949153, 3.2258065), abs=1e-6)


def test_slaw():
    solver = ps.SLAW()
    state = solver.init(study(solver))
    weights = None
    for k, losses in enumerate(((0.6, 0.3), (0.5, 0.4), (0.9, 0.2), (0.4, 0.5))):
        weights, state, _ = solver.update(state, tensor(losses), EVEN)
        if k < 2:  # after two steps both spread by .05
            assert weights.tolist() == pytest.approx((1, 1))
    assert state.variances.sqrt().tolist() == pytest.approx((0.1870829, 0.1118034), abs=1e-6)
    assert weights.tolist() == pytest.approx((0.7481334, 1.2518666), abs=1e-6)


def test_the_means_of_slaw_are_arithmetic_and_then_decay():
    """Against the mean of squares less the square of the mean, for 250 steps."""
    solver, generator = ps.SLAW(), torch.Generator().manual_seed(0)
    course = torch.rand(250, 2, generator=generator, dtype=torch.float64) * tensor((1, 5))
    state = solver.init(study(solver))
    first = second = torch.zeros(2).double()
    for k, losses in enumerate(course):
        weights, state, _ = solver.update(state, losses, EVEN)
        newest = 1 / (k + 1) if k < 100 else 0.01
        first, second = first + newest * (losses - first), second + newest * (losses.square() - second)
        inverse = 1 / (second - first.square()).clamp(min=0).sqrt().clamp(min=1e-5)
        if k:
            assert torch.allclose(weights, 2 * inverse / inverse.sum(), rtol=1e-9)
    assert torch.allclose(course[:100].mean(0), tensor((0.5, 2.5)), atol=0.2)


def test_a_spread_survives_losses_far_from_zero():
    solver = ps.SLAW()
    state = solver.init(study(solver))
    weights = None
    for wave in torch.linspace(0, 9, 40).double().sin():
        weights, state, _ = solver.update(state, 1e6 + torch.stack([wave, 3 * wave]) / 100, EVEN)
    assert weights.tolist() == pytest.approx((1.5, 0.5), rel=1e-5)


def test_famo():
    solver = ps.FAMO()
    state = solver.init(study(solver))
    state = state._replace(optimizer=state.optimizer._replace(values=tensor((0.2, -0.1))))
    weights, state, _ = solver.update(state, tensor(L_A), EVEN)
    assert weights.tolist() == pytest.approx((0.4029599, 0.5970401), abs=1e-6)
    after = solver.observe(state, tensor((0.5, 0.29)))
    decay = 1e-3 * tensor((0.2, -0.1))
    assert (after.optimizer.mean / 0.1 - decay).tolist() == pytest.approx((0.0362825, -0.0362825), abs=1e-6)
    assert after.optimizer.values[0] < 0.2
    assert after.optimizer.values[1] > -0.1  # it improved less


def test_famo_is_its_equations_under_torchs_adam():
    """Over 60 steps, with losses above their ideals, by autograd and torch.optim.Adam."""
    ideal, gamma = (-1.0, 0.5, 0.0), 0.01
    solver = ps.FAMO(gamma=gamma, ideal=ideal)
    generator = torch.Generator().manual_seed(0)
    pairs = tensor(ideal) + 1e-3 + torch.rand(60, 2, 3, generator=generator, dtype=torch.float64)
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([x], lr=0.025, weight_decay=gamma)
    r = torch.full((3,), 1 / 3, dtype=torch.float64)
    state = solver.init(study(solver, r))
    for before, after in pairs:
        weights, state, _ = solver.update(state, before, r)
        losses = before.clone().requires_grad_()
        above = losses - tensor(ideal) + 1e-8
        z = x.detach().softmax(0)
        loss = (z * above.log()).sum() / (z / above).sum().detach()
        assert torch.allclose(weights, torch.autograd.grad(loss, losses)[0], rtol=1e-12)
        state = solver.observe(state, after)
        fell = above.detach().log() - (after - tensor(ideal) + 1e-8).log()
        optimizer.zero_grad()
        (x.softmax(0) @ fell).backward()
        optimizer.step()
        assert torch.allclose(state.optimizer.values, x.detach(), rtol=0, atol=1e-13)


def test_famo_holds_its_ideal_in_normalised_losses():
    normalisation = Normalisation((1.0, 2.0), (3.0, 6.0))
    assert ps.FAMO().normalised(normalisation) == ps.FAMO()
    assert ps.FAMO(ideal=(1.0, 4.0)).normalised(normalisation) == ps.FAMO(ideal=(0.0, 0.5))
    assert ps.FAMO().nonnegative
    assert not ps.FAMO(ideal=(1.0, 4.0)).nonnegative


def test_there_must_be_a_step_to_observe():
    with pytest.raises(ValueError, match=r"^FAMO: there was no step yet to observe"):
        ps.FAMO().observe(ps.FAMO().init(study(ps.FAMO())), tensor(L_A))
    assert isinstance(ps.FAMO().update(None, tensor(L_A), EVEN)[1], famo.Logits)


@pytest.mark.parametrize("kind", ["normal", "dirichlet"])
def test_random_weights(kind):
    """Their mean is the preference, to five standard errors, and each step and point has its own."""
    solver, r, n = ps.RLW(kind), tensor((0.2, 0.3, 0.5)), 4000
    generators = tuple(torch.Generator().manual_seed(seed) for seed in range(n))
    sweep = Sweep(r[None], torch.zeros(n, dtype=torch.int64), 10, True, generators)
    first, state, _ = solver.update(solver.init(sweep), torch.ones(n, 3), r.expand(n, 3))
    second, _, _ = solver.update(state, torch.ones(n, 3), r.expand(n, 3))
    for weights in (first, second):
        errors = weights.std(dim=0) / n**0.5
        assert ((weights.mean(dim=0) - r).abs() < 5 * errors).all()
    drawn = torch.cat([first, second]) / r
    assert len(drawn.unique(dim=0)) == 2 * n
    if kind == "dirichlet":  # variance of an entry
        assert (drawn / 3).var(dim=0).tolist() == pytest.approx([1 / 18] * 3, rel=0.05)
    else:  # differences of two standard normal numbers
        assert (drawn.log() - drawn.roll(1, dims=1).log()).var(dim=0).tolist() == pytest.approx([2] * 3, rel=0.1)


def test_a_call_outside_a_study_draws_by_torchs_generator():
    torch.manual_seed(3)
    first, second = (ps.RLW()(tensor(L_A), EVEN) for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(ps.RLW()(tensor(L_A), EVEN), first)
    assert not torch.equal(first, second)


# --- fixed points of what the optimizer trains ---


@pytest.mark.parametrize(
    ("solver", "at"),
    [
        (ps.UW(), lambda losses: losses),
        (ps.UW("classification"), lambda losses: 2 * losses),
        (ps.UW(("regression", "classification", "regression")), lambda losses: losses * tensor((1, 2, 1))),
        (ps.IMTLL(), lambda losses: 1 / losses),
    ],
    ids=["regression", "classification", "a kind a loss", "IMTLL"],
)
@pytest.mark.parametrize("build", [torch.optim.Adam, torch.optim.SGD])
def test_the_optimizer_leads_to_the_fixed_point(solver, at, build):
    losses, r = tensor((0.6, 0.3, 4.0)), tensor((0.2, 0.3, 0.5))
    s = solver.init(study(solver, r)).requires_grad_()
    optimizer = build([s], lr=0.1)
    for _ in range(600):
        optimizer.zero_grad()
        solver.update(s, losses, r)
        optimizer.step()
    assert torch.allclose(s.detach().exp(), at(losses), rtol=1e-4)
    weighted = solver.update(s, losses, r)[0] * losses
    assert torch.allclose(weighted, 3 * r * (1 if isinstance(solver, ps.IMTLL) else 0.5), atol=1e-3)


@pytest.mark.parametrize("solver", [ps.UW(), ps.IMTLL()], ids=repr)
def test_where_no_optimizer_trains_them_the_numbers_are_zero(solver):
    assert torch.equal(solver.update(None, tensor(L_A), EVEN)[0], solver.update(tensor((0, 0)), tensor(L_A), EVEN)[0])
    s = tensor(S)
    solver.update(s, tensor(L_A), EVEN)  # requires no gradient, and gets none
    assert s.grad is None
    single = torch.zeros(2, requires_grad=True)
    weights, _, _ = solver.update(single, tensor(L_A).float(), EVEN)
    assert single.grad.dtype == torch.float32
    assert weights.dtype == torch.float64


def test_a_loss_that_does_not_matter_moves_nothing():
    for solver in (ps.UW(), ps.IMTLL()):
        s = tensor(S).requires_grad_()
        weights, _, _ = solver.update(s, tensor(L_A), tensor((1, 0)))
        assert weights[1] == s.grad[1] == 0


# --- states ---


@pytest.mark.parametrize("solver", METHODS, ids=repr)
def test_a_state_survives_a_checkpoint(solver):
    """Whatever step it is written after, the steps that follow are the same to the bit."""
    course = course_of(tensor(L_A))
    whole = [*answers(solver, course, EVEN)]
    fresh = solver.init(study(solver))
    for after in range(1, STEPS):
        state = solver.init(study(solver))
        for k, losses in enumerate(course[:after]):
            _, state, _ = solver.update(state, losses, EVEN)
            if solver.observes:
                state = solver.observe(state, course[k + 1])
        again = decode(encode(state), fresh)
        for k, losses in enumerate(course[after:], after):
            expected, state, _ = solver.update(state, losses, EVEN)
            weights, again, _ = solver.update(again, losses, EVEN)
            assert torch.equal(weights, expected)
            if not solver.learned:
                assert torch.equal(expected, whole[k])
            if solver.observes:
                state, again = (solver.observe(x, course[(k + 1) % STEPS]) for x in (state, again))


@pytest.mark.parametrize("solver", METHODS, ids=repr)
def test_a_state_is_a_value(solver):
    """A step changes no state that was handed in, but for the gradient of what the optimizer trains."""
    course = course_of(tensor(L_A))
    state = solver.init(study(solver))
    _, state, _ = solver.update(state, course[0], EVEN)
    before = encode(state)
    solver.update(state, course[1], EVEN)
    if solver.observes:
        solver.observe(state, course[1])
    assert encode(state).value == before.value
    assert all(torch.equal(tensors, before.tensors[name]) for name, tensors in encode(state).tensors.items())


# --- what should not happen ---

POSITIVE = [ps.GeometricMean(), ps.AlphaFairLosses(), ps.AlphaFairLosses(2.0)]
NONNEGATIVE = [ps.UW(), ps.IMTLL(), ps.DWA(period=1), ps.EMAWeighting()]


@pytest.mark.fault(13)
@pytest.mark.parametrize("solver", [*POSITIVE, *NONNEGATIVE], ids=repr)
def test_a_negative_loss_is_an_error_that_says_what_to_use(solver):
    name = type(solver).__name__
    assert solver.nonnegative
    needed = "positive losses" if solver in POSITIVE else "losses of at least 0"
    with pytest.raises(ValueError, match=rf"^{name}: loss 1, .* is -0.3, and {name} needs {needed} .*use Linear"):
        solver(tensor((0.6, -0.3)), EVEN)
    with pytest.raises(ValueError, match=rf"^{name}: loss 0, .* is -2,"):
        solver(tensor(((0.6, 0.3), (-2, 1))), EVEN.expand(2, 2))


@pytest.mark.fault(14)
def test_a_loss_of_zero():
    for solver in POSITIVE:
        with pytest.raises(ValueError, match=r"loss 1, counted from 0, is 0, and .* needs positive losses"):
            solver(tensor((0.6, 0)), EVEN)
    for solver in (ps.UW(), ps.IMTLL(), ps.DWA(period=1), ps.SLAW(), ps.RLW(), ps.FAMO(), ps.AlphaFairLosses(0.0)):
        assert solver(tensor((0.6, 0)), EVEN).isfinite().all()
    _, state, _ = ps.EMAWeighting().update(None, tensor(L_A), EVEN)
    assert ps.EMAWeighting().update(state, tensor((0, 0.3)), EVEN)[0].isfinite().all()
    with pytest.raises(ValueError, match=r"^EMAWeighting: the average of loss 0, .* is 0, .*use Linear"):
        ps.EMAWeighting()(tensor((0, 1)), EVEN)


@pytest.mark.fault(14)
def test_dwa_cannot_compare_with_an_epoch_of_zeros():
    solver = ps.DWA(period=1)
    state = solver.init(study(solver))
    for losses in ((0.5, 0), (0.5, 0.5)):
        _, state, _ = solver.update(state, tensor(losses), EVEN)
    with pytest.raises(ValueError, match=r"^DWA: the mean over an epoch of loss 1, .* is 0, .*use Linear"):
        solver.update(state, tensor(L_A), EVEN)


@pytest.mark.fault(13)
def test_famo_needs_losses_above_their_ideals():
    message = r"^FAMO: the distance above its ideal of loss 1, .* is -0.3, and FAMO needs positive losses .*use Linear"
    with pytest.raises(ValueError, match=message):
        ps.FAMO()(tensor((0.6, -0.3)), EVEN)
    solver = ps.FAMO(ideal=(0.0, 0.5))
    with pytest.raises(ValueError, match="FAMO: the distance above its ideal of loss 1"):
        solver(tensor((0.6, 0.3)), EVEN)
    _, state, _ = solver.update(None, tensor((0.6, 0.8)), EVEN)
    with pytest.raises(ValueError, match="FAMO: the distance above its ideal of loss 1"):
        solver.observe(state, tensor((0.6, 0.3)))


def test_negative_losses_do_where_nothing_divides_by_them():
    for solver in (ps.SLAW(), ps.RLW(), ps.AlphaFairLosses(0.0)):
        assert not solver.nonnegative
        assert (solver(tensor((0.6, -0.3)), EVEN) > 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("solver", METHODS, ids=repr)
def test_losses_that_are_not_finite(solver, bad):
    with pytest.raises(ValueError, match=f"^{type(solver).__name__}: the losses .* not finite"):
        solver(tensor((0.6, bad)), EVEN)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (ps.UW, {"kind": "poisson"}, "kind='poisson' is not one of regression, classification"),
        (ps.UW, {"kind": ("regression", "rank")}, "kind='rank' is not one of regression, classification"),
        (ps.DWA, {"temperature": 0.0}, "temperature=0.0: give a positive number"),
        (ps.DWA, {"temperature": float("nan")}, "temperature=nan: give a positive number"),
        (ps.DWA, {"period": 0}, "period=0: give a whole number of at least 1, or None"),
        (ps.DWA, {"period": 1.5}, "period=1.5: give a whole number of at least 1, or None"),
        (ps.RLW, {"kind": "uniform"}, "kind='uniform' is not one of normal, dirichlet"),
        (ps.EMAWeighting, {"beta": 1.0}, "beta=1.0: give a number from 0 to below 1"),
        (ps.EMAWeighting, {"beta": -0.1}, "beta=-0.1: give a number from 0 to below 1"),
        (ps.SLAW, {"beta": float("nan")}, "beta=nan: give a number from 0 to below 1"),
        (ps.AlphaFairLosses, {"alpha": -1.0}, "alpha=-1.0: give a number of at least 0"),
        (ps.AlphaFairLosses, {"alpha": float("inf")}, "alpha=inf: give a number of at least 0"),
        (ps.FAMO, {"learning_rate": 0.0}, "learning_rate=0.0: give a positive number"),
        (ps.FAMO, {"gamma": -1.0}, "gamma=-1.0: give a number of at least 0"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(build, options, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        build(**options)


def test_one_kind_a_loss():
    with pytest.raises(ValueError, match=r"^UW: kind=.* has 2 kinds for 3 losses; give one, or one a loss"):
        ps.UW(("regression", "classification"))(tensor((1, 2, 3)), tensor((0.2, 0.3, 0.5)))


# --- where they lead ---


def end_of(solver: Scalarization, name: str, preference: tuple, raised: float, rates: bool = True) -> float:
    """The min-norm point of the gradients at the end of 300 steps of Adam, its rate going to 0 by a cosine."""
    torch.manual_seed(0)
    steps, r, problem = 300, tensor(preference), getattr(analytic, name)()
    model = problem.model()

    def losses() -> Tensor:
        return torch.stack(list(problem.losses(model, None).values())) + raised

    state: Any = solver.init(study(solver, r))
    learned = [state.requires_grad_()] if solver.learned else []
    optimizer = torch.optim.Adam([*model.parameters(), *learned], lr=0.05)
    scheduler = CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        values = losses()
        weights, state, _ = solver.update(state, values.detach(), r)
        (weights @ values).backward()
        optimizer.step()
        if rates:
            scheduler.step()
        if solver.observes:
            state = solver.observe(state, losses().detach())
    values = losses()
    rows = torch.stack([torch.autograd.grad(value, model.x, retain_graph=True)[0] for value in values])
    return float((ps.MGDA()(values.detach(), rows @ rows.mT, r) @ rows).norm())


CALM = 0.01  # of the min-norm point; single gradients are .1 to 1.1 long
UNBOUNDED = [ps.AlphaFairLosses(1.0), ps.AlphaFairLosses(2.0)]
PROBLEMS = pytest.mark.parametrize("problem", ["quadratics", "fonseca"])


@PROBLEMS
@pytest.mark.parametrize("preference", [(0.5, 0.5), pytest.param((0.7, 0.3), marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("solver", METHODS, ids=repr)
def test_on_losses_above_one_they_end_where_the_gradients_balance(solver, problem, preference):
    assert end_of(solver, problem, preference, raised=1.0) < CALM


@PROBLEMS
@pytest.mark.parametrize("solver", [solver for solver in METHODS if solver not in UNBOUNDED], ids=repr)
def test_on_losses_that_may_reach_zero_they_do_too(solver, problem):
    assert end_of(solver, problem, (0.7, 0.3), raised=0.0) < CALM


@PROBLEMS
def test_an_objective_that_falls_without_bound_does_not_promise_it(problem):
    """The sum of -1 / l: near a loss of 0 the weights grow like l^-2 and outgrow any step, so that it jumps away."""
    assert end_of(ps.AlphaFairLosses(2.0), problem, (0.7, 0.3), raised=0.0) > CALM


def test_random_weights_do_not_come_to_rest_at_a_constant_rate():
    assert end_of(ps.RLW(), "quadratics", (0.5, 0.5), 0.0, rates=False) > CALM
    assert end_of(ps.EMAWeighting(), "quadratics", (0.5, 0.5), 1.0, rates=False) < CALM

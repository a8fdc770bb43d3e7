"""Gradients that are clipped, scaled, of half precision, or far from 1."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.autograd.gradients import check_clip, descend
from paretomtl.errors import NonFiniteError
from paretomtl.point import Code
from paretomtl.solver import Scalarization, solved_status
from tests import toys
from tests.one_point import SGD, apart
from tests.three_heads import (
    NAMES,
    PREFERENCE,
    Everywhere,
    Fixed,
    Places,
    ThreeHeads,
    assert_gradients,
    cut,
    heads,
    one_by_one,
    rows,
    taken,
)


@pytest.mark.fault(18)
@pytest.mark.parametrize("solver", [Fixed((0.5, -2.0, 3.0)), Places()], ids=["weighting", "aggregation"])
def test_clipping_shortens_the_gradient_of_each_loss_and_no_head(solver):
    model = ThreeHeads()
    gradients = one_by_one(model)
    jacobian = rows(gradients)
    norms = jacobian.norm(dim=1)
    clip = float(norms.median())
    shortened = jacobian * (clip / norms.clamp(min=clip))[:, None]
    assert shortened.norm(dim=1).max() <= clip * (1 + 1e-12)
    assert (shortened == jacobian).all(dim=1).sum() == 2  # the others are as they were

    found = taken(solver, model, clip=clip)
    seen = solver.seen.pop()[2]
    if isinstance(solver, Fixed):
        direction = torch.tensor(solver.weights, dtype=torch.float64) @ shortened
        assert torch.allclose(seen, shortened @ shortened.T, rtol=1e-10)
    else:
        direction = shortened.sum(dim=0) * torch.arange(1, shortened.shape[1] + 1)
        assert torch.allclose(seen, shortened, rtol=1e-10)
    assert_gradients(model, cut(direction, model) | heads(gradients) | {"idle": None})
    assert torch.allclose(found.norms, norms, rtol=1e-10)  # as they were


def test_a_clip_above_all_norms_changes_no_bit():
    models = [ThreeHeads(), ThreeHeads()]
    models[1].load_state_dict(models[0].state_dict())
    for model, clip in zip(models, (None, 1e3), strict=True):
        taken(ps.EPO(), model, clip=clip)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert one.grad is None or torch.equal(one.grad, other.grad)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("clip", [0, 0.0, -1.0, float("nan"), float("inf"), True, "1", [1.0]])
def test_a_clip_is_a_positive_number(clip):
    with pytest.raises(ValueError, match=r"clip=.*: give a positive number, or None"):
        check_clip(ps.EPO(), clip)
    with pytest.raises(ValueError, match=r"clip="):
        pm.explore(toys.two_regressions(), ps.EPO(), preferences=1, epochs=1, clip=clip)


@pytest.mark.parametrize("solver", [ps.Linear(), Everywhere()], ids=repr)
def test_a_method_without_gradients_of_its_own_has_nothing_to_clip(solver):
    named = f"clip=1.0: {type(solver).__name__} takes no gradient of each loss"
    with pytest.raises(ValueError, match=named):
        pm.explore(toys.two_regressions(), solver, preferences=1, epochs=1, clip=1.0)
    with pytest.raises(ValueError, match=named):
        pm.Descent(solver, {"a": 1.0, "b": 1.0}, clip=1.0)


@pytest.mark.fault(49)
@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("solver", [ps.EPO(), ps.MGDA(), Places(), ps.Linear()], ids=repr)
def test_a_scale_stays_in_the_gradients_and_nowhere_else(solver, clip):
    plain, scaled = ThreeHeads(), ThreeHeads()
    scaled.load_state_dict(plain.state_dict())
    asked = {} if isinstance(solver, Scalarization) else {"clip": clip}
    one, other = taken(solver, plain, **asked), taken(solver, scaled, scale=1024.0, **asked)
    for p, q in zip(plain.parameters(), scaled.parameters(), strict=True):
        assert p.grad is None or torch.allclose(q.grad, 1024 * p.grad, rtol=1e-12)
    for x, y in zip((one.weights, *one.status, one.norms), (other.weights, *other.status, other.norms), strict=True):
        assert x is None or torch.allclose(y.double(), x.double(), rtol=1e-12)
    if isinstance(solver, Places):
        assert torch.allclose(solver.seen[-1][2], solver.seen[-2][2], rtol=1e-12)


@pytest.mark.fault(50)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_gramian_of_half_precision_is_taken_in_single(dtype):
    """Squares of 1e-4 are zero in float16, and seven bits of bfloat16 are no product of long rows."""
    x = nn.Parameter(torch.zeros(1000, dtype=dtype))
    a, b = (1e-4 * torch.rand(2, 1000)).to(dtype)
    losses, solver = [(x * a).sum(), 1 + (x * b).sum()], Fixed((0.5, 0.5))
    descend(solver, None, losses, PREFERENCE[:2] / 0.5, [x], NAMES[:2])
    exact = torch.stack([a, b]).double()
    gramian = solver.seen[0][2]
    assert gramian.dtype == torch.float64
    assert torch.allclose(gramian, exact @ exact.T, rtol=1e-5, atol=0)
    assert x.grad.dtype == dtype
    assert torch.allclose(x.grad, ((a.float() + b.float()) / 2).to(dtype), rtol=1e-2)


@pytest.mark.fault(50)
@pytest.mark.parametrize("sizes", [(1e-25, 1e-25), (1e25, 1e25), (1e-25, 1e25), (1.0, 1e-25)])
def test_gradients_far_from_1_neither_vanish_nor_overflow(sizes):
    scale = torch.tensor(sizes, dtype=torch.float64)
    exact = torch.tensor([[1.0, 0.2, 0.1], [-0.3, 1.0, 0.4]], dtype=torch.float64) * scale[:, None]
    jacobian = exact.float()
    x, solver = nn.Parameter(torch.zeros(3)), Fixed((0.5, 0.5))
    losses = list(jacobian @ x)
    descend(solver, None, losses, PREFERENCE[:2] / 0.5, [x], NAMES[:2])
    assert torch.allclose(solver.seen[0][2], exact @ exact.T, rtol=1e-6, atol=0)
    x.grad = None
    found = descend(ps.MGDA("l2"), None, list(jacobian @ x), PREFERENCE[:2] / 0.5, [x], NAMES[:2])
    assert found.status.code == Code.SOLVED
    shares = found.weights * exact.norm(dim=1)
    assert shares.tolist() == pytest.approx([0.5, 0.5], rel=1e-5)  # of two directions, the middle


def test_a_gradient_that_is_zero_stays_zero_beside_others():
    x, solver = nn.Parameter(torch.ones(2)), Fixed((1.0, 1.0, 1.0))
    losses = [x.sum() * 1e-25, (x * 0).sum(), x.sum()]
    found = descend(solver, None, losses, PREFERENCE, [x], NAMES)
    assert solver.seen[0][2][1].tolist() == [0] * 3 == solver.seen[0][2][:, 1].tolist()
    assert found.norms.tolist() == pytest.approx([2**0.5 * 1e-25, 0, 2**0.5], rel=1e-6)


# --- with a scaler, in a loop of one's own ---

ASKED = {"a": 0.2, "b": 0.8}
BATCH = next(iter(toys.loader(1)))


@dataclass(frozen=True)
class Counting(pm.Weighting):
    """Equal weights; its state is how often it was asked."""

    def init(self, sweep):
        return torch.tensor(0)

    def update(self, state, losses, gramian, preference):
        return torch.full_like(preference, 0.5), state + 1, solved_status(losses)


def scaled_step(solver, scaler, model, optimizer, spoil=lambda loss: loss, **asked):
    """A step with a scaler as torch's own examples take it."""
    step = pm.Descent(solver, ASKED, scaler=scaler, **asked)
    losses = toys.losses(model, BATCH)
    optimizer.zero_grad()
    status = step.backward(losses | {"b": spoil(losses["b"])})
    scaler.step(optimizer)
    scaler.update()
    return step, status


@pytest.mark.fault(49)
@pytest.mark.parametrize("solver", [Counting(), ps.EPO(), ps.Linear(), toys.Turned()], ids=repr)
def test_an_overflow_skips_the_step(solver):
    model, scaler = toys.initial(), torch.amp.GradScaler("cpu", init_scale=2.0**127)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step, status = scaled_step(solver, scaler, model, optimizer, spoil=lambda loss: 1e4 * loss)
    assert (Code(int(status.code)).word, float(status.residual)) == ("skipped", 0)
    assert all(torch.equal(p, was) for p, was in zip(model.parameters(), before, strict=True))
    assert not optimizer.state
    assert scaler.get_scale() == 2.0**126
    if isinstance(solver, Counting):
        assert step.state == 0


@pytest.mark.fault(49)
@pytest.mark.parametrize(("of_shared", "of_head"), [(1, 1e10), (1e10, 1)])
def test_an_overflow_in_a_head_or_in_what_is_shared_alone_skips_the_step(of_shared, of_head):
    shared, head = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100)
    step, optimizer = pm.Descent(Counting(), ASKED, scaler=scaler), torch.optim.SGD([shared, head], lr=0.1)
    status = step.backward({"a": of_shared * shared.sum() + of_head * head.sum(), "b": 2 * shared.sum()})
    assert (status.code, step.state) == (Code.SKIPPED, 0)
    scaler.step(optimizer)
    assert (shared.tolist(), head.tolist()) == ([1, 1], [1])


@pytest.mark.fault(49)
@pytest.mark.parametrize("asked", [{}, {"clip": 0.1}], ids=["", "clipped"])
@pytest.mark.parametrize("solver", [Counting(), ps.EPO(), toys.Turned()], ids=repr)
def test_without_overflow_the_step_is_the_plain_one(solver, asked):
    plain, scaled = toys.initial(), toys.initial()
    optimizer = SGD(plain.parameters())
    status = pm.Descent(solver, ASKED, **asked).backward(toys.losses(plain, BATCH))
    optimizer.step()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=1)
    step, other = scaled_step(solver, scaler, scaled, SGD(scaled.parameters()), **asked)
    assert apart(plain, scaled) < 1e-6
    assert apart(plain, toys.initial()) > 1e-3
    assert status == other
    assert scaler.get_scale() == 2.0**17
    if isinstance(solver, Counting):
        assert step.state == 1


@pytest.mark.fault(16)
@pytest.mark.fault(49)
def test_a_loss_that_comes_alone_is_scaled_as_well():
    plain, scaled = toys.initial(), toys.initial()
    toys.losses(plain, BATCH)["a"].backward()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    pm.Descent(ps.Linear(), ASKED, scaler=scaler).backward(toys.losses(scaled, BATCH) | {"b": None})
    for p, q in zip(plain.parameters(), scaled.parameters(), strict=True):
        assert p.grad is None or torch.allclose(q.grad, 1024 * ASKED["a"] * p.grad, rtol=1e-6)


@pytest.mark.fault(49)
def test_a_scaler_that_is_off_changes_nothing():
    plain, scaled = toys.initial(), toys.initial()
    pm.Descent(ps.EPO(), ASKED).backward(toys.losses(plain, BATCH))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    pm.Descent(ps.EPO(), ASKED, scaler=scaler).backward(toys.losses(scaled, BATCH))
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(plain.parameters(), scaled.parameters(), strict=True))


@pytest.mark.fault(1)
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()], ids=repr)
def test_a_loss_that_is_not_finite_is_an_error_with_a_scaler_as_without(solver, scaled, number):
    step = pm.Descent(solver, ASKED, scaler=torch.amp.GradScaler("cpu") if scaled else None)
    losses = toys.losses(toys.initial(), BATCH)
    with pytest.raises(NonFiniteError, match="in 'b'"):
        step.backward(losses | {"b": losses["b"] + number})


@pytest.mark.fault(1)
def test_a_gradient_that_is_not_finite_is_an_error_without_a_scaler():
    x = nn.Parameter(torch.zeros(2))
    with pytest.raises(NonFiniteError, match="inf in the gradient of 'b'"):
        pm.Descent(ps.EPO(), ASKED).backward({"a": (x - 1).square().sum(), "b": 1 + x.sqrt().sum()})


@pytest.mark.fault(50)
def test_half_precision_learns_under_a_scaler():
    """The squares of these gradients are zero in float16, and without the scale the gradients are as well."""
    x = nn.Parameter(torch.ones(4))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14)
    step, optimizer = pm.Descent(ps.MGDA(), ASKED, scaler=scaler), torch.optim.SGD([x], lr=1.0)
    half = x.half()
    status = step.backward({"a": (half * 1e-6).float().sum(), "b": (half[:2] * 1e-6).float().sum()})
    scaler.step(optimizer)
    assert status.code == Code.SOLVED
    assert (1 - x).tolist() == pytest.approx([1e-6, 1e-6, 0, 0], rel=0.2)

"""Gradients by a second road: one backward pass a loss, each on a copy of the model."""

from copy import deepcopy
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.gradients import Losses, NonFinite, descend
from paretomtl.solver import Aggregation, Code, Stepper, Weighting, solved
from paretomtl.training.study import Study
from tests import toys

NAMES = ("a", "b", "c")
PREFERENCE = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
X = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class ThreeHeads(nn.Module):
    """A trunk that all three losses reach, a gain that "a" and "b" reach, a head for each, and an idle parameter."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(3, 4)
        self.gain = nn.Parameter(torch.tensor(0.7))
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in NAMES)
        self.idle = nn.Parameter(torch.ones(2))
        self.double()

    def losses(self) -> list[torch.Tensor]:
        z = self.trunk(X).tanh()
        a, b, c = (head(z) for head in self.heads)
        return [(self.gain * a - X[:, :1]).square().mean(), (self.gain * b + 1).abs().mean(), c.exp().mean()]


def one_by_one(model) -> list[dict[str, torch.Tensor | None]]:
    """The gradient of each loss on each parameter."""
    gradients = []
    for i in range(len(NAMES)):
        copy = deepcopy(model)
        copy.losses()[i].backward()
        gradients.append({name: p.grad for name, p in copy.named_parameters()})
    return gradients


def combined(gradients, weights) -> dict[str, torch.Tensor | None]:
    """The sum of the gradients that there are, weighted."""
    result = {}
    for name in gradients[0]:
        pieces = [w * g[name] for w, g in zip(weights, gradients, strict=True) if g[name] is not None]
        result[name] = sum(pieces) if pieces else None
    return result


def assert_gradients(model, expected) -> None:
    for name, p in model.named_parameters():
        if expected[name] is None:
            assert p.grad is None, name
        else:
            assert p.grad.dtype == p.dtype
            assert torch.allclose(p.grad, expected[name], rtol=1e-10, atol=1e-14), name


@dataclass(frozen=True)
class Fixed(Weighting):
    """Answers the same weights, and keeps what it was given."""

    weights: tuple[float, ...]
    seen: list = field(default_factory=list, compare=False)

    def update(self, state, losses, gramian, preference):
        self.seen.append((state, losses, gramian, preference))
        return torch.tensor(self.weights, dtype=torch.float64), "next", solved(losses)


def test_a_weighting_moves_the_shared_parameters_by_its_weights_and_heads_by_their_own_gradient():
    model, solver = ThreeHeads(), Fixed((0.5, -2.0, 3.0))
    losses = model.losses()
    weights, state, status = descend(solver, "before", losses, PREFERENCE, list(model.parameters()), NAMES)
    gradients = one_by_one(model)
    expected = combined(gradients, solver.weights)
    for i in range(len(NAMES)):
        expected |= {name: gradients[i][name] for name in (f"heads.{i}.weight", f"heads.{i}.bias")}
    assert_gradients(model, expected)
    assert (tuple(weights.tolist()), state, status.code) == (solver.weights, "next", Code.SOLVED)

    ((before, seen, gramian, preference),) = solver.seen
    assert before == "before"
    assert seen.tolist() == [loss.item() for loss in losses]
    assert not seen.requires_grad
    shared = ("trunk.weight", "trunk.bias", "gain")
    rows = [[torch.zeros(1) if g[name] is None else g[name].reshape(-1) for name in shared] for g in gradients]
    jacobian = torch.stack([torch.cat(row) for row in rows])
    assert torch.allclose(gramian, jacobian @ jacobian.T, rtol=1e-10)
    assert torch.equal(preference, PREFERENCE)


def test_epo_gets_the_gramian_of_the_shared_parameters():
    model = ThreeHeads()
    weights, _, _ = descend(ps.EPO(), None, model.losses(), PREFERENCE, list(model.parameters()), NAMES)
    solver = Fixed((1.0, 1.0, 1.0))
    descend(solver, None, model.losses(), PREFERENCE, list(model.parameters()), NAMES)
    _, losses, gramian, _ = solver.seen[0]
    assert torch.allclose(weights, ps.EPO()(losses, gramian, PREFERENCE), rtol=0, atol=1e-9)
    assert weights.max() < 1


def test_a_scalarization_is_one_backward_pass_of_the_weighted_sum_heads_included():
    model = ThreeHeads()
    weights, state, _ = descend(ps.Linear(), "state", model.losses(), PREFERENCE, list(model.parameters()), NAMES)
    assert torch.equal(weights, PREFERENCE)
    assert state == "state"
    assert_gradients(model, combined(one_by_one(model), PREFERENCE))


@pytest.mark.parametrize("solver", [ps.Linear(), Fixed((1.0, 2.0))], ids=["scalarization", "weighting"])
def test_gradients_keep_the_dtype_of_their_parameters(solver):
    model = toys.TwoHeads()
    losses = list(toys.losses(model, toys.regression(0)[:]).values())
    descend(solver, None, losses, PREFERENCE[1:], list(model.parameters()), NAMES[1:])
    assert [p.grad.dtype for p in model.parameters()] == [torch.float32] * 6


@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()], ids=["scalarization", "weighting"])
def test_the_only_loss_that_a_batch_has_is_descended_as_it_is(solver):
    model = ThreeHeads()
    only = [model.losses()[1]]
    weights, state, status = descend(solver, "state", only, PREFERENCE[:1] / 0.2, list(model.parameters()), ("b",))
    assert_gradients(model, one_by_one(model)[1])
    assert (weights.tolist(), state, status.code) == ([1], "state", Code.SOLVED)


@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()], ids=["scalarization", "weighting"])
@pytest.mark.parametrize(
    ("value", "word"),
    [
        pytest.param(float("nan"), "nan", marks=pytest.mark.fault(1)),
        pytest.param(float("inf"), "inf", marks=pytest.mark.fault(2)),
        pytest.param(-float("inf"), "inf", marks=pytest.mark.fault(2)),
    ],
)
def test_a_loss_that_is_not_finite_is_named(value, word, solver):
    model = ThreeHeads()
    losses = model.losses()
    losses[1] = losses[1] * value
    with pytest.raises(NonFinite, match=f"^{word} in 'b'$"):
        descend(solver, None, losses, PREFERENCE, list(model.parameters()), NAMES)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("i", [0, 2])
@pytest.mark.parametrize(("root", "word"), [(torch.sqrt, "inf"), (lambda x: x.square().sqrt(), "nan")])
def test_a_gradient_that_is_not_finite_is_named_though_its_loss_is_finite(root, word, i):
    x = nn.Parameter(torch.zeros((), dtype=torch.float64))
    losses = [(x - 1).square(), (x + 1).square(), (x + 2).square()]
    losses[i] = root(x) + 1
    with pytest.raises(NonFinite, match=f"^{word} in the gradient of '{NAMES[i]}'$"):
        descend(ps.EPO(), None, losses, PREFERENCE, [x], NAMES)


class Direction(Aggregation):
    def update(self, state, losses, jacobian, preference):
        raise AssertionError("not driven")


class Walker(Stepper):
    def step(self, state, closure, preference):
        raise AssertionError("not driven")


@pytest.mark.parametrize("solver", [Direction(), Walker()], ids=["aggregation", "stepper"])
def test_what_the_loop_does_not_drive_is_an_error_before_work(solver):
    problem = toys.two_regressions()
    with pytest.raises(TypeError, match=f"{type(solver).__name__}: the training loop drives scalarizations"):
        Study(problem, solver, PREFERENCE[None, :2].numpy(), False, 1, None)
    with pytest.raises(TypeError, match=f"{type(solver).__name__}: the training loop drives scalarizations"):
        pm.explore(problem, solver, preferences=2, epochs=1)
    model = ThreeHeads()
    with pytest.raises(TypeError, match=f"{type(solver).__name__} is neither"):
        descend(solver, None, model.losses(), PREFERENCE, list(model.parameters()), NAMES)


class Box(nn.Module):
    """Two trained parameters, and a frozen one between them."""

    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([[0.3, -0.2], [0.1, 0.5]], dtype=torch.float64))
        self.frozen = nn.Parameter(torch.tensor([2.0], dtype=torch.float64), requires_grad=False)
        self.y = nn.Parameter(torch.tensor([0.4], dtype=torch.float64))


def box_losses(x, y):
    return torch.stack([(x * x).sum() * y.exp().sum(), (x.sum(dim=-1).sum(dim=-1) - 2).square()])


@pytest.fixture
def box():
    model = Box()
    problem = pm.Problem(
        objectives=["both", "x alone"],
        model=Box,
        losses=lambda model, batch: dict(zip(["both", "x alone"], box_losses(model.x, model.y).unbind(), strict=True)),
        ref_point=[9.0, 9.0],
        project=lambda model: model.x.data.clamp_(-1, 1),
        deterministic=True,
    )
    return model, Losses(problem, model)


def test_the_closure_answers_elsewhere_and_leaves_the_model_in_place(box):
    model, closure = box
    there = torch.arange(5, dtype=torch.float64)
    here = closure.parameters
    assert here.tolist() == [0.3, -0.2, 0.1, 0.5, 0.4]
    assert torch.equal(closure(there), box_losses(there[:4].reshape(2, 2), there[4:]))
    assert torch.equal(closure.parameters, here)
    assert torch.equal(closure(), box_losses(model.x, model.y).detach())
    assert not closure(there).requires_grad
    assert [p.grad for p in model.parameters()] == [None] * 3
    assert closure.moves == 0


def test_the_jacobian_of_the_closure_is_of_all_trained_parameters(box):
    model, closure = box
    losses, jacobian = closure.jacobian()
    x, y = torch.autograd.functional.jacobian(box_losses, (model.x.detach(), model.y.detach()))
    assert torch.equal(losses, closure())
    assert torch.allclose(jacobian, torch.cat([x.reshape(2, 4), y], dim=1), rtol=1e-12)
    assert jacobian[1].tolist() == pytest.approx([*[2 * (0.7 - 2)] * 4, 0])  # "x alone" does not reach y
    assert not jacobian.requires_grad


def test_a_move_keeps_the_bounds_and_is_counted(box):
    model, closure = box
    closure.move(torch.tensor([3, -3, 0.5, 0, 7], dtype=torch.float64))
    assert closure.parameters.tolist() == [1, -1, 0.5, 0, 7]
    assert model.frozen.item() == 2
    assert closure.moves == 1

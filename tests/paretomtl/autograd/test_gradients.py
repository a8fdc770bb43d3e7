"""What `descend` and `follow` add to the parameters' gradients, by class."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import paretomtl_solvers as ps
from paretomtl.autograd import jacobian as jacobian_module
from paretomtl.autograd.gradients import descend, leaf_parameters
from paretomtl.errors import NonFiniteError
from paretomtl.point import Code
from paretomtl.solver import Status, Stepper, Weighting, solved_status
from tests import toys
from tests.three_heads import (
    NAMES,
    PREFERENCE,
    Everywhere,
    Fixed,
    Places,
    ThreeHeads,
    assert_gradients,
    combined,
    cut,
    heads,
    one_by_one,
    rows,
    taken,
)

CLASSES = [ps.Linear(), Fixed((0.5, -2.0, 3.0)), Places(), Everywhere()]
of_each_class = pytest.mark.parametrize("solver", CLASSES, ids=["scalarization", "weighting", "aggregation", "stepper"])


# --- what each class sets ---


def test_a_weighting_moves_the_shared_parameters_by_its_weights_and_heads_by_their_own_gradient():
    model, solver = ThreeHeads(), Fixed((0.5, -2.0, 3.0))
    found = taken(solver, model, "before")
    gradients = one_by_one(model)
    assert_gradients(model, combined(gradients, solver.weights) | heads(gradients))
    assert (tuple(found.weights.tolist()), found.state, found.status.code) == (solver.weights, "next", Code.SOLVED)

    ((before, seen, gramian, preference),) = solver.seen
    assert before == "before"
    assert seen.tolist() == [loss.item() for loss in model.losses()]
    assert not seen.requires_grad
    jacobian = rows(gradients)
    assert torch.allclose(gramian, jacobian @ jacobian.T, rtol=1e-10)
    assert torch.allclose(found.norms, jacobian.norm(dim=1), rtol=1e-10)
    assert torch.equal(preference, PREFERENCE)


@pytest.mark.parametrize("solver", [Fixed((0.5, -2.0, 3.0)), ps.EPO(heads="weighted"), ps.MGDA()], ids=repr)
@pytest.mark.parametrize("clip", [None, 0.1])
def test_the_jacobian_in_blocks_moves_parameters_alike(solver, clip, monkeypatch):
    """With weighted heads, some losses do not depend on some of the parameters."""
    moved = []
    for size in (jacobian_module.BLOCK, 1):
        monkeypatch.setattr(jacobian_module, "BLOCK", size)
        torch.manual_seed(0)
        model = ThreeHeads()
        parameters = list(model.parameters())
        result = descend(solver, None, model.losses(), PREFERENCE, parameters, NAMES, clip=clip)
        moved.append(
            (torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]), result.weights, result.norms)
        )
    for whole, in_blocks in zip(*moved, strict=True):
        torch.testing.assert_close(in_blocks, whole, rtol=1e-10, atol=1e-12)


def test_an_aggregation_moves_the_shared_parameters_by_its_direction_and_heads_by_their_own_gradient():
    model, solver = ThreeHeads(), Places()
    found = taken(solver, model, "before")
    gradients = one_by_one(model)
    jacobian = rows(gradients)
    direction = jacobian.sum(dim=0) * torch.arange(1, jacobian.shape[1] + 1)
    assert_gradients(model, cut(direction, model) | heads(gradients) | {"idle": None})
    assert (found.weights, found.state, found.status.code) == (None, "next", Code.SOLVED)
    assert torch.allclose(found.norms, jacobian.norm(dim=1), rtol=1e-10)

    ((before, seen, given, preference),) = solver.seen
    assert before == "before"
    assert seen.tolist() == [loss.item() for loss in model.losses()]
    assert not given.requires_grad
    assert torch.allclose(given, jacobian, rtol=1e-10)
    assert torch.equal(preference, PREFERENCE)


def test_a_stepper_moves_all_parameters_by_its_direction():
    model = ThreeHeads()
    found = taken(Everywhere(), model)
    summed = combined(one_by_one(model), [1, 1, 1]) | {"idle": torch.zeros(2, dtype=torch.float64)}
    names = [name for name, _ in model.named_parameters()]
    direction = torch.cat([summed[name].reshape(-1) for name in names])
    assert_gradients(model, cut(direction + torch.arange(len(direction)), model, names))
    assert (found.weights, found.state, found.norms) == (None, "next", None)


def test_epo_gets_the_gramian_of_the_shared_parameters():
    model, solver = ThreeHeads(), Fixed((1.0, 1.0, 1.0))
    weights = taken(ps.EPO(), model).weights
    taken(solver, model)
    _, losses, gramian, _ = solver.seen[0]
    assert torch.allclose(weights, ps.EPO()(losses, gramian, PREFERENCE), rtol=0, atol=1e-9)
    assert weights.max() < 1


def test_a_scalarization_is_one_backward_pass_of_the_weighted_sum_heads_included():
    model = ThreeHeads()
    found = taken(ps.Linear(), model, "state")
    assert torch.equal(found.weights, PREFERENCE)
    assert (found.state, found.norms) == ("state", None)
    assert_gradients(model, combined(one_by_one(model), PREFERENCE))


@of_each_class
def test_gradients_are_added_to_those_that_are_there(solver):
    """As `backward` does; steps on several batches before the optimizer's are the sum of steps on each."""
    once, twice = ThreeHeads(), ThreeHeads()
    twice.load_state_dict(once.state_dict())
    taken(solver, once)
    taken(solver, twice)
    taken(solver, twice)
    for (name, one), two in zip(once.named_parameters(), twice.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None), name
        assert one.grad is None or torch.allclose(two.grad, 2 * one.grad, rtol=1e-12), name


class Twice(nn.Module):
    """Parameters whose gradients are one tensor to autograd, and an expanded one."""

    def __init__(self):
        super().__init__()
        self.trunk, self.one, self.other = (nn.Parameter(torch.ones(3)) for _ in range(3))

    def losses(self):
        return [(self.trunk + self.one + self.other).sum(), self.trunk.square().sum()]


@pytest.mark.parametrize("solver", [ps.Linear(), Fixed((1.0, 1.0)), Places()], ids=repr)
def test_gradients_can_be_written_into(solver):
    model = Twice()
    parameters = list(model.parameters())
    descend(solver, None, model.losses(), PREFERENCE[1:] / 0.8, parameters, NAMES[:2])
    before = [p.grad.clone() for p in parameters]
    nn.utils.clip_grad_norm_(parameters, 1e-3)
    total = torch.cat(before).norm()
    for p, was in zip(parameters, before, strict=True):
        assert torch.allclose(p.grad, was * 1e-3 / total, rtol=1e-4)


@pytest.mark.parametrize("solver", [ps.Linear(), Fixed((1.0, 2.0)), Places()], ids=repr)
def test_gradients_keep_the_dtype_of_their_parameters(solver):
    model = toys.TwoHeads()
    losses = list(toys.losses(model, toys.regression(0)[:]).values())
    descend(solver, None, losses, PREFERENCE[1:], list(model.parameters()), NAMES[1:])
    assert [p.grad.dtype for p in model.parameters()] == [torch.float32] * 6


@pytest.mark.parametrize("solver", CLASSES[:3], ids=["scalarization", "weighting", "aggregation"])
def test_the_only_loss_that_a_batch_has_is_descended_as_it_is(solver):
    model = ThreeHeads()
    only = [model.losses()[1]]
    found = descend(solver, "state", only, PREFERENCE[:1] / 0.2, list(model.parameters()), ("b",))
    assert_gradients(model, one_by_one(model)[1])
    assert (found.weights.tolist(), found.state, found.status.code) == ([1], "state", Code.SOLVED)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_stationary_is_said_of_shared_parameters_only_where_heads_rest_as_well(value):
    """Else a loop would stop while the heads still learn."""

    class Still(Weighting):
        def update(self, state, losses, gramian, preference):
            return preference, state, Status(torch.tensor(int(Code.STATIONARY)), torch.tensor(0.0))

    x, head = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.tensor([value]))
    losses = [x.square().sum() + head.square().sum(), x.square().sum()]
    found = descend(Still(), None, losses, PREFERENCE[:2] / 0.5, [x, head], NAMES[:2])
    assert found.status.code == (Code.SOLVED if value else Code.STATIONARY)


# --- what is not finite ---


@of_each_class
@pytest.mark.parametrize(
    ("value", "word"),
    [
        pytest.param(float("nan"), "nan", marks=pytest.mark.fault(1)),
        pytest.param(float("inf"), "inf", marks=pytest.mark.fault(2)),
        pytest.param(-float("inf"), "inf", marks=pytest.mark.fault(2)),
    ],
)
def test_a_loss_that_is_not_finite_is_named(value, word, solver):
    class Spoiled(ThreeHeads):
        def losses(self):
            a, b, c = super().losses()
            return [a, b + value, c]

    model = Spoiled()
    with pytest.raises(NonFiniteError, match=f"^{word} in 'b'$"):
        taken(solver, model)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("solver", [ps.EPO(), Places()], ids=["weighting", "aggregation"])
@pytest.mark.parametrize("i", [0, 2])
@pytest.mark.parametrize(("root", "word"), [(torch.sqrt, "inf"), (lambda x: x.square().sqrt(), "nan")])
def test_a_gradient_that_is_not_finite_is_named_though_its_loss_is_finite(root, word, i, solver):
    x = nn.Parameter(torch.zeros((), dtype=torch.float64))
    losses = [(x - 1).square(), (x + 1).square(), (x + 2).square()]
    losses[i] = root(x) + 1
    with pytest.raises(NonFiniteError, match=f"^{word} in the gradient of '{NAMES[i]}'$"):
        descend(solver, None, losses, PREFERENCE, [x], NAMES)


@pytest.mark.fault(1)
def test_a_direction_that_is_not_finite_is_named_by_its_method():
    class Lost(Stepper):
        def update(self, state, closure, preference):
            return closure.parameters * float("nan"), state, solved_status(preference)

    model = ThreeHeads()
    with pytest.raises(NonFiniteError, match=r"^the direction of Lost is not finite$"):
        taken(Lost(), model)
    assert all(p.grad is None for p in model.parameters())


# --- losses and parameters that have nothing in common ---


class Apart(ThreeHeads):
    """A fourth loss, "d", reaches a head of its own and nothing else; it stands second."""

    def __init__(self):
        super().__init__()
        self.own = nn.Parameter(torch.tensor([0.3, -0.4], dtype=torch.float64))

    def losses(self):
        a, b, c = super().losses()
        return [a, (self.own - 1).square().sum(), b, c]


@pytest.mark.fault(7)
@pytest.mark.parametrize("solver", [ps.EPO(), ps.MGDA(), Places()], ids=["EPO", "MGDA", "aggregation"])
def test_a_loss_that_shares_nothing_follows_its_gradient_and_has_no_say(solver):
    model, without = Apart(), ThreeHeads()
    without.load_state_dict({name: value for name, value in model.state_dict().items() if name != "own"})
    alone = taken(solver, without)
    preference = torch.tensor([0.1, 0.5, 0.15, 0.25], dtype=torch.float64)  # of the others: 0.2, 0.3, 0.5
    found = descend(solver, None, model.losses(), preference, list(model.parameters()), ("a", "d", "b", "c"))
    expected = {name: p.grad for name, p in without.named_parameters()}
    assert_gradients(model, expected | {"own": 2 * (model.own.detach() - 1)}, rtol=1e-9)
    norm, *norms = alone.norms.tolist()
    assert found.norms.tolist() == pytest.approx([norm, 0, *norms])
    assert found.status.code == alone.status.code
    if alone.weights is not None:
        weight, *weights = alone.weights.tolist()
        assert found.weights.tolist() == pytest.approx([weight, 0, *weights], rel=1e-9)


@pytest.mark.fault(7)
def test_where_only_a_loss_that_shares_nothing_matters_the_others_matter_alike():
    solver, model = Fixed((1.0, 1.0, 1.0)), Apart()
    preference = torch.tensor([0, 1, 0, 0], dtype=torch.float64)
    descend(solver, None, model.losses(), preference, list(model.parameters()), ("a", "d", "b", "c"))
    assert solver.seen[0][-1].tolist() == pytest.approx([1 / 3] * 3)


@dataclass(frozen=True)
class Remembers(Fixed):
    stateful = True


@pytest.mark.fault(7)
def test_a_stateful_method_cannot_go_without_a_loss():
    model = Apart()
    with pytest.raises(ValueError, match=r"Remembers carries its state .* shared parameters; \['d'\] do not"):
        descend(
            Remembers((1.0,) * 4), None, model.losses(), torch.full((4,), 0.25), [*model.parameters()], list("adbc")
        )


class Separate(nn.Module):
    """Two losses without a common parameter."""

    def __init__(self):
        super().__init__()
        self.x, self.y = (nn.Parameter(torch.tensor([v, 1.0], dtype=torch.float64)) for v in (2.0, 3.0))

    def losses(self):
        return [self.x.square().sum(), self.y.pow(3).sum()]


@pytest.mark.fault(7)
@pytest.mark.parametrize("solver", [Fixed((5.0, 6.0)), Places()], ids=["weighting", "aggregation"])
def test_without_any_shared_parameter_each_loss_follows_its_gradient(solver):
    model = Separate()
    found = descend(solver, "state", model.losses(), PREFERENCE[:2] / 0.5, list(model.parameters()), NAMES[:2])
    assert_gradients(model, combined(one_by_one(model), [1, 1]))
    assert (found.weights.tolist(), found.state, found.status.code) == ([1, 1], "state", Code.SOLVED)
    assert solver.seen == []
    with pytest.raises(ValueError, match=r"Remembers .* \['a', 'b'\] do not"):
        descend(Remembers((1.0, 1.0)), None, model.losses(), PREFERENCE[:2], list(model.parameters()), NAMES[:2])


def test_leaves_are_what_backward_fills():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.Linear(3, 2))
    model[2].weight = model[0].weight  # tied
    model[2].bias.requires_grad_(False)
    unused, scalar, alone = (
        nn.Parameter(torch.ones(2)),
        nn.Parameter(torch.tensor(0.5)),
        nn.Parameter(torch.tensor(2.0)),
    )
    data = torch.randn(5, 3, requires_grad=True)  # a leaf that is no parameter of the model
    scaled = model[3].weight * 2
    scaled.retain_grad()
    out = model[2](model[1](model[0](data)))
    losses = [out.square().mean(), (out @ scaled.T).mean(), alone, model[0](data).detach().sum() + scalar.exp()]
    found = leaf_parameters(losses)
    sum(losses).backward()
    named = {**dict(model.named_parameters()), "unused": unused, "scalar": scalar, "alone": alone, "data": data}
    filled = {name for name, p in named.items() if p.grad is not None}
    assert filled == {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "scalar", "alone", "data"}
    assert len(found) == len(filled)
    assert {id(p) for p in found} == {id(named[name]) for name in filled}


def test_what_is_of_no_class_that_sees_gradients_is_refused():
    model = ThreeHeads()
    with pytest.raises(TypeError, match="Everywhere is neither a Scalarization, a Weighting nor an Aggregation"):
        descend(Everywhere(), None, model.losses(), PREFERENCE, list(model.parameters()), NAMES)

"""The losses as a function of all parameters, against torch's own functional derivatives and loops over samples."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import paretomtl as pm
from paretomtl.autograd.loss_function import SAMPLES_AT_ONCE

NAMES = ["a", "b"]


class Net(nn.Module):
    """A trunk, a gain without dimensions, a head each, a frozen parameter and one that nothing reaches."""

    def __init__(self, middle: nn.Module | None = None):
        super().__init__()
        self.trunk = nn.Linear(2, 3)
        self.gain = nn.Parameter(torch.tensor(0.7))
        self.frozen = nn.Parameter(torch.tensor([2.0]), requires_grad=False)
        self.middle = middle or nn.Identity()
        self.a, self.b = nn.Linear(3, 1), nn.Linear(3, 1)
        self.idle = nn.Parameter(torch.ones(2))
        self.double()

    def forward(self, x):
        z = self.gain * self.middle(self.trunk(x).tanh())
        return self.frozen * self.a(z)[:, 0], self.b(z)[:, 0]


def losses(model, batch):
    x, y = batch
    a, b = model(x)
    return {"a": (a - y).square().mean(), "b": (b + y).exp().mean()}


def problem(losses: Callable = losses, **fields) -> pm.Problem:
    return pm.Problem(NAMES, Net, losses, ref_point=[9.0, 9.0], **({"train": [1], "validate": [1]} | fields))


def analytic(data) -> pm.Problem:
    """The same losses, of these data alone, as a problem without batches."""
    return problem(lambda model, _: losses(model, data), train=None, validate=None, deterministic=True)


def batch(n: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(n, 2, dtype=torch.float64), torch.randn(n, dtype=torch.float64)


def trained(model) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def functional(model, data) -> Callable:
    """The losses of flat parameters, for torch.autograd.functional."""
    there = trained(model)

    def evaluate(flat):
        pieces = flat.split([p.numel() for p in there.values()])
        at = {name: piece.view_as(p) for (name, p), piece in zip(there.items(), pieces, strict=True)}
        x, y = data
        a, b = torch.func.functional_call(model, at, (x,))
        return torch.stack(list(losses(lambda _: (a, b), (x, y)).values()))

    return evaluate


@pytest.fixture
def case():
    """A model, its batch, the closure, the same losses for torch, and a place elsewhere."""
    model, data = Net(), batch()
    closure = pm.closure(problem(), model, data)
    there = closure.parameters + 0.1 * torch.randn_like(closure.parameters)
    return model, closure, functional(model, data), there


def close(one, other):
    return torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_parameters_are_the_trained_ones_in_their_order(case):
    model, closure, *_ = case
    expected = [p for name, p in model.named_parameters() if name != "frozen"]
    assert torch.equal(closure.parameters, torch.cat([p.reshape(-1) for p in expected]))
    assert not closure.parameters.requires_grad


def test_the_closure_answers_elsewhere_and_leaves_the_model_in_place(case):
    model, closure, evaluate, there = case
    here = closure.parameters
    assert close(closure(there), evaluate(there))
    assert torch.equal(closure.parameters, here)
    assert close(closure(), evaluate(here))
    assert not closure(there).requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert closure.moves == 0


def test_gradients_are_of_all_trained_parameters_and_tell_which_are_shared(case):
    model, closure, evaluate, _ = case
    values, jacobian, shared = closure.gradients()
    assert torch.equal(values, closure())
    assert close(jacobian, torch.autograd.functional.jacobian(evaluate, closure.parameters))
    assert not jacobian.requires_grad
    common = {"trunk.weight", "trunk.bias", "gain"}
    expected = [torch.full((p.numel(),), name in common) for name, p in trained(model).items()]
    assert torch.equal(shared, torch.cat(expected))
    assert all(p.grad is None for p in model.parameters())


def test_a_gradient_is_of_the_weighted_sum_elsewhere(case):
    model, closure, evaluate, there = case
    weights = torch.tensor([0.3, -2.0], dtype=torch.float64)
    found = closure.gradient(weights, there)
    assert close(found, weights @ torch.autograd.functional.jacobian(evaluate, there))
    assert not found.requires_grad
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("weights", [[1.0, 0.0], [0.0, 1.0], [0.3, -2.0]])
def test_a_hessian_product_is_torchs(case, weights):
    _, closure, evaluate, there = case
    weights, vector = torch.tensor(weights, dtype=torch.float64), there - 1
    _, expected = torch.autograd.functional.hvp(lambda x: weights @ evaluate(x), closure.parameters, vector)
    found = closure.hessian_product(weights, vector)
    assert close(found, expected)
    assert not found.requires_grad


def test_losses_without_curvature_have_no_hessian():
    """One is linear in the trunk, whose gradient depends on nothing; the other's depends on its head alone."""

    def flat(model, _):
        return {"a": model.trunk.weight.sum(), "b": model.b.bias.square().sum()}

    model = Net()
    closure = pm.closure(problem(flat), model, batch())
    vector = torch.ones_like(closure.parameters)
    assert not closure.hessian_product(torch.tensor([1.0, 0.0]), vector).any()
    found = closure.hessian_product(torch.tensor([1.0, 1.0]), vector)
    assert found.nonzero().tolist() == [[len(found) - 1]]  # b.bias is the last
    assert found.sum() == 2


def test_weights_of_another_precision_are_taken(case):
    _, closure, _, there = case
    weights = torch.tensor([0.5, 0.25])
    assert torch.equal(closure.gradient(weights, there), closure.gradient(weights.double(), there))
    assert torch.equal(closure.hessian_product(weights, there), closure.hessian_product(weights.double(), there))


@pytest.mark.parametrize("n", [1, 5, SAMPLES_AT_ONCE, 2 * SAMPLES_AT_ONCE + 3])
def test_squared_gradients_are_the_mean_over_single_samples(n):
    model, (x, y) = Net(), batch(n)
    closure = pm.closure(problem(), model, (x, y))
    each = [pm.closure(problem(), model, (x[i : i + 1], y[i : i + 1])).gradients().jacobian for i in range(n)]
    found = closure.squared_gradients()
    assert close(found, torch.stack(each).square().mean(dim=0))
    assert not found.requires_grad
    if n > 1:
        assert not close(found, closure.gradients().jacobian.square())


def test_without_a_batch_the_losses_are_the_one_sample():
    closure = pm.closure(analytic(batch()), Net())
    assert torch.equal(closure.squared_gradients(), closure.gradients().jacobian.square())


def test_a_loss_without_a_label_is_not_among_them():
    def of_b(model, batch):
        return losses(model, batch) | {"a": None}

    model, data = Net(), batch()
    closure, whole = (pm.closure(problem(f), model, data) for f in (of_b, losses))
    assert torch.equal(closure(), whole()[1:])
    assert torch.equal(closure.gradients().jacobian, whole.gradients().jacobian[1:])
    assert not closure.gradients().shared.any()
    assert close(closure.squared_gradients(), whole.squared_gradients()[1:])


# --- noise, and what is left as it was ---


def test_dropout_is_the_same_wherever_one_closure_asks_and_another_at_the_next():
    model, data = Net(nn.Dropout(0.5)), batch(64)
    closure = pm.closure(problem(), model, data)
    here, weights = closure.parameters, torch.tensor([0.3, 0.7], dtype=torch.float64)
    first, step = closure(), 1e-5 * torch.randn_like(here)  # what others draw changes nothing
    before = torch.get_rng_state()
    assert torch.equal(closure(), first)
    values, jacobian, _ = closure.gradients()
    assert torch.equal(values, first)
    assert close(closure.gradient(weights, here), weights @ jacobian)
    slopes = (closure.gradient(weights, here + step) - closure.gradient(weights, here - step)) / 2
    assert torch.allclose(closure.hessian_product(weights, step), slopes, rtol=1e-4, atol=1e-12)
    squares = closure.squared_gradients()
    assert torch.equal(closure.squared_gradients(), squares)
    assert torch.equal(torch.get_rng_state(), before)
    other = pm.closure(problem(), model, data)
    assert not torch.equal(other(), first)
    assert not torch.equal(other.squared_gradients(), squares)


def test_a_closure_without_a_batch_draws_nothing():
    model, data = Net(), batch()
    before = torch.get_rng_state()
    pm.closure(analytic(data), model).gradients()
    assert torch.equal(torch.get_rng_state(), before)


CALLS = {
    "losses": lambda closure, there: closure(there),
    "losses here": lambda closure, there: closure(),
    "gradients": lambda closure, there: closure.gradients(),
    "gradient": lambda closure, there: closure.gradient(torch.ones(2), there),
    "hessian product": lambda closure, there: closure.hessian_product(torch.ones(2), there),
    "squared gradients": lambda closure, there: closure.squared_gradients(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("breaks", [False, True])
def test_the_model_is_left_as_it_was_whatever_happens(call, breaks):
    """Parameters to the bit, running statistics and the generator, even where the user's losses raise."""

    def breaking(model, batch):
        values = losses(model, batch)
        if breaks:
            raise KeyboardInterrupt
        return values

    model = Net(nn.BatchNorm1d(3) if call != "squared gradients" else None)
    closure = pm.closure(problem(breaking), model, batch())
    before, drawn = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    there = closure.parameters + 1
    if breaks:
        with pytest.raises(KeyboardInterrupt):
            CALLS[call](closure, there)
    else:
        CALLS[call](closure, there)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_samples_that_a_model_mixes_cannot_be_told_apart():
    model, data = Net(nn.BatchNorm1d(3)), batch()
    closure = pm.closure(problem(), model, data)
    with pytest.raises(ValueError, match=r"cannot be taken sample by sample .* as BatchNorm does"):
        closure.squared_gradients()
    model.eval()  # then it mixes nothing
    one = pm.closure(problem(), model, (data[0][:1], data[1][:1])).gradients().jacobian
    assert close(pm.closure(problem(), model, (data[0][:1], data[1][:1])).squared_gradients(), one.square())
    assert closure.squared_gradients().isfinite().all()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda x, y: (x, y, "text"), id="a text"),
        pytest.param(lambda x, y: (x, y, None), id="nothing"),
        pytest.param(lambda x, y: (x, y, torch.tensor(1.0)), id="no dimension"),
        pytest.param(lambda x, y: (x, y, x[:3]), id="another length"),
        pytest.param(lambda x, y: (3, x, y), id="a number"),
    ],
)
def test_batches_that_do_not_lead_with_their_samples(spoil):
    def of_three(model, batch):
        x, y = (part for part in batch if isinstance(part, torch.Tensor) and len(part.shape) and len(part) != 3)
        return losses(model, (x, y))

    closure = pm.closure(problem(of_three), Net(), spoil(*batch(5)))
    assert closure().isfinite().all()
    with pytest.raises(ValueError, match="every tensor of a batch must lead with the samples"):
        closure.squared_gradients()


def test_a_move_keeps_the_bounds_and_is_counted():
    model = Net()
    closure = pm.closure(problem(project=lambda model: model.a.weight.data.clamp_(-1, 1)), model, batch())
    there = closure.parameters + 3
    closure.move(there)
    assert closure.moves == 1
    assert model.a.weight.tolist() == [[1, 1, 1]]
    assert model.frozen.item() == 2
    expected = there.split([p.numel() for p in trained(model).values()])
    at = list(trained(model)).index("a.weight")
    assert torch.equal(closure.parameters, torch.cat([*expected[:at], torch.ones(3), *expected[at + 1 :]]))

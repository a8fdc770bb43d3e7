"""A direction that is chosen at a module's output, against the Jacobian's way and loops over losses."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import paretomtl as pm

NAMES = ["a", "b", "c"]
WEIGHTS = torch.tensor([0.2, -1.5, 0.7], dtype=torch.float64)


class Net(nn.Module):
    """A trunk of two layers, something between it and the heads, a head for each loss, and an idle parameter."""

    def __init__(self, between: nn.Module | None = None, within: nn.Module | None = None):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 5), within or nn.Tanh(), nn.Linear(5, 4))
        self.between = between or nn.Identity()
        self.heads = nn.ModuleDict({name: nn.Linear(4, 1) for name in NAMES})
        self.idle = nn.Parameter(torch.ones(2))
        self.double()

    def forward(self, x: Tensor) -> list[Tensor]:
        z = self.between(self.trunk(x))
        return [head(z)[:, 0] for head in self.heads.values()]


def losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    x, y = batch
    a, b, c = model(x)
    return {"a": (a - y).square().mean(), "b": (b + y).exp().mean(), "c": (c * y).sin().mean()}


def closure(model: nn.Module, losses: Callable = losses, n: int = 7, **fields) -> pm.Closure:
    return pm.closure(problem(model, losses, **fields), model, batch(n))


def problem(model: nn.Module, losses: Callable = losses, **fields) -> pm.Problem:
    fields = {"train": [1], "validate": [1]} | fields
    return pm.Problem(NAMES, lambda: model, losses, ref_point=[9.0] * 3, **fields)


def batch(n: int = 7) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(n)
    return torch.randn(n, 3, generator=g, dtype=torch.float64), torch.randn(n, generator=g, dtype=torch.float64)


def weigh(values: Tensor, output: Tensor, gradients: Tensor) -> Tensor:
    return torch.tensordot(WEIGHTS, gradients, dims=1)


def by_jacobian(here: pm.Closure, weights: Tensor = WEIGHTS) -> Tensor:
    """The weighted sum of the gradients on shared parameters, and the plain sum on the others."""
    _, jacobian, shared = here.gradients()
    return torch.where(shared, weights @ jacobian, jacobian.sum(dim=0))


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 64])
@pytest.mark.parametrize("at", ["trunk", "trunk.2"])
def test_weights_chosen_there_give_the_jacobians_direction(n, at):
    here = closure(Net(), n=n)
    direction = here.gradient_through(at, weigh)
    assert close(direction, by_jacobian(here))
    assert not direction.requires_grad


@pytest.mark.parametrize("between", [nn.ReLU(inplace=True), nn.Dropout(0.5), nn.BatchNorm1d(4, affine=False)])
def test_what_follows_the_module_may_change_its_output_in_place_draw_or_count(between):
    here = closure(Net(between))
    assert close(here.gradient_through("trunk", weigh), by_jacobian(here))


def test_a_layer_before_the_end_of_the_trunk_is_not_the_last_shared_one():
    with pytest.raises(ValueError, match=r"at='trunk.0': behind that module losses still share parameters; name the l"):
        closure(Net()).gradient_through("trunk.0", weigh)


def test_a_layer_of_all_heads_has_a_row_for_each_loss():
    """No entry of it has a gradient of two losses, so it is not shared."""
    joint, apart = Net(), Net()

    def of_rows(model, batch):
        a, b, c = model.joint(model.trunk(batch[0])).T
        return losses(lambda _: (a, b, c), batch)

    joint.joint = nn.Linear(4, 3).double()
    with torch.no_grad():
        for i, (p, q) in enumerate(zip(joint.heads.values(), apart.heads.values(), strict=True)):
            q.weight.copy_(joint.joint.weight[i : i + 1])
            q.bias.copy_(joint.joint.bias[i : i + 1])
            p.requires_grad_(False)
        apart.trunk.load_state_dict(joint.trunk.state_dict())
    here, there = closure(joint, of_rows), closure(apart)
    found, expected = (x.gradient_through("trunk", weigh) for x in (here, there))
    assert close(found[here.locate("trunk.0.weight").at], expected[there.locate("trunk.0.weight").at])
    rows = torch.stack([expected[there.locate(f"heads.{name}.weight").at] for name in NAMES])
    assert close(found[here.locate("joint.weight").at], rows.reshape(-1))


def test_it_gets_the_losses_the_output_and_their_gradients_there():
    model, seen = Net(), []

    def look(values, output, gradients):
        seen.append((values, output, gradients))
        return torch.zeros_like(output)

    here = closure(model)
    direction = here.gradient_through("trunk", look)
    ((values, output, gradients),) = seen
    assert torch.equal(values, here())
    z = model.trunk(batch()[0])
    assert torch.equal(output, z)
    y = batch()[1]
    a, b, c = (head(z)[:, 0] for head in model.heads.values())
    for row, loss in zip(gradients, ((a - y).square().mean(), (b + y).exp().mean(), (c * y).sin().mean()), strict=True):
        (expected,) = torch.autograd.grad(loss, z, retain_graph=True)
        assert close(row, expected)
    assert not any(x.requires_grad for x in seen[0])
    # nothing goes back through the trunk; the heads go their way
    _, jacobian, shared = here.gradients()
    assert not direction[shared].any()
    assert torch.equal(direction, jacobian.sum(dim=0) * ~shared)


def test_what_is_chosen_need_not_be_a_weighted_sum():
    """It goes back through the module as any gradient would."""
    model = Net()
    here = closure(model)
    direction = here.gradient_through("trunk", lambda values, output, gradients: output.cos())
    model.trunk(batch()[0]).sin().sum().backward()
    for name, p in model.trunk.named_parameters():
        assert close(direction[here.locate(f"trunk.{name}").at], p.grad.reshape(-1)), name


def test_on_a_linear_encoder_of_one_sample_the_gradients_there_are_the_parameters_own():
    class Place(nn.Module):
        def __init__(self):
            super().__init__()
            self.x = nn.Parameter(torch.tensor([0.3, -0.2], dtype=torch.float64))

        def forward(self):
            return self.x * 1.0

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.place = Place()

    def three(model, _):
        z = model.place()
        return {"a": z.square().sum(), "b": (z - 1).square().sum(), "c": z.prod()}

    model, seen = Model(), []
    here = pm.closure(problem(model, three, train=None, validate=None, deterministic=True), model)
    here.gradient_through("place", lambda values, output, gradients: seen.append(gradients) or output)
    assert close(seen[0], here.gradients().jacobian)


def test_a_loss_that_does_not_use_the_output_has_no_gradient_there():
    def one_apart(model, batch):
        return losses(model, batch) | {"c": model.idle.square().sum()}

    seen, here = [], closure(Net(), one_apart)
    direction = here.gradient_through("trunk", lambda *given: seen.append(given[2]) or weigh(*given))
    assert seen[0][:2].any()
    assert not seen[0][2].any()
    assert close(direction, by_jacobian(here))
    assert direction[here.locate("idle").at].tolist() == [2, 2]


def test_a_parameter_before_the_module_may_have_a_way_around_it():
    """Its direction has both parts: what is chosen at the module, and the loss's own gradient on the way around."""

    def around(model, batch):
        return losses(model, batch) | {"c": model.trunk[0].weight.square().sum()}

    here = closure(Net(), around)
    without = closure(Net(), lambda model, batch: losses(model, batch) | {"c": model.idle.sum()})
    without.move(here.parameters)
    at = here.locate("trunk.0.weight").at
    found, plain = (x.gradient_through("trunk", weigh)[at] for x in (here, without))
    assert close(found, plain + 2 * here.parameters[at])


# --- what cannot be: each message names the field, the value and the remedy ---


@pytest.mark.parametrize("at", ["encoder", "", "trunk.7", "heads.a.weight"])
def test_a_module_that_is_not_there(at):
    with pytest.raises(ValueError) as caught:
        closure(Net()).gradient_through(at, weigh)
    message = str(caught.value)
    assert message.startswith(f"at={at!r} is no module of the model; it has trunk, trunk.0, ")
    assert "heads.a" in message


def test_a_module_that_runs_twice_or_never():
    def twice(model, batch):
        return losses(model, batch) | {"c": model.trunk(-batch[0]).square().mean()}

    with pytest.raises(ValueError, match="at='trunk': the losses run that module 2 times; name one that runs once"):
        closure(Net(), twice).gradient_through("trunk", weigh)
    with pytest.raises(ValueError, match="at='heads': the losses run that module 0 times; name one that runs once"):
        closure(Net()).gradient_through("heads", weigh)


class Twofold(nn.Module):
    """An output that is no tensor."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x):
        z = self.layer(x)
        return z, z.detach()


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = Twofold()
        self.double()


@pytest.mark.parametrize("part", [0, 1])
def test_an_output_that_is_a_tuple(part):
    def of_both(model, batch):
        z = model.trunk(batch[0])[0]
        return {name: (z[:, i] - 1).square().mean() for i, name in enumerate(NAMES)}

    model = Model()
    here = pm.closure(problem(model, of_both), model, batch())
    with pytest.raises(ValueError, match="at='trunk': that module's output is no tensor with a gradient; name one"):
        here.gradient_through("trunk", weigh)
    assert here.gradient_through("trunk.layer", weigh).any()


def test_an_output_without_a_gradient():
    model = Net()
    model.trunk.requires_grad_(False)
    with pytest.raises(ValueError, match="at='trunk': that module's output is no tensor with a gradient"):
        closure(model).gradient_through("trunk", weigh)


def test_a_closure_that_knows_no_model_says_what_to_give():
    step = pm.Descent(ThroughTrunk(), dict.fromkeys(NAMES, 1.0))
    model = Net()
    with pytest.raises(ValueError, match=r"at='trunk': modules are not known here; .* give Descent\(…, model=model\)"):
        step.backward(lambda: losses(model, batch()))


class ThroughTrunk(pm.Stepper):
    def update(self, state, closure, preference):
        return closure.gradient_through("trunk", weigh), state, pm.solver.status_of(0)


# --- what is left as it was ---


@pytest.mark.parametrize("breaks", [False, True])
def test_the_model_is_left_as_it_was(breaks):
    """Running statistics, the generator, and no hook stays; even where the method raises."""
    model = Net(nn.BatchNorm1d(4), within=nn.Dropout(0.5))
    before, drawn = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    here = pm.closure(problem(model), model, batch())
    torch.set_rng_state(drawn)

    def combine(values, output, gradients):
        if breaks:
            raise KeyboardInterrupt
        return output

    with pytest.raises(ValueError, match="losses still share"):  # the scale and the shift of BatchNorm
        here.gradient_through("trunk", combine)
    if breaks:
        with pytest.raises(KeyboardInterrupt):
            here.gradient_through("between", combine)
    else:
        here.gradient_through("between", combine)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_dropout_is_that_of_the_closures_other_calls():
    here = closure(Net(within=nn.Dropout(0.5)), n=64)
    assert close(here.gradient_through("trunk", weigh), by_jacobian(here))
    assert torch.equal(here.gradient_through("trunk", weigh), here.gradient_through("trunk", weigh))
    assert not close(closure(Net(within=nn.Dropout(0.5)), n=64).gradient_through("trunk", weigh), by_jacobian(here))


# --- where a parameter stands ---


def test_a_parameter_is_located_by_its_name():
    model = Net()
    model.trunk[0].weight.requires_grad_(False)
    here = closure(model)
    for name, p in model.named_parameters():
        if p.requires_grad:
            assert torch.equal(here.parameters[here.locate(name).at].reshape(here.locate(name).shape), p.detach()), name
    for name in ("trunk.0.weight", "trunk", "head.weight"):
        with pytest.raises(ValueError, match=rf"'{name}' is no trained parameter of the model; it has idle, trunk.0.b"):
            here.locate(name)

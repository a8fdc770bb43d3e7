"""RotoGrad in a study and in a loop of one's own, what it refuses, and where it ends."""

import io

import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.autograd.hull import least_norm
from studies import analytic
from tests.towers import EVEN, NAMES, D, Net, Read, Values, batch, built, closure, losses


def solver(**options):
    return ps.RotoGrad("trunk", NAMES, **({"learning_rate": 0.02} | options))


# --- in a study, and in a loop of one's own ---


def test_a_study_trains_and_keeps_the_plain_model():
    problem = pm.Problem(
        list(NAMES), Net, losses, ref_point=[99.0] * 3, train=[batch(k) for k in range(4)], validate=[batch(9)]
    )
    front = pm.explore(
        problem,
        solver(),
        preferences=[[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]],
        epochs=3,
        optimizer=lambda p: torch.optim.SGD(p, 0.01),
    )
    assert front.points[0].counts["steps"] == 12
    assert {name for name, _ in front.load_model(front.points[0], Net).named_parameters()} == {
        name for name, _ in Net().named_parameters()
    }
    assert (front.losses[0] != front.losses[1]).any()


def test_a_checkpoint_resumes_to_the_same_steps():
    def step_of(model):
        return pm.Descent(solver(), dict.fromkeys(NAMES, 1.0), model=model)

    def train(step, model, seeds):
        for k in seeds:
            model.zero_grad()
            step.backward(lambda k=k: losses(model, batch(k)))
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.05 * p.grad

    model = built()
    step = step_of(model)
    train(step, model, range(3))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "step": step.state_dict()}, file)
    train(step, model, range(3, 6))
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = Net()
    resumed.load_state_dict(saved["model"])
    again = step_of(resumed)
    again.load_state_dict(saved["step"])
    train(again, resumed, range(3, 6))
    for p, q in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(p, q)


# --- what is refused ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at": ""}, "at='': give the name of a module"),
        ({"heads": ("a", "a")}, r"heads=\('a', 'a'\): give a tuple with the name of the linear module"),
        ({"size": 1}, "size=1: give a whole number of at least 2, or None for all"),
        ({"size": 2.5}, "size=2.5: give a whole number"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: give a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate=nan: give a positive number"),
        ({"decay": 0.0}, r"decay=0.0: give a number in \(0, 1\]"),
        ({"decay": 1.1}, r"decay=1.1: give a number in \(0, 1\]"),
        ({"burn_in": -1}, "burn_in=-1: give a number of steps, 0 or more"),
    ],
)
def test_options_that_cannot_be(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        ps.RotoGrad(**({"at": "trunk", "heads": NAMES} | options))


def test_what_does_not_fit_the_model():
    with pytest.raises(ValueError, match=r"these are 2 for 3 losses"):
        ps.RotoGrad("trunk", ("a", "b"))(closure(built()), EVEN)
    with pytest.raises(ValueError, match=r"'d.weight' is no trained parameter of the model; it has trunk.0.weight, "):
        ps.RotoGrad("trunk", ("a", "b", "d"))(closure(built()), EVEN)
    with pytest.raises(ValueError, match=r"size=5: the output of 'trunk' has the shape \(7, 4\); its last dimension"):
        solver(size=5)(closure(built()), EVEN)
    with pytest.raises(ValueError, match=r"'ends.b' takes 3 numbers, and the output of 'trunk' has 4; name the linear"):
        ps.RotoGrad("trunk", ("a", "ends.b", "c"))(closure(built()), EVEN)


@pytest.mark.parametrize("x", [torch.tensor(0.5), torch.tensor([0.5])], ids=["a number", "one number"])
def test_a_representation_that_cannot_turn(x):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = Values(x)
            for name in NAMES:
                self.add_module(name, nn.Linear(1, 1))

    def of_heads(model, _):
        z = model.trunk().reshape(1)
        return {name: model.get_submodule(name)(z).square().sum() for name in NAMES}

    with pytest.raises(ValueError, match=r"size=None: the output of 'trunk' has the shape .*; its last dimension must"):
        solver()(closure(Model(), losses=of_heads), EVEN)


@pytest.mark.parametrize("between", [nn.ReLU(), nn.Dropout(0.5), nn.LayerNorm(D, elementwise_affine=False)], ids=str)
def test_something_between_the_representation_and_the_heads(between):
    model = Net(between)
    with pytest.raises(
        ValueError, match=r"loss 0 does not see the output of 'trunk' through 'a' alone; name the modul"
    ):
        solver()(closure(model), EVEN)
    ps.RotoGrad("between", NAMES)(closure(model), EVEN)  # behind it they do


def test_heads_in_another_order_and_losses_that_see_the_representation_beside_them():
    with pytest.raises(ValueError, match=r"loss 1 does not see the output of 'trunk' through 'c' alone"):
        ps.RotoGrad("trunk", ("a", "c", "b"))(closure(built()), EVEN)

    def beside(model, data):
        z = model.trunk(data[0])
        a, b, c = model.heads(z)
        return losses(lambda _: (a, b, c), data) | {"c": (c + z[:, 0]).square().mean()}

    with pytest.raises(ValueError, match=r"loss 2 does not see the output of 'trunk' through 'c' alone"):
        solver()(closure(built(), losses=beside), EVEN)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_check_of_the_heads_knows_rounding(dtype):
    torch.manual_seed(0)
    model = Net().to(dtype)
    x, y = batch(n=256)
    solver()(closure(model, (x.to(dtype), y.to(dtype))), EVEN)


def test_a_gradient_that_is_not_finite():
    def infinite(model, data):
        outputs = model(data[0])
        return losses(lambda _: outputs, data) | {"b": torch.inf * outputs[1].sum()}

    with pytest.raises(ValueError, match=r"^RotoGrad: a gradient at the representation is not finite"):
        solver()(closure(built(), losses=infinite), EVEN)


# --- where it ends ---


class Headed(nn.Module):
    """An analytic problem's place behind a module, seen by each loss through a linear module of its own."""

    def __init__(self, place):
        super().__init__()
        self.trunk = Values(place.x.detach())
        n = len(place.x)
        self.first, self.second = (nn.Linear(n, n, bias=False, dtype=torch.float64) for _ in range(2))
        for head in (self.first, self.second):
            nn.init.eye_(head.weight)


@pytest.mark.parametrize("problem", [analytic.quadratics(), analytic.fonseca()], ids=["quadratics", "fonseca"])
def test_with_steps_that_decay_it_ends_at_a_pareto_stationary_place(problem, unchecked):
    """With steps of one length it need not: all gradients are of one length, that of a loss at its best, too."""
    torch.manual_seed(0)
    model = Headed(problem.model())

    def evaluate(model, batch):
        z = model.trunk()
        found = [problem.losses(Read(head(z)), batch) for head in (model.first, model.second)]
        return {name: found[k][name] for k, name in enumerate(problem.names)}

    studied = pm.Problem(problem.names, lambda: model, evaluate, ref_point=[9.0] * 2, deterministic=True)
    here, state = pm.closure(studied, model), None
    method = ps.RotoGrad("trunk", ("first", "second"), learning_rate=3e-3, decay=0.99)
    r = torch.tensor([0.5, 0.5], dtype=torch.float64)
    start = here.gradients().jacobian.norm()
    for k in range(300):
        direction, state, _ = method.update(state, here, r)
        here.move(here.parameters - 0.4 * 0.99**k * direction)
    _, jacobian, _ = here.gradients()
    gramian = jacobian @ jacobian.T
    weights = torch.from_numpy(least_norm(gramian.numpy()))
    assert (weights @ gramian @ weights).sqrt() <= 5e-3 * start

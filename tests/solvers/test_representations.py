"""Methods at a representation: against MGDA and loops over losses, and where they end."""

import pytest
import torch
from torch import Tensor, nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.autograd.hull import least_norm
from paretomtl.point import Code
from studies import analytic
from tests.towers import EVEN, Net, Read, Values, at_representation, batch, closure, losses

NORMALISATIONS = ["none", "l2", "loss", "loss+"]


def through(model: nn.Module, weights: Tensor) -> Tensor:
    """Weights of the gradients on the shared parameters, and the heads' plain gradients."""
    _, jacobian, shared = closure(model).gradients()
    return torch.where(shared, weights.to(jacobian) @ jacobian, jacobian.sum(dim=0))


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-8, atol=1e-10)


# --- MGDA-UB ---


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_its_weights_are_mgdas_of_the_gradients_at_the_representation(normalisation):
    model = Net()
    U, values = at_representation(model).flatten(1), closure(model)()
    weights = ps.MGDA(normalisation)(values, U @ U.T, EVEN)
    assert close(ps.MGDAUB("trunk", normalisation)(closure(model), EVEN), through(model, weights))
    assert not close(ps.MGDAUB("trunk", normalisation)(closure(model), EVEN), through(model, EVEN))


class Encoder(nn.Module):
    """One sample z = Q theta, Q orthogonal: a linear encoder that keeps lengths and angles."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([0.4, -0.3, 1.2], dtype=torch.float64))
        Q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
        self.register_buffer("Q", Q)

    def forward(self) -> Tensor:
        return self.Q @ self.theta


class OneSample(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = Encoder()


def of_one_sample(model, _):
    z = model.trunk()
    return {"a": (z - 1).square().sum(), "b": (z + 1).pow(4).sum(), "c": z.exp().sum()}


@pytest.mark.parametrize(
    ("solver", "normalisation"),
    [*((ps.MGDAUB("trunk", n), n) for n in NORMALISATIONS), (ps.MultiBalance("trunk"), "none")],
)
def test_on_a_linear_encoder_of_one_sample_it_is_mgda(solver, normalisation):
    here = closure(OneSample(), losses=of_one_sample)
    values, jacobian, _ = here.gradients()
    weights = ps.MGDA(normalisation)(values, jacobian @ jacobian.T, EVEN)
    assert close(solver(here, EVEN), weights @ jacobian)


def test_where_the_gradients_cancel_at_the_representation_the_heads_still_move():
    class Opposed(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Linear(1, 1, bias=False, dtype=torch.float64)
            self.gains = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def opposed(model, batch, gain=True):
        z = model.trunk(batch[0][:, :1])[:, 0].mean()
        gains = model.gains if gain else torch.ones(3)
        return {"a": gains[0] * z, "b": -gains[1] * z, "c": gains[2] * z}

    for head, code in ((True, Code.SOLVED), (False, Code.STATIONARY)):
        model = Opposed()
        if not head:
            model.gains = None
        here = closure(model, losses=lambda m, b, head=head: opposed(m, b, head))
        direction, _, status = ps.MGDAUB("trunk").update(None, here, EVEN)
        assert status.code == code
        assert not direction[here.locate("trunk.weight").at].any()
        assert direction.any() == head


def test_losses_to_divide_by_must_be_positive():
    here = closure(Net(), losses=lambda model, data: {k: v - 5 for k, v in losses(model, data).items()})
    with pytest.raises(ValueError, match=r"^MGDAUB: 'loss' needs positive losses and got"):
        ps.MGDAUB("trunk", "loss")(here, EVEN)


@pytest.mark.parametrize("solver", [ps.MGDAUB("trunk"), ps.MultiBalance("trunk")], ids=repr)
def test_gradients_that_are_not_finite(solver, unchecked):
    here = closure(Net(), losses=lambda model, data: losses(model, data) | {"b": torch.inf * model.trunk[0].bias.sum()})
    with pytest.raises(ValueError, match=rf"^{type(solver).__name__}: the (losses|Gramian) .* is not finite"):
        solver(here, EVEN)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ps.MGDAUB(""), "at='': give the name of a module"),
        (lambda: ps.MGDAUB(3), "at=3: give the name of a module"),
        (lambda: ps.MGDAUB("trunk", "l1"), "normalisation='l1' is not one of none, l2, loss, loss+"),
        (lambda: ps.MGDAUB("trunk", backend="ecos"), "backend='ecos' is not one of"),
        (lambda: ps.MultiBalance(""), "at='': give the name of a module"),
        (lambda: ps.MultiBalance("trunk", 1.0), r"decay=1.0: give a number in \[0, 1\)"),
        (lambda: ps.MultiBalance("trunk", float("nan")), r"decay=nan: give a number in \[0, 1\)"),
    ],
)
def test_options_that_cannot_be(build, message, unchecked):
    with pytest.raises(ValueError, match=message):
        build()


# --- MultiBalance ---


def test_without_averaging_it_is_mgda_ub():
    model = Net()
    direction, state, _ = ps.MultiBalance("trunk", decay=0.0).update(None, closure(model), EVEN)
    assert torch.equal(direction, ps.MGDAUB("trunk")(closure(model), EVEN))
    assert state.gradients is None


def test_it_weighs_by_the_moving_average_and_goes_along_the_present_gradients():
    model, solver, state, mean = Net(), ps.MultiBalance("trunk", decay=0.6), None, None
    for k, n in enumerate((7, 3, 9)):  # batches of several lengths
        data = batch(k, n)
        sums = at_representation(model, data).sum(dim=1)
        mean = sums if mean is None else 0.6 * mean + 0.4 * sums
        given = None if state is None else state.gradients.clone()
        before = state
        direction, state, _ = solver.update(state, closure(model, data), EVEN)
        assert close(state.gradients, mean)
        assert given is None or torch.equal(before.gradients, given)  # a state is never changed in place
        weights = torch.from_numpy(least_norm((mean @ mean.T).numpy()))
        _, jacobian, shared = closure(model, data).gradients()
        assert close(direction[shared], (weights @ jacobian)[shared])


def test_sums_of_mean_losses_do_not_depend_on_how_often_a_sample_is_there():
    model, (x, y) = Net(), batch()
    _, once, _ = ps.MultiBalance("trunk").update(None, closure(model, (x, y)), EVEN)
    _, twice, _ = ps.MultiBalance("trunk").update(None, closure(model, (x.repeat(2, 1), y.repeat(2))), EVEN)
    assert close(once.gradients, twice.gradients)


def test_a_representation_of_another_size_is_refused():
    solver = ps.MultiBalance("trunk")
    _, state, _ = solver.update(None, closure(Net()), EVEN)
    with pytest.raises(ValueError, match=r"^MultiBalance: at='trunk' had 4 numbers a sample and now has 6; name"):
        solver.update(state, closure(Net(d=6)), EVEN)


# --- where they end ---


class Through(nn.Module):
    """A problem's place behind a module: the representation is the place itself."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.trunk = Values(model.x.detach())

    @property
    def x(self) -> Tensor:
        return self.trunk()


@pytest.mark.parametrize("solver", [ps.MGDAUB("trunk"), ps.MGDAUB("trunk", "l2"), ps.MultiBalance("trunk")], ids=repr)
@pytest.mark.parametrize(("problem", "rate"), [(analytic.quadratics(), 0.1), (analytic.fonseca(), 0.2)])
def test_it_ends_at_a_pareto_stationary_place(solver, problem, rate, unchecked):
    torch.manual_seed(0)
    model = Through(problem.model())

    def evaluate(_, batch):
        return problem.losses(Read(model.x), batch)

    studied = pm.Problem(problem.names, lambda: model, evaluate, ref_point=[9.0] * 2, deterministic=True)
    here, state, r = pm.closure(studied, model), solver.init(None), EVEN[:2] * 1.5
    for _ in range(250):
        direction, state, _ = solver.update(state, here, r)
        here.move(here.parameters - rate * direction)
    _, jacobian, _ = here.gradients()
    gramian = jacobian @ jacobian.T
    weights = torch.from_numpy(least_norm(gramian.numpy()))
    assert (weights @ gramian @ weights) <= 1e-6 * gramian.diagonal().max()

"""CoGrad: heads, samples, the forms' units, and what the exact form is exact for."""

import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.point import Code

HESSIANS = ["paper", "fisher", "hvp"]
R = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


class ThreeHeads(nn.Module):
    """Two shared units, and a gain for each of three losses."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Parameter(torch.tensor([[0.5, -1.0], [0.8, 0.3]], dtype=torch.float64))
        self.gains = nn.ParameterList(nn.Parameter(torch.tensor(g, dtype=torch.float64)) for g in (0.7, -1.1, 0.4))


def losses(model, batch):
    x, y = batch
    z = (x @ model.trunk).tanh()
    mixed = torch.stack([z[:, 0], z[:, 1], z.sum(dim=1)])
    return {str(i): (g * mixed[i] - y[:, i]).square().mean() for i, g in enumerate(model.gains)}


def batch(n=6):
    g = torch.Generator().manual_seed(0)
    return tuple(torch.randn(n, k, generator=g, dtype=torch.float64) for k in (2, 3))


def closure(scale=1.0, shared=True, data=None):
    data = batch() if data is None else data
    frozen = torch.tensor([[0.5, -1.0], [0.8, 0.3]], dtype=torch.float64)

    class Fixed(ThreeHeads):
        def __init__(self):
            super().__init__()
            if not shared:
                del self.trunk
                self.register_buffer("trunk", frozen)

    def scaled(model, batch):
        return {name: scale * loss for name, loss in losses(model, batch).items()}

    problem = pm.Problem(["0", "1", "2"], Fixed, scaled, ref_point=[9.0] * 3, train=[data], validate=[data])
    return pm.closure(problem, problem.model(), data)


@pytest.mark.parametrize("scale_free", [False, True])
@pytest.mark.parametrize("hessian", HESSIANS)
def test_heads_keep_the_plain_gradient_of_their_loss(hessian, scale_free):
    here = closure()
    _, jacobian, shared = here.gradients()
    assert shared.tolist() == [True] * 4 + [False] * 3
    direction = ps.CoGrad(0.3, hessian, scale_free=scale_free)(here, R)
    assert torch.equal(direction[4:], jacobian[:, 4:].diagonal())
    assert (direction[:4] - R @ jacobian[:, :4]).abs().min() > 1e-6  # the shared ones are bent


@pytest.mark.parametrize("hessian", HESSIANS)
def test_without_gamma_it_is_the_weighted_sum(hessian):
    _, jacobian, _ = closure().gradients()
    direction = ps.CoGrad(0.0, hessian)(closure(), R)
    assert torch.allclose(direction[:4], R @ jacobian[:, :4], rtol=0, atol=1e-15)


@pytest.mark.parametrize("hessian", HESSIANS)
def test_gamma_belongs_to_the_source(hessian):
    plain = R @ closure().gradients().jacobian
    gammas = (0.3, 0.0, 0.0), (0.0, 0.2, 0.0), (0.3, 0.2, 0.0)
    bends = [plain - ps.CoGrad(gamma, hessian)(closure(), R) for gamma in gammas]
    assert torch.allclose(bends[0][:4] + bends[1][:4], bends[2][:4], atol=1e-12)
    # with all of the preference on the source, there is nobody that it could bring anything
    alone = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    unbent = alone @ closure().gradients().jacobian - ps.CoGrad((0.3, 0.0, 0.0), hessian)(closure(), alone)
    assert unbent[:4].abs().max() < 1e-15
    assert bends[0][:4].abs().max() > 1e-4


@pytest.mark.parametrize("hessian", ["paper", "fisher"])
def test_the_elementwise_forms_as_sums(hessian):
    gamma, (_, jacobian, _) = (0.3, 0.2, 0.1), closure().gradients()
    x, y = batch()
    squares = [closure(data=(x[k : k + 1], y[k : k + 1])).gradients().jacobian.square() for k in range(6)]
    h = jacobian.square() if hessian == "paper" else torch.stack(squares).mean(dim=0)
    expected = sum(
        R[i] * (jacobian[i] - sum(gamma[j] * h[i] * jacobian[j] for j in range(3) if j != i)) for i in range(3)
    )
    direction = ps.CoGrad(gamma, hessian)(closure(), R)
    assert torch.allclose(direction[:4], expected[:4], rtol=0, atol=1e-14)


def test_hvp_is_the_gradient_of_the_transference():
    """Of sum_j gamma_j / 2a sum_i r_i Z_{j->i}, with heads where they are, by central differences."""
    solver, here = ps.CoGrad((0.3, 0.2, 0.1), "hvp", look_ahead=0.05), closure()
    place = here.parameters
    shares = torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64) / 0.1
    off = 1 - torch.eye(3, dtype=torch.float64)

    def brought(at):
        here.move(at)
        return float(shares @ (solver.transference(here) * off) @ R)

    steps = 1e-5 * torch.eye(7, dtype=torch.float64)[:4]
    differences = torch.tensor([(brought(place + h) - brought(place - h)) / 2e-5 for h in steps], dtype=torch.float64)
    here.move(place)
    bend = R @ here.gradients().jacobian - solver(here, R)
    assert torch.allclose(bend[:4], differences, rtol=0, atol=1e-8)
    assert differences.abs().max() > 1e-2


def test_transference_looks_ahead_along_shared_parameters_alone():
    here, a = closure(), 0.2
    before, jacobian, shared = here.gradients()
    Z = ps.CoGrad(look_ahead=a).transference(here)
    for j in range(3):
        there = here.parameters - a * jacobian[j] * shared
        assert torch.allclose(Z[j], before - here(there), atol=1e-15)
    assert (Z.diagonal() > 0).all()  # a task's own step brings it something


@pytest.mark.parametrize("hessian", HESSIANS)
def test_scale_free_divides_gamma_by_the_mean_squared_norm(hessian):
    _, jacobian, shared = closure().gradients()
    squared = float((jacobian * shared).square().sum(dim=1).mean())
    size = squared**0.5 if hessian == "hvp" else squared
    free = ps.CoGrad(0.3, hessian, look_ahead=0.1, scale_free=True)(closure(), R)
    bound = ps.CoGrad(0.3 / size, hessian, look_ahead=0.1 / squared**0.5)(closure(), R)
    assert torch.allclose(free, bound, rtol=0, atol=1e-13)


@pytest.mark.parametrize("hessian", HESSIANS)
def test_the_units_of_gamma(hessian):
    """A factor of the losses is one of the direction if gamma (and the look-ahead) keep their units."""
    s = 100.0
    gamma = 0.3 / s if hessian == "hvp" else 0.3 / s**2
    direction = ps.CoGrad(0.3, hessian, look_ahead=0.1)(closure(), R)
    scaled = ps.CoGrad(gamma, hessian, look_ahead=0.1 / s)(closure(s), R)
    assert torch.allclose(scaled, s * direction, rtol=1e-10)


@pytest.mark.parametrize("scale_free", [False, True])
@pytest.mark.parametrize("hessian", HESSIANS)
def test_with_nothing_shared_the_heads_go_their_way(hessian, scale_free):
    here = closure(shared=False)
    direction, _, status = ps.CoGrad(0.3, hessian, scale_free=scale_free).update(None, here, R)
    assert torch.equal(direction, here.gradients().jacobian.diagonal())
    assert status.code == Code.SOLVED


@pytest.mark.parametrize("hessian", HESSIANS)
def test_the_model_stays_where_it_is(hessian):
    here = closure()
    before = here.parameters
    ps.CoGrad(0.3, hessian)(here, R)
    assert torch.equal(here.parameters, before)
    assert here.moves == 0


def test_gamma_of_another_length_is_an_error():
    with pytest.raises(ValueError, match=r"gamma=\(0.1, 0.2\) has 2 numbers for 3 losses; give one, or one a loss"):
        ps.CoGrad((0.1, 0.2))(closure(), R)


def test_on_quadratics_it_helps_the_tasks_help_one_another():
    """The sum of what tasks bring others is larger where it ends than where the weighted sum ends."""
    c = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    h = torch.tensor([[1.0, 4.0], [6.0, 1.0]], dtype=torch.float64)

    class Place(nn.Module):
        def __init__(self):
            super().__init__()
            self.x = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))

    def evaluate(model, batch):
        return {str(i): (h[i] * (model.x - c[i]).square()).sum() / 2 for i in range(2)}

    def end(gamma):
        problem = pm.Problem(["0", "1"], Place, evaluate, ref_point=[9.0, 9.0], deterministic=True)
        here, solver = pm.closure(problem, problem.model()), ps.CoGrad(gamma, "hvp", look_ahead=0.1)
        for _ in range(100):
            here.move(here.parameters - 0.1 * solver(here, R[[2, 2]]))
        Z = solver.transference(here)
        return float(Z.sum() - Z.trace())

    assert end(0.1) > end(0.0) + 1e-3

"""FairGrad: Newton on what is hard for it, and where fairness leads."""

import numpy as np
import pytest
import torch

import paretomtl_solvers as ps
from paretomtl.solver import Code
from paretomtl_solvers.fairgrad import newton
from tests.asserts import answer


def gramians(number, m, apart, seed=0):
    """Of random gradients whose norms are up to this far apart."""
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** (np.log10(apart) * rng.uniform(0, 1, (number, m, 1)))
    J = rng.normal(size=(number, m, m + 2)) * sizes
    C = J @ J.swapaxes(1, 2)
    return C / (np.trace(C, axis1=1, axis2=2) / m)[:, None, None]


@pytest.mark.parametrize("apart", [1, 1e3, 1e6])
@pytest.mark.parametrize("m", [2, 3, 8])
@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 200.0])
def test_newton_solves_the_system(alpha, m, apart):
    C = gramians(40, m, apart)
    w, residual = newton(C, 1 / alpha)
    over = ((C @ w[..., None])[..., 0] - w ** (-1 / alpha)) / (np.abs(C) @ w[..., None])[..., 0]
    held = w < 1e-299  # weights below what floats hold would have to be smaller
    assert (w > 0).all()
    assert np.abs(over[~held]).max() <= 1e-8
    assert (over[held] > 0).all()
    assert residual.max() <= 1e-8
    assert alpha == 200 or not held.any()


def test_newton_says_how_far_off_it_is(monkeypatch):
    monkeypatch.setattr("paretomtl_solvers.fairgrad.MOST_STEPS", 2)
    C = gramians(20, 3, 1e3)
    w, residual = newton(C, 2.0)
    off = np.abs((C @ w[..., None])[..., 0] - w**-2.0) / (np.abs(C) @ w[..., None])[..., 0]
    assert off.max(axis=1) == pytest.approx(residual, rel=1e-9)
    assert residual.max() > 1e-8


def test_weights_that_would_underflow_are_held():
    """Where one gradient serves the other fully, its weight at large alpha is below all that floats hold."""
    J = torch.tensor([[1.0, 0.0], [30.0, 1.0]], dtype=torch.float64)
    found = answer(ps.FairGrad(1e4), torch.ones(2).double(), J, torch.ones(2).double() / 2)
    assert found.status.code == Code.SOLVED
    assert found.weights[0] == pytest.approx(1, rel=1e-3)
    assert 0 <= found.weights[1] < 1e-200


def test_the_larger_alpha_the_more_even_the_progress():
    J = torch.tensor([[1, 0], [-1.5, 1.5 * 3**0.5]], dtype=torch.float64)
    ratios = []
    for alpha in (0.5, 1.0, 2.0, 5.0, 50.0, float("inf")):
        slopes = J @ answer(ps.FairGrad(alpha), torch.ones(2).double(), J, torch.ones(2).double() / 2).direction
        ratios.append(float(slopes.min() / slopes.max()))
    assert ratios == sorted(ratios)
    assert ratios[-1] == pytest.approx(1, abs=1e-9)


def test_fairness_maximises_its_utility_in_a_ball():
    """No direction of the same length has a larger sum of (g_i' d)^(1 - alpha) / (1 - alpha)."""
    J = torch.tensor([[1, 2, 0], [-1, 1, 1], [0.5, -1, 2]], dtype=torch.float64)
    g = torch.Generator().manual_seed(0)
    for alpha in (0.5, 1.0, 2.0, 5.0):
        d = answer(ps.FairGrad(alpha), torch.ones(3).double(), J, torch.ones(3).double() / 3).direction
        d = d / d.norm()

        def utility(d, alpha=alpha):
            slopes = (d @ J.T).clamp(min=0)
            return (slopes.log() if alpha == 1 else slopes ** (1 - alpha) / (1 - alpha)).sum(dim=-1)

        away = 10 ** torch.linspace(-4, 0, 200)[:, None] * torch.randn(200, 3, generator=g)
        others = d + away.double()
        assert (utility(others / others.norm(dim=1, keepdim=True)) <= utility(d) + 1e-12).all()


def toy(x: torch.Tensor) -> torch.Tensor:
    """The two losses of the authors' toy, the first a tenth of the second's size."""
    a, b = x
    c1, c2 = (b / 2).tanh().clamp(min=0), (-b / 2).tanh().clamp(min=0)
    logs = [((0.5 * (-a + s) + b.tanh() + t).abs().clamp(min=5e-6)).log() + 6 for s, t in ((-7, 0), (3, 2))]
    bowls = [((a - s).square() + 0.1 * (b + 8).square()) / 10 - 20 for s in (7, -7)]
    return torch.stack([0.1 * (c1 * logs[0] + c2 * bowls[0]), c1 * logs[1] + c2 * bowls[1]])


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("alpha", "start", "end"), [(0.0, (-8.5, 7.5), (-0.380, -19.828)), (1.0, (0.0, 0.0), (-1.509, -15.092))]
)
def test_the_authors_toy(alpha, start, end):
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer, solver = torch.optim.Adam([x], lr=5e-3), ps.FairGrad(alpha)
    for _ in range(12_000):
        losses = toy(x)
        J = torch.stack([torch.autograd.grad(loss, x, retain_graph=True)[0] for loss in losses])
        values = losses.detach()
        x.grad = solver(values, J @ J.T, values) @ J
        optimizer.step()
    assert toy(x).tolist() == pytest.approx(end, abs=1e-3)

"""FairGrad: Newton on what is hard for it, and where fairness leads."""

import numpy as np
import pytest
import torch

import paretomtl_solvers as ps
from paretomtl.point import Code
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


@pytest.mark.fault(9)
@pytest.mark.parametrize("alpha", [0.02, 0.05, 0.2])
def test_equal_gradients_against_one_far_longer(alpha):
    """Newton's matrix is singular to rounding there."""
    J = torch.tensor([[-7.728, -1.634], [-7.728, -1.634], [210850, 48048]], dtype=torch.float64)
    found = answer(ps.FairGrad(alpha), torch.ones(3).double(), J, torch.ones(3).double() / 3)
    assert found.status.code in (Code.SOLVED, Code.FELL_BACK)
    assert found.weights[0] == pytest.approx(float(found.weights[1]), rel=1e-9)
    if found.status.code == Code.FELL_BACK:
        assert alpha < 0.1
        assert found.weights.tolist() == [float(found.weights[0])] * 3  # the sum, the limit at alpha = 0
    else:
        assert (J @ found.direction > 0).all()


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

"""Frozen values: what each method answers on fixed inputs, computed by independent means, to seven digits."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

import paretomtl_solvers as ps
from paretomtl.solver import Code
from paretomtl_solvers.epo import anchor

C_A = ((1, -1.5), (-1.5, 9))
C_B = ((5, 1, -1.5), (1, 3, 0.5), (-1.5, 0.5, 5.25))
EVEN = ((1, -0.5), (-0.5, 1))
MIXED = ((11, 9, -11), (9, 11, -5), (-11, -5, 19))  # of J = ((1, -1, 3), (-1, -1, 3), (-3, -1, -3))
R_A, R_B = (0.7, 0.3), (0.2, 0.3, 0.5)
RAY_B = np.array([15, 10, 6]) / 31


class EPOValue(NamedTuple):
    gramian: tuple
    losses: tuple
    preference: tuple
    mu: float
    a: tuple | None  # None: not given
    weights: tuple
    code: Code = Code.SOLVED
    eps: float | None = None
    tied: tuple | None = None  # what the program makes large, where more than one answer does


EPO = {
    "A, balance at an end": EPOValue(
        C_A, (0.6, 0.3), R_A, 0.2271479, (0.1902903, -0.3805805), (1, 0)
    ),
    "even, balance at a breakpoint": EPOValue(
        EVEN, (0.35, 0.65), R_A, 0.0064706, (0.0708121, -0.0381296), (0.7156904, 0.2843096)
    ),
    "A, descent": EPOValue(C_A, (0.3, 0.7), R_A, 0, (0, 0), (0.6, 0.4)),
    "B, balance, no objective worth raising": EPOValue(
        C_B, (0.9, 0.2, 0.3), R_B, 0.0862815, (0.0478282, -0.2578414, 0.0284097), (0.2307692, 0, 0.7692308)
    ),
    "B, balance": EPOValue(
        C_B, (0.5, 0.4, 0.2), R_B, 0.0038321, (-0.0136741, 0.0341853, -0.0341853), (0, 1, 0)
    ),
    "B, descent": EPOValue(
        C_B, (0.25, 1 / 6, 0.1), R_B, 0, (0, 0, 0), (0.25, 0.75, 0), tied=(4.5, 4.5, 4.25)
    ),
    "restricted descent infeasible": EPOValue(
        MIXED, tuple(RAY_B * (1.001, 0.999, 1)), R_B, 3.333334e-7, None, (0, 0.7916667, 0.2083333), Code.RELAXED, 1e-4
    ),
}  # fmt: skip
C_TIMES_A = {
    "A, balance at an end": (0.7611611, -3.7106603),
    "even, balance at a breakpoint": (0.0898768, -0.0735356),
}


@pytest.mark.parametrize(
    ("name", "backend"), [(k, "auto") for k in EPO] + [(k, "cvxpy") for k in EPO if len(EPO[k].losses) == 2]
)
def test_epo(name, backend):
    value = EPO[name]
    losses, gramian, preference = map(_tensor, (value.losses, value.gramian, value.preference))
    weights, _, status = ps.EPO(eps=value.eps, backend=backend).update(None, losses, gramian, preference)
    if value.tied is None:
        assert weights.tolist() == pytest.approx(value.weights, abs=1e-6)
    else:
        assert weights @ _tensor(value.tied) == pytest.approx(np.dot(value.weights, value.tied), abs=1e-6)
        assert (gramian @ weights).min() > -1e-6
    assert status.code == value.code
    assert status.residual == pytest.approx(max(value.mu - (value.eps or 1e-8), 0), abs=1e-6)


@pytest.mark.parametrize("name", EPO)
def test_epo_anchor(name):
    value = EPO[name]
    mu, a = anchor(np.array(value.losses), np.array(value.preference))
    assert mu == pytest.approx(value.mu, abs=1e-7)
    if value.a is not None:
        assert a == pytest.approx(value.a, abs=1e-7)
    if name in C_TIMES_A:
        assert np.array(value.gramian) @ a == pytest.approx(C_TIMES_A[name], abs=1e-6)
    if name in ("B, balance, no objective worth raising", "restricted descent infeasible"):
        assert (np.array(value.gramian) @ a < 0).all()


@pytest.mark.parametrize("m", [2, 3, 7])
def test_epo_anchor_is_orthogonal_to_the_losses(m):
    rng = np.random.default_rng(m)
    losses, preferences = rng.uniform(0.01, 3, (200, m)), rng.dirichlet(np.ones(m), 200)
    _, a = anchor(losses, preferences)
    assert np.abs((a * losses).sum(axis=1)).max() < 1e-13
    assert np.abs(a).max() > 0.1  # not by being zero


@pytest.mark.parametrize("m", [2, 3, 5])
def test_epo_anchor_gives_the_gradient_of_mu(m):
    g = torch.Generator().manual_seed(m)
    x, centres = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in ((4,), (m, 4)))
    preference = torch.rand(m, generator=g, dtype=torch.float64)
    preference = preference / preference.sum()

    def losses(x):
        return 1 - torch.exp(-(x - centres).square().sum(dim=1) / 9)

    def non_uniformity(x):
        share = preference * losses(x) / (preference * losses(x)).sum()
        return (share * torch.log(m * share)).sum()

    jacobian, values = torch.autograd.functional.jacobian(losses, x), losses(x)
    mu, a = anchor(values.numpy(), preference.numpy())
    assert mu == pytest.approx(float(non_uniformity(x)), rel=1e-12)
    gradient = torch.autograd.functional.jacobian(non_uniformity, x)
    formula = jacobian.T @ torch.from_numpy(a) / (preference * values).sum()
    assert torch.allclose(formula, gradient, rtol=1e-10, atol=1e-14)
    assert gradient.abs().max() > 1e-3


def test_linear():
    assert ps.Linear()(_tensor((0.6, 0.3)), _tensor(R_A)).tolist() == list(R_A)


def _tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)

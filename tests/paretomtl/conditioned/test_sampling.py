"""Preferences on the simplex: their distribution, their strata, their corners."""

import numpy as np
import pytest
import torch

import paretomtl as pm
from paretomtl.conditioned.sampling import Preferences

pytestmark = pytest.mark.usefixtures("unchecked")


def drawn(n, m=2, seed=0, **options):
    return Preferences(pm.Sampling("batch", **({"ends": 0.0} | options)), m, seed).draw(n).numpy()


@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.parametrize("options", [{}, {"concentration": 0.1}, {"concentration": 20.0}, {"ends": 0.4}], ids=repr)
def test_they_are_on_the_simplex(m, options):
    r = drawn(257, m, **options)
    assert (r.dtype, r.shape) == (np.float64, (257, m))
    assert (r >= 0).all()
    assert r.sum(axis=1) == pytest.approx(1, abs=1e-12)
    assert len(np.unique(r.round(9), axis=0)) > 100


def test_the_same_seed_draws_the_same_and_another_one_others():
    assert (drawn(20, seed=3) == drawn(20, seed=3)).all()
    assert (drawn(20, seed=3) != drawn(20, seed=4)).any()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    once = drawn(20, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    piecewise = Preferences(pm.Sampling("batch", ends=0.0), 2, 3)
    assert (np.concatenate([piecewise.draw(k).numpy() for k in (1, 4, 15)]) == once).all()


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("concentration", [0.3, 1.0, 3.0])
def test_means_and_variances_are_dirichlet_s_and_closer_than_random_ones(m, concentration):
    """E r_i = 1/m, Var r_i = (1/m)(1 - 1/m) / (m a + 1), Cov r_i r_j = -(1/m)^2 / (m a + 1)."""
    n = 1024
    expected = (np.eye(m) / m - 1 / m**2) / (m * concentration + 1)
    r = drawn(n, m, concentration=concentration)
    assert np.abs(r.mean(axis=0) - 1 / m).max() < 2e-3
    assert np.abs(np.cov(r.T, bias=True) - expected).max() < 2e-3

    def off(means):
        return np.abs(means - 1 / m).max(axis=1).mean()

    rng = np.random.default_rng(0)
    stratified = off(np.array([drawn(64, m, seed, concentration=concentration).mean(axis=0) for seed in range(30)]))
    random = off(rng.dirichlet([concentration] * m, size=(30, 64)).mean(axis=1))
    assert stratified < random / 5


@pytest.mark.parametrize("n", [2, 8, 32])
def test_each_stratum_has_one_in_each_step(n):
    draws = Preferences(pm.Sampling("batch", n=n, ends=0.0), 2, 0)
    for _ in range(4):
        strata = (draws.draw(n)[:, 0] * n).long()
        assert sorted(strata.tolist()) == list(range(n))


@pytest.mark.parametrize("m", [2, 3, 4])
def test_a_share_is_at_corners_and_at_each_as_often(m):
    r = drawn(1024, m, ends=0.3)
    at = (r == 1).any(axis=1)
    assert at.mean() == pytest.approx(0.3, abs=2e-3)
    assert (r == 1).mean(axis=0) == pytest.approx([0.3 / m] * m, abs=2e-3)
    assert ((r[at] == 0).sum(axis=1) == m - 1).all()
    inside = r[~at]
    assert (inside > 0).all()
    assert inside.mean(axis=0) == pytest.approx([1 / m] * m, abs=0.01)


def test_none_or_all_are_at_corners():
    assert (drawn(64, 3, ends=0.0) < 1).all()
    assert (drawn(64, 3, ends=1.0).max(axis=1) == 1).all()


@pytest.mark.parametrize("concentration", [1e-4, 0.01, 1e4])
def test_extreme_concentrations_are_finite(concentration):
    r = drawn(256, 3, concentration=concentration)
    assert np.isfinite(r).all()
    assert r.sum(axis=1) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"each": "epoch"}, "each='epoch'"),
        ({"each": []}, r"each=\[\]"),
        ({"each": "batch", "n": 0}, "n=0: give a whole number"),
        ({"n": True}, "n=True"),
        ({"n": 2.0}, "n=2.0"),
        ({"n": "3"}, "n='3'"),
        ({"each": "sample", "n": 3}, "n=3: with each='sample'"),
        ({"concentration": 0}, "concentration=0"),
        ({"concentration": -1.0}, "concentration=-1.0"),
        ({"concentration": float("nan")}, "concentration=nan"),
        ({"concentration": float("inf")}, "concentration=inf"),
        ({"concentration": "1"}, "concentration='1'"),
        ({"concentration": True}, "concentration=True"),
        ({"ends": -0.1}, "ends=-0.1"),
        ({"ends": 1.1}, "ends=1.1"),
        ({"ends": float("nan")}, "ends=nan"),
        ({"ends": None}, "ends=None"),
        ({"ends": True}, "ends=True"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        pm.Sampling(**options)


@pytest.mark.parametrize(
    ("sampling", "samples", "expected"),
    [
        (pm.Sampling("batch"), 16, 1),
        (pm.Sampling("batch", n=5), 3, 5),
        (pm.Sampling("batch", n=5), None, 5),
        (pm.Sampling("part"), 16, 8),
        (pm.Sampling("part"), 3, 3),
        (pm.Sampling("part", n=20), 16, 16),
        (pm.Sampling("part", n=4), None, 4),
        (pm.Sampling("sample"), 16, 16),
    ],
)
def test_how_many_a_step_sees(sampling, samples, expected):
    assert sampling.in_step(samples) == expected

"""Frozen values: what each method answers on fixed inputs, computed by independent means, to seven digits."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.point import Code
from paretomtl.solver import Sweep
from paretomtl_solvers.epo import anchor
from paretomtl_solvers.pareto_mtl import find_sectors, unit_rays

J_A = ((1, 0), (-1.5, 1.5 * 3**0.5))
C_A = ((1, -1.5), (-1.5, 9))
C_B = ((5, 1, -1.5), (1, 3, 0.5), (-1.5, 0.5, 5.25))
C_T = ((18, -22), (-22, 38))
L_A, L_B = (0.6, 0.3), (0.5, 0.4, 0.2)
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


IDEAL = (0.1, 0.0)
SCALARIZED = {
    ps.Linear(): R_A,
    ps.Tchebycheff(): (0.7, 0),
    ps.Tchebycheff(IDEAL): (0.7, 0),  # value .35
    ps.Tchebycheff((0.5, -1.0)): (0, 0.3),
    ps.AugmentedTchebycheff(ideal=IDEAL): (0.735, 0.015),  # value .372
    ps.SmoothTchebycheff(0.1, IDEAL): (0.6516031, 0.0207415),
    ps.PBI(5.0, IDEAL): (4.9896444, -1.0504515),
}


@pytest.mark.parametrize("solver", SCALARIZED, ids=repr)
def test_scalarizations(solver):
    assert solver(_tensor(L_A), _tensor(R_A)).tolist() == pytest.approx(SCALARIZED[solver], abs=1e-6)


COSMOS = {  # cosine, L, and the weights from difference quotients of it at 60 digits
    "ours": (0.7633863, -1.0167726, (1.5612563, -1.4225126)),
    "published": (0.9982744, -1.4865487, (0.621704, 0.4565921)),
}


@pytest.mark.parametrize("ray", COSMOS)
def test_cosmos(ray):
    cosine, value, weights = COSMOS[ray]
    losses, preference, solver = _tensor(L_A), _tensor(R_A), ps.COSMOS(2.0, ray)
    assert float(solver.value(losses, preference)) == pytest.approx(value, abs=1e-6)
    assert float(ps.COSMOS(0.0, ray).value(losses, preference)) == pytest.approx(0.51, abs=1e-12)
    assert 0.51 - 2 * cosine == pytest.approx(value, abs=1e-6)
    assert solver(losses, preference).tolist() == pytest.approx(weights, abs=1e-6)


def test_phn_hvi_and_hypervolume_ascent():
    losses, preference = _tensor(((0.1, 0.8), (0.3, 0.5), (0.7, 0.2))), _tensor(((0.8, 0.2), (0.5, 0.5), (0.2, 0.8)))
    growth = ((0.8320503, 0.5547002), (0.6, 0.8), (0.6, 0.8))
    cosines = (0.9927338, 0.9701425, 0.9994449)
    assert ps.PHNHVI((1.1, 1.1), 0.0)(losses, preference).tolist() == pytest.approx(np.array(growth), abs=1e-6)
    assert ps.HypervolumeAscent((1.1, 1.1))(losses, preference).tolist() == pytest.approx(np.array(growth), abs=1e-6)
    assert float(ps.PHNHVI((1.1, 1.1), 0.5).value(losses, preference)) == pytest.approx(0.2058046, abs=1e-6)
    without = float(ps.PHNHVI((1.1, 1.1), 0.0).value(losses, preference))
    assert without - 0.5 * sum(cosines) == pytest.approx(0.2058046, abs=1e-6)


def test_tchebycheffs_tie_is_shared():
    losses, preference = _tensor((3, 7, 0.1)), _tensor((0.7, 0.3, 0.1))
    assert losses[0] * preference[0] != losses[1] * preference[1]  # but for rounding
    assert ps.Tchebycheff()(losses, preference).tolist() == pytest.approx((0.35, 0.15, 0), abs=1e-12)
    augmented = ps.AugmentedTchebycheff(0.5)(losses, preference)
    assert augmented.tolist() == pytest.approx((0.7, 0.3, 0.05), abs=1e-12)


INF = float("inf")
WEIGHTED = {
    "MGDA": [
        (ps.MGDA(), C_A, L_A, (0.8076923, 0.1923077)),
        (ps.MGDA(), C_B, L_B, (0.3333333, 0.3218391, 0.3448276)),
        (ps.MGDA(), C_T, L_A, (0.6, 0.4)),
        (ps.MGDA("l2"), C_A, L_A, (0.5, 0.1666667)),
        (ps.MGDA("l2"), C_B, L_B, (0.1822519, 0.0968709, 0.1853486)),
        (ps.MGDA("l2"), C_T, L_A, (0.1178511, 0.0811107)),
        (ps.MGDA("loss"), C_A, L_A, (1.5116279, 0.3100775)),
        (ps.MGDA("loss+"), C_A, L_A, (1.1904762, 0.3174603)),
    ],
    "FairGrad": [
        (ps.FairGrad(0.0), C_A, L_A, (1, 1)),
        (ps.FairGrad(0.5), C_A, L_A, (1.380884, 0.5709709)),
        (ps.FairGrad(1.0), C_A, L_A, (1.4142136, 0.4714045)),
        (ps.FairGrad(2.0), C_A, L_A, (1.4517538, 0.4145338)),
        (ps.FairGrad(5.0), C_A, L_A, (1.4987431, 0.3843204)),
        (ps.FairGrad(INF), C_A, L_A, (1.5555556, 0.3703704)),
        (ps.FairGrad(0.5), C_B, L_B, (0.606923, 0.6051495, 0.6166642)),
        (ps.FairGrad(1.0), C_B, L_B, (0.4735201, 0.4702826, 0.4840267)),
        (ps.FairGrad(2.0), C_B, L_B, (0.369833, 0.3650793, 0.379922)),
        (ps.FairGrad(1.0), C_T, L_A, (0.5914612, 0.4070715)),
        (ps.FairGrad(2.0), C_T, L_A, (0.4713629, 0.3194542)),
    ],
}
EACH = [pytest.param(*value, id=f"{value[0]}, m = {len(value[2])}") for values in WEIGHTED.values() for value in values]


@pytest.mark.parametrize(("solver", "gramian", "losses", "weights"), EACH)
def test_weightings(solver, gramian, losses, weights):
    found = solver(*map(_tensor, (losses, gramian, losses)))
    assert found.tolist() == pytest.approx(weights, abs=1e-6)


@pytest.mark.parametrize(("gramian", "squared"), [(C_A, 0.5192308), (C_B, 1.4712644), (C_T, 2)])
def test_mgda_squared_norm(gramian, squared):
    C = _tensor(gramian)
    w = ps.MGDA()(C[0], C, C[0])
    assert float(w @ C @ w) == pytest.approx(squared, abs=1e-6)


@pytest.mark.parametrize(
    ("alpha", "slopes"),
    [
        (1.0, (0.7071068, 2.1213203)),
        (2.0, (0.829953, 1.5531737)),
        (5.0, (0.9222625, 1.2107691)),
        (INF, (1, 1)),
    ],
)
def test_fairgrad_progress(alpha, slopes):
    C = _tensor(C_A)
    assert (C @ ps.FairGrad(alpha)(C[0], C, C[0])).tolist() == pytest.approx(slopes, abs=1e-6)


@pytest.mark.parametrize(
    ("solver", "direction"),
    [(ps.FairGrad(1000.0), (0.7203778, 0.6935819)), (ps.MGDA(), (0.7205767, 0.6933752))],
    ids=repr,
)
def test_fairgrad_nears_mgda(solver, direction):
    C = _tensor(C_A)
    found = solver(C[0], C, C[0]) @ _tensor(J_A)
    assert (found / found.norm()).tolist() == pytest.approx(direction, abs=1e-6)


FIVE = ((0.1, 0.9), (0.3, 0.7), (0.5, 0.5), (0.7, 0.3), (0.9, 0.1))
FOUR = ((0.2, 0.2, 0.6), (0.2, 0.6, 0.2), (0.6, 0.2, 0.2), (1 / 3, 1 / 3, 1 / 3))
IN_SECTORS = [  # preferences, which of them, Gramian, losses, how far outside, weights in phase 1 (2 if inside), in 2
    (FIVE, 2, C_A, (0.8, 0.2), 0.1334995, (0.2120382, -0.3131875), (0.1569136, 0.0282083)),
    (FIVE, 2, C_A, (0.2, 0.8), 0.1334995, (-0.3131875, 0.2120382), (0.2773915, 0.1166784)),
    (FIVE, 2, C_A, (0.55, 0.45), 0, (0.8076923, 0.1923077), (0.8076923, 0.1923077)),
    (FOUR, 0, C_B, L_B, 0, (0.3333333, 0.3218391, 0.3448276), (0.3333333, 0.3218391, 0.3448276)),
    (FOUR, 2, C_B, L_B, 0.2051957, (0.3479345, -0.1108969, -0.1108969), (0.2495428, -0.0049945, 0.1287096)),
]


@pytest.mark.parametrize(("preferences", "k", "gramian", "losses", "outside", "first", "second"), IN_SECTORS)
def test_pareto_mtl(preferences, k, gramian, losses, outside, first, second):
    sweep = Sweep(_tensor(preferences), torch.tensor(k), 10, True, ())
    for phase_one, weights in ((1.0, first), (0.0, second)):
        solver = ps.ParetoMTL(phase_one)
        found, _, status = solver.update(solver.init(sweep), *map(_tensor, (losses, gramian, preferences[k])))
        assert found.tolist() == pytest.approx(weights, abs=1e-6)
        assert status.code == Code.SOLVED
        assert float(status.residual) == pytest.approx(outside, abs=1e-6)


def test_pareto_mtl_rays():
    rays = unit_rays(np.array(FIVE))
    assert rays[0] == pytest.approx((0.9938837, 0.1104315), abs=1e-6)
    assert rays[1] == pytest.approx((0.9191450, 0.3939193), abs=1e-6)
    assert rays[2] == pytest.approx((0.7071068, 0.7071068), abs=1e-6)
    assert find_sectors(np.array([(0.8, 0.2), (0.2, 0.8), (0.55, 0.45), (9, 1)]), np.array(FIVE)).tolist() == [
        0,
        4,
        2,
        0,
    ]


class Place(nn.Module):
    """Parameters alone, all shared."""

    def __init__(self, x):
        super().__init__()
        self.x = nn.Parameter(torch.as_tensor(x, dtype=torch.float64))


def quadratics() -> pm.Closure:
    H = _tensor((((1, 0), (0, 2)), ((2, 1), (1, 3))))
    centres = _tensor(((1, 0), (0, 1)))

    def losses(model, batch):
        return {str(i): (model.x - c) @ h @ (model.x - c) / 2 for i, (h, c) in enumerate(zip(H, centres, strict=True))}

    problem = pm.Problem(["0", "1"], lambda: Place((1, 2)), losses, ref_point=[9.0, 9.0], deterministic=True)
    return pm.closure(problem, problem.model())


def logistic(seed: int) -> pm.Closure:
    """Two logistic regressions of 200 samples on 12 shared parameters, drawn in this order."""
    g = {"generator": torch.Generator().manual_seed(seed), "dtype": torch.float64}
    X, t1 = torch.randn(200, 12, **g), torch.randn(12, **g)
    t2 = 0.5 * t1 + torch.randn(12, **g)
    y1 = (torch.rand(200, **g) < (X @ t1).sigmoid()).double()
    y2 = (torch.rand(200, **g) < (X @ t2).sigmoid()).double()
    start = 0.3 * torch.randn(12, **g)

    def losses(model, batch):
        x, *labels = batch
        return {name: cross_entropy(x @ model.x, y) for name, y in zip("ab", labels, strict=True)}

    data = [(X, y1, y2)]
    problem = pm.Problem(["a", "b"], lambda: Place(start), losses, ref_point=[1.0, 1.0], train=data, validate=data)
    return pm.closure(problem, problem.model(), data[0])


def test_cograd_transference():
    closure, solver = quadratics(), ps.CoGrad(look_ahead=0.1)
    Z = solver.transference(closure)
    assert Z.tolist() == [pytest.approx((1.44, 1.36), abs=1e-9), pytest.approx((1.395, 2.05), abs=1e-9)]
    first, second = _tensor((1, 0)), _tensor((0, 1))
    gradient = solver.gradient_of_transference(closure, closure.gradients(), first, second)  # of what 2 brings 1
    assert gradient.tolist() == pytest.approx((0.56, 1.73), abs=1e-9)


@pytest.mark.parametrize(
    ("preference", "direction"), [((1, 0), (0, 3.36)), ((0, 1), (3, 3.36)), (R_A, (0.9, 3.36))], ids=str
)
def test_cograd_as_published(preference, direction):
    assert ps.CoGrad(0.01)(quadratics(), _tensor(preference)).tolist() == pytest.approx(direction, abs=1e-9)


@pytest.mark.parametrize(
    ("seed", "cosines"),
    [
        (0, {"hvp": 1, "fisher": 0.9526, "paper": 0.8293}),
        (1, {"hvp": 1, "fisher": 0.9778, "paper": 0.7743}),
        (2, {"hvp": 1, "fisher": 0.9599, "paper": 0.8120}),
    ],
)
def test_cograd_against_differences_of_the_transference(seed, cosines):
    closure, a, preference = logistic(seed), 0.01, _tensor((0.5, 0.5))
    here = closure.parameters

    def between(place) -> float:
        closure.move(place)
        Z = ps.CoGrad(look_ahead=a).transference(closure)
        return float(Z.sum() - Z.trace())

    differences = [(between(here + h) - between(here - h)) / 2e-4 for h in 1e-4 * torch.eye(12, dtype=torch.float64)]
    gradient = _tensor(differences)
    closure.move(here)
    plain = preference @ closure.gradients().jacobian
    for hessian, cosine in cosines.items():
        # gamma = 2 a lambda, lambda = 2: undoes the preference's half twice
        bend = plain - ps.CoGrad(4 * a, hessian, look_ahead=a)(closure, preference)
        assert torch.cosine_similarity(bend, gradient, dim=0) == pytest.approx(cosine, abs=1e-4)
        if hessian == "hvp":
            assert (bend - gradient).abs().max() < 1e-6


def _tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)

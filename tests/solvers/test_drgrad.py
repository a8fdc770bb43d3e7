"""DRGrad: its surgery by hand, what is refused, and where it ends."""

import pytest
import torch
from torch import Tensor, nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.autograd.hull import least_norm
from paretomtl.point import Code
from studies import analytic
from tests import asserts

R = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
ROOT3 = 3**0.5


class Towers(nn.Module):
    """A shared layer, and a head of two layers for each loss."""

    def __init__(self, widths: tuple[int, ...] = (2, 2, 2)):
        super().__init__()
        self.trunk = nn.Linear(3, 4)
        self.towers = nn.ModuleList(nn.Sequential(nn.Linear(4, k), nn.Tanh(), nn.Linear(k, 1)) for k in widths)
        self.double()


def losses(model: Towers, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    x, y = batch
    z = model.trunk(x).tanh()
    a, b, c = (tower(z)[:, 0] for tower in model.towers)
    return {"a": (a - y).square().mean(), "b": (b + y).exp().mean(), "c": (c * y).sin().mean()}


def closure(model: nn.Module, losses=losses) -> pm.Closure:
    g = torch.Generator().manual_seed(0)
    data = torch.randn(7, 3, generator=g, dtype=torch.float64), torch.randn(7, generator=g, dtype=torch.float64)
    problem = pm.Problem(["a", "b", "c"], lambda: model, losses, ref_point=[9.0] * 3, train=[data], validate=[data])
    return pm.closure(problem, model, data)


HEADS = ("towers.0.0", "towers.1.0", "towers.2.0")


def kernels(gradients: list[list[float]], heads: tuple[str, ...] = ("a", "b")) -> list[list[float]]:
    """What becomes of the gradients of kernels (1, k), whose losses are linear in them."""
    rows = torch.tensor(gradients, dtype=torch.float64)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            for name in heads:
                self.add_module(name, nn.Linear(rows.shape[1], 1, bias=False, dtype=torch.float64))

    model = Model()
    problem = pm.Problem(
        list(heads),
        lambda: model,
        lambda model, _: {k: model.get_submodule(k)(row)[0] for k, row in zip(heads, rows, strict=True)},
        ref_point=[9.0] * len(rows),
        deterministic=True,
    )
    even = torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
    return ps.DRGrad(heads)(pm.closure(problem, model), even).reshape(rows.shape).tolist()


@pytest.mark.parametrize(
    ("gradients", "expected"),
    [
        # q = -.5, the sums of the units 1 and .3660254: ratios 2.7320508 and .3660254
        (
            [[1, 0], [-1.5, 1.5 * ROOT3]],
            [[1 - 1.5 * 1.5 * 2.7320508, 1.5 * 1.5 * ROOT3 * 2.7320508], [-1.5 + 1.5 * 0.3660254, 1.5 * ROOT3]],
        ),
        # they agree: nothing is enlarged; q = .8, the sums .8 + .6 and 1
        ([[0.8, 0.6], [2, 0]], [[0.8 + 1.4 * 2, 0.6], [2 + 0.8 / 1.4, 0.6 / 1.4]]),
        # opposed, a ratio of -1 counts as .1
        ([[1, 2], [-1, -2]], [[0.8, 1.6], [-0.8, -1.6]]),
        # the second's entries sum to 0: over it there is no ratio, and 0 over another sum is below .1
        ([[1, 1], [1, -1]], [[1.1, 0.9], [1.1, -0.9]]),
        ([[1, 1], [0, 0]], [[1, 1], [0.1, 0.1]]),
    ],
)
def test_two_kernels_by_hand(gradients, expected):
    assert torch.allclose(torch.tensor(kernels(gradients)), torch.tensor(expected), rtol=0, atol=1e-6)


def test_three_kernels_take_from_both_others():
    # sums of the units 1, 1, 1: all ratios 1; nothing conflicts
    found = kernels([[2, 0, 0], [0, 3, 0], [0, 0, 1]], ("a", "b", "c"))
    assert torch.allclose(torch.tensor(found), torch.tensor([[2.0, 3.0, 1.0]] * 3))


def test_added_to_the_kernels_themselves_the_rule_would_let_them_grow():
    """So it is taken as one for gradients."""
    h = torch.tensor([[0.3, 0.1], [-0.1, 0.4]], dtype=torch.float64)
    for _ in range(20):
        q = torch.cosine_similarity(h[0], h[1], dim=0)
        c = [(h[i].sum() / h[i].norm() / (h[1 - i].sum() / h[1 - i].norm())).clamp(0.1, 5) for i in range(2)]
        h = torch.stack([h[i] + c[i] * (1 - min(q, 0)) * h[1 - i] for i in range(2)])
    assert h.norm() > 1e5


def test_the_rest_is_the_sum_of_the_gradients_and_the_heads_plain_ones():
    here = closure(Towers())
    _, jacobian, shared = here.gradients()
    direction = ps.DRGrad(HEADS)(here, R)
    assert torch.allclose(direction[shared], 3 * (R @ jacobian)[shared], rtol=1e-12)
    routed = torch.zeros_like(shared)
    for name in HEADS:
        routed[here.locate(f"{name}.weight").at] = True
    rest = ~shared & ~routed
    assert torch.equal(direction[rest], jacobian.sum(dim=0)[rest])
    assert not torch.isclose(direction[routed], jacobian.sum(dim=0)[routed]).any()
    even = ps.DRGrad(HEADS)(here, torch.full_like(R, 1 / 3))
    assert torch.allclose(even[shared], jacobian.sum(dim=0)[shared], rtol=1e-12)  # the published sum
    assert torch.equal(even[routed], direction[routed])  # the surgery knows no preference


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (HEADS[:2], r"heads=\('towers.0.0', 'towers.1.0'\): these are 2 for 3 losses; name one module a loss"),
        (("towers.0", *HEADS[1:]), "'towers.0.weight' is no trained parameter of the model; it has trunk.weight, "),
        (("towers.0.0", "towers.2.0", "towers.1.0"), "loss 2 depends on 'towers.2.0', the head of loss 1; name"),
        (("trunk", *HEADS[1:]), r"weights have the shapes \{'trunk': \(4, 3\), .* or use PCGrad or GradVac"),
    ],
)
def test_heads_that_are_not_one_a_loss(heads, message):
    with pytest.raises(ValueError, match=message):
        ps.DRGrad(heads)(closure(Towers()), R)


def test_heads_of_different_shapes():
    with pytest.raises(ValueError, match=r"shapes .*'towers.1.0': \(3, 4\).*; DRGrad adds one head's gradient to"):
        ps.DRGrad(HEADS)(closure(Towers((2, 3, 2))), R)


@pytest.mark.parametrize("heads", [("a",), ("a", "a"), ("a", ""), ["a", "b"], "ab", ("a", 2)])
def test_heads_that_are_no_names(heads, unchecked):
    with pytest.raises(ValueError, match=r"heads=.*: give a tuple with the name of the linear module that begins each"):
        ps.DRGrad(heads)


def test_a_head_without_a_matrix():
    model = Towers()
    model.towers[0][0] = nn.LayerNorm(4, dtype=torch.float64)
    model.towers[0][2] = nn.Linear(4, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"'towers.0.0' has a weight of shape \(4,\); name a linear module"):
        ps.DRGrad(HEADS)(closure(model), R)


def test_a_gradient_that_is_not_finite():
    here = closure(Towers(), lambda m, b: losses(m, b) | {"b": torch.inf * m.towers[1][0].bias.sum()})
    with pytest.raises(ValueError, match=r"^DRGrad: a gradient is not finite"):
        ps.DRGrad(HEADS)(here, R)


class Headed(nn.Module):
    """An analytic problem's place, which losses share, and a kernel for each loss."""

    def __init__(self, place: nn.Module):
        super().__init__()
        self.x = place.x
        self.first, self.second = (nn.Linear(3, 1, bias=False, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize(("problem", "rate"), [(analytic.quadratics(), 0.1), (analytic.fonseca(), 0.2)])
def test_it_ends_at_a_pareto_stationary_place_with_its_heads_at_rest(problem, rate, unchecked):
    torch.manual_seed(0)
    model = Headed(problem.model())
    targets = torch.tensor([[1.0, -1, 0.5], [-0.5, 2, 0.3]], dtype=torch.float64)

    def evaluate(model, batch):
        kernels = torch.cat([model.first.weight, model.second.weight])
        apart = (kernels - targets).square().sum(dim=1) / 2
        return {k: v + own for (k, v), own in zip(problem.losses(model, batch).items(), apart, strict=True)}

    studied = pm.Problem(problem.names, lambda: model, evaluate, ref_point=[9.0] * 2, deterministic=True)
    here, solver, r = pm.closure(studied, model), ps.DRGrad(("first", "second")), R[:2] / R[:2].sum()
    for _ in range(400):
        here.move(here.parameters - rate * solver(here, r))
    _, jacobian, shared = here.gradients()
    common = jacobian[:, shared]
    gramian = common @ common.T
    weights = torch.from_numpy(least_norm(gramian.numpy()))
    assert (weights @ gramian @ weights) <= 1e-6 * gramian.diagonal().max()
    assert jacobian[:, ~shared].norm() < 1e-3


def test_a_step_can_raise_a_loss():
    """Of two heads that conflict, where one has by far the longer gradient: it is no descent method."""
    first, _ = kernels([[1, 0], [-100, 120]])
    assert first[0] < 0


def test_nothing_left_is_stationary():
    jacobian = torch.zeros(2, 3, dtype=torch.float64)
    here = asserts.closure(R[:2], jacobian, ("a", "b"))
    direction, _, status = ps.DRGrad(("a", "b")).update(None, here, R[:2])
    assert not direction.any()
    assert status.code == Code.STATIONARY

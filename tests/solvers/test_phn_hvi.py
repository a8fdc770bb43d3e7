"""PHN-HVI: what the points of a step have to do with one another."""

import numpy as np
import pytest
import torch

import paretomtl_solvers as ps
from paretomtl.points.score import hypervolume
from paretomtl.preference import even_design
from paretomtl.training.study import Study
from studies.analytic import fonseca
from tests.asserts import unit_rays


def tensor(values):
    return torch.as_tensor(values, dtype=torch.float64)


def growth(losses, ref_point):
    """w alone, without the cosine."""
    losses = tensor(losses)
    return ps.PHNHVI(tuple(ref_point), 0.0)(losses, torch.full_like(losses, 1 / losses.shape[-1]))


def steepest(losses, point, reference):
    """Where a point of a set adds most to its hypervolume, at length 1, by difference quotients."""
    slopes = []
    for move in 1e-6 * np.eye(losses.shape[1]):
        moved = [losses.copy(), losses.copy()]
        moved[0][point] -= move
        moved[1][point] += move
        slopes.append((hypervolume(moved[0], reference) - hypervolume(moved[1], reference)) / 2e-6)
    return np.array(slopes) / np.linalg.norm(slopes)


def sorted_into_fronts(losses):
    """The fronts, the best first, by the definition."""
    left, fronts = list(range(len(losses))), []
    while left:
        front = [
            i for i in left if not any((losses[k] <= losses[i]).all() and (losses[k] < losses[i]).any() for k in left)
        ]
        fronts.append(front)
        left = [i for i in left if i not in front]
    return fronts


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("m", [2, 3])
def test_each_point_grows_the_hypervolume_of_its_own_front(m, seed):
    losses = np.random.default_rng(seed).uniform(0.1, 1, (12, m))
    fronts = sorted_into_fronts(losses)
    assert len(fronts) > 2
    assert max(map(len, fronts)) > 2
    found = growth(losses, [1.3] * m).numpy()
    for front in fronts:
        for k, i in enumerate(front):
            assert found[i] == pytest.approx(steepest(losses[front], k, [1.3] * m), abs=1e-7)


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("penalty", [0.0, 0.5, 5.0])
def test_the_weights_are_the_gradient_of_the_value(m, penalty):
    rng = np.random.default_rng(m)
    losses = tensor(rng.uniform(0.1, 1, (9, m))).requires_grad_()
    preference, solver = tensor(rng.dirichlet(np.ones(m), 9)), ps.PHNHVI((1.1,) * m, penalty)
    value = solver.value(losses, preference)
    w = growth(losses.detach(), [1.1] * m)
    apart = (w * losses).sum() - penalty * torch.cosine_similarity(losses, unit_rays(preference)).sum()
    assert value.item() == pytest.approx(apart.item(), abs=1e-12)
    (expected,) = torch.autograd.grad(value, losses)
    weights = solver(losses.detach(), preference)
    assert torch.allclose(weights, expected, rtol=0, atol=1e-12)
    if penalty == 0:
        assert (weights >= 0).all()
    if penalty == 5:
        assert (weights < 0).any()


def test_the_reference_moves_with_the_largest_loss():
    """To 1.1 times it, in the one objective where that is beyond what was given."""
    losses = np.array([[0.1, 2.0], [0.5, 0.4]])
    expected = [steepest(losses, i, [1.1, 2.2]) for i in range(2)]
    assert growth(losses, [1.1, 1.1]).numpy() == pytest.approx(np.array(expected), abs=1e-7)
    assert growth(losses, [1.1, 2.2]).numpy() == pytest.approx(np.array(expected), abs=1e-7)
    assert growth(losses, [1.1, 9.0])[0, 0] > growth(losses, [1.1, 2.2])[0, 0]


def test_the_reference_given_may_be_below_all_losses():
    assert growth([[3.0, 4.0]], [1.0, 1.0])[0].numpy() == pytest.approx(np.array([4, 3]) / 5, abs=1e-12)


def test_points_beyond_a_reference_below_zero_have_the_cosine_alone():
    """1.1 times a negative loss is below it."""
    assert (growth([[-1.0, -1.0]], [-2.0, -2.0]) == 0).all()
    losses, preference = tensor([[-1.0, -2.0]]), tensor([[0.3, 0.7]])
    assert ps.PHNHVI((-3.0, -3.0), 1.0)(losses, preference).norm() > 0.1
    assert (growth([[-1.0, -1.0]], [0.5, 0.5]) > 0).all()


def test_one_point_has_its_box_with_and_without_a_points_axis():
    losses, preference = tensor([0.5, 0.2]), tensor([0.3, 0.7])
    solver = ps.PHNHVI((1.0, 1.0), 0.0)
    weights, state, status = solver.update(None, losses, preference)
    assert weights.numpy() == pytest.approx(np.array([0.8, 0.5]) / np.hypot(0.8, 0.5), abs=1e-12)
    assert state is None
    assert status.code.shape == ()
    penalised = ps.PHNHVI((1.0, 1.0), 0.5)
    assert torch.equal(penalised(losses, preference), penalised(losses[None], preference[None])[0])


def test_all_points_axes_are_one_set():
    rng = np.random.default_rng(0)
    losses, preference = tensor(rng.uniform(0.1, 1, (12, 3))), tensor(rng.dirichlet(np.ones(3), 12))
    solver = ps.PHNHVI((1.1, 1.1, 1.1))
    folded, _, status = solver.update(None, losses.reshape(3, 4, 3), preference.reshape(3, 4, 3))
    assert torch.equal(folded.reshape(12, 3), solver(losses, preference))
    assert status.code.shape == status.residual.shape == (3, 4)
    alone = torch.stack([solver(x, r) for x, r in zip(losses, preference, strict=True)])
    assert not torch.allclose(solver(losses, preference), alone, atol=1e-3)
    order = torch.from_numpy(rng.permutation(12))
    assert torch.allclose(solver(losses[order], preference[order]), solver(losses, preference)[order], atol=1e-12)


def test_of_equal_points_the_first_grows_and_the_others_keep_to_their_rays():
    losses = tensor([[0.5, 0.2], [0.5, 0.2], [0.6, 0.3]])
    found = growth(losses, [1.0, 1.0])
    assert (found.norm(dim=1) > 0).tolist() == [True, False, True]
    solver, preference = ps.PHNHVI((1.0, 1.0), 2.0), tensor([[0.5, 0.5]] * 3)
    cosine = ps.COSMOS(2.0)(losses, preference) - preference
    assert torch.allclose(solver(losses, preference)[1], cosine[1], atol=1e-12)


def test_one_network_a_point_does_not_train_it():
    with pytest.raises(ValueError, match=r"^PHNHVI weighs .* give preferences=3, fleet=3; or front_model="):
        Study(problem=fonseca(), solver=ps.PHNHVI((1.1, 1.1)), preferences=even_design(2, 3), corners=False, steps=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_takes_losses_as_they_come(dtype):
    losses = torch.tensor([[0.5, 0.25], [0.25, 0.5]], dtype=dtype, requires_grad=True)
    weights = ps.PHNHVI((1.0, 1.0))(losses, tensor([[0.5, 0.5]] * 2))
    assert weights.dtype == torch.float64
    assert torch.equal(weights[0], weights[1].flip(0))

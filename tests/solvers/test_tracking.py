"""Methods that keep what they saw: values by hand, and many steps beside the equations, coded apart."""

import itertools

import numpy as np
import pytest
import torch

import paretomtl_solvers as ps
from paretomtl.point import Code
from paretomtl_solvers import qp
from paretomtl_solvers.graddrop import pick_signs, positive_purity, sum_by_sign
from paretomtl_solvers.gradnorm import slopes_of
from paretomtl_solvers.tracking import project_on_simplex
from tests.solvers.steps import J_B, L_B, even, start, step, tensor

# --- GradDrop ---


def test_graddrop_picks_a_sign_for_each_parameter():
    J, no_leak = tensor(J_B), torch.zeros(3, 1).double()
    assert positive_purity(*sum_by_sign(J)).tolist() == pytest.approx([0.6, 0.75, 1], abs=1e-6)
    assert pick_signs(J, tensor([0.25] * 3), no_leak).tolist() == pytest.approx([1.5, 3, 3], abs=1e-6)
    assert pick_signs(J, tensor([0.75] * 3), no_leak).tolist() == pytest.approx([-1, 0, 3], abs=1e-6)
    leaking = pick_signs(J, tensor([0.25] * 3), tensor([[0], [0.5], [1]]))
    assert leaking.tolist() == pytest.approx([1.5 - 0.5, 3 - 1, 3], abs=1e-6)


def test_graddrop_picks_no_sign_where_all_vanish():
    assert positive_purity(*sum_by_sign(torch.zeros(2, 3).double())).tolist() == [0.5] * 3


@pytest.mark.parametrize("preference", [(1 / 3, 1 / 3, 1 / 3), (0.2, 0.3, 0.5), (0, 0.4, 0.6)])
def test_graddrop_is_the_weighted_sum_on_average(preference):
    J, r, n = tensor(J_B), tensor(preference), 40_000
    many = J.repeat(1, n)  # one draw a parameter
    direction, _, _ = step(ps.GradDrop(), start(ps.GradDrop(), r), tensor(L_B), many, r)
    draws = direction.reshape(n, 3)
    error = draws.std(dim=0) / n**0.5
    assert ((draws.mean(dim=0) - 3 * r @ J).abs() <= 4 * error + 1e-12).all()
    assert draws.std(dim=0)[2] < 1e-12  # all agree on the third parameter's sign
    assert draws.std(dim=0)[0] > 0.1


def test_graddrop_draws_anew_at_each_step_and_again_from_the_same_state():
    J, r, solver = tensor(J_B).repeat(1, 50), even(3), ps.GradDrop()
    first = start(solver, r)
    one, second, _ = step(solver, first, tensor(L_B), J, r)
    two, _, _ = step(solver, second, tensor(L_B), J, r)
    again, _, _ = step(solver, first, tensor(L_B), J, r)
    assert torch.equal(one, again)
    assert not torch.equal(one, two)


# --- MoCo ---


def test_moco_by_hand():
    solver = ps.MoCo(beta=0.5, gamma=0.1)
    d, state, _ = step(solver, start(solver, even(3)), tensor(L_B), tensor(J_B), even(3))
    assert state.weights.tolist() == pytest.approx([0.3326389, 0.3326389, 0.3347222], abs=1e-6)
    assert d.tolist() == pytest.approx([0.0836806, 0.3315972, 0.5010417], abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"rho": 0.3, "beta_sigma": 0.2, "gamma_sigma": 0.0}, {"scale_to_loss": True}])
def test_moco_step_by_step(options):
    solver, rng = ps.MoCo(**options), np.random.default_rng(0)
    state, y, w = start(solver, even(3)), np.zeros((3, 4)), np.full(3, 1 / 3)
    for t in range(1, 6):
        J, losses = rng.normal(size=(3, 4)), rng.uniform(0.1, 2, size=3)
        d, state, _ = step(solver, state, tensor(losses), tensor(J), even(3))
        g = J / np.linalg.norm(J, axis=1, keepdims=True) * losses[:, None] if solver.scale_to_loss else J
        y = y - solver.beta / t**solver.beta_sigma * (y - g)
        w = w - solver.gamma / t**solver.gamma_sigma * (y @ y.T + solver.rho * np.eye(3)) @ w
        w = w + (1 - w.sum()) / 3  # the projection, while all stay positive
        assert (w > 0).all()
        assert d.tolist() == pytest.approx(w @ y, abs=1e-12)
        assert state.steps == t


def test_moco_finds_mgdas_weights_on_constant_gradients():
    solver, J = ps.MoCo(), tensor(J_B)
    state = start(solver, even(3))
    for _ in range(400):
        d, state, _ = step(solver, state, tensor(L_B), J, even(3))
    assert state.weights.tolist() == pytest.approx([0.3333333, 0.3218391, 0.3448276], abs=1e-4)
    assert d @ d == pytest.approx(1.4712644, abs=1e-4)


def test_moco_averages_the_noise_of_batches_out():
    """Its direction is nearer to MGDA's than the mean direction of MGDA on single batches, which is biased."""
    J, rng = tensor([[1, 0.3], [-0.8, 0.3]]), np.random.default_rng(1)
    best, _ = qp.min_norm((J @ J.T).numpy())
    solver, mgda = ps.MoCo(gamma=1.0), ps.MGDA()
    state, biased, tail = start(solver, even(2)), [], []
    for _ in range(600):
        noisy = J + tensor(rng.normal(scale=0.5, size=(2, 2)))
        d, state, _ = step(solver, state, even(2), noisy, even(2))
        biased.append(step(mgda, None, even(2), noisy, even(2))[0])
        tail.append(d)
    exact = tensor(best) @ J
    ours = (torch.stack(tail[300:]).mean(dim=0) - exact).norm()
    assert ours < 0.5 * (torch.stack(biased).mean(dim=0) - exact).norm()


@pytest.mark.parametrize("m", [2, 3, 8])
def test_the_projection_on_the_simplex_is_the_nearest_point(m):
    v = 2 * torch.randn(50, m, generator=torch.Generator().manual_seed(m), dtype=torch.float64)
    w = project_on_simplex(v)
    assert (w >= 0).all()
    assert (w.sum(dim=-1) - 1).abs().max() < 1e-12
    # no corner is on the far side: (v - w)'(e_i - w) <= 0
    assert ((v - w) - ((v - w) * w).sum(dim=-1, keepdim=True)).max() < 1e-12
    assert torch.equal(project_on_simplex(v[7]), w[7])


def test_the_projection_of_huge_entries():
    assert project_on_simplex(tensor([1e18, -1e18, 1e18])).tolist() == [0.5, 0, 0.5]
    assert project_on_simplex(tensor([3e17, 2e17])).tolist() == [1, 0]


# --- DB-MTL ---


def test_dbmtl_by_hand():
    solver = ps.DBMTL(beta=0.0)
    d, _, _ = step(solver, start(solver, even(3)), tensor(L_B), tensor(J_B), even(3))
    assert d.tolist() == pytest.approx([1.0090971, 11.861329, 16.6143783], abs=1e-6)
    weights = tensor([5.1234754, 6.6143783, 5])
    assert d.tolist() == pytest.approx((weights @ tensor(J_B)).tolist(), abs=1e-6)


def test_dbmtl_step_by_step():
    solver, rng = ps.DBMTL(beta=0.8, sigma=0.5), np.random.default_rng(0)
    state, h = start(solver, even(3)), np.zeros((3, 4))
    for t in range(1, 6):
        J, losses = rng.normal(size=(3, 4)), rng.uniform(0.1, 2, size=3)
        d, state, _ = step(solver, state, tensor(losses), tensor(J), even(3))
        g = J / losses[:, None]
        h = g + 0.8 / t**0.5 * (h - g)
        norms = np.linalg.norm(h, axis=1)
        assert d.tolist() == pytest.approx(norms.max() * (h / norms[:, None]).sum(axis=0), abs=1e-12)


def test_dbmtl_does_not_see_the_losses_scales_but_for_the_largest_norm():
    solver, J, losses, by = ps.DBMTL(beta=0.0), tensor(J_B), tensor(L_B), tensor([1e6, 1, 1e-6])
    one, _, _ = step(solver, None, losses, J, even(3))
    other, _, _ = step(solver, None, by * losses, by[:, None] * J, even(3))
    assert torch.allclose(one, other, rtol=1e-9)


# --- GradNorm ---


def test_gradnorm_by_hand():
    w, norms = tensor([1.2, 0.8]).requires_grad_(), tensor([1, 3])
    progress = tensor([0.6, 0.3]) / tensor([1.2, 0.4])
    rho = progress / progress.mean()
    assert rho.tolist() == pytest.approx([0.8, 1.2], abs=1e-6)
    target = (w * norms).mean().detach() * rho**1.5
    assert target.tolist() == pytest.approx([1.2879752, 2.3661614], abs=1e-6)
    loss = (w * norms - target).abs().sum()
    assert loss.item() == pytest.approx(0.1218137, abs=1e-6)
    loss.backward()
    assert w.grad is not None
    slopes = slopes_of(w.detach(), norms, progress, 1.5)
    assert slopes.tolist() == pytest.approx([-1, 3], abs=1e-6)
    assert slopes.tolist() == w.grad.tolist()


@pytest.mark.parametrize("preference", [(1 / 3, 1 / 3, 1 / 3), (0.2, 0.3, 0.5), (0, 0.4, 0.6)])
def test_gradnorm_steps_as_torchs_adam(preference):
    solver, rng, r = ps.GradNorm(alpha=0.7, learning_rate=0.3), np.random.default_rng(3), tensor(preference)
    w = torch.ones(3, dtype=torch.float64, requires_grad=True)
    optimizer, state, first = torch.optim.Adam([w], lr=0.3), start(solver, r), None
    lowest = []
    for _ in range(12):
        J, losses = tensor(rng.normal(size=(3, 4)) * [[1], [5], [0.1]]), tensor(rng.uniform(0.1, 2, size=3))
        first = losses if first is None else first
        weights, state, _ = solver.update(state, losses, J @ J.T, r)
        assert weights.tolist() == pytest.approx(w.tolist(), abs=1e-9)  # of before the step
        assert weights.sum().item() == pytest.approx(3)
        norms = J.norm(dim=1)
        rho = 3 * r * losses / first / (3 * r * losses / first).mean()
        target = ((w * norms).mean() * rho**0.7).detach()
        optimizer.zero_grad()
        ((w * norms - target).abs().sum() / norms.mean()).backward()
        optimizer.step()
        with torch.no_grad():
            w.clamp_(min=1e-3)
            w.mul_(3 / w.sum())
        lowest.append(w.min().item())
    assert min(lowest) < 1e-3  # the floor was met


def test_gradnorm_does_not_see_a_common_scale_of_the_gradients():
    runs = []
    for scale in (1, 1e-8, 1e8):
        solver, rng, state = ps.GradNorm(), np.random.default_rng(0), None
        for _ in range(30):
            J = scale * tensor(rng.normal(size=(2, 3)))
            weights, state, _ = solver.update(state, tensor(rng.uniform(0.1, 1, 2)), J @ J.T, even(2))
        runs.append(weights.tolist())
    assert runs[1] == pytest.approx(runs[0], rel=1e-6)
    assert runs[2] == pytest.approx(runs[0], rel=1e-6)


def test_gradnorm_evens_norms_out_at_alpha_0():
    solver, C, state = ps.GradNorm(alpha=0.0), torch.diag(tensor([1, 9, 0.25])), None
    for _ in range(400):
        weights, state, _ = solver.update(state, tensor(L_B), C, even(3))
    reached = weights * C.diagonal().sqrt()
    assert reached.tolist() == pytest.approx([reached.mean().item()] * 3, rel=0.1)  # Adam's steps overshoot by .025


def test_gradnorm_holds_where_losses_reach_zero():
    solver, C = ps.GradNorm(), torch.eye(2).double()
    _, state, _ = solver.update(None, tensor([1, 2]), C, even(2))
    for losses in ([0, 1], [0, 0]):
        weights, state, _ = solver.update(state, tensor(losses), C, even(2))
        assert state.weights.values.isfinite().all()
        assert weights.sum().item() == pytest.approx(2)


# --- scaling by norms ---


def test_gradient_norm_scaling_by_hand():
    solver, state = ps.GradientNormScaling(beta=0.75), None
    weights, state, _ = solver.update(state, even(2), torch.diag(tensor([1, 9])), even(2))
    assert weights.tolist() == pytest.approx([1.5, 0.5])
    weights, state, _ = solver.update(state, even(2), torch.diag(tensor([25, 1])), even(2))
    means = 0.75 * np.array([1, 3]) + 0.25 * np.array([5, 1])
    assert means.tolist() == [2, 2.5]
    assert state.norms.tolist() == pytest.approx(means)
    assert weights.tolist() == pytest.approx([2 * 2.5 / 4.5, 2 * 2 / 4.5])


def test_gradient_norm_scaling_leaves_out_what_has_no_gradient_yet():
    solver = ps.GradientNormScaling(beta=0.5)
    weights, state, _ = solver.update(None, even(3), torch.diag(tensor([0, 1, 4])), even(3))
    assert weights.tolist() == pytest.approx([0, 2, 1])
    weights, _, _ = solver.update(state, even(3), torch.diag(tensor([1, 1, 4])), even(3))
    assert weights.tolist() == pytest.approx([3 * 2 / 3.5, 3 / 3.5, 1.5 / 3.5])


def test_emtl_makes_the_ratios_equal_and_no_weights_do_better():
    """The variance of the ratios l_i / |w_i g_i| is 0 there, and above 0 at other weights of the same sum."""
    J, losses = tensor(J_B), tensor(L_B)
    weights = ps.EMTL()(losses, J @ J.T, even(3))
    assert weights.sum().item() == pytest.approx(3)

    def ratios(w):
        return losses / (w * J.norm(dim=1))

    assert ratios(weights).var().item() < 1e-24
    for by in itertools.permutations([0.9, 1, 1.1]):
        other = weights * tensor(by)
        assert ratios(3 * other / other.sum()).var().item() > 1e-4


def test_emtl_with_losses_of_zero():
    C = torch.diag(tensor([1, 4]))
    assert ps.EMTL()(tensor([0, 1]), C, even(2)).tolist() == [0, 2]
    assert ps.EMTL()(tensor([0, 0]), C, even(2)).tolist() == [1, 1]


# --- ExcessMTL ---


@pytest.mark.parametrize("preference", [(1 / 3, 1 / 3, 1 / 3), (0.2, 0.3, 0.5), (0, 0.4, 0.6)])
def test_excess_mtl_step_by_step(preference):
    solver, rng, r = ps.ExcessMTL(eta=0.3), np.random.default_rng(0), np.array(preference)
    state, w, sums, first = start(solver, tensor(r)), np.ones(3), np.zeros((3, 4)), None
    for _ in range(6):
        J = rng.normal(size=(3, 4)) * [[1], [10], [0.1]]
        d, state, _ = step(solver, state, tensor(L_B), tensor(J), tensor(r))
        sums += J**2
        excess = (J**2 / np.sqrt(sums)).sum(axis=1)
        if first is None:
            first = excess
        else:
            w = w * np.exp(0.3 * 3 * r * excess / first)
            w = 3 * w / w.sum()
        assert d.tolist() == pytest.approx((3 * r * w) @ J, abs=1e-9)


def test_excess_mtl_by_hand():
    """At the second step of the same gradients, sums have doubled: both excess risks are 1/sqrt(2) of their first."""
    solver, J = ps.ExcessMTL(eta=1.0), tensor([[3, 4], [0, 2]])
    _, state, _ = step(solver, start(solver, even(2)), even(2), J, even(2))
    assert state.first.tolist() == [7, 2]
    d, _, _ = step(solver, state, even(2), J, even(2))
    assert d.tolist() == pytest.approx([3, 6])
    other = tensor([[3, 4], [0, 0]])  # of which the second task's is 0
    d, _, _ = step(solver, state, even(2), other, even(2))
    share = 2 / (1 + np.exp(-(0.5**0.5)))
    assert d.tolist() == pytest.approx([3 * share, 4 * share])


def test_excess_mtl_takes_the_first_risk_above_zero():
    solver, J = ps.ExcessMTL(eta=1.0), tensor([[1, 0], [0, 0]])
    _, state, _ = step(solver, start(solver, even(2)), even(2), J, even(2))
    assert state.first.tolist() == [1, 0]
    for _ in range(3):
        d, state, _ = step(solver, state, even(2), tensor([[1, 0], [0, 1e-9]]), even(2))
        assert d.isfinite().all()
    assert state.first.tolist() == pytest.approx([1, 1e-9])


# --- MoDo ---


@pytest.mark.parametrize("rho", [0.0, 0.4])
def test_modo_step_by_step(rho):
    solver, rng, w = ps.MoDo(gamma=0.05, rho=rho), np.random.default_rng(0), np.full(3, 1 / 3)
    state = start(solver, even(3))
    for _ in range(4):
        J = rng.normal(size=(3, 4))
        weights, state, _ = solver.update(state, tensor(L_B), tensor(J @ J.T), even(3))
        w = w - 0.05 * (J @ J.T + rho * np.eye(3)) @ w
        w = w + (1 - w.sum()) / 3  # the projection, while all stay positive
        assert (w > 0).all()
        assert weights.tolist() == pytest.approx(w, abs=1e-12)


def test_modo_finds_mgdas_weights_on_constant_gradients():
    solver, J, state = ps.MoDo(), tensor(J_B), None
    for _ in range(200):
        weights, state, _ = solver.update(state, tensor(L_B), J @ J.T, even(3))
    assert weights.tolist() == pytest.approx([0.3333333, 0.3218391, 0.3448276], abs=1e-6)


# --- CR-MOGM ---


@pytest.mark.parametrize("base", [ps.MGDA(), ps.FairGrad(1.0), ps.GradNorm()], ids=repr)
def test_cr_mogm_averages_the_weights(base):
    solver, rng, mean = ps.CRMOGM(base, alpha=0.7), np.random.default_rng(0), None
    state, within = start(solver, even(3)), start(base, even(3))
    for _ in range(5):
        J = tensor(rng.normal(size=(3, 6)))
        weights, state, _ = solver.update(state, tensor(L_B), J @ J.T, even(3))
        fresh, within, _ = base.update(within, tensor(L_B), J @ J.T, even(3))
        mean = fresh if mean is None else 0.7 * mean + 0.3 * fresh
        assert weights.tolist() == pytest.approx(mean.tolist(), abs=1e-12)


def test_cr_mogm_is_stationary_where_its_own_direction_vanishes():
    """MGDA is at rest where gradients are opposed, and the average is not, until it is there too."""
    solver, r = ps.CRMOGM(alpha=0.5), even(2)
    _, state, status = step(solver, start(solver, r), r, tensor([[1, 0], [0, 3]]), r)
    assert status.code == Code.SOLVED
    codes = []
    for _ in range(40):
        d, state, status = step(solver, state, r, tensor([[1, 0], [-1, 0]]), r)
        codes.append(int(status.code))
    assert codes[0] == Code.SOLVED
    assert codes[-1] == Code.STATIONARY
    assert d.norm() < 1e-7


def test_cr_mogm_is_as_its_base():
    solver = ps.CRMOGM(ps.ParetoMTL(heads="weighted"))
    assert solver.uses_preference
    assert solver.from_ideal
    assert solver.weighs_heads
    assert ps.CRMOGM(ps.EMTL()).nonnegative
    assert ps.CRMOGM(ps.EMTL()).preference_means == ps.EMTL.preference_means
    assert not ps.CRMOGM().uses_preference

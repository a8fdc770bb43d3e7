"""The estimators of diagnosis against closed forms, published values and simulations."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

import paretomtl as pm

diagnosis = pm.diagnosis
J_A = torch.tensor([[1.0, 0.0], [-1.5, 1.5 * math.sqrt(3)]], dtype=torch.float64)
# of segmentation, depth, normals, keypoints, edges, in hundred-thousandths: for each task (row) from each other;
# published with the code of Fifty et al. (2021) for Taskonomy
TASKONOMY = [
    [0, 11537, 4891, 455, 878],
    [41356, 0, 29141, 1354, 7396],
    [13982, 22096, 0, 1049, 7646],
    [2110, 1337, 1073, 0, 68974],
    [5669, 3668, 3601, 30372, 0],
]


# --- conflict ---


def test_conflict_of_two_gradients_at_120_degrees():
    seen = diagnosis.conflict(J_A @ J_A.T)
    assert seen.cosines.flatten().tolist() == pytest.approx([1, -0.5, -0.5, 1])
    assert (seen.negative, seen.direction) == pytest.approx((1, 0.5))
    assert seen.magnitude_ratio == pytest.approx(1 / 3)
    assert seen.magnitude_variance == pytest.approx(1.0)  # of norms 1 and 3


def test_a_task_twice_has_no_conflict():
    g = torch.tensor([[1.0, 2.0, 3.0]] * 2)
    seen = diagnosis.conflict(g @ g.T)
    assert seen.cosines.flatten().tolist() == pytest.approx([1] * 4)
    assert (seen.negative, seen.direction, seen.magnitude_ratio) == pytest.approx((0, 1, 1))


def test_gradients_that_cancel_have_no_direction_and_those_that_vanish_are_left_out():
    g = torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.0, 0.0]])
    seen = diagnosis.conflict(g @ g.T)
    assert seen.direction == 0
    assert seen.negative == 1
    assert seen.cosines[2].isnan().all()
    assert math.isnan(diagnosis.conflict(torch.zeros(2, 2)).negative)


def test_gradients_that_are_not_finite_have_no_conflict():
    with pytest.raises(ValueError, match="give finite products of gradients"):
        diagnosis.conflict(torch.tensor([[1.0, math.nan], [math.nan, 1.0]]))


# --- noise and coherence ---


def test_noise_scale_of_two_orthogonal_gradients():
    small = torch.eye(2)
    assert diagnosis.noise_scale(small, small.mean(0), 1, 2) == pytest.approx((1, 0, math.inf))


def test_noise_scale_is_unbiased():
    generator = torch.Generator().manual_seed(0)
    true, deviation = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([3.0, 1.0, 2.0])
    samples = true + deviation * torch.randn(4096, 3, generator=generator, dtype=torch.float64)
    seen = [diagnosis.noise_scale(part, part.mean(0), 1, len(part)) for part in samples.split(64)]
    assert np.mean([s.trace for s in seen]) == pytest.approx(float(deviation.square().sum()), rel=0.05)
    whole = diagnosis.noise_scale(samples, samples.mean(0), 1, 4096)
    exact = float(samples.var(0, correction=1).sum())
    assert whole.trace == pytest.approx(exact, rel=1e-9)
    assert whole.squared_norm == pytest.approx(float(samples.mean(0).square().sum()) - exact / 4096, rel=1e-9)
    assert whole.scale == pytest.approx(14 / 5.25, rel=0.1)


@pytest.mark.parametrize(("b", "B"), [(0, 2), (2, 2), (4, 2)])
def test_noise_scale_needs_two_sizes(b, B):
    with pytest.raises(ValueError, match=f"b={b}, B={B}: give two sizes of batches, the smaller one first"):
        diagnosis.noise_scale(torch.eye(2), torch.ones(2), b, B)


def test_coherence():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert diagnosis.coherence(rows) == pytest.approx((2 / 3, 0.5))
    assert diagnosis.coherence(torch.eye(4)) == pytest.approx((0.25, 0.0))
    assert diagnosis.coherence(torch.ones(4, 3)) == pytest.approx((1.0, 1.0))
    assert all(map(math.isnan, diagnosis.coherence(torch.zeros(2, 3))))


def test_debiased_coherence_of_noise_alone_is_zero_on_average():
    generator = torch.Generator().manual_seed(0)
    seen = [diagnosis.coherence(torch.randn(8, 5, generator=generator)).debiased for _ in range(2000)]
    assert abs(np.mean(seen)) < 3 * np.std(seen) / math.sqrt(len(seen))
    assert np.mean([7 * value / 8 + 1 / 8 for value in seen]) > 0.1  # the plain one is not


# --- curvature and Fisher ---


class Quadratic(nn.Module):
    """Parameters of n numbers, and a loss x' A x / 2 of a given A."""

    def __init__(self, n: int):
        super().__init__()
        self.x = nn.Parameter(torch.ones(n, dtype=torch.float64))


def quadratics(*matrices: torch.Tensor) -> pm.Problem:
    names = [f"loss {k}" for k in range(len(matrices))]

    def losses(model, batch):
        return {name: model.x @ a @ model.x / 2 for name, a in zip(names, matrices, strict=True)}

    return pm.Problem(names, lambda: Quadratic(len(matrices[0])), losses, [1e3] * len(names), deterministic=True)


@pytest.mark.parametrize("n", [1, 3, 60])
@pytest.mark.parametrize("shift", [0.0, -30.0])
def test_the_largest_eigenvalue_is_the_largest_signed_one(n, shift):
    """With the shift the largest in magnitude is negative."""
    root = torch.randn(n, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    a = root @ root.T / n + shift * torch.eye(n, dtype=torch.float64)
    b = torch.diag(torch.arange(n, dtype=torch.float64))
    problem = quadratics(a, b)
    closure = pm.closure(problem, problem.model())
    for weights in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5)):
        exact = float(torch.linalg.eigvalsh(weights[0] * a + weights[1] * b)[-1])
        top = diagnosis.hessian_top(closure, torch.tensor(weights, dtype=torch.float64))
        assert top == pytest.approx(exact, rel=1e-3, abs=1e-9)
    assert diagnosis.hessian_top(closure) == pytest.approx(exact, rel=1e-3, abs=1e-9)


def test_the_largest_eigenvalue_of_a_logistic_regression():
    x = torch.randn(200, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    problem = logistic(x, x[:, 0] > 0)
    model = problem.model()
    p = model(x)[:, 0].sigmoid().detach()
    exact = torch.linalg.eigvalsh((x * (p * (1 - p))[:, None]).T @ x / len(x))[-1]
    closure = pm.closure(problem, model, (x, (x[:, 0] > 0).double()))
    assert diagnosis.hessian_top(closure, torch.tensor([1.0, 0.0])) == pytest.approx(float(exact), rel=1e-2)


def test_a_product_that_is_not_finite_is_an_error():
    a = torch.full((2, 2), math.nan, dtype=torch.float64)
    problem = quadratics(a, a)
    with pytest.raises(ArithmeticError, match="a product with the Hessian is not finite"):
        diagnosis.hessian_top(pm.closure(problem, problem.model()))


def logistic(x: torch.Tensor, y: torch.Tensor) -> pm.Problem:
    """Two losses of one linear model: that of the labels, and that of their opposites."""
    batch = (x, y.to(x.dtype))

    def build():
        torch.manual_seed(0)
        return nn.Linear(x.shape[1], 1, bias=False, dtype=x.dtype)

    def losses(model, batch):
        z = model(batch[0])[:, 0]
        return {
            "labels": binary_cross_entropy_with_logits(z, batch[1]),
            "opposites": binary_cross_entropy_with_logits(z, 1 - batch[1]),
        }

    return pm.Problem(["labels", "opposites"], build, losses, [2.0, 2.0], [batch], [batch])


def one_logit() -> nn.Module:
    """A logistic regression with the logit .5 at x = (1, 2)."""
    model = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, 0.5 / 3)
    return model


def test_the_fisher_trace_of_a_logistic_regression_has_the_labels_of_the_model():
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    seen = diagnosis.fisher_trace(one_logit(), x.expand(40_000, 2), "yes or no", generator=generator)
    assert seen == pytest.approx(1.1750186, rel=0.01)  # p (1 - p) |x|^2; with the label y = 1 it would be .7126848
    several = diagnosis.fisher_trace(one_logit(), x.expand(400, 2), "yes or no", draws=100, generator=generator)
    assert several == pytest.approx(1.1750186, rel=0.01)


def test_the_fisher_trace_of_two_classes_is_that_of_yes_or_no():
    """With the logits (0, z) the gradient is that of z alone."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = one_logit()

        def forward(self, x):
            z = self.inner(x)
            return torch.cat([torch.zeros_like(z), z], dim=1)

    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64).expand(40_000, 2)
    seen = diagnosis.fisher_trace(Two(), x, generator=torch.Generator().manual_seed(0))
    assert seen == pytest.approx(1.1750186, rel=0.01)


def test_the_fisher_trace_of_numbers_is_the_squared_gradient():
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64).expand(40_000, 2)
    seen = diagnosis.fisher_trace(one_logit(), x, "numbers", generator=torch.Generator().manual_seed(0))
    assert seen == pytest.approx(5.0, rel=0.02)


def test_a_fisher_trace_leaves_the_model_in_its_mode_and_is_without_dropout():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)).train()
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    values = {diagnosis.fisher_trace(model, x, generator=torch.Generator().manual_seed(1)) for _ in range(3)}
    assert len(values) == 1
    assert model.training
    with pytest.raises(ValueError, match="kind='regression': give 'classes', 'yes or no' or 'numbers'"):
        diagnosis.fisher_trace(model, x, "regression")
    with pytest.raises(ValueError, match="draws=0: give a whole number of at least 1"):
        diagnosis.fisher_trace(model, x, draws=0)


# --- affinity ---


class Shared(nn.Module):
    """Two shared numbers, and a head of one number for each task."""

    def __init__(self):
        super().__init__()
        self.t = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
        self.heads = nn.Parameter(torch.ones(1, dtype=torch.float64))


def published(double: bool = False) -> pm.Problem:
    """The quadratics whose affinities are known; or one of them twice."""
    h1, c1 = torch.tensor([1.0, 2.0]).double(), torch.tensor([1.0, 0.0]).double()
    h2, c2 = torch.tensor([[2.0, 1.0], [1.0, 3.0]]).double(), torch.tensor([0.0, 1.0]).double()

    def losses(model, batch):
        first = (h1 * (model.t - c1).square()).sum() / 2
        second = (model.t - c2) @ h2 @ (model.t - c2) / 2
        return {"one": first, "two": first if double else second}

    return pm.Problem(["one", "two"], Shared, losses, [9.0, 9.0], deterministic=True)


def test_the_affinities_of_two_quadratics():
    problem = published()
    model = problem.model()
    seen = diagnosis.affinity(problem, model, learning_rate=0.1)
    assert (0.1 * seen[0, 1].item(), 0.1 * seen[1, 0].item()) == pytest.approx((0.3885714, 0.34875), abs=1e-7)
    assert model.t.tolist() == [1.0, 2.0]


def test_affinity_tends_to_the_products_of_gradients_over_the_losses():
    problem = published()
    model = problem.model()
    losses, jacobian, _ = pm.closure(problem, model).gradients()
    seen = diagnosis.affinity(problem, model, learning_rate=1e-6)
    torch.testing.assert_close(seen, jacobian @ jacobian.T / losses, rtol=1e-4, atol=0)
    assert 0.1 * seen[0, 1].item() == pytest.approx(0.4571429, rel=1e-4)


def test_a_task_twice_has_a_symmetric_affinity():
    problem = published(double=True)
    seen = diagnosis.affinity(problem, problem.model(), learning_rate=0.1)
    torch.testing.assert_close(seen, seen.T)
    assert seen.min() == seen.max() > 0


def test_heads_stay_where_they_are():
    def losses(model, batch):
        z = model.t.square().sum()
        return {"one": z + 1 + (model.heads - 9).square().sum(), "two": 2 * z + 1}

    problem = pm.Problem(["one", "two"], Shared, losses, [99.0, 99.0], deterministic=True)
    seen = diagnosis.affinity(problem, problem.model(), learning_rate=0.01)
    # z falls from 5 to 5 (1 - .02)^2 and 5 (1 - .04)^2; 1 + 64 is of the head and stays
    expected = torch.tensor(
        [[5 * (1 - 0.98**2) / 70, 10 * (1 - 0.98**2) / 11], [5 * (1 - 0.96**2) / 70, 10 * (1 - 0.96**2) / 11]]
    )
    torch.testing.assert_close(0.01 * seen, expected.double())


def test_an_affinity_needs_all_labels_and_positive_losses():
    x = torch.randn(8, 2, dtype=torch.float64)
    problem = logistic(x, x[:, 0] > 0)
    one = pm.Problem(
        ["labels", "opposites"], problem.model, lambda m, b: problem.losses(m, b) | {"opposites": None}, [2.0, 2.0],
        problem.train, problem.validate,
    )  # fmt: skip
    batch = (x, (x[:, 0] > 0).double())
    with pytest.raises(ValueError, match="the batch has labels of 1 of 2 objectives; give one with all"):
        diagnosis.affinity(one, problem.model(), batch, learning_rate=0.1)
    with pytest.raises(ValueError, match="learning_rate=0: give a positive number"):
        diagnosis.affinity(problem, problem.model(), batch, learning_rate=0)
    a = -torch.eye(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="loss 'loss 0' is -1; an affinity is relative to a positive loss"):
        diagnosis.affinity(quadratics(a, a), Quadratic(2), learning_rate=0.1)


# --- groups ---


def taskonomy() -> np.ndarray:
    return np.array(TASKONOMY).T / 1e5  # of each task, for each other


@pytest.mark.parametrize(
    ("groups", "expected", "score"),
    [(1, [(0, 1, 2, 3, 4)], 0.12929), (2, [(0, 1, 2), (3, 4)], 0.32170), (3, [(0, 1), (1, 2), (3, 4)], 0.34867)],
)
def test_the_groups_of_taskonomy(groups, expected, score):
    seen = diagnosis.group_tasks(taskonomy(), groups)
    assert sorted(seen.groups) == expected
    assert seen.score == pytest.approx(score, abs=1e-5)
    assert all(task in seen.groups[group] for task, group in enumerate(seen.served_by))


def brute_force(table: np.ndarray, groups: int) -> float:
    k = len(table)
    subsets = [s for size in range(1, k + 1) for s in combinations(range(k), size)]

    def score(task, group):
        others = [i for i in group if i != task]
        return np.mean([table[i, task] for i in others]) if others else -1e6

    scores = np.array([[score(t, s) if t in s else -np.inf for t in range(k)] for s in subsets])
    best = -np.inf
    for count in range(1, groups + 1):
        for chosen in combinations(range(len(subsets)), count):
            best = max(best, scores[list(chosen)].max(axis=0).mean())
    return best


@pytest.mark.parametrize("seed", range(4))
def test_groups_of_five_or_six_tasks_are_those_of_brute_force(seed):
    k, groups = (6, 2) if seed < 3 else (5, 3)
    table = np.random.default_rng(seed).standard_normal((k, k))
    assert diagnosis.group_tasks(table, groups).score == pytest.approx(brute_force(table, groups), abs=1e-9)


def test_planted_groups_are_found():
    rng = np.random.default_rng(0)
    order = rng.permutation(6)
    family = np.array([0, 0, 0, 1, 1, 1])[order]
    table = np.where(family[:, None] == family[None], 1.0, -1.0) + 0.3 * rng.standard_normal((6, 6))
    expected = [tuple(np.flatnonzero(family == f)) for f in (0, 1)]
    assert sorted(diagnosis.group_tasks(table, 2).groups) == sorted(expected)


def test_of_gains_tasks_that_only_harm_one_another_stay_alone():
    assert diagnosis.group_tasks(-np.ones((3, 3)), 3, alone=0.0).groups == [(0,), (1,), (2,)]


def test_a_table_that_is_no_affinity_is_refused():
    with pytest.raises(ValueError, match=r"affinity has the shape \(1, 1\); give a row and a column for each"):
        diagnosis.group_tasks([[1.0]], 1)
    with pytest.raises(ValueError, match="affinity has a value that is not finite"):
        diagnosis.group_tasks([[0.0, math.nan], [1.0, 0.0]], 1)
    with pytest.raises(ValueError, match="affinity is of 13 tasks; the exact grouping is for at most 12"):
        diagnosis.group_tasks(np.ones((13, 13)), 2)
    with pytest.raises(ValueError, match="groups=0: give a whole number of at least 1"):
        diagnosis.group_tasks(np.ones((2, 2)), 0)


# --- curves ---


@pytest.mark.parametrize(("a", "b", "c"), [(0.1, 2.0, 0.5), (0.0, 30.0, 1.0), (0.3, 1.0, 0.1)])
def test_a_planted_learning_curve_is_recovered(a, b, c):
    sizes = [100, 200, 400, 800, 1600, 3200]
    curve = diagnosis.fit_learning_curve(sizes, [a + b * n**-c for n in sizes])
    assert (curve.a, curve.b, curve.c) == pytest.approx((a, b, c), rel=1e-3, abs=1e-3)
    assert curve.residual < 1e-6
    assert curve(5000) == pytest.approx(a + b * 5000**-c, rel=1e-4)


def test_errors_that_do_not_fall_have_a_flat_curve():
    curve = diagnosis.fit_learning_curve([10, 20, 40], [0.1, 0.2, 0.3])
    assert curve.b == 0
    assert curve.a == pytest.approx(0.2)


def test_a_learning_curve_needs_three_sizes_and_finite_errors():
    with pytest.raises(ValueError, match="sizes has 2 different values; three numbers are fitted"):
        diagnosis.fit_learning_curve([10, 10, 20], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="give positive sizes and finite errors"):
        diagnosis.fit_learning_curve([10, 20, 40], [0.1, math.nan, 0.3])
    with pytest.raises(ValueError, match=r"sizes has the shape \(2,\), errors \(3,\)"):
        diagnosis.fit_learning_curve([10, 20], [0.1, 0.2, 0.3])


def test_two_equal_trainings_have_no_gap():
    run = ([3.0, 2.0, 2.5, 1.0], [3.5, 2.5, 2.6, 2.0])
    curve = diagnosis.gap_at_matched_loss(run, run)
    assert (curve.gap == 0).all()
    assert curve.mean == 0
    assert (curve.train[0], curve.train[-1]) == (3.0, 1.0)


def test_a_slower_training_of_the_same_path_has_no_gap_and_a_worse_one_its_offset():
    steps = np.linspace(3, 1, 21)
    fast, slow = (steps[::2], steps[::2] ** 2), (steps, steps**2)
    assert np.abs(diagnosis.gap_at_matched_loss(fast, slow).gap).max() < 0.03  # of the interpolation
    worse = (steps, steps**2 + 0.5)
    assert diagnosis.gap_at_matched_loss(worse, slow).gap == pytest.approx(0.5)


def test_the_gap_is_undefined_outside_the_common_range():
    joint, alone = ([3.0, 2.0], [1.0, 1.0]), ([2.5, 1.0], [0.5, 0.5])
    curve = diagnosis.gap_at_matched_loss(joint, alone)
    assert (curve.train.max(), curve.train.min()) == (2.5, 2.0)
    apart = diagnosis.gap_at_matched_loss(joint, ([1.0, 0.5], [0.5, 0.5]))
    assert len(apart.gap) == 0
    assert math.isnan(apart.mean)


def test_losses_that_rise_again_are_left_out():
    curve = diagnosis.gap_at_matched_loss(([3.0, 9.0, 1.0], [0.0, 99.0, 0.0]), ([3.0, 1.0], [0.0, 0.0]))
    assert (curve.gap == 0).all()


def test_trainings_that_cannot_be_compared_are_refused():
    good = ([3.0, 2.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="give one"):
        diagnosis.gap_at_matched_loss(good, ([3.0, 2.0], [1.0]))
    with pytest.raises(ValueError, match="a training has a loss that is not finite"):
        diagnosis.gap_at_matched_loss(good, ([3.0, math.nan], [1.0, 1.0]))

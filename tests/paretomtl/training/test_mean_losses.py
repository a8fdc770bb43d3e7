"""The mean losses over all of train: as of one large batch, and as points are measured."""

import pytest
import torch

import paretomtl as pm
from paretomtl.autograd.loss_function import closure
from paretomtl.training.mean_losses import MeanLosses
from studies.analytic import quadratics
from tests import toys
from tests.one_point import labelled, marked, partly

WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)


def uneven(problem: pm.Problem | None = None, **options) -> tuple[MeanLosses, pm.Closure]:
    """Of batches of 16, 16 and 8; and of the same samples at once."""
    x, y = toys.regression(1, 40).tensors
    parts = [(x[k : k + 16], y[k : k + 16]) for k in (0, 16, 32)]
    problem, model = problem or toys.two_regressions(), toys.initial()
    return MeanLosses(problem, model, parts, **options), closure(problem, model, (x, y))


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one.double(), other.double(), rtol=1e-5, atol=1e-6)


def test_it_is_as_one_large_batch():
    mean, whole = uneven()
    there = mean.parameters + 0.1
    vector = torch.linspace(-1, 1, len(there))
    assert close(mean(), whole())
    assert close(mean(there), whole(there))
    assert close(mean.gradients().losses, whole())
    assert close(mean.gradients().jacobian, whole.gradients().jacobian)
    assert torch.equal(mean.gradients().shared, whole.gradients().shared)
    assert close(mean.gradient(WEIGHTS, there), whole.gradient(WEIGHTS, there))
    assert close(mean.hessian_product(WEIGHTS, vector), whole.hessian_product(WEIGHTS, vector))
    assert close(mean.squared_gradients(), whole.squared_gradients())
    assert (mean.moves, mean.products) == (0, 1)


def test_it_moves_the_model_and_looks_again():
    mean, whole = uneven()
    before = mean.gradients()
    assert mean.gradients() is before
    mean.move(mean.parameters + 0.1)
    assert torch.equal(mean.parameters, whole.parameters)
    assert close(mean.gradients().jacobian, whole.gradients().jacobian)
    assert not close(mean.gradients().jacobian, before.jacobian)
    assert mean.moves == 1


def test_products_on_the_first_batches():
    mean, _ = uneven(hessian_batches=1)
    x, y = toys.regression(1, 40).tensors
    first = closure(toys.two_regressions(), toys.initial(), (x[:16], y[:16]))
    vector = torch.ones_like(mean.parameters)
    assert close(mean.hessian_product(WEIGHTS, vector), first.hessian_product(WEIGHTS, vector))
    assert close(mean.gradients().jacobian, uneven()[0].gradients().jacobian)


def test_it_is_the_mean_that_is_measured():
    problem, model = toys.two_regressions(), toys.initial()
    mean = MeanLosses(problem, model, problem.open()["train"])  # in an order of its own at each reading
    assert list(pm.evaluate(problem, model, "train").values()) == pytest.approx(mean().tolist(), rel=1e-5)
    assert torch.equal(mean(), mean())


@pytest.mark.fault(16)
def test_a_loss_is_the_mean_of_the_batches_that_have_its_label():
    problem, model = partly("ab", "b", "", "a"), toys.initial()
    mean = MeanLosses(problem, model, problem.open()["train"])
    data = marked("ab", "b", "", "a")
    of = {name: [b for b in data if name in b[2]] for name in "ab"}
    expected = [sum(float(labelled(model, b)[name].detach()) for b in of[name]) / 2 for name in "ab"]
    assert mean().tolist() == pytest.approx(expected, rel=1e-5)
    jacobian = mean.gradients().jacobian
    for row, name in zip(jacobian, "ab", strict=True):
        parts = [closure(problem, model, b).gradients().jacobian[sorted(b[2]).index(name)] for b in of[name]]
        assert close(row, torch.stack(parts).mean(dim=0))
    # the second derivative, by differences of the gradient
    here, vector = mean.parameters, torch.linspace(-1, 1, len(mean.parameters))
    ahead, behind = (mean.gradient(WEIGHTS, here + s * vector) for s in (1e-2, -1e-2))
    assert torch.allclose(mean.hessian_product(WEIGHTS, vector), (ahead - behind) / 2e-2, atol=2e-3)


@pytest.mark.fault(99)
def test_batches_are_weighed_by_the_labels_of_each_loss():
    """Of batches of 16 in which "b" has 4 and 12 labels: as of one batch with all of them."""
    x, y = toys.regression(1, 32).tensors
    parts = [(x[:16], y[:16], 4), (x[16:], y[16:], 12)]

    def first(model, batch):
        x, y, n = batch
        a, b = model(x)
        return {"a": (a - y[:, 0]).square().mean(), "b": ((b - y[:, 1])[:n].square().mean(), n)}

    problem, model = toys.two_regressions(losses=first), toys.initial()
    mean = MeanLosses(problem, model, parts)
    a, b = model(x)
    few = [*range(4), *range(16, 28)]
    expected = [(a - y[:, 0]).square().mean(), (b - y[:, 1])[few].square().mean()]
    assert close(mean(), torch.stack(expected))
    for row, loss in zip(mean.gradients().jacobian, expected, strict=True):
        gradients = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for p, g in zip(model.parameters(), gradients, strict=True)]
        assert close(row, torch.cat([g.reshape(-1) for g in flat]))


def test_an_objective_without_any_label():
    problem = partly("a", "a", "a", "a")
    with pytest.raises(ValueError, match="no batch of train has a label for 'b'; there is no way to lower it"):
        MeanLosses(problem, toys.initial(), problem.open()["train"])


def test_a_deterministic_problem_is_its_own_mean():
    problem = quadratics()
    model = problem.model()
    mean, exact = MeanLosses(problem, model, None), closure(problem, model)
    assert torch.equal(mean(), exact())
    assert torch.equal(mean.gradients().jacobian, exact.gradients().jacobian)
    assert torch.equal(mean.within(5 * mean.parameters), 5 * mean.parameters)


def test_bounds_are_kept():
    def within_one(model):
        with torch.no_grad():
            for p in model.parameters():
                p.clamp_(-1, 1)

    mean, _ = uneven(toys.two_regressions(project=within_one))
    here = mean.parameters
    assert torch.equal(mean.within(here + 3), (here + 3).clamp(-1, 1))
    assert torch.equal(mean.parameters, here)
    mean.move(here + 3)
    assert torch.equal(mean.parameters, (here + 3).clamp(-1, 1))

"""RotoGrad: against the published form, with rotations and weights apart; what its two steps do."""

import numpy as np
import pytest
import torch
from torch import Tensor

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.point import Code
from paretomtl_solvers.rotograd import exponentials
from tests.towers import EVEN, NAMES, D, Net, at_representation, batch, built, closure, losses


def solver(**options):
    return ps.RotoGrad("trunk", NAMES, **({"learning_rate": 0.02} | options))


# --- the published form ---


def rotation(free: Tensor, d: int) -> Tensor:
    """The exponential of a skew matrix, its lower triangle row by row, on the first numbers of d."""
    size = next(s for s in range(2, d + 1) if s * (s - 1) // 2 == len(free))
    lower = torch.zeros(size, size, dtype=free.dtype)
    k = 0
    for i in range(size):
        for j in range(i):
            lower[i, j] = free[k]
            k += 1
    block = torch.matrix_exp(lower - lower.T)
    return torch.block_diag(block, torch.eye(d - size, dtype=free.dtype))


class Published:
    """Rotations and heads apart: heads see R_k z; the rotations have torch's Adam and a schedule of their own."""

    def __init__(self, model, size, learning_rate, decay, burn_in, preference):
        self.model, self.burn_in, self.preference = model, burn_in, preference
        self.free = [torch.zeros(size * (size - 1) // 2, dtype=torch.float64, requires_grad=True) for _ in NAMES]
        self.optimizer = torch.optim.Adam(self.free, lr=learning_rate)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, decay)
        self.count, self.reference = 0, None

    def step(self, data, rate, weight_decay):
        model, (x, y) = self.model, data
        z = model.trunk(x)
        R = [rotation(free, D) for free in self.free]
        seen = [(z @ r.T).detach().requires_grad_() for r in R]
        outputs = [model.heads(turned)[k] for k, turned in enumerate(seen)]
        values = list(losses(lambda _: outputs, (x, y)).values())
        parameters = list(model.parameters())
        for p in parameters:
            p.grad = None
        turned_gradients = []
        for value, turned in zip(values, seen, strict=True):
            value.backward()
            turned_gradients.append(turned.grad)
        own = [g @ r.detach() for g, r in zip(turned_gradients, R, strict=True)]  # in the coordinates of z
        norms = torch.stack([g.norm() for g in own])
        if self.reference is None or self.count == self.burn_in:
            self.reference = norms
        self.count += 1
        ratios = norms / self.reference
        length = (ratios / ratios.sum() * norms).sum()
        m = len(NAMES)
        z.backward(sum(m * p * length * g / n for p, g, n in zip(self.preference, own, norms, strict=True)))
        mean = sum(p * g / n for p, g, n in zip(self.preference, own, norms, strict=True))
        self.optimizer.zero_grad()
        for r, g, n in zip(R, turned_gradients, norms, strict=True):
            (mean @ r.T - g / n).square().sum().backward()
        self.optimizer.step()
        self.schedule.step()
        with torch.no_grad():
            for p in parameters:
                p -= rate * (p.grad + weight_decay * p)

    def folded(self):
        """The plain model that computes the same."""
        values = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        for name, free in zip(NAMES, self.free, strict=True):
            values[f"{name}.weight"] = values[f"{name}.weight"] @ rotation(free.detach(), D)
        return values


@pytest.mark.parametrize("size", [None, 2, 3])
@pytest.mark.parametrize("preference", [(1 / 3, 1 / 3, 1 / 3), (0.2, 0.7, 0.1)])
def test_with_sgd_it_takes_the_steps_of_the_published_form(size, preference, unchecked):
    r = torch.tensor(preference, dtype=torch.float64)
    options = {"learning_rate": 0.03, "decay": 0.95, "burn_in": 4}
    published = Published(built(), size or D, **options, preference=r)
    model, method, state = built(), solver(size=size, **options), None
    for k in range(12):
        published.step(batch(k), 0.05, 0.1)
        here = closure(model, batch(k))
        direction, state, status = method.update(state, here, r)
        assert status.code == Code.SOLVED
        here.move(here.parameters - 0.05 * (direction + 0.1 * here.parameters))
    assert max(free.abs().max() for free in published.free) > 0.1  # they did turn
    for name, expected in published.folded().items():
        assert torch.allclose(model.get_parameter(name), expected, rtol=1e-8, atol=1e-9), name


# --- folding ---


def test_a_head_then_computes_what_it_would_with_the_representation_rotated():
    model, method, state = built(), solver(learning_rate=0.3), None
    z = torch.randn(6, D, dtype=torch.float64)
    before = torch.stack([torch.eye(D, dtype=torch.float64)] * 3)
    for _ in range(4):
        was = [{k: v.clone() for k, v in model.state_dict().items()}, before]
        _, state, _ = method.update(state, closure(model), EVEN)
        after = exponentials(state.values, 3)
        found = model.heads(z)
        old = Net()
        old.load_state_dict(was[0])
        for k in range(3):
            turned = z @ (was[1][k].T @ after[k]).T
            assert torch.allclose(old.heads(turned)[k], found[k], atol=1e-12)
        before = after
        for name, value in model.state_dict().items():  # only the first weights changed
            assert torch.equal(value, was[0][name]) == (name not in {"a.weight", "b.weight", "c.weight"})
    assert (before[0] - torch.eye(D)).abs().max() > 0.5


def test_rotations_stay_orthogonal_and_weights_keep_their_lengths():
    model, method, state = built().float(), solver(learning_rate=0.1), None
    data = tuple(x.float() for x in batch())
    lengths = [model.get_submodule(name).weight.norm(dim=1).tolist() for name in NAMES]
    for _ in range(60):
        _, state, _ = method.update(state, closure(model, data), EVEN)
    R = exponentials(state.values, 3)
    assert (R @ R.mT - torch.eye(D)).abs().max() < 1e-6
    assert (torch.linalg.det(R) - 1).abs().max() < 1e-6
    assert (R - torch.eye(D)).abs().amax(dim=(1, 2)).min() > 0.1
    for name, before in zip(NAMES, lengths, strict=True):
        assert model.get_submodule(name).weight.norm(dim=1).tolist() == pytest.approx(before, rel=1e-4)


def test_only_the_first_numbers_turn():
    model = built()
    before = [model.get_submodule(name).weight.clone() for name in NAMES]
    solver(size=2, learning_rate=0.5).update(None, closure(model), EVEN)
    for name, weight in zip(NAMES, before, strict=True):
        now = model.get_submodule(name).weight
        assert torch.equal(now[:, 2:], weight[:, 2:])
        assert not torch.isclose(now[:, :2], weight[:, :2]).any()


# --- what the two steps do ---


def test_after_the_magnitude_step_all_gradients_have_one_length_that_keeps_the_mean():
    model = built()
    norms = at_representation(model).flatten(1).norm(dim=1)
    assert norms.max() > 3 * norms.min()
    seen = []

    class Seen(pm.Closure):
        """The closure, with a look at what goes back through the trunk."""

        def __getattr__(self, name):
            return getattr(real, name)

        parameters = property(lambda self: real.parameters)

        def gradient_through(self, at, combine):
            def look(*given):
                seen.append(combine(*given))
                return seen[-1]

            return real.gradient_through(at, look)

        def locate(self, name):
            return real.locate(name)

        def move(self, parameters):
            real.move(parameters)

        __call__ = gradients = gradient = hessian_product = squared_gradients = None

    for i, corner in enumerate(torch.eye(3, dtype=torch.float64)):
        model = built()
        real = closure(model)
        U = at_representation(model)[i]
        solver().update(None, Seen(), corner)
        # at the first step each is its own reference: the plain mean of the lengths, for all of the three shares
        assert torch.allclose(seen[-1], U / U.norm() * norms.sum(), rtol=1e-10)


def test_the_rotations_objective_falls_and_the_gradients_turn_towards_one_another():
    def conflict(model):
        U = at_representation(model).flatten(1)
        return float((U / U.norm(dim=1, keepdim=True)).mean(dim=0).norm())

    model, method, state = built(), solver(), None
    coherence = [conflict(model)]
    for _ in range(60):
        _, state, _ = method.update(state, closure(model), EVEN)  # the model itself does not train
        coherence.append(conflict(model))
    assert (np.diff(coherence[:10]) > 0).all()
    assert coherence[-1] > coherence[0] + 0.2


def test_the_learning_rate_decays():
    def angles(decay):
        model, method, state, steps = built(), solver(decay=decay, learning_rate=1e-3), None, []
        for _ in range(3):
            before = 0 if state is None else state.values
            _, state, _ = method.update(state, closure(model), EVEN)
            steps.append((state.values - before).abs().max())
        return steps

    plain, halved = angles(1.0), angles(0.5)
    assert plain[0] == pytest.approx(1e-3, rel=1e-3)
    for k in range(3):
        assert halved[k] / plain[k] == pytest.approx(0.5**k, rel=0.05)


def test_a_loss_that_vanished_at_the_reference_is_measured_by_its_first_gradient():
    model, method, state = built(), solver(), None
    for k in range(3):
        scale = 0.0 if k == 0 else 1.0
        here = closure(model, losses=scaled(scale))
        direction, state, _ = method.update(state, here, EVEN)
        assert direction.isfinite().all()
        assert (state.norms > 0).tolist() == [True, k > 0, True]


def scaled(scale):
    def of_b(model, data):
        found = losses(model, data)
        return found | {"b": scale * found["b"]}

    return of_b

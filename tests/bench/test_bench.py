"""Ratios, side by side in one run: ours against the plain road to the same answer. Run by `make bench` alone.

The two take turns, ten calls each, and what is compared are medians, so that a busy machine slows both alike. No
absolute time is asserted.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch.nn.functional import cross_entropy

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.autograd.finite import check_gradients
from paretomtl_solvers import qp
from paretomtl_solvers.epo import EXACT_EPS, _closed_form, _programs, anchor
from paretomtl_solvers.fairgrad import newton
from studies.digit_pairs import LeNet
from tests.catalogue import JACOBIANS
from tests.toys import TwoHeads

pytestmark = pytest.mark.bench
TURN = 10  # calls
RNG = np.random.default_rng(0)


def side_by_side(what: str, ours: Callable[[], object], theirs: Callable[[], object], calls: int) -> float:
    """How many times longer theirs takes than ours; prints both medians."""
    times: tuple[list[float], list[float]] = ([], [])
    ours(), theirs()  # caches, lazy imports
    for _ in range(calls // TURN):
        for call, taken in ((ours, times[0]), (theirs, times[1])):
            for _ in range(TURN):
                start = time.perf_counter()
                call()
                taken.append(time.perf_counter() - start)
    mine, other = map(statistics.median, times)
    print(f"\n| {what} | {mine * 1e6:.0f} us | {other * 1e6:.0f} us | {other / mine:.2f} |")
    return other / mine


def random_case(m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses, Gramian and preference, off the ray: EPO balances."""
    jacobian = RNG.normal(size=(m, m + 2))
    return RNG.uniform(0.2, 1, m), jacobian @ jacobian.T, RNG.dirichlet(np.full(m, 3.0))


def rebuilt_balance(losses: np.ndarray, C: np.ndarray, r: np.ndarray, a: np.ndarray) -> np.ndarray:
    """EPO's balance program, built anew, as published code has it."""
    q = C @ a
    bounds = np.where(q > 0, -1e3, q) if (q > 0).any() else np.zeros_like(q)
    bounds[np.argmax(r * losses)] = 0
    alpha = cp.Variable(len(losses), nonneg=True)
    cp.Problem(cp.Maximize(q @ alpha), [cp.sum(alpha) == 1, C @ alpha >= bounds]).solve(solver=cp.CLARABEL)
    return alpha.value


def rebuilt_min_norm(C: np.ndarray) -> np.ndarray:
    """The min-norm program, built anew, on a Gramian that is scaled first."""
    w = cp.Variable(len(C), nonneg=True)
    values, vectors = np.linalg.eigh(C / np.diagonal(C).max())
    factor = np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
    cp.Problem(cp.Minimize(cp.sum_squares(factor @ w)), [cp.sum(w) == 1]).solve(solver=cp.CLARABEL)
    return w.value


@pytest.mark.parametrize(("m", "least"), [(2, 20), (7, 2.5)])
def test_epos_program_against_cvxpy_rebuilt(m, least):
    losses, C, r = random_case(m)
    mu, a = anchor(losses, r)
    assert mu > EXACT_EPS
    program = (
        partial(_closed_form, losses, C, r, a, np.array(True)) if m == 2 else partial(_programs, losses, C, r, a, True)
    )
    assert program()[0] == pytest.approx(rebuilt_balance(losses, C, r, a), abs=1e-4)
    assert side_by_side(f"EPO's program, m = {m}", program, lambda: rebuilt_balance(losses, C, r, a), 300) >= least
    solver, case = ps.EPO(), tuple(map(torch.from_numpy, (losses, C, r)))
    side_by_side(f"EPO's whole update, m = {m}", lambda: solver(*case), lambda: rebuilt_balance(losses, C, r, a), 100)


@pytest.mark.parametrize("m", [3, 8])
def test_min_norm_against_cvxpy_rebuilt(m):
    _, C, _ = random_case(m)
    ratio = side_by_side(f"min-norm, m = {m}", lambda: qp.min_norm(C), lambda: rebuilt_min_norm(C), 200)
    assert ratio >= 20


@pytest.mark.parametrize("name", JACOBIANS)
def test_min_norm_is_no_worse_than_cvxpys(name):
    C = np.asarray(JACOBIANS[name], dtype=np.float64)
    C = C @ C.T
    ours, _ = qp.min_norm(C)
    if not C.any():
        return
    theirs = np.clip(rebuilt_min_norm(C), 0, None)
    theirs /= theirs.sum()
    excess = (ours @ C @ ours - theirs @ C @ theirs) / (np.trace(C) / len(C))
    residual = qp.kkt_residual(C, ours)
    print(f"\n| {name} | excess over cvxpy {excess:.1e} of trace / m | KKT residual {residual:.1e} |")
    assert excess <= 1e-6
    assert residual <= 1e-8


@pytest.mark.parametrize("m", [2, 3, 8])
@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_fairgrads_newton_against_least_squares(m, alpha):
    _, C, _ = random_case(m)
    C = C / (np.trace(C) / m)
    p = 1 / alpha

    def published() -> np.ndarray:
        return least_squares(lambda x: C @ x - (1 / x) ** p, np.full(m, 1 / m), bounds=(0, np.inf)).x

    assert newton(C[None], p)[0][0] == pytest.approx(published(), rel=1e-4)
    what = f"FairGrad's Newton, m = {m}, alpha = {alpha:g}"
    assert side_by_side(what, lambda: newton(C[None], p), published, 300) >= 5
    solver, case = ps.FairGrad(alpha), tuple(map(torch.from_numpy, (np.ones(m), C, np.ones(m))))
    side_by_side(f"FairGrad's whole update, m = {m}, alpha = {alpha:g}", lambda: solver(*case), published, 300)


@pytest.mark.parametrize(("model", "batch", "least"), [(LeNet, (64, 1, 36, 36), 0.9), (TwoHeads, (16, 4), 0.7)])
def test_a_step_whose_gradients_are_checked_against_one_without(model, batch, least):
    """A step of one backward pass, the cheapest: of the demo's network, and of the smallest in the tests."""
    x = torch.rand(batch)
    torch.manual_seed(0)
    network = model()
    optimizer, trained = torch.optim.Adam(network.parameters(), lr=1e-4), dict(network.named_parameters())

    def step(checked: bool) -> None:
        optimizer.zero_grad(set_to_none=True)
        a, b = (out.square().mean() for out in network(x))
        (0.3 * a + 0.7 * b).backward()
        if checked:
            check_gradients(trained)
        optimizer.step()

    what = f"a checked step of {model.__name__}, against an unchecked one"
    assert side_by_side(what, partial(step, True), partial(step, False), 300) >= least


def test_an_epo_step_on_the_lenet_against_its_parts():
    """One forward, two bare vector-Jacobian products and the optimizer's step: any such step costs as much."""
    x, y = torch.rand(256, 1, 36, 36), torch.randint(10, (256, 2))

    def stepper(backward: Callable) -> Callable[[], None]:
        torch.manual_seed(0)
        model = LeNet()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            left, right = model(x)
            backward(cross_entropy(left, y[:, 0]), cross_entropy(right, y[:, 1]), list(model.parameters()))
            optimizer.step()

        return step

    def bare(left: torch.Tensor, right: torch.Tensor, parameters: list) -> None:
        torch.autograd.grad(left, parameters, retain_graph=True, allow_unused=True)
        for p, g in zip(parameters, torch.autograd.grad(right, parameters, allow_unused=True), strict=True):
            p.grad = torch.zeros_like(p) if g is None else g

    descent = pm.Descent(ps.EPO(), {"left": 0.3, "right": 0.7})
    ours = stepper(lambda left, right, parameters: descent.backward({"left": left, "right": right}))
    # theirs over ours: 1 / 1.2 means that ours takes 1.2 times as long
    assert side_by_side("EPO's step on the LeNet against its bare parts", ours, stepper(bare), 40) >= 1 / 1.2

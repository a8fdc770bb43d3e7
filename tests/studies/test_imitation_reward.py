"""Imitation against reward: the known fronts by sums over a grid, the generators' density, the study in tiny form."""

import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.normalisation import Normalisation
from paretomtl.preference import control_error
from studies import generators, imitation_reward
from studies.generators import (
    NORMAL,
    THREE,
    WIDTH,
    Affine,
    Mixture,
    Triangular,
    affine_losses,
    excess,
    gaussian,
    gaussian_ends,
    keep_width,
    mixture,
    mixture_ends,
    mixture_losses,
    noise,
    tilt,
)
from studies.imitation_reward import Size, choice_table, figures, known_front, main, on_rays
from tests.limits import limit

ROOT = Path(__file__).parents[2]
LINE = np.linspace(-7, 7, 701)
GRID = torch.from_numpy(np.stack(np.meshgrid(LINE, LINE), axis=-1))
CELL = (LINE[1] - LINE[0]) ** 2


def integrate(values: torch.Tensor) -> float:
    return float(values.sum()) * CELL


def tilted_on_grid(world: generators.World, w: float) -> tuple[float, float]:
    """Return the divergence and the mean reward of p exp(w r) / Z, by sums over the grid."""
    log_p = world.data.log_density(GRID)
    reward = -(GRID - torch.from_numpy(world.target)).square().sum(dim=-1) / 2
    log_q = log_p + w * reward
    log_q = log_q - math.log(integrate(log_q.exp()))
    q = log_q.exp()
    return integrate(q * (log_q - log_p)), integrate(q * reward)


# --- the known fronts ---


def test_a_density_by_hand():
    two = Mixture(np.array([0.25, 0.75]), np.array([[0.0, 0.0], [2.0, 0.0]]), 0.5)
    by_hand = math.log((0.25 * math.exp(-1) + 0.75 * math.exp(-1)) / math.pi)
    assert float(two.log_density(torch.tensor([1.0, 0.0]))) == pytest.approx(by_hand, abs=1e-6)
    assert two.reward(np.array([1.0, 1.0])) == pytest.approx(-(0.5 * 2 + 0.5))


@pytest.mark.parametrize("world", [NORMAL, THREE], ids=["normal", "three"])
@pytest.mark.parametrize("w", [0.0, 0.3, 2.0, 10.0])
def test_a_tilted_mixture_is_that_of_the_grid(world, w):
    tilted, divergence = tilt(world.data, world.target, w)
    assert tilted.weights.sum() == pytest.approx(1)
    assert integrate(tilted.log_density(GRID).exp()) == pytest.approx(1, abs=1e-8)
    assert (divergence, tilted.reward(world.target)) == pytest.approx(tilted_on_grid(world, w), abs=1e-8)


def test_a_linear_reward_moves_the_mean_alone():
    """For N(0, I) and the reward a·x the best are N(a/λ, I): a divergence of |a|²/2λ², and a reward of |a|²/λ."""
    a, price = torch.tensor([0.6, -0.8], dtype=torch.float64), 0.7
    reward, log_p = GRID @ a, NORMAL.data.log_density(GRID)
    q = (log_p + reward / price).exp()
    q = q / integrate(q)
    assert integrate(q * (q.log() - log_p)) == pytest.approx(1 / (2 * price**2), abs=1e-6)
    assert integrate(q * reward) == pytest.approx(1 / price, abs=1e-6)


def test_the_ends_are_known():
    assert gaussian_ends()[0] == pytest.approx([0, (4 + 1) / 2 + 1])
    assert gaussian_ends()[1] == pytest.approx([5 / 2 + WIDTH**2 - 1 - 2 * math.log(WIDTH), WIDTH**2])
    narrow = Mixture(np.ones(1), THREE.target[None], WIDTH**2)
    log_q = narrow.log_density(GRID)
    by_grid = integrate(log_q.exp() * (log_q - THREE.data.log_density(GRID)))
    assert mixture_ends() == pytest.approx(np.array([[0, -THREE.data.reward(THREE.target)], [by_grid, WIDTH**2]]))


@pytest.mark.parametrize("problem", [gaussian, mixture])
def test_a_known_front_is_convex_and_has_its_ends(problem):
    known = known_front(problem())
    slopes = np.diff(known.front[:, 1]) / np.diff(known.front[:, 0])
    assert (np.diff(known.front[:, 0]) > 0).all()
    assert (slopes < 0).all()
    assert (np.diff(slopes) > -1e-6 * np.abs(slopes[1:])).all()
    ends = gaussian_ends() if problem is gaussian else mixture_ends()
    assert known.front[0] == pytest.approx(ends[0])
    assert known.front[-1] == pytest.approx(ends[1], abs=0 if problem is gaussian else 0.02)
    assert (known.front[-1] <= ends[1] + 1e-9).all()


def test_below_the_least_width_the_front_is_still_the_best_of_all_affine_maps():
    """The weighted sum, minimised by scipy within the bounds, is that of the known front."""
    from scipy.optimize import minimize

    front = known_front(gaussian()).front
    for price in (0.5, 5.0, 100.0):

        def cost(x: np.ndarray, price: float = price) -> float:
            a, b, c, *shift = x
            trace, square = a * a + b * b + c * c, np.square(shift).sum()
            far = np.square(np.array(shift) - NORMAL.target).sum()
            return (trace + square) / 2 - 1 - np.log(a * b) + price * (trace + far) / 2

        least = minimize(cost, [1, 1, 0.1, 0, 0], bounds=[(WIDTH, None)] * 2 + [(None, None)] * 3, tol=1e-12).fun
        assert (front @ [1, price]).min() == pytest.approx(least, abs=1e-5)


def test_excess_by_hand():
    known = pm.Truth(np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros(2), np.ones(2), 0.5)
    assert excess(np.array([[0.5, 0.5], [0.5, 0.75], [0.25, 0.5], [0.1, 2.0]]), known) == pytest.approx(
        [0, 0.25, -0.25, 0.1]
    )


# --- the generators ---


def test_affine_losses_are_those_of_draws():
    torch.manual_seed(0)
    model = Affine().requires_grad_(False)
    a = torch.diag(model.slope) + torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64) * model.shear
    z = noise()["test"][0].double()
    x = z @ a.T + model.shift
    log_density = torch.distributions.MultivariateNormal(model.shift, a @ a.T).log_prob(x)
    drawn, exact = NORMAL.losses(x, log_density), affine_losses(model, None)
    for name in exact:
        assert float(exact[name]) == pytest.approx(float(drawn[name]), abs=5e-3)


def test_the_width_is_kept():
    model = Affine()
    with torch.no_grad():
        model.slope.copy_(torch.tensor([-1.0, 3.0]))
    keep_width(model)
    assert model.slope.tolist() == [WIDTH, 3.0]


def test_the_network_s_density_is_that_of_its_jacobian():
    torch.manual_seed(1)
    model = Triangular().double().requires_grad_(False)
    z = torch.randn(6, 2, dtype=torch.float64)
    _, log_density = model(z)
    for one, log in zip(z, log_density, strict=True):
        slopes = jacobian(lambda at: model(at[None])[0][0], one)
        expected = -one.square().sum() / 2 - math.log(2 * math.pi) - slopes.det().log()
        assert float(log) == pytest.approx(float(expected), abs=1e-9)
        assert float(slopes[0, 1]) == 0
        assert (slopes.diag() >= WIDTH).all()


def test_the_gradient_is_that_of_distribution_matching():
    """The generator's score less the data's, pulled back: in expectation the gradient of the divergence."""
    torch.manual_seed(2)
    model = Affine()
    affine_losses(model, None)["KL"].backward()
    a = torch.diag(model.slope.detach())
    a[1, 0] = model.shear.detach()
    z = noise()["test"][0].double()
    x = z @ a.T + model.shift.detach()
    score = -torch.linalg.solve(a @ a.T, (x - model.shift.detach()).T).T
    at = x.clone().requires_grad_()
    [of_data] = torch.autograd.grad(NORMAL.data.log_density(at).sum(), at)
    matching = score - of_data  # dx/db is the identity, and dx/d(slope) is z
    for parameter, pulled_back in ((model.shift, matching), (model.slope, matching * z)):
        assert parameter.grad is not None
        assert torch.allclose(pulled_back.mean(dim=0), parameter.grad, atol=5e-3)


def test_draws_to_measure_on_are_of_a_normal():
    draws = noise()
    assert {split: len(z) for split, (z,) in draws.items()} == generators.NOISE
    for split in ("validate", "test"):
        [z] = draws[split]
        assert z.isfinite().all()
        assert torch.allclose(z.mean(dim=0), torch.zeros(2), atol=1e-3)
        assert torch.allclose(z.T @ z / len(z), torch.eye(2), atol=3e-3)
    assert not torch.equal(draws["validate"][0], draws["test"][0][: generators.NOISE["validate"]])


def test_no_untrained_network_is_below_the_front():
    known = known_front(mixture())
    for seed in range(5):
        torch.manual_seed(seed)
        values = mixture_losses(Triangular().requires_grad_(False), noise()["validate"])
        losses = np.array([[float(values["KL"]), float(values["reward"])]])
        assert excess(losses, known)[0] > 0.1


# --- the study ---


def test_epo_meets_a_ray_near_the_end_and_its_certificate_is_true():
    known = known_front(gaussian())
    units = Normalisation(tuple(known.ideal), tuple(known.nadir))
    front = pm.explore(
        gaussian(), ps.EPO(), preferences=[[0.97128, 0.02872]], steps=60, optimizer=partial(torch.optim.Adam, lr=0.05),
        normalise=units,
    )  # fmt: skip
    assert [point.status for point in front.points] == ["solved"]
    assert np.abs(excess(front.losses, known)).max() < 1e-6
    assert front.losses[0, 0] == pytest.approx(0.1, abs=1e-4)  # nats, where the ray meets the front
    assert front.control_errors.max() < 0.01
    assert front.values[:, 1] == pytest.approx(-front.losses[:, 1])


def test_points_on_the_rays():
    problem = gaussian()
    known = known_front(problem)
    perfect = on_rays(problem, 5)
    assert perfect.hypervolume < 1
    assert perfect.angle < 0.01
    assert figures(known.front, np.zeros(1), problem).hypervolume == pytest.approx(1)
    assert figures(known.front, np.zeros(1), problem).igd_plus == pytest.approx(0)
    scaled = (known.front - known.ideal) / (known.nadir - known.ideal)
    assert control_error(scaled, np.broadcast_to([0.5, 0.5], scaled.shape)).min() < 0.01


def test_what_keeps_no_bound_is_said():
    """Both fronts are of one point, with a divergence of .05 and of .3 nats."""
    kept, broken = (
        pm.Front.from_values(np.array([[kl, -2.6]]), objectives=generators.OBJECTIVES, ref_point=[4.0, -3.5])
        for kl in (0.05, 0.3)
    )
    for front in (kept, broken):
        [point] = front.points
        point.values["test"] = point.values["validate"]
    lines = choice_table({"a": kept, "b": broken}).splitlines()
    assert [line.split(" | ")[2] for line in lines[2:]] == ["yes", "no", "yes"]


TINY = Size(points=2, steps=10, epochs=2, seeds=2, rates=(0.02, 0.05))


@pytest.fixture
def few_draws(monkeypatch):
    for split in generators.NOISE:
        monkeypatch.setitem(generators.NOISE, split, 512)
    noise.cache_clear()
    yield
    noise.cache_clear()


@pytest.mark.usefixtures("few_draws")
@pytest.mark.timeout(limit(120))  # seconds, where the machine is idle
@pytest.mark.docs  # beside the demo, so that the quick lane stays quick
def test_a_tiny_study(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(imitation_reward.SIZES, "demo", TINY)
    monkeypatch.setattr(imitation_reward, "NARROW", 3.0)  # nats, for networks that are next to untrained
    options = ["--size", "demo", "--out", str(tmp_path)]
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert "measurable" in printed
    tables = [part.splitlines() for part in printed.split("\n\n") if part.startswith("|")]
    assert [len(table) - 2 for table in tables] == [4, 4, 4, 8]
    exact, noisy, ends, _ = ([line.strip("| ").split(" | ") for line in table[2:]] for table in tables)
    assert [line[0] for line in exact[:3]] == [line[0] for line in noisy[:3]] == [*imitation_reward.METHODS]
    assert all(re.fullmatch(r"(\d [a-z ]+(, )?)+", line[-1]) for line in exact[:3])
    assert all(float(line[5]) > -1e-3 for line in noisy)  # none is better than possible
    assert all(line[7] in ("0.02", "0.05") for line in noisy[:3])
    assert {line[0] for line in ends} == {"gaussian", "mixture"}
    assert "<svg" in (tmp_path / "imitation-reward.svg").read_text()
    assert main(options) == 0  # what is there is taken up
    assert capsys.readouterr().out == printed


def test_the_study_file_names_what_exists():
    from paretomtl.cli.study_file import read_study_file

    options = read_study_file(ROOT / "studies" / "imitation_reward.toml")
    assert options.problem.name == "studies.generators:mixture"
    assert options.seeds == 2


def test_the_page_says_what_is_known():
    page = (ROOT / "docs" / "imitation-reward.md").read_text()
    for name, problem in (("gaussian", gaussian()), ("mixture", mixture())):
        known = known_front(problem)
        lines = [
            line.strip("| ").split(" | ") for line in page.splitlines() if re.match(rf"\| {name} \| (KL|rew)", line)
        ]
        assert [(line[3], line[5]) for line in lines] == [
            (f"{known.ideal[0]:.4f}", f"{-known.nadir[1]:.4f}"), (f"{known.nadir[0]:.4f}", f"{-known.ideal[1]:.4f}")
        ]  # fmt: skip
        rays = on_rays(problem, 9)
        assert f"| known front, on the rays | {rays.hypervolume:.4f} | {rays.igd_plus:.4f} |" in page
    assert f"| 0.1000 | {-imitation_reward.best_loss(0.1):.4f} |" in page


@pytest.mark.docs
@pytest.mark.timeout(limit(300))  # half a minute, where the machine is idle
def test_the_demo(tmp_path, capsys):
    assert main(["--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    exact, noisy = (part.splitlines()[2:] for part in printed.split("\n\n") if part.startswith("| method | hyper"))
    assert exact[2].endswith("| 5 solved |")
    shares = [float(line.split(" | ")[1].split(" ± ")[0]) for line in noisy[:3]]
    assert min(shares) > 0.82
    assert max(shares) < 1
    assert all(float(line.split(" | ")[5]) > -1e-3 for line in noisy[:3])
    for line in noisy[:3]:
        assert float(line.split(" | ")[3].split(" ± ")[0]) < 0.3

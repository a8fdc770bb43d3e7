"""Generators in the plane: they are to match a distribution, and to earn a reward; the front of the two is known.

| problem | data | generator | front |
| --- | --- | --- | --- |
| `gaussian` | N(0, I) | affine, x = A z + b | in closed form |
| `mixture` | three Gaussians | a network, one pass from noise z to x | a lower bound, in closed form |

paretomtl run studies.generators:gaussian --method EPO --preferences 9 --steps 300 --lr 0.05 --out runs/gaussian

The first objective, `KL`, is the divergence of the generator from the data, in nats. Its gradient is that of
distribution matching: the generator's score less the data's, pulled back through the generator. Where a diffusion model
has to estimate both scores, both densities are known here. The second objective, `reward`, is the mean of -|x - t|²/2;
its peak is 0, at the target t.

**The front.** Of all densities with a given reward, p(x) exp(w r(x)) / Z has the least divergence from p, as Gibbs'
inequality says: for any q with the same reward, KL(q, p) - KL(tilted, p) = KL(q, tilted) >= 0. As w grows from 0, the
pair goes along the front. With this reward a tilted mixture is a mixture again, `tilt`.

**Its ends.** The divergence alone: 0 nats, and the data's reward. The reward alone: all mass at the target, at
infinitely many nats. So each generator has a least slope, `WIDTH`, and the best reward is -WIDTH², by N(t, WIDTH² I).
"""

import math
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

import paretomtl as pm
from paretomtl.points.score import hypervolume
from studies.tabular import batches

WIDTH = 0.2  # the least slope of a generator, and so its least standard deviation in any direction
UNITS, STEPS = 32, 8  # of the network: hidden units, and steps of a rising function
NOISE = {"train": 2**14, "validate": 2**13, "test": 2**15}  # draws of z
BATCH = 256
CURVE = 10_001  # points of a known front


class Mixture(NamedTuple):
    """A mixture of round Gaussians in the plane; the variance is that of each one, in each direction."""

    weights: Float[np.ndarray, " K"]
    means: Float[np.ndarray, "K 2"]
    variance: float

    def log_density(self, x: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n"]:
        """Return the logarithm of the density; its gradient is the score."""
        means, logs = (torch.as_tensor(a, dtype=x.dtype, device=x.device) for a in (self.means, np.log(self.weights)))
        squares = (x[..., None, :] - means).square().sum(dim=-1)
        return torch.logsumexp(logs - squares / (2 * self.variance), dim=-1) - math.log(2 * math.pi * self.variance)

    def reward(self, target: Float[np.ndarray, " 2"]) -> float:
        """Return the mean reward."""
        squares = np.square(self.means - target).sum(axis=1)
        return -float(self.weights @ squares / 2 + self.variance)


def tilt(data: Mixture, target: Float[np.ndarray, " 2"], w: float) -> tuple[Mixture, float]:
    """Return the density p exp(w r) / Z, and its divergence from p in nats."""
    shrinkage = 1 + w * data.variance
    squares = np.square(data.means - target).sum(axis=1)
    logs = np.log(data.weights) - w * squares / (2 * shrinkage) - np.log(shrinkage)
    log_z = float(np.logaddexp.reduce(logs))
    means = (data.means + w * data.variance * target) / shrinkage
    tilted = Mixture(np.exp(logs - log_z), means, data.variance / shrinkage)
    return tilted, w * tilted.reward(target) - log_z


class World(NamedTuple):
    """A data distribution and the target of the reward."""

    data: Mixture
    target: Float[np.ndarray, " 2"]

    def losses(self, x: Float[Tensor, "n 2"], log_density: Float[Tensor, " n"]) -> dict[str, Tensor]:
        """Return the mean divergence and the mean of |x - t|²/2, from draws and the generator's log density there."""
        target = torch.as_tensor(self.target, dtype=x.dtype, device=x.device)
        return {
            "KL": (log_density - self.data.log_density(x)).mean(),
            "reward": (x - target).square().sum(dim=-1).mean() / 2,
        }


NORMAL = World(Mixture(np.ones(1), np.zeros((1, 2)), 1.0), np.array([2.0, 1.0]))
THREE = World(
    Mixture(np.array([0.45, 0.35, 0.2]), np.array([[-1.2, -0.6], [0.5, 1.2], [1.1, -0.9]]), 0.25),
    np.array([1.8, -0.6]),
)


class Affine(nn.Module):
    """The map x = A z + b, where A is lower triangular; it starts about twice as wide as N(0, I)."""

    def __init__(self):
        super().__init__()
        # at N(0, I) itself, the divergence of 0 would leave the corner of the reward no unit to weigh the two in
        self.slope = nn.Parameter(2 + 0.1 * torch.randn(2, dtype=torch.float64))
        self.shift = nn.Parameter(0.1 * torch.randn(2, dtype=torch.float64))
        self.shear = nn.Parameter(0.1 * torch.randn((), dtype=torch.float64))


def keep_width(model: Affine) -> None:
    """Keep the diagonal at the least width or above."""
    with torch.no_grad():
        model.slope.clamp_(min=WIDTH)


def affine_losses(model: Affine, batch: None, world: World = NORMAL) -> dict[str, Tensor]:
    """Return the divergence from N(0, I) and the mean of |x - t|²/2, both exact; both are convex in the parameters."""
    del batch
    variance = model.slope.square().sum() + model.shear.square()  # the trace of A A'
    target = torch.from_numpy(world.target)
    return {
        "KL": (variance + model.shift.square().sum()) / 2 - 1 - model.slope.log().sum(),
        "reward": (variance + (model.shift - target).square().sum()) / 2,
    }


def rise(z: Tensor, parameters: Float[Tensor, "*n p"]) -> tuple[Tensor, Tensor]:
    """Return a rising function of z and its slope: a line, and smooth steps of given height, steepness and place."""
    shift, slope = parameters[..., 0], WIDTH + softplus(parameters[..., 1])
    heights, steepness, places = parameters[..., 2:].unflatten(-1, (3, -1)).unbind(dim=-2)
    heights, steepness = softplus(heights), softplus(steepness)
    waves = (steepness * (z[..., None] - places)).tanh()
    value = shift + slope * z + (heights * waves).sum(dim=-1)
    return value, slope + (heights * steepness * (1 - waves.square())).sum(dim=-1)


class Triangular(nn.Module):
    """A network from noise to the plane that is one to one, so that its density is known.

    The first coordinate rises with z_1; the second one rises with z_2, in a way that depends on the first. With enough
    units such a map turns N(0, I) into any density (Knothe and Rosenblatt).
    """

    def __init__(self):
        super().__init__()
        start = torch.cat([torch.tensor([0.0, 1.0]), torch.full((STEPS,), -3.0), torch.ones(STEPS)])
        start = torch.cat([start, torch.linspace(-2, 2, STEPS)])  # a wide line, with steps yet to rise
        self.first = nn.Parameter(start + 0.1 * torch.randn(len(start)))
        self.second = nn.Sequential(
            nn.Linear(1, UNITS), nn.Tanh(), nn.Linear(UNITS, UNITS), nn.Tanh(), nn.Linear(UNITS, len(start))
        )
        with torch.no_grad():
            self.second[-1].bias.copy_(start)  # type: ignore[union-attr]

    def forward(self, z: Float[Tensor, "n 2"]) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
        """Return x and the logarithm of the generator's density there."""
        first, slope = rise(z[..., 0], self.first)
        second, other_slope = rise(z[..., 1], self.second(first[..., None]))
        log_noise = -z.square().sum(dim=-1) / 2 - math.log(2 * math.pi)
        return torch.stack([first, second], dim=-1), log_noise - slope.log() - other_slope.log()


@cache
def noise() -> dict[str, tuple[Tensor]]:
    """Return the draws of z of every split; those to measure on fill the plane evenly (Sobol's)."""
    draws = {"train": torch.randn(NOISE["train"], 2, generator=torch.Generator().manual_seed(0))}
    for seed, split in enumerate(("validate", "test"), start=1):
        uniform = torch.quasirandom.SobolEngine(2, scramble=True, seed=seed).draw(NOISE[split], dtype=torch.float64)
        draws[split] = torch.special.ndtri(uniform).float()
    return {split: (z,) for split, z in draws.items()}


def mixture_losses(model: nn.Module, batch: tuple[Tensor], world: World = THREE) -> dict[str, Tensor]:
    """Return both losses, as means over the draws of a batch."""
    return world.losses(*model(batch[0]))


def measure(model: Any, batches: Iterable[Any], losses: Any = affine_losses) -> dict[str, float]:
    """Return the divergence, and the reward, which is to be large."""
    [batch] = batches
    values = losses(model, batch)
    return {"KL": float(values["KL"]), "reward": -float(values["reward"])}


OBJECTIVES = (pm.Objective("KL", unit="nats"), pm.Objective("reward", goal="max"))


def gaussian() -> pm.Problem:
    """Return the problem that is solved in closed form."""
    return pm.Problem(
        objectives=OBJECTIVES,
        model=Affine,
        losses=affine_losses,
        ref_point=reference(gaussian_ends()),
        measure=measure,
        project=keep_width,
        deterministic=True,
        truth=gaussian_truth(),
    )


def mixture() -> pm.Problem:
    """Return the problem with a network."""
    return pm.Problem(
        objectives=OBJECTIVES,
        model=Triangular,
        losses=mixture_losses,
        train=partial(batches, noise, "train", BATCH),
        validate=partial(batches, noise, "validate", BATCH),
        test=partial(batches, noise, "test", BATCH),
        measure=partial(measure, losses=mixture_losses),
        ref_point=reference(mixture_ends()),
        truth=mixture_truth(),
    )


@cache
def gaussian_ends() -> Float[np.ndarray, "2 2"]:
    """Return the losses of N(0, I) itself, and of N(t, WIDTH² I)."""
    return _gaussian_losses(np.array([0.0, 1.0]))


@cache
def mixture_ends() -> Float[np.ndarray, "2 2"]:
    """Return the losses of the data themselves, and of N(t, WIDTH² I)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    grid = THREE.target + WIDTH * np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    shares = np.outer(weights, weights).ravel() / weights.sum() ** 2
    log_data = THREE.data.log_density(torch.from_numpy(grid)).numpy()
    entropy = math.log(2 * math.pi * math.e * WIDTH**2)
    return np.array([[0.0, -THREE.data.reward(THREE.target)], [-entropy - float(shares @ log_data), WIDTH**2]])


def _gaussian_losses(share: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    """Return the best losses where the mean is this share of the way to the target: w / (1 + w).

    The tilted density is N(share t, (1 - share) I); a variance below WIDTH² is not to be had. Both losses are convex in
    the parameters, and split by mean and variance, so that the bound leaves the mean as it is.
    """
    variance, square = np.maximum(1 - share, WIDTH**2), float(NORMAL.target @ NORMAL.target)
    divergence = variance - 1 - np.log(variance) + share**2 * square / 2
    return np.stack([divergence, variance + (1 - share) ** 2 * square / 2], axis=1)


def _tilted_losses(w: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    pairs = [tilt(THREE.data, THREE.target, float(one)) for one in w]
    return np.array([[divergence, -tilted.reward(THREE.target)] for tilted, divergence in pairs])


@cache
def gaussian_truth() -> pm.Truth:
    """Return the front of `gaussian`."""
    return _truth(_gaussian_losses, np.linspace(0, 1, CURVE), gaussian_ends())


@cache
def mixture_truth() -> pm.Truth:
    """Return the tilted densities of `mixture`, up to the divergence at the end of the reward: no density is below."""
    ends = mixture_ends()
    w = np.concatenate([[0.0], np.geomspace(1e-4, 1e4, CURVE // 10)])
    return _truth(_tilted_losses, w[: np.searchsorted(_tilted_losses(w)[:, 0], ends[1, 0])], ends)


def _truth(losses: Callable[..., np.ndarray], along: Float[np.ndarray, " n"], ends: np.ndarray) -> pm.Truth:
    """Return a front at places spread evenly over its length, in units of what there is to gain."""
    span = ends[1, 0], ends[0, 1] - ends[1, 1]
    lengths = np.linalg.norm(np.diff(losses(along) / span, axis=0), axis=1).cumsum()
    front = losses(np.interp(np.linspace(0, lengths[-1], CURVE), np.append(0, lengths), along))
    volume = hypervolume(front, reference(ends))
    assert volume is not None
    return pm.Truth(front, ends.min(axis=0), ends.max(axis=0), volume)


def reference(ends: Float[np.ndarray, "2 2"]) -> list[float]:
    """Return the hypervolume reference: a tenth of what there is to gain beyond the worse end."""
    return (ends.max(axis=0) + 0.1 * np.ptp(ends, axis=0)).tolist()


def excess(losses: Float[np.ndarray, "n 2"], truth: pm.Truth) -> Float[np.ndarray, " n"]:
    """Return the nats that the known front saves at the same reward; below 0 would be better than possible."""
    order = truth.front[:, 1].argsort()
    return losses[:, 0] - np.interp(losses[:, 1], truth.front[order, 1], truth.front[order, 0])

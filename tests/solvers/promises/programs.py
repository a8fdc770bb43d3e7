"""What the methods that solve a program promise; each answer is certified by its conditions of optimality."""

import numpy as np
import torch
from scipy.optimize import linprog, nnls
from torch import Tensor

import paretomtl_solvers as ps
from paretomtl.point import Code
from paretomtl.solver import Solver
from tests import asserts
from tests.asserts import answer, unit_rays
from tests.solvers.certificates import assert_least_norm, certify_least_norm
from tests.solvers.promises.kit import (
    ALL,
    ALL_FALL,
    FINITE,
    IGNORES,
    IN_HULL,
    NONE_RISES,
    POINTS,
    REPEATABLE,
    SCALE,
    SIMPLEX,
    STATIONARY,
    TWINS,
    Line,
    named,
    scale,
)

CLOSE = 1e-9  # a rate beside the terms that add up to it: below, it is rounding
LEFT = 1e-6  # what nothing in a cone accounts for, beside a vector of length 1


def unit(vectors: Tensor) -> Tensor:
    lengths = vectors.norm(dim=-1, keepdim=True)
    return vectors / lengths.where(lengths > 0, 1)


def in_cone(vector: Tensor, of: list[Tensor]) -> float:
    """How far a vector is from the cone of others, all at length 1."""
    columns = unit(torch.cat([x.reshape(-1, len(vector)) for x in of]))
    return float(nnls(columns.T.numpy(), unit(vector).numpy())[1])


def rates_of(jacobian: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """The losses' rates along d, and what rounding they may have."""
    return jacobian @ d, CLOSE * (jacobian.norm(dim=1) * d.norm())


def assert_largest_worst_rate(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, c: float, factor: float = 1.0
) -> None:
    """CAGrad: d is in its ball about g_0, and its worst rate is as large as the dual's bound.

    Where the hull holds zero, no worst rate is above zero; there the bound is that.
    """
    given = answer(solver, losses, jacobian, preference)
    g = preference @ jacobian
    if given.stationary:
        assert c >= 1 or g.norm() <= asserts.VANISHED * jacobian.norm(dim=1).max()
        return
    d, radius = given.direction / factor, c * g.norm()
    assert (d - g).norm() <= radius * (1 + 1e-6) + 1e-15 * g.norm(), f"{(d - g).norm()} for {radius}"
    rates, rounding = rates_of(jacobian, d)
    if asserts.holds_zero(jacobian) and (rates >= -rounding - LEFT * radius * jacobian.norm(dim=1)).all():
        return
    z = given.weights / factor - preference
    assert (z >= -1e-12).all(), f"{z}"
    w = z / z.sum() if c else torch.eye(len(z), dtype=torch.float64)[rates.argmin()]
    bound = w @ jacobian @ g + radius * (w @ jacobian).norm()
    slack = rounding + w @ rounding
    assert (rates >= bound - slack).all(), f"{rates} for {bound}"


def assert_imbalance(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, c: float) -> None:
    """IMGrad: its w meets the conditions of optimality of its program, and d is made of it."""
    given = answer(solver, losses, jacobian, preference)
    g = preference @ jacobian
    if given.stationary:
        return
    least = answer(ps.MGDA(), losses, jacobian, preference)
    assert_least_norm(ps.MGDA(), losses, jacobian, preference)
    q = 0.0 if least.stationary else float(unit(least.direction) @ unit(g))
    z = given.weights * (1 + c**2) - preference
    if z.abs().max() <= 1e-12:  # the term of a vanishing sum: only where a gradient vanishes, and q does, too
        assert q == 0, f"{q}"
        assert ((jacobian @ g) >= -CLOSE * jacobian.norm(dim=1) * g.norm()).all(), f"{jacobian @ g}"
        return
    assert (z >= -1e-12).all(), f"{z}"
    w = z / z.sum()
    own = w @ jacobian
    assert abs((z @ jacobian).norm() / (c * g.norm()) - 1) <= 1e-6, f"{(z @ jacobian).norm()} for {c * g.norm()}"
    rates = (1.5 - q) * (jacobian @ g) + q * c * g.norm() * (jacobian @ unit(own))
    rounding = 10 * CLOSE * jacobian.norm(dim=1) * g.norm()
    assert (rates >= w @ rates - rounding - w @ rounding).all(), f"{rates} at {w}"


def assert_best_in_cone(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, c: float) -> None:
    """ConicGrad: d is in the cone, as long as g_0, and a mixture of g_0, on the rim, and of the worst rates' gradients.

    Where even the best direction on the rim raises a loss, that holds of the parts across g_0.
    """
    given = answer(solver, losses, jacobian, preference)
    if given.stationary:
        return
    g = preference @ jacobian
    d, axis = unit(given.direction), unit(g)
    assert abs(given.direction.norm() / g.norm() - 1) <= LEFT, f"{given.direction.norm()} for {g.norm()}"
    assert axis @ d >= c - 1e-9, f"{axis @ d}"
    rates, rounding = rates_of(jacobian, d)
    worst = rates <= rates.min() + 10 * (rounding + rounding[rates.argmin()])
    if rates.min() > 0:
        assert in_cone(d, [jacobian[worst], *([axis] if axis @ d <= c + 1e-9 else [])]) <= LEFT, f"{d}"
    else:
        across = jacobian - (jacobian @ axis)[:, None] * axis
        part = d - (axis @ d) * axis
        assert part.norm() <= LEFT or in_cone(part, [across[worst]]) <= LEFT, f"{part}"


def assert_pulled_least_norm(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, pull: float) -> None:
    """SDMGrad: its w makes the gradients, each shifted by lambda g_0, shortest."""
    weights = answer(solver, losses, jacobian, preference).weights
    w = ((1 + pull) * weights - pull * preference).clamp(min=0)
    shifted = (jacobian + pull * preference @ jacobian).numpy()
    certify_least_norm(shifted @ shifted.T, (w / w.sum()).numpy())


def assert_correction(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, sigma: float) -> None:
    """PMGDA off the ray: the largest worst rate of its linear program, which linprog solves as well.

    Near the ray, and where the distance from it has no gradient: MGDA's direction.
    """
    given = answer(solver, losses, jacobian, preference)
    u = unit_rays(preference)
    across = losses - (losses @ u) * u
    gradient = unit(across) @ jacobian
    terms = unit(across).abs() @ jacobian.norm(dim=1)
    if across.norm() < solver.tolerance or gradient.norm() <= 1e-5 * terms:
        certify_least_norm((jacobian @ jacobian.T).numpy(), given.weights.numpy())
        return
    if sigma == 1:  # nothing else is feasible
        assert (given.direction - unit(gradient)).norm() <= LEFT, f"{given.direction} for {unit(gradient)}"
        return
    assert abs(given.status.residual - across.norm() / losses.norm()) <= 1e-12, f"{given.status}"
    rows = jacobian[jacobian.any(dim=1)]
    columns, sizes = unit(torch.cat([rows, gradient[None]])), rows.norm(dim=1)
    least = sizes.min()
    best = linprog(
        [0.0] * len(columns) + [-1.0],
        A_ub=np.vstack(
            [
                np.column_stack([-(unit(rows) @ columns.T).numpy(), (least / sizes).numpy()]),
                np.append(-(columns @ unit(gradient)).numpy(), 0),
            ]
        ),
        b_ub=[0.0] * len(rows) + [-sigma],
        A_eq=[[1.0] * len(columns) + [0.0]],
        b_eq=[1],
        bounds=[(0, None)] * len(columns) + [(None, None)],
    )
    d = given.direction
    assert best.success, best.message
    assert in_cone(d, [columns]) <= LEFT, f"{d}"
    assert unit(gradient) @ d >= sigma - 1e-8, f"{unit(gradient) @ d}"
    worst = float(((unit(rows) @ d) / (least / sizes)).min())
    assert worst >= -best.fun - 1e-7 * max(1, abs(best.fun)), f"{worst} for {-best.fun}"


def assert_kept_to_ray(solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor) -> None:
    """FERERO: the rates are the losses across the ray, plus one rate along it that no other betters.

    Where it says that it relaxed this, or where a gradient vanishes, the rates are as near as they can be.
    """
    given = answer(solver, losses, jacobian, preference)
    present = jacobian.any(dim=1)
    u = unit_rays(preference)
    across = losses - (losses @ u) * u
    rows, d = jacobian[present], given.direction
    if not present.any():
        return
    cosines = torch.linalg.eigvalsh(unit(rows) @ unit(rows).T)
    independent = cosines.min() > 1e-10
    if given.status.code == Code.RELAXED:
        assert not independent, f"{cosines}"
        return
    sizes = rows.norm(dim=1)
    rates, p, v = rows @ d, across[present], u[present]
    tiny = 1e-12 * losses.norm()
    t = float(((rates - p) / sizes) @ (v / sizes) / (v / sizes).square().sum())
    off, slack = (rates - p - t * v).abs(), LEFT * (sizes * d.norm() + p.abs() + abs(t) * v) + tiny
    assert (off <= slack).all(), f"{rates} for {p} + {t} {v}"
    if independent:  # else few rates, or one, can be had
        inverse = torch.linalg.inv(unit(rows) @ unit(rows).T) / sizes[:, None] / sizes
        # one of the worst losses' slopes, or what is between them, balances that of |d|^2 / 2
        slope, binding = float(v @ inverse @ (p + t * v)), p + t * v <= (p + t * v).min() + 1e-6 * p.norm() + tiny
        slack = 1e-5 * max(abs(float(v @ inverse @ p)), 1)
        assert v[binding].min() - slack <= slope <= v[binding].max() + slack, f"{slope} for {v[binding]}"


def assert_memory_kept(
    solver: Solver, losses: Tensor, jacobian: Tensor, preference: Tensor, new: int, components: int
) -> None:
    """The nearest vector to the new gradient that does not raise the memory's mean, across its principal directions."""
    given = answer(solver, losses, jacobian, preference)
    d, g = given.direction, jacobian[new]
    memory = torch.cat([jacobian[:new], jacobian[new + 1 :]])
    mean = memory.mean(dim=0)
    _, sizes, directions = torch.linalg.svd(memory - mean)
    count = int((sizes[:components] > 1e-6 * memory.norm(dim=1).max()).sum()) if memory.any() else 0
    v = directions[:count]
    # of equal singular values any direction serves, and none is known here
    if 0 < count < len(sizes) and sizes[count - 1] <= sizes[count] * (1 + 1e-6):
        return
    size = max(float(g.norm()), 1e-300)
    assert (v @ d).norm() <= LEFT * size, f"{v @ d}"
    own = mean - (v @ mean) @ v
    assert unit(own) @ d >= -LEFT * size or own.norm() <= LEFT * mean.norm(), f"{own @ d}"
    push = d - g
    assert push.norm() <= CLOSE * size or in_cone(push, [v, -v, mean]) * push.norm() <= LEFT * size, f"{push}"
    assert abs(own @ d) <= LEFT * size * mean.norm() or (push + (v @ g) @ v).norm() <= LEFT * size, f"{push}"


def worst_rate(c: float, factor: float = 1.0):
    return named(assert_largest_worst_rate, "largest worst rate", c=c, factor=factor)


def imbalance(c: float):
    return named(assert_imbalance, "its program", c=c)


def in_its_cone(c: float):
    return named(assert_best_in_cone, "best in its cone", c=c)


def pulled(pull: float):
    return named(assert_pulled_least_norm, "pulled least norm", pull=pull)


def correction(sigma: float):
    return named(assert_correction, "its linear program", sigma=sigma)


def kept(new: int, components: int):
    return named(assert_memory_kept, "memory kept", new=new, components=components)


def alike(jacobian, preference):
    """Whether there are two gradients, with norms no more than 1e3 apart."""
    norms = jacobian.norm(dim=1)
    return len(jacobian) == 2 and bool(norms.min() >= 1e-3 * norms.max())


MEAN = [*ALL, TWINS, SCALE, STATIONARY]
CONE = [*ALL, TWINS, SCALE, IN_HULL]

TABLE = [
    Line(ps.CAGrad(), [*MEAN, worst_rate(0.5)]),
    Line(ps.CAGrad(0.0), [*MEAN, SIMPLEX, worst_rate(0.0)]),
    Line(ps.CAGrad(0.9, "1/(1+c^2)"), [*MEAN, worst_rate(0.9, 1 / 1.81)]),
    Line(ps.CAGrad(0.4, "1/(1+c)"), [*MEAN, worst_rate(0.4, 1 / 1.4)]),
    # beyond c = 1 no loss rises, and it ends at any Pareto-stationary point
    Line(ps.CAGrad(3.0), [*MEAN, NONE_RISES, IN_HULL, worst_rate(3.0)]),
    # by an interior-point solver, which is not exact where the gradients' norms are far apart
    Line(ps.CAGrad(backend="cvxpy"), [FINITE, REPEATABLE, SCALE], alike),
    Line(ps.IMGrad(), [*MEAN, imbalance(0.8)]),
    Line(ps.IMGrad(0.3), [*MEAN, imbalance(0.3)]),
    Line(ps.ConicGrad(), [*CONE, in_its_cone(0.5)]),
    Line(ps.ConicGrad(0.9), [*CONE, in_its_cone(0.9)]),
    Line(ps.ConicGrad(0.0), [*CONE, NONE_RISES, ALL_FALL, in_its_cone(0.0)]),
    Line(ps.SDMGrad(), [*MEAN, SIMPLEX, pulled(0.3)]),
    Line(ps.SDMGrad(0.0), [*MEAN, SIMPLEX, NONE_RISES, IN_HULL, pulled(0.0)]),
    Line(ps.SDMGrad(10.0), [*MEAN, SIMPLEX, pulled(10.0)]),
    Line(ps.PMGDA(), [*ALL, scale(-1), correction(0.9)]),
    Line(ps.PMGDA(0.5), [*ALL, scale(-1), correction(0.5)]),
    Line(ps.PMGDA(1.0), [*ALL, correction(1.0)]),
    # no scale law: a step onto the ray shrinks as the gradients grow, and one along it grows
    Line(ps.FERERO(), [*ALL, assert_kept_to_ray]),
    # objectives in another order have another new task
    Line(ps.LayerwiseDecomposition(), [FINITE, REPEATABLE, POINTS, SCALE, STATIONARY, IGNORES, kept(0, 1)]),
    Line(ps.LayerwiseDecomposition(1, 2), [FINITE, REPEATABLE, POINTS, SCALE, STATIONARY, IGNORES, kept(1, 2)]),
    Line(ps.LayerwiseDecomposition(0, 0), [FINITE, REPEATABLE, POINTS, SCALE, STATIONARY, IGNORES, kept(0, 0)]),
]

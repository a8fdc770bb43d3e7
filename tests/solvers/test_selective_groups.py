"""Selective groups: the affinities, which tasks end in one group, and affinity propagation by itself."""

import numpy as np
import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.solver import Sweep
from paretomtl_solvers.affinity_propagation import group_by_affinity
from paretomtl_solvers.selective_groups import Groups, regroup
from tests.solvers.test_values import quadratics

EVEN = torch.full((2,), 0.5, dtype=torch.float64)
TAG = {"1 to 2": 0.3885714, "2 to 1": 0.34875}  # of the quadratics with a = .1, as TAG defines it


def first(solver: ps.SelectiveGroups, m: int) -> Groups:
    even = torch.full((1, m), 1 / m, dtype=torch.float64)
    return solver.init(Sweep(even, torch.tensor(0), 10, True, (torch.Generator().manual_seed(0),)))


def test_the_affinities_of_the_first_group_are_tags():
    """1 - L_j(theta - a g_i) / L_j(theta); the step after it starts where it ended."""
    solver, here = ps.SelectiveGroups(0.1, fading=1.0), quadratics()
    _, state, _ = solver.update(first(solver, 2), here, EVEN)
    (g1, g2), L, place = here.gradients().jacobian, here(), here.parameters
    first_is_one = abs(float(state.affinities[0, 1]) - TAG["1 to 2"]) < 1e-6
    after = here(place - 0.1 * (g1 if first_is_one else g2))
    i = 0 if first_is_one else 1
    assert float(state.affinities[i, 1 - i]) == pytest.approx(TAG["1 to 2" if i == 0 else "2 to 1"], abs=1e-6)
    assert torch.allclose(state.affinities[i], 1 - after / L, rtol=0, atol=1e-12)
    one = torch.eye(2, dtype=torch.float64)[1 - i]
    moved = place - 0.1 * (g1 if i == 0 else g2)
    last = here(moved - 0.1 * here.gradient(one, moved))
    assert torch.allclose(state.affinities[1 - i], 1 - last / after, rtol=0, atol=1e-12)


def test_both_orders_come_and_the_average_fades():
    solver, here = ps.SelectiveGroups(0.1, fading=0.001), quadratics()
    state, ends = first(solver, 2), set()
    for _ in range(20):
        direction, state, _ = solver.update(state, here, EVEN)  # from the same place each time
        ends.add(tuple(direction.tolist()))
    assert len(ends) == 2
    assert float(state.affinities[0, 0]) == pytest.approx(0.36 * (1 - 0.999**20), rel=0.4)


@pytest.mark.parametrize(
    ("before", "after", "rows"),
    [
        ((4, 2, 1), (2, 1, 1.5), ((0.25, 0.25, -0.5 / 2), (0.25, 0.25, -0.25), (0, 0, 0))),
        ((4, 2, 1), (2, 3, 1.0), ((0.25, -0.25, 0), (-0.25, 0, 0), (0, 0, 0))),
        ((4, 2, 1), (5, 3, 1.0), ((0, -0.25, 0), (-0.125, 0, 0), (0, 0, 0))),
        ((4, 0, 1), (2, 3, 1.0), ((0.25, 0, 0), (0.25, 0, 0), (0, 0, 0))),
    ],
    ids=["a third loses", "the two fare unlike", "both lose", "a loss of zero"],
)
def test_the_rules_of_the_affinities(before, after, rows):
    """Of a group of the first two of three."""
    members = torch.tensor([True, True, False])
    losses = [torch.tensor(x, dtype=torch.float64) for x in (before, after)]
    found = ps.SelectiveGroups(fading=1.0).remember(torch.zeros(3, 3, dtype=torch.float64), members, *losses)
    assert found.tolist() == [pytest.approx(row, abs=1e-12) for row in rows]


def test_a_lone_group_steps_twice():
    here, solver = quadratics(), ps.SelectiveGroups(0.1)
    state = first(solver, 2)._replace(groups=torch.zeros(2, dtype=torch.int64))
    direction, _, _ = solver.update(state, here, EVEN)
    both, place = torch.ones(2, dtype=torch.float64), here.parameters
    once = place - 0.1 * here.gradient(both, place)
    assert torch.allclose(direction, place - (once - 0.1 * here.gradient(both, once)), rtol=0, atol=1e-12)


class Place(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.zeros(4, dtype=torch.float64))


def bowls(*centres: tuple) -> pm.Closure:
    at = torch.tensor(centres, dtype=torch.float64)

    def losses(model, batch):
        return {str(i): 1 + (model.x - c).square().sum() for i, c in enumerate(at)}

    names = [str(i) for i in range(len(at))]
    problem = pm.Problem(names, Place, losses, ref_point=[9.0] * len(at), deterministic=True)
    return pm.closure(problem, Place())


def groups_after(here: pm.Closure, m: int, steps: int = 30) -> list[int]:
    solver = ps.SelectiveGroups(0.02, singletons=20)
    state, even = first(solver, m), torch.full((m,), 1 / m, dtype=torch.float64)
    for _ in range(steps):
        direction, state, _ = solver.update(state, here, even)
        here.move(here.parameters - direction)
    return state.groups.tolist()


def test_duplicates_of_a_task_end_in_one_group():
    one, other, third = (1.0, 0, 0, 0), (-1.0, 0.2, 0, 0), (0, 0, 1.0, -1.0)
    a, b, c, _, e = groups_after(bowls(one, other, one, third, other), 5)
    assert a == c
    assert b == e
    assert a != b


def test_tasks_that_help_one_another_end_in_one_group():
    near = groups_after(bowls((1.0, 0.1, 0, 0), (1.0, -0.1, 0, 0), (-1.0, 0, 0.1, 0), (-1.0, 0, -0.1, 0)), 4)
    assert near == [near[0], near[0], near[2], near[2]]
    assert near[0] != near[2]


def test_groups_stay_where_affinities_say_nothing():
    groups = torch.tensor([0, 1, 0])
    nothing = torch.zeros(3, 3, dtype=torch.float64)
    assert regroup(nothing, groups).tolist() == [0, 1, 0]
    assert regroup(nothing + torch.diag(torch.tensor([1.0, 1, 0]).double()), groups).tolist() == [0, 1, 0]
    assert regroup(nothing + 1e-320, groups).tolist() == [0, 0, 0]  # all alike: one group


def test_negative_losses_are_an_error():
    here = quadratics()
    solver = ps.SelectiveGroups()

    class Below(type(here)):
        def __call__(self, parameters=None):
            return super().__call__(parameters) - 10

    here.__class__ = Below
    with pytest.raises(ValueError, match=r"^SelectiveGroups: a loss of .* is negative; shift it, or use Linear"):
        solver.update(None, here, EVEN)


# --- affinity propagation ---


def blobs(seed: int, k: int = 4, each: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = (rng.normal(size=(k, 1, 3)) * 6 + rng.normal(size=(k, each, 3))).reshape(-1, 3)
    return -np.square(points[:, None] - points).sum(axis=-1)


def partition(labels) -> set[frozenset]:
    return {frozenset(np.flatnonzero(np.asarray(labels) == group).tolist()) for group in set(labels)}


@pytest.mark.parametrize("seed", range(8))
def test_it_groups_as_scikit_learn_does(seed):
    cluster = pytest.importorskip("sklearn.cluster")
    S = blobs(seed)
    theirs = cluster.AffinityPropagation(affinity="precomputed", convergence_iter=50, random_state=0).fit(S)
    labels = group_by_affinity(S)
    assert labels is not None
    assert partition(labels) == partition(theirs.labels_)


def test_it_finds_what_is_apart():
    points = np.repeat([0.0, 10.0, 30.0], 3) + np.tile([0.0, 0.2, 0.5], 3)
    S = -np.square(points[:, None] - points)
    labels = group_by_affinity(S)
    assert labels is not None
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    order = np.random.default_rng(0).permutation(9)
    turned = group_by_affinity(S[np.ix_(order, order)])
    assert turned is not None
    assert partition(order[turned.argsort(kind="stable")] // 3) == partition(np.repeat([0, 1, 2], 3))


def test_where_messages_could_not_choose():
    for similarity, labels in ((0.5, [0, 1, 2]), (1.0, [0, 0, 0]), (1.5, [0, 0, 0])):
        S = np.full((3, 3), similarity)
        np.fill_diagonal(S, 1)
        if similarity == 0.5:
            np.fill_diagonal(S, 2)
            S[0, 0] = 3
        found = group_by_affinity(S)
        assert found is not None
        assert found.tolist() in (labels, [0, 0, 0])
    assert group_by_affinity(np.ones((1, 1))).tolist() == [0]
    pair = group_by_affinity(np.array([[1, 0.3], [0.3, 1]]))
    assert pair is not None
    assert pair.tolist() == [0, 1]

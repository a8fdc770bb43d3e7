import pytest
import torch

import paretomtl_solvers as ps
from paretomtl.solver import Code
from tests import asserts

LOSSES = torch.tensor([3.0, 0.0, -1.0], dtype=torch.float64)
JACOBIAN = torch.tensor([[1, 2], [0, 0], [-1, 1e6]], dtype=torch.float64)


@pytest.mark.parametrize("preference", [(0.2, 0.3, 0.5), (1, 0, 0), (0, 0.5, 0.5)], ids=str)
def test_the_weights_are_the_preference(preference):
    case = LOSSES, JACOBIAN, torch.tensor(preference, dtype=torch.float64)
    weights, status = asserts.update(ps.Linear(), *case)
    assert torch.equal(weights, case[2])
    assert (status.code, status.residual) == (Code.SOLVED, 0)
    asserts.assert_on_simplex(ps.Linear(), *case)
    asserts.assert_permutation_equivariant(ps.Linear(), *case)
    asserts.assert_scale_invariant(ps.Linear(), *case, scale=1e-8)


def test_many_points_are_as_one_by_one():
    preferences = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    asserts.assert_points_agree(ps.Linear(), LOSSES.expand(2, 5, 3), JACOBIAN.expand(2, 5, 3, 2), preferences)


def test_it_promises_no_ray():
    assert not ps.Linear.follows_ray
    assert ps.Linear() == ps.Linear()  # a value: it names a study

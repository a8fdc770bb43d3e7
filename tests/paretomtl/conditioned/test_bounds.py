"""Bounds of weights that are generated: kept in what is trained, measured and handed back."""

import numpy as np
import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.conditioned.bounds import apply_bounds, write_out
from paretomtl.conditioned.losses import take_step
from studies.analytic import zdt1


class Place(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([0.5, 0.5], dtype=torch.float64))


def into_box(model):
    with torch.no_grad():
        model.x.clamp_(0, 1)


def problem(**changes):
    """Two losses of which the first is least at (2, .2), outside the box; the second at (0, .9)."""

    def losses(model, batch):
        del batch
        first, second = (torch.tensor(c, dtype=torch.float64) for c in ((2.0, 0.2), (0.0, 0.9)))
        return {"a": (model.x - first).square().sum(), "b": (model.x - second).square().sum()}

    fields = {"model": Place, "losses": losses, "project": into_box, "ref_point": [9.0, 9.0], "deterministic": True}
    return pm.Problem(objectives=["a", "b"], **fields | changes)


def attached(x):
    """A network that serves x at every preference."""
    network = pm.LowRank().attach(Place(), 2)
    with torch.no_grad():
        network.plain.x.copy_(torch.tensor(x, dtype=torch.float64))
    return network


R = torch.tensor([[0.5, 0.5], [1.0, 0.0]], dtype=torch.float64)


def test_without_bounds_the_weights_are_as_they_were():
    network = attached([3.0, -1.0])
    generated = network.generate(R)
    assert apply_bounds(network, problem(project=None), generated) is generated


def test_weights_are_put_into_their_bounds():
    network = attached([3.0, -1.0])
    rows = apply_bounds(network, problem(), network.generate(R))["x"]
    assert rows.tolist() == [[1, 0], [1, 0]]
    assert network.plain.x.tolist() == [3, -1]
    assert write_out(network, problem(), np.array([0.5, 0.5])).x.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("x", "gradient"),
    [
        ([0.5, 0.5], [-3.0, 0.6]),  # within: as it is
        ([3.0, 0.5], [0.0, 0.6]),  # at 1, and a would have it larger: no further out
        ([-1.0, 0.5], [-4.0, 0.6]),  # at 0, and a would have it larger: back in, by the gradient at 0
        ([0.5, 2.0], [-3.0, 1.6]),  # above 1, as well
        ([0.5, -2.0], [-3.0, -0.4]),  # below 0, where a would have it at .2: back in
    ],
)
@pytest.mark.parametrize("solver", [ps.Linear(), ps.MGDA()])
def test_gradients_lead_into_the_bounds_and_not_out(x, gradient, solver):
    network = attached(x)
    r = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    if isinstance(solver, ps.Linear):
        take_step(network, problem(), solver, None, None, r, "batch", vmapped=False)
        assert network.plain.x.grad.tolist() == pytest.approx(gradient)
    else:  # whatever its weights, no weight beyond its bound is pushed further out
        take_step(network, problem(), solver, None, None, r, "batch", vmapped=False)
        beyond = torch.tensor(x) - torch.tensor(x).clamp(0, 1)
        assert not (network.plain.x.grad * beyond < 0).any()


def test_a_front_within_the_bounds(tmp_path):
    front = pm.explore(
        problem(), ps.Linear(), preferences=[[0.2, 0.8], [0.8, 0.2]], steps=200,
        optimizer=lambda p: torch.optim.Adam(p, lr=0.02), front_model=pm.Hypernetwork(hidden=16), out=tmp_path / "f",
    )  # fmt: skip
    for point in front.points:
        x = front.load_model(point, Place).x
        assert ((x >= 0) & (x <= 1)).all()
        again = front.model_at(point.preference, Place, problem=problem())
        assert torch.equal(again.x, x)
    with pytest.raises(ValueError, match="the problem bounds its weights by project=; give problem="):
        front.model_at([0.5, 0.5], Place)


def test_a_narrow_box_is_no_reason_to_refuse():
    def narrow(model):
        with torch.no_grad():
            model.x.clamp_(0.499, 0.501)

    front = pm.explore(
        problem(project=narrow), ps.Linear(), preferences=[[0.5, 0.5]], steps=2, front_model=pm.LowRank(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
    )  # fmt: skip
    x = front.load_model(front.points[0], Place).x
    assert ((x >= 0.499) & (x <= 0.501)).all()


def test_the_front_of_zdt1_within_its_box():
    """Whose exact points on these rays have a hypervolume of .8068."""
    front = pm.explore(
        zdt1(n=10), ps.Tchebycheff(), preferences=9, steps=400,
        optimizer=lambda p: torch.optim.Adam(p, lr=0.01),
        front_model=pm.Hypernetwork(sampling=pm.Sampling(n=32, ends=0.0)),
    )  # fmt: skip
    assert front.hypervolume() > 0.99 * 0.8068
    assert front.control_errors.max() < 3

from functools import partial

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.point import Code
from tests import toys

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")]

COGRAD = [ps.CoGrad(), ps.CoGrad(hessian="hvp")]


@pytest.mark.parametrize(
    "solver", [ps.EPO(), ps.Linear(), toys.Turned(), *COGRAD, ps.CoGrad(hessian="fisher")], ids=repr
)
def test_a_front_on_a_gpu_is_the_cpus_to_rounding(solver):
    """Same start and same batches; ten epochs of float32 part the two only by rounding."""
    here, there = (
        pm.explore(toys.two_regressions(), solver, preferences=[[0.4, 0.6], [0.6, 0.4]], epochs=10, device=device)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there.losses, here.losses, rtol=1e-3)
    model = there.load_model(there.points[0], toys.TwoHeads)
    assert {p.device.type for p in model.parameters()} == {"cpu"}


@pytest.mark.parametrize("solver", [ps.EPO(), ps.Linear(), toys.Turned()], ids=repr)
def test_a_fleet_on_a_gpu_is_the_cpus_points_alone_to_rounding(solver):
    run = partial(pm.explore, toys.two_regressions(), solver, preferences=5, epochs=10)
    here, there = run(), run(fleet=3, device="cuda")
    np.testing.assert_allclose(there.losses, here.losses, rtol=1e-3)
    assert [p.counts for p in there.points] == [p.counts for p in here.points]


@pytest.mark.parametrize("solver", [ps.EPO(), ps.MGDA(), toys.Turned(), *COGRAD], ids=repr)
def test_steps_in_a_loop_of_ones_own_are_the_cpus_to_rounding(solver):
    def trained(device: str) -> list[torch.Tensor]:
        model, step = toys.initial().to(device), pm.Descent(solver, {"a": 0.3, "b": 0.7})
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in toys.loader(1):
            batch = x.to(device), y.to(device)
            optimizer.zero_grad()
            if isinstance(solver, pm.Stepper):
                step.backward(lambda batch=batch: toys.losses(model, batch))
            else:
                step.backward(toys.losses(model, batch))
            optimizer.step()
        return [p.detach().cpu() for p in model.parameters()]

    for there, here in zip(trained("cuda"), trained("cpu"), strict=True):
        assert torch.allclose(there, here, rtol=1e-3, atol=1e-5)


@pytest.mark.fault(7)
def test_a_loss_that_shares_nothing_on_a_gpu():
    x, own = (torch.nn.Parameter(torch.ones(2, device="cuda")) for _ in range(2))
    step = pm.Descent(ps.EPO(), {"a": 0.3, "own": 0.2, "b": 0.5})
    step.backward({"a": (x - 2).square().sum(), "own": own.square().sum(), "b": (2 * x).square().sum()})
    assert own.grad.tolist() == [2, 2]
    assert x.grad.isfinite().all()


@pytest.mark.fault(49)
@pytest.mark.parametrize("solver", [ps.EPO(), ps.Linear()], ids=repr)
def test_an_overflow_on_a_gpu_skips_the_step(solver):
    model, scaler = toys.initial().to("cuda"), torch.amp.GradScaler("cuda", init_scale=2.0**127)
    before, optimizer = [p.detach().clone() for p in model.parameters()], torch.optim.SGD(model.parameters(), lr=0.1)
    losses = toys.losses(model, [part.to("cuda") for part in toys.regression(1)[:]])
    status = pm.Descent(solver, {"a": 0.3, "b": 0.7}, scaler=scaler).backward(losses | {"b": 1e4 * losses["b"]})
    scaler.step(optimizer)
    scaler.update()
    assert status.code == Code.SKIPPED
    assert all(torch.equal(p, was) for p, was in zip(model.parameters(), before, strict=True))
    assert scaler.get_scale() == 2.0**126

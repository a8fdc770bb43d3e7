import numpy as np
import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from tests.toys import two_regressions

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("solver", [ps.EPO(), ps.Linear()], ids=repr)
def test_a_front_on_a_gpu_is_the_cpus_to_rounding(solver):
    """Same start and same batches; ten epochs of float32 part the two only by rounding."""
    here, there = (
        pm.explore(two_regressions(), solver, preferences=[[0.4, 0.6], [0.6, 0.4]], epochs=10, device=device)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there.losses, here.losses, rtol=1e-3)
    model = there.load_model(there.points[0], two_regressions().model)
    assert {p.device.type for p in model.parameters()} == {"cpu"}

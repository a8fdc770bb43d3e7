"""One short run of each trainer under the shape checker; other tests that train run without it."""

from functools import partial

import jaxtyping
import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points.score import hypervolume
from tests import toys

SGD = partial(torch.optim.SGD, lr=0.1)


@pytest.fixture(autouse=True)
def checked():
    """A wrong shape is refused here by the checker, not by a message of ours: the runs below are checked."""
    with pytest.raises(jaxtyping.TypeCheckError):
        hypervolume(np.zeros(3), [1.0, 1.0])


@pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seeds": 2},
        {"fleet": 3},
        {"front_model": pm.LowRank(rank=1)},
        {"front_model": pm.FiLM(hidden=4, sampling=pm.Sampling("part"))},
        {"front_model": pm.Hypernetwork(hidden=4)},
    ],
    ids=["one by one", "seeds", "fleet", "low rank", "FiLM", "hypernetwork"],
)
@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()], ids=["losses", "gradients"])
def test_what_trains_a_front(solver, options):
    front = pm.explore(toys.two_regressions(), solver, preferences=3, epochs=1, optimizer=SGD, **options)
    assert len(front.points) == 3 * options.get("seeds", 1)
    front.score()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_walk():
    problem = toys.two_regressions(train=[toys.regression(1).tensors])
    walk = pm.walk(problem, ps.ContinuousPareto(), toys.initial(), toward="a", points=2)
    assert len(walk.points) >= 1

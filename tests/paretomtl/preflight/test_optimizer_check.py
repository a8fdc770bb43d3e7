"""The optimizer and its scheduler are tried for one step before the first; so are sparse gradients."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau

import paretomtl as pm
import paretomtl_solvers as ps
from tests import toys
from tests.paretomtl.preflight.test_dry_run import assert_names, refusal

SGD = partial(torch.optim.SGD, lr=0.1)
FILM = pm.FiLM(hidden=8, sampling=pm.Sampling("batch", n=2))
OTHER = toys.TwoHeads()


def scheduled(make, parameters):
    optimizer = SGD(parameters)
    return optimizer, make(optimizer)


WRONG = {
    "an instance": (torch.optim.Adam(OTHER.parameters()), TypeError, ("optimizer=Adam", "function", "lambda param")),
    "a number": (1e-3, TypeError, ("optimizer=0.001", "give a function")),
    "nothing": (lambda parameters: None, TypeError, ("returned None", "torch.optim.Optimizer", "scheduler")),
    "three": (lambda p: (SGD(p), None, 1), TypeError, ("(SGD, NoneType, int)", "(optimizer, scheduler)")),
    "a closure": (torch.optim.LBFGS, ValueError, ("LBFGS.step() needs 'closure'", "give one", "torch.optim.Adam")),
    "a metric": (
        partial(scheduled, ReduceLROnPlateau),
        ValueError,
        ("ReduceLROnPlateau.step() needs 'metrics'", "after every step", "CosineAnnealingLR"),
    ),
    "other parameters": (
        lambda parameters: SGD(OTHER.parameters()),
        ValueError,
        ("of the 6 parameters of the SGD, 6 are not among those", "build it from them"),
    ),
    "a step that raises": (torch.optim.SparseAdam, ValueError, ("step of SparseAdam raised RuntimeError", "dense")),
}  # fmt: skip


@pytest.mark.fault(102)
@pytest.mark.parametrize("budget", [{}, {"fleet": 2}, {"front_model": FILM}], ids=["alone", "fleet", "front model"])
@pytest.mark.parametrize("kind", WRONG)
def test_an_optimizer_that_cannot_take_the_steps(tmp_path, kind, budget):
    optimizer, error, named = WRONG[kind]
    if "front_model" in budget and kind == "other parameters":
        named = ("of the 6 parameters of the SGD, 6 are not among those",)
    message = refusal(tmp_path, error, budget={"epochs": 1, "optimizer": optimizer} | budget)
    assert_names(message, *named)


@pytest.mark.fault(102)
@pytest.mark.parametrize(
    "optimizer",
    [torch.optim.Adam, SGD, partial(scheduled, partial(ExponentialLR, gamma=0.9)), lambda p: (SGD(p), None)],
    ids=["a class", "a partial", "with a scheduler", "with none"],
)
def test_optimizers_that_can(optimizer):
    front = pm.explore(toys.two_regressions(), ps.MGDA(), preferences=[[0.5, 0.5]], epochs=1, optimizer=optimizer)
    assert front.warnings() == ()


@pytest.mark.fault(102)
def test_parameters_that_the_optimizer_leaves_out_are_a_note():
    def trunk_alone(parameters):
        return SGD(parameters[:2])

    with pytest.warns(
        UserWarning, match=r"the optimizer holds 2 of 6 parameters; the others stay .*'a\.weight', 'a\.bi"
    ):
        front = pm.explore(
            toys.two_regressions(), ps.Linear(), preferences=[[0.5, 0.5]], epochs=1, optimizer=trunk_alone
        )
    trained = front.load_model(front.points[0], toys.TwoHeads)
    assert torch.equal(trained.a.weight, toys.initial().a.weight)
    assert not torch.equal(trained.trunk.weight, toys.initial().trunk.weight)


class Embedded(nn.Module):
    """An embedding of the sign of the first number, with sparse gradients, and the heads."""

    def __init__(self, sparse: bool = True):
        super().__init__()
        self.signs = nn.Embedding(2, 1, sparse=sparse)
        self.a, self.b = nn.Linear(1, 1), nn.Linear(1, 1)

    def forward(self, x):
        z = self.signs((x[:, 0] > 0).long())
        return self.a(z)[:, 0], self.b(z)[:, 0]


@pytest.mark.fault(103)
def test_sparse_gradients_work_where_the_method_and_the_optimizer_take_them():
    train = partial(pm.explore, solver=ps.Linear(), preferences=[[0.5, 0.5]], epochs=2, optimizer=SGD)
    sparse = train(toys.two_regressions(model=Embedded))
    dense = train(toys.two_regressions(model=partial(Embedded, False)))
    for name, weight in sparse.load_model(sparse.points[0], Embedded).state_dict().items():
        torch.testing.assert_close(weight, dense.load_model(dense.points[0], Embedded).state_dict()[name])


@pytest.mark.fault(103)
@pytest.mark.parametrize(
    ("solver", "budget", "named"),
    [
        (ps.EPO(), {}, ("EPO reads the gradient of each loss",)),
        (ps.CoGrad(), {}, ("CoGrad reads the gradient of each loss",)),
        (ps.Linear(), {"fleet": 2}, ("trained together",)),
        (ps.Linear(), {"front_model": FILM}, ("trained together",)),
        (ps.Linear(), {"optimizer": torch.optim.Adam}, ("first step of Adam raised RuntimeError",)),
    ],
    ids=["weighting", "stepper", "fleet", "front model", "Adam"],
)
def test_sparse_gradients_that_cannot_be_used(tmp_path, solver, budget, named):
    message = refusal(tmp_path, solver=solver, budget={"epochs": 1, "optimizer": SGD} | budget, model=Embedded)
    assert_names(message, "'signs.weight' has sparse gradients", "sparse=False", *named)

"""Measuring is rehearsed before the first step: the measure's keys, types and errors, and losses without gradients."""

from dataclasses import dataclass, field

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from tests import toys
from tests.paretomtl.preflight.test_dry_run import assert_names, refusal


def absolute_errors(model, batches):
    pairs = [((torch.stack(model(x), dim=1) - y).abs().mean(dim=0), len(x)) for x, y in batches]
    mean = sum(error * n for error, n in pairs) / sum(n for _, n in pairs)
    return {"a": float(mean[0]), "b": float(mean[1])}


def returning(value):
    return lambda model, batches: value


def typo(model, batches):
    return {"a": absolute_errors(model, batches)["A"], "b": 0.0}


@pytest.mark.fault(100)
@pytest.mark.parametrize(
    ("measure", "error", "named"),
    [
        pytest.param(
            typo, ValueError, ("measure raised KeyError", "first 2 batches of validate", "'A'", "mend"), id="typo"
        ),
        pytest.param(returning({"a": 1.0, "c": 2.0}), ValueError, ("['a', 'c']", "give ['a', 'b']"), id="keys"),
        pytest.param(returning([1.0, 2.0]), TypeError, ("returned a list", "give a dict", "['a', 'b']"), id="a list"),
        pytest.param(returning(None), TypeError, ("returned a NoneType", "give a dict"), id="nothing"),
        pytest.param(returning({"a": 1.0, "b": "2.0"}), TypeError, ("'2.0' for 'b'", "give a number"), id="a text"),
        pytest.param(returning({"a": 1.0, "b": torch.ones(2)}), TypeError, ("for 'b'", "a number"), id="a vector"),
        pytest.param(returning({"a": (1.0, 0.1), "b": 2.0}), ValueError, ("for 'b'", "standard error"), id="one pair"),
        pytest.param(
            returning({"a": (1.0, -0.1), "b": (2.0, 0.1)}), ValueError, ("negative standard error",), id="negative"
        ),
    ],
)
def test_a_measure_that_is_wrong(tmp_path, measure, error, named):
    assert_names(refusal(tmp_path, error, measure=measure), *named)


@pytest.mark.fault(100)
def test_a_measure_is_rehearsed_on_every_split(tmp_path):
    def measure(model, batches):
        if len(next(iter(batches))[0]) == 8:
            raise RuntimeError("eight")
        return absolute_errors(model, batches)

    test = [(x[:8], y[:8]) for x, y in toys.loader(3)]
    assert_names(refusal(tmp_path, measure=measure, test=test), "RuntimeError", "batches of test", "eight")


@pytest.mark.fault(100)
def test_a_measure_that_takes_a_gradient(tmp_path):
    def measure(model, batches):
        ((x, y), *_) = batches
        loss = toys.losses(model, (x, y))["a"]
        (slope,) = torch.autograd.grad(loss, [model.trunk.bias])
        return {"a": float(slope.norm()), "b": 1.0}

    def within(model, batches):
        with torch.enable_grad():
            return measure(model, batches)

    message = refusal(tmp_path, measure=measure)
    assert_names(message, "measure", "first 2 batches of validate", "torch.enable_grad()")
    front = pm.explore(toys.two_regressions(measure=within), ps.Linear(), preferences=[[0.5, 0.5]], epochs=1)
    assert front.points[0].values["validate"][0] > 0


@dataclass
class Watched:
    """A measure that keeps what it saw."""

    calls: list = field(default_factory=list)

    def __call__(self, model, batches):
        self.calls.append((len(batches), len(list(batches)), model.training, torch.is_grad_enabled()))
        return absolute_errors(model, batches)


@pytest.mark.fault(100)
def test_a_rehearsal_reads_two_batches_and_changes_no_byte():
    watched, fields = Watched(), {"test": toys.loader(3)}
    front = pm.explore(toys.two_regressions(measure=watched, **fields), ps.Linear(), preferences=[[0.5, 0.5]], epochs=2)
    assert watched.calls == [(2, 2, False, False)] * 2 + [(4, 4, False, False)] * 2
    plain = pm.explore(toys.two_regressions(**fields), ps.Linear(), preferences=[[0.5, 0.5]], epochs=2)
    assert front.points[0].weights == plain.points[0].weights


@pytest.mark.fault(100)
def test_a_part_of_the_data_without_a_value_is_a_note():
    def measure(model, batches):
        return {"a": float("nan") if len(batches) < 3 else 1.0, "b": 1.0}

    with pytest.warns(
        UserWarning, match="measure 'a' of the untrained model is nan on the first 2 batches of validate"
    ):
        front = pm.explore(toys.two_regressions(measure=measure), ps.Linear(), preferences=[[0.5, 0.5]], epochs=1)
    assert front.points[0].values["validate"] == (1.0, 1.0)


def penalty(model, batch):
    x = batch[0].detach().requires_grad_()
    values = toys.losses(model, (x, batch[1]))
    (slope,) = torch.autograd.grad(values["a"], [x], create_graph=True)
    return values | {"a": values["a"] + slope.square().sum()}


def penalty_within(model, batch):
    with torch.enable_grad():
        return penalty(model, batch)


@pytest.mark.fault(101)
@pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")
@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()])
def test_losses_that_take_a_gradient(tmp_path, solver):
    message = refusal(tmp_path, solver=solver, losses=penalty)
    assert_names(message, "losses", "without gradients on validate", "with torch.enable_grad():")
    front = pm.explore(toys.two_regressions(losses=penalty_within), solver, preferences=[[0.5, 0.5]], epochs=1)
    assert len(front) == 1

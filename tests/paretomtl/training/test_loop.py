"""One point's training: what ends it early, what it may depend on, and what it leaves as it was."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.solver import solved_status
from tests import toys
from tests.one_point import SGD, labelled, marked, partly, same, train

pytestmark = pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")

THREE = [[0.2, 0.8], [0.5, 0.5], [0.8, 0.2]]


@dataclass
class Fault:
    """Spoils loss 'b' at one step of the second point. A callback sees the points, losses do not."""

    spoil: Callable
    step: int = 3
    due: bool = False
    last: tuple[str, int] | None = None

    def callback(self, told: pm.Step) -> None:
        self.last = told.point, told.step
        self.due = self.last == ("point-002", self.step - 1)

    def losses(self, model, batch):
        values = toys.losses(model, batch)
        if self.due and model.training:
            self.due = False
            values["b"] = self.spoil(values["b"], model)
        return values


def spoiled(fault: Fault, solver: pm.Solver) -> pm.Point:
    """The point that a fault fails; the other two must be as they are without it."""
    run = partial(pm.explore, solver=solver, preferences=THREE, steps=8, optimizer=SGD)
    with pytest.warns(UserWarning, match="1 of 3 points failed"):
        front = run(toys.two_regressions(losses=fault.losses), callbacks=[fault.callback])
    whole = run(toys.two_regressions())
    assert fault.last == ("point-003", 7)
    assert [p.weights for p in front.points] == [whole.points[0].weights, whole.points[2].weights]
    (failed,) = front.failed
    assert (failed.id, failed.losses, failed.weights) == ("point-002", {}, None)
    return failed


@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()])
@pytest.mark.parametrize(
    ("number", "word"),
    [
        pytest.param(np.nan, "nan", marks=pytest.mark.fault(1)),
        pytest.param(np.inf, "inf", marks=pytest.mark.fault(2)),
        pytest.param(-np.inf, "inf", marks=pytest.mark.fault(2)),
    ],
)
def test_a_loss_that_is_not_finite_ends_its_point_at_once_and_no_other(solver, number, word):
    failed = spoiled(Fault(lambda b, _: b + number), solver)
    assert (failed.reason, failed.counts["steps"]) == (f"{word} in 'b' at step 3", 3)


def nan_gradient(b, model):
    return b + (model.trunk.weight * 0).sum().sqrt()


@pytest.mark.fault(1)
@pytest.mark.fault(95)
@pytest.mark.parametrize(
    ("solver", "step", "reason"),
    [
        (ps.EPO(), 3, "nan in the gradient of 'b' at step 3"),
        # a scalarization looks at no loss's own gradient: the parameter's tells
        (ps.Linear(), 3, "nan in the gradient of 'trunk.weight' at step 3"),
        (ps.Linear(), 7, "nan in the gradient of 'trunk.weight' at step 7"),
    ],
)
def test_a_gradient_that_is_nan_is_found(solver, step, reason):
    assert spoiled(Fault(nan_gradient, step=step), solver).reason == reason


@pytest.mark.fault(95)
def test_a_head_whose_gradient_is_nan_is_named():
    failed = spoiled(Fault(lambda b, model: b + (model.b.bias * 0).sum().sqrt()), ps.EPO())
    assert failed.reason == "nan in the gradient of 'b.bias' at step 3"


@pytest.mark.fault(95)
def test_weights_that_are_not_finite_are_no_point():
    def project(model):
        with torch.no_grad():
            model.a.bias.fill_(torch.inf)

    measure = {"measure": lambda model, batches: {"a": 1.0, "b": 1.0}}
    trained = train(toys.two_regressions(project=project, **measure), steps=1)
    assert (trained.point.state, trained.weights) == ("failed", None)
    assert trained.point.reason == "inf in the weights 'a.bias'"


@pytest.mark.fault(100)
def test_a_point_that_cannot_be_measured_keeps_its_weights():
    def measure(model, batches):
        raise OSError("no room")

    trained, whole = train(toys.two_regressions(measure=measure)), train(toys.two_regressions())
    assert (trained.point.state, trained.point.reason) == ("failed", "OSError: no room")
    assert "in measure" in str(trained.point.trace)
    kept = ("status", "residual", "counts", "warnings")
    assert [getattr(trained.point, name) for name in kept] == [getattr(whole.point, name) for name in kept]
    assert same(trained.weights, whole.weights)


@pytest.mark.fault(3)
@pytest.mark.parametrize(("number", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "inf")])
def test_a_measure_that_is_not_finite(number, word):
    results = iter([0.4, 0.5, number, 0.7])  # the first is the rehearsal's
    problem = toys.two_regressions(
        objectives=["a", pm.Objective("b", goal="max")], measure=lambda model, batches: {"a": 1.0, "b": next(results)}
    )
    with pytest.warns(UserWarning, match="1 of 3 points failed"):
        front = pm.explore(problem, ps.Linear(), preferences=THREE, epochs=1)
    assert front.failed[0].reason == f"{word} in the measure 'b' on validate"
    assert front.values[:, 1].tolist() == [0.5, 0.7]
    assert front.score().n_points == 2


@pytest.mark.fault(3)
def test_a_loss_that_is_nan_on_the_test_data_alone():
    point = train(toys.two_regressions(test=[(x * np.nan, y) for x, y in toys.loader(3)])).point
    assert (point.state, point.reason) == ("failed", "nan in the loss 'a' on test")


class Place(nn.Module):
    def __init__(self, start: float):
        super().__init__()
        self.x = nn.Parameter(torch.full((2,), start, dtype=torch.float64))


def bowls(offset: float, start: float = 0.0) -> pm.Problem:
    """1 + |x|² and offset + |x|²: no gradient at the start."""
    return pm.Problem(
        objectives=["a", "b"],
        model=partial(Place, start),
        losses=lambda model, _: {"a": 1 + model.x.square().sum(), "b": offset + model.x.square().sum()},
        ref_point=[9.0, 9.0],
        deterministic=True,
    )


@pytest.mark.fault(8)
@pytest.mark.parametrize("offset", [1.0, 3.0], ids=["on its ray", "off its ray"])
def test_without_any_gradient_a_point_is_stationary_and_done(offset):
    point, weights, _ = train(bowls(offset), ps.EPO(), steps=50)
    assert (point.state, point.status, point.counts["steps"]) == ("done", "stationary", 0)
    assert point.losses["validate"] == (1.0, offset)
    assert not weights["x"].any()


@dataclass(frozen=True)
class Mean(pm.Weighting):
    """Equal weights; says so where nothing is left to descend, and keeps its residual."""

    ray: bool

    @property
    def follows_ray(self):
        return self.ray

    def update(self, state, losses, gramian, preference):
        code = pm.Code.STATIONARY if not gramian.any() else pm.Code.SOLVED
        return torch.full_like(preference, 0.5), state, pm.Status(torch.tensor(int(code)), torch.tensor(1.0))


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("ray", "lr", "status", "least", "most"),
    [
        (True, 0.5, "stationary", 1, 1),
        (False, 0.5, "stationary", 1, 1),
        (True, 1e-4, "not converged", 100, 110),
        (False, 1e-4, "not converged", 150, 150),  # a residual is of a ray: of no other method can it be said to stall
    ],
)
def test_a_deterministic_point_stops_where_it_is_stationary_or_no_closer_to_its_ray(ray, lr, status, least, most):
    point = train(bowls(1.0, start=1.0), Mean(ray), steps=150, optimizer=partial(torch.optim.SGD, lr=lr)).point
    assert (point.state, point.status) == ("done", status)
    assert least <= point.counts["steps"] <= most


# --- missing labels ---


@pytest.mark.fault(16)
@pytest.mark.fault(98)
def test_a_missing_label_is_masked_by_linear():
    told, preference = [], (0.2, 0.8)
    point = train(partly("ab", "a", "b"), preference=preference, epochs=1, callbacks=(told.append,)).point
    assert (point.state, point.counts["skipped"]) == ("done", 0)
    assert point.warnings == ("labels of 'a' in 67%, of 'b' in 67% of the batches",)
    assert [step.weights for step in told] == [{"a": 0.2, "b": 0.8}, {"a": 0.2}, {"b": 0.8}]
    assert [set(step.losses) for step in told] == [{"a", "b"}, {"a"}, {"b"}]
    first = train(partly("ab", "ab"), preference=preference, steps=1).weights
    only_a = train(partly("ab", "a", "b"), preference=preference, steps=2).weights
    assert torch.equal(first["b.weight"], only_a["b.weight"])
    assert not torch.equal(first["a.weight"], only_a["a.weight"])


@pytest.mark.fault(98)
@pytest.mark.parametrize("solver", [ps.EPO(), ps.Tchebycheff(), ps.MGDA(), toys.Turned()], ids=repr)
def test_what_weighs_losses_against_each_other_waits_for_every_label(solver):
    """Batches of "a" and of "b" alone, of the same samples, are one batch of both."""
    told, both = [], list(toys.loader(1))[:2]
    batches = [(*batch, name) for batch in both for name in ("a", "b")]
    problem = toys.two_regressions(losses=labelled, train=[*batches, (*both[0], "a")], validate=marked("ab"))
    point, weights, _ = train(problem, solver, epochs=1, callbacks=(told.append,))
    assert (point.state, point.counts["steps"], point.counts["collected"]) == ("done", 5, 3)
    assert [(step.step, set(step.losses)) for step in told] == [(1, {"a", "b"}), (3, {"a", "b"})]
    whole = train(toys.two_regressions(train=both), solver, epochs=1).weights
    assert all(torch.allclose(weights[name], value, rtol=1e-4, atol=1e-6) for name, value in whole.items())


def test_a_scheduler_steps_once_a_step_and_not_once_a_batch():
    def counted(parameters):
        optimizer = SGD(parameters)
        rates.append(torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0))
        return optimizer, rates[-1]

    rates = []
    train(partly("a", "b", "", "ab"), ps.EPO(), epochs=2, optimizer=counted)
    assert rates[-1].last_epoch == 4


@pytest.mark.fault(98)
def test_linear_keeps_the_preference_for_the_labels_that_are_there():
    def losses(model, batch):
        both = labelled(model, batch)
        return both | {"c": model.trunk.weight.square().sum() if "c" in batch[2] else None}

    told, fields = [], {"objectives": ["a", "b", "c"], "ref_point": [2.0] * 3, "losses": losses}
    batches = marked("abc", "ab", "bc")
    problem = toys.two_regressions(train=batches, validate=batches, **fields)
    train(problem, preference=(0.2, 0.3, 0.5), epochs=1, callbacks=(told.append,))
    assert [step.weights for step in told] == [
        {"a": 0.2, "b": 0.3, "c": 0.5},
        {"a": 0.2, "b": 0.3},
        {"b": 0.3, "c": 0.5},
    ]
    balanced = []
    train(problem, ps.Linear("balanced"), (0.2, 0.3, 0.5), epochs=1, callbacks=(balanced.append,))
    assert balanced[1].weights == {"a": 0.2, "b": 0.3}
    assert balanced[2].weights == {"b": 0.3, "c": 0.75}  # "c" is in two batches of three


@pytest.mark.fault(16)
def test_a_batch_without_any_label_is_skipped_and_counted():
    told = []
    with_gap = train(partly("ab", "", "ab", ""), callbacks=(told.append,))
    assert (with_gap.point.counts["steps"], with_gap.point.counts["skipped"], len(told)) == (8, 4, 4)
    problem = toys.two_regressions(train=[list(toys.loader(1))[i] for i in (0, 2)])
    assert same(with_gap.weights, train(problem).weights)


@pytest.mark.fault(16)
def test_data_without_any_label_for_an_objective_name_it():
    point = train(partly("a", "a", "")).point
    assert (point.state, point.counts["steps"]) == ("failed", 3)
    assert "no batch of train had a label for 'b' in epoch 0" in str(point.reason)
    problem = toys.two_regressions(losses=labelled, train=marked("ab"), validate=marked("a", "a"))
    assert "no batch of validate has a label for 'b'" in str(train(problem).point.reason)


@dataclass(frozen=True)
class Momentum(pm.Scalarization):
    stateful = True

    def update(self, state, losses, preference):
        return preference, state, solved_status(losses)


@pytest.mark.fault(16)
def test_a_stateful_solver_waits_for_every_label():
    told = []
    point = train(partly("ab", "a", "ab"), Momentum(), epochs=1, callbacks=(told.append,)).point
    assert (point.state, point.counts["steps"], point.counts["collected"]) == ("done", 3, 1)
    assert [set(step.losses) for step in told] == [{"a", "b"}, {"a", "b"}]


@pytest.mark.fault(16)
@pytest.mark.parametrize(("corner", "head"), [("a", "b"), ("b", "a")])
def test_a_corner_learns_nothing_from_batches_that_lack_its_label(corner, head):
    trained = train(partly("ab", head, "ab", head), job="ab".index(corner) + 1)
    alone = toys.two_regressions(train=[list(toys.loader(1))[i] for i in (0, 2)])
    assert trained.point.corner == corner
    assert same(trained.weights, train(alone, job="ab".index(corner) + 1).weights)


ORDERS = {
    "shuffle": lambda data: DataLoader(data, 16, shuffle=True),
    "random": lambda data: DataLoader(data, 16, sampler=RandomSampler(data)),
    "subset": lambda data: DataLoader(data, 16, sampler=SubsetRandomSampler(range(48))),
    "weighted": lambda data: DataLoader(data, 16, sampler=WeightedRandomSampler([1.0] * 64, 48)),
    "batch sampler": lambda data: DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 16, False)),
}


@pytest.mark.fault(56)
@pytest.mark.parametrize("order", ORDERS)
def test_an_order_without_a_generator_is_warned_of_and_reproducible(order):
    one = train(toys.two_regressions(train=ORDERS[order](toys.regression(1))))
    drawing = (lambda told: torch.rand(7),)  # what one point draws in an epoch must not shuffle the next one
    other = train(toys.two_regressions(train=ORDERS[order](toys.regression(1))), callbacks=drawing)
    assert any("without a generator" in warning for warning in one.point.warnings)
    assert same(one.weights, other.weights)


@pytest.mark.fault(56)
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_sound_loader_is_not_warned_of(shuffle):
    assert train(toys.two_regressions(train=toys.loader(1, shuffle))).point.warnings == ()


class Shout(Fault):
    def callback(self, told: pm.Step) -> None:
        super().callback(told)
        if self.due:
            raise RuntimeError("enough")


@pytest.mark.fault(59)
def test_a_callback_that_raises_fails_its_point_with_its_trace():
    failed = spoiled(Shout(lambda b, _: b), ps.Linear())
    assert failed.reason == "RuntimeError: enough"
    assert 'raise RuntimeError("enough")' in str(failed.trace)


def bang(*_):
    raise RuntimeError("bang")


@pytest.mark.fault(59)
@pytest.mark.parametrize("part", ["project", "measure", "model", "optimizer"])
def test_whatever_of_the_users_raises_fails_its_point(part):
    changes, asked = ({}, {part: bang}) if part == "optimizer" else ({part: bang}, {})
    point = train(toys.two_regressions(**changes), **asked).point
    assert point.reason == "RuntimeError: bang"
    assert "in bang" in str(point.trace)


def test_a_scheduler_steps_after_every_step():
    def two_steps_only(parameters):
        optimizer = SGD(parameters)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step < 2))

    short, long = (train(toys.two_regressions(), steps=n, optimizer=two_steps_only) for n in (2, 9))
    assert long.point.counts["steps"] == 9
    assert same(short.weights, long.weights)
    assert not same(short.weights, train(toys.two_regressions(), steps=1).weights)


def test_the_projection_is_applied_after_every_step():
    seen = []

    def losses(model, batch):
        seen.append(float(model.trunk.weight.detach().abs().max()))
        return toys.losses(model, batch)

    train(toys.two_regressions(losses=losses, project=lambda model: model.trunk.weight.data.clamp_(-0.01, 0.01)))
    assert seen[0] > 0.01
    assert max(seen[1:]) <= 0.01 + 1e-8  # the last ones are seen in measuring


def test_a_budget_in_steps_goes_round_the_epochs():
    told, ticks = [], []
    trained = train(toys.two_regressions(), steps=10, callbacks=(told.append,), tick=ticks.append)
    assert [step.step for step in told] == list(range(10))
    assert [step.epoch for step in told] == [0] * 4 + [1] * 4 + [2] * 2
    assert ticks == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert trained.point.counts["steps"] == 10
    assert same(train(toys.two_regressions(), epochs=2).weights, train(toys.two_regressions(), steps=8).weights)


def test_corners_train_one_loss_alone():
    problem = toys.two_regressions()
    for job, (mine, other) in enumerate((("a", "b"), ("b", "a"))):
        weights = train(problem, ps.EPO(), job=1 + job, optimizer=partial(torch.optim.Adam, lr=0.1)).weights
        start = toys.initial().state_dict()
        assert torch.equal(weights[f"{other}.weight"], start[f"{other}.weight"])
        assert not torch.equal(weights[f"{mine}.weight"], start[f"{mine}.weight"])
        assert not torch.equal(weights["trunk.weight"], start["trunk.weight"])


@pytest.mark.fault(52)
@pytest.mark.parametrize("meddles", [False, True])
def test_models_train_in_train_mode_and_are_measured_in_eval_mode(meddles):
    modes = set()

    def losses(model, batch):
        modes.add((torch.is_grad_enabled(), model.training))
        values = toys.losses(model, batch)
        if meddles and torch.is_grad_enabled():
            model.eval()
        return values

    train(toys.two_regressions(losses=losses, test=toys.loader(3)))
    assert modes == {(True, True), (False, False)}


@pytest.mark.fault(52)
@pytest.mark.parametrize("training", [True, False])
def test_evaluate_leaves_the_mode_as_it_was(training):
    model = nn.Sequential(nn.Dropout(0.5), toys.TwoHeads()).train(training)
    problem = toys.two_regressions()
    assert pm.evaluate(problem, model) == pm.evaluate(problem, model) == pm.evaluate(problem, model[1])
    assert model.training is training


def test_the_mean_of_a_loss_weighs_the_batches_that_have_its_label_by_their_length():
    x, y = toys.regression(2, n=21).tensors
    batches = [(x[:8], y[:8], "ab"), (x[8:16], y[8:16], "a"), (x[16:], y[16:], "b"), (x, y, "")]
    problem = toys.two_regressions(losses=labelled, train=marked("ab"), validate=batches)
    of_b = [*range(8), *range(16, 21)]
    with torch.no_grad():
        a, b = toys.losses(toys.initial(), (x[:16], y[:16]))["a"], toys.losses(toys.initial(), (x[of_b], y[of_b]))["b"]
    assert pm.evaluate(problem, toys.initial()) == pytest.approx({"a": float(a), "b": float(b)}, rel=1e-5)
    point = train(problem, steps=1, optimizer=partial(torch.optim.SGD, lr=0.0)).point
    assert point.losses["validate"] == pytest.approx((float(a), float(b)), rel=1e-5)


def masked(model, batch):
    """The toy's losses over the samples that have a label, with their number."""
    x, y, has = batch
    a, b = model(x)
    errors = {"a": (a - y[:, 0]).square(), "b": (b - y[:, 1]).square()}
    return {
        name: (loss[mask].mean(), mask.sum()) if mask.any() else None
        for (name, loss), mask in zip(errors.items(), has.T, strict=True)
    }


def partly_labelled(seed: int) -> list:
    """Three batches of 8, 8 and 5 samples, in which "b" has 1, 0 and 4 labels."""
    x, y = toys.regression(seed, n=21).tensors
    has = torch.ones(21, 2, dtype=torch.bool)
    has[:, 1] = False
    has[[3, 16, 17, 18, 20], 1] = True
    return [(x[a:b], y[a:b], has[a:b]) for a, b in ((0, 8), (8, 16), (16, 21))]


@pytest.mark.fault(99)
@pytest.mark.filterwarnings("ignore:no trade-off:UserWarning", "ignore:.*on unseen data:UserWarning")
@pytest.mark.parametrize("options", [{}, {"fleet": 2}], ids=["alone", "fleet"])
def test_means_are_weighed_by_the_labels_of_each_loss(options, monkeypatch):
    """In measuring, and over an epoch."""
    data = partly_labelled(2)
    problem = toys.two_regressions(losses=masked, train=data, validate=data)
    x, y, has = (torch.cat(parts) for parts in zip(*data, strict=True))
    with torch.no_grad():
        expected = {name: float(loss) for name, (loss, _) in masked(toys.initial(), (x, y, has)).items()}
    assert pm.evaluate(problem, toys.initial()) == pytest.approx(expected, rel=1e-5)
    epochs = []
    monkeypatch.setattr("paretomtl.training.outcome.is_moving", lambda means: bool(epochs.extend(means)))
    still = partial(torch.optim.SGD, lr=0.0)
    with pytest.warns(UserWarning, match="labels of 'b' in 67% of the batches"):
        pm.explore(problem, ps.Linear(), preferences=[[0.5, 0.5], [0.3, 0.7]], epochs=1, optimizer=still, **options)
    for epoch in epochs:
        assert epoch.losses.tolist() == pytest.approx([expected["a"], expected["b"]], rel=1e-5)
    assert epochs[0].weights.tolist() == [0.5, 0.5]


def test_a_measure_gets_batches_that_can_be_read_twice():
    def measure(model, batches):
        assert not model.training
        return {"a": float(len(list(batches))), "b": float(sum(len(x) for x, _ in batches) + len(batches))}

    point = train(toys.two_regressions(measure=measure)).point
    assert point.values == {"validate": (4.0, 68.0)}
    assert point.losses["validate"] != point.values["validate"]

"""Points trained in one program: each as it would be alone; what is refused; what stops or fails one of them."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.preflight import label_check
from paretomtl.storage.store import Store
from paretomtl.training.rows import narrow_rows, stack_weights
from studies.analytic import fonseca, zdt1
from tests import toys
from tests.folders import files
from tests.one_point import labelled, marked, partly

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*do(es)? not dominate:UserWarning"),
    pytest.mark.filterwarnings("ignore:no trade-off on:UserWarning"),
    pytest.mark.filterwarnings("ignore:.* points failed:UserWarning"),
]

ADAM, SGD = partial(torch.optim.Adam, lr=0.01), partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-3)


def cosine(parameters):
    optimizer = torch.optim.AdamW(parameters, lr=0.02)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)


def both(problem: pm.Problem, solver: pm.Solver, fleet: int = 3, **asked) -> tuple[pm.Front, pm.Front]:
    """The front of points trained alone, and that of a fleet."""
    asked = {"preferences": 5, "optimizer": ADAM} | ({} if problem.deterministic else {"epochs": 5}) | asked
    alone = pm.explore(problem, solver, **asked)
    return alone, pm.explore(problem, solver, fleet=fleet, **asked)


def weights(front: pm.Front, point: pm.Point) -> dict[str, Tensor]:
    return Store(front.folder).read_weights(point.weights)


def assert_same(alone: pm.Front, fleet: pm.Front, rtol: float = 1e-4) -> None:
    """All that is told of each point, and its weights."""
    assert [p.id for p in fleet.points] == [p.id for p in alone.points]
    for one, other in zip([*alone.points, *alone.corners], [*fleet.points, *fleet.corners], strict=True):
        assert other.counts == one.counts
        assert (other.status, other.warnings) == (one.status, one.warnings)
        assert other.residual == pytest.approx(one.residual, rel=1e-3, abs=1e-6)
        np.testing.assert_allclose(other.losses["validate"], one.losses["validate"], rtol=rtol)
        theirs = weights(fleet, other)
        for name, value in weights(alone, one).items():
            torch.testing.assert_close(theirs[name], value, rtol=rtol, atol=1e-6)


# --- the same points ---

SOLVERS = [ps.Linear(), ps.Tchebycheff(), ps.EPO(), ps.ParetoMTL(), ps.MGDA(), ps.FairGrad(), toys.Turned()]


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)
def test_twenty_steps_are_those_of_points_alone(solver):
    asked = {} if solver.uses_preference else {"preferences": 1, "seeds": 2}
    assert_same(*both(toys.two_regressions(), solver, **asked))


def test_the_hypervolume_in_the_end_differs_by_less_than_seeds_do():
    pairs = [both(toys.two_regressions(), ps.Linear(), preferences=3, epochs=10, seed=seed) for seed in range(3)]
    alone, fleet = np.array([[front.hypervolume() for front in pair] for pair in pairs], dtype=np.float64).T
    print(f"\nalone {alone}, fleet {fleet}, standard deviation over the seeds {alone.std(ddof=1):.2g}")
    assert np.abs(fleet - alone).max() < 0.1 * alone.std(ddof=1)


@pytest.mark.parametrize("optimizer", [SGD, cosine, torch.optim.RMSprop, torch.optim.Adagrad], ids=toys.named)
def test_optimizers_that_treat_each_number_on_its_own(optimizer):
    assert_same(*both(toys.two_regressions(), ps.EPO(), optimizer=optimizer))


def test_each_seed_has_its_own_start_and_order():
    alone, fleet = both(toys.two_regressions(), ps.Linear(), seeds=2, preferences=3)
    assert_same(alone, fleet)
    assert fleet.points[0].losses != fleet.points[3].losses


def test_a_clip():
    assert_same(*both(toys.two_regressions(), ps.EPO(), clip=0.01))


class Linears(nn.Module):
    """A network with a weight of several axes and a buffer."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv1d(1, 3, 2), nn.LayerNorm(9)
        self.a, self.b = nn.Linear(9, 1), nn.Linear(9, 1)
        self.register_buffer("shift", torch.ones(9))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.norm(self.first(x[:, None]).flatten(1) + self.shift).relu()
        return self.a(z)[:, 0], self.b(z)[:, 0]


def test_convolutions_norms_of_a_layer_and_buffers():
    assert_same(*both(toys.two_regressions(model=Linears), ps.EPO()))


def test_callbacks_are_told_what_they_are_told_of_points_alone():
    seen: dict[str, list[pm.Step]] = {"alone": [], "fleet": []}
    for kind, fleet in (("alone", None), ("fleet", 2)):
        pm.explore(
            toys.two_regressions(), ps.EPO(), preferences=[[0.3, 0.7], [0.6, 0.4]], epochs=1, optimizer=ADAM,
            callbacks=[seen[kind].append], fleet=fleet,
        )  # fmt: skip
    alone = sorted(seen["alone"], key=lambda step: (step.step, step.point))
    assert len(alone) == 8
    for one, other in zip(alone, seen["fleet"], strict=True):
        assert (one.point, one.epoch, one.step) == (other.point, other.epoch, other.step)
        assert other.losses == pytest.approx(one.losses)
        assert other.weights == pytest.approx(one.weights)


# --- labels ---


def test_batches_that_lack_labels():
    problem = toys.two_regressions(
        losses=labelled, train=marked("ab", "a", "", "b"), validate=marked("ab", "ab", seed=2)
    )
    for solver in (ps.Linear(), ps.Linear(labels="balanced")):
        with pytest.warns(UserWarning, match="labels of 'a' in 50%, of 'b' in 50% of the batches"):
            alone, fleet = both(problem, solver, preferences=[[0.3, 0.7], [0.6, 0.4]])
        assert_same(alone, fleet)
        assert fleet.points[0].counts["skipped"] == 5


def test_a_point_that_cannot_skip_a_batch_alone():
    with pytest.warns(UserWarning, match="labels of 'a' in 50% of the batches"):
        front = pm.explore(partly("ab", "b"), ps.Linear(), preferences=[[0.5, 0.5], [1.0, 0.0]], epochs=1)
    assert len(front.points) == 2
    with pytest.raises(ValueError, match=r"no label of \['a'\].* cannot skip it in a fleet; leave fleet= out"):
        pm.explore(partly("ab", "b"), ps.Linear(), preferences=[[0.5, 0.5], [1.0, 0.0]], epochs=1, fleet=2)


@pytest.mark.fault(98)
def test_a_fleet_of_a_method_that_weighs_losses_fails_at_a_label_that_is_missing_late(monkeypatch):
    monkeypatch.setattr(label_check, "BATCHES", 2)
    with pytest.raises(pm.EmptyFrontError, match="and EPO weighs the losses against each other"):
        pm.explore(partly("ab", "", "a"), ps.EPO(), preferences=[[0.5, 0.5], [0.3, 0.7]], epochs=1, fleet=2)


def test_an_objective_without_any_label():
    with pytest.raises(pm.EmptyFrontError, match="no batch of train had a label for 'a' in epoch 0"):
        pm.explore(partly("b", "b"), ps.Linear(), preferences=[[0.5, 0.5], [0.3, 0.7]], epochs=1, fleet=2)


# --- problems without data: points that end apart ---


@pytest.mark.parametrize("solver", [ps.EPO(), ps.Tchebycheff(), ps.MGDA()], ids=lambda solver: type(solver).__name__)
def test_points_leave_where_they_would_stop_alone(solver):
    asked = {"preferences": 2} if solver.uses_preference else {"preferences": 1, "seeds": 2}
    assert_same(*both(fonseca(4), solver, steps=400, optimizer=partial(torch.optim.Adam, lr=0.05), **asked))


def test_some_leave_before_others():
    alone, fleet = both(fonseca(4), ps.EPO(), 5, steps=400, optimizer=partial(torch.optim.Adam, lr=0.05))
    assert_same(alone, fleet)
    assert len({p.counts["steps"] for p in fleet.points}) > 1


def test_bounds_hold():
    alone, fleet = both(zdt1(4), ps.Tchebycheff(), steps=30, optimizer=partial(torch.optim.Adam, lr=0.05))
    assert_same(alone, fleet)
    for p in fleet.points:
        for value in weights(fleet, p).values():
            assert 0 <= value.min() <= value.max() <= 1


@pytest.mark.parametrize("build", [ADAM, SGD, cosine], ids=toys.named)
def test_fewer_rows_go_on_as_they_would_have(build):
    """Against an optimizer that keeps all three rows."""
    model = toys.initial()
    all_rows, rows = stack_weights(model, 3), stack_weights(model, 3)
    kept, fewer = (
        built[0] if isinstance(built := build(list(parameters.values())), tuple) else built
        for parameters in (all_rows, rows)
    )
    for step in range(4):
        draw = torch.Generator().manual_seed(step)
        if step == 2:
            rows = narrow_rows(rows, fewer, [0, 2])
        for name, p in all_rows.items():
            p.grad = torch.randn(p.shape, generator=draw)
            rows[name].grad = p.grad.clone() if step < 2 else p.grad[[0, 2]]
        kept.step()
        fewer.step()
    for name, p in rows.items():
        assert torch.equal(p, all_rows[name][[0, 2]])


# --- failures ---


def breaking(model: toys.TwoHeads, batch) -> dict[str, Tensor]:
    """The toy's losses; "b" is NaN once the trunk has moved far, as it does for some preferences."""
    values = toys.losses(model, batch)
    return values | {"b": torch.where(model.trunk.weight[0, 1] < -0.2, torch.nan, values["b"])}


@pytest.mark.filterwarnings("ignore:a corner failed")
@pytest.mark.fault(1)
def test_a_point_that_fails_fails_alone():
    alone, fleet = both(toys.two_regressions(losses=breaking), ps.EPO(), 5, epochs=12)
    assert 0 < len(fleet.failed) < 7
    assert [(p.id, p.reason, p.counts) for p in fleet.failed] == [(p.id, p.reason, p.counts) for p in alone.failed]
    assert_same(alone, fleet)


def steep(model: toys.TwoHeads, batch) -> dict[str, Tensor]:
    """The gradient of "b" on the trunk is not finite once that has moved far; its value is."""
    values = toys.losses(model, batch)
    left = model.trunk.weight[0, 1] + 0.2
    return values | {"b": values["b"] + 0 * (left * (left > 0)).sqrt()}


@pytest.mark.filterwarnings("ignore:a corner failed")
@pytest.mark.fault(2)
def test_a_gradient_that_is_not_finite_fails_its_point_alone():
    alone, fleet = both(toys.two_regressions(losses=steep), ps.EPO(), 5, epochs=12)
    assert 0 < len(fleet.failed) < 7
    reasons = [p.reason for p in fleet.failed if p.corner is None]  # a corner takes no gradient of its own
    assert all("in the gradient of 'b' at step" in reason for reason in reasons)
    assert len(reasons) > 0
    assert [(p.id, p.reason, p.counts) for p in fleet.failed] == [(p.id, p.reason, p.counts) for p in alone.failed]
    assert_same(alone, fleet)


class Place(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.zeros(1, dtype=torch.float64))


def meeting(at_half) -> pm.Problem:
    """x² and (x - 1)² from x = 0; at x = .5, where only the even preference comes, `at_half` changes the losses."""

    def losses(model: Place, _) -> dict[str, Tensor]:
        x = model.x[0]
        return at_half({"a": x.square(), "b": (x - 1).square()}, x)

    return pm.Problem(["a", "b"], Place, losses, ref_point=[2.0, 2.0], deterministic=True)


THREE, HALF = [[0.2, 0.8], [0.5, 0.5], [0.8, 0.2]], partial(torch.optim.SGD, lr=0.5)


@pytest.mark.fault(95)
@pytest.mark.parametrize("fleet", [None, 3])
def test_a_scalarizations_gradient_that_is_not_finite_fails_its_point_alone(fleet):
    problem = meeting(lambda values, x: values | {"a": values["a"] + 0 * (x - 0.5).square().sqrt()})
    front = pm.explore(problem, ps.Linear(), preferences=THREE, steps=3, optimizer=HALF, fleet=fleet)
    (lost,) = front.failed
    assert (lost.id, lost.reason, lost.counts["steps"]) == ("point-002", "nan in the gradient of 'x' at step 1", 1)
    assert len(front.points) == 2


@pytest.mark.fault(97)
@pytest.mark.parametrize("fleet", [None, 3])
def test_a_loss_below_zero_fails_its_point_alone_and_rounding_fails_none(fleet):
    asked = {"preferences": THREE, "optimizer": HALF, "fleet": fleet, "steps": 2}

    def below(by: float) -> pm.Problem:
        return meeting(lambda values, x: values | {"b": torch.where(x == 0.5, values["b"] * 0 - by, values["b"])})

    assert pm.explore(below(0.0), ps.Tchebycheff(), **asked).failed == ()
    assert pm.explore(below(1.2e-10), ps.Tchebycheff(), **asked).failed == ()
    front = pm.explore(below(1e-3), ps.Tchebycheff(), **asked)
    (lost,) = front.failed
    assert (lost.id, lost.trace) == ("point-002", None)
    needs = "Tchebycheff needs losses of at least 0 (shift it, or use Linear)"
    assert lost.reason == f"loss 'b' is -0.001, and {needs} at step 1"
    assert len(front.points) == 2


def sinking(by: float, model: toys.TwoHeads, batch) -> dict[str, Tensor]:
    """The toy's losses; "b" is below zero once the trunk has moved far, as it does for some preferences."""
    values = toys.losses(model, batch)
    return values | {"b": torch.where(model.trunk.weight[0, 1] < -0.2, values["b"] * 0 - by, values["b"])}


@pytest.mark.fault(97)
def test_a_fleet_of_epo_loses_only_the_points_whose_losses_fall_below_zero():
    def fleet(by: float, normalise=None) -> pm.Front:
        problem = toys.two_regressions(losses=partial(sinking, by))
        return pm.explore(
            problem, ps.EPO(), preferences=5, epochs=12, optimizer=ADAM, fleet=5, normalise=normalise
        )  # fmt: skip

    assert fleet(1.2e-10).failed == ()
    assert 0 < len(fleet(0.01).failed) < 5
    assert all("loss 'b' is -0.01, and EPO needs" in str(p.reason) for p in fleet(0.01).failed)
    assert fleet(0.01, "corners").failed == ()  # in units of the range no loss is below zero


@pytest.mark.filterwarnings("ignore:.*of the untrained model is nan:UserWarning")
@pytest.mark.filterwarnings("ignore:a corner failed")
def test_what_fails_all_is_told_of_all():
    with pytest.raises(pm.EmptyFrontError, match="nan in 'a' at step 0"):
        pm.explore(
            toys.two_regressions(losses=lambda m, b: {n: x * torch.nan for n, x in toys.losses(m, b).items()}),
            ps.EPO(), preferences=3, epochs=1, fleet=3,
        )  # fmt: skip


# --- refused ---


class Normed(toys.TwoHeads):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(self.norm(x))


class DropLayer(toys.TwoHeads):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.2)


class Branching(toys.TwoHeads):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x if float(self.trunk.weight.detach().sum()) > 0 else -x)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (Normed, "'norm' is a BatchNorm1d, which would mix points"),
        (DropLayer, "'drop' is a Dropout"),
        (toys.Dropping, "torch cannot call it at several weights at once: "),
        (Branching, "torch cannot call it at several weights at once: "),
    ],
)
def test_networks_that_cannot_share_a_program(model, told):
    with pytest.raises(ValueError, match=f"fleet: {told}.*; leave fleet= out"):
        pm.explore(toys.two_regressions(model=model), ps.Linear(), preferences=3, epochs=1, fleet=3)


class ByNorm(torch.optim.SGD):
    """Steps of length lr, layer by layer."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = p.grad / p.grad.norm()
        return super().step(closure)


def decaying_matrices(parameters):
    parts = [[p for p in parameters if (p.ndim > 1) == matrix] for matrix in (True, False)]
    return torch.optim.SGD([{"params": parts[0], "weight_decay": 1e-4}, {"params": parts[1]}], lr=1e-3)


@pytest.mark.parametrize(
    "optimizer",
    [partial(ByNorm, lr=0.1), decaying_matrices, torch.optim.Adafactor],
    ids=["by norm", "by axes", "factors"],
)
def test_optimizers_that_would_mix_points(optimizer):
    with pytest.raises(ValueError, match="does not treat each number of a weight on its own; leave fleet= out"):
        pm.explore(toys.two_regressions(), ps.Linear(), preferences=3, epochs=1, fleet=3, optimizer=optimizer)


def test_a_stepper_is_refused():
    with pytest.raises(ValueError, match="fleet: CoGrad asks for one network's losses at other weights; leave fleet="):
        pm.explore(toys.two_regressions(), ps.CoGrad(), preferences=3, epochs=1, fleet=3)


@pytest.mark.parametrize("fleet", [0, 1, -2, True])
def test_what_is_no_size_of_a_fleet(fleet):
    with pytest.raises(ValueError, match=r"fleet=.*give a whole number of at least 2"):
        pm.explore(toys.two_regressions(), ps.Linear(), preferences=3, epochs=1, fleet=fleet)


def test_one_network_is_no_fleet():
    with pytest.raises(ValueError, match="fleet=3: with front_model= there is one network"):
        pm.explore(toys.two_regressions(), ps.Linear(), preferences=3, epochs=1, fleet=3, front_model=pm.FiLM())


# --- the folder ---


def test_a_point_that_was_lost_is_computed_again_to_the_byte(tmp_path):
    run = partial(
        pm.explore, toys.two_regressions(), ps.EPO(), preferences=4, epochs=3, fleet=3, optimizer=ADAM,
        out=tmp_path / "front",
    )  # fmt: skip
    run()
    whole = files(tmp_path / "front")
    for lost in ("point-002", "point-004", "ideal-1"):
        (tmp_path / "front" / "points" / f"{lost}.json").unlink()
        run()
        assert files(tmp_path / "front") == whole
    with pytest.raises(ValueError, match="fleet: 3 there, 2 here"):
        run(fleet=2)
    with pytest.raises(ValueError, match="fleet: 3 there, None here"):
        run(fleet=None)


def test_progress_is_told_as_shares_of_the_fleet():
    from paretomtl.training.fleet import train_fleet
    from paretomtl.training.study import FleetPlan, Study

    problem, told = toys.two_regressions(), []
    study = Study(
        problem=problem, solver=ps.Linear(), preferences=np.array([[0.5, 0.5], [0.2, 0.8]]), corners=False,
        mode=FleetPlan(2), epochs=2,
    )  # fmt: skip
    assert len(list(train_fleet(study, study.jobs, problem.open(), told.append))) == 2
    assert told == [k / 8 for k in range(1, 9)]

"""TorchJD's methods in our studies, and ours in TorchJD's two engines."""

import pickle
from copy import deepcopy

import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from studies.analytic import quadratics
from tests.toys import losses, named, regression, two_regressions

pytest.importorskip("torchjd", reason="TorchJD is not installed: make test-integrations")
from torchjd import aggregation, scalarization
from torchjd.autogram import Engine
from torchjd.autojac import backward, jac_to_grad
from torchjd.linalg import QuadprogProjector

HALF = torch.tensor([0.5, 0.5])
UNEVEN = torch.tensor([1 / 3, 2 / 3], dtype=torch.float64)
LOSSES = torch.tensor([0.6, 0.3])
JACOBIAN = torch.tensor([[1, 0], [-1.5, 1.5 * 3**0.5]])

AGGREGATORS = [
    aggregation.UPGrad(),
    aggregation.UPGrad(UNEVEN, QuadprogProjector(reg_eps=1e-6)),
    aggregation.MGDA(),
    aggregation.CAGrad(0.5),
    aggregation.FairGrad(2.0),
    aggregation.AlignedMTL(),
    aggregation.ConFIG(),
    aggregation.IMTLG(),
    aggregation.TrimmedMean(0),
    aggregation.Sum(),
    aggregation.Constant(HALF),
    aggregation.GramianWeightedAggregator(aggregation.MGDAWeighting()),
]
DRAWING = [aggregation.PCGrad(), aggregation.GradDrop()]
WEIGHTINGS = [
    aggregation.UPGradWeighting(),
    aggregation.MGDAWeighting(),
    aggregation.AlignedMTLWeighting(),
    aggregation.MeanWeighting(),
]
SCALARIZERS = [
    scalarization.Mean(),
    scalarization.GeometricMean(),
    scalarization.STCH(0.1),
    scalarization.PBI(1.0, HALF),
    scalarization.COSMOS(0.1, HALF),
]
METHODS = [*AGGREGATORS, *WEIGHTINGS, *SCALARIZERS]


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05)


def see(solver, *points):
    """What a solver of each class sees of the points' losses and Jacobians."""
    values, J = (torch.stack(part) for part in zip(*points, strict=True))
    seen = () if isinstance(solver, pm.Scalarization) else (J @ J.mT if isinstance(solver, pm.Weighting) else J,)
    return values, *seen, values


@pytest.mark.parametrize("method", [*METHODS, *DRAWING], ids=named)
def test_a_method_is_a_value(method):
    solver = ps.from_torchjd(method)
    for other in (pickle.loads(pickle.dumps(solver)), deepcopy(solver), ps.from_torchjd(method)):
        assert (other, hash(other), repr(other)) == (solver, hash(solver), repr(solver))
    assert not solver.stateful
    assert not solver.uses_preference


def test_its_repr_says_what_it_wraps():
    assert repr(ps.from_torchjd(aggregation.UPGrad(UNEVEN, QuadprogProjector(reg_eps=1e-6)))) == (
        "from_torchjd(torchjd.aggregation.UPGrad(pref_vector=[0.3333333333333333, 0.6666666666666666], "
        "projector=QuadprogProjector(norm_eps=0.0001, reg_eps=1e-06)))"
    )
    assert repr(ps.from_torchjd(scalarization.Mean())) == "from_torchjd(torchjd.scalarization.Mean())"
    assert "0x" not in repr(ps.from_torchjd(aggregation.GradDrop()))


def test_methods_that_differ_are_unlike():
    alike = [aggregation.Mean(), scalarization.Mean(), aggregation.Sum(), aggregation.MeanWeighting()]
    alike += [aggregation.Constant(HALF), aggregation.Constant(HALF + 1e-6), aggregation.MGDA(1e-6)]
    assert len({ps.from_torchjd(method) for method in [*alike, *AGGREGATORS]}) == len(alike) + len(AGGREGATORS) - 2


def test_a_class_of_unknown_arguments_is_known_by_what_it_holds():
    class Shifted(aggregation.Aggregator):
        def __init__(self, by):
            super().__init__()
            self._shift = by

        def forward(self, matrix):
            return matrix.sum(0) + self._shift

    solver = ps.from_torchjd(Shifted(2))
    assert repr(solver).endswith("Shifted(_shift=2))")
    assert solver != ps.from_torchjd(Shifted(3))


def test_later_changes_of_the_method_change_nothing():
    method = aggregation.MGDA()
    solver = ps.from_torchjd(method)
    method.max_iters = 1
    assert "max_iters=100" in repr(solver)


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_points_are_as_one_by_one(method):
    solver = ps.from_torchjd(method)
    points = [(LOSSES, JACOBIAN), (2 * LOSSES.flip(0), JACOBIAN.flip(1)), (LOSSES.sqrt(), JACOBIAN @ JACOBIAN)]
    together, _, status = solver.update(None, *see(solver, *points))
    assert status.code.shape == (3,)
    for k, point in enumerate(points):
        alone = solver(*(x[0] for x in see(solver, point)))
        assert torch.equal(together[k], alone)


@pytest.mark.parametrize("method", AGGREGATORS, ids=named)
def test_a_direction_is_torchjds(method):
    assert torch.equal(ps.from_torchjd(method)(LOSSES, JACOBIAN, HALF), method(JACOBIAN))


@pytest.mark.parametrize("method", SCALARIZERS, ids=named)
def test_a_scalarizers_weights_are_its_gradient(method):
    steps = 1e-2 * torch.eye(2)
    slopes = torch.stack([method(LOSSES + step) - method(LOSSES - step) for step in steps]) / 2e-2
    torch.testing.assert_close(ps.from_torchjd(method)(LOSSES, HALF), slopes, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", [*METHODS, *DRAWING], ids=named)
def test_explore_trains_with_it(method, tmp_path):
    arguments = {"preferences": [[0.5, 0.5]], "epochs": 2, "optimizer": sgd}
    first, second = (
        pm.explore(two_regressions(), ps.from_torchjd(method), out=tmp_path / name, **arguments) for name in "ab"
    )
    assert not first.failed
    assert first.losses.tolist() == second.losses.tolist()


# an installed class, such as its projector's, is not looked into; but how the solver is written has all of it
@pytest.mark.filterwarnings("ignore:cannot tell whether the arguments of the solver changed")
def test_a_folder_is_resumed_with_the_same_method_alone(tmp_path):
    def explore(method):
        return pm.explore(
            two_regressions(), ps.from_torchjd(method), preferences=[[0.5, 0.5]], epochs=1, optimizer=sgd, out=tmp_path
        )

    first = explore(aggregation.UPGrad())
    assert explore(aggregation.UPGrad()).losses.tolist() == first.losses.tolist()
    with pytest.raises(ValueError, match=r"holds another study(.|\n)*solver: from_torchjd"):
        explore(aggregation.UPGrad(projector=QuadprogProjector(reg_eps=1e-3)))


@pytest.mark.parametrize(
    "method", [aggregation.UPGrad(), aggregation.MGDAWeighting(), scalarization.STCH(0.1)], ids=named
)
def test_a_fleet_ends_where_its_points_end_alone(method):
    arguments = {"preferences": [[0.5, 0.5]], "seeds": 3, "epochs": 2, "optimizer": sgd}
    alone, fleet = (
        pm.explore(two_regressions(), ps.from_torchjd(method), fleet=size, **arguments) for size in (None, 3)
    )
    assert fleet.losses == pytest.approx(alone.losses, rel=1e-5)


@pytest.mark.parametrize("method", [aggregation.MGDA(1e-9, 10_000), aggregation.MGDAWeighting(1e-9, 10_000)], ids=named)
def test_an_exact_problem_ends_on_the_front(method):
    front = pm.explore(
        quadratics(), ps.from_torchjd(method), preferences=[[0.5, 0.5]], steps=200,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
    )  # fmt: skip
    assert [point.status for point in front.points] == ["stationary"]


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_descent_steps_with_it(method):
    model = two_regressions().model()
    step = pm.Descent(ps.from_torchjd(method), {"a": 0.5, "b": 0.5})
    status = step.backward(losses(model, regression(0)[:16]))
    assert int(status.code) == pm.Code.SOLVED
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    "method",
    [aggregation.NashMTL(2), aggregation.GradVac(), aggregation.PCDWeighting(), scalarization.UW(2),
     scalarization.FAMO(2), scalarization.DWA(), aggregation.CRMOGMWeighting(aggregation.MGDAWeighting())],
    ids=named,
)  # fmt: skip
def test_what_keeps_a_state_is_refused(method):
    with pytest.raises(TypeError, match=rf"from_torchjd\({type(method).__name__}\): it keeps a state of its own"):
        ps.from_torchjd(method)


@pytest.mark.parametrize("method", [3, aggregation.UPGrad, torch.nn.Linear(2, 2), ps.MGDA()], ids=named)
def test_what_is_no_method_is_refused(method, unchecked):
    with pytest.raises(TypeError, match="give an aggregator, a weighting or a scalarizer"):
        ps.from_torchjd(method)


@pytest.mark.parametrize("method", [aggregation.UPGrad(), aggregation.MGDAWeighting(), scalarization.Mean()], ids=named)
def test_bad_numbers_raise(method):
    solver = ps.from_torchjd(method)
    with pytest.raises(ValueError, match=r"from_torchjd\(.* is not finite"):
        solver(*see(solver, (LOSSES * torch.nan, JACOBIAN * torch.nan))[:-1], HALF)


def test_an_answer_that_is_not_finite_raises():
    solver = ps.from_torchjd(scalarization.GeometricMean())
    with pytest.raises(pm.errors.NonFiniteError, match="the gradient of"):
        solver(torch.tensor([0.0, 1.0]), HALF)


def test_no_direction_is_stationary():
    solver = ps.from_torchjd(aggregation.Mean())
    opposed = torch.stack([JACOBIAN[0], -JACOBIAN[0]])
    _, _, status = solver.update(None, *see(solver, (LOSSES, opposed), (LOSSES, JACOBIAN)))
    assert status.code.tolist() == [pm.Code.STATIONARY, pm.Code.SOLVED]


# --- the way back ---


@pytest.mark.parametrize("solver", [ps.MGDA(), ps.MGDA("l2"), ps.FairGrad(1.0)], ids=named)
def test_autogram_and_autojac_step_as_descent_does(solver):
    x = torch.randn(8, 5)
    gradients = []
    for kind in ("descent", "autogram", "autojac"):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
        each = model(x).square().mean(0) if kind != "autogram" else None
        weighting = pm.to_torchjd(solver)
        if kind == "descent":
            pm.Descent(solver, dict.fromkeys("abc", 1 / 3)).backward(dict(zip("abc", each, strict=True)))
        elif kind == "autojac":
            backward(each)
            jac_to_grad(model.parameters(), aggregation.GramianWeightedAggregator(weighting))
        else:
            engine = Engine(model, batch_dim=None)
            each = model(x).square().mean(0)
            each.backward(weighting(engine.compute_gramian(each)))
        gradients.append(torch.cat([p.grad.flatten() for p in model[:2].parameters()]))
    torch.testing.assert_close(gradients[1], gradients[2], rtol=1e-4, atol=1e-6)
    # of the last layer each loss has rows of its own, but one tensor: it is shared
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_a_weighting_is_a_module_that_can_be_copied():
    weighting = pm.to_torchjd(ps.MGDA())
    for other in (pickle.loads(pickle.dumps(weighting)), deepcopy(weighting)):
        assert repr(other) == "to_torchjd(MGDA(normalisation='none', backend='auto'))"
        assert torch.equal(other(JACOBIAN @ JACOBIAN.T), weighting(JACOBIAN @ JACOBIAN.T))


def test_there_and_back_is_the_same():
    solver = ps.from_torchjd(pm.to_torchjd(ps.MGDA()))
    seen = see(solver, (LOSSES.double(), JACOBIAN.double()))
    assert torch.equal(solver(*seen), ps.MGDA()(*seen))


class Halved(pm.Weighting):
    """Weights that are half the preference."""

    def update(self, state, losses, gramian, preference):
        return preference / 2, state, pm.solver.solved_status(losses)


def test_the_preference_is_given_once():
    gramian = JACOBIAN @ JACOBIAN.T
    assert pm.to_torchjd(Halved())(gramian).tolist() == [0.25, 0.25]
    weighting = pm.to_torchjd(Halved(), preference=[3, 1])
    assert weighting(gramian).tolist() == [0.375, 0.125]
    assert repr(weighting).endswith("preference=[0.75, 0.25])")
    with pytest.raises(ValueError, match="the preference has 2 numbers, and the Gramian 3 rows"):
        weighting(torch.eye(3))


@pytest.mark.parametrize(
    ("solver", "error", "told"),
    [
        (ps.EPO(), ValueError, "its weights depend on the losses"),
        (ps.MGDA("loss"), ValueError, "its weights depend on the losses"),
        (ps.ParetoMTL(), TypeError, "it carries its state from step to step"),
        (ps.MOOSVGD(), TypeError, "it moves several points|give a Weighting"),
        (ps.Linear(), TypeError, "give a Weighting"),
        (3, TypeError, "give a Weighting"),
    ],
    ids=named,
)
def test_what_needs_more_than_a_gramian_is_refused(solver, error, told, unchecked):
    with pytest.raises(error, match=told):
        pm.to_torchjd(solver)


def test_a_preference_that_is_not_used_is_refused():
    with pytest.raises(ValueError, match="it uses no preference; leave it out"):
        pm.to_torchjd(ps.MGDA(), preference=[0.3, 0.7])

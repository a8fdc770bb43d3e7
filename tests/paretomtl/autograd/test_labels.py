"""Labels that are missing: the preference keeps its effect, and what weighs losses against each other collects them."""

import random

import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.autograd.gradients import descend, descend_collected
from paretomtl.autograd.labels import Collected, LabelCounts
from paretomtl.errors import NonFiniteError
from tests import toys
from tests.one_point import labelled, marked

EVEN = torch.tensor([0.5, 0.5], dtype=torch.float64)
STEPS = 320  # 8 epochs
RAYS = [[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]]
CENTRES = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)


class Place(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([0.4, 0.5], dtype=torch.float64))


def bowls(model, names: str) -> dict[str, torch.Tensor | None]:
    """The squared distances to (0, 0) and (1, 0), where `names` has a label of them."""
    values = dict(zip("ab", (model.x - CENTRES).square().sum(1).unbind(), strict=True))
    return {name: value if name in names else None for name, value in values.items()}


def slower(parameters):
    """SGD whose rate falls, so that the noise of the order of the labels dies out."""
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.98 ** max(0, step - 100))


def front_of(labels: list[str], solver: pm.Solver, **options) -> pm.Front:
    problem = pm.Problem(["a", "b"], Place, bowls, [3.0, 3.0], train=labels, validate=["ab"])
    return pm.explore(problem, solver, preferences=RAYS, steps=STEPS, optimizer=slower, **options)


DRAW = random.Random(0)
ORDERS = {
    "alternating": ["a", "b"] * 20,
    "random": DRAW.sample(["a", "b"] * 20, 40),
    "with some of both": ["a", "ab", "", "b"] * 10,
}


@pytest.fixture(scope="module")
def together() -> dict[str, pm.Front]:
    """The fronts of batches that have both labels."""
    return {type(solver).__name__: front_of(["ab"] * 40, solver) for solver in (ps.Linear(), ps.EPO())}


@pytest.mark.fault(98)
@pytest.mark.filterwarnings("ignore:.*labels of 'a' in 50%, of 'b' in 50% of the batches:UserWarning")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("solver", [ps.Linear(), ps.Linear(labels="balanced"), ps.EPO()], ids=repr)
def test_one_label_a_batch_gives_the_front_of_all_labels(together, solver, order):
    front, reference = front_of(ORDERS[order], solver), together[type(solver).__name__]
    assert front.losses == pytest.approx(reference.losses, abs=1e-2)
    assert reference.losses[:, 0] == pytest.approx([0.81, 0.25, 0.01] if isinstance(solver, ps.Linear)
                                                   else [0.5625, 0.25, 0.0625], abs=1e-2)  # fmt: skip


@pytest.mark.fault(98)
@pytest.mark.filterwarnings("ignore:.*of the batches:UserWarning")
@pytest.mark.parametrize("options", [{}, {"fleet": 3}], ids=["alone", "fleet"])
def test_a_rare_label_pulls_less_unless_the_labels_are_balanced(together, options):
    rare = ["a", "a", "a", "b"] * 10
    plain, balanced = (front_of(rare, ps.Linear(labels=labels), **options) for labels in ("plain", "balanced"))
    assert balanced.losses == pytest.approx(together["Linear"].losses, abs=2e-2)
    expected = [(r_b * 0.25 / (r_a * 0.75 + r_b * 0.25)) ** 2 for r_a, r_b in RAYS]
    assert plain.losses[:, 0] == pytest.approx(expected, abs=2e-2)


@pytest.mark.fault(98)
def test_the_frequencies_are_reported_with_each_point():
    with pytest.warns(UserWarning, match="labels of 'b' in 25% of the batches"):
        front = front_of(["a", "ab", "a", "a"] * 10, ps.EPO())
    assert {p.warnings[0] for p in front.points} == {"labels of 'b' in 25% of the batches"}
    # a step needs the three batches before it, or one with both labels to which nothing was added
    counts = {(p.counts["steps"], p.counts["collected"], p.counts["skipped"]) for p in front.points}
    assert counts == {(STEPS, STEPS * 3 // 4, 0)}


def test_shares_are_the_preference_of_the_present_losses():
    counts, r = LabelCounts(3), torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    balanced = ps.Linear(labels="balanced")
    assert counts.shares(balanced, r, [0, 2]).tolist() == [0.2, 0.5]  # the first batch: nothing else is known
    counts.add([0, 2])
    assert counts.shares(ps.Linear(), r, [0, 1]).tolist() == [0.2, 0.3]
    assert counts.shares(balanced, r, [0, 1]).tolist() == [0.2, 0.6]
    counts.add([0, 1])
    counts.add([])
    assert counts.warnings_of("abc") == ["labels of 'a' in 67%, of 'b' in 33%, of 'c' in 33% of the batches"]
    assert LabelCounts(2).warnings_of("ab") == []


# --- collecting ---


def gradients_after(parameters) -> list[torch.Tensor]:
    return [p.grad.clone() for p in parameters]


@pytest.mark.fault(98)
@pytest.mark.parametrize("solver", [ps.EPO(), ps.SmoothTchebycheff(), toys.Turned()], ids=lambda s: type(s).__name__)
def test_a_step_is_that_of_the_mean_losses_over_the_labels(solver):
    """Batches of 16 labels of "a", then 16 and 48 of "b", against one loss of 16 and one of 64."""
    batches = marked("a", "b", "b", seed=1)
    batches[2] = [torch.cat([part] * 3) if isinstance(part, torch.Tensor) else part for part in batches[2]]
    model, names = toys.initial(), ("a", "b")
    parameters, collected = list(model.parameters()), Collected(2)
    assert collected.is_empty
    for batch, count in zip(batches, (16.0, 16.0, 48.0), strict=True):
        losses = {i: loss for i, loss in enumerate(labelled(model, batch).values()) if loss is not None}
        collected.add(losses, [count, count], parameters, names)
        assert (collected.is_empty, collected.is_complete) == (False, batch[2] == "b")
    assert all(p.grad is None for p in parameters)
    step = descend_collected(solver, None, *collected.means(), EVEN, parameters, names)
    found = gradients_after(parameters)
    model.zero_grad()
    whole = tuple(torch.cat([b[i] for b in batches[1:]]) for i in range(2))
    losses = [toys.losses(model, batches[0][:2])["a"], toys.losses(model, whole)["b"]]
    expected = descend(solver, None, losses, EVEN, parameters, names)
    for one, other in zip(found, gradients_after(parameters), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
    if expected.weights is not None:
        assert torch.allclose(step.weights, expected.weights, rtol=1e-4)


def test_a_parameter_that_a_loss_no_longer_depends_on_counts_as_0():
    x, collected = nn.Parameter(torch.ones(())), Collected(1)
    y = nn.Parameter(torch.ones(()))
    for loss in (2 * x, 3 * y):
        collected.add({0: loss}, [1.0], [x, y], ["a"])
    assert [float(g) for g in collected.means()[1][0]] == [1.0, 1.5]


def test_a_loss_that_is_not_finite_is_not_collected():
    collected = Collected(2)
    x = nn.Parameter(torch.ones(()))
    with pytest.raises(NonFiniteError, match="nan in 'b'"):
        collected.add({1: x * float("nan")}, [1.0, 1.0], [x], ["a", "b"])
    assert collected.is_empty


@pytest.mark.fault(98)
@pytest.mark.parametrize(
    ("solver", "options"),
    [
        (ps.CoGrad(), {"preferences": 2}),
        (ps.EPO(), {"preferences": 2, "fleet": 2}),
        (ps.EPO(), {"preferences": 2, "front_model": pm.LowRank()}),
    ],
    ids=["stepper", "fleet", "front model"],
)
def test_what_cannot_collect_refuses_before_work(tmp_path, solver, options):
    problem = toys.two_regressions(losses=labelled, train=marked("ab", "", "a"), validate=marked("ab"))
    with pytest.raises(
        ValueError, match=r"no label of \['b'\], and .* weighs the losses against each other; give batch"
    ):
        pm.explore(problem, solver, epochs=1, out=tmp_path / "front", **options)
    assert not (tmp_path / "front").exists()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("labels", ["even", None, True])
def test_labels_are_plain_or_balanced(labels):
    with pytest.raises(ValueError, match=r"labels=.*give 'plain' or 'balanced'"):
        ps.Linear(labels=labels)


def test_linear_is_written_as_before_unless_it_balances_labels():
    assert (repr(ps.Linear()), repr(ps.Linear("balanced"))) == ("Linear()", "Linear(labels='balanced')")

"""What a step adds to the gradients, against autograd on losses written out by hand."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.autograd.labels import LabelCounts
from paretomtl.conditioned.losses import count_samples, deal_batch, supports_vmap, take_step
from paretomtl.errors import NoLabelError, NonFiniteError
from paretomtl.point import Code
from paretomtl.solver import Status, Sweep, solved_status
from tests.networks import KINDS, Encoder, batch, losses, mlp, moved, preferences, problem

SOME: dict[str, pm.FrontModel] = KINDS | {
    "full, one layer": pm.Hypernetwork(modules=("2",), hidden=8),
    "PaLoRA, two layers": pm.LowRank(modules=("0", "4"), rank=2),
    "FiLM, one layer": pm.FiLM(layers=("2",), hidden=8),
}
of_each_kind = pytest.mark.parametrize("kind", SOME)
both_ways = pytest.mark.parametrize("vmapped", [False, True], ids=["looped", "vmapped"])


def network_of(kind, build=mlp):
    torch.manual_seed(1)
    return moved(SOME[kind].attach(build().double(), 2))


def gradients(network):
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in network.named_parameters()}


def stepped(network, solver, r, given=None, each="batch", vmapped=False, clip=None, on=None, counts=None):
    """The gradients that a step adds, and what it tells."""
    network.zero_grad()
    sweep = Sweep(r, torch.zeros(len(r), dtype=torch.int64), 1, False, ())
    on = on or problem()
    taken = take_step(network, on, solver, solver.init(sweep), given or batch(), r, each, vmapped, clip, counts)
    return gradients(network), taken


def weights_at(network, r):
    """All trained weights at each preference, by name, and the losses there."""
    shared = {name: p for name, p in network.plain.named_parameters() if p.requires_grad}
    rows = network.generate(r)
    return [shared | {name: row[k] for name, row in rows.items()} for k in range(len(r))]


def by_hand(network, total):
    """The gradients of a scalar."""
    network.zero_grad()
    total.backward()
    return gradients(network)


def losses_at(network, weights, given):
    found = losses(lambda x: functional_call(network.plain, weights, (x,)), given)
    return torch.stack([found["a"], found["b"]])


def assert_same(found, expected, within=1e-9):
    assert set(found) == set(expected)
    largest = max(g.abs().max() for g in expected.values() if g.numel())
    assert largest > 1e-3
    for name, g in expected.items():
        assert not g.numel() or (found[name] - g).abs().max() <= within * largest, name


# --- scalarizations ---


@both_ways
@of_each_kind
def test_linear_descends_the_mean_over_preferences_of_the_weighted_losses(kind, vmapped):
    network, r = network_of(kind), preferences(2, 4)
    found, taken = stepped(network, ps.Linear(), r, vmapped=vmapped)
    points = torch.stack([losses_at(network, weights, batch()) for weights in weights_at(network, r)])
    assert_same(found, by_hand(network, (r * points).sum() / 4))
    assert torch.allclose(taken.losses, points.mean(dim=0))
    assert torch.allclose(taken.weights, r.mean(dim=0))
    assert (taken.labels, taken.status.code.tolist()) == ([0, 1], [Code.SOLVED] * 4)


def test_weights_of_the_losses_are_asked_for_once_for_all_preferences_and_are_no_part_of_the_graph():
    network, r, solver = network_of("full"), preferences(2, 3), ps.COSMOS()
    found, _ = stepped(network, solver, r)
    points = torch.stack([losses_at(network, weights, batch()) for weights in weights_at(network, r)])
    assert_same(found, by_hand(network, (solver(points.detach(), r) * points).sum() / 3))


def test_gradients_are_added_to_those_that_are_there():
    network, r = network_of("FiLM"), preferences(2, 3)
    for solver in (ps.Linear(), ps.MGDA()):
        once, _ = stepped(network, solver, r)
        take_step(network, problem(), solver, None, batch(), r, "batch", False)
        assert_same(gradients(network), {name: 2 * g for name, g in once.items()})


# --- weightings and aggregations ---


@dataclass(frozen=True)
class Rows(pm.Aggregation):
    """The mean of the rows, its entries scaled by their place; it keeps what it saw."""

    seen: list = field(default_factory=list, compare=False)

    def update(self, state: Any, losses, jacobian, preference) -> tuple[Any, Any, Status]:
        self.seen.append((losses, jacobian, preference))
        direction = jacobian.mean(dim=-2)
        return direction * torch.linspace(0.5, 1.5, direction.shape[-1]).to(direction), state, solved_status(losses)


def jacobian_by_hand(network, r, given=None):
    """The losses, their Jacobian on all the plain network's trained weights, and the rows that these come of."""
    points, jacobians = [], []
    for weights in weights_at(network, r):
        leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
        found = losses_at(network, leaves, given or batch())
        grads = [torch.autograd.grad(loss, list(leaves.values()), retain_graph=True) for loss in found]
        jacobians.append(torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in grads]))
        points.append(found.detach())
    return torch.stack(points), torch.stack(jacobians)


def pulled_back(network, r, directions):
    """Each preference's weights moved along its direction, over the number of preferences."""
    flat = [torch.cat([w.reshape(-1) for w in weights.values()]) for weights in weights_at(network, r)]
    return by_hand(network, sum((row * d).sum() for row, d in zip(flat, directions, strict=True)) / len(r))


@both_ways
@of_each_kind
@pytest.mark.parametrize("solver", [ps.EPO(), ps.MGDA()], ids=repr)
def test_a_weighting_sees_the_gramians_on_all_weights_and_its_directions_are_pulled_back(kind, solver, vmapped):
    network, r = network_of(kind), preferences(2, 4)
    found, taken = stepped(network, solver, r, vmapped=vmapped)
    points, jacobian = jacobian_by_hand(network, r)
    weights = solver.update(
        solver.init(Sweep(r, torch.zeros(4).long(), 1, False, ())), points, jacobian @ jacobian.mT, r
    )[0]
    assert weights.std(dim=0).max() > 1e-4
    assert_same(found, pulled_back(network, r, torch.einsum("pk,pkn->pn", weights, jacobian)), 1e-7)
    assert torch.allclose(taken.weights, weights.mean(dim=0), rtol=1e-6)


@both_ways
@of_each_kind
def test_an_aggregation_sees_the_jacobians_on_all_weights_and_its_directions_are_pulled_back(kind, vmapped):
    network, r, solver = network_of(kind), preferences(2, 3), Rows()
    found, taken = stepped(network, solver, r, vmapped=vmapped)
    points, jacobian = jacobian_by_hand(network, r)
    ((seen_losses, _, seen_r),) = solver.seen
    assert torch.allclose(seen_losses, points)
    assert torch.equal(seen_r, r)
    # the order of weights is the step's own, so the place of an entry is taken from what was seen
    order = {name: rows[0].numel() for name, rows in _rows(network, r).items()}
    columns = dict(
        zip(order, torch.linspace(0.5, 1.5, sum(order.values())).double().split(list(order.values())), strict=True)
    )
    scale = torch.cat([columns[name] for name in weights_at(network, r)[0]])
    assert_same(found, pulled_back(network, r, jacobian.mean(dim=1) * scale), 1e-7)
    assert taken.weights is None


def _rows(network, r):
    from paretomtl.conditioned.losses import expand_weights

    return expand_weights(network, r)


def test_where_all_is_generated_linear_s_weights_give_what_linear_gives():
    """The pull-back is linear: a weighting that answers the preference is the weighted sum."""

    class Asked(pm.Weighting):
        def update(self, state, losses, gramian, preference):
            return preference, state, solved_status(losses)

    network, r = network_of("full, one layer"), preferences(2, 4)
    assert_same(stepped(network, Asked(), r)[0], stepped(network, ps.Linear(), r)[0])


@of_each_kind
def test_clip_bounds_the_gradient_of_each_loss_at_each_preference(kind):
    network, r, solver = network_of(kind), preferences(2, 3), Rows()
    _, jacobian = jacobian_by_hand(network, r)
    norms = jacobian.norm(dim=-1)
    clip = float(norms.median())
    stepped(network, solver, r, clip=clip)
    found = solver.seen[0][1]
    assert torch.allclose(found.norm(dim=-1), norms.clamp(max=clip), rtol=1e-6)
    weighed = {}

    class Watching(pm.Weighting):
        def update(self, state, losses, gramian, preference):
            weighed["gramian"] = gramian
            return preference, state, solved_status(losses)

    changed, _ = stepped(network, Watching(), r, clip=clip)
    assert torch.allclose(weighed["gramian"], found @ found.mT, rtol=1e-6)
    shorter = jacobian * (clip / norms.clamp(min=clip))[..., None]
    assert_same(changed, pulled_back(network, r, torch.einsum("pk,pkn->pn", r, shorter)), 1e-6)


# --- each sample, each part ---


def test_each_sample_has_the_loss_of_its_own_preference():
    """Against a loop over the samples."""
    for kind in ("FiLM", "Inputs", "FiLM, one layer"):
        network, r, (x, y) = network_of(kind), preferences(2, 6), batch()
        found, taken = stepped(network, ps.Linear(), r, each="sample")
        each = [
            losses_at(network, weights, (x[k : k + 1], y[k : k + 1]))
            for k, weights in enumerate(weights_at(network, r))
        ]
        assert_same(found, by_hand(network, (r * torch.stack(each)).sum() / 6))
        assert torch.allclose(taken.losses, torch.stack(each).mean(dim=0))


def test_each_part_has_the_loss_of_its_preference():
    network, r, (x, y) = network_of("PaLoRA"), preferences(2, 4), batch()
    found, _ = stepped(network, ps.Linear(), r, each="part")
    parts = [(x[k::4], y[k::4]) for k in range(4)]
    each = [losses_at(network, w, part) for w, part in zip(weights_at(network, r), parts, strict=True)]
    assert_same(found, by_hand(network, (r * torch.stack(each)).sum() / 4))


def test_a_batch_is_dealt_out_like_cards():
    given = {"x": torch.arange(7), "of": (torch.arange(7) * 10, None)}
    parts = deal_batch(given, 3)
    assert [part["x"].tolist() for part in parts] == [[0, 3, 6], [1, 4], [2, 5]]
    assert [part["of"][0].tolist() for part in parts] == [[0, 30, 60], [10, 40], [20, 50]]
    assert [part["of"][1] for part in parts] == [None] * 3
    assert deal_batch(None, 3) is None
    for wrong in ((torch.ones(4), torch.ones(3)), (torch.ones(4), 2), (torch.ones(4), torch.tensor(1.0))):
        with pytest.raises(ValueError, match=r"cannot be dealt out .*give sampling=pm.Sampling\('batch'\)"):
            deal_batch(wrong, 2)


def test_how_many_samples_a_batch_has():
    assert count_samples((torch.ones(4, 2), torch.ones(3))) == 4
    assert count_samples({"n": 7, "x": [None, torch.tensor(1.0), torch.ones(5)]}) == 5
    assert count_samples(None) is None
    with pytest.raises(ValueError, match="holds no tensor that leads with its samples"):
        count_samples(("text", 3))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((torch.ones(4, 4).double(), torch.tensor(1.0).double()), "vmap"),
        ((torch.ones(4, 4).double(), torch.ones(3, 2).double()), "vmap"),
    ],
)
def test_batches_that_cannot_be_parted_are_refused(given, why):
    with pytest.raises(ValueError, match=f"cannot be taken sample by sample .*each='batch'.*{why}"):
        stepped(network_of("FiLM"), ps.Linear(), preferences(2, 4), given, each="sample")


# --- missing labels ---


def without_b(model, given):
    return losses(model, given) | {"b": None}


class Three(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x)


def three_losses(model, given):
    x, y = given
    z = model(x)
    return {
        "a": z[:, 0].square().mean(),
        "b": None if y is None else (z[:, 1] - 1).abs().mean(),
        "c": z[:, 2].exp().mean(),
    }


@pytest.mark.fault(98)
@pytest.mark.parametrize(("kind", "each"), [("PaLoRA", "batch"), ("FiLM", "sample"), ("full", "part")])
@pytest.mark.parametrize("labels", ["plain", "balanced"])
def test_the_losses_that_are_there_keep_their_preference(kind, each, labels):
    x = batch()[0]
    torch.manual_seed(0)
    network = moved(KINDS[kind].attach(Three().double(), 3))
    r = preferences(3, 6)
    r[1] = torch.tensor([0.0, 1.0, 0.0])  # none of it is there
    counts = LabelCounts(3)
    for present in ([0], [0, 1], [1]):
        counts.add(present)
    found, taken = stepped(
        network,
        ps.Linear(labels),
        r,
        (x, None),
        each,
        on=problem(Three, three_losses, objectives=list("abc"), ref_point=[9.0] * 3),
        counts=counts,
    )
    shared = r[:, [0, 2]] / torch.tensor([1.0, 1.0] if labels == "plain" else [3 / 4, 1 / 4])
    total = 0
    for k, weights in enumerate(weights_at(network, r)):
        mine = x if each == "batch" else x[k : k + 1]
        at = three_losses(lambda x, w=weights: functional_call(network.plain, w, (x,)), (mine, None))
        total = total + shared[k, 0] * at["a"] + shared[k, 1] * at["c"]
    assert_same(found, by_hand(network, total / 6))
    assert taken.labels == [0, 2]
    assert torch.allclose(taken.weights, shared.mean(dim=0))


@pytest.mark.fault(98)
@pytest.mark.parametrize(
    "solver", [ps.EPO(), ps.Tchebycheff(), Rows(), ps.PHNHVI((9.0, 9.0))], ids=lambda s: type(s).__name__
)
def test_what_weighs_losses_against_each_other_refuses_a_batch_that_lacks_one(solver):
    with pytest.raises(ValueError, match=r"no label of \['b'\], and .* weighs the losses against each other"):
        stepped(network_of("full"), solver, preferences(2, 3), on=problem(given=without_b))


@pytest.mark.fault(16)
def test_a_batch_without_any_label_takes_no_step():
    network = network_of("full")
    with pytest.raises(NoLabelError):
        stepped(network, ps.Linear(), preferences(2), on=problem(given=lambda model, given: {"a": None, "b": None}))
    assert all(not g.any() for g in gradients(network).values())


def one_objective_each(model, given):
    """A label each for every other sample, as masks have it."""
    found = losses(model, given)
    return {"a": found["a"], "b": None} if given[0][0, 0] < 0 else {"a": None, "b": found["b"]}


@pytest.mark.fault(16)
def test_parts_with_labels_of_different_objectives_are_not_mixed_up():
    x, y = batch()
    x[:, 0] = torch.tensor([-1.0, 1.0] * 3)
    with pytest.raises(ValueError, match=r"parts .* do not have labels of the same objectives.*Sampling\('batch'\)"):
        stepped(
            network_of("full"), ps.Linear(), preferences(2, 2), (x, y), "part", on=problem(given=one_objective_each)
        )


# --- what goes wrong ---


@pytest.mark.fault(1)
@pytest.mark.fault(2)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("each", ["batch", "part", "sample"])
def test_a_loss_that_is_not_finite_is_named(bad, each):
    def spoiled(model, given):
        found = losses(model, given)
        return found | {"b": found["b"] + bad}

    network = network_of("FiLM")
    with pytest.raises(NonFiniteError, match=f"^{bad} in 'b'$"):
        stepped(network, ps.Linear(), preferences(2, 6), each=each, on=problem(given=spoiled))
    assert all(not g.any() for g in gradients(network).values())


@pytest.mark.fault(1)
def test_a_gradient_that_is_not_finite_stops_it():
    """The losses of a preference are one tensor to autograd: 0 times inf makes the other gradients nan too.

    So all that are spoiled are named, and not the wrong one alone.
    """

    def spoiled(model, given):
        found = losses(model, given)
        weight = model[0].weight if isinstance(model, nn.Sequential) else next(model.parameters())
        return found | {"b": found["b"] + (weight - weight).sum().sqrt()}

    network = network_of("PaLoRA")
    with pytest.raises(NonFiniteError, match=r"^nan or inf in the gradient of 'a' or 'b'$"):
        stepped(network, ps.MGDA(), preferences(2), on=problem(given=spoiled))
    assert all(not g.any() for g in gradients(network).values())


# --- one program, or one after the other ---


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.drop = nn.Linear(4, 2), nn.Dropout(0.5)

    def forward(self, x):
        return self.layer(self.drop(x))


@pytest.mark.fault(52)
@pytest.mark.parametrize(("each", "vmapped"), [("batch", True), ("batch", False), ("sample", True)])
def test_dropout_differs_from_preference_to_preference(each, vmapped):
    network = pm.FiLM(hidden=4).attach(Dropping().double(), 2)
    seen = {}

    class Seeing(pm.Scalarization):
        def update(self, state, losses, preference):
            seen["losses"] = losses
            return preference, state, solved_status(losses)

    same = (torch.ones(6, 4).double(), torch.ones(6, 2).double())
    r = torch.full((6, 2), 0.5).double()
    stepped(network, Seeing(), r, same, each, vmapped)
    assert len(seen["losses"][:, 0].unique()) > 1
    network.eval()
    stepped(network, Seeing(), r, same, each, vmapped)
    assert seen["losses"].std(dim=0).max() < 1e-12


def test_one_program_is_taken_where_it_can_be_and_nothing_is_changed_by_asking():
    r = preferences(2)
    network = network_of("PaLoRA", Dropping)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    assert supports_vmap(network, problem(), batch(), r)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(p.grad is None for p in network.parameters())
    assert not supports_vmap(network, problem(), batch(), r[:1])

    class Convolution(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv1d(1, 2, 4)

        def forward(self, x):
            return self.layer(x[:, None])[:, :, 0]

    assert not supports_vmap(network_of("PaLoRA", Convolution), problem(), batch(), r)


@pytest.mark.fault(60)
def test_a_network_that_one_program_cannot_take_is_taken_one_after_the_other():
    class Choosing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            z = self.layer(x)
            return z if z.sum().item() > 0 else 2 * z

    network, r = network_of("PaLoRA", Choosing), preferences(2)
    assert not supports_vmap(network, problem(), batch(), r)
    found, _ = stepped(network, ps.Linear(), r)
    points = torch.stack([losses_at(network, weights, batch()) for weights in weights_at(network, r)])
    assert_same(found, by_hand(network, (r * points).sum() / 3))
    with pytest.raises(ValueError, match="cannot be taken sample by sample"):
        stepped(network_of("FiLM", Choosing), ps.Linear(), preferences(2, 6), each="sample")


class Attending(Encoder):
    """A transformer on the toy's batch."""

    def forward(self, x):
        return super().forward(x[:, :3, None] * x[:, None, 1:])


@pytest.mark.parametrize("kind", ["full", "PaLoRA", "FiLM", "Inputs"])
def test_attention_is_one_program_too(kind):
    """Without a warning of torch's that it was taken row by row."""
    network, r = network_of(kind, Attending), preferences(2, 6)
    network.eval()
    looped, _ = stepped(network, ps.Linear(), r)
    network.train()
    for module in network.modules():
        if isinstance(module, (nn.Dropout, nn.MultiheadAttention)):
            module.p = module.dropout = 0.0
    assert supports_vmap(network, problem(), batch(), r)
    assert_same(stepped(network, ps.Linear(), r, vmapped=True)[0], looped, 1e-6)
    if kind in ("FiLM", "Inputs"):
        found, _ = stepped(network, ps.Linear(), r, each="sample")
        x, y = batch()
        each = [losses_at(network, w, (x[k : k + 1], y[k : k + 1])) for k, w in enumerate(weights_at(network, r))]
        assert_same(found, by_hand(network, (r * torch.stack(each)).sum() / 6), 1e-6)

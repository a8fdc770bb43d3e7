"""Every kind on every architecture: the plain network at the start, and what comes out is what is called."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

import paretomtl as pm
from studies.digit_pairs import LeNet
from tests.networks import KINDS, NETWORKS, Tied, built, inputs, mlp, moved, output, preferences

of_each_kind = pytest.mark.parametrize("kind", KINDS)
of_each_network = pytest.mark.parametrize("name", NETWORKS)


def count(module):
    return sum(p.numel() for p in module.parameters())


def close(found, expected, within=1e-6):
    return torch.allclose(found, expected, rtol=within, atol=within)


@pytest.mark.parametrize("m", [2, 3, 5])
@of_each_network
@of_each_kind
def test_at_the_start_every_preference_gives_the_plain_network(kind, name, m):
    network, x = KINDS[kind].attach(built(name), m), inputs(name)
    expected = output(built(name), x)
    for r in preferences(m):
        assert close(output(network.at(r.numpy()), x), expected, 1e-12)


@of_each_network
@of_each_kind
def test_the_network_at_a_preference_is_the_one_called_at_generated_weights(kind, name):
    network, x, r = moved(KINDS[kind].attach(built(name), 3)), inputs(name), preferences(3)
    generated = network.generate(r)
    given = dict(network.plain.named_parameters())
    outputs = []
    for k, preference in enumerate(r):
        weights = {key: rows[k] for key, rows in generated.items()}
        assert all(row.shape == given[key].shape and row.dtype == torch.float64 for key, row in weights.items())
        outputs.append(functional_call(network.plain, weights, (x,)))
        model = network.at(preference.numpy())
        assert type(model) is type(network.plain)
        assert not any(module.training for module in model.modules())
        assert close(output(model, x), output(lambda _, found=outputs[-1]: found, x))
        alone = network.generate(preference[None])
        assert all(close(alone[key][0], weight, 1e-12) for key, weight in weights.items())
    first, *others = (output(lambda _, found=found: found, x) for found in outputs)
    assert all((other - first).abs().max() > 1e-4 for other in others)
    before = output(built(name), x)
    assert close(output(network.plain, x), before, 1e-12)


@of_each_network
@of_each_kind
def test_weights_go_to_another_network_of_the_kind_and_back(kind, name):
    network, other = (moved(KINDS[kind].attach(built(name, seed), 2)) for seed in (0, 1))
    other.load_state_dict(network.state_dict())
    r, x = preferences(2)[1].numpy(), inputs(name)
    assert torch.equal(output(other.at(r), x), output(network.at(r), x))
    restored = built(name, 2)
    restored.load_state_dict(network.at(r).state_dict())
    assert torch.equal(output(restored, x), output(network.at(r), x))


@of_each_kind
def test_what_is_in_the_network_and_no_longer_used_can_be_changed(kind):
    """A model that comes out is its own: neither training goes on in it, nor does it in the network."""
    network, x = moved(KINDS[kind].attach(built("MLP"), 2)), inputs("MLP")
    network.train()
    r = np.array([0.3, 0.7])
    model = network.at(r)
    assert not any(module.training for module in model.modules())
    before = output(model, x)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(1)
    assert torch.equal(output(model, x), before)
    assert all(p.is_leaf and p.grad_fn is None and p.requires_grad for p in model.parameters())


@of_each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_takes_the_precision_of_the_network(kind, dtype):
    network = KINDS[kind].attach(mlp().to(dtype), 2)
    assert {p.dtype for p in network.parameters()} == {dtype}
    model = network.at(np.array([0.3, 0.7]))
    assert {p.dtype for p in model.parameters()} == {dtype}


@pytest.mark.fault(54)
@of_each_kind
def test_tied_weights_stay_tied_and_are_generated_once(kind):
    network = moved(KINDS[kind].attach(built("tied"), 2))
    generated = network.generate(preferences(2))
    assert not {"embed.weight", "decode.weight"} <= set(generated)
    model = network.at(np.array([0.2, 0.8]))
    assert isinstance(model, Tied)
    assert model.decode.weight is model.embed.weight
    if kind not in ("FiLM", "Inputs"):
        assert close(model.embed.weight, network.generate(torch.tensor([[0.2, 0.8]]).double())["embed.weight"][0])
        assert not torch.equal(model.embed.weight, network.plain.get_parameter("embed.weight"))


@of_each_kind
def test_buffers_come_along(kind):
    plain = built("tied")
    network = KINDS[kind].attach(plain, 2)
    plain.get_buffer("offset").fill_(3.0)
    assert network.at(np.array([0.5, 0.5])).get_buffer("offset").tolist() == [3.0] * 4


class Keeping(nn.Module):
    """A network that keeps what it computed, in several ways."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)
        self.kept: list = []

    def forward(self, x):
        self.z = self.first(x).tanh()
        self.kept = [{"z": self.z}]
        return self.last(self.z)


@of_each_kind
@pytest.mark.parametrize("vmapped", [False, True])
def test_a_network_that_keeps_what_it_computed_can_be_written_out(kind, vmapped):
    network, x = moved(KINDS[kind].attach(Keeping().double(), 2)), inputs("MLP")
    if vmapped:
        torch.vmap(lambda weights: functional_call(network.plain, weights, (x,)))(network.generate(preferences(2)))
    else:
        network.plain(x)
    model = network.at(np.array([0.5, 0.5]))
    assert close(output(model, x), functional_call_at(network, [0.5, 0.5], x))


def functional_call_at(network, r, x):
    rows = network.generate(torch.tensor([r], dtype=torch.float64))
    return functional_call(network.plain, {key: row[0] for key, row in rows.items()}, (x,))


# --- sizes ---


def test_parameters_of_a_hypernetwork_on_the_published_lenet():
    """Beside LeNet's own 31,910: layers of 2·100 + 100 and 100·100 + 100, and 100 a weight.

    In all 101 times the LeNet; the published hypernetwork for it is 102 times its size.
    """
    plain = LeNet()
    assert count(plain) == 31_910
    network = pm.Hypernetwork().attach(plain, 2)
    assert count(network) == 31_910 + 300 + 10_100 + 100 * 31_910
    assert 101 < count(network) / 31_910 < 102


def test_parameters_of_the_other_kinds_on_the_published_lenet():
    sizes = {name: count(kind.attach(LeNet(), 2)) - 31_910 for name, kind in OTHERS.items()}
    chunks = math.ceil(31_910 / 2048)
    assert sizes == {
        "chunks": 16 * chunks + (18 * 100 + 100) + 10_100 + 100 * 2048,
        # A of each matrix, and B and the vectors from the hypernetwork
        "low-rank": 4 * (81 + 250 + 500 + 50 + 50) + 300 + 10_100 + 100 * (5 * 100 - 4 * 100 + 4 * 100),
        "PaLoRA": 2 * (4 * (10 + 81 + 20 + 250 + 50 + 500 + 2 * 60) + 100),
        "PaMaL": 31_910,
        "FiLM": (2 * 64 + 64) + (64 * 64 + 64) + (64 + 1) * 2 * 100,
        "Inputs": 2 * 10,
    }


OTHERS = {
    "chunks": pm.Hypernetwork(form="chunks"),
    "low-rank": pm.Hypernetwork(form="low-rank"),
    "PaLoRA": pm.LowRank(),
    "PaMaL": pm.LowRank(rank=None),
    "FiLM": pm.FiLM(),
    "Inputs": pm.Inputs(),
}


# --- hypernetworks ---


def test_chunks_are_told_apart_and_laid_end_to_end():
    network = moved(pm.Hypernetwork(form="chunks", chunk=8, hidden=8).attach(built("MLP"), 2))
    assert len(network.embedding) == math.ceil(77 / 8)
    r = preferences(2)
    written = [network.writer(torch.cat([r, k.expand(3, -1)], dim=1)) for k in network.embedding]
    found = network.generate(r).items()
    change = torch.cat([(rows - network.plain.get_parameter(name)).reshape(3, -1) for name, rows in found], dim=1)
    assert close(change, torch.cat(written, dim=1)[:, :77], 1e-12)
    assert not close(written[0], written[1], 1e-3)


def test_low_rank_updates_of_a_hypernetwork_have_that_rank():
    network = moved(pm.Hypernetwork(form="low-rank", rank=2, hidden=8).attach(built("MLP"), 2), 1.0)
    for name, rows in network.generate(preferences(2)).items():
        change = (rows - network.plain.get_parameter(name)).detach()
        if change.ndim == 3:
            assert torch.linalg.matrix_rank(change, rtol=1e-9).tolist() == [2, 2, 2]
        else:
            assert (change != 0).all()


@pytest.mark.parametrize("hidden", [10, 1000])
def test_a_step_of_adam_moves_generated_weights_alike_whatever_the_width(hidden):
    """By about its learning rate, as it moves the plain network's; a sum over hidden units would by `hidden` times."""
    network = pm.Hypernetwork(hidden=hidden).attach(built("MLP"), 2)
    optimizer, r = torch.optim.Adam(network.parameters(), 1e-3), preferences(2)
    before = {name: rows.detach() for name, rows in network.generate(r).items()}
    sum(rows.sum() for rows in network.generate(r).values()).backward()
    optimizer.step()
    moves = [(rows - before[name]).abs().max() for name, rows in network.generate(r).items()]
    assert 1e-3 < max(moves) < 2e-3


# --- low-rank manifolds ---


def test_pamal_is_linear_in_the_preference_with_a_set_of_weights_at_each_corner():
    network = moved(pm.LowRank(rank=None).attach(built("MLP"), 3))
    corners, r = network.generate(torch.eye(3).double()), preferences(3)
    for name, members in corners.items():
        assert torch.equal(members[0], network.plain.get_parameter(name))
        mixed = torch.einsum("pm,m...->p...", r, members)
        assert close(network.generate(r)[name], mixed, 1e-12)
    assert not close(corners["0.weight"][1], corners["0.weight"][2], 1e-3)


def test_palora_is_the_shared_weights_and_mixed_updates_of_its_rank():
    network, r = moved(pm.LowRank(rank=2).attach(built("MLP"), 3)), preferences(3)
    corners, found = network.generate(torch.eye(3).double()), network.generate(r)
    for name, rows in found.items():
        shared = network.plain.get_parameter(name)
        updates = (corners[name] - shared).detach()
        assert close(rows, shared + torch.einsum("pm,m...->p...", r, updates), 1e-12)
        if updates.ndim == 3:
            assert torch.linalg.matrix_rank(updates, rtol=1e-9).tolist() == [2] * 3


@pytest.mark.parametrize("kind", [pm.LowRank(rank=500), pm.Hypernetwork(form="low-rank", rank=500, hidden=4)])
def test_a_rank_above_a_matrix_is_its_full_rank(kind):
    network = moved(kind.attach(built("MLP"), 2), 1.0)
    rows = network.generate(preferences(2))["2.weight"].detach()
    change = rows - network.plain.get_parameter("2.weight").detach()
    assert torch.linalg.matrix_rank(change, rtol=1e-9).tolist() == [5, 5, 5]
    assert count(network) < 1500


def test_a_convolution_s_matrix_is_of_what_it_gives_by_what_it_takes():
    network = moved(pm.LowRank(rank=1).attach(built("ResNet"), 2), 1.0)
    rows = network.generate(torch.eye(2).double())["block.first.weight"]
    change = (rows - network.plain.get_parameter("block.first.weight")).detach()
    assert torch.linalg.matrix_rank(change.reshape(2, 4, 36), rtol=1e-9).tolist() == [1, 1]


class Gain(nn.Module):
    """A parameter without an axis, one that is not trained, and an empty one."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))
        self.fixed = nn.Parameter(torch.ones(4), requires_grad=False)
        self.layer = nn.Linear(4, 1)

    def forward(self, x):
        return self.gain * self.layer(x * self.fixed)


@of_each_kind
def test_scalars_are_generated_and_what_is_not_trained_is_not(kind):
    network, x = moved(KINDS[kind].attach(Gain().double(), 2)), inputs("MLP")
    generated = network.generate(preferences(2))
    assert "fixed" not in generated
    assert close(output(network.at(np.array([0.5, 0.5])), x), functional_call_at(network, [0.5, 0.5], x))
    if kind not in ("FiLM", "Inputs"):
        assert generated["gain"].shape == (3,)
        assert (generated["gain"] != 2).any()


# --- the choice of modules ---


@pytest.mark.parametrize("build", [pm.Hypernetwork, pm.LowRank])
@pytest.mark.parametrize(
    ("modules", "names"),
    [
        (("left", "right"), {"left.weight", "left.bias", "right.weight", "right.bias"}),
        (["trunk.0"], {"trunk.0.weight", "trunk.0.bias"}),
        (("",), {name for name, _ in LeNet().named_parameters()}),
        ((), {name for name, _ in LeNet().named_parameters()}),
        (("trunk", "trunk.0"), {f"trunk.{i}.{what}" for i in (0, 3, 7) for what in ("weight", "bias")}),
    ],
)
def test_chosen_modules_are_generated_and_the_others_shared(build, modules, names):
    network = build(modules=modules).attach(built("LeNet"), 2)
    assert set(network.generate(preferences(2))) == names


@pytest.mark.parametrize("build", [pm.Hypernetwork, pm.LowRank])
def test_modules_that_are_not_there_or_hold_nothing_are_refused(build):
    kind = build.__name__
    with pytest.raises(ValueError, match=rf"^{kind}: there is no module 'middle' in the network; it has 0, 1, 2, 3, 4"):
        build(modules=("0", "middle")).attach(mlp(), 2)
    with pytest.raises(ValueError, match=rf"^{kind}: module '1' has no trained parameter"):
        build(modules=("1",)).attach(mlp(), 2)
    frozen = mlp()
    frozen[0].requires_grad_(False)
    with pytest.raises(ValueError, match=rf"^{kind}: module '0' has no trained parameter"):
        build(modules=("0",)).attach(frozen, 2)
